"""Features that are kept: what goes through a network again and what does not, and that no figure moves by it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vaecheck.feature_cache import FeatureCache
from vaecheck.metrics.feature_distances import FeatureDistances
from vaecheck.metrics.kept_features import Remembered
from vaecheck.metrics.perceptual import FeatureExtractor
from vaecheck.metrics.protocol import Batch
from vaecheck.transfers import Transfers

DIGESTS = (b"a", b"b", b"c", b"d")


class Counting(FeatureExtractor):
    """Means of the colours, in bits that depend on the batch's size, as a convolution's do."""

    def __init__(self, cache: FeatureCache | None, *, sha256: str = "00", definition: str = "", count: int = 3) -> None:
        super().__init__("means", definition, count, self._means, sha256=sha256, published=True, device="cpu")
        self.cache = cache
        self.seen: list[int] = []

    def _means(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        return images.mean((2, 3)) / 7 + len(images) * 1e-6


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path, 10**6)


def pictures(count: int = 4, side: int = 8) -> Tensor:
    draw = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=draw)


def of(digests: tuple[bytes, ...] = DIGESTS) -> Batch:
    """The batch that these are the pictures of."""
    return Batch(tuple(map(str, range(len(digests)))), torch.empty(0), digests=digests)


def test_a_second_run_computes_nothing_and_has_the_same_bits(cache: FeatureCache) -> None:
    first, second = Counting(cache), Counting(cache)
    made = first.features(pictures(), of())
    found = second.features(pictures(), of())
    assert torch.equal(made, found)
    assert made.dtype == found.dtype == torch.float32
    assert torch.equal(made, Counting(None).features(pictures()))
    assert (first.seen, second.seen) == ([4], [])


def test_only_the_pictures_that_are_new_are_computed(cache: FeatureCache) -> None:
    images = pictures()
    Counting(cache).features(images[1:3], of(DIGESTS[1:3]))
    extractor = Counting(cache)
    found = extractor.features(images, of())
    assert extractor.seen == [2]
    torch.testing.assert_close(found, Counting(None).features(images), rtol=0, atol=1e-5)


def test_a_picture_that_comes_twice_is_computed_once(cache: FeatureCache) -> None:
    twice = pictures(2)[[0, 1, 0]]
    first, second = Counting(cache), Counting(cache)
    made = first.features(twice, of((b"a", b"b", b"a")))
    assert first.seen == [2]
    assert torch.equal(made, second.features(twice.clone(), of((b"a", b"b", b"a"))))
    assert torch.equal(made[0], made[2])


def test_without_digests_nothing_is_kept(cache: FeatureCache) -> None:
    for _ in range(2):
        extractor = Counting(cache)
        extractor.features(pictures())
        assert extractor.seen == [4]
    assert not cache.path.exists()


@pytest.mark.parametrize(
    "change", [{"sha256": "01"}, {"definition": "another resize"}, {"levels": "truncate"}, {"side": 16}, {"float": 1}]
)
def test_what_decides_the_features_is_in_the_key(change: dict[str, object], cache: FeatureCache) -> None:
    Counting(cache).features(pictures(), of())
    extractor = Counting(cache, **{name: value for name, value in change.items() if name in ("sha256", "definition")})
    images = pictures(side=int(change.get("side", 8)))
    images = images.float() if "float" in change else images
    extractor.features(images, of(), str(change.get("levels", "")))
    assert extractor.seen == [4]


def test_not_finite_features_are_kept_as_they_are(cache: FeatureCache) -> None:
    class Broken(Counting):
        def _means(self, images: Tensor) -> Tensor:
            return super()._means(images) * torch.tensor([1.0, torch.nan, torch.inf])

    Broken(cache).features(pictures(), of())
    found = Counting(cache).features(pictures(), of())
    assert found[:, 1].isnan().all()
    assert found[:, 2].isinf().all()


def test_several_vaes_ask_the_cache_once(cache: FeatureCache, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    get = cache.get
    monkeypatch.setattr(cache, "get", lambda keys: asked.append(len(keys)) or get(keys))
    extractor, images, batch = Counting(cache), pictures(), of()
    for _ in range(3):
        extractor.features(images, batch)
    assert asked == [4]


def test_a_distance_keeps_originals_alone(cache: FeatureCache) -> None:
    original, reconstruction = pictures(), pictures().flip(0)
    batch = Batch(("1", "2", "3", "4"), original, reconstruction=reconstruction, digests=DIGESTS)
    extractors = Counting(cache), Counting(cache)
    first, second = (FeatureDistances(extractor, ("fd_means",)) for extractor in extractors)
    first.update(batch)
    second.update(replace(batch, original=original.clone()))
    assert [extractor.seen for extractor in extractors] == [[4, 4], [4]]
    assert np.array_equal(first.rows.ordered(), second.rows.ordered())


def test_a_tensor_is_forgotten_when_it_is_gone_and_made_again_when_it_changed() -> None:
    made: list[int] = []
    remembered = Remembered[int]()

    def make() -> int:
        made.append(1)
        return len(made)

    images = pictures()
    assert [remembered.of(images, make), remembered.of(images, make)] == [1, 1]
    images += 1
    assert remembered.of(images, make) == 2
    del images
    assert len(remembered) == 0


def test_pictures_that_a_view_makes_anew_are_put_through_once(cache: FeatureCache) -> None:
    """Of one batch, of a cache that gets them at its end; each way of making them by itself."""
    original, waiting = pictures(), Transfers(torch.device("cpu"))
    batch = Batch(("1", "2", "3", "4"), original, digests=DIGESTS, transfers=waiting)
    extractor = Counting(cache)
    for levels in ("", "", "truncate", "truncate"):
        extractor.features(original.clone(), batch, levels)
    assert extractor.seen == [4, 4]
    waiting.settle()
    again = Counting(cache)
    again.features(original.clone(), replace(batch, original=original.clone()))
    assert not again.seen
