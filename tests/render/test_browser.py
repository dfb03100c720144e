"""report.html in a real browser: it renders, fits a phone, and asks the network for nothing."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vaecheck.render.report import write_report
from vaecheck.results.types import Panel, Result, Shown

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update"),
    *("--disable-background-networking", "--disable-sync", "--hide-scrollbars"),
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here (Debian's package chromium)"),
]


def browse(page: Path, profile: Path, *arguments: str) -> str:
    assert CHROMIUM is not None
    command = [CHROMIUM, *QUIET, f"--user-data-dir={profile}", *arguments, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.parametrize("width", [400, 1200])
def test_the_page_renders(result: Result, shown: Sequence[Shown], tmp_path: Path, width: int) -> None:
    write_report(result, shown, tmp_path / "out")
    page = tmp_path / "out" / "report.html"
    picture = tmp_path / "page.png"
    browse(page, tmp_path / "profile", f"--screenshot={picture}", f"--window-size={width},2000")
    pixels = np.asarray(Image.open(picture).convert("L"))
    assert pixels.shape == (2000, width)
    assert pixels.std() > 10, "the page is blank"
    dom = browse(page, tmp_path / "profile", "--dump-dom")
    assert "psnr_db" in dom
    assert "<script" not in dom.lower()


def test_no_address_of_the_network_is_in_it(result: Result, shown: Sequence[Shown], tmp_path: Path) -> None:
    write_report(result, shown, tmp_path / "out")
    dom = browse(tmp_path / "out" / "report.html", tmp_path / "profile", "--dump-dom")
    assert 'src="http' not in dom
    assert "url(http" not in dom


@pytest.mark.parametrize("width", [400, 1000])
@pytest.mark.parametrize("dark", [False, True])
def test_a_diagnosis_renders(
    diagnosed: Result, panels: Sequence[Panel], tmp_path: Path, width: int, dark: bool
) -> None:
    write_report(diagnosed, (), tmp_path / "out", panels)
    page = tmp_path / "out" / "report.html"
    picture = tmp_path / "page.png"
    scheme = ["--blink-settings=preferredColorScheme=0"] * dark
    browse(page, tmp_path / "profile", f"--screenshot={picture}", f"--window-size={width},3000", *scheme)
    pixels = np.asarray(Image.open(picture).convert("L"))
    assert pixels.shape == (3000, width)
    assert pixels.std() > 10, "the page is blank"
    assert (pixels[0, 0] < 128) == dark
    dom = browse(page, tmp_path / "profile", "--dump-dom")
    assert dom.count('<img src="data:image/png') == 5
    assert "<script" not in dom.lower()


def test_a_printed_diagnosis_holds_what_the_screen_folds(
    diagnosed: Result, panels: Sequence[Panel], tmp_path: Path
) -> None:
    """The healthy are folded on the screen; on paper they must be there: as many pages as when unfolded."""
    write_report(diagnosed, (), tmp_path / "out", panels)
    page = tmp_path / "out" / "report.html"
    html = page.read_text()
    pages = []
    for name, text in (("folded", html), ("open", html.replace("<details", "<details open")), ("without", _cut(html))):
        page.write_text(text)
        browse(page, tmp_path / "profile", f"--print-to-pdf={tmp_path / name}.pdf", "--no-pdf-header-footer")
        pages.append((tmp_path / f"{name}.pdf").read_bytes().count(b"/Type /Page\n"))
    assert pages[0] == pages[1] > pages[2] > 0


def _cut(html: str) -> str:
    return html[: html.index("<details")] + html[html.index("</details>") + len("</details>") :]
