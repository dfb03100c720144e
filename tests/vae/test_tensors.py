"""Weight files of every container: what is read from them, what is refused, and that nothing of them is ever run."""

from __future__ import annotations

import argparse
import collections
import io
import json
import pathlib
import pickle
import struct
import sys
import tarfile
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vaecheck.errors import InputError
from vaecheck.vae.tensors import TensorFile, read_tensors

ZIP = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def weights() -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {
        "encoder.conv_in.weight": torch.randn(4, 3, 3, 3, generator=draw),
        "encoder.norm.bias": torch.randn(4, generator=draw).half(),
        "decoder.conv_in.weight": torch.randn(4, 4, generator=draw).bfloat16(),
        "decoder.scale": torch.tensor(0.25, dtype=torch.float64),
        "norm.num_batches_tracked": torch.tensor(7),
    }


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Save an object with torch.save, of either container, and return its path."""

    def write(content: object, zipped: bool = True, name: str = "weights.ckpt", **how: Any) -> Path:
        path = tmp_path / name
        torch.save(content, path, _use_new_zipfile_serialization=zipped, **how)
        return path

    return write


@pytest.fixture
def foreign() -> Iterator[Callable[..., Any]]:
    """Make a class of a package that is not installed; the package is gone again when it is read."""
    made: list[str] = []

    def make(module: str, name: str, parent: type = object) -> Any:
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            full = ".".join(parts[:end])
            if full not in sys.modules:
                sys.modules[full] = types.ModuleType(full)
                made.append(full)
        kind = type(name, (parent,), {"__module__": module})
        setattr(sys.modules[module], name, kind)
        return kind

    def remove() -> None:
        for full in made:
            del sys.modules[full]
        made.clear()

    make.remove = remove
    yield make
    remove()


def assert_same(found: TensorFile, expected: dict[str, Tensor]) -> None:
    assert found.tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        read = found.tensors[name]
        assert read.dtype == tensor.dtype
        assert torch.equal(read, tensor)
        assert read.is_contiguous()
        assert not read.requires_grad
        assert type(read) is Tensor
        assert read.device.type == "cpu"


def refusal(path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        read_tensors(path)
    assert caught.value.hint
    assert caught.value.exit_code == 2
    return caught.value


# ---- what is read ----


@ZIP
@pytest.mark.parametrize("name", ["weights.ckpt", "weights.safetensors", "weights"])
def test_a_pickle_is_read_whatever_its_name(save: Callable[..., Path], zipped: bool, name: str) -> None:
    assert_same(read_tensors(save(weights(), zipped, name)), weights())


def test_safetensors_are_read_whatever_their_name(tmp_path: Path) -> None:
    save_file(weights(), tmp_path / "weights.ckpt", metadata={"format": "pt", "modelspec.title": "a VAE"})
    found = read_tensors(tmp_path / "weights.ckpt")
    assert_same(found, weights())
    assert found.metadata == {"format": "pt", "modelspec.title": "a VAE"}


def test_float8_is_kept(save: Callable[..., Path], tmp_path: Path) -> None:
    small = {"a": torch.tensor([0.5, 1.5]).to(torch.float8_e4m3fn)}
    save_file(small, tmp_path / "a.safetensors")
    for path in (tmp_path / "a.safetensors", save(small)):
        found = read_tensors(path).tensors["a"]
        assert found.dtype == torch.float8_e4m3fn
        assert found.float().tolist() == [0.5, 1.5]


@ZIP
def test_a_lightning_checkpoint_is_read_without_lightning(
    save: Callable[..., Path], foreign: Any, zipped: bool
) -> None:
    """As Lightning 1.x wrote them: the callback's class is a key, omegaconf holds the hyper-parameters."""
    checkpoint = foreign("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
    attributes = foreign("pytorch_lightning.utilities.parsing", "AttributeDict", dict)
    node, config = foreign("omegaconf.nodes", "AnyNode"), foreign("omegaconf.dictconfig", "DictConfig")

    def configured(value: object) -> object:
        made = config() if isinstance(value, dict) else node()
        inner = {key: configured(item) for key, item in value.items()} if isinstance(value, dict) else value
        made.__dict__.update({"_content" if isinstance(value, dict) else "_val": inner, "_parent": made})
        return made

    content = {
        "state_dict": weights(),
        "epoch": 3,
        "global_step": np.int64(840000),
        "pytorch-lightning_version": "1.4.2",
        "callbacks": {checkpoint: checkpoint()},
        "optimizer_states": [{"state": {0: torch.ones(2)}}],
        "hyper_parameters": configured({"scale_factor": 0.18215, "ddconfig": {"z_channels": 4}}),
        "hparams": attributes(embed_dim=4, out=pathlib.PurePosixPath("a/b"), best=np.float64(0.5)),
        "args": argparse.Namespace(lr=0.1, counts=collections.defaultdict(int, {"a": 1})),
    }
    path = save(content, zipped)
    foreign.remove()
    found = read_tensors(path)
    assert_same(found, weights())
    assert found.metadata == {
        "epoch": 3,
        "global_step": 840000,
        "pytorch-lightning_version": "1.4.2",
        "hyper_parameters": {"scale_factor": 0.18215, "ddconfig": {"z_channels": 4}},
        "hparams": {"embed_dim": 4, "best": 0.5},
        "args": {"lr": 0.1, "counts": {"a": 1}},
    }
    assert "took state_dict" in found.notes
    assert "left out optimizer_states" in found.notes
    assert any("omegaconf" in note and "pytorch_lightning" in note for note in found.notes)


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ({"state_dict": weights()}, "took state_dict"),
        ({"model": weights(), "optimizer": {"state": {}}}, "took model"),
        ({"module": {"state_dict": weights()}, "epoch": 1}, "took state_dict"),
        (
            {"params": weights(), "params_ema": {"a": torch.ones(1)}},
            "took params, not params_ema (to measure the averaged ones, save them in a file of their own)",
        ),
        (
            {"ema": weights(), "model": {"a": torch.ones(1)}, "args": {"use_ema": True}},
            "took ema, not model (the file says use_ema)",
        ),
        ({"ema": weights(), "step": 5}, "took ema"),
        ({"generator": weights(), "discriminator": {"a": torch.ones(1)}}, "took generator"),
    ],
)
def test_weights_are_found_where_trainers_put_them(
    save: Callable[..., Path], content: dict[str, Any], note: str
) -> None:
    found = read_tensors(save(content))
    assert_same(found, weights())
    assert note in found.notes


def test_nested_dictionaries_become_names_with_dots(save: Callable[..., Path]) -> None:
    nested = {"vae": {"encoder": {"a": torch.ones(1)}, 0: torch.zeros(2)}, "model": {"b": torch.ones(3)}, "n": 5}
    found = read_tensors(save(nested))
    assert {name: len(tensor) for name, tensor in found.tensors.items()} == {
        "vae.encoder.a": 1,
        "vae.0": 2,
        "model.b": 3,
    }
    assert found.metadata == {"n": 5}


@ZIP
def test_tensors_share_no_memory_and_hold_none_to_spare(save: Callable[..., Path], zipped: bool) -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    views = {"a": whole, "tied": whole, "part": whole[1:3], "turned": whole.T, "grown": torch.ones(1).expand(5)}
    path = save({"state_dict": views | {"p": nn.Parameter(whole.clone())}}, zipped)
    before = path.read_bytes()
    found = read_tensors(path)
    assert_same(found, views | {"p": whole.clone()})
    assert len({tensor.data_ptr() for tensor in found.tensors.values()}) == 6
    for tensor in found.tensors.values():
        assert tensor.untyped_storage().nbytes() == tensor.nbytes
        tensor.fill_(0)
    assert path.read_bytes() == before


# ---- what is refused, and that nothing of it runs ----


class Opcodes:
    """A pickle of protocol 2, written by hand."""

    def __init__(self) -> None:
        self.code = b"\x80\x02"

    def name(self, module: str, name: str) -> Opcodes:
        return self.add(b"c%s\n%s\n" % (module.encode(), name.encode()))

    def text(self, text: str) -> Opcodes:
        return self.add(b"X" + struct.pack("<I", len(text.encode())) + text.encode())

    def add(self, code: bytes) -> Opcodes:
        self.code += code
        return self


def zip_of(path: Path, code: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", code)
        archive.writestr("archive/version", "3\n")
    return path


def legacy_of(path: Path, code: bytes) -> Path:
    head = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    path.write_bytes(head + code + pickle.dumps([], 2))
    return path


def attacks(canary: Path) -> dict[str, bytes]:
    """Pickles of {"a": ...} that write the canary when they are run, each by another trick."""
    python = f"open({str(canary)!r}, 'w')"
    shell = f"touch {canary}"

    class Exec:
        def __reduce__(self) -> tuple[Any, ...]:
            return exec, (python,)

    class System:
        def __reduce__(self) -> tuple[Any, ...]:
            import os

            return os.system, (shell,)

    def begun() -> Opcodes:
        return Opcodes().add(b"}").text("a")

    callback = ("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
    return {
        "exec": pickle.dumps({"a": Exec()}, 2),
        "exec_protocol_0": pickle.dumps({"a": Exec()}, 0),
        "exec_protocol_4": pickle.dumps({"a": Exec()}, 4),
        "system": pickle.dumps({"a": System()}, 2),
        "system_protocol_5": pickle.dumps({"a": System()}, 5),
        "python_2_name": begun().name("__builtin__", "eval").text(python).add(b"\x85Rs.").code,
        "inst": begun().add(b"(").text(shell).add(b"ios\nsystem\ns.").code,
        "obj": begun().add(b"(").name("os", "system").text(shell).add(b"os.").code,
        "getattr": begun()
        .name("builtins", "getattr")
        .name("os", "path")
        .text("os")
        .add(b"\x86R")
        .text(shell)
        .add(b"\x85Rs.")
        .code,
        "dotted_attribute": begun().name("torch.serialization", "os.system").text(shell).add(b"\x85Rs.").code,
        "importlib": begun().name("importlib", "import_module").text("this").add(b"\x85Rs.").code,
        "hub": begun().name("torch.hub", "load").text("x").add(b"\x85Rs.").code,
        "load_from_bytes": begun().name("torch.storage", "_load_from_bytes").text("x").add(b"\x85Rs.").code,
        "stub_module_function": begun().name("omegaconf.nodes", "os.system").text(shell).add(b"\x85Rs.").code,
        # The name is harmless and stood in for; what it is given must stay without effect.
        "stub_called": begun().name(*callback).text(shell).add(b"\x85Rs.").code,
        "stub_built": begun().name(*callback).add(b")\x81}").text("__reduce__").text(shell).add(b"sbs.").code,
        "stub_called_twice": begun().name(*callback).add(b")R").text(shell).add(b"\x85Rs.").code,
        "ordered_dict_built": begun()
        .name("collections", "OrderedDict")
        .add(b")R}")
        .text("items")
        .name(*callback)
        .add(b"sbs.")
        .code,
        "tensor_with_attributes": begun()
        .name("torch._utils", "_rebuild_from_type_v2")
        .name(*callback)
        .name(*callback)
        .add(b")}\x87Rs.")
        .code,
        "computed_name": b"\x80\x04}\x8c\x01a\x8c\x02os\x94\x8c\x06system\x94h\x00h\x01\x93"
        + pickle.dumps(shell, 4)[2:-1].replace(b"\x94", b"")
        + b"\x85Rs.",
        "extension": begun().add(b"\x82\x01").text(shell).add(b"\x85Rs.").code,
    }


ATTACKS = sorted(attacks(Path("canary")))


@pytest.mark.parametrize("container", [zip_of, legacy_of, Path.write_bytes], ids=["zip", "legacy", "bare"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_code_of_a_file_is_run(tmp_path: Path, attack: str, container: Callable[..., Any]) -> None:
    path, canary = tmp_path / "weights.ckpt", tmp_path / "canary"
    container(path, attacks(canary)[attack])
    refusal(path)
    assert not canary.exists()


NAMED = {
    "exec": "builtins.exec",
    "exec_protocol_0": "builtins.exec",
    "exec_protocol_4": "builtins.exec",
    "system": "posix.system",
    "system_protocol_5": "posix.system",
    "python_2_name": "builtins.eval",
    "inst": "os.system",
    "obj": "os.system",
    "getattr": "builtins.getattr, os.path",
    "dotted_attribute": "torch.serialization.os.system",
    "importlib": "importlib.import_module",
    "hub": "torch.hub.load",
    "load_from_bytes": "torch.storage._load_from_bytes",
    "stub_module_function": "omegaconf.nodes.os.system",
    "computed_name": "os.system",
    "extension": "copyreg.extension 1",
}


@pytest.mark.parametrize("container", [zip_of, legacy_of], ids=["zip", "legacy"])
@pytest.mark.parametrize("attack", NAMED)
def test_the_name_of_an_attack_is_said(tmp_path: Path, attack: str, container: Callable[..., Any]) -> None:
    path = tmp_path / "weights.ckpt"
    container(path, attacks(tmp_path / "canary")[attack])
    assert refusal(path).message.endswith(f"could run code: {NAMED[attack]}")


@pytest.mark.parametrize("attack", ["exec", "system", "exec_protocol_0", "exec_protocol_4"])
def test_the_attacks_do_run_where_nothing_is_checked(tmp_path: Path, attack: str) -> None:
    pickle.loads(attacks(tmp_path / "canary")[attack])
    assert (tmp_path / "canary").exists()


@ZIP
def test_every_name_that_could_run_code_is_listed(save: Callable[..., Path], zipped: bool) -> None:
    import os
    import subprocess

    found = refusal(save({"a": torch.ones(1), "b": eval, "c": [os.system, subprocess.run, getattr]}, zipped))
    for name in ("builtins.eval", "posix.system", "subprocess.run", "builtins.getattr"):
        assert name in found.message
    assert "safetensors" in found.hint


@ZIP
def test_a_whole_pickled_model_is_called_that(save: Callable[..., Path], zipped: bool) -> None:
    found = refusal(save(nn.Sequential(nn.Conv2d(1, 1, 1)), zipped))
    assert "whole pickled model" in found.message
    assert "state_dict" in found.hint


def test_a_stub_beside_weights_does_no_harm(tmp_path: Path, save: Callable[..., Path]) -> None:
    """A harmless name called with an attack's argument is dropped, and the weights beside it are read."""
    canary = tmp_path / "canary"
    path = save({"a": torch.ones(2)})
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    code = entries["weights/data.pkl"]
    callback = Opcodes().text("b").name("omegaconf.nodes", "AnyNode").text(f"touch {canary}").add(b"\x85R").code[2:]
    entries["weights/data.pkl"] = code[:-1] + callback + b"s."
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    assert_same(read_tensors(path), {"a": torch.ones(2)})
    assert not canary.exists()


@ZIP
def test_another_protocol_is_said_to_be_that(save: Callable[..., Path], zipped: bool) -> None:
    found = refusal(save(weights(), zipped, pickle_protocol=4))
    assert "another protocol" in found.message
    assert "Save it again" in found.hint


def test_a_name_cannot_move_the_cursor(tmp_path: Path) -> None:
    code = Opcodes().name("evil\x1b[2J", "run").add(b".").code
    assert "\x1b" not in refusal(zip_of(tmp_path / "a.ckpt", code)).message


# ---- hidden costs ----


def test_a_huge_tuple_is_not_hashed(tmp_path: Path) -> None:
    """Keys that would take 2 ** 60 steps to hash, or a stack of a million calls."""
    doubled = b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))
    deep = b")" + b"\x85" * 1_000_000
    for key in (doubled, deep):
        for container in (zip_of, legacy_of):
            assert "tuples" in refusal(container(tmp_path / "a.ckpt", b"\x80\x02}" + key + b"K\x01s.")).message


def test_memory_that_a_pickle_asks_for_is_refused(tmp_path: Path) -> None:
    code = Opcodes().name("builtins", "bytearray").add(b"\x8a\x07\0\0\0\0\0\0\x10\x85R.").code
    for container in (zip_of, legacy_of):
        message = refusal(container(tmp_path / "a.ckpt", code)).message
        assert "names builtins.bytearray, which can take any amount of memory" in message


@pytest.mark.parametrize(
    "code",
    [
        b"c_codecs\nencode\nX\x03\0\0\0abcX\x09\0\0\0hex_codec\x86R.",
        b"c_codecs\nencode\nc_codecs\nencode\nX\x01\0\0\0aX\x06\0\0\0latin1\x86RX\x06\0\0\0latin1\x86R.",
        b"c_codecs\nencode\nq\x000X\x03\0\0\0abcX\x08\0\0\0punycode\x86q\x010h\x00h\x01R.",
        b"ctorch._tensor\n_rebuild_from_type_v2\n(c_codecs\nencode\nNNNtR.",
    ],
)
def test_text_is_encoded_as_numpy_does_and_in_no_other_way(tmp_path: Path, code: bytes) -> None:
    """Other codecs double what they are given with each nesting, or take quadratic time."""
    for container in (zip_of, legacy_of):
        assert "_codecs.encode" in refusal(container(tmp_path / "a.ckpt", b"\x80\x02" + code)).message


def test_a_pickle_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaecheck.vae.pickles.MOST_OPERATIONS", 1000)
    assert "over 1,000 operations" in refusal(zip_of(tmp_path / "a.ckpt", b"\x80\x02" + b"N0" * 2000 + b"N.")).message


def test_dictionaries_nested_too_deep_or_doubled_are_refused(tmp_path: Path) -> None:
    deep = b"\x80\x02" + b"}X\x01\0\0\0a" * 500 + b"K\x01" + b"s" * 500 + b"."
    doubled = b"\x80\x02}" + b"".join(b"q%c}X\x01\0\0\0ah%csX\x01\0\0\0bh%cs" % (i, i, i) for i in range(40)) + b"."
    for code in (deep, doubled):
        assert "nested" in refusal(zip_of(tmp_path / "a.ckpt", code)).message


def test_sizes_that_the_file_does_not_have_are_refused(tmp_path: Path, save: Callable[..., Path]) -> None:
    bomb = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
        archive.writestr("archive/data/0", bytes(30_000_000))
    assert "claims to hold 30,0" in refusal(bomb).message
    (tmp_path / "header.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b'{"a":')
    assert "1,152,921,504,606,846,976" in refusal(tmp_path / "header.safetensors").message
    grown = refusal(save({"a": torch.ones(1).expand(1 << 40)}))
    assert "claims 4,398,046,511,104 bytes" in grown.message


def test_a_weight_repeated_under_many_names_is_refused(save: Callable[..., Path]) -> None:
    tied = torch.ones(250_000)
    assert "unfolds" in refusal(save({str(i): tied for i in range(20)})).message


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.ones(3, device="meta"), "meta device"),
        (torch.eye(3).to_sparse(), "sparse"),
        (torch.eye(3).to_sparse_csr(), "sparse"),
        (torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "quantised"),
    ],
)
@ZIP
def test_a_tensor_that_is_no_plain_array_is_refused_by_name(
    save: Callable[..., Path], tensor: Tensor, said: str, zipped: bool
) -> None:
    found = refusal(save({"fine": torch.ones(1), "odd.one": tensor}, zipped))
    assert "odd.one" in found.message
    assert said in found.message


# ---- damage, and files of another kind ----


@ZIP
def test_a_file_cut_short_is_said_to_be(save: Callable[..., Path], zipped: bool) -> None:
    path = save(weights(), zipped)
    content = path.read_bytes()
    for keep in (len(content) - 1, len(content) // 2, 40):
        path.write_bytes(content[:keep])
        assert "cut short" in refusal(path).message + refusal(path).hint


def test_safetensors_cut_short_are_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(weights(), path)
    content = path.read_bytes()
    for keep in (len(content) - 1, len(content) // 2, 40):
        path.write_bytes(content[:keep])
        assert "cut short" in refusal(path).message + refusal(path).hint


def test_a_flipped_bit_in_a_zip_is_found(save: Callable[..., Path]) -> None:
    path = save({"a": torch.arange(1000.0)})
    content = bytearray(path.read_bytes())
    content[content.find(struct.pack("<3f", 500, 501, 502))] ^= 1
    path.write_bytes(content)
    assert torch.load(path, weights_only=True)["a"].shape == (1000,)  # torch itself does not notice
    assert "CRC" in refusal(path).message


def test_a_zip_without_checksums_is_read(save: Callable[..., Path]) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        path = save(weights())
    finally:
        torch.serialization.set_crc32_options(True)
    assert_same(read_tensors(path), weights())


def test_a_compressed_zip_is_read(save: Callable[..., Path]) -> None:
    path = save(weights())
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    assert_same(read_tensors(path), weights())


def tar_of(content: bytes) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        entry = tarfile.TarInfo("storages")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return written.getvalue()


def zipped(*names: str) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return written.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 334695179\n"


@pytest.mark.parametrize(
    ("content", "said", "remedy"),
    [
        (b"", "empty", "Fetch it again"),
        (bytes(5000), "zero bytes", "Fetch it again"),
        (POINTER, "git-lfs pointer .* 334,695,179 bytes", "git lfs pull"),
        (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "web page", "/resolve/"),
        (b"GGUF\x03\0\0\0", "GGUF", "safetensors"),
        (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0", "ONNX", "torch weights"),
        (tar_of(b"x"), "tar archive", "Unpack"),
        (zipped("a.txt", "vae/config.json"), "zip archive of 2 files .*a.txt", "Unpack"),
        (zipped("m/data.pkl", "m/constants.pkl", "m/code/x.py"), "TorchScript", "torch.jit.load"),
        (zipped("a.npy", "b.npy"), "NumPy archive", "safetensors"),
        (b"\x89HDF\r\n\x1a\n", "HDF5", "safetensors"),
        (b"\x1f\x8b\x08", "gzip", "Unpack"),
        (json.dumps({"_class_name": "AutoencoderKL"}).encode(), "JSON", "folder"),
        (b"just words", "text file", "weights"),
        (pickle.dumps({"a": np.ones(3)}), "plain Python pickle", "safetensors"),
        (bytes(range(200, 256)) * 30, "c8 c9 ca", "sha256"),
    ],
)
def test_a_file_of_another_kind_is_named_with_its_remedy(
    tmp_path: Path, content: bytes, said: str, remedy: str
) -> None:
    path = tmp_path / "vae.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        read_tensors(path)
    assert remedy in caught.value.hint


def test_torchscript_of_torch_itself_is_refused(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "a.pt")
    assert "TorchScript" in refusal(tmp_path / "a.pt").message


@pytest.mark.parametrize("content", [torch.ones(3), [torch.ones(3)], {}, {"a": 1}, {"state_dict": {}}, 5])
@ZIP
def test_what_holds_no_named_tensors_is_said_to(save: Callable[..., Path], content: object, zipped: bool) -> None:
    assert "no named tensors" in refusal(save(content, zipped)).message


def test_a_name_given_twice_is_refused(save: Callable[..., Path]) -> None:
    assert "names a.b twice" in refusal(save({"a": {"b": torch.ones(1)}, "a.b": torch.ones(1)})).message


def test_a_path_that_is_no_file_is_said_to_be(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / "absent").message
    assert "is no file" in refusal(tmp_path).message
    assert "is no file" in refusal(Path("/dev/null")).message
