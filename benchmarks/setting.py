"""What all cases are measured on: pictures, VAEs, weights, and the environment of the processes that are started."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
WIDTHS = (16, 32, 64, 64)
LAYERS = 2
GROUPS = 16


@dataclass(frozen=True)
class Process:
    """A process that ended well: its stdout, wall seconds from start to end, and its peak memory in bytes."""

    out: str
    seconds: float
    peak_bytes: int


@dataclass
class Setting:
    """pictures: a folder of `count`, measured at `size`. vaes: three folders. home: where all that is made lies.

    turn: which of the `repeats` it is. made: what cases of one turn share.
    """

    home: Path
    pictures: Path
    vaes: Sequence[Path]
    environment: Mapping[str, str]
    count: int
    size: int
    turn: int = 0
    made: dict[Any, Any] = field(default_factory=dict)

    def fresh(self, name: str) -> Path:
        """A folder that no other turn has."""
        return self.home / f"{name}-{self.turn}"

    def run(self, *command: object, **environment: str) -> Process:
        """Run Python with these arguments. Ends the benchmark where it fails."""
        start = time.perf_counter()
        with (self.home / "errors").open("w+") as errors, (self.home / "out").open("w+") as out:
            process = subprocess.Popen(
                [sys.executable, *map(str, command)],
                cwd=ROOT,
                env={**self.environment, **environment},
                stdout=out,
                stderr=errors,
            )
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            errors.seek(0)
            if process.returncode:
                sys.exit(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{errors.read()}")
            unit = 1 if sys.platform == "darwin" else 1024
            return Process(out.read(), seconds, usage.ru_maxrss * unit)


def prepared(home: Path, images: Path | None, count: int, size: int) -> Setting:
    """Write all that the cases need into `home`. images: a folder of pictures to use instead of windows of samples."""
    pictures = images or cut_pictures(home / "pictures", count, (500, 375))
    vaes = [seeded_vae(home / f"vae-{seed}", seed) for seed in range(3)]
    environment = os.environ | {
        "TORCH_HOME": str(home),
        "VAECHECK_WEIGHTS": str(_weights(home)),
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "100",
    }
    environment.pop("VAECHECK_CACHE_GB", None)
    return Setting(home, pictures, vaes, environment, count, size)


def cut_pictures(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """`count` JPEGs of one size, as photographs of this field are, each another window of a bundled sample."""
    from PIL import Image

    folder.mkdir(parents=True)
    samples = [
        Image.open(path).convert("RGB") for path in sorted((ROOT / "vaecheck" / "assets" / "samples").glob("*.jpg"))
    ]
    draw = random.Random(0)
    for i in range(count):
        image = samples[i % len(samples)]
        scale = draw.uniform(0.6, 1.0)
        width, height = int(image.width * scale), int(image.height * scale)
        left, top = draw.randint(0, image.width - width), draw.randint(0, image.height - height)
        window = image.crop((left, top, left + width, top + height))
        window.resize(size, Image.Resampling.BICUBIC).save(folder / f"{i:05d}.jpg", quality=90)
    return folder


def seeded_vae(folder: Path, seed: int) -> Path:
    """A random AutoencoderKL, saved by diffusers."""
    import torch
    from diffusers import AutoencoderKL

    torch.manual_seed(seed)
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(WIDTHS),
        up_block_types=("UpDecoderBlock2D",) * len(WIDTHS),
        block_out_channels=WIDTHS,
        layers_per_block=LAYERS,
        norm_num_groups=GROUPS,
    )
    model.save_pretrained(folder)
    return folder


def _weights(home: Path) -> Path:
    """A folder of weight files under their published names: the real ones where they are, else stand-ins."""
    from tests import stand_in_weights
    from vaecheck import weights

    stand_in_weights.write(home)
    folder = home / "hub" / "checkpoints"
    for row in weights.listing():
        if row.found is not None:
            target = folder / row.published.file_name
            target.unlink(missing_ok=True)
            target.symlink_to(row.found.path.resolve())
    return folder
