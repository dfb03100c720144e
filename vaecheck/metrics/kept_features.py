"""What a network made of pictures and need not make again: in memory while a tensor lives, on disk between runs.

Why LPIPS is not kept on disk: of one picture at 256 x 256 its AlexNet has 2.6 MB of activations, Inception 8 kB of
features. On two busy cores computing them took 44 ms, writing 12, reading and checking 7; but 2 GB hold those of 780
pictures, and would drive out the features of 240,000.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from vaecheck import feature_cache
from vaecheck.feature_cache import FeatureCache

Value = TypeVar("Value")


class Remembered(Generic[Value]):
    """What was made of a tensor, while that tensor lives: an original shared by several VAEs goes through once.

    A tensor changed in place is put through again.
    """

    def __init__(self) -> None:
        self._values = WeakTensorKeyDictionary()

    def __len__(self) -> int:
        return len(self._values)

    def of(self, images: Tensor, make: Callable[[], Value]) -> Value:
        version = _version(images)
        remembered = self._values.get(images)  # type: ignore[no-untyped-call]
        if remembered is None or remembered[0] != version:
            remembered = self._values[images] = (version, make())
        return cast(Value, remembered[1])


def _version(images: Tensor) -> int | None:
    """Changes when the tensor is changed in place, which inference tensors do not tell."""
    return None if images.is_inference() else images._version


def through_cache(
    cache: FeatureCache,
    made_by: Sequence[object],
    digests: Sequence[bytes],
    images: Tensor,
    make: Callable[[Tensor], Tensor],
) -> Tensor:
    """make(images), float32 (B, D), on the CPU; what the cache has is not made, and what is made is added to it.

    digests: of the B pictures. made_by: all else that decides the features, D and the device included. A picture that
    comes twice is made once, so that a run gives the same bits as the next, which finds all of them.
    """
    described = (*made_by, images.dtype, tuple(images.shape[1:]), torch.__version__)
    keys = feature_cache.keys(described, digests)
    found = cache.get(list(dict.fromkeys(keys)))
    missing = [place for place, key in enumerate(keys) if key not in found and keys.index(key) == place]
    if missing:
        made = make(images if len(missing) == len(images) else images[missing]).cpu().numpy().astype("<f4")
        new = {keys[place]: features.tobytes() for place, features in zip(missing, made, strict=True)}
        cache.add(new)
        found |= new
    features = np.frombuffer(bytearray().join(found[key] for key in keys), "<f4").reshape(len(keys), -1)
    return torch.from_numpy(features.astype(np.float32))
