"""Titles of measures."""

from __future__ import annotations

import pytest

from vaecheck.metrics.latent_catalogue import default_names
from vaecheck.render.titles import title_of


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("psnr_db", "PSNR"),
        ("fd_dinov2", "Frechet distance, dinov2"),
        ("ifd_efficientnet_lite0", "Frechet distance halfway between neighbours, efficientnet_lite0"),
        ("autocorrelation_4", "Correlation of latents 4 apart"),
        ("of_tomorrow", "of_tomorrow"),
    ],
)
def test_a_measure_is_called_in_plain_words(name: str, title: str) -> None:
    assert title_of(name) == title


def test_every_latent_measure_has_a_title_of_its_own() -> None:
    titles = [title_of(name) for name in default_names()]
    assert all("_" not in title.removesuffix("efficientnet_lite0") for title in titles)
    assert len(set(titles)) == len(titles)
