"""SIGTERM and Ctrl-C, held until what is done can be kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HELD = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def held(wanted: bool = True) -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM or Ctrl-C came, as a function; a second one raises KeyboardInterrupt at once.

    wanted: False leaves the signals as they are; so does a thread that is not the main one, which gets none.
    """
    asked = threading.Event()
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number: int, frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, ask) for number in HELD}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
