"""500 damaged checkpoints: each ends in an error with a remedy, or in a VAE that runs. Nothing hangs, nothing is run.

Five sound files of one small model, 100 mutations of each: 60 of their bytes, 40 of what they say.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import random
import struct
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import save as safetensors_of
from torch import Tensor

from tests.vae import layout_writers
from vaecheck.deadline import within
from vaecheck.errors import VaecheckError
from vaecheck.vae.load import load_vae

OF_BYTES, OF_CONTENT = 60, 40
SECONDS_PER_FILE = 20.0
FORMS = ("safetensors", "lightning", "zip", "legacy", "folder")
State = dict[Any, Any]

CONFIG = {
    "_class_name": "AutoencoderKL",
    "act_fn": "silu",
    "block_out_channels": [32, 32, 32],
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 1,
    "norm_num_groups": 32,
    "scaling_factor": 0.18215,
}


class Payload:
    """Writes a file, the canary, when it is unpickled by a reader that runs what it reads."""

    canary = Path()

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"open({str(Payload.canary)!r}, 'w')",)


@pytest.fixture(scope="module")
def states() -> dict[str, State]:
    """The small model's tensors by their names in diffusers and in LDM."""
    import diffusers

    torch.manual_seed(0)
    model = diffusers.AutoencoderKL.from_config(CONFIG).eval()
    return {"diffusers": layout_writers.diffusers(model), "ldm": layout_writers.ldm(model)}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What was run, by Python's audit of programs, shells and connections started."""
    seen: list[str] = []
    watched = {"os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "socket.connect"}
    on = [True]

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if on[0] and event in watched:
            seen.append(f"{event} {arguments}")

    sys.addaudithook(note)
    yield seen
    on[0] = False


# ---- writing one form of the model ----


def written(form: str, state: State, extra: dict[str, Any] | None = None) -> bytes:
    """The weight file of a form with these tensors, and plain values beside them where it has a place for them."""
    if form in ("safetensors", "folder"):
        plain = {name: value for name, value in state.items() if isinstance(value, Tensor)}
        metadata = {name: str(value) for name, value in (extra or {}).items()} | {"format": "pt"}
        return safetensors_of({name: tensor.contiguous() for name, tensor in plain.items()}, metadata)
    content: object = state
    if form == "lightning":
        content = {"epoch": 1, "hyper_parameters": {"scale_factor": 0.3}, "state_dict": state, **(extra or {})}
    file = io.BytesIO()
    if form == "legacy":
        Legacy(file).save(content)
    else:
        torch.save(content, file)
    return file.getvalue()


class Legacy(pickle.Pickler):
    """torch.save's old container. torch's own writer names storages by their addresses, so no two runs agree."""

    KINDS: ClassVar[dict[torch.dtype, Any]] = {
        torch.float32: torch.FloatStorage,
        torch.float64: torch.DoubleStorage,
        torch.float16: torch.HalfStorage,
        torch.int64: torch.LongStorage,
        torch.int8: torch.CharStorage,
        torch.bool: torch.BoolStorage,
        torch.complex64: torch.ComplexFloatStorage,
    }

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, 2)
        self._file = file
        self._storages: dict[int, tuple[str, Any, int]] = {}

    def persistent_id(self, item: Any) -> tuple[object, ...] | None:
        if not isinstance(item, torch.storage.TypedStorage | torch.storage.UntypedStorage):
            return None
        typed = isinstance(item, torch.storage.TypedStorage)
        storage = item.untyped() if typed else item
        kind = self.KINDS[item.dtype] if typed else torch.UntypedStorage
        count = storage.nbytes() // (item.dtype.itemsize if typed else 1)
        key, _, _ = self._storages.setdefault(storage.data_ptr(), (str(len(self._storages)), storage, count))
        return "storage", kind, key, "cpu", count, None

    def save(self, content: object) -> None:
        for part in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}):
            pickle.dump(part, self._file, 2)
        self.dump(content)
        pickle.dump([key for key, _, _ in self._storages.values()], self._file, 2)
        for _, storage, count in self._storages.values():
            self._file.write(struct.pack("<q", count))
            self._file.write(torch.empty(0, dtype=torch.uint8).set_(storage).numpy().tobytes())


def place(form: str, content: bytes, folder: Path, config: str = json.dumps(CONFIG)) -> Path:
    """The path to give --vae."""
    folder.mkdir()
    if form == "folder":
        (folder / "config.json").write_text(config, encoding="utf-8", errors="surrogateescape")
        (folder / "diffusion_pytorch_model.safetensors").write_bytes(content)
        return folder
    path = folder / ("vae.safetensors" if form == "safetensors" else "vae.ckpt")
    path.write_bytes(content)
    return path


# ---- mutations of bytes ----


def mutated_bytes(content: bytes, draw: random.Random) -> tuple[str, bytes]:
    changed = bytearray(content)
    size, kind = (
        len(content),
        draw.choice(("cut", "head", "tail", "body", "noise", "zeros", "insert", "delete", "more")),
    )
    start = int(size * draw.random() ** 3) if draw.random() < 0.5 else size - 1 - int(size * draw.random() ** 3)
    start = min(max(start, 0), size - 1)
    span = draw.choice((1, 8, 100, 5000))
    if kind == "cut":
        del changed[start:]
    elif kind in ("head", "tail", "body"):
        low, high = {"head": (0, min(8192, size)), "tail": (max(0, size - 8192), size), "body": (0, size)}[kind]
        for _ in range(draw.choice((1, 1, 5, 50))):
            changed[draw.randrange(low, high)] ^= 1 << draw.randrange(8)
    elif kind == "noise":
        changed[start : start + span] = draw.randbytes(span)
    elif kind == "zeros":
        changed[start : start + span] = bytes(span)
    elif kind == "insert":
        changed[start:start] = draw.randbytes(span)
    elif kind == "delete":
        del changed[start : start + span]
    else:
        changed += draw.randbytes(span)
    return f"{kind} at {start} of {size}", bytes(changed)


# ---- mutations of what the file says ----


def _one(state: State, draw: random.Random, ndim: int = 0) -> str:
    return draw.choice([name for name, value in state.items() if value.ndim >= ndim])


def _replace(make: Callable[[Tensor, random.Random], object], ndim: int = 0) -> Callable[[State, random.Random], State]:
    def change(state: State, draw: random.Random) -> State:
        name = _one(state, draw, ndim)
        return state | {name: make(state[name], draw)}

    return change


def _rename(state: State, draw: random.Random) -> State:
    name = _one(state, draw)
    to = draw.choice(("", "..", name.upper(), f"module.{name}", f"{name}.weight", "\x1b[2J", "encoder", "é" * 300))
    return {to if key == name else key: value for key, value in state.items()}


def _swap(state: State, draw: random.Random) -> State:
    first, second = _one(state, draw), _one(state, draw)
    return state | {first: state[second], second: state[first]}


CONTENT: dict[str, Callable[[State, random.Random], State]] = {
    "missing": lambda state, draw: {k: v for k, v in state.items() if k != draw.choice(list(state))},
    "half": lambda state, draw: dict(draw.sample(list(state.items()), len(state) // 2)),
    "encoder alone": lambda state, _: {k: v for k, v in state.items() if k.startswith("encoder")},
    "extra": lambda state, draw: state | {"encoder.more.weight": torch.ones(draw.randrange(9))},
    "renamed": _rename,
    "prefixed": lambda state, draw: {
        draw.choice(("first_stage_model.", "model.", "loss.", "a.b.")) + k: v for k, v in state.items()
    },
    "swapped": _swap,
    "transposed": _replace(lambda t, _: t.transpose(0, 1).contiguous(), 2),
    "flattened": _replace(lambda t, _: t.flatten()),
    "sliced": _replace(lambda t, _: t[: len(t) // 2].clone(), 1),
    "emptied": _replace(lambda t, _: t[:0].clone(), 1),
    "scalar": _replace(lambda t, _: t.flatten()[0].clone()),
    "another dtype": _replace(
        lambda t, draw: t.to(
            draw.choice((torch.int64, torch.int8, torch.bool, torch.float64, torch.float16, torch.float8_e4m3fn))
        )
    ),
    "complex": _replace(lambda t, _: t.to(torch.complex64)),
    "not finite": _replace(lambda t, draw: torch.full_like(t, draw.choice((math.nan, math.inf, 3e38)))),
}
OF_PICKLES: dict[str, Callable[[State, random.Random], State]] = {
    "int": _replace(lambda _, draw: draw.choice((0, -1, 1 << 70))),
    "no tensor": _replace(lambda _, draw: draw.choice((None, "x", 0.5, [1], b"x", (), {"a": 1}))),
    "list of tensors": _replace(lambda t, _: [t, t]),
    "nested": _replace(lambda t, _: {"a": {"weight": t}}),
    "sparse": _replace(lambda t, _: t.to_sparse()),
    "meta": _replace(lambda t, _: t.to("meta")),
    "expanded": _replace(lambda t, _: torch.ones(1).expand(1 << 35)),
    "view": _replace(lambda t, _: t.expand(2, *t.shape)[1]),
    "code": _replace(lambda _, __: Payload()),
    "odd keys": lambda state, draw: state | {draw.choice((5, None, (1, 2), b"k", 0.5)): torch.ones(1)},
}
BESIDE: tuple[dict[str, Any], ...] = (
    {"scaling_factor": math.nan},
    {"scaling_factor": 0, "shift_factor": math.inf},
    {"hyper_parameters": {"scale_factor": "a lot"}},
    {"hyper_parameters": [1, 2]},
    {"config": "{" * 5000},
    {"norm_num_groups": 7},
    {"config": {"norm_num_groups": -1, "scaling_factor": [1, 2]}},
)
VALUES: tuple[object, ...] = (
    None,
    "x",
    -1,
    0,
    2.5,
    True,
    [],
    {},
    [0],
    ["x"],
    64,
    31,
    [32],
    [32] * 5,
    1 << 70,
    math.nan,
)


def mutated_content(form: str, states: dict[str, State], draw: random.Random) -> tuple[str, bytes, str]:
    """What was done, the weight file and the config.json."""
    state = states["ldm" if form in ("safetensors", "lightning", "legacy") else "diffusers"]
    config = json.dumps(CONFIG)
    if form == "folder" and draw.random() < 0.6:
        name, value = draw.choice(list(CONFIG)), draw.choice(VALUES)
        text = json.dumps({**CONFIG, name: value})
        kind = draw.choice(("value", "value", "value", "missing", "cut", "flip"))
        if kind == "missing":
            text = json.dumps({key: item for key, item in CONFIG.items() if key != name})
        elif kind == "cut":
            text = config[: draw.randrange(len(config))]
        elif kind == "flip":
            spot = draw.randrange(len(config))
            text = config[:spot] + chr(ord(config[spot]) ^ 1 << draw.randrange(7)) + config[spot + 1 :]
        return f"config {kind}: {name} = {value!r}", written(form, state), text
    if form in ("safetensors", "lightning") and draw.random() < 0.2:
        beside = draw.choice(BESIDE)
        return f"beside: {str(beside)[:60]}", written(form, state, beside), config
    pickled = form not in ("safetensors", "folder")
    if pickled and draw.random() < 0.1:
        return "entry twice", entry_twice(written(form, state), draw), config
    choices = CONTENT | (OF_PICKLES if pickled else {})
    name = draw.choice(list(choices))
    return name, written(form, choices[name](state, draw), {}), config


def entry_twice(content: bytes, draw: random.Random) -> bytes:
    """A zip with one entry repeated with another content; any other file with its first half repeated."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return content[: len(content) // 2] + content
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a") as archive:
        entry = draw.choice(archive.namelist())
        archive.writestr(entry, draw.randbytes(100))
    return file.getvalue()


# ---- the law ----


def outcome(path: Path) -> str:
    """ "refused" with a remedy, or "runs"; anything else raises."""
    torch.manual_seed(0)
    pixels = torch.rand(1, 3, 32, 32) * 2 - 1

    def attempt() -> VaecheckError | None:
        try:
            vae = load_vae(str(path), offline=True)
        except VaecheckError as error:
            return error
        decoded = vae.decode(vae.encode(pixels).mean)
        assert decoded.shape == pixels.shape
        return None

    error = within(SECONDS_PER_FILE, attempt)
    if error is None:
        return "runs"
    assert error.message
    assert error.hint, f"no remedy: {error.message}"
    assert "\x1b" not in error.message + error.hint
    return "refused"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.filterwarnings("ignore")
def test_every_mutated_file_is_refused_or_runs(
    form: str, states: dict[str, State], tmp_path: Path, started: list[str], record_property: Callable[..., None]
) -> None:
    Payload.canary = tmp_path / "canary"
    sound = written(form, states["diffusers" if form in ("zip", "folder") else "ldm"])
    assert outcome(place(form, sound, tmp_path / "sound")) == "runs"
    started.clear()
    outcomes: Counter[str] = Counter()
    faults: list[str] = []
    slowest = (0.0, "")
    for number in range(OF_BYTES + OF_CONTENT):
        draw = random.Random(f"{form} {number}")
        config = json.dumps(CONFIG)
        if number < OF_BYTES:
            what, content = mutated_bytes(sound, draw)
        else:
            what, content, config = mutated_content(form, states, draw)
        path = place(form, content, tmp_path / str(number), config)
        begin = time.monotonic()
        try:
            outcomes[outcome(path)] += 1
        except Exception as error:
            faults.append(f"{number} ({what}): {type(error).__name__}: {str(error)[:200]}")
        slowest = max(slowest, (time.monotonic() - begin, what))
        for file in [path] if path.is_file() else list(path.iterdir()):
            file.unlink()
    record_property("outcomes", dict(outcomes))
    print(f"{form}: {dict(outcomes)}, slowest {slowest[0]:.1f} s ({slowest[1]})")
    assert not faults, "\n".join(faults)
    assert started == []
    assert not Payload.canary.exists()
    assert outcomes.total() == OF_BYTES + OF_CONTENT
    assert min(outcomes["refused"], outcomes["runs"]) >= 3


def test_the_payload_does_run_where_nothing_is_checked(tmp_path: Path) -> None:
    Payload.canary = tmp_path / "canary"
    torch.load(io.BytesIO(written("zip", {"a": Payload()})), weights_only=False)
    assert Payload.canary.exists()
