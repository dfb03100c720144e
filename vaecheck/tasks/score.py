"""`score`: the image metrics on two folders of pictures, without running a VAE."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import PurePosixPath

import torch

from vaecheck import provenance
from vaecheck.errors import InputError
from vaecheck.gallery import Gallery
from vaecheck.images.entries import ImageSet, Listing
from vaecheck.images.loader import Images, Loader, fingerprint
from vaecheck.images.prepare import Intake
from vaecheck.images.preprocess import OWN_SIZE
from vaecheck.images.sources import open_images
from vaecheck.metrics import catalogue
from vaecheck.metrics.catalogue import Catalogue, WeightOptions
from vaecheck.metrics.protocol import Batch
from vaecheck.pixels import Levels, to_image, to_pixels
from vaecheck.results.types import DataCard, Result, Shown, SkippedImage
from vaecheck.tasks.machine import auto_batch_size, choose_device, default_workers
from vaecheck.tasks.opening import levels_of
from vaecheck.tasks.reconstruct import per_image, picture_warnings
from vaecheck.tasks.settings import Listener, Settings, ignored_options, protocol_warnings, under_protocol


@torch.inference_mode()
def score(
    originals: str, reconstructions: str, settings: Settings, listener: Listener | None = None
) -> tuple[Result, tuple[Shown, ...]]:
    """Every image metric on pairs of the same relative path, both sides brought to the same size.

    A reconstruction may have another extension than its original (b.jpg, b.png) where that is unambiguous.
    """
    started = time.perf_counter()
    listener = listener or Listener()
    settings, protocol = under_protocol(settings)
    protocol = protocol.on_files() if protocol else None
    default = catalogue.default_names(settings.lpips_net, protocol=protocol)
    wanted = settings.metrics or tuple(name for name in default if name in catalogue.IMAGE_NAMES)
    names = catalogue.check_names(wanted)
    if of_latents := [name for name in names if name not in catalogue.IMAGE_NAMES]:
        raise InputError(f"{', '.join(of_latents)} need a VAE", hint="Use vaecheck reconstruct, which runs one.")
    left, right, unpaired = pair(
        open_images(
            originals, limit=settings.limit, sample=settings.sample, seed=settings.seed, offline=settings.offline
        ),
        open_images(reconstructions, offline=settings.offline),
        fail=settings.bad_images == "fail",
    )
    device = choose_device(settings.device)
    options = WeightOptions(settings.inception_weights, settings.lpips_weights, settings.offline, listener.download)
    networks = Catalogue(device, options, settings.seed, protocol=protocol)
    built = networks.build(names)
    gallery = Gallery(built.metrics)
    batch_size = settings.batch_size or auto_batch_size(device, settings)
    from_left, from_right = _loader(left, settings), _loader(right, settings)
    listener.start("Scoring", left.count)
    different: list[SkippedImage] = []
    scored: set[str] = set()
    order = {image_id: place for place, image_id in enumerate(right.ids)}
    for original, reconstruction in _batches(from_left, from_right, order, batch_size, different):
        batch = _batch(original, reconstruction, device, levels_of(protocol))
        for metric in built.metrics:
            metric.update(batch)
        gallery.update(batch)
        scored.update(batch.ids)
        listener.advance(len(batch.ids))
    columns = per_image(built)
    skipped = (*unpaired, *from_left.skipped, *from_right.skipped, *different)
    if not gallery.count:
        first = "; ".join(f"{image.id} {image.reason}" for image in skipped[:3])
        raise InputError(
            f"no pair of pictures can be compared: {first}", hint="Give both sides in one size, or --size."
        )
    return Result(
        kind="score",
        vae=None,
        data=DataCard(
            source=f"{left.source} against {right.source}",
            count=gallery.count,
            skipped=skipped,
            fingerprint=fingerprint(digest for image_id, digest in from_left.digests.items() if image_id in scored),
            size=None if settings.fit in OWN_SIZE else settings.size,
            fit=settings.fit,
            notes=dict(from_left.notes),
        ),
        settings=settings.document()
        | {"batch_size": batch_size, "metrics": list(names), "metric_weights": networks.hashes()},
        environment=provenance.environment(str(device), {"total": time.perf_counter() - started}),
        measures=built.measures(),
        warnings=(
            *protocol_warnings(protocol),
            *(ignored_options(settings) if protocol is None else ()),
            *picture_warnings(from_left, skipped),
            *_resized_warning(from_right),
        ),
        per_image=columns,
    ), gallery.shown()


def pair(originals: ImageSet, reconstructions: ImageSet, *, fail: bool) -> tuple[ImageSet, Listing, list[SkippedImage]]:
    """The pictures that both sides have, under the originals' ids, and the originals that have no partner.

    The originals may stream; the reconstructions are looked up, so they must be listed. Both come in one order.
    """
    if not isinstance(reconstructions, Listing):
        raise InputError(
            f"{reconstructions.source} can only be read from its start, and reconstructions are looked up by name",
            hint="Give them as a folder, a list, a glob or plain .tar shards; the originals may stream.",
        )
    by_path = {entry.id: entry for entry in reconstructions}
    by_stem: dict[str, list[str]] = {}
    for image_id in by_path:
        by_stem.setdefault(_stem(image_id), []).append(image_id)
    found: dict[str, str] = {}
    missing: list[SkippedImage] = []
    for image_id in originals.ids:
        candidates = by_stem.get(_stem(image_id), [])
        same = [name for name in (f"{image_id}.png", image_id) if name in by_path]
        if same or len(candidates) == 1:
            found[image_id] = (same or candidates)[0]
        else:
            missing.append(SkippedImage(image_id, "has no reconstruction of that relative path"))
    if not found or (fail and missing):
        raise InputError(
            f"{len(missing)} of {len(found) + len(missing)} originals have no reconstruction, "
            f"the first is {missing[0].id}",
            hint="Both sides must use the same relative paths, such as the folder of --save-reconstructions.",
        )
    partners = tuple(replace(by_path[partner], id=image_id) for image_id, partner in found.items())
    return originals.only(found), replace(reconstructions, entries=partners), missing


def _stem(image_id: str) -> str:
    return str(PurePosixPath(image_id).with_suffix(""))


def _loader(images: ImageSet, settings: Settings) -> Loader:
    intake = Intake(
        size=settings.size,
        fit=settings.fit,
        multiple=1,
        icc=settings.icc,
        background=settings.background,
        bad_images=settings.bad_images,
        max_pixels=settings.max_pixels,
    )
    workers = settings.workers if settings.workers is not None else default_workers()
    return Loader(images, intake, batch_size=1, workers=workers)


def _batches(
    originals: Loader,
    reconstructions: Loader,
    order: Mapping[str, int],
    batch_size: int,
    different: list[SkippedImage],
) -> Iterator[tuple[Images, Images]]:
    """Pairs in batches of one shape. A pair of two shapes goes to `different`."""
    waiting: list[tuple[Images, Images]] = []
    for original, reconstruction in _pairs(originals, reconstructions, order):
        if original.image.shape != reconstruction.image.shape:
            shapes = " and ".join("x".join(map(str, side.image.shape[:1:-1])) for side in (original, reconstruction))
            different.append(SkippedImage(original.ids[0], f"and its reconstruction are {shapes}"))
            continue
        if waiting and (len(waiting) == batch_size or waiting[0][0].image.shape != original.image.shape):
            yield _joined([left for left, _ in waiting]), _joined([right for _, right in waiting])
            waiting = []
        waiting.append((original, reconstruction))
    if waiting:
        yield _joined([left for left, _ in waiting]), _joined([right for _, right in waiting])


def _pairs(originals: Loader, reconstructions: Loader, order: Mapping[str, int]) -> Iterator[tuple[Images, Images]]:
    """Both sides in the order given, without the pictures that either side skipped."""
    others = iter(reconstructions)
    other = next(others, None)
    for original in originals:
        while other is not None and order[other.ids[0]] < order[original.ids[0]]:
            other = next(others, None)
        if other is not None and other.ids == original.ids:
            yield original, other


def _joined(images: list[Images]) -> Images:
    ids = tuple(image_id for part in images for image_id in part.ids)
    return Images(ids, torch.cat([part.image for part in images]), images[0].valid)


def _batch(original: Images, reconstruction: Images, device: torch.device, levels: Levels | None) -> Batch:
    images = [side.image[..., : side.valid[0], : side.valid[1]].to(device) for side in (original, reconstruction)]
    pixels = [to_pixels(image) for image in images]
    images = images if levels is None else [to_image(side, levels) for side in pixels]
    finite = torch.ones(len(original.ids), dtype=torch.bool, device=device)
    return Batch(
        original.ids,
        images[0],
        reconstruction=images[1],
        pixels=pixels[0],
        reconstruction_pixels=pixels[1],
        finite=finite,
    )


def _resized_warning(reconstructions: Loader) -> tuple[str, ...]:
    if not (count := reconstructions.notes.get("enlarged")):
        return ()
    return (
        f"{count} reconstructions were smaller than --size and had to be enlarged; use --fit none for their own size",
    )
