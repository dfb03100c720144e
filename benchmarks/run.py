"""`make bench`: what vaecheck costs beside the models that it must run, and beside the plain script.

    python -m benchmarks.run [--images FOLDER] [--count 128] [--size 256] [--repeats 3]

Every ratio is of two things measured in turn in one run, because machines are shared and noisy; each is the median
over the repeats. Without --images, pictures are cut from the bundled samples. Real weights are used where they
are found, stand-ins of the same shape elsewhere: the values mean nothing then, the time is the same.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
METRICS = "rfid,lpips_alex,psnr_db,ssim,kl_nats_per_image,latent_mean,latent_std,posterior_std"
"""What the plain script measures too."""


@dataclass(frozen=True)
class Case:
    """A ratio of two medians, in seconds, and the most it may be."""

    name: str
    ours: list[float]
    theirs: list[float]
    limit: float | None

    @property
    def ratio(self) -> float:
        return statistics.median(a / b for a, b in zip(self.ours, self.theirs, strict=True))


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="vaecheck-bench-") as folder:
        home = Path(folder)
        pictures = options.images or cut_pictures(home / "pictures", options.count)
        environment = os.environ | {"TORCH_HOME": str(home), "VAECHECK_WEIGHTS": str(_weights(home))}
        vaes = three_vaes(home / "vaes")
        runs = [_once(pictures, vaes, home / str(i), environment, options) for i in range(options.repeats)]
    cases = [
        Case(
            "reconstruct, first picture read to result written, over bare forward passes of the same modules",
            [run["in_process"]["reconstruct"] for run in runs],
            [run["in_process"]["bare"] for run in runs],
            1.10,
        ),
        Case(
            "whole process without the VAE's forward passes, over the same of the plain script; same metrics",
            [run["vaecheck"] for run in runs],
            [run["plain"] for run in runs],
            0.65,
        ),
        Case(
            "the same with vaecheck's defaults: deep-feature distance, yardsticks and report on top",
            [run["defaults"] for run in runs],
            [run["plain"] for run in runs],
            None,
        ),
        Case(
            "compare of three VAEs of equal size without their forward passes, over three runs of the plain script",
            [run["compare"] for run in runs],
            [run["three_plain"] for run in runs],
            0.50,
        ),
    ]
    help_seconds = statistics.median(run["help"] for run in runs)
    text = _report(cases, help_seconds, runs[-1]["in_process"], options)
    print(text)
    if options.write:
        (ROOT / "benchmarks" / "RESULTS.md").write_text(text)


def cut_pictures(folder: Path, count: int) -> Path:
    """`count` JPEGs of 500 x 375, as photographs of this field are, each another window of a bundled sample."""
    import random

    from PIL import Image

    folder.mkdir(parents=True)
    samples = sorted((ROOT / "vaecheck" / "assets" / "samples").glob("*.jpg"))
    draw = random.Random(0)
    for i in range(count):
        image = Image.open(samples[i % len(samples)]).convert("RGB")
        scale = draw.uniform(0.6, 1.0)
        width, height = int(image.width * scale), int(image.height * scale)
        left, top = draw.randint(0, image.width - width), draw.randint(0, image.height - height)
        window = image.crop((left, top, left + width, top + height))
        window.resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"{i:04d}.jpg", quality=90)
    return folder


def three_vaes(folder: Path) -> list[Path]:
    """kl-f8-tiny, and two copies of it whose weights are moved a little."""
    import torch
    from safetensors.torch import load_file, save_file

    source = Path(str(resources.files("vaecheck") / "assets" / "kl-f8-tiny"))
    found = [source]
    for seed in (1, 2):
        draw = torch.Generator().manual_seed(seed)
        moved = folder / f"moved-{seed}"
        moved.mkdir(parents=True)
        (moved / "config.json").write_text((source / "config.json").read_text())
        weights = load_file(source / "diffusion_pytorch_model.safetensors")
        for name, values in weights.items():
            noise = torch.randn(values.shape, generator=draw).to(values.dtype)
            weights[name] = values + 0.01 * values.abs().mean() * noise
        save_file(weights, moved / "diffusion_pytorch_model.safetensors")
        found.append(moved)
    return found


def in_process(pictures: str, size: int) -> dict[str, float]:
    """Seconds of the bare forward passes on preloaded tensors, and of reconstruct without opening its models."""
    import torch

    from vaecheck.memory import keep_freed_memory
    from vaecheck.metrics.catalogue import default_names
    from vaecheck.pixels import to_pixels
    from vaecheck.render.report import write_report
    from vaecheck.tasks.opening import open_bench
    from vaecheck.tasks.reconstruct import YARDSTICK_SAMPLE, evenly, reconstruct
    from vaecheck.tasks.settings import Listener, Settings

    keep_freed_memory()  # as the command line does; the bare passes gain as much
    settings = Settings(size=size, offline=True)
    bench = open_bench(pictures, "kl-f8-tiny", settings, Listener())
    networks = bench.catalogue
    extractors = [networks.inception, *([networks.efficientnet] if "fd_efficientnet_lite0" in default_names() else [])]
    lpips = networks.lpips("alex")
    batches = [batch.image for batch in bench.loader()]
    sample = evenly([entry.id for entry in bench.images], YARDSTICK_SAMPLE)
    of_yardsticks = [batch.image for batch in bench.loader(bench.images.only(sample))] * 2
    seconds: dict[str, float] = dict.fromkeys(
        ["vae", "lpips", "lpips of the yardsticks", *(extractor.name for extractor in extractors)], 0.0
    )

    def timed(name: str, start: float) -> None:
        seconds[name] += time.perf_counter() - start

    with torch.inference_mode():
        for warm_up in (True, False):
            seconds |= dict.fromkeys(seconds, 0.0)
            for image in batches[:1] if warm_up else batches:
                start = time.perf_counter()
                bench.vae.decode(bench.vae.encode(to_pixels(image)).mean)
                timed("vae", start)
                for extractor in extractors:
                    other = image.flip(3)
                    start = time.perf_counter()
                    extractor.features(image)
                    extractor.features(other)
                    timed(extractor.name, start)
                start = time.perf_counter()
                lpips.distance(image, image.flip(3))
                timed("lpips", start)
            for image in of_yardsticks:
                start = time.perf_counter()
                lpips.distance(image, image.flip(3))
                timed("lpips of the yardsticks", start)
    bare = sum(seconds.values())

    start = time.perf_counter()
    result, shown = reconstruct(pictures, "kl-f8-tiny", settings)
    with tempfile.TemporaryDirectory() as out:
        write_report(result, shown, Path(out))
    whole = time.perf_counter() - start - result.environment.seconds["open"]
    ours = {f"reconstruct {name}": value for name, value in result.environment.seconds.items()}
    return {"bare": bare, "reconstruct": whole, **{f"bare {name}": value for name, value in seconds.items()}, **ours}


def _once(
    pictures: Path, vaes: Sequence[Path], out: Path, environment: dict[str, str], options: argparse.Namespace
) -> dict[str, Any]:
    out.mkdir(parents=True)
    size = str(options.size)
    code = f"import json, benchmarks.run as b; print(json.dumps(b.in_process({str(pictures)!r}, {size})))"
    inside = json.loads(_run([sys.executable, "-c", code], environment)[0])
    vaecheck = [sys.executable, "-m", "vaecheck", "reconstruct", str(pictures), "--vae", "kl-f8-tiny", "--size", size]
    same = ["--metrics", METRICS, "--yardstick", "none"]
    ours = _without_vae([*vaecheck, *same, "--out", str(out / "same")], environment, out / "same")
    compare = [sys.executable, "-m", "vaecheck", "compare", *map(str, vaes), "--images", str(pictures), "--size", size]
    compared = _without_vae(
        [*compare, "--metrics", METRICS, "--out", str(out / "compare")], environment, out / "compare"
    )
    plain = [_plain(pictures, vae, size, out / f"plain-{place}", environment) for place, vae in enumerate(vaes)]
    defaults = _without_vae([*vaecheck, "--out", str(out / "defaults")], environment, out / "defaults")
    helped = [_run([sys.executable, "-m", "vaecheck", "--help"], environment)[1] for _ in range(3)]
    return {
        "in_process": inside,
        "vaecheck": ours,
        "plain": plain[0],
        "compare": compared,
        "three_plain": sum(plain),
        "defaults": defaults,
        "help": statistics.median(helped),
    }


def _plain(pictures: Path, vae: Path, size: str, out: Path, environment: dict[str, str]) -> float:
    """The same of the plain script."""
    command = [sys.executable, "benchmarks/plain_script.py", str(pictures), "--vae", str(vae), "--size", size]
    figures = out.with_suffix(".json")
    _, wall = _run([*command, "--out", str(out), "--json", str(figures)], environment)
    seconds: float = json.loads(figures.read_text())["seconds"]["vae"]
    return wall - seconds


def _without_vae(command: Sequence[str], environment: dict[str, str], out: Path) -> float:
    """Wall seconds of a whole process, less the seconds inside encode and decode."""
    _, wall = _run([*command, "--offline"], environment)
    seconds: float = json.loads((out / "result.json").read_text())["environment"]["seconds"]["vae"]
    return wall - seconds


def _run(command: Sequence[str], environment: dict[str, str]) -> tuple[str, float]:
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout, time.perf_counter() - start


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


def _report(cases: Sequence[Case], help_seconds: float, inside: dict[str, float], options: argparse.Namespace) -> str:
    from vaecheck import provenance

    lines = [
        "# Benchmarks",
        "",
        f"`python -m benchmarks.run --count {options.count} --size {options.size} --repeats {options.repeats}`: "
        f"{options.count} pictures at {options.size}, kl-f8-tiny, {os.cpu_count()} cores, {provenance.cpu_model()}; "
        + ", ".join(f"{name} {version}" for name, version in provenance.versions().items()),
        "",
        "| case | ours, s | other, s | ratio | at most |",
        "| --- | --- | --- | --- | --- |",
    ]
    for case in cases:
        ours, theirs = (statistics.median(values) for values in (case.ours, case.theirs))
        limit = "-" if case.limit is None else f"{case.limit:.2f}"
        lines.append(f"| {case.name} | {ours:.2f} | {theirs:.2f} | {case.ratio:.2f} | {limit} |")
    lines += ["", f"`vaecheck --help`: {help_seconds:.2f} s (at most 0.40)."]
    lines += ["", "Where the time goes, in seconds of the last repeat:", "", "| stage | seconds |", "| --- | --- |"]
    lines += [f"| {name} | {value:.2f} |" for name, value in inside.items()]
    return "\n".join(lines) + "\n"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, help="your own pictures instead of windows of the samples")
    parser.add_argument("--count", type=int, default=128)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write benchmarks/RESULTS.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
