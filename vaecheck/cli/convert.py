"""vaecheck weights convert"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vaecheck.cli import screen


class Dtype(StrEnum):
    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:,.1f} kB"


def command(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A weight file of any kind, or a diffusers folder.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A folder, new or empty; or a new file NAME.safetensors.")],
    dtype: Annotated[Dtype | None, typer.Option(help="Of the floating weights. Default: as they are.")] = None,
    scaling_factor: Annotated[float | None, typer.Option(help="For config.json, instead of what was found.")] = None,
    shift_factor: Annotated[float | None, typer.Option(help="For config.json, instead of what was found.")] = None,
) -> None:
    """Write a VAE as a diffusers folder of safetensors, without running anything in its file.

    With OUT ending in .safetensors, the tensors of any pickle are written under their own names.

    Example: vaecheck weights convert model.ckpt vae
    """
    from vaecheck.render.listing import paragraphs
    from vaecheck.render.tables import shipped_in_words
    from vaecheck.vae.convert import convert

    with screen.listening():
        done = convert(source, out, dtype=dtype, scaling_factor=scaling_factor, shift_factor=shift_factor)
    size = f"{done.tensors:,} tensors, {_size(done.size_bytes)}, {' and '.join(done.dtypes) or 'no floats'}"
    groups = [("Recognised", [done.recognised]), ("Written", [*map(str, done.files), size])]
    if done.scaling is not None:
        groups += [("Scaling", [shipped_in_words(done.scaling)]), ("Use it with", [f"--vae {out}"])]
    with screen.stdout():
        paragraphs(groups, screen.output())
    for text in done.warnings:
        screen.warn(text)
