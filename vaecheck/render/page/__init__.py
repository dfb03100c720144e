"""report.html: one file that opens anywhere, without a network, for every kind of document."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from vaecheck.render.illustrations import Illustration
from vaecheck.render.page.of_ceiling import ceiling_page
from vaecheck.render.page.of_comparison import comparison_page
from vaecheck.render.page.of_gate import gate_page
from vaecheck.render.page.of_history import history_page
from vaecheck.render.page.of_result import result_page
from vaecheck.results.ceiling import Ceiling
from vaecheck.results.comparison import Comparison, SideBySide
from vaecheck.results.files import Document
from vaecheck.results.gate import GateReport
from vaecheck.results.history import History
from vaecheck.results.types import Shown


def to_page(
    document: Document,
    shown: Sequence[Shown] | Sequence[SideBySide] = (),
    grid: Image.Image | None = None,
    illustrated: Sequence[Illustration] = (),
) -> str:
    """The report as one HTML document.

    shown: pictures of a Result, or of a Comparison. grid: their saved sheet (grid.png), for want of them.
    illustrated: plots and panels, as drawn.
    """
    if isinstance(document, Comparison):
        return comparison_page(document, [one for one in shown if isinstance(one, SideBySide)], grid, illustrated)
    if isinstance(document, GateReport):
        return gate_page(document)
    if isinstance(document, History):
        return history_page(document, illustrated)
    if isinstance(document, Ceiling):
        return ceiling_page(document, illustrated)
    return result_page(document, [one for one in shown if isinstance(one, Shown)], grid, illustrated)
