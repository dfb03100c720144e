"""Small results as the commands give them, for those who judge results: every field can be told otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vaecheck.explanations import explanations
from vaecheck.results.types import DataCard, Environment, Finding, Measure, PerImage, Result, VAECard

ENVIRONMENT = Environment({"vaecheck": "0.1.0"}, "Linux", "CPU", 1, "cpu", None, "2026-01-01T00:00:00+00:00")
CARD = VAECard("kl-f8-tiny", "KLAutoencoder", "ab" * 32, 8, 4, 1000, "float32")
DATA = DataCard("samples", 8, (), "cd" * 32, 64, "crop")
SETTINGS = {"posterior": "mode", "seed": 0, "dtype": "float32", "protocol": None, "tiling": None}
HIGHER = ("psnr_db", "ssim", "decode_images_per_second")


def measure(name: str, value: Any, **more: Any) -> Measure:
    assert name in {one for entry in explanations() for one in entry.names}
    better = "higher" if name in HIGHER else None if name.startswith("latent") else "lower"
    unit = "dB" if name.endswith("_db") else ""
    return Measure(name, value, unit, more.pop("better", better), more.pop("n", 8), f"definition of {name}", **more)


def finding(finding_id: str, severity: Any, value: float | None = 0.3, limit: float | None = 0.2) -> Finding:
    remedy = "" if severity == "healthy" else "Mend it."
    return Finding(finding_id, severity, value, limit, "px", f"Evidence of {finding_id}.", remedy)


def run(*measures: Measure, kind: str = "reconstruct", **fields: Any) -> Result:
    """A result of these measures. data, vae, settings: fields that differ from the usual, by name."""
    return Result(
        kind=kind,
        vae=replace(CARD, **fields.pop("vae", {})),
        data=replace(DATA, **fields.pop("data", {})),
        settings={**SETTINGS, **fields.pop("settings", {})},
        environment=ENVIRONMENT,
        measures={one.name: one for one in measures},
        **fields,
    )


def by_picture(columns: Mapping[str, Sequence[float | None]], **fields: Any) -> Result:
    """A result whose measures are the means of these columns."""
    n = len(next(iter(columns.values())))
    means = [
        measure(name, sum(known) / len(known), n=len(known))
        for name, values in columns.items()
        if (known := [value for value in values if value is not None])
    ]
    ids = tuple(f"{place:03d}.png" for place in range(n))
    return run(
        *means,
        per_image=PerImage(ids, {name: tuple(values) for name, values in columns.items()}),
        **{"data": {"count": n}, **fields},
    )
