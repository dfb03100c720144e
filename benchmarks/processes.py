"""Whole processes: vaecheck against the plain script, cold and warm caches, memory, and the start."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.setting import Setting, cut_pictures

METRICS = "rfid,lpips_alex,psnr_db,ssim,kl_nats_per_image,latent_mean,latent_std,posterior_std"
"""What the plain script measures too."""
MEMORY_METRICS = "fd_efficientnet_lite0,lpips_alex,psnr_db,ssim,latent_mean,latent_std"
"""What a deterministic VAE has, with the smaller network: 2,000 pictures through Inception would take minutes, and
change nothing."""
FEW, MANY = 200, 2000
SMALL = 64
STUB = '''"""A VAE that costs nothing: means of 8 x 8 pixels and their edges."""

import torch
import torch.nn.functional as F


class Means:
    def encode(self, pixels):
        small = F.avg_pool2d(pixels, 8)
        return torch.cat([small, small[:, :1]], dim=1)

    def decode(self, latents):
        return F.interpolate(latents[:, :3], scale_factor=8.0, mode="nearest")


def vae():
    return Means()
'''


@dataclass(frozen=True)
class Timed:
    """Seconds of a whole process, and of the VAE's own forward passes inside it."""

    wall: float
    vae: float
    stages: dict[str, float]

    @property
    def without_vae(self) -> float:
        return self.wall - self.vae


def ours(setting: Setting) -> Timed:
    """reconstruct with what the plain script measures, its cache empty at first. Once a turn."""
    return _once(setting, "ours", lambda: _reconstruct(setting, "ours", "--metrics", METRICS, "--yardstick", "none"))


def plain(setting: Setting, place: int) -> Timed:
    """The plain script on a VAE. Once a turn."""
    return _once(setting, ("plain", place), lambda: _plain(setting, place))


def against_plain(setting: Setting) -> tuple[float, float]:
    return ours(setting).without_vae, plain(setting, 0).without_vae


def vaes_own_time(setting: Setting) -> tuple[float, float]:
    return ours(setting).vae, plain(setting, 0).vae


def compare(setting: Setting) -> tuple[float, float]:
    """Three different VAEs in one comparison, and three runs of the plain script."""
    command = ["compare", *setting.vaes, "--images", setting.pictures, "--metrics", METRICS]
    found = _vaecheck(setting, "compare", command)
    return found.without_vae, sum(plain(setting, place).without_vae for place in range(len(setting.vaes)))


def warm_cache(setting: Setting) -> tuple[float, float]:
    """The second run of the defaults, and the first."""
    first, second = _cold_and_warm(setting)
    return second.without_vae, first.without_vae


def warm_cache_once_open(setting: Setting) -> tuple[float, float]:
    """The same without the start of the process and the loading of networks."""
    first, second = (run.stages["total"] - run.stages["open"] - run.vae for run in _cold_and_warm(setting))
    return second, first


def memory(setting: Setting) -> tuple[float, float]:
    """Peak bytes of MANY and of FEW small pictures."""
    peaks = []
    stub = setting.home / "stub.py"
    stub.write_text(STUB)
    for count in (MANY, FEW):
        pictures = setting.home / f"small-{count}"
        if not pictures.exists():
            cut_pictures(pictures, count, (96, 72))
        command = ["-m", "vaecheck", "reconstruct", pictures, "--vae", f"{stub}:vae", "--size", SMALL, "--offline"]
        folder = setting.fresh(f"memory-{count}")
        options = ["--metrics", MEMORY_METRICS, "--batch-size", 8, "--out", folder]
        peaks.append(setting.run(*command, *options, VAECHECK_CACHE=f"{folder}-cache").peak_bytes / 1e6)
    return peaks[0], peaks[1]


def help_seconds(setting: Setting) -> tuple[float, float]:
    """Seconds of --help, and 1, so that the ratio is seconds."""
    return statistics.median(setting.run("-m", "vaecheck", "--help").seconds for _ in range(5)), 1.0


def _cold_and_warm(setting: Setting) -> tuple[Timed, Timed]:
    def measured() -> tuple[Timed, Timed]:
        return _reconstruct(setting, "first", cache="warm"), _reconstruct(setting, "second", cache="warm")

    return _once(setting, "cold and warm", measured)


def _reconstruct(setting: Setting, name: str, *options: str, cache: str = "") -> Timed:
    return _vaecheck(
        setting, name, ["reconstruct", setting.pictures, "--vae", setting.vaes[0], *options], cache=cache or name
    )


def _vaecheck(setting: Setting, name: str, command: Sequence[object], cache: str = "") -> Timed:
    out = setting.fresh(name)
    folder = setting.fresh(f"cache-{cache or name}")
    done = setting.run(
        *("-m", "vaecheck", *command, "--size", setting.size, "--limit", setting.count, "--offline", "--out", out),
        VAECHECK_CACHE=str(folder),
    )
    stages = json.loads((out / "result.json").read_text())["environment"]["seconds"]
    return Timed(done.seconds, stages["vae"], stages)


def _plain(setting: Setting, place: int) -> Timed:
    out = setting.fresh(f"plain-{place}")
    figures = out.with_suffix(".json")
    script = Path(__file__).with_name("plain_script.py")
    options = ["--size", setting.size, "--limit", setting.count, "--out", out, "--json", figures]
    done = setting.run(script, setting.pictures, "--vae", setting.vaes[place], *options)
    stages = json.loads(figures.read_text())["seconds"]
    return Timed(done.seconds, stages["vae"], stages)


def _once(setting: Setting, name: Any, measure: Any) -> Any:
    """What several cases share is measured once a turn."""
    key = (setting.turn, name)
    if key not in setting.made:
        setting.made[key] = measure()
    return setting.made[key]
