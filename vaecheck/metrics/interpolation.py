"""ifid, ifd_efficientnet_lite0: whether halfway between the latents of two like pictures there is a picture.

Why neighbours from the user's own set: the paper takes them from a training set of a million pictures. Here they are
farther apart, so the figures are higher and to be compared only on the same pictures.

Why raw latents: the published script takes neighbours, weights and the halfway point on latents as the encoder gives
them. Differs from it in that what is decoded is clamped and rounded before the network, as any picture would be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaecheck.cells import Cell, Smallest
from vaecheck.errors import NotEnoughImages
from vaecheck.metrics.feature_distances import FeatureDistances
from vaecheck.metrics.latent_store import LatentStore, Stored, template
from vaecheck.metrics.perceptual import FeatureExtractor
from vaecheck.metrics.protocol import Batch, Need, View, compared
from vaecheck.pixels import to_8_bits, to_uint8
from vaecheck.results.types import Measure, Panel

IFID, IFD_EFFICIENTNET = "ifid", "ifd_efficientnet_lite0"
NEIGHBOURS = 10
BLOCK = 8
SHOWN = 2
EVIDENCE = (
    "With a training set for neighbours, Pearson and Spearman of about 0.85 with gFID over published VAEs (arXiv "
    "2603.05630); less stable where reconstruction is alike (arXiv 2606.03578)."
)


def _described(name: str, features: str) -> Measure:
    return template(
        name,
        "Frechet distance between the pictures and what is decoded halfway (slerp) between the latents of each and of "
        f"one of its {NEIGHBOURS} nearest others in this very set (cosine), drawn by softmax(-mean squared distance), "
        f"in features of {features}; unlike the paper, without a training set, so only to compare on the same pictures",
        better="lower",
        role="predicts",
        evidence=EVIDENCE,
    )


TEMPLATES = {
    IFID: _described(IFID, "Inception 2015-12-05"),
    IFD_EFFICIENTNET: _described(IFD_EFFICIENTNET, "EfficientNet-Lite0"),
}
INNER = {IFID: "rfid", IFD_EFFICIENTNET: "fd_efficientnet_lite0"}
"""The measure of frechet.py that each becomes with these pictures in place of reconstructions."""


class Interpolation:
    """Keeps latents and the originals' features; after the walk it mixes, decodes and measures.

    decode: latents -> pixels, not clamped. extractors: by measure. view: of the pictures, as RGB.
    """

    name = "interpolation"
    needs = frozenset({Need.POSTERIOR})

    def __init__(
        self,
        decode: Callable[[Tensor], Tensor],
        extractors: Mapping[str, FeatureExtractor],
        store: LatentStore,
        *,
        device: torch.device | str = "cpu",
        seed: int = 0,
        view: View = compared,
    ) -> None:
        self.decode = decode
        self.extractors = dict(extractors)
        self.store = store
        self.device = torch.device(device)
        self.seed = seed
        self.view = view
        self.features = {
            name: Smallest(each.feature_count, np.float32, store.most, seed=store.seed)
            for name, each in self.extractors.items()
        }
        self._made: tuple[int, tuple[Measure, ...], tuple[Panel, ...]] = (-1, (), ())

    def update(self, batch: Batch) -> None:
        assert batch.latents is not None
        places = self.store.add(batch.ids, batch.latents)
        if not places:
            return
        original = to_8_bits(batch.original[places])
        image, _ = self.view(replace(batch, original=original, reconstruction=original))
        for name, extractor in self.extractors.items():
            self.features[name].add([batch.ids[i] for i in places], extractor.features(image).cpu().numpy())

    def cells(self) -> Mapping[str, Cell]:
        return {**self.store.cells(), **{f"features_{name}": rows for name, rows in self.features.items()}}

    def compute(self) -> tuple[Measure, ...]:
        return self._results()[0]

    def panels(self) -> tuple[Panel, ...]:
        return self._results()[1]

    def _results(self) -> tuple[tuple[Measure, ...], tuple[Panel, ...]]:
        """Made once for so many pictures: it decodes every one."""
        stored = self.store.stored()
        if len(stored.ids) < 2:
            raise NotEnoughImages("a latent has no neighbour: there is one picture", hint="Give more pictures.")
        if self._made[0] != stored.of:
            self._made = stored.of, *self._measured(stored)
        return self._made[1:]

    def _measured(self, stored: Stored) -> tuple[tuple[Measure, ...], tuple[Panel, ...]]:
        latents = torch.from_numpy(stored.values)
        partners = partners_of(stored, self.seed)
        distances = {name: self._distances(name) for name in self.extractors}
        originals = {name: self._originals(name, stored.ids) for name in self.extractors}
        for start in range(0, len(latents), BLOCK):
            part = slice(start, start + BLOCK)
            image, finite = self._decoded(slerp(latents[part], latents[partners[part]], 0.5))
            kept = [i for i, good in zip(stored.ids[part], finite, strict=True) if good]
            for name, distance in distances.items():
                halfway = self.extractors[name].features(image).cpu().numpy()
                both = np.concatenate([originals[name][part], halfway], axis=1)
                distance.rows.add(kept, both[finite])
                distance.non_finite.add(np.array([float((~finite).sum())]))
        measures = tuple(self._named(name, distance) for name, distance in distances.items())
        return measures, self._shown(stored, latents, partners)

    def _distances(self, name: str) -> FeatureDistances:
        return FeatureDistances(self.extractors[name], (INNER[name],), seed=self.seed, view=self.view)

    def _originals(self, name: str, ids: Sequence[str]) -> NDArray[np.float32]:
        """Kept by the same hashes as the latents, so of the same pictures."""
        assert self.features[name].ids == list(ids)
        found: NDArray[np.float32] = self.features[name].ordered()
        return found

    @torch.inference_mode()
    def _decoded(self, latents: Tensor) -> tuple[Tensor, NDArray[np.bool_]]:
        """uint8 as the view gives it, and which came out finite."""
        pixels = self.decode(latents.to(self.device))
        image = to_uint8(pixels.nan_to_num())
        _, seen = self.view(Batch(("",) * len(image), image, reconstruction=image))
        return seen, pixels.isfinite().flatten(1).all(1).cpu().numpy()

    def _named(self, name: str, distance: FeatureDistances) -> Measure:
        try:
            (found,) = distance.compute()
        except NotEnoughImages as error:
            return replace(TEMPLATES[name], reason=f"{error.message}. {error.hint}".replace(INNER[name], name))
        reasons = [*self.store.caveats(), *([found.reason] if found.reason else [])]
        return replace(
            TEMPLATES[name],
            value=found.value,
            n=found.n,
            ci95=found.ci95,
            status="unreliable" if reasons else "ok",
            reason="; ".join(reasons).replace(INNER[name], name),
            counts=found.counts,
        )

    def _shown(self, stored: Stored, latents: Tensor, partners: NDArray[np.int64]) -> tuple[Panel, ...]:
        """The first pictures by id, what lies halfway, and their neighbours."""
        panels = []
        for place in range(min(SHOWN, len(stored.ids))):
            here, there = latents[[place]], latents[[partners[place]]]
            image, finite = self._decoded(torch.cat([here, slerp(here, there, 0.5), there]))
            if finite.all() and image.shape[1] == 3:
                pictures = image.permute(0, 2, 3, 1).contiguous().cpu().numpy()
                labels = ("a picture", "halfway", "its neighbour")
                panels.append(
                    Panel(
                        name=f"halfway_{place + 1}",
                        about=next(iter(self.extractors)),
                        title="Halfway between two latents",
                        images=tuple(zip(labels, pictures, strict=True)),
                        note="In a small set neighbours are not alike: look for ghosts and greyness, not for sense.",
                    )
                )
        return tuple(panels)


def partners_of(stored: Stored, seed: int = 0) -> NDArray[np.int64]:
    """For each latent the place of another one: of the nearest by cosine, one drawn by softmax(-mean squared distance).

    The draw depends on the seed alone, and on the latents in the order of their ids.
    Source: Xu et al. 2026, arXiv 2603.05630, as its public script has it.
    """
    flat = stored.values.reshape(len(stored.ids), -1)
    norms = np.linalg.norm(flat, axis=1)
    draws = np.random.default_rng(seed).random(len(flat))
    found = np.empty(len(flat), np.int64)
    for place, latent in enumerate(flat):
        cosine = flat @ latent / np.maximum(norms * norms[place], 1e-12)
        cosine[place] = -np.inf
        nearest = np.argsort(-cosine, kind="stable")[: min(NEIGHBOURS, len(flat) - 1)]
        distances = ((flat[nearest].astype(np.float64) - latent) ** 2).mean(1)
        weights = np.exp(distances.min() - distances)
        chosen = np.searchsorted(np.cumsum(weights) / weights.sum(), draws[place], side="right")
        found[place] = nearest[min(int(chosen), len(nearest) - 1)]
    return found


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """From a (share 0) to b (share 1) along the great circle, (B, ...) float; straight where they are parallel.

    (sin((1 - s) w) a + sin(s w) b) / sin(w), w being the angle between a and b; lengths are not normalised.
    Source: Shoemake 1985, as the iFID script applies it to whole latents.
    """
    x, y = (side.flatten(1).double() for side in (a, b))
    cosine = (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1)).clamp_min(1e-12)
    angle = torch.acos(cosine.clamp(-1, 1))
    sine = torch.sin(angle)
    parallel = sine < 1e-6
    safe = torch.where(parallel, torch.ones_like(sine), sine)
    first = torch.where(parallel, torch.full_like(sine, 1 - share), torch.sin((1 - share) * angle) / safe)
    second = torch.where(parallel, torch.full_like(sine, share), torch.sin(share * angle) / safe)
    mixed = first[:, None] * x + second[:, None] * y
    return mixed.reshape(a.shape).to(a.dtype)
