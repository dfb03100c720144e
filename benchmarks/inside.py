"""Inside one process: reconstruct against the forward passes that it must run, and single networks.

    python -m benchmarks.inside CASE PICTURES VAE SIZE COUNT DEVICE

prints one JSON object of seconds. Each case has a process of its own, so that none finds another's caches.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BATCH = 16
FEWER = 4
"""Of the pictures one in so many goes through single networks."""

Seconds = dict[str, float]


def bare(pictures: str, vae: str, size: int, count: int, device: str) -> Seconds:
    """The bare forward passes on preloaded tensors; reconstruct from its first picture to its written result.

    The passes are made before and after, and their mean is taken: a machine that gets slower or faster in these two
    minutes favours neither side. Modules are imported and networks opened before either.
    """
    from vaecheck.metrics.catalogue import default_names
    from vaecheck.pixels import to_pixels
    from vaecheck.render.report import write_report
    from vaecheck.tasks import reconstruct as task
    from vaecheck.tasks.opening import open_bench
    from vaecheck.tasks.settings import Listener, Settings
    from vaecheck.tasks.yardsticks import YARDSTICK_SAMPLE, evenly

    settings = Settings(size=size, limit=count, offline=True, device=device)
    bench = open_bench(pictures, vae, settings, Listener())
    networks = bench.catalogue
    extractors = [networks.inception, *([networks.efficientnet] if "fd_efficientnet_lite0" in default_names() else [])]
    lpips = networks.lpips("alex")
    batches = [batch.image.to(bench.device) for batch in bench.loader()]
    sample = evenly([entry.id for entry in bench.images], YARDSTICK_SAMPLE)
    of_yardsticks = [batch.image.to(bench.device) for batch in bench.loader(bench.images.only(sample))]

    def passes(batches: Sequence[Any], of_yardsticks: Sequence[Any]) -> Seconds:
        seconds: Seconds = {}

        def timed(name: str, work: Callable[..., Any], *of: Any) -> None:
            _wait(device)
            with _added(seconds, f"bare {name}"):
                work(*of)
                _wait(device)

        for given in batches:
            image = given.clone()  # else what is remembered of it would be left out the next time
            other, pixels = image.flip(3), to_pixels(image)
            timed("vae", lambda pixels: bench.vae.decode(bench.vae.encode(pixels).mean), pixels)
            for extractor in extractors:
                timed(extractor.name, extractor.features, image)
                timed(extractor.name, extractor.features, other)
            timed("lpips", lpips.distance, image, other)
        for given in of_yardsticks:
            image = given.clone()
            for other in (image.flip(3), image.flip(2)):
                timed("lpips of yardsticks", lpips.distance, image, other)
        return seconds

    import torch

    with torch.inference_mode():
        passes(batches[:1], of_yardsticks[:1])
        before = passes(batches, of_yardsticks)
    observed = _observed(task)
    start = time.perf_counter()
    result, shown = task.reconstruct(pictures, vae, settings)
    written = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        write_report(result, shown, Path(out))
    end = time.perf_counter()
    with torch.inference_mode():
        after = passes(batches, of_yardsticks)
    stages = result.environment.seconds
    return {
        "ours": end - start - stages["open"],
        "theirs": (sum(before.values()) + sum(after.values())) / 2,
        **{name: (before[name] + after[name]) / 2 for name in before},
        **{f"stage {name}": value for name, value in stages.items()},
        **{f"stage of loop {name}": value for name, value in observed.items()},
        "stage report": end - written,
    }


def inception(pictures: str, vae: str, size: int, count: int, device: str) -> Seconds:
    """Our features, and those of torch-fidelity's own extractor, batch by batch in turn."""
    images = _images(pictures, size, max(BATCH, count // FEWER))
    return _in_turn(images, device, ours=_our_inception(device), theirs=_their_inception(device))


def our_inception(pictures: str, vae: str, size: int, count: int, device: str) -> Seconds:
    """Our features alone, in a process as the command line has it."""
    return _in_turn(_images(pictures, size, max(BATCH, count // FEWER)), device, seconds=_our_inception(device))


def their_inception(pictures: str, vae: str, size: int, count: int, device: str) -> Seconds:
    """Those of torch-fidelity's own extractor alone, in a process as it is."""
    return _in_turn(_images(pictures, size, max(BATCH, count // FEWER)), device, seconds=_their_inception(device))


def _our_inception(device: str) -> Callable[[Any], Any]:
    from vaecheck import weights
    from vaecheck.metrics.perceptual import Inception

    file = weights.find("inception", offline=True)
    return Inception(file.path, file.sha256, file.published, device).features


def _their_inception(device: str) -> Callable[[Any], Any]:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    from vaecheck import weights

    path = str(weights.find("inception", offline=True).path)
    return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=path).to(device)


def vae_loop(pictures: str, vae: str, size: int, count: int, device: str) -> Seconds:
    """encode and decode as ours are and as diffusers' are, batch by batch in turn, in one process."""
    import torch
    from diffusers import AutoencoderKL

    from vaecheck.pixels import to_pixels
    from vaecheck.tasks.opening import open_vae
    from vaecheck.tasks.settings import Settings

    ours = open_vae(vae, Settings(), torch.device(device), "float32")
    theirs = AutoencoderKL.from_pretrained(vae).eval().to(device)

    def plain(image: Any) -> None:
        theirs.decode(theirs.encode(to_pixels(image)).latent_dist.mode())

    def as_commands_do(image: Any) -> None:
        ours.decode(ours.encode(to_pixels(image)).mean)

    images = _images(pictures, size, max(BATCH, count // FEWER))
    return _in_turn(images, device, ours=as_commands_do, theirs=plain)


def _in_turn(images: Any, device: str, **functions: Callable[[Any], Any]) -> Seconds:
    """Seconds of each function over all batches, by its name; the first batch goes through once before."""
    import torch

    seconds: Seconds = {}
    with torch.inference_mode():
        for warm_up in (True, False):
            seconds = dict.fromkeys(functions, 0.0)
            for batch in images.split(BATCH)[: 1 if warm_up else None]:
                moved = batch.to(device)
                for name, function in functions.items():
                    _wait(device)
                    start = time.perf_counter()
                    function(moved)
                    _wait(device)
                    seconds[name] += time.perf_counter() - start
    return seconds


def _images(pictures: str, size: int, count: int) -> Any:
    """uint8 (count, 3, size, size)."""
    import torch

    from vaecheck.images.loader import Loader
    from vaecheck.images.prepare import Intake
    from vaecheck.images.sources import open_images

    loader = Loader(open_images(pictures, limit=count), Intake(size=size), batch_size=BATCH, workers=2)
    return torch.cat([batch.image for batch in loader])


def _observed(task: Any) -> Seconds:
    """Seconds of every observer of the next run."""
    seconds: Seconds = {}
    plain_run = task.Run

    class Observed:
        def __init__(self, observer: Any) -> None:
            self._observer = observer

        def __getattr__(self, name: str) -> Any:
            return getattr(self._observer, name)

        def update(self, batch: Any) -> None:
            with _added(seconds, getattr(self._observer, "name", type(self._observer).__name__.lower())):
                self._observer.update(batch)

    def run(vae: Any, observers: Any, stopwatch: Any) -> Any:
        task.Run = plain_run  # those of the yardsticks are another stage
        return plain_run(vae, [Observed(one) for one in observers], stopwatch)

    task.Run = run
    return seconds


@contextmanager
def _added(seconds: Seconds, name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()


CASES = {
    "bare": bare,
    "inception": inception,
    "our-inception": our_inception,
    "their-inception": their_inception,
    "vae": vae_loop,
}


def main() -> None:
    from vaecheck.memory import keep_freed_memory

    case, pictures, vae, size, count, device = sys.argv[1:]
    if not case.startswith("their"):
        keep_freed_memory()  # as the command line does; what is measured in the same process gains as much
    print(json.dumps(CASES[case](pictures, vae, int(size), int(count), device)))


if __name__ == "__main__":
    main()
