"""A comparison, a gate and a history, with names that try to be markup wherever a name can stand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from skimage import data

from vaecheck.results.comparison import Comparison, Contest, Difference, Front, SideBySide
from vaecheck.results.gate import Check, GateReport
from vaecheck.results.history import Evaluation, History
from vaecheck.results.types import (
    DataCard,
    Environment,
    LatentScaling,
    Line,
    Measure,
    Plot,
    Result,
    SkippedImage,
    VAECard,
)

HOSTILE = (
    '<script>alert("x")</script>',
    '"onload="alert(1)',
    "'><img src=x onerror=alert(1)>",
    "broken [/red] {{ 7 * 7 }} ${7 * 7}",
    "gpj.\u202eexe-final",
    "</style></script><b>bold</b>",
)
PLAIN, BLURRED, OTHER = "kl-f8-tiny", HOSTILE[0], HOSTILE[1]
NO_WEIGHTS = "there are no weights. Run: vaecheck weights fetch alexnet"
REFS = (PLAIN, BLURRED, OTHER)


def _data() -> DataCard:
    skipped = tuple(SkippedImage(name, f"is broken: {name}") for name in HOSTILE)
    return DataCard(HOSTILE[2], 64, skipped, "cd" * 32, 256, "crop", {HOSTILE[5]: 3})


def _environment() -> Environment:
    return Environment(
        {"vaecheck": "0.1.0"}, HOSTILE[3], HOSTILE[2], 2, "cpu", HOSTILE[1], "2026-01-01T00:00:00+00:00", {"vae": 1.5}
    )


def _card(ref: str) -> VAECard:
    scaling = LatentScaling(0.18215, source=HOSTILE[4])
    return VAECard(ref, f"Class of {HOSTILE[5]}", "ab" * 32, 8, 4, 1_234_567, "float32", scaling)


def _measure(name: str, value: float | None, better: str | None, **more: object) -> Measure:
    unit = "dB" if name.endswith("_db") else ""
    ci95 = None if value is None else (value * 0.95, value * 1.05)
    return Measure(name, value, unit, better, 64, f"definition of {name}", ci95=ci95, **more)


def _contest(name: str, values: tuple[float | None, ...], better: str | None, winner: str) -> Contest:
    measures = {ref: _measure(name, value, better) for ref, value in zip(REFS, values, strict=True)}
    if name == "rfid":
        measures = {
            ref: replace(one, status="unreliable", reason=f"64 images, of {HOSTILE[2]}")
            for ref, one in measures.items()
        }
    pairs = ((0, 1), (0, 2), (1, 2)) if better else ()
    differences = tuple(
        Difference(REFS[a], REFS[b], (values[a] or 0) - (values[b] or 0), (0.1, 2.0), 64, 0.001, 0.004)
        if values[a] is not None and values[b] is not None
        else Difference(REFS[a], REFS[b], None, None, reason=f"{HOSTILE[0]} has no figure")
        for a, b in pairs
    )
    return Contest(measures, differences, winner)


def comparison() -> Comparison:
    """Three VAEs, of which one wins in PSNR and another in rFID."""
    points = {ref: {"psnr_db": 24.0 - i, "seconds_per_image": 0.2 * (i + 1)} for i, ref in enumerate(REFS)}
    axes = {"psnr_db": "higher", "seconds_per_image": "lower"}
    lpips = Contest(
        {
            ref: _measure(
                "lpips_alex", None, "lower", status="unavailable", reason="Run: vaecheck weights fetch alexnet"
            )
            for ref in REFS
        },
        (),
    )
    return Comparison(
        vaes={ref: _card(ref) for ref in REFS},
        data=_data(),
        settings={HOSTILE[1]: HOSTILE[0], "seed": 0},
        environment=_environment(),
        measures={
            "psnr_db": _contest("psnr_db", (24.0, 23.0, 22.0), "higher", PLAIN),
            "rfid": _contest("rfid", (30.0, 20.0, 40.0), "lower", BLURRED),
            "lpips_alex": lpips,
            "latent_std": _contest("latent_std", (0.9, 1.1, None), None, "no difference"),
        },
        fronts=(
            Front("psnr_db", axes, points, (PLAIN,), {BLURRED: (PLAIN,), OTHER: (PLAIN,)}, f"left out: {HOSTILE[5]}"),
        ),
        warnings=HOSTILE,
        sources={PLAIN: "", BLURRED: HOSTILE[2], OTHER: ""},
    )


def side_by_side() -> tuple[SideBySide, ...]:
    """What the three made of two pictures."""
    picture = data.astronaut()[:96, :128]
    versions = {ref: np.roll(picture, 8 * (i + 1), axis=1) for i, ref in enumerate(REFS)}
    return tuple(
        SideBySide(name, 4.2, picture, versions, planes)
        for name, planes in ((HOSTILE[1], ()), (HOSTILE[2], (HOSTILE[0], "alpha")))
    )


def gate() -> GateReport:
    """One rule of every outcome."""
    checks = (
        Check("ssim min 0.9", "ssim", "gate.ssim", "pass", 0.95, 0.9, "0.95 is at least 0.9"),
        Check(HOSTILE[0], HOSTILE[1], HOSTILE[2], "warn", 24.5, 25.0, HOSTILE[3], HOSTILE[5], HOSTILE[4]),
        Check("psnr_db min 24", "psnr_db", "gate.psnr_db", "fail", 20.0, 24.0, "below 24 dB", "dB", "Train on."),
        Check("lpips_alex max 0.2", "lpips_alex", "gate.lpips_alex", "error", None, 0.2,
              NO_WEIGHTS, "", "Fetch them."),
    )  # fmt: skip
    return GateReport(
        "error", 3, checks, HOSTILE[0], HOSTILE[1], _data(), _environment(), _card(HOSTILE[2]), HOSTILE[5], HOSTILE
    )


def history() -> History:
    """Twelve checkpoints of which the ninth is the best, and one that could not be read."""
    steps = [1000 * (i + 1) for i in range(12)]
    values = [20.0 + min(i, 8) - max(0, i - 8) * 0.3 for i in range(12)]
    seen = tuple(
        Evaluation(f"step_{step}", step, None, "2026-01-01", {
            "psnr_db": _measure("psnr_db", value, "higher"), "rfid": _measure("rfid", 90 - value, "lower"),
        })
        for step, value in zip(steps, values, strict=True)
    )  # fmt: skip
    broken = Evaluation(HOSTILE[0], 13_000, None, "2026-01-02", problem=HOSTILE[2])
    points = Line("psnr_db", tuple(map(float, steps)), tuple(values))
    plot = Plot(
        "psnr_db", "psnr_db", "lines", HOSTILE[0], "step", "dB", (points,), note=HOSTILE[1], marks={HOSTILE[2]: 9000.0}
    )
    return History(
        HOSTILE[3], _data(), _environment(), (*seen, broken), {"psnr_db": "step_9000", "rfid": "step_9000"},
        "step_9000 has the lowest rfid", "step_9000", {"psnr_db": 9000, "rfid": 9000}, True,
        settings={"stop_on": ["psnr_db"], "patience": 3, HOSTILE[1]: HOSTILE[0]}, warnings=HOSTILE, plots=(plot,),
    )  # fmt: skip


def hostile(result: Result) -> Result:
    """A result with the same names in all its places."""
    vae = replace(result.vae, ref=HOSTILE[0], class_name=HOSTILE[1], recognised=HOSTILE[2]) if result.vae else None
    settings = {name: name for name in HOSTILE}
    ids = (*HOSTILE, "plain.png")
    per_image = replace(
        result.per_image,
        ids=ids,
        columns={"psnr_db": tuple(float(i) for i in range(len(ids))), "ssim": (0.5,) * len(ids)},
    )
    return replace(
        result, vae=vae, data=_data(), settings=settings, environment=_environment(), warnings=HOSTILE,
        per_image=per_image,
    )  # fmt: skip
