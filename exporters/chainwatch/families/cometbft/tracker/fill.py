"""Reads heights that no stream told: after a restart, a lost connection, or a node that hung."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from typing import NamedTuple

from chainwatch.errors import BadReply, NodeError
from chainwatch.families.cometbft.client import Endpoints
from chainwatch.families.cometbft.consensus.ledger import Ledger
from chainwatch.families.cometbft.consensus.model import FillReason
from chainwatch.families.cometbft.schema import BlockResult

log = logging.getLogger(__name__)

# At a time; one of the node's four connections stays free for /status.
CONCURRENCY = 3
# Heights read, then settled, in one go.
BATCH = 30
# A node that catches up brings blocks by the stream; what falls through is read only where it is little.
WHILE_CATCHING_UP = 100
PAUSE, MAX_PAUSE = 1.0, 15.0
PRUNED = re.compile(r"height \d+ is not available, lowest height is (\d{1,19})", re.ASCII)


class State(NamedTuple):
    """What is known of the chain when filling begins."""

    tip: int  # newest height of which the streams have had time to tell
    catching_up: bool


class Filler:
    """Fills the ledger's gaps in order of height. A block holds the commit of the one before: that is the truth."""

    def __init__(
        self, endpoints: Endpoints, gaps: Callable[[], Ledger], state: Callable[[], State],
        reason: Callable[[int], FillReason], skipped: Callable[[int], None],
    ) -> None:  # fmt: skip
        self._endpoints = endpoints
        self._gaps = gaps
        self._state = state
        self._reason = reason
        self._skipped = skipped
        self._news = asyncio.Event()

    def wake(self) -> None:
        """There may be a gap."""
        self._news.set()

    async def run(self, max_fill: Callable[[], int]) -> None:
        """Fill until cancelled; `max_fill` says how many heights are read at most."""
        pause = PAUSE
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                while await self._fill(max_fill()):
                    pause = PAUSE
            except NodeError as error:
                level = logging.WARNING if pause == PAUSE else logging.DEBUG
                log.log(level, "cannot fill in heights that were not seen, and try again: %s", error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, MAX_PAUSE)
                self.wake()

    async def _fill(self, max_fill: int) -> bool:
        """Fill one batch; return whether there may be more. Raises `NodeError`."""
        gaps, state = self._gaps(), self._state()
        missing = gaps.missing(state.tip)
        if not missing:
            return False
        most = min(max_fill, WHILE_CATCHING_UP) if state.catching_up else max_fill
        if len(missing) > most:
            # While it catches up, thousands come: all are given up, and not those kept that are newest for a moment.
            self.give_up(missing[-1] if state.catching_up else missing[-1] - most)
            return not state.catching_up
        todo = missing[:BATCH]
        try:
            blocks = await self._blocks(todo.start, todo.stop)
        except NodeError as error:
            if not (match := PRUNED.search(str(error))):
                raise
            self.give_up(min(int(match[1]) - 1, todo[-1]))
            return True
        if gaps is not self._gaps():
            return True  # the chain is another one by now
        for height, below, above in zip(todo, blocks, blocks[1:], strict=False):
            block, commit = below.block, above.block.last_commit if above.block else None
            if block is None or commit is None or block.header.height != height:
                raise BadReply(f"block {height} came without its header or commit; is the node sound?")
            gaps.fill(block, below.block_id.hash, commit, self._reason(height))
        log.info("filled in heights %d to %d, which no stream had told", todo.start, todo[-1])
        return True

    def give_up(self, height: int) -> None:
        """Skip all up to this height, and count them."""
        count = self._gaps().skip(height)
        if count:
            log.warning("%d heights up to %d were neither seen nor can they be read; they are skipped", count, height)
            self._skipped(count)

    async def _blocks(self, start: int, last: int) -> list[BlockResult]:
        """Return the blocks of these heights, the last one included."""
        slots = asyncio.Semaphore(CONCURRENCY)

        async def read(height: int) -> BlockResult:
            async with slots:
                return await self._endpoints.ask("block", BlockResult, height=height)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(read(height)) for height in range(start, last + 1)]
        except* NodeError as errors:
            # The error of the lowest height; the others follow from it, or were cancelled.
            raise next(error for error in _leaves(errors) if isinstance(error, NodeError)) from None
        return [task.result() for task in tasks]


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]
