"""What a network made of pictures and need not make again: in memory while a tensor lives, on disk between runs.

Why LPIPS is not kept on disk: of one picture at 256 x 256 its AlexNet has 2.6 MB of activations, Inception 8 kB of
features. On two busy cores computing them took 44 ms, writing 12, reading and checking 7; but 2 GB hold those of 780
pictures, and would drive out the features of 240,000.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from vaecheck import feature_cache
from vaecheck.feature_cache import FeatureCache
from vaecheck.metrics.protocol import Batch
from vaecheck.transfers import sent
from vaecheck.vae.protocol import joined

Value = TypeVar("Value")


class Remembered(Generic[Value]):
    """What was made of a tensor, while that tensor lives: an original shared by several VAEs goes through once.

    A tensor changed in place is put through again. way: in which it was made, where there are several.
    """

    def __init__(self) -> None:
        self._values: MutableMapping[Tensor, dict[tuple[str, int | None], Value]] = WeakTensorKeyDictionary()

    def __len__(self) -> int:
        return len(self._values)

    def of(self, images: Tensor, make: Callable[[], Value], way: str = "") -> Value:
        made = self._values.setdefault(images, {})
        key = way, _version(images)
        if key not in made:
            made[key] = make()
        return made[key]


def _version(images: Tensor) -> int | None:
    """Changes when the tensor is changed in place, which inference tensors do not tell."""
    return None if images.is_inference() else images._version


def through_cache(
    cache: FeatureCache,
    made_by: Sequence[object],
    of: Batch,
    images: Tensor,
    make: Callable[[Tensor], Tensor],
    device: torch.device,
) -> Tensor:
    """make(images), float32 (B, D), on the device; what the cache has is not made, and what is made is added to it.

    of: the batch whose originals the B images are. made_by: all else that decides the features, D and the device
    included. A picture that comes twice is made once, so that a run gives the same bits as the next, which finds all
    of them.
    """
    described = (*made_by, images.dtype, tuple(images.shape[1:]), torch.__version__)
    keys = feature_cache.keys(described, of.digests)
    found = cache.get(list(dict.fromkeys(keys)))
    missing = [key for key in dict.fromkeys(keys) if key not in found]
    parts = []
    if found:
        values = np.frombuffer(bytearray().join(found.values()), "<f4").reshape(len(found), -1)
        parts.append(sent(torch.from_numpy(values.astype(np.float32)), device))
    if missing:
        made = make(_at([keys.index(key) for key in missing], images))
        of.bring(lambda made: cache.add(dict(zip(missing, map(_stored, made), strict=True))), made)
        parts.append(made)
    order = {key: place for place, key in enumerate((*found, *missing))}
    return _at([order[key] for key in keys], joined(parts))


def _at(places: Sequence[int], rows: Tensor) -> Tensor:
    if list(places) == list(range(len(rows))):
        return rows
    return rows.index_select(0, sent(torch.tensor(places), rows.device))


def _stored(features: Tensor) -> bytes:
    return features.numpy().astype("<f4").tobytes()
