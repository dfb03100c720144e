"""Results as `diagnose` and `latents` give them: every severity, odd letters, every kind of plot, and panels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from skimage import data

from vaecheck.render.findings import TITLES
from vaecheck.results.types import Finding, Line, Measure, Panel, PerImage, Plot, Result

ODD_EVIDENCE = (
    'Of 16 pictures broken [/red].png and <script>alert("x")</script>.png lost most | a `cell`\x1b[31m, and the energy '
    "at the periods 8 and 16 is 9.3 times that of the neighbouring frequencies, where a healthy model has 1.0 to 1.2; "
    "on cards of constant colour it is 14 times. 日本/写真 — 1.png has 11 times."
)
LIMIT_SOURCE = (
    "A healthy model stays below 1.3 on photographs, drawings and flat pictures; from 2 times on the lattice can be "
    "seen in flat areas on a screen."
)
REMEDY = (
    "Replace transposed convolutions in the decoder by resizing and convolution, and train on; run vaecheck "
    "explain checkerboard for more."
)
FAULTS = ("checkerboard", "contrast_shift")
WARNINGS = ("blur", "latent_scale")
INFO = ("text_loss",)
ABSENT = ("face_loss",)


def _finding(name: str, place: int) -> Finding:
    if name in FAULTS:
        return Finding(
            name, "fault", 9.31234, 2.0, "times the neighbouring frequencies", ODD_EVIDENCE, REMEDY, LIMIT_SOURCE, 3.6
        )
    if name in WARNINGS:
        return Finding(
            name, "warning", 0.79996, 0.8, "of the sharpness of the originals", f"{name}: 20 % of it is lost.",
            "Use more latent channels.", LIMIT_SOURCE, 0.1,
        )  # fmt: skip
    if name in INFO:
        return Finding(
            name, "info", 12.5, 15.0, "dB", "Text of 8 px is lost.", REMEDY, LIMIT_SOURCE, 0.2, "checkerboard"
        )
    if name in ABSENT:
        return Finding(name, "unavailable", None, None, "dB", "No face was found in 16 pictures.", "", LIMIT_SOURCE)
    return Finding(
        name,
        "healthy",
        0.001 * place,
        1e-5 if place == 5 else 0.25,
        "1" if place % 2 else "share of it",
        f"{name} is fine.",
    )


SEVERITIES = ("fault", "warning", "info", "healthy", "unavailable")


def findings() -> tuple[Finding, ...]:
    found = [_finding(name, place) for place, name in enumerate(TITLES)]
    return tuple(sorted(found, key=lambda one: (SEVERITIES.index(one.severity), -one.past_limit, one.id)))


def floats(values: np.ndarray | list[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def rows(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(floats(row) for row in matrix)


def plots() -> tuple[Plot, ...]:
    x = np.linspace(0.004, 0.5, 90)
    blurred = floats(x**-2 * np.exp(-((4 * x) ** 2)))
    spectrum = Plot(
        "blur_spectrum", "blur", "lines", "Spectrum of the reconstruction against the original [/red] $x^$ <b>",
        "frequency (cycles per pixel)", "power (grey levels squared)",
        (Line("original", floats(x), floats(x**-2)), Line("reconstruction", floats(x), blurred)),
        log_x=True, log_y=True, note="Where the lower curve falls away, <i>detail</i> is lost.",
        marks={"limit": 0.25, "Nyquist of f8": 1 / 16},
    )  # fmt: skip
    periods = Plot(
        "checkerboard_periods", "checkerboard", "bars", "Energy at the periods of the strides", "period (pixels)",
        "energy against the neighbouring frequencies",
        (Line("pictures", (2, 4, 8, 16), (1.1, 1.4, 9.3, 4.0)), Line("cards", (2, 4, 8, 16), (1.0, 1.0, 14.0, 2.0))),
        log_x=True, marks={"above": 20.0},
    )  # fmt: skip
    leak = Plot(
        "global_leak_map", "global_leak", "matrix", "How far each latent cell reaches", "column of latents",
        "row of latents", matrix=rows(np.hypot(*np.mgrid[:32, :32])), note="A dark cell reaches far.",
    )  # fmt: skip
    return spectrum, periods, leak


def panels() -> tuple[Panel, ...]:
    astronaut, page = data.astronaut()[:256, :256], np.stack([data.page()[:190, :256]] * 3, axis=2)
    return (
        Panel(
            "checkerboard_card", "checkerboard", "A grey card and what comes back",
            (("card <b>", page), ("returned, difference x 8 写", 255 - page)), "The lattice of 8 pixels [/red].",
        ),
        Panel(
            "small", "text_loss", "Tiny", tuple((f"channel {i}", astronaut[: 24 + i, :24]) for i in range(14)),
        ),
    )  # fmt: skip


def diagnosed(result: Result) -> Result:
    """What `diagnose` gives: 19 findings of every severity."""
    return replace(
        result, kind="diagnose", measures={}, yardsticks=(), unet_cost=(), findings=findings(), plots=plots(),
        per_image=PerImage(), settings={"probes": list(TITLES), "seed": 0},
    )  # fmt: skip


def _measure(name: str, value: float | tuple[int, ...] | None, unit: str = "", **more: object) -> Measure:
    return Measure(name, value, unit, None, 100, f"definition of {name}", **more)


def of_latents(result: Result, channels: int) -> Result:
    """What `latents` gives for a VAE of so many channels."""
    sec = {"role": "predicts", "evidence": "|r| of about 0.7 with gFID over 86 tokenizers [/red] <b>(2606.03578)</b>."}
    equivariance = {"role": "predicts", "evidence": "Falls with gFID in EQ-VAE (2502.09509), weak in 2606.03578."}
    describes = {"role": "describes", "evidence": "No published correlation with generation quality was found."}
    measures = (
        _measure("latent_shape", (channels, 32, 32)),
        _measure("latent_std", 0.93123, ci95=(0.91, 0.95), **describes),
        _measure("sec_25", 0.4012, "share", ci95=(0.39, 0.41), **sec),
        _measure("sec_50", 0.1212, "share", **sec),
        _measure("equivariance_rotation", 0.8876, **equivariance),
        _measure("lnc", None, status="unavailable", reason="there are no class folders", **sec),
        _measure("effective_rank", 3.412, **describes),
        _measure("dead_channel_count", 1.0, "channels", **describes),
        _measure("intrinsic_dimension", 41.2, status="unreliable", reason="of 100 pictures", **equivariance),
    )
    correlation = np.corrcoef(np.random.default_rng(0).standard_normal((channels, 24)))
    grid = np.linspace(-3, 3, 61)
    each = tuple(
        {"mean": 0.01 * i, "std": 0.9 + 0.011 * i, "skew": -0.1 * (i % 3), "kurtosis": None if i == 1 else 3.1,
         "posterior_snr_db": 41.0 - i, "saturated_share": 1e-5, "active": 1.0}
        for i in range(channels)
    )  # fmt: skip
    curves = tuple(Line(f"channel {i}", floats(grid), floats(np.exp(-((grid - i / 40) ** 2)))) for i in range(channels))
    drawn = (
        Plot("channel_correlation", "sec_25", "matrix", "Correlation of the channels", "channel", "channel",
             matrix=rows(correlation), note="Hatched where they run against each other."),
        Plot("channel_histograms", "latent_kurtosis", "lines", "Histograms", "value", "density", curves),
    )  # fmt: skip
    return replace(
        result, kind="latents", measures={m.name: m for m in measures}, yardsticks=(), unet_cost=(), channels=each,
        plots=drawn, per_image=PerImage(),
    )  # fmt: skip
