"""The ceiling check in the terminal: tables that fit into 80 columns, whatever the VAEs are called."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from vaecheck.render.ceiling import show, to_markdown
from vaecheck.results.ceiling import Ceiling
from vaecheck.results.files import load

SAVED = Path(__file__).parents[1] / "golden" / "schema_1" / "e2e"


def saved() -> Ceiling:
    """With more levels of noise and a longer name than it was saved with."""
    document = load(SAVED)
    assert isinstance(document, Ceiling)
    (first, *_), levels = document.vaes, (0.1, 0.3, 0.5, 0.7, 0.9)
    denoised = tuple(replace(first.denoised[0], level=level) for level in levels)
    return replace(document, vaes=(replace(first, ref="/somewhere/quite/far/own_vae.py:dct_vae", denoised=denoised),))


def test_a_row_is_a_line_at_80_columns() -> None:
    file = io.StringIO()
    show(saved(), Console(file=file, width=80))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line for line in lines if re.match(r"\S+…\S*:dct_vae  ", line)]
    headings = [line for line in lines if line.startswith("VAE  ")]
    assert len(rows) == len(headings) == 1 + len(saved().vaes[0].ceiling) + len(saved().vaes[0].samples)


def test_each_distance_of_samples_is_a_table_with_the_vaes_share() -> None:
    text = to_markdown(saved())
    (title,) = re.findall(r"^## Samples: .*$", text, re.MULTILINE)
    rows = text.split(title)[1].split("\n\n")[1].splitlines()
    alone, samples, share = (cell.strip(" \\~%") for cell in rows[2].split("|")[2:5])
    assert round(100 * float(alone) / float(samples)) == int(share)
    assert "| VAE | error of latents | std of latents |" in text
