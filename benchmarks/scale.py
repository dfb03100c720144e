"""Does a run stay flat in memory and linear in time, and do several processes find what one does?

    python -m benchmarks.scale [--count 200000] [--folder FOLDER] [--processes 1 2 3]

Synthetic pictures of 32 pixels in tar shards, and a VAE that costs nothing (areas averaged), so that what is measured
is vaecheck alone: reading, the loop, the metrics without networks, the state on its way, the report. A quarter, half
and all of the pictures by one process, then all by several.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaecheck import provenance

ROOT = Path(__file__).resolve().parents[1]
EACH_SHARD = 1000
METRICS = "psnr_db,ssim,kl_nats_per_image,latent_mean,latent_std,posterior_std"
STUB = """
import torch, torch.nn.functional as F
class Gaussian:
    def __init__(self, mean):
        self.mean, self.log_var = mean, torch.full_like(mean, -9.0)
class Averages:
    def encode(self, pixels):
        return Gaussian(F.avg_pool2d(pixels, 8))
    def decode(self, latents):
        return F.interpolate(latents, scale_factor=8, mode="nearest")
def build():
    return Averages()
"""


@dataclass(frozen=True)
class Ran:
    """Of one run: seconds of the loop and of the whole, peak bytes of the largest process, and the document."""

    loop: float
    whole: float
    peak: int
    document: Any


def shards(folder: Path, count: int) -> str:
    """Pictures of coarse noise as PNG, the same at every call."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    last = (count - 1) // EACH_SHARD
    for shard in range(last + 1):
        path = folder / f"data-{shard:04d}.tar"
        if path.exists():
            continue
        draw = np.random.default_rng(shard)
        with tarfile.open(path.with_suffix(".tmp"), "w") as tar:
            for place in range(min(EACH_SHARD, count - shard * EACH_SHARD)):
                small = Image.fromarray(draw.integers(0, 256, (5, 5, 3), np.uint8))
                data = io.BytesIO()
                small.resize((32, 32), Image.Resampling.BICUBIC).save(data, "PNG", compress_level=1)
                member = tarfile.TarInfo(f"{shard:04d}{place:04d}.png")
                member.size = data.tell()
                data.seek(0)
                tar.addfile(member, data)
        path.with_suffix(".tmp").replace(path)
    return str(folder / f"data-{{0000..{last:04d}}}.tar")


def run(source: str, vae: str, out: Path, processes: int, limit: int) -> Ran:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "vaecheck", "reconstruct", source]
    command += ["--vae", vae, "--size", "32", "--batch-size", "64", "--metrics", METRICS, "--yardstick", "none"]
    command += ["--limit", str(limit), "--out", str(out), "--device", "cpu", "--offline", "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "VAECHECK_CACHE_GB": "0", "PYTHONPATH": str(ROOT)}
    start = time.perf_counter()
    with (out.parent / f"{out.name}.json").open("w") as file:
        child = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL, env=environment, cwd=ROOT)
        _, status, used = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    document = json.loads((out.parent / f"{out.name}.json").read_text())
    # of several processes the launcher is waited for, which says nothing of theirs: take what the first one says
    peak = used.ru_maxrss * 1024 if processes == 1 else int(document["measures"]["peak_memory_bytes"]["value"])
    whole = time.perf_counter() - start
    return Ran(document["environment"]["seconds"]["loop"], whole, peak, document)


def sums(count: int) -> dict[str, float]:
    """Seconds for 1,000 images, and bytes before and after, of Frechet sums in 2,048 features."""
    import torch

    from vaecheck.metrics.feature_distances import FeatureDistances
    from vaecheck.metrics.perceptual import FeatureExtractor
    from vaecheck.metrics.protocol import Batch

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def random(images: Any) -> Any:
        return torch.rand(len(images), 2048)

    extractor = FeatureExtractor("random", "random", 2048, random, sha256="", published=True, device="cpu")
    metric, images = FeatureDistances(extractor, ("fd_random",)), torch.zeros(64, 3, 1, 1, dtype=torch.uint8)
    found: dict[str, float] = {}
    start = time.perf_counter()
    for seen in range(0, count, 64):
        ids = tuple(f"{seen + place:09d}" for place in range(64))
        metric.update(
            Batch(ids, images.clone(), reconstruction=images.clone(), finite=torch.ones(64, dtype=torch.bool))
        )
        for mark in (10_000, count // 2):
            if seen < mark <= seen + 64:
                found[f"peak memory at {mark:,}"] = peak()
    found[f"peak memory at {count:,}"] = peak()
    found["seconds for 1,000 pictures"] = (time.perf_counter() - start) / count * 1000
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, help="where the shards are, or are made")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--write", action="store_true", help="write benchmarks/SCALE.md")
    options = parser.parse_args()
    lines: list[str] = []

    def tell(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    tell("# Scale\n")
    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions().items())
    machine = f"{os.cpu_count()} cores, {provenance.cpu_model()}; {versions}"
    tell(f"`python -m benchmarks.scale --count {options.count} --write`, {machine}")
    tell("\nPictures of 32 pixels in tar shards, a VAE that costs nothing, one thread a process;")
    tell(f"`--metrics {METRICS}`.\n")
    with tempfile.TemporaryDirectory(prefix="vaecheck-scale-") as home:
        work = Path(home)
        source = shards(options.folder or work / "shards", options.count)
        stub = work / "stub.py"
        stub.write_text(STUB)
        tell("| processes | pictures | loop, s | whole, s | peak of the first, MiB | psnr_db |")
        tell("| --- | --- | --- | --- | --- | --- |")
        cases = [(1, options.count // part) for part in (4, 2, 1)] + [(n, options.count) for n in options.processes[1:]]
        for processes, count in cases:
            ran = run(source, f"{stub}:build", work / f"{processes}-{count}", processes, count)
            psnr = ran.document["measures"]["psnr_db"]["value"]
            row = f"| {processes} | {count:,} | {ran.loop:.1f} | {ran.whole:.1f} | {ran.peak / 2**20:.0f} | {psnr!r} |"
            tell(row)
    count = min(options.count, 40_000)
    found = sums(count)
    tell(f"\nFrechet sums in 2,048 features of {count:,} pictures (10,000 are kept):\n")
    tell("| what | figure |\n| --- | --- |")
    for name, value in found.items():
        tell(f"| {name} | {value / 2**20:.0f} MiB |" if name.startswith("peak") else f"| {name} | {value:.2f} |")
    if options.write:
        (ROOT / "benchmarks" / "SCALE.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
