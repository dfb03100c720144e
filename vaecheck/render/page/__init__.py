"""report.html: one file that opens anywhere, without a network, for every kind of document."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from vaecheck.render.illustrations import Illustration
from vaecheck.render.page.of_comparison import comparison_page
from vaecheck.render.page.of_gate import gate_page
from vaecheck.render.page.of_history import history_page
from vaecheck.render.page.of_result import result_page
from vaecheck.results.comparison import Comparison
from vaecheck.results.files import Document
from vaecheck.results.gate import GateReport
from vaecheck.results.history import History
from vaecheck.results.types import Shown


def to_page(
    document: Document,
    shown: Sequence[Shown] = (),
    grid: Image.Image | None = None,
    illustrated: Sequence[Illustration] = (),
) -> str:
    """The report as one HTML document.

    shown: pictures of a Result. grid: a saved sheet of pictures (grid.png, compare.png), for want of `shown`.
    illustrated: plots and panels; a History's and a Comparison's own plots are drawn here.
    """
    if isinstance(document, Comparison):
        return comparison_page(document, grid, illustrated)
    if isinstance(document, GateReport):
        return gate_page(document)
    if isinstance(document, History):
        return history_page(document, illustrated)
    return result_page(document, shown, grid, illustrated)
