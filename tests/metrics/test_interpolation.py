"""Halfway between latents: the arithmetic, the draw, and the distance of decoders whose answer is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.metrics.laws import check_laws
from vaecheck.errors import NotEnoughImages
from vaecheck.metrics.frechet import frechet_distance
from vaecheck.metrics.interpolation import IFD_EFFICIENTNET, Interpolation, partners_of, slerp
from vaecheck.metrics.latent_store import LatentStore, Stored
from vaecheck.metrics.perceptual import FeatureExtractor
from vaecheck.metrics.protocol import Batch
from vaecheck.metrics.rgb import rgb_view
from vaecheck.vae.protocol import Posterior


def means_and_corners(images: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 6)."""
    return torch.cat([images.mean((2, 3)), images[:, :, 0, 0]], dim=1)


EXTRACTOR = FeatureExtractor(
    "efficientnet_lite0", "six numbers", 6, means_and_corners, sha256="", published=True, device="cpu"
)


def pictures(count: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(8)
    return torch.randint(0, 256, (count, 3, 4, 4), dtype=torch.uint8, generator=generator)


def latents_of(image: Tensor) -> Tensor:
    return image.float() / 127.5 - 1


def batches(count: int = 40) -> list[Batch]:
    image = pictures(count)
    latents = latents_of(image)
    parts = [slice(0, 15), slice(15, 16), slice(16, count)]
    ids = tuple(f"{i:02d}.png" for i in range(count))
    return [Batch(ids[part], image[part], Posterior(latents[part]), latents[part]) for part in parts]


def made(decode: Callable[[Tensor], Tensor] = lambda latents: latents, seed: int = 0) -> Interpolation:
    return Interpolation(decode, {IFD_EFFICIENTNET: EXTRACTOR}, LatentStore((3, 4, 4)), seed=seed)


def fed(metric: Interpolation, found: list[Batch]) -> Interpolation:
    for batch in found:
        metric.update(batch)
    return metric


def test_slerp_keeps_lengths_and_halves_the_angle() -> None:
    draw = torch.Generator().manual_seed(0)
    a, b = (torch.randn(7, 2, 3, 3, generator=draw).double() for _ in range(2))
    a, b = (each / each.flatten(1).norm(dim=1).view(-1, 1, 1, 1) for each in (a, b))
    half = slerp(a, b, 0.5)
    assert half.flatten(1).norm(dim=1).tolist() == pytest.approx([1.0] * 7)
    full, first = ((a * other).flatten(1).sum(1).acos() for other in (b, half))
    torch.testing.assert_close(2 * first, full)


def test_slerp_ends_and_parallels() -> None:
    a, b = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b)
    torch.testing.assert_close(slerp(a, b, 0.5), (a + b) * np.sin(np.pi / 4))
    torch.testing.assert_close(slerp(a, 2 * a, 0.5), 1.5 * a)
    torch.testing.assert_close(slerp(a, 0 * a, 0.5), (a + 0) * np.sin(np.pi / 4))


def stored(values: np.ndarray) -> Stored:
    return Stored(tuple(f"{i:03d}" for i in range(len(values))), values.astype(np.float32), len(values))


def test_partners_are_near_by_cosine_and_never_oneself() -> None:
    """Three bundles of 11 directions each, of very different lengths: all partners are of one's own bundle."""
    draw = np.random.default_rng(0)
    centres = np.eye(3).repeat(11, 0)[:, :, None, None] * np.ones((1, 1, 2, 2))
    values = (centres + 0.02 * draw.normal(size=(33, 3, 2, 2))) * draw.uniform(0.5, 1, size=(33, 1, 1, 1))
    partners = partners_of(stored(values))
    assert (partners // 11 == np.arange(33) // 11).all()
    assert (partners != np.arange(33)).all()


def test_the_draw_follows_the_softmax_of_distances() -> None:
    """Of two neighbours at mean squared distances 0.25 and 1.25: shares e^1 : 1."""
    values = np.array([[[[1.0]], [[0.0]]], [[[1.0]], [[0.7071068]]], [[[1.0]], [[1.5811388]]]])
    first = [partners_of(stored(values), seed)[0] for seed in range(3000)]
    assert np.mean(np.array(first) == 1) == pytest.approx(np.e / (1 + np.e), abs=0.025)


def test_far_neighbours_are_never_drawn() -> None:
    values = np.random.default_rng(0).normal(size=(60, 2, 3, 3))
    flat = values.reshape(60, -1)
    cosine = flat @ flat.T / np.outer(*2 * [np.linalg.norm(flat, axis=1)])
    for place, partner in enumerate(partners_of(stored(values), 3)):
        assert (cosine[place] > cosine[place, partner]).sum() <= 10  # itself, and at most nine nearer


def test_the_distance_is_that_of_what_is_decoded() -> None:
    """With a decoder that gives its latents back, computed here without the metric."""
    metric = fed(made(), batches())
    (measure,) = metric.compute()
    image = pictures()
    latents = latents_of(image)
    partners = partners_of(stored(latents.numpy()), 0)
    halfway = ((slerp(latents, latents[partners], 0.5) + 1) * 127.5).clamp(0, 255).round()
    sides = [means_and_corners(side.float()).numpy() for side in (image, halfway)]
    assert measure.value == pytest.approx(frechet_distance(*sides), rel=1e-6)
    assert (measure.name, measure.n, measure.role) == (IFD_EFFICIENTNET, 40, "predicts")
    assert measure.definition.startswith("Frechet distance between the pictures and what is decoded halfway")


def test_where_all_latents_are_one_halfway_is_the_picture_itself() -> None:
    image = pictures(1).expand(20, -1, -1, -1)
    latents = latents_of(image)
    metric = made()
    metric.update(Batch(tuple(map(str, range(20))), image, Posterior(latents), latents))
    assert metric.compute()[0].value == pytest.approx(0, abs=1e-6)


def test_few_pictures_are_unreliable_under_their_own_name() -> None:
    measure = fed(made(), batches()[:2]).compute()[0]
    assert measure.status in ("ok", "unreliable")
    one = made()
    one.update(batches()[1])
    with pytest.raises(NotEnoughImages, match="there is one picture"):
        one.compute()
    lone = Interpolation(lambda z: z, {IFD_EFFICIENTNET: WIDE}, LatentStore((3, 4, 4)))
    reason = fed(lone, batches()).compute()[0].reason
    assert "40 images are fewer than the 48 features: ifd_efficientnet_lite0 of so few is too high" in reason


WIDE = FeatureExtractor(
    "efficientnet_lite0", "all pixels", 48, lambda images: images.flatten(1), sha256="", published=True, device="cpu"
)


def test_what_does_not_come_out_finite_is_left_out_and_counted() -> None:
    def broken(latents: Tensor) -> Tensor:
        pixels = latents.clone()
        pixels[0, 0, 0, 0] = float("nan")
        return pixels

    (measure,) = fed(made(broken), batches()).compute()
    assert measure.status == "unreliable"
    assert measure.counts == {"non_finite": 5}  # one of each block of eight
    assert measure.n == 35


def test_grey_pictures_are_seen_as_rgb() -> None:
    image = pictures()[:, :1]
    latents = latents_of(image)
    metric = Interpolation(lambda z: z, {IFD_EFFICIENTNET: EXTRACTOR}, LatentStore((1, 4, 4)), view=rgb_view(1))
    metric.update(Batch(tuple(map(str, range(40))), image, Posterior(latents), latents))
    assert metric.compute()[0].n == 40


def test_panels_show_both_ends_and_the_middle() -> None:
    panels = fed(made(), batches()).panels()
    assert len(panels) == 2
    here, halfway, there = (picture for _, picture in panels[0].images)
    assert here.shape == (4, 4, 3)
    np.testing.assert_array_equal(here, pictures()[0].permute(1, 2, 0).numpy())
    assert not np.array_equal(halfway, there)


def test_laws() -> None:
    check_laws(made, batches(), rtol=1e-6)
