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
from vaecheck.results.types import Result, Shown

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
