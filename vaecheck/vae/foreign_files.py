"""What a file is that holds no weights we read, and what to do about it."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

from vaecheck.errors import InputError
from vaecheck.vae.pickles import AGAIN, names_in, unknown_names

SAFETENSORS = "Convert it to safetensors with the program that wrote it."
BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (b"GGUF", "a GGUF file of quantised weights", "Give the safetensors that it was made from."),
    (b"\x89HDF\r\n", "an HDF5 file (Keras)", SAFETENSORS),
    (b"\x93NUMPY", "a NumPy array", "Save the model's weights as safetensors."),
    (b"\x1f\x8b", "a gzip archive", "Unpack it and give the file inside."),
    (b"\xfd7zXZ", "an xz archive", "Unpack it and give the file inside."),
    (b"BZh", "a bzip2 archive", "Unpack it and give the file inside."),
    (b"7z\xbc\xaf", "a 7z archive", "Unpack it and give the file inside."),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", "Unpack it and give the file inside."),
    (b"Rar!", "a RAR archive", "Unpack it and give the file inside."),
    (b"\x89PNG", "a PNG picture", "Give the weights; pictures go where IMAGES stands."),
    (b"\xff\xd8\xff", "a JPEG picture", "Give the weights; pictures go where IMAGES stands."),
    (b"PK\x05\x06", "an empty zip archive", AGAIN),
    (b"%PDF", "a PDF document", "Give the weights."),
)
TORCHSCRIPT = (
    "It is a program. Where you trust it: torch.save(torch.jit.load(FILE).state_dict(), NEW), "
    "and give the new file; or give it a factory, --vae FILE.py:FACTORY."
)


def explain(path: Path, head: bytes, names: Sequence[str] = ()) -> InputError:
    """The error for a file that begins with `head` and is neither safetensors nor torch.save's.

    names: of its entries, where it is a zip archive.
    """
    if not head:
        return InputError(f"{path} is empty (0 bytes)", hint="Fetch it again: a download or a full disk cut it off.")
    if not any(head):
        return InputError(f"{path} begins with {len(head)} zero bytes", hint=AGAIN)
    if head.startswith(b"version https://git-lfs"):
        return _pointer(path, head)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return InputError(
            f"{path} is a web page, saved in place of the weights",
            hint="Fetch it by the download link (on a hub: /resolve/ in place of /blob/), logged in where it must be.",
        )
    if head.startswith(b"PK\x03\x04"):
        return _archive(path, names)
    for beginning, kind, remedy in BEGINNINGS:
        if head.startswith(beginning):
            return InputError(f"{path} is {kind}", hint=remedy)
    if head[257:262] == b"ustar":
        return InputError(
            f"{path} is a tar archive",
            hint="Unpack it and give the file inside. (torch before 0.1.10 wrote such files itself: save it again.)",
        )
    if re.match(rb"\x08[\x01-\x20]\x12.{1,40}", head, re.DOTALL) and (b"onnx" in head[:64] or b"torch" in head[:64]):
        return InputError(f"{path} is an ONNX model", hint="Give the torch weights that it was exported from.")
    return _pickle(path) or _unknown(path, head, start)


def _pointer(path: Path, head: bytes) -> InputError:
    size = re.search(rb"^size (\d{1,18})$", head, re.MULTILINE)
    weights = f"the weights' {int(size[1]):,} bytes" if size else "the weights"
    return InputError(
        f"{path} is a git-lfs pointer of {len(head)} bytes, in place of {weights}",
        hint="Run `git lfs install` and `git lfs pull` in its repository, or download the file itself.",
    )


def _archive(path: Path, names: Sequence[str]) -> InputError:
    if any(name.endswith(("/constants.pkl", ".ptl")) or "/code/" in name for name in names):
        return InputError(f"{path} is a TorchScript archive, code as well as weights", hint=TORCHSCRIPT)
    if names and all(name.endswith(".npy") for name in names):
        return InputError(f"{path} is a NumPy archive (.npz)", hint="Save the model's weights as safetensors.")
    inside = ", ".join(ascii(name)[1:-1] for name in names[:3])
    return InputError(
        f"{path} is a zip archive of {len(names)} files ({inside}{', ...' if len(names) > 3 else ''}), none of them "
        "torch.save's data.pkl",
        hint="Unpack it and give the file with the weights, or the folder with config.json.",
    )


def _pickle(path: Path) -> InputError | None:
    """What to say of a pickle that torch.save did not write, or None where it is no pickle."""
    with path.open("rb") as file:
        text = io.BytesIO(file.read(1 << 20))
    try:
        names = unknown_names(names_in(text, str(path)))
    except InputError:
        return None
    shown = f"; it names {', '.join(ascii(name)[1:-1] for name in sorted(names)[:8])}" if names else ""
    return InputError(
        f"{path} is a plain Python pickle, which torch.save did not write{shown}",
        hint="Nothing of it was run. Ask its author for safetensors, or for a state_dict saved by torch.save.",
    )


def _unknown(path: Path, head: bytes, start: bytes) -> InputError:
    if start.startswith((b"{", b"[")):
        return InputError(f"{path} is a JSON text", hint="Give the weights beside it, or the folder of both.")
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head):
        return InputError(f"{path} is a text file", hint="Give the file with the weights.")
    return InputError(
        f"{path} is no weight file that vaecheck knows: it begins with the bytes {head[:8].hex(' ')}", hint=AGAIN
    )
