"""Calibrated limits against simulation: 2.8 standard deviations of what in fact scatters, and never below rounding."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.results.runs import by_picture, measure, run
from vaecheck.errors import InputError, SetupError
from vaecheck.render.calibration import to_toml
from vaecheck.results.calibration import FACTOR
from vaecheck.results.types import Result
from vaecheck.tasks import gate_calibrate
from vaecheck.tasks.gate import judge
from vaecheck.tasks.gate_calibrate import calibrate, floor_of
from vaecheck.tasks.gate_rules import read_rules
from vaecheck.tasks.gate_run import Ran
from vaecheck.tasks.settings import Settings

Model = Callable[[Settings], Result]
SAMPLED = Settings(posterior="sample", metrics=("psnr_db",), device="cpu")


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> dict[str, Model]:
    """VAEs that are functions of the settings, by REF."""
    known: dict[str, Model] = {}

    def fake(source: str, ref: str, rules: Any, settings: Settings, listener: Any) -> tuple[Ran, ...]:
        return (Ran(known[ref](settings)),)

    monkeypatch.setattr(gate_calibrate, "measure", fake)
    return known


def scattering(sd: float, n: int = 16, shift: float = 0.0) -> Model:
    """A model whose figure of each picture scatters with the seed."""

    def model(settings: Settings) -> Result:
        pictures = 24 + np.random.default_rng(99).standard_normal(n)
        noise = sd * np.random.default_rng(settings.seed).standard_normal(n)
        return by_picture(
            {"psnr_db": (pictures + shift + noise).tolist()},
            settings={"posterior": settings.posterior, "seed": settings.seed, "batch_size": 1},
        )

    return model


def test_the_limit_is_2_8_standard_deviations_over_seeds(models: dict[str, Model]) -> None:
    models["wide"] = scattering(1.0)
    found, runs = calibrate("samples", "wide", SAMPLED, repeats=6)
    (limit,) = found.limits
    values = [models["wide"](Settings(seed=seed)).measures["psnr_db"].value for seed in range(6)]
    assert limit.sd == pytest.approx(np.std(values, ddof=1))
    assert 2.8 * limit.sd <= limit.worse_by <= 2.8 * limit.sd * 1.1
    assert [(spread.cause, spread.n) for spread in limit.spreads] == [("seeds", 6)]
    assert len(runs) == 1


def test_two_runs_of_one_model_differ_by_less_than_the_limit_in_95_percent() -> None:
    """What ISO 5725 calls repeatability, of a difference in either direction."""
    draw = np.random.default_rng(0)
    limit = 2.8 * 1.0
    differences = draw.standard_normal((2, 20_000))
    share = np.mean(np.abs(differences[0] - differences[1]) <= limit)
    assert share == pytest.approx(0.95, abs=0.01)
    assert FACTOR == 2.8


def test_runs_with_other_seeds_keep_the_rules_that_were_written(models: dict[str, Model]) -> None:
    """Of 300 calibrations with 8 runs each, a ninth fails in P(t with 7 degrees > 2.8 / sqrt 2) = 4.4 %, or fewer."""
    models["wide"] = scattering(1.0)
    codes, worse_codes = [], []
    for trial in range(300):
        settings = replace(SAMPLED, seed=100 * trial)
        found, runs = calibrate("samples", "wide", settings, repeats=8)
        rules = read_rules(tomllib.loads(to_toml(found)))
        old, again = [ran.result for ran in runs], replace(settings, seed=100 * trial + 50)
        codes.append(judge([models["wide"](again)], rules, old, result="new").exit_code)
        worse_codes.append(judge([scattering(1.0, shift=-2)(again)], rules, old, result="new").exit_code)
    assert 0.01 <= np.mean(codes) <= 0.07
    assert np.mean(worse_codes) >= 0.95


def test_a_deterministic_model_gets_the_floor(models: dict[str, Model]) -> None:
    models["fixed"] = scattering(0.0)
    found, runs = calibrate("samples", "fixed", Settings(metrics=("psnr_db",), device="cpu"))
    (limit,) = found.limits
    assert (limit.sd, limit.worse_by) == (0.0, limit.floor)
    rules = read_rules(tomllib.loads(to_toml(found)))
    assert judge([runs[0].result], rules, [runs[0].result], result="same").exit_code == 0
    assert "taken: the floor" in to_toml(found)


@pytest.mark.parametrize(
    ("metric", "value", "floor"),
    [
        ("psnr_db", 24.31, 0.01), ("psnr_db", 9.5, 0.001), ("ssim", 0.7123, 1e-4), ("lpips_alex", 0.0512, 1e-5),
        ("lpips_alex", 0.0, 1e-5), ("rfid", 0.51, 1e-4), ("rfid", 41.9, 0.01), ("rfid", 0.0, 1e-4),
    ],
)  # fmt: skip
def test_floors(metric: str, value: float, floor: float) -> None:
    assert floor_of(metric, value) == pytest.approx(floor)


def test_against_a_candidate_the_pictures_scatter_too_as_random_halves_of_them_do(models: dict[str, Model]) -> None:
    draw = np.random.default_rng(4)
    n = 200
    old, gain = 24 + 3 * draw.standard_normal(n), 0.5 * draw.standard_normal(n)
    deterministic = {"posterior": "mode", "batch_size": 1}
    models["old"] = lambda _: by_picture({"psnr_db": old.tolist()}, settings=deterministic)
    models["new"] = lambda _: by_picture({"psnr_db": (old + gain).tolist()}, settings=deterministic)
    found, _ = calibrate("samples", "old", Settings(metrics=("psnr_db",), device="cpu"), candidate="new")
    (limit,) = found.limits
    halves = [gain[draw.permutation(n)[: n // 2]].mean() for _ in range(4000)]
    assert limit.sd == pytest.approx(np.std(halves), rel=0.1)
    assert limit.sd == pytest.approx(gain.std(ddof=1) / math.sqrt(n), rel=0.05)
    assert limit.worse == pytest.approx(-gain.mean())
    assert (found.vae, found.baseline) == ("new", "old")


def test_a_candidate_that_would_fail_its_own_limit_is_told(models: dict[str, Model]) -> None:
    models |= {"old": scattering(0.0), "new": scattering(0.0, shift=-1)}
    found, _ = calibrate("samples", "old", Settings(metrics=("psnr_db",), device="cpu"), candidate="new")
    assert "is 1 dB worse than the baseline, and would fail this" in to_toml(found)


def test_what_batch_sizes_change_is_measured_and_adds_in_quadrature(models: dict[str, Model]) -> None:
    def model(settings: Settings) -> Result:
        value = 24 + 3.0 * (settings.seed == 1) + 4.0 * (settings.batch_size == 1)
        size = settings.batch_size or 8
        return run(measure("psnr_db", value), settings={"posterior": "sample", "batch_size": size})

    models["odd"] = model
    found, _ = calibrate("samples", "odd", SAMPLED, repeats=2)
    (limit,) = found.limits
    spreads = {spread.cause: spread.sd for spread in limit.spreads}
    assert spreads == pytest.approx({"seeds": 3 / math.sqrt(2), "batch sizes": 4 / math.sqrt(2)})
    assert limit.sd == pytest.approx(5 / math.sqrt(2))


def test_every_device_there_is_is_measured_unless_one_is_named(
    models: dict[str, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"auto": 24.0, "cpu": 24.0, "cuda": 24.3}

    def model(settings: Settings) -> Result:
        return run(measure("psnr_db", values[settings.device]), settings={"batch_size": 1})

    models["vae"] = model
    monkeypatch.setattr(gate_calibrate, "_devices", lambda: ("cuda", "cpu"))
    found, _ = calibrate("samples", "vae", Settings(metrics=("psnr_db",)))
    assert [(one.cause, one.n) for one in found.limits[0].spreads] == [("devices", 2)]
    assert found.limits[0].sd == pytest.approx(0.3 / math.sqrt(2))
    named, _ = calibrate("samples", "vae", Settings(metrics=("psnr_db",), device="cpu"))
    assert named.limits[0].spreads == ()


def test_without_values_by_picture_there_is_no_limit_against_another_vae(models: dict[str, Model]) -> None:
    models |= {name: lambda _: run(measure("kid", 2.0), settings={"batch_size": 1}) for name in ("old", "new")}
    asked = Settings(metrics=("kid",), device="cpu")
    assert calibrate("samples", "old", asked)[0].limits[0].worse_by == pytest.approx(0.001)
    with pytest.raises(SetupError, match="kid: it has no values by picture"):
        calibrate("samples", "old", asked, candidate="new")


def test_where_pictures_are_left_out_there_is_no_limit_against_another_vae(models: dict[str, Model]) -> None:
    for name, values in (("old", [30.0, 31.0, 32.0]), ("new", [None, 31.0, 32.5])):
        models[name] = lambda _, values=values: by_picture({"psnr_db": values}, settings={"batch_size": 1})
    with pytest.raises(SetupError, match="psnr_db: 1 of 3 pictures have a value on one side alone"):
        calibrate("samples", "old", Settings(metrics=("psnr_db",), device="cpu"), candidate="new")


def test_what_would_fail_any_rule_gets_none_and_is_named(models: dict[str, Model]) -> None:
    figures = (measure("psnr_db", 24.0), measure("rfid", 3.0, status="unreliable", reason="8 pictures\nof 2,048"))
    models["some"] = lambda _: run(*figures, settings={"batch_size": 1})
    found, _ = calibrate("samples", "some", Settings(device="cpu"))
    assert [limit.metric for limit in found.limits] == ["psnr_db"]
    text = to_toml(found)
    assert "# no limit for rfid: unreliable, which fails any rule: 8 pictures\\nof 2,048" in text.splitlines()
    assert list(tomllib.loads(text)["gate"]["baseline"]) == ["psnr_db"]


@pytest.mark.parametrize(
    ("metrics", "error", "told"),
    [
        (("latent_std",), InputError, "better is neither high nor low"),
        (("encode_images_per_second",), InputError, "it is the machine's"),
        (("psrn_db",), InputError, "there is no metric named 'psrn_db'"),
        (("rfid",), SetupError, "no metric that was asked for can be calibrated: rfid: unavailable"),
    ],
)
def test_what_cannot_be_calibrated(
    models: dict[str, Model], metrics: Sequence[str], error: type[Exception], told: str
) -> None:
    lost = measure("rfid", None, status="unavailable", reason="no weights")
    models["some"] = lambda _: run(lost, settings={"batch_size": 1})
    with pytest.raises(error, match=told):
        calibrate("samples", "some", Settings(metrics=tuple(metrics), device="cpu"))


def test_a_baseline_of_other_pictures_is_refused(models: dict[str, Model]) -> None:
    models["vae"] = scattering(0.0)
    old = by_picture({"psnr_db": [24.0] * 16}, data={"size": 32, "count": 16})
    with pytest.raises(InputError, match=r"data\.size"):
        calibrate("samples", "vae", SAMPLED, baseline=[old], baseline_folder="old")
