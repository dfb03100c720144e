"""Pictures that must not accuse a healthy model: drawings, grey pictures, flat pictures, written to folders, seeded."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE = 256
COUNT = 8


def drawings(seed: int) -> Image.Image:
    """A flat drawing: a few filled shapes with black outlines on a light ground, and some lines."""
    draw_from = np.random.default_rng(seed)

    def colour() -> tuple[int, ...]:
        return tuple(int(part) for part in draw_from.integers(40, 230, 3))

    picture = Image.new("RGB", (2 * SIDE, 2 * SIDE), tuple(int(part) for part in draw_from.integers(215, 256, 3)))
    pen = ImageDraw.Draw(picture)
    for _ in range(6):
        x, y = (int(part) for part in draw_from.integers(0, int(1.6 * SIDE), 2))
        width, height = (int(part) for part in draw_from.integers(40, 220, 2))
        shape = [pen.ellipse, pen.rectangle][int(draw_from.integers(2))]
        shape([x, y, x + width, y + height], fill=colour(), outline=(0, 0, 0), width=4)
    for _ in range(4):
        ends = [int(part) for part in draw_from.integers(0, 2 * SIDE, 4)]
        pen.line(ends, fill=(0, 0, 0), width=int(draw_from.integers(2, 6)))
    return picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def line_art(seed: int) -> Image.Image:
    """Black curves on white, as in a comic before it is coloured."""
    draw_from = np.random.default_rng(seed)
    picture = Image.new("L", (2 * SIDE, 2 * SIDE), 255)
    pen = ImageDraw.Draw(picture)
    turn = np.linspace(0, 2 * np.pi, 120)
    for _ in range(7):
        centre, radius = draw_from.uniform(0.4, 1.6, 2) * SIDE, draw_from.uniform(20, 150)
        wobble = 1 + 0.3 * np.sin(draw_from.integers(2, 6) * turn + draw_from.uniform(0, 6))
        points = centre + radius * wobble[:, None] * np.stack([np.cos(turn), np.sin(turn)], 1)
        pen.line([tuple(point) for point in points], fill=0, width=5)
    return picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS).convert("RGB")


def grey(seed: int) -> Image.Image:
    """A bundled sample without its colour."""
    folder = resources.files("vaecheck") / "assets" / "samples"
    names = sorted(each.name for each in folder.iterdir() if each.name.endswith(".jpg"))
    with resources.as_file(folder / names[seed % len(names)]) as path, Image.open(path) as picture:
        return picture.convert("L").convert("RGB")


def flat(seed: int) -> Image.Image:
    """One colour, with a slow gradient in every other picture."""
    draw_from = np.random.default_rng(seed)
    colour = draw_from.uniform(30, 225, 3)
    slope = draw_from.uniform(-20, 20, 3) * (seed % 2)
    ramp = np.linspace(-1, 1, SIDE)[None, :, None]
    values = np.broadcast_to(colour + slope * ramp, (SIDE, SIDE, 3))
    return Image.fromarray(np.clip(np.round(values), 0, 255).astype(np.uint8))


KINDS: dict[str, Callable[[int], Image.Image]] = {
    "drawings": drawings,
    "line_art": line_art,
    "grey": grey,
    "flat": flat,
}


def write(kind: str, folder: Path, count: int = COUNT) -> Path:
    """A folder of `count` pictures of a kind."""
    target = folder / kind
    target.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        KINDS[kind](seed).save(target / f"{seed:02d}.png")
    return target
