"""Which pictures the grids show."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from vaecheck.gallery import Disagreements, Gallery
from vaecheck.metrics.per_image import PerImage
from vaecheck.metrics.protocol import Batch

SIDE = 16


def batch(ids: list[str], levels: list[int], finite: list[bool] | None = None) -> Batch:
    """Black originals whose reconstructions are flat at a level: the higher, the lower the PSNR."""
    original = torch.zeros(len(ids), 3, SIDE, SIDE, dtype=torch.uint8)
    reconstruction = original + torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1)
    ok = torch.tensor(finite if finite is not None else [True] * len(ids))
    return Batch(tuple(ids), original, reconstruction=reconstruction, finite=ok)


def roles(gallery: Gallery) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for shown in gallery.shown():
        found.setdefault(shown.role, []).append(shown.id)
    return found


def test_worst_median_and_best_of_many_whatever_the_batches() -> None:
    ids, levels = [f"{i:03d}" for i in range(1, 31)], list(range(1, 31))
    whole, split = Gallery(worst=4, median=2, best=2), Gallery(worst=4, median=2, best=2)
    whole.update(batch(ids, levels))
    for i in range(0, 30, 7):
        split.update(batch(ids[i : i + 7], levels[i : i + 7]))
    assert roles(whole) == roles(split)
    found = roles(whole)
    assert found["worst"] == ["030", "029", "028", "027"]
    assert sorted(found["best"]) == ["001", "002"]
    assert set(found["median"]) <= {"014", "015", "016", "017"}


def test_few_pictures_are_shared_out_and_none_is_shown_twice() -> None:
    gallery = Gallery(worst=8, median=3, best=3)
    gallery.update(batch(["a", "b", "c"], [1, 2, 3]))
    found = roles(gallery)
    assert found == {"worst": ["c"], "median": ["b"], "best": ["a"]}


def test_one_picture_and_none() -> None:
    gallery = Gallery()
    assert gallery.shown() == ()
    gallery.update(batch(["only"], [5]))
    assert [shown.id for shown in gallery.shown()] == ["only"]


def test_a_picture_that_came_back_as_nan_is_the_worst_and_an_identical_one_the_best() -> None:
    gallery = Gallery(worst=1, median=1, best=1)
    gallery.update(batch(["fine", "nan", "same", "poor"], [9, 0, 0, 90], [True, False, True, True]))
    found = roles(gallery)
    assert found["worst"] == ["nan"]
    assert found["best"] == ["same"]
    assert {shown.psnr_db for shown in gallery.shown() if shown.id in ("nan", "same")} == {None}


def test_memory_is_bounded_by_what_is_kept() -> None:
    gallery = Gallery(worst=2, median=1, best=2)
    for i in range(20):
        gallery.update(batch([f"{i}-{j}" for j in range(10)], [(i * 10 + j) % 255 for j in range(10)]))
    kept = [one for top in (gallery._low, gallery._high, gallery._sample) for one in top.items]
    assert len(kept) <= 2 + 2 + 48
    assert all(item.original.untyped_storage().nbytes() == 3 * SIDE * SIDE for item in kept)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_every_plane_is_shown(channels: int, dtype: torch.dtype) -> None:
    """RGB, and beside it each plane more as grey; only grey planes where there is no colour."""
    generator = torch.Generator().manual_seed(0)
    original = torch.randint(0, 256, (1, channels, 12, 16), generator=generator).to(dtype)
    reconstruction = 255 - original
    gallery = Gallery()
    gallery.update(Batch(("a",), original, reconstruction=reconstruction, finite=torch.tensor([True])))
    (shown,) = gallery.shown()
    planes = original[0].numpy().astype(np.uint8)
    views = [planes[:3].transpose(1, 2, 0)] if channels >= 3 else []
    views += [np.repeat(plane[..., None], 3, axis=2) for plane in planes[len(views) * 3 :]]
    assert shown.original.dtype == np.uint8
    assert np.array_equal(shown.original, np.concatenate(views, axis=1))
    assert np.array_equal(shown.reconstruction, 255 - shown.original)
    assert len(shown.planes) == (len(views) if len(views) > 1 else 0)


def test_floats_are_rounded_to_be_shown() -> None:
    gallery = Gallery()
    original = torch.tensor([[[[0.4, 99.6], [-3.0, 300.0]]]])
    gallery.update(Batch(("a",), original, reconstruction=original + 1, finite=torch.tensor([True])))
    assert gallery.shown()[0].original[..., 0].tolist() == [[0, 100], [0, 255]]


def metric(name: str, better: str | None, values: dict[str, float]) -> PerImage:
    """A metric whose figures are given by the level of the reconstruction."""
    by_level = {int(level): value for level, value in values.items()}
    return PerImage(
        name,
        lambda _, reconstruction: torch.tensor([by_level[int(one[0, 0, 0])] for one in reconstruction]).double(),
        unit="",
        better=better,
        definition="given",
    )


def judged(orders: list[list[int]], *, worst_by: int = 2) -> dict[str, tuple[str, ...]]:
    """By id the metrics by which each shown picture is among the worst, after batches in these orders."""
    levels = range(1, 25)
    texture = metric("texture", "lower", {str(i): float((i * 7) % 24) for i in levels})
    tone = metric("tone", "higher", {str(i): float((i * 5) % 24) for i in levels})
    size = metric("size", None, {str(i): float(i) for i in levels})
    gallery = Gallery([texture, tone, size, object()], worst=3, median=2, best=2, worst_by=worst_by)
    for order in orders:
        seen = batch([f"{i:02d}" for i in order], order)
        for one in (texture, tone, size):
            one.update(seen)
        gallery.update(seen)
    shown = {one.id: one for one in gallery.shown()}
    for image_id, one in shown.items():
        assert one.values == {"texture": int(image_id) * 7 % 24, "tone": int(image_id) * 5 % 24}
        assert (one.role == "worst") == ("psnr_db" in one.worst_by)
        assert one.role != "other" or one.worst_by
    return {image_id: one.worst_by for image_id, one in shown.items()}


def test_the_worst_by_every_metric_are_kept_whatever_the_batches() -> None:
    levels = list(range(1, 25))
    whole = judged([levels])
    for metric_name, ordered in (
        ("texture", sorted(levels, key=lambda i: -(i * 7 % 24))),
        ("tone", sorted(levels, key=lambda i: i * 5 % 24)),
    ):
        assert {image_id for image_id, by in whole.items() if metric_name in by} == {f"{i:02d}" for i in ordered[:2]}
    assert not any("size" in by for by in whole.values())
    shuffled = random.Random(0).sample(levels, len(levels))
    for size in (1, 5, 24):
        assert judged([shuffled[i : i + size] for i in range(0, 24, size)]) == whole


def test_a_picture_that_is_worst_by_two_metrics_is_kept_once_in_memory() -> None:
    same = [metric(name, "lower", {str(i): float(i) for i in range(1, 31)}) for name in ("first", "second")]
    gallery = Gallery(same, worst=2, median=1, best=1, worst_by=3)
    for start in range(1, 31, 6):
        seen = batch([f"{i}" for i in range(start, start + 6)], list(range(start, start + 6)))
        for one in same:
            one.update(seen)
        gallery.update(seen)
    first, second = (gallery._worst[name].items for name in ("first", "second"))
    assert [kept.id for kept in first] == ["30", "29", "28"]
    assert all(a is b for a, b in zip(first, second, strict=True))
    assert all(kept.original.untyped_storage().nbytes() == 3 * SIDE * SIDE for kept in first)


def test_a_picture_without_a_figure_is_worst_by_no_metric_but_psnr() -> None:
    texture = metric("texture", "lower", {"9": 0.9, "0": 0.0, "90": float("nan")})
    gallery = Gallery([texture], worst=1, median=1, best=1)
    seen = batch(["fine", "nan", "small"], [9, 0, 90], [True, False, True])
    texture.update(seen)
    gallery.update(seen)
    by = {one.id: one.worst_by for one in gallery.shown()}
    assert by["nan"] == ("psnr_db",)
    assert by["fine"] == ("texture",)
    assert by["small"] == ()


def test_a_gallery_before_its_metrics_is_a_mistake_that_is_seen() -> None:
    with pytest.raises(KeyError):
        Gallery([metric("texture", "lower", {"5": 1.0})]).update(batch(["a"], [5]))


def compared(size: int, most: int = 3) -> Disagreements:
    """Two VAEs, both a level off; the second one further off by the picture's number."""
    ids, levels = [f"{i:02d}" for i in range(10)], list(range(10))
    kept = Disagreements(("one", "two"), most=most)
    one, two = kept.observer("one"), kept.observer("two")
    for start in range(0, 10, size):
        part = slice(start, start + size)
        one.update(batch(ids[part], [1] * len(ids[part])))
        two.update(batch(ids[part], [1 + level for level in levels[part]]))
    return kept


@pytest.mark.parametrize("size", [1, 3, 10])
def test_the_pictures_on_which_vaes_differ_most_whatever_the_batches(size: int) -> None:
    shown = compared(size).shown()
    assert [one.id for one in shown] == ["09", "08", "07"]
    assert [one.disagreement for one in shown] == pytest.approx([9, 8, 7])
    assert list(shown[0].reconstructions) == ["one", "two"]
    assert (shown[0].reconstructions["two"] == 10).all()
    assert (shown[0].original == 0).all()


def test_disagreement_is_the_mean_over_pairs() -> None:
    kept = Disagreements(("a", "b", "c"))
    for ref, level in (("a", 0), ("b", 3), ("c", 9)):
        kept.observer(ref).update(batch(["x"], [level]))
    assert kept.shown()[0].disagreement == pytest.approx(((9 + 81 + 36) / 3) ** 0.5)


def test_a_vae_alone_disagrees_with_none() -> None:
    kept = Disagreements(("a",))
    kept.observer("a").update(batch(["x"], [1]))
    assert kept.shown() == ()
