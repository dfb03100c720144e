"""The likeness of faces, with dlib's network where the extra `faces` is installed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources, util

import numpy as np
import pytest
from PIL import Image, ImageFilter

from vaecheck.errors import SetupError
from vaecheck.probes import face_likeness, faces
from vaecheck.probes.faces import Box
from vaecheck.probes.shown import Shown

INSTALLED = util.find_spec("dlib") is not None and util.find_spec("face_recognition_models") is not None
with_network = pytest.mark.skipif(not INSTALLED, reason="needs the extra `faces`: dlib and face_recognition_models")


@pytest.fixture(scope="module")
def astronaut() -> Shown:
    with resources.as_file(resources.files("vaecheck") / "assets" / "samples" / "astronaut_face.jpg") as path:
        return np.asarray(Image.open(path).convert("RGB").resize((256, 256)))


@pytest.fixture(scope="module")
def box(astronaut: Shown) -> Box:
    (found,) = faces.find(astronaut)
    return found


@pytest.fixture
def forgotten() -> Iterator[None]:
    face_likeness.network.cache_clear()
    yield
    face_likeness.network.cache_clear()


def blurred(image: Shown, sigma: float) -> Shown:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


@with_network
def test_a_face_is_like_itself(astronaut: Shown, box: Box) -> None:
    found = face_likeness.network().likeness(astronaut, astronaut, box)
    assert found.cosine == pytest.approx(1, abs=1e-6)
    assert found.distance == pytest.approx(0, abs=1e-6)
    assert found.is_same


@with_network
def test_a_face_that_melts_is_less_and_less_like(astronaut: Shown, box: Box) -> None:
    network = face_likeness.network()
    found = [network.likeness(astronaut, blurred(astronaut, sigma), box) for sigma in (1, 2, 4)]
    assert found[0].cosine > found[1].cosine > found[2].cosine
    assert found[0].distance < found[1].distance < found[2].distance
    assert found[0].is_same


@with_network
def test_noise_is_no_face(astronaut: Shown, box: Box) -> None:
    noise = np.random.default_rng(0).integers(0, 256, astronaut.shape, dtype=np.uint8)
    assert not face_likeness.network().likeness(astronaut, noise, box).is_same


def test_cosine_knows_no_length() -> None:
    a, b = np.array([3.0, 4.0]), np.array([4.0, 3.0])
    assert face_likeness.cosine(a, 7 * b) == pytest.approx(24 / 25)


@pytest.mark.usefixtures("forgotten")
def test_without_the_extra_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face_likeness.util, "find_spec", lambda name: None)
    with pytest.raises(SetupError) as caught:
        face_likeness.network()
    assert caught.value.hint == face_likeness.INSTALL
