"""Keeps the state file up to date: every settled height is in it a second later, and the last ones at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from prometheus_client import Metric

from chainwatch.exposition.state_file import StateFile
from chainwatch.families.cometbft.consensus.state import State

# Between two states put to file.
SAVE_SECONDS = 1.0
# A disk that takes longer than this does not hold up what pages show.
LATE_SECONDS = 10.0


class _Page(NamedTuple):
    """Counters as they stood at a time, in monotonic seconds."""

    at: float
    families: Sequence[Metric]


class Memory:
    """What survives a restart; `state` makes it, or gives None while there is nothing to remember.

    A page shows counters as they are in the file, a second or two behind, since Prometheus takes a counter that steps
    back for one that began at 0, and would add up its whole value: an exporter that is killed must not have shown more
    than it will remember.
    """

    def __init__(
        self, file: StateFile[State] | None, state: Callable[[], State | None], collect: Callable[[], Iterable[Metric]]
    ) -> None:
        self._file = file
        self._state = state
        self._collect = collect
        self.changed = False

    def load(self) -> State | None:
        """What was kept before a restart."""
        return self._file.load() if self._file else None

    def begin(self) -> None:
        """The counters are what the file has, or begin anew."""
        self._shown = self._page()
        self._put_last: _Page | None = None

    def show(self) -> Iterable[Metric]:
        """Return the counters that are in the file; those of now where there is none, or it cannot be written."""
        if self._file is None:
            return self._collect()
        self._take_written(self._file)
        waits = self.changed or self._put_last is not None
        if waits and time.monotonic() - self._shown.at > LATE_SECONDS + SAVE_SECONDS:
            self._shown = self._page()
        return self._shown.families

    def _page(self) -> _Page:
        return _Page(time.monotonic(), list(self._collect()))

    def _take_written(self, file: StateFile[State]) -> None:
        page = self._put_last
        if page is not None and file.written:
            self._put_last = None
            if page.at >= self._shown.at:
                self._shown = page

    async def keep(self) -> None:
        """Put the state to file, no more than once a second, and once more when it is cancelled."""
        if self._file is None:
            return
        writing = asyncio.create_task(self._file.run())
        try:
            while True:
                await asyncio.sleep(SAVE_SECONDS)
                self._put(self._file)
        finally:
            self._put(self._file)
            writing.cancel()
            await asyncio.wait([writing])

    def _put(self, file: StateFile[State]) -> None:
        self._take_written(file)
        if not self.changed:
            if self._put_last is None:
                self._shown = self._shown._replace(at=time.monotonic())
        elif (state := self._state()) is not None:
            self.changed = False
            self._put_last = self._page()
            file.put(state)
