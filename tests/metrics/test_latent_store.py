"""What is kept of latents depends on the pictures alone, and what is lost is said."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from tests.metrics.laws import check_laws
from vaecheck.errors import InputError, NotEnoughImages
from vaecheck.metrics.latent_store import LatentReadings, LatentStore, Read, Stored, template
from vaecheck.metrics.protocol import Batch
from vaecheck.vae.protocol import Posterior

SHAPE = (2, 3, 3)


def batches(count: int = 9) -> list[Batch]:
    generator = torch.Generator().manual_seed(7)
    mean = torch.randn(count, *SHAPE, generator=generator)
    ids = tuple(f"{i}.png" for i in range(count))
    original = torch.zeros(count, 3, 12, 12, dtype=torch.uint8)
    parts = [slice(0, 3), slice(3, 4), slice(4, count)]
    return [Batch(ids[part], original[part], Posterior(mean[part]), mean[part]) for part in parts]


@dataclass(frozen=True)
class Mean:
    """A reading that gives the mean of all latents kept."""

    def read(self, stored: Stored, caveats: tuple[str, ...]) -> Read:
        blank = template("mean", "the mean", better=None, role="describes", evidence="")
        value = float(stored.values.mean(dtype=np.float64))
        assert not caveats
        return Read((replace(blank, value=value, n=len(stored.ids), status="ok"),))


@pytest.mark.parametrize("most", [None, 4, 1])
def test_laws(most: int | None) -> None:
    check_laws(
        lambda: LatentReadings(LatentStore(SHAPE, most=most), [Mean()]), batches(), rtol=1e-6, keeps_all=most is None
    )


def test_at_most_so_many_are_kept_whatever_the_order() -> None:
    found = []
    for order in (batches(200), batches(200)[::-1]):
        store = LatentStore(SHAPE, most=20)
        for batch in order:
            assert batch.latents is not None
            store.add(batch.ids, batch.latents)
        assert len(store.latents) == 20
        found.append(store.stored())
    assert len(found[0].ids) == 20
    assert found[0].of == 200
    assert found[0].ids == found[1].ids
    assert (found[0].values == found[1].values).all()


def test_values_are_those_of_their_ids() -> None:
    store = LatentStore(SHAPE)
    (latents,) = (torch.cat([batch.latents for batch in batches() if batch.latents is not None]),)
    store.add([f"{i}.png" for i in range(9)], latents)
    stored = store.stored()
    assert stored.ids == tuple(f"{i}.png" for i in range(9))
    np.testing.assert_array_equal(stored.values, latents.numpy())


def test_normalised_channels() -> None:
    values = np.random.default_rng(0).normal([5.0, -3.0], [2.0, 0.01], (50, 3, 3, 2)).transpose(0, 3, 1, 2)
    values = np.concatenate([values, np.full((50, 1, 3, 3), 7.0)], axis=1)
    found = Stored(tuple(map(str, range(50))), np.asarray(values, np.float32), 50).normalised()
    np.testing.assert_allclose(found.mean((0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(found.std((0, 2, 3)), [1, 1, 0], atol=1e-4)


def test_what_is_not_finite_or_of_another_shape_is_left_out_and_said() -> None:
    store = LatentStore(SHAPE)
    latents = torch.ones(3, *SHAPE)
    latents[1, 0, 0, 0] = float("nan")
    assert store.add(("a", "b", "c"), latents) == [0, 2]
    assert store.add(("d",), torch.ones(1, 2, 5, 5)) == []
    assert store.stored().ids == ("a", "c")
    lost, other = store.caveats()
    assert lost.startswith("1 of 4 pictures have NaN")
    assert other.startswith("1 pictures have latents of another shape")


def test_a_picture_comes_once() -> None:
    store = LatentStore(SHAPE)
    store.add(("a",), torch.ones(1, *SHAPE))
    store.add(("a",), torch.ones(1, *SHAPE))
    with pytest.raises(InputError, match="came twice"):
        store.stored()


def test_memory_bounds_how_many() -> None:
    assert LatentStore((4, 32, 32)).most == 5000
    assert LatentStore((16, 128, 128)).most == 256


def test_nothing_finite_is_an_error() -> None:
    store = LatentStore(SHAPE)
    store.add(("a",), torch.full((1, *SHAPE), float("inf")))
    with pytest.raises(NotEnoughImages, match="none of 1 pictures has finite latents"):
        store.stored()
