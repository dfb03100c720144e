"""A limit in seconds on a call that has none of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def within(seconds: float, call: Callable[[], T]) -> T:
    """`call()`, given up after that many seconds. Raises TimeoutError, or what the call raised.

    Why a thread: a socket's limit holds for one address, and a host can have a dozen that all keep silent;
    the look-up of its name has no limit at all. A call that was given up goes on in a daemon thread, whose
    result nobody reads.
    """
    answers: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((True, call()))
        except BaseException as error:
            answers.put((False, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        good, answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"nothing came within {seconds:g} s") from None
    if not good:
        raise answer
    return answer  # type: ignore[no-any-return]
