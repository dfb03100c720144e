"""Measure every VAE of the experiment, train a U-Net of one budget on each, and print what predicts what was reached.

    python examples/ceiling/vaes.py PHOTOS OUT/vaes
    python examples/ceiling/run.py PHOTOS HELD_OUT OUT [NAME ...]

NAME: measure these alone, so that several processes can share the work; the tables are of all that are measured.
Started again, it goes on where it was, with the VAEs that are trained by then.

Rank correlations are Spearman's over the VAEs of one latent shape, with n and p; n is small, so only a strong one is
more than chance, and dozens of figures are tried: p is not corrected for that.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr
from vaes import BASE, ONE_KNOB, SHAPES, SIDE

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
FD = "fd_efficientnet_lite0"
REACHED = ("fd of samples", "PSNR of denoised", "fd of denoised", "PSNR lost below the ceiling")
OF_THE_MACHINE = ("encode_images_per_second", "decode_images_per_second", "peak_memory_bytes")
FEWEST = 5
BY_KL = ("kl-1e-8", "base", "kl-1e-4", "kl-1e-2", "kl-1e-1", "kl-1")
"""Of KL weights 1e-8, 1e-6, 1e-4, 1e-2, 1e-1 and 1."""
OF_KL = ("kl_nats_per_element", "latent_std", "latent_kurtosis", "posterior_snr_db", "psnr_db", FD)


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


def climb(out: Path, name: str) -> dict[str, Any]:
    """The ceiling check of one VAE, as its document has it."""
    document = json.loads((out / "e2e" / name / files.RESULT_FILE).read_text())
    found: dict[str, Any] = document["vaes"][0]
    return found


def denoised(of: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in of["denoised"] if one["level"] == LEVEL)
    return found


def figures(out: Path, name: str) -> dict[str, float]:
    """What vaecheck measures of a VAE before any U-Net."""
    known = {}
    for kind in ("reconstruct", "latents"):
        document = json.loads((out / kind / name / files.RESULT_FILE).read_text())
        for measure_name, one in document["measures"].items():
            if isinstance(one["value"], (int, float)) and measure_name not in OF_THE_MACHINE:
                known[measure_name] = float(one["value"])
    return known


def reached(of: dict[str, Any]) -> dict[str, float]:
    """What its U-Net reached: see REACHED."""
    at = denoised(of)
    values = (of["samples"][FD]["value"], at["measures"]["psnr_db"]["value"], at["measures"][FD]["value"])
    lost = of["ceiling"]["psnr_db"]["value"] - at["measures"]["psnr_db"]["value"]
    return dict(zip(REACHED, (*values, lost), strict=True))


def each(out: Path, names: Iterable[str]) -> str:
    """The ceiling of every VAE, and what its U-Net reached; "-" where there is none yet."""
    lines = [
        "| VAE | compression | PSNR: ceiling | denoised at 0.5 | lost | latent error | fd: the VAE | fd: samples |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in names:
        if not (out / "latents" / name / files.RESULT_FILE).exists():
            continue
        known = figures(out, name)
        cells = [f"{known['compression_ratio']:g}", f"{known['psnr_db']:.2f}", *["-"] * 5]
        if measured(out, [name]):
            of = climb(out, name)
            got = reached(of)
            cells[1:] = [f"{of['ceiling']['psnr_db']['value']:.2f}", f"{got[REACHED[1]]:.2f}", f"{got[REACHED[3]]:.2f}"]
            cells += [f"{denoised(of)['latent_error']:.3f}", f"{of['ceiling_of_all'][FD]['value']:.1f}"]
            cells.append(f"{got[REACHED[0]]:.1f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def correlations(out: Path) -> str:
    """Spearman's rho of each figure with each that was reached, strongest first."""
    found = {name: (figures(out, name), reached(climb(out, name))) for name in measured(out, ONE_KNOB)}
    rows = []
    for name in dict.fromkeys(figure for known, _ in found.values() for figure in known):
        kept = [(known[name], got) for known, got in found.values() if name in known]
        if len(kept) < FEWEST or len({value for value, _ in kept}) < 3:
            continue
        cells = [spearmanr([value for value, _ in kept], [got[goal] for _, got in kept]) for goal in REACHED]
        rows.append((name, len(kept), cells))
    rows.sort(key=lambda row: -abs(row[2][0].statistic))
    lines = [
        "| figure | n | " + " | ".join(f"{goal}: rho (p)" for goal in REACHED) + " |",
        "| --- | --- |" + " --- |" * len(REACHED),
    ]
    for name, n, cells in rows:
        told = " | ".join(f"{cell.statistic:+.2f} ({cell.pvalue:.3f})" for cell in cells)
        lines.append(f"| {name} | {n} | {told} |")
    return "\n".join(lines)


def by_kl_weight(out: Path) -> str:
    """What the KL weight makes of the latents and of the pictures."""
    lines = ["| VAE | " + " | ".join(OF_KL) + " |", "| --- |" + " --- |" * len(OF_KL)]
    for name in measured(out, BY_KL):
        known = figures(out, name)
        lines.append(f"| {name} | " + " | ".join(f"{known[figure]:.3g}" for figure in OF_KL) + " |")
    return "\n".join(lines)


def above_the_ceiling(out: Path) -> str:
    """Every denoised figure that is better than its VAE's own, at any level of noise."""
    found = []
    names = measured(out, (*ONE_KNOB, *SHAPES))
    for name in names:
        of = climb(out, name)
        for at in of["denoised"]:
            for figure, one in at["measures"].items():
                values = one["value"], of["ceiling"].get(figure, {}).get("value")
                if (
                    None not in values
                    and (values[0] > values[1]) == (one["better"] == "higher")
                    and values[0] != values[1]
                ):
                    found.append(f"{name}, noise {at['level']}: {figure} {values[0]:.4g} against {values[1]:.4g}")
    levels = ", ".join(f"{at['level']:g}" for at in climb(out, names[0])["denoised"])
    head = (
        f"Denoised figures above the ceiling, of {len(names)} VAEs at the noise levels {levels}: {len(found) or 'none'}"
    )
    return "\n".join([head, *(f"- {one}" for one in found)])


def plot_of_shapes(out: Path) -> None:
    """Ceiling and denoised PSNR of VAEs of several shapes, by how much they compress."""
    from vaecheck.render.plots import draw
    from vaecheck.results.types import Line, Plot

    names = [name for name in ("short", *SHAPES) if (out / "latents" / name / files.RESULT_FILE).exists()]
    if len(names) < 3:
        return

    def line(label: str, of: Callable[[str], float], names: Sequence[str]) -> Line:
        points = sorted((figures(out, name)["compression_ratio"], of(name)) for name in names)
        return Line(label, tuple(x for x, _ in points), tuple(y for _, y in points))

    lines = []
    for f in sorted({SHAPES[name]["f"] for name in SHAPES}):
        of_f = [name for name in names if SHAPES.get(name, BASE)["f"] == f]
        lines.append(line(f"f{f}: the VAE alone", lambda name: figures(out, name)["psnr_db"], of_f))
        if there := measured(out, of_f):
            lines.append(line(f"f{f}: denoised", lambda name: reached(climb(out, name))[REACHED[1]], there))
    title = "The ceiling and what a U-Net of one budget reached"
    note = f"Latents of f 4, 8, 16 with 2, 4, 8 channels; denoised from noise {LEVEL}."
    x, y = "pixel values for each latent value", "PSNR, dB"
    plot = Plot("shapes", "psnr_db", "lines", title, x, y, tuple(lines), log_x=True, note=note)
    draw(plot).save(out / "shapes.png")


if __name__ == "__main__":
    keep_freed_memory()
    torch.set_num_threads(1)
    folder = Path(sys.argv[3])
    measure(sys.argv[1], sys.argv[2], folder, sys.argv[4:])
    tables = each(folder, ONE_KNOB), correlations(folder), by_kl_weight(folder), each(folder, ("short", *SHAPES))
    print(*tables, above_the_ceiling(folder), sep="\n\n")
    plot_of_shapes(folder)
