"""Keeps the state file up to date: every settled height is in it a second later, and the last ones at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from chainwatch.exposition.state_file import StateFile
from chainwatch.families.cometbft.consensus.state import State

# Between two states put to file.
SAVE_SECONDS = 1.0


class Memory:
    """What survives a restart; `state` makes it, or gives None while there is nothing to remember."""

    def __init__(self, file: StateFile[State] | None, state: Callable[[], State | None]) -> None:
        self._file = file
        self._state = state
        self.changed = False

    def load(self) -> State | None:
        """What was kept before a restart."""
        return self._file.load() if self._file else None

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
        if self.changed and (state := self._state()) is not None:
            self.changed = False
            file.put(state)
