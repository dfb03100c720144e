"""A comparison of as many VAEs as asked for, made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from vaecheck.results.comparison import NO_DIFFERENCE, Comparison, Contest, Difference, Front, SideBySide
from vaecheck.results.types import DataCard, Environment, Measure, PerImage, VAECard


def card(ref: str) -> VAECard:
    return VAECard(ref, "KLAutoencoder", "ab" * 32, 8, 4, 3_751_687, "float32")


def measure(name: str, value: Any, better: Any = None, unit: str = "", **more: Any) -> Measure:
    return Measure(name, value, unit, better, 64, f"definition of {name}", **more)


def comparison(*refs: str, **changes: Any) -> Comparison:
    """Each VAE a decibel below the one before; SSIM tells none apart; rFID cannot be had of any."""
    ahead = range(len(refs))
    pairs = [(a, b) for a in ahead for b in ahead if a < b]

    def differences(step: float, p_holm: float, half: float) -> tuple[Difference, ...]:
        return tuple(
            Difference(
                refs[a], refs[b], step * (b - a), (step * (b - a) - half, step * (b - a) + half), 64, p_holm / 9, p_holm
            )
            for a, b in pairs
        )

    missing = "weights are not on this machine. Run: vaecheck weights fetch inception"
    measures = {
        "rfid": Contest(
            {ref: measure("rfid", None, "lower", status="unavailable", reason=missing) for ref in refs}, ()
        ),
        "fd_efficientnet_lite0": Contest(
            {
                ref: measure("fd_efficientnet_lite0", 20.0, "lower", status="unreliable", reason="too few pictures")
                for ref in refs
            },
            differences(0.1, 1.0, 2.0),
        ),
        "psnr_db": Contest(
            {ref: measure("psnr_db", 24.0 - a, "higher", "dB") for a, ref in enumerate(refs)},
            differences(1.0, 0.001, 0.25),
            winner=refs[0],
        ),
        "ssim": Contest(
            {ref: measure("ssim", 0.7, "higher") for ref in refs}, differences(0.0, 1.0, 0.1), NO_DIFFERENCE
        ),
        "latent_std": Contest({ref: measure("latent_std", 1.7) for ref in refs}, ()),
    }
    behind = {ref: tuple(refs[:a]) for a, ref in enumerate(refs) if a}
    fields: dict[str, Any] = {
        "vaes": {ref: card(ref) for ref in refs},
        "data": DataCard("samples", 64, (), "cd" * 32, 256, "crop", {"grey": 3}),
        "settings": {"size": 256, "dtype": "float32"},
        "environment": Environment({"vaecheck": "0.1.0"}, "Linux", "a processor", 2, "cpu", None, "2026-01-01", {}),
        "measures": measures,
        "fronts": (
            Front(
                "psnr_db",
                {"psnr_db": "higher", "latent_values": "lower", "seconds_per_image": "lower"},
                {
                    ref: {"psnr_db": 24.0 - a, "latent_values": 4096.0, "seconds_per_image": 0.05}
                    for a, ref in enumerate(refs)
                },
                refs[:1],
                behind,
                "sec_25 is left out: not measured of every VAE",
            ),
        ),
        "warnings": (f"{refs[-1]}: slow on this machine",),
        "sources": dict.fromkeys(refs, ""),
        "per_image": PerImage(("a.png",), {f"psnr_db:{ref}": (24.0,) for ref in refs}),
    }
    return Comparison(**fields | changes)


def side_by_side(refs: tuple[str, ...], count: int = 2, side: int = 64, image_id: str = "") -> tuple[SideBySide, ...]:
    """Smooth originals; each VAE is off by a bright square of its own in one corner."""
    ramp = np.linspace(0, 180, side).astype(np.uint8)
    original = np.stack([np.broadcast_to(ramp, (side, side))] * 3, axis=2)
    found = []
    for place in range(count):
        sides = {}
        for step, ref in enumerate(refs):
            array = original.copy()
            array[: side // 4, -side // 4 :] += np.uint8(20 * step)
            sides[ref] = array
        found.append(SideBySide(image_id or f"{place}.png", 10.0 - place, original, sides))
    return tuple(found)
