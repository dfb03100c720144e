"""Measure every VAE of the experiment, train a U-Net of one budget on each, and print what predicts what was reached.

    python examples/ceiling/vaes.py PHOTOS OUT/vaes
    python examples/ceiling/run.py PHOTOS HELD_OUT OUT [NAME ...]

NAME: measure these alone, so that several processes can share the work; the tables are of all that are measured.
Started again, it goes on where it was, with the VAEs that are trained by then. The rank correlations are Spearman's over the VAEs of one latent shape, with n and
p; n is small, so only a strong one is more than chance, and dozens of figures are tried: p is not corrected for that.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from scipy.stats import spearmanr
from vaes import ONE_KNOB, SHAPES, SIDE

from vaecheck.memory import keep_freed_memory
from vaecheck.results import files
from vaecheck.tasks.e2e import e2e
from vaecheck.tasks.latents import latents
from vaecheck.tasks.reconstruct import reconstruct
from vaecheck.tasks.settings import Listener, Settings
from vaecheck.tasks.train_unet import UNetSettings

CONFIG = Path(__file__).parent / "unet.toml"
SETTINGS = Settings(size=SIDE, offline=True)
LEVEL = 0.5
REACHED = ("samples", "denoised PSNR", "denoised fd")


def measure(photos: str, held_out: str, out: Path, names: Sequence[str]) -> None:
    """Every result that is not there yet, in folders of its own."""
    listener = Listener(tell=lambda text: print(text, flush=True))
    for name in trained(out, names or (*ONE_KNOB, *SHAPES)):
        vae = str(out / "vaes" / name)
        for kind, task in (("reconstruct", reconstruct), ("latents", latents)):
            if not (out / kind / name / files.RESULT_FILE).exists():
                result, _ = task(held_out, vae, SETTINGS, listener)
                files.save(result, out / kind / name)
        if not (out / "e2e" / name / files.RESULT_FILE).exists():
            unet = UNetSettings(report_every=500)
            found = e2e(
                photos,
                [vae],
                out / "e2e" / name,
                SETTINGS,
                val=held_out,
                config=str(CONFIG),
                unet=unet,
                listener=listener,
            )
            files.save(found, out / "e2e" / name)


def trained(out: Path, names: Iterable[str]) -> list[str]:
    return [name for name in names if (out / "vaes" / name / "done").exists()]


def measured(out: Path, names: Iterable[str]) -> list[str]:
    return [name for name in names if (out / "e2e" / name / files.RESULT_FILE).exists()]


def figures(out: Path, name: str) -> tuple[dict[str, float], dict[str, float]]:
    """What vaecheck measures of a VAE, and what its U-Net reached."""
    known = {}
    for kind in ("reconstruct", "latents"):
        document = json.loads((out / kind / name / files.RESULT_FILE).read_text())
        for measure_name, one in document["measures"].items():
            if isinstance(one["value"], (int, float)) and "per_second" not in measure_name:
                known[measure_name] = float(one["value"])
    climb = json.loads((out / "e2e" / name / files.RESULT_FILE).read_text())["vaes"][0]
    denoised = next(one for one in climb["denoised"] if one["level"] == LEVEL)
    fd = "fd_efficientnet_lite0"
    reached = (climb["samples"][fd], denoised["measures"]["psnr_db"], denoised["measures"][fd])
    return known, dict(zip(REACHED, (one["value"] for one in reached), strict=True))


def table(out: Path) -> str:
    """Spearman's rho of each figure with each that was reached, strongest first."""
    found = {name: figures(out, name) for name in measured(out, ONE_KNOB)}
    names = list(next(iter(found.values()))[0])
    rows = []
    for name in names:
        kept = [(known[name], reached) for known, reached in found.values() if name in known]
        if len(kept) < 5 or len({value for value, _ in kept}) < 3:
            continue
        cells = [spearmanr([value for value, _ in kept], [reached[goal] for _, reached in kept]) for goal in REACHED]
        rows.append((name, len(kept), cells))
    rows.sort(key=lambda row: -abs(row[2][0].statistic))
    lines = [
        "| figure | n | " + " | ".join(f"{goal}: rho (p)" for goal in REACHED) + " |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, n, cells in rows:
        told = " | ".join(f"{cell.statistic:+.2f} ({cell.pvalue:.3f})" for cell in cells)
        lines.append(f"| {name} | {n} | {told} |")
    return "\n".join(lines)


if __name__ == "__main__":
    keep_freed_memory()
    torch.set_num_threads(1)
    measure(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
    print(table(Path(sys.argv[3])))
