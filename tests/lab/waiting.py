"""Waiting with a deadline, and the error that says what was waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class LabError(Exception):
    """Something in the lab did not go as it must; the text says what, where, and what was seen last."""


class PeerMissingError(LabError):
    """A program that the lab starts is not installed; the text says how to install it."""


def wait_until(
    probe: Callable[[], T | None],
    what: str,
    *,
    timeout: float = 20.0,
    interval: float = 0.05,
    ignoring: tuple[type[Exception], ...] = (),
    describe: Callable[[], str] = str,
) -> T:
    """Call `probe` until it answers something truthy, and return that.

    Exceptions of the classes in `ignoring` count as "not yet". Raises LabError after `timeout` seconds with the
    last answer or exception, and with what `describe` says at that moment.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            answer = probe()
            last = f"last answer: {answer!r}"
        except ignoring as error:
            answer, last = None, f"last error: {type(error).__name__}: {error}"
        if answer:
            return answer
        if time.monotonic() >= deadline:
            detail = describe()
            raise LabError(f"waited {timeout:g} s for {what}; {last}" + (f"\n{detail}" if detail else ""))
        time.sleep(interval)
