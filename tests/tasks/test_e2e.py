"""`train unet` and `e2e` as tasks: what is refused, what is measured, and that it is gone on with."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from vaecheck.errors import InputError
from vaecheck.render.ceiling import is_above, vaes_share
from vaecheck.render.forms import to_markdown
from vaecheck.render.report import write_report
from vaecheck.results import files
from vaecheck.results.ceiling import Point
from vaecheck.results.types import LatentScaling
from vaecheck.tasks import train_unet as task
from vaecheck.tasks.e2e import E2ESettings, e2e
from vaecheck.tasks.e2e_judgement import best_of
from vaecheck.tasks.reconstruct import reconstruct
from vaecheck.tasks.settings import Listener, Settings
from vaecheck.tasks.train_unet import UNetSettings, train_unet
from vaecheck.train.latents import Latents
from vaecheck.train.loop import read_log
from vaecheck.vae.kl_f8 import KLAutoencoder, KLConfig

CONFIG = """
[model]
block_out_channels = [16]
layers_per_block = 1
attention_levels = []
norm_num_groups = 8
[training]
steps = 8
batch_size = 4
warmup_steps = 2
prediction = "flow"
"""
SETTINGS = Settings(size=32, limit=12, offline=True, metrics=("psnr_db", "fd_efficientnet_lite0"), device="cpu")
CHECK = E2ESettings(levels=(0.3, 0.8), denoise_steps=4, sample_steps=4, samples=6)


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "unet.toml"
    path.write_text(CONFIG)
    return str(path)


@pytest.fixture
def other(tmp_path: Path) -> str:
    torch.manual_seed(0)
    model = KLAutoencoder(KLConfig((8, 8, 16), 1, 4, 4, mid_block_add_attention=False))
    model.save(tmp_path / "other")
    return str(tmp_path / "other")


def test_latents_are_encoded_once(tmp_path: Path, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = train_unet("samples", "kl-f8-tiny", tmp_path / "out", SETTINGS, config=config)
    assert (first.steps, first.latents) == (8, 24)
    assert 0.8 <= first.std <= 1.25

    from vaecheck.vae.adapter import LoadedVAE

    def refuse(*args: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(LoadedVAE, "encode", refuse)
    again = train_unet("samples", "kl-f8-tiny", tmp_path / "out", SETTINGS, config=config)
    assert again.std == first.std


def test_latents_off_scale_are_refused(tmp_path: Path, config: str) -> None:
    wrong = replace(SETTINGS, scaling_factor=3.0)
    with pytest.raises(InputError, match=r"outside 0\.8 to 1\.25") as refused:
        train_unet("samples", "kl-f8-tiny", tmp_path / "out", wrong, config=config)
    assert "--scaling-factor" in refused.value.hint
    assert train_unet("samples", "kl-f8-tiny", tmp_path / "any", wrong, UNetSettings(any_scale=True), config).std > 3


def test_an_unknown_factor_is_measured_and_told(tmp_path: Path, config: str, other: str) -> None:
    told: list[str] = []
    done = train_unet("samples", other, tmp_path / "out", SETTINGS, config=config, listener=Listener(tell=told.append))
    assert done.std == pytest.approx(1.0, rel=1e-6)
    assert any("ships no scaling factor" in text for text in told)


def test_a_shipped_shift_stays_with_a_measured_factor(
    tmp_path: Path, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = task.open_bench

    def shifted(*given: Any) -> Any:
        bench = real(*given)
        bench.vae.card = replace(bench.vae.card, scaling=LatentScaling(None, 0.7, source="config.json"))
        return bench

    monkeypatch.setattr(task, "open_bench", shifted)
    done = train_unet("samples", "kl-f8-tiny", tmp_path / "out", SETTINGS, config=config)
    assert done.scaling.shift_factor == 0.7
    assert done.std == pytest.approx(1.0, rel=1e-6)


def test_latents_of_weights_without_a_hash_are_encoded_anew(
    tmp_path: Path, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code of a user's class may have changed, which nobody sees from here."""
    code = tmp_path / "mine.py"
    text = "from vaecheck.vae.kl_f8 import KLAutoencoder, KLConfig\nimport torch\n"
    text += "def build():\n    torch.manual_seed({})\n"
    text += "    return KLAutoencoder(KLConfig((8, 8, 16), 1, 4, 4, mid_block_add_attention=False))\n"
    code.write_text(text.format(0))
    first = train_unet("samples", f"{code}:build", tmp_path / "out", SETTINGS, config=config)
    code.write_text(text.format(1))
    with pytest.raises(InputError, match="another training: latents"):
        train_unet("samples", f"{code}:build", tmp_path / "out", SETTINGS, config=config)
    code.write_text(text.format(0))
    assert train_unet("samples", f"{code}:build", tmp_path / "out", SETTINGS, config=config) == first


def test_constant_latents_are_refused(tmp_path: Path, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Latents, "scaled_std", lambda *given: 0.0)
    with pytest.raises(InputError, match="constant"):
        train_unet("samples", "kl-f8-tiny", tmp_path / "out", SETTINGS, config=config)


@pytest.mark.slow
def test_two_processes_train_the_unet_of_one(tmp_path: Path, config: str) -> None:
    """Only the first encodes; both take its latents, its scaling and halves of its batches."""
    common = ["-m", "vaecheck", "train", "unet", "samples", "--vae", "kl-f8-tiny", "--config", config, "--size", "32"]
    common += ["--limit", "12", "--offline", "--device", "cpu", "--report-every", "1", "--scaling", "measured"]
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    logs = []
    for name, launcher in (("one", []), ("two", several)):
        command = [sys.executable, *launcher, *common, "--out", str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        logs.append(read_log(tmp_path / name))
    assert len(logs[0]) == 8
    for one, two in zip(*logs, strict=True):
        assert two == pytest.approx(one, rel=1e-4)


def test_the_ceiling_is_what_reconstruct_measures(tmp_path: Path, config: str, other: str) -> None:
    found = e2e("samples", ["kl-f8-tiny", other], tmp_path / "out", SETTINGS, config=config, check=CHECK)
    assert found.held_out == 2
    assert found.data.count == 10
    assert not found.best  # 10 pictures decide nothing
    assert "unreliable" in found.decided_by
    for climb in found.vaes:
        assert [one.level for one in climb.denoised] == [0.3, 0.8]
        assert {point.step for point in climb.curve} == set(range(1, 9))
        assert set(climb.samples) == {"fd_efficientnet_lite0"}
        assert climb.unet["latent_std"] == pytest.approx(1.0, abs=0.25)
    tiny = found.vaes[0]
    whole, _ = reconstruct("samples", "kl-f8-tiny", replace(SETTINGS, metrics=("psnr_db",), yardstick="none"))
    ids, values = whole.per_image.ids, whole.per_image.columns["psnr_db"]
    own = dict(zip(ids, values, strict=True))
    assert tiny.ceiling["psnr_db"].value in [
        pytest.approx((own[a] + own[b]) / 2, abs=1e-4) for i, a in enumerate(ids) for b in ids[i + 1 :]
    ]
    share = vaes_share(tiny, "fd_efficientnet_lite0")
    assert share == pytest.approx(
        tiny.ceiling_of_all["fd_efficientnet_lite0"].value / tiny.samples["fd_efficientnet_lite0"].value
    )

    saved = write_report(found, (), tmp_path / "report")
    assert files.load(tmp_path / "report") == saved
    text = to_markdown(saved)
    assert "ceiling" in text
    assert f"{tiny.ceiling['psnr_db'].value:.2f}" in text
    assert (tmp_path / "report" / "plots" / "ceiling-psnr_db.png").exists()

    again = e2e("samples", ["kl-f8-tiny", other], tmp_path / "out", SETTINGS, config=config, check=CHECK)
    assert again.vaes == found.vaes


def test_held_out_pictures_may_be_others(tmp_path: Path, config: str) -> None:
    from PIL import Image

    (tmp_path / "val").mkdir()
    for place in range(3):
        Image.linear_gradient("L").rotate(90 * place).convert("RGB").save(tmp_path / "val" / f"{place}.png")
    found = e2e(
        "samples", ["kl-f8-tiny"], tmp_path / "out", SETTINGS, val=str(tmp_path / "val"), config=config, check=CHECK
    )
    assert (found.held_out, found.data.count) == (3, 12)
    assert found.vaes[0].ceiling["psnr_db"].n == 3
    text = to_markdown(found).replace("\\", "")
    assert " ~ |" in text
    assert "~ unreliable: " in text


def test_a_look_is_a_denoising_of_one_step_without_the_padding(tmp_path: Path, config: str) -> None:
    """In batches of one: all pictures are looked at, and only where they are."""
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    for place in range(6):
        picture = Image.linear_gradient("L").rotate(70 * place).convert("RGB").crop((100, 100, 150, 145))
        picture.save(tmp_path / "pictures" / f"{place}.png")
    padded = replace(SETTINGS, fit="pad", batch_size=1, metrics=("psnr_db",))
    check, source = E2ESettings(levels=(0.5,), denoise_steps=1, samples=0), str(tmp_path / "pictures")
    unet = UNetSettings(any_scale=True)
    one = e2e(source, ["kl-f8-tiny"], tmp_path / "out", padded, config=config, check=check, unet=unet)
    found = one.vaes[0]
    assert found.curve[-1].psnr_db == pytest.approx(found.denoised[0].measures["psnr_db"].value, abs=1e-4)
    assert found.curve[-1].latent_error == pytest.approx(found.denoised[0].latent_error, rel=1e-4)


def test_looks_of_other_pictures_and_damaged_ones_are_not_taken(tmp_path: Path, config: str) -> None:
    def looked(check: E2ESettings) -> tuple[Point, ...]:
        settings = replace(SETTINGS, metrics=("psnr_db",))
        return e2e("samples", ["kl-f8-tiny"], tmp_path / "out", settings, config=config, check=check).vaes[0].curve

    check = replace(CHECK, samples=0)
    first = looked(check)
    assert looked(check) == first
    other = looked(replace(check, levels=(0.8,)))
    assert [point.step for point in other] == [8]
    assert other[0].psnr_db != first[-1].psnr_db
    looks = next((tmp_path / "out").rglob("looks.json"))
    looks.write_text(looks.read_text()[:20])
    assert looked(check) == first[-1:]


def test_held_out_pictures_that_were_trained_on_are_told(tmp_path: Path, config: str) -> None:
    found = e2e(
        "samples",
        ["kl-f8-tiny"],
        tmp_path / "out",
        SETTINGS,
        val="samples",
        config=config,
        check=replace(CHECK, samples=0),
    )
    assert any("are among those that were trained on" in warning for warning in found.warnings)


def test_a_figure_above_the_ceiling_is_told_by_its_direction(tmp_path: Path, config: str) -> None:
    found = e2e("samples", ["kl-f8-tiny"], tmp_path / "out", SETTINGS, config=config, check=replace(CHECK, samples=0))
    climb = found.vaes[0]
    assert climb.samples == {}
    psnr = climb.ceiling["psnr_db"]
    higher, lower = replace(psnr, value=psnr.value + 1), replace(psnr, value=psnr.value - 1)
    assert is_above(psnr, higher)
    assert not is_above(psnr, lower)
    assert is_above(replace(psnr, better="lower"), replace(lower, better="lower"))
    assert not is_above(psnr, None)
    assert "One VAE" in found.decided_by


def test_who_is_best_needs_intervals_that_do_not_meet(tmp_path: Path, config: str) -> None:
    found = e2e("samples", ["kl-f8-tiny"], tmp_path / "out", SETTINGS, config=config, check=CHECK)
    climb, name = found.vaes[0], "fd_efficientnet_lite0"

    def with_distance(ref: str, value: float, low: float, high: float, status: str = "ok"):
        measure = replace(climb.samples[name], value=value, ci95=(low, high), status=status, reason="few pictures")
        return replace(climb, ref=ref, samples={name: measure})

    good, bad = with_distance("good", 10.0, 9.0, 11.0), with_distance("bad", 20.0, 18.0, 22.0)
    assert best_of([bad, good])[0] == "good"
    assert best_of([with_distance("near", 11.0, 10.0, 12.0), good])[0] == ""
    assert best_of([bad, replace(good, samples={})])[0] == ""
    assert best_of([bad, replace(good, samples={name: replace(good.samples[name], ci95=None)})])[0] == ""
    assert best_of([bad, replace(good, samples={name: replace(good.samples[name], n=5)})])[0] == ""
    best, words = best_of([bad, with_distance("few", 10.0, 9.0, 11.0, "unreliable")])
    assert best == ""
    assert words.startswith("No VAE is recommended: few is ahead")


def test_few_pictures_and_doubled_vaes_are_refused(tmp_path: Path, config: str) -> None:
    with pytest.raises(InputError, match="too few"):
        e2e("samples", ["kl-f8-tiny"], tmp_path / "out", replace(SETTINGS, limit=3), config=config, check=CHECK)
    with pytest.raises(InputError, match="given twice"):
        e2e("samples", ["kl-f8-tiny"] * 2, tmp_path / "out", SETTINGS, config=config, check=CHECK)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[modle]\nx = 1", "unknown sections modle"),
        ("[training]\nprediction = 'x0'", "prediction"),
        ("[training]\nsteps = 0", "positive"),
        ("[model]\nwidth = 3", "unknown keys width"),
    ],
)
def test_a_wrong_config_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        task.load_unet_recipe(str(path))


def test_a_config_that_is_no_file_is_not_sought_among_the_recipes_of_vaes() -> None:
    with pytest.raises(InputError, match="--config kl-f8-tiny is no file"):
        task.load_unet_recipe("kl-f8-tiny")
