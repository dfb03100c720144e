"""Outside text made safe to show: an id may hold line breaks, terminal codes or bytes that are no text.

Why escapes and not deletion: two ids that differ must still look different.
"""

from __future__ import annotations

import unicodedata

_UNSHOWABLE = {"Zl", "Zp"}


def printable(text: str) -> str:
    r"""The text with every control, direction and surrogate character as an escape such as \n or \x1b."""
    return "".join(_escaped(character) if _is_unshowable(character) else character for character in text)


def shortened(text: str, length: int) -> str:
    """At most `length` characters, cut in the middle: an id's folder and its file name both tell."""
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


def _is_unshowable(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] == "C" or category in _UNSHOWABLE


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
