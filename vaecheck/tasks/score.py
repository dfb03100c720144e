"""`score`: the image metrics on two folders of pictures, without running a VAE."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath

import torch

from vaecheck import provenance
from vaecheck.errors import InputError
from vaecheck.gallery import Gallery
from vaecheck.images.loader import Images, Loader, fingerprint
from vaecheck.images.prepare import Intake
from vaecheck.images.preprocess import OWN_SIZE
from vaecheck.images.sources import Entry, ImageSet, open_images
from vaecheck.metrics import catalogue
from vaecheck.metrics.catalogue import Catalogue, WeightOptions
from vaecheck.metrics.protocol import Batch
from vaecheck.pixels import to_pixels
from vaecheck.results.types import DataCard, Result, Shown, SkippedImage
from vaecheck.tasks.reconstruct import per_image, picture_warnings
from vaecheck.tasks.settings import Listener, Settings, auto_batch_size, choose_device, default_workers


@torch.inference_mode()
def score(
    originals: str, reconstructions: str, settings: Settings, listener: Listener | None = None
) -> tuple[Result, tuple[Shown, ...]]:
    """Every image metric on pairs of the same relative path, both sides brought to the same size.

    A reconstruction may have another extension than its original (b.jpg, b.png) where that is unambiguous.
    """
    started = time.perf_counter()
    listener = listener or Listener()
    wanted = settings.metrics or tuple(
        name for name in catalogue.default_names(settings.lpips_net) if name in catalogue.IMAGE_NAMES
    )
    names = catalogue.check_names(wanted)
    if of_latents := [name for name in names if name not in catalogue.IMAGE_NAMES]:
        raise InputError(f"{', '.join(of_latents)} need a VAE", hint="Use vaecheck reconstruct, which runs one.")
    left, right, unpaired = pair(
        open_images(originals, limit=settings.limit, sample=settings.sample, seed=settings.seed),
        open_images(reconstructions),
        fail=settings.bad_images == "fail",
    )
    device = choose_device(settings.device)
    options = WeightOptions(settings.inception_weights, settings.lpips_weights, settings.offline, listener.download)
    built = Catalogue(device, options, settings.seed).build(names)
    gallery = Gallery()
    batch_size = settings.batch_size or auto_batch_size(device, settings)
    from_left, from_right = _loader(left, settings), _loader(right, settings)
    listener.start("Scoring", left.count)
    different: list[SkippedImage] = []
    digests: dict[str, bytes] = {}
    for original, reconstruction in _batches(from_left, from_right, batch_size, different):
        batch = _batch(original, reconstruction, device)
        for metric in built.metrics:
            metric.update(batch)
        gallery.update(batch)
        digests |= {image_id: from_left.digests[image_id] for image_id in batch.ids}
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
            fingerprint=fingerprint(digests),
            size=None if settings.fit in OWN_SIZE else settings.size,
            fit=settings.fit,
            notes=dict(from_left.notes),
        ),
        settings=settings.document() | {"batch_size": batch_size, "metrics": list(names)},
        environment=provenance.environment(str(device), {"total": time.perf_counter() - started}),
        measures=built.measures(),
        warnings=(*picture_warnings(from_left, skipped), *_resized_warning(from_right)),
        per_image=columns,
    ), gallery.shown()


def pair(
    originals: ImageSet, reconstructions: ImageSet, *, fail: bool
) -> tuple[ImageSet, ImageSet, list[SkippedImage]]:
    """The pictures that both sides have, under the originals' ids, and the originals that have no partner."""
    by_path = {entry.id: entry for entry in reconstructions.entries}
    by_stem: dict[str, list[Entry]] = {}
    for entry in reconstructions.entries:
        by_stem.setdefault(_stem(entry.id), []).append(entry)
    found: list[tuple[Entry, Entry]] = []
    missing: list[SkippedImage] = []
    for entry in originals.entries:
        candidates = by_stem.get(_stem(entry.id), [])
        partner = by_path.get(f"{entry.id}.png") or by_path.get(entry.id)
        partner = partner or (candidates[0] if len(candidates) == 1 else None)
        if partner is None:
            missing.append(SkippedImage(entry.id, "has no reconstruction of that relative path"))
        else:
            found.append((entry, replace(partner, id=entry.id)))
    if not found or (fail and missing):
        raise InputError(
            f"{len(missing)} of {originals.count} originals have no reconstruction, the first is {missing[0].id}",
            hint="Both sides must use the same relative paths, such as the folder of --save-reconstructions.",
        )
    left, right = zip(*found, strict=True)
    return replace(originals, entries=left), replace(reconstructions, entries=right), missing


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
    originals: Loader, reconstructions: Loader, batch_size: int, different: list[SkippedImage]
) -> Iterator[tuple[Images, Images]]:
    """Pairs in batches of one shape. A pair of two shapes goes to `different`."""
    waiting: list[tuple[Images, Images]] = []
    for original, reconstruction in _pairs(originals, reconstructions):
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


def _pairs(originals: Loader, reconstructions: Loader) -> Iterator[tuple[Images, Images]]:
    """Both sides in the order of their ids, without the pictures that either side skipped."""
    others = iter(reconstructions)
    other = next(others, None)
    for original in originals:
        while other is not None and other.ids[0] < original.ids[0]:
            other = next(others, None)
        if other is not None and other.ids == original.ids:
            yield original, other


def _joined(images: list[Images]) -> Images:
    ids = tuple(image_id for part in images for image_id in part.ids)
    return Images(ids, torch.cat([part.image for part in images]), images[0].valid)


def _batch(original: Images, reconstruction: Images, device: torch.device) -> Batch:
    images = [side.image[..., : side.valid[0], : side.valid[1]].to(device) for side in (original, reconstruction)]
    finite = torch.ones(len(original.ids), dtype=torch.bool, device=device)
    return Batch(
        original.ids,
        images[0],
        reconstruction=images[1],
        reconstruction_pixels=to_pixels(images[1]),
        finite=finite,
    )


def _resized_warning(reconstructions: Loader) -> tuple[str, ...]:
    if not (count := reconstructions.notes.get("enlarged")):
        return ()
    return (
        f"{count} reconstructions were smaller than --size and had to be enlarged; use --fit none for their own size",
    )
