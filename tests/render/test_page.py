"""report.html, read by an HTML parser: well formed, self-contained, whole, and no id becomes markup."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image
from skimage import data, transform
from skimage.filters import gaussian

from vaecheck.render.illustrations import draw
from vaecheck.render.page import to_page
from vaecheck.render.printable import printable
from vaecheck.results.types import Panel, Result, Shown, SkippedImage


class Page(HTMLParser):
    """Fails on a tag that is closed out of order; keeps tags, attributes and text."""

    void: ClassVar[set[str]] = {"meta", "img", "br", "link", "input"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute of <{tag}> is given twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def body_of(html: str) -> str:
    """The text between the contents and the footer."""
    return Page(html[html.index("</nav>") + len("</nav>") : html.index("</main>")]).text


def test_figures_reasons_and_settings_are_there(result: Result, shown: Sequence[Shown]) -> None:
    text = Page(to_page(result, shown)).text
    for expected in (
        "24.31 dB", "23.79 to 24.84", "20.91", "22.21", "12,350 nats", "1.24 GiB", "unavailable", "204 GFLOPs",
        "+2.1 dB above a linear codec of the same size", "vaecheck weights fetch lpips_alex",
        "exif rotated: 3 pictures", "is truncated after 1,024 bytes", "Some CPU @ 2.0GHz, 2 threads", "torch 2.14.1",
    ):  # fmt: skip
        assert expected in text


def test_the_verdict_comes_first_and_the_environment_last(result: Result, shown: Sequence[Shown]) -> None:
    html = to_page(result, shown)
    text = Page(html).text
    assert text.index("Above the yardsticks.") < text.index("What to do") < text.index("Original against")
    order = ["24.31 dB", "Worst by PSNR", "12,350 nats", "is truncated after", "beware of", "psnr_db, ssim", "Some CPU"]
    assert sorted(order, key=body_of(html).index) == order


def test_the_page_needs_no_network_and_runs_no_script_but_its_own(result: Result, shown: Sequence[Shown]) -> None:
    html = to_page(result, shown)
    page = Page(html)
    assert not {"link", "iframe", "object", "form", "base", "embed"} & {tag for tag, _ in page.tags}
    links = [v for _, attrs in page.tags for name, v in attrs.items() if name in ("src", "action", "data")]
    assert len(links) == 3 * len(shown)
    assert all(link is not None and link.startswith("data:image/png;base64,") for link in links)
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert all((link["href"] or "").removeprefix("#") in ids for link in page.attributes("a"))
    assert "url(" not in html
    assert "@import" not in html
    assert not any(name.startswith("on") or name == "style" for _, attrs in page.tags for name in attrs)
    (policy,) = (m["content"] for m in page.attributes("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    for kind in ("style", "script"):
        (text,) = re.findall(rf"<{kind}>(.*?)</{kind}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy


def test_ids_are_text_never_markup(result: Result, shown: Sequence[Shown], nasty_ids: tuple[str, ...]) -> None:
    skipped = tuple(SkippedImage(image_id, "is broken") for image_id in nasty_ids)
    html = to_page(replace(result, data=replace(result.data, skipped=skipped, source=nasty_ids[1])), shown)
    html.encode("utf-8")
    page = Page(html)
    assert html.count("<script") == 1
    assert "<b>" not in html
    for image_id in nasty_ids:
        assert page.text.count(" ".join(printable(image_id).split())) >= 2
        assert any(printable(image_id) in (image["alt"] or "") for image in page.attributes("img"))


def test_the_page_can_be_read_by_everyone(result: Result, shown: Sequence[Shown]) -> None:
    html = to_page(result, shown)
    page = Page(html)
    assert page.attributes("html") == [{"lang": "en"}]
    assert "<title>Reconstruction: kl-f8-tiny - vaecheck</title>" in html
    assert all(image["alt"] and image["width"] and image["height"] for image in page.attributes("img"))
    assert all(head.get("scope") in ("row", "col") for head in page.attributes("th"))
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.attributes("meta")
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_colours_have_contrast_in_both_schemes(result: Result) -> None:
    """WCAG 2.1, 1.4.3: at least 4.5 between text and what is behind it."""
    html = to_page(result)
    light, dark, paper = re.findall(r":root \{([^}]*)\}", html)
    assert paper.split() == light.split()
    for scheme in (light, dark):
        colour = dict(re.findall(r"--(\w+): (#\w{6})", scheme))
        for ink in ("ink", "faint", "good", "caution", "bad", "info"):
            for behind in ("paper", "band"):
                assert contrast(colour[ink], colour[behind]) >= 4.5, (ink, behind)


def contrast(first: str, second: str) -> float:
    def luminance(colour: str) -> float:
        channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_sixteen_noisy_pictures_stay_under_ten_megabytes(result: Result, shown: Sequence[Shown]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 768, 768, 3), dtype=np.uint8)
    noisy = [replace(shown[0], id=f"{i}.png", original=noise[0], reconstruction=noise[1]) for i in range(16)]
    html = to_page(result, noisy)
    assert len(html.encode()) < 10_000_000
    assert html.count("data:image/jpeg") == 48


def test_sixteen_photographs_of_512_stay_under_ten_megabytes_at_their_own_size(result: Result) -> None:
    pictures = [
        data.astronaut(),
        *(transform.resize(one(), (512, 512, 3)) * 255 for one in (data.coffee, data.chelsea)),
    ]
    noisy = [
        Shown(f"{i}.png", "worst", 20.0 + i, original, (gaussian(original, 1.5, channel_axis=2) * 255).astype(np.uint8))
        for i, original in enumerate(np.roll(pictures[i % 3].astype(np.uint8), 31 * i, axis=1) for i in range(16))
    ]
    html = to_page(result, noisy)
    assert len(html.encode()) < 10_000_000
    assert html.count('width="512" height="512"') == 48


def test_pictures_and_panels_share_the_room_of_a_page(result: Result, shown: Sequence[Shown], tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 512, 512, 3), dtype=np.uint8)
    noisy = [replace(shown[0], id=f"{i}.png", original=noise[0], reconstruction=noise[1]) for i in range(16)]
    panels = [Panel(f"p{i}", "psnr_db", "Noise", (("a", noise[0]), ("b", noise[1]))) for i in range(6)]
    html = to_page(result, noisy, illustrated=draw(result, panels, tmp_path))
    assert len(html.encode()) < 10_000_000


def test_small_pictures_are_exact(result: Result, shown: Sequence[Shown]) -> None:
    """What is enlarged to look for faults has none of its own."""
    images = Page(to_page(result, shown)).attributes("img")
    arrays = [np.asarray(Image.open(io.BytesIO(base64.b64decode((i["src"] or "").partition(",")[2])))) for i in images]
    for place, one in enumerate(shown):
        original, reconstruction, difference = arrays[3 * place : 3 * place + 3]
        assert np.array_equal(original, one.original)
        assert np.array_equal(reconstruction, one.reconstruction)
        wide = np.abs(original.astype(int) - reconstruction.astype(int)) * 4
        assert np.array_equal(difference, np.minimum(wide, 255))


def test_a_saved_grid_stands_in_for_the_pictures(result: Result) -> None:
    grid = Image.new("RGB", (2000, 3000), (10, 200, 30))
    (image,) = Page(to_page(result, grid=grid)).attributes("img")
    assert image["src"] is not None
    with Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2]))) as opened:
        assert opened.size == (1200, 1800)
        assert np.abs(np.asarray(opened, dtype=int) - (10, 200, 30)).max() <= 3


def test_snippets_and_channels_are_there(scaled: Callable[[int], Result]) -> None:
    result = scaled(32)
    assert result.scaling is not None
    html = to_page(result)
    page = Page(html)
    head, body = '<th scope="col" class="number">std</th>', ">0.2100</td>"
    assert body in html.split(head)[1]
    assert "Use a scaling factor of 1.0775 instead of 0.18215" in page.text
    assert '<div class="verdict bad"><p>The factor is wrong for these pictures: ' in html
    for code in result.scaling.snippets.values():
        assert code in "".join(page.words)


def test_a_result_without_a_vae_or_pictures_is_a_page(result: Result) -> None:
    page = Page(to_page(replace(result, kind="score", vae=None, yardsticks=(), unet_cost=(), settings={})))
    assert "24.31 dB" in page.text
    assert page.attributes("img") == []


def test_a_diagnosis_with_and_without_pictures(diagnosed: Result, panels: Sequence[Panel], tmp_path: Path) -> None:
    bare = Page(to_page(diagnosed))
    assert bare.attributes("img") == []
    html = to_page(diagnosed, illustrated=draw(diagnosed, panels, tmp_path))
    page = Page(html)
    for shown in (page, bare):
        assert shown.text.index("2 faults: checkerboard") < shown.text.index(
            "What to do Checkerboard of the upsampling"
        )
    for text in (body_of(html), body_of(to_page(diagnosed))):
        order = ["✖ Fault Checkerboard", "✖ Fault Shift of contrast", "▲ Warning Blur",
                 "→ Info Loss of small text", "Follows from checkerboard", "✓ Healthy 13 of the probes", "Not measured",
                 "No face was found", "Settings"]  # fmt: skip
        places = [text.index(words) for words in order]
        assert places == sorted(places)
        for finding in diagnosed.findings:
            assert " ".join(printable(finding.evidence).split()) in text
    images = page.attributes("img")
    assert len(images) == 5
    assert all(image["alt"] and image["width"] and image["height"] for image in images)
    assert all((image["src"] or "").startswith("data:image/png;base64,") for image in images)
    assert html.count("<script") == 1
    assert "<b>" not in html
    assert "<i>" not in html
    assert not {"link", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    drawn = html[html.index("</nav>") :]
    order = ["Energy at the periods", "Shift of contrast or brightness", "Spectrum of"]
    assert sorted(order, key=drawn.index) == order


def test_severity_is_a_word_and_a_sign(diagnosed: Result) -> None:
    html = to_page(diagnosed)
    badges = re.findall(r'<span class="badge">([^<]*)</span>', html)
    assert badges == ["✖ Fault", "✖ Fault", "▲ Warning", "▲ Warning", "→ Info", "✓ Healthy"]


@pytest.mark.parametrize("channels", [4, 32])
def test_latents_are_a_page(of_latents: Callable[[int], Result], tmp_path: Path, channels: int) -> None:
    result = of_latents(channels)
    html = to_page(result, illustrated=draw(result, (), tmp_path))
    text = body_of(html)
    order = ["Predict generation quality, as far as is published", "Spectral energy above a quarter",
             "sec_25, sec_50: |r| of about 0.7", "Describe the latents", "Effective rank", "Per channel, raw latents",
             "Plots and pictures"]  # fmt: skip
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert "In short." in html
    body = html[html.index("</nav>") :]
    assert body.index("Correlation of the channels") < body.index("Describe the latents") < body.index("Histograms")
    assert html.count('<th scope="row" class="number"') == channels
