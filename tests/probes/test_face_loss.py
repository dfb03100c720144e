"""Faces of the bundled pictures after round trips that spoil all, nothing, or faces alone."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from tests.probes.round_trips import Change, lossless, subject_of, watched
from vaecheck.errors import SetupError
from vaecheck.metrics.catalogue import Catalogue, WeightOptions
from vaecheck.pixels import to_pixels
from vaecheck.probes import face_likeness, faces
from vaecheck.probes.face_likeness import Likeness
from vaecheck.probes.face_loss import FaceLoss, blocks, smooth
from vaecheck.probes.faces import Box
from vaecheck.probes.protocol import Examined
from vaecheck.vae.adapter import LoadedVAE
from vaecheck.vae.load import load_vae

ROOT = Path(__file__).resolve().parents[2]
TAEF2 = Path(os.environ.get("VAECHECK_SHARED", ROOT.parent / "shared")) / "models" / "taef2"


def sample(name: str) -> Tensor:
    """A bundled picture as pixels (1, 3, 256, 256)."""
    with resources.as_file(resources.files("vaecheck") / "assets" / "samples" / f"{name}.jpg") as path:
        image = Image.open(path).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side)).resize((256, 256), Image.Resampling.BICUBIC)
    return to_pixels(torch.from_numpy(np.array(square)).permute(2, 0, 1)[None])


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return torch.cat([sample(name) for name in ("astronaut_face", "coffee", "cat")])


@pytest.fixture(scope="module")
def box(pictures: Tensor) -> Box:
    (found,) = faces.find(np.ascontiguousarray(((pictures[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()))
    return found


def examined(vae: LoadedVAE, pictures: Tensor) -> Examined:
    subject = subject_of(vae, pictures)
    subject.catalogue = Catalogue(torch.device("cpu"), WeightOptions(offline=True))
    return watched(FaceLoss(), vae, pictures).examine(subject)


def in_the_face(box: Box, change: Change) -> Change:
    """Of the first picture alone; batches are of three."""

    def within(pixels: Tensor) -> Tensor:
        if len(pixels) < 3:
            return pixels
        spoilt = pixels.clone()
        cut = (slice(0, 1), slice(None), slice(box.top, box.top + box.side), slice(box.left, box.left + box.side))
        spoilt[cut] = change(pixels[cut])
        return spoilt

    return within


def squares(pixels: Tensor, side: int) -> Tensor:
    coarse = F.interpolate(F.avg_pool2d(pixels, side, ceil_mode=True), scale_factor=side)
    return coarse[..., : pixels.shape[-2], : pixels.shape[-1]]


def blurred(pixels: Tensor, sigma: float) -> Tensor:
    return torch.from_numpy(gaussian_filter(pixels.numpy(), (0, 0, sigma, sigma)))


def test_the_astronaut_has_one_face_and_the_cat_none(pictures: Tensor, box: Box) -> None:
    assert 70 < box.side < 130
    assert 60 < box.left + box.side / 2 < 190
    cat = np.ascontiguousarray(((pictures[2] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())
    assert faces.find(cat) == ()


def test_a_large_picture_is_searched_small_and_its_boxes_are_its_own(pictures: Tensor, box: Box) -> None:
    image = Image.fromarray(((pictures[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())
    (found,) = faces.find(np.asarray(image.resize((1024, 1024), Image.Resampling.BICUBIC)))
    assert found.overlap(Box(4 * box.left, 4 * box.top, 4 * box.side)) > 0.5


def test_overlap_is_intersection_over_union() -> None:
    assert Box(0, 0, 10).overlap(Box(0, 0, 10)) == 1
    assert Box(0, 0, 10).overlap(Box(5, 0, 10)) == pytest.approx(50 / 150)
    assert Box(0, 0, 10).overlap(Box(10, 0, 10)) == 0
    assert Box(3, 1, 10).mirrored(20) == Box(7, 1, 10)


def test_smooth_is_a_gaussian() -> None:
    plane = torch.rand(1, 1, 40, 50, generator=torch.Generator().manual_seed(0))
    expected = gaussian_filter(plane[0, 0].numpy(), 2.0, mode="nearest", radius=6)
    assert np.allclose(smooth(plane, 2.0)[0, 0].numpy(), expected, atol=1e-5)


def test_errors_know_no_brightness_and_no_colour(pictures: Tensor) -> None:
    tint = torch.tensor([0.1, -0.2, 0.1])[:, None, None]
    _, errors = blocks(pictures[0], pictures[0] + tint + 0.3)
    assert errors.max() < 1e-9


def test_a_lossless_model_spoils_no_face(pictures: Tensor) -> None:
    finding = examined(lossless(), pictures).finding
    assert finding.severity == "healthy"
    assert finding.value == 0
    assert finding.figures["faces"] == 1
    assert finding.figures["found_again"] == 1
    assert finding.figures["psnr_db_large"] is None


@pytest.mark.parametrize("change", [lambda p: blurred(p, 2.0), lambda p: 0.6 * p, lambda p: 0.7 * p - 0.2])
def test_what_befalls_all_of_a_picture_is_no_loss_of_faces(pictures: Tensor, change: Change) -> None:
    finding = examined(lossless(change), pictures).finding
    assert finding.severity == "healthy"
    assert abs(finding.value) < 1.5


@pytest.mark.parametrize("name", ["squares", "blur", "grey"])
def test_a_face_that_melts_alone_is_a_fault(pictures: Tensor, box: Box, name: str) -> None:
    spoil = {
        "squares": lambda p: squares(p, 12),
        "blur": lambda p: blurred(p, 4.0),
        "grey": lambda p: p.mean((2, 3), keepdim=True).expand_as(p),
    }[name]
    found = examined(lossless(lambda p: in_the_face(box, spoil)(blurred(p, 0.6))), pictures)
    assert found.finding.severity == "fault"
    assert found.finding.value > 4
    if name == "grey":
        assert found.finding.figures["found_again"] == 0
    assert found.panels[0].images[0][1].shape == found.panels[0].images[1][1].shape
    assert {line.label for line in found.plots[0].lines} == {"elsewhere", "faces"}


def test_pictures_without_faces_are_unavailable(pictures: Tensor) -> None:
    finding = examined(lossless(), pictures[1:]).finding
    assert finding.severity == "unavailable"
    assert "2 pictures" in finding.evidence


def test_a_picture_that_came_back_as_nan_is_left_out(pictures: Tensor) -> None:
    finding = examined(lossless(lambda p: p * torch.nan), pictures).finding
    assert finding.severity == "unavailable"


def test_a_build_without_the_cascade_is_told(pictures: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise SetupError("no cascade", hint="Install scikit-image's wheel.")

    monkeypatch.setattr(faces, "cascade", absent)
    finding = examined(lossless(), pictures).finding
    assert finding.severity == "unavailable"
    assert finding.remedy == "Install scikit-image's wheel."


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_rgba_pictures(pictures: Tensor, channels: int) -> None:
    grey = pictures.mean(1, keepdim=True)
    other = grey if channels == 1 else torch.cat([pictures, torch.ones_like(grey)], 1)
    assert examined(lossless(channels=channels), other).finding.figures["faces"] == 1


def test_batches_do_not_matter(pictures: Tensor) -> None:
    vae = lossless(lambda p: blurred(p, 1.0))
    ones, threes = (watched(FaceLoss(), vae, pictures, size) for size in (1, 3))
    assert isinstance(ones, FaceLoss)
    assert isinstance(threes, FaceLoss)
    assert ones.elsewhere.keys() == threes.elsewhere.keys()
    assert np.allclose(ones.faces[0].errors, threes.faces[0].errors)


def test_kl_f8_tiny_spoils_faces_no_more_than_the_rest(pictures: Tensor) -> None:
    finding = examined(load_vae("kl-f8-tiny"), pictures).finding
    assert finding.severity == "healthy"


@pytest.mark.skipif(not TAEF2.is_dir(), reason=f"there is no TAEF2 at {TAEF2}")
def test_taef2_is_healthy(pictures: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAEF2_WEIGHTS", str(TAEF2))
    finding = examined(load_vae(f"{ROOT / 'examples' / 'taef2.py'}:taef2"), pictures).finding
    assert finding.severity == "healthy"


@pytest.mark.parametrize("present", [True, False])
def test_a_face_network_adds_figures_and_changes_no_severity(
    pictures: Tensor, present: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Network:
        def likeness(self, before: object, after: object, box: Box) -> Likeness:
            return Likeness(0.9, 0.7)

    def network() -> Network:
        if present:
            return Network()
        raise SetupError("absent")

    monkeypatch.setattr(face_likeness, "network", network)
    finding = examined(lossless(), pictures).finding
    assert finding.severity == "healthy"
    assert ("0 of 1 are still the same face" in finding.evidence) == present
    told = {name: value for name, value in finding.figures.items() if "dlib" in name}
    assert told == ({"f_sim_dlib_large": 0.9, "same_face_dlib_large": 0.0} if present else {})
