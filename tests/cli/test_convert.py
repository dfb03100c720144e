"""`vaecheck weights convert`: any weights to safetensors, with the same reconstruction, and nothing written over."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from tests.cli.conftest import Run
from tests.vae import layout_writers
from vaecheck.vae.load import load_vae

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def model() -> Any:
    import diffusers

    torch.manual_seed(0)
    made = diffusers.AutoencoderKL(
        block_out_channels=(32, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        scaling_factor=0.3,
    )
    return made.eval()


@pytest.fixture
def written(model: Any, tmp_path: Path) -> Callable[[str], Path]:
    """The model in one form of those that people have."""

    def write(form: str) -> Path:
        path = tmp_path / f"in-{form}"
        if form in ("folder", "folder-bin", "pipeline"):
            place = path / "vae" if form == "pipeline" else path
            model.save_pretrained(place, safe_serialization=form != "folder-bin")
            return path
        state = layout_writers.ldm(model)
        if form == "half":
            state = {name: tensor.half() for name, tensor in state.items()}
        content: object = {f"first_stage_model.{name}": tensor for name, tensor in state.items()}
        if form in ("lightning", "legacy"):
            content = {"state_dict": content, "hyper_parameters": {"scale_factor": 0.25}, "global_step": 7}
        torch.save(content, path, _use_new_zipfile_serialization=form != "legacy")
        return path

    return write


def test_a_guess_is_said_again_and_a_capital_suffix_is_a_file(
    run: Run, written: Callable[[str], Path], tmp_path: Path
) -> None:
    source = written("plain")
    done = run("weights", "convert", source, tmp_path / "folder")
    assert done.code == 0
    assert "is a guess" in done.err
    done = run("weights", "convert", source, tmp_path / "OUT.SAFETENSORS")
    assert done.code == 0
    assert (tmp_path / "OUT.SAFETENSORS").is_file()


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    """A folder is read by our own class and a single file by diffusers', which sum in other orders."""
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def reconstruction(path: Path) -> Tensor:
    vae = load_vae(str(path), offline=True)
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return vae.decode(vae.encode(pixels).mean)


@pytest.mark.parametrize(
    ("form", "scaling"),
    [
        *(("folder", 0.3), ("folder-bin", 0.3), ("pipeline", 0.3)),
        *(("ldm", None), ("half", None), ("lightning", 0.25), ("legacy", 0.25)),
    ],
)
def test_the_reconstruction_stays_the_same(
    run: Run, written: Callable[[str], Path], tmp_path: Path, form: str, scaling: float | None
) -> None:
    source, out = written(form), tmp_path / "a" / "out"
    done = run("weights", "convert", source, out)
    assert done.code == 0, done.err
    assert sorted(path.name for path in out.iterdir()) == ["config.json", WEIGHTS]
    assert_same(reconstruction(out), reconstruction(source))
    assert load_vae(str(out)).card.scaling_factor == scaling
    assert json.loads((out / "config.json").read_text()).get("scaling_factor") == scaling
    expected = torch.float16 if form == "half" else torch.float32
    assert {tensor.dtype for tensor in load_file(out / WEIGHTS).values()} == {expected}
    assert ("scaling factor is not known" in done.err) == (scaling is None)
    assert str(out) in done.out.replace("\n", "")
    assert ("first_stage_model" if "folder" not in form and form != "pipeline" else "AutoencoderKL") in done.out


def test_diffusers_itself_reads_what_was_written(
    run: Run, written: Callable[[str], Path], tmp_path: Path, model: Any
) -> None:
    import diffusers

    assert run("weights", "convert", written("lightning"), tmp_path / "out").code == 0
    again, info = diffusers.AutoencoderKL.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info.values())
    assert again.config.scaling_factor == 0.25
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_given_factors_go_into_the_config(run: Run, written: Callable[[str], Path], tmp_path: Path) -> None:
    for form in ("ldm", "folder"):
        out = tmp_path / f"out-{form}"
        done = run("weights", "convert", written(form), out, "--scaling-factor", 0.5, "--shift-factor", 0.1)
        assert done.code == 0, done.err
        card = load_vae(str(out)).card
        assert (card.scaling_factor, card.shift_factor) == (0.5, 0.1)
        assert "not known" not in done.err
        assert "0.5" in done.out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_dtype_rounds_the_weights_and_nothing_else(
    run: Run, written: Callable[[str], Path], tmp_path: Path, model: Any, dtype: torch.dtype
) -> None:
    name = str(dtype).removeprefix("torch.")
    done = run("weights", "convert", written("ldm"), tmp_path / "out", "--dtype", name)
    assert done.code == 0, done.err
    assert name in done.out
    found = load_file(tmp_path / "out" / WEIGHTS)
    for key, tensor in model.state_dict().items():
        assert torch.equal(found[key], tensor.to(dtype)), key


def test_a_file_of_two_dtypes_loses_nothing(run: Run, tmp_path: Path, model: Any) -> None:
    state = {name: t.half() if "encoder" in name else t for name, t in layout_writers.ldm(model).items()}
    torch.save(state, tmp_path / "mixed.pt")
    assert run("weights", "convert", tmp_path / "mixed.pt", tmp_path / "out").code == 0
    assert_same(reconstruction(tmp_path / "out"), reconstruction(tmp_path / "mixed.pt"))


def test_plain_safetensors_keep_every_name_and_what_stood_beside(run: Run, tmp_path: Path) -> None:
    """For layouts that vaecheck does not know: a pickle of any model becomes a safe file."""
    state = {"anything.at.all": torch.randn(3, 4), "tied": torch.ones(2), "count": torch.tensor(3)}
    state["tied_too"] = state["tied"]
    torch.save({"state_dict": state, "global_step": 7, "hyper_parameters": {"lr": 0.1}}, tmp_path / "in.ckpt")
    out = tmp_path / "out.safetensors"
    done = run("weights", "convert", tmp_path / "in.ckpt", out)
    assert done.code == 0, done.err
    found = load_file(out)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    with safe_open(out, framework="pt") as file:
        assert file.metadata() == {"format": "pt", "global_step": "7", "hyper_parameters": '{"lr": 0.1}'}
    assert "4 tensors" in done.out


def test_plain_safetensors_of_a_vae_load_again_with_their_scaling(
    run: Run, written: Callable[[str], Path], tmp_path: Path
) -> None:
    source, out = written("lightning"), tmp_path / "out.safetensors"
    assert run("weights", "convert", source, out).code == 0
    assert torch.equal(reconstruction(out), reconstruction(source))
    assert load_vae(str(out)).card.scaling_factor == 0.25


def test_new_files_have_the_rights_of_new_files(run: Run, written: Callable[[str], Path], tmp_path: Path) -> None:
    run("weights", "convert", written("ldm"), tmp_path / "out")
    rights = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").iterdir()}
    (tmp_path / "plain").touch()
    assert rights == {stat.S_IMODE((tmp_path / "plain").stat().st_mode)}


def refused(run: Run, source: Path, out: Path, *more: object) -> str:
    before = sorted(out.parent.rglob("*"))
    done = run("weights", "convert", source, out, *more)
    assert done.code == 2
    assert "hint" in done.err
    assert sorted(out.parent.rglob("*")) == before, "something was left behind"
    return " ".join(done.err.split())


def test_nothing_is_written_over(run: Run, written: Callable[[str], Path], tmp_path: Path) -> None:
    source, full = written("ldm"), tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    assert "is not empty" in refused(run, source, full)
    (tmp_path / "taken.safetensors").write_text("mine")
    assert "exists already" in refused(run, source, tmp_path / "taken.safetensors")
    assert "exists already" in refused(run, source, full / "mine.txt")
    assert (tmp_path / "taken.safetensors").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    assert run("weights", "convert", source, tmp_path / "empty").code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--scaling-factor", 0), "scales nothing"),
        (("--scaling-factor", "nan"), "scales nothing"),
        (("--shift-factor", "inf"), "scales nothing"),
        (("--dtype", "float8"), "float8"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    run: Run, written: Callable[[str], Path], tmp_path: Path, options: tuple[Any, ...], said: str
) -> None:
    done = run("weights", "convert", written("ldm"), tmp_path / "out", *options)
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "out").exists()


def test_inputs_that_cannot_be_converted_leave_nothing_behind(
    run: Run, written: Callable[[str], Path], tmp_path: Path, model: Any
) -> None:
    out = tmp_path / "out"
    assert "does not exist" in refused(run, tmp_path / "absent", out)
    assert "would be a pickle" in refused(run, written("ldm"), tmp_path / "out.ckpt")
    assert "no config.json" in refused(run, tmp_path / "in-ldm", tmp_path / "out.safetensors", "--scaling-factor", 0.5)
    torch.save({"weights": eval}, tmp_path / "evil.ckpt")
    assert "builtins.eval" in refused(run, tmp_path / "evil.ckpt", out)
    assert "builtins.eval" in refused(run, tmp_path / "evil.ckpt", tmp_path / "out.safetensors")
    torch.save({"a": torch.ones(3)}, tmp_path / "no_vae.ckpt")
    assert refused(run, tmp_path / "no_vae.ckpt", out)
    broken = written("folder")
    state = load_file(broken / WEIGHTS)
    torch.save({k: v for k, v in state.items() if "conv_in" not in k}, broken / "diffusion_pytorch_model.bin")
    (broken / WEIGHTS).unlink()
    assert "conv_in" in refused(run, broken, out)


def test_weights_too_large_for_float16_are_said_to_be(run: Run, tmp_path: Path, model: Any) -> None:
    state = layout_writers.ldm(model)
    state["encoder.conv_in.bias"] = torch.full_like(state["encoder.conv_in.bias"], 7e4)
    torch.save(state, tmp_path / "large.pt")
    said = refused(run, tmp_path / "large.pt", tmp_path / "out", "--dtype", "float16")
    assert "70000" in said
    assert "bfloat16" in said
