"""Calibrated limits as a rules file, with what each came from."""

from __future__ import annotations

from vaecheck.render import figures
from vaecheck.render.printable import printable
from vaecheck.results.calibration import FACTOR, CalibratedLimit, Calibration


def to_toml(found: Calibration) -> str:
    """Rules that `vaecheck gate --rules` reads."""
    against = "itself" if found.baseline == found.vae else printable(found.baseline)
    lines = [
        f"# Limits measured by vaecheck gate --calibrate: {printable(found.vae)} against {against}",
        f"# on {printable(found.pictures)}; runs with {found.runs or 'nothing varied'}.",
        f"# Each is {FACTOR} standard deviations of the difference to the baseline (ISO 5725 repeatability),",
        "# or a floor: what rounding and the last digit shown can make of the figure.",
        "",
        "[gate.baseline]",
    ]
    for one in found.limits:
        lines += ["", *(f"# {words}" for words in _told(one)), f"{one.metric} = {{worse_by = {one.worse_by!r}}}"]
    lines += [f"\n# no limit for {name}: {printable(why)}" for name, why in found.left_out.items()]
    return "\n".join(lines) + "\n"


def _told(one: CalibratedLimit) -> list[str]:
    unit = f" {one.unit}" if one.unit not in ("", "1") else ""
    spreads = ", ".join(
        f"{spread.cause} {figures.number(spread.sd, significant=3)} (n {spread.n})" for spread in one.spreads
    )
    far = FACTOR * one.sd
    taken = "the floor" if one.worse_by > far and one.floor >= far else f"{FACTOR} x {one.sd:.3g}"
    lines = [
        f"baseline {figures.number(one.value, significant=6)}{unit}; "
        f"sd: {spreads or 'not measured, nothing was varied'}; floor {one.floor:.3g}; taken: {taken}"
    ]
    if one.worse > one.worse_by:
        lines.append(f"the calibrated VAE is {one.worse:.3g}{unit} worse than the baseline, and would fail this")
    return lines
