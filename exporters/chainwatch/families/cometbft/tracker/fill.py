"""Reads heights that no stream told: after a restart, a lost connection, or a node that hung."""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from chainwatch.errors import BadReply, Forbidden, MethodNotFound, NodeError
from chainwatch.families.cometbft.client import Endpoints
from chainwatch.families.cometbft.consensus.book import unix
from chainwatch.families.cometbft.consensus.events import Block
from chainwatch.families.cometbft.consensus.ledger import Ledger
from chainwatch.families.cometbft.consensus.model import FillReason
from chainwatch.families.cometbft.schema import BlockResult

log = logging.getLogger(__name__)

# At a time; one of the node's four connections stays free for /status.
CONCURRENCY = 3
# Heights read, then settled, in one go; fewer, down to one, where a node does not give as many.
BATCH = 30
PAUSE, MAX_PAUSE = 1.0, 15.0
# A height that everybody answers with an error so often, and for so long, would hold up all later ones.
TRIES, TRIED_SECONDS = 5, 60.0
# Clocks differ. A block that is later than this does not exist.
AHEAD_SECONDS = 3600.0
PRUNED = re.compile(r"height \d+ is not available, lowest height is (\d{1,19})", re.ASCII)
NOT_YET = "must be less than or equal to the current"


class State(NamedTuple):
    """What is known of the chain when filling begins."""

    tip: int  # newest height of which the streams have had time to tell
    catching_up: bool


class Read(NamedTuple):
    """A block, its hash, and who gave it: 0 for the watched node, else the number of the vantage point."""

    block: Block
    hash: str
    vantage: int


@dataclass(slots=True)
class Stuck:
    """The height that cannot be read: how often it was tried, since when (monotonic seconds)."""

    height: int = 0
    tries: int = 0
    since: float = 0.0


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
        self._batch = BATCH
        self._stuck = Stuck()

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
        if len(missing) > max_fill:
            # While it catches up, thousands come: all are given up, and not those kept that are newest for a moment.
            if await self._skip(gaps, missing, missing[-1] if state.catching_up else missing[-1] - max_fill):
                return not state.catching_up
            missing = missing[:max_fill]
        blocks, error = await self._blocks(missing[: self._batch])
        if gaps is not self._gaps():
            return True  # the chain is another one by now
        filled, unfit = self._settle(gaps, blocks)
        if unfit is None and error is None:
            self._batch = min(2 * self._batch, BATCH)
            return True
        self._batch = max(self._batch // 2, 1)
        height, problem = missing.start + (filled if unfit else len(blocks)), unfit or error
        assert problem is not None
        if not filled and not await self._overcome(gaps, missing, height, problem):
            raise problem
        await asyncio.sleep(PAUSE)
        return True

    def _settle(self, gaps: Ledger, blocks: list[Read]) -> tuple[int, BadReply | None]:
        """Settle all but the last block; return how many these were, and what is wrong with the next."""
        filled, problem = 0, None
        for below, above in itertools.pairwise(blocks):
            height, commit = below.block.header.height, above.block.last_commit
            try:
                if commit is None:
                    raise BadReply(f"block {height + 1} came without its last commit; is the node sound?")
                gaps.fill(below.block, below.hash, commit, self._reason(height), below.vantage)
            except BadReply as error:
                problem = error
                break
            filled += 1
        if filled:
            start = blocks[0].block.header.height
            log.info("filled in heights %d to %d, which no stream had told", start, start + filled - 1)
        return filled, problem

    def give_up(self, height: int) -> None:
        """Skip all up to this height, and count them."""
        count = self._gaps().skip(height)
        if count:
            log.warning("%d heights up to %d were neither seen nor can they be read; they are skipped", count, height)
            self._skipped(count)

    async def _skip(self, gaps: Ledger, missing: range, height: int) -> bool:
        """Give up many heights, up to this one, if the chain really has the next: any stream or proxy may name any.

        Where that one is pruned, the lowest that is not. Returns whether they were given up.
        """
        for _ in range(2):
            try:
                block = (await self._read(height + 1)).block
            except NodeError as error:
                if not (pruned := PRUNED.search(str(error))) or not height + 1 < int(pruned[1]) <= missing.stop:
                    log.debug("heights up to %d are not given up: %s", height, error)
                    return False
                height = int(pruned[1]) - 1
                continue
            if gaps is self._gaps() and _fits(block, gaps):
                self.give_up(height)
                return True
            log.warning("heights up to %d are not given up: the next block is not of this chain's future", height)
            return False
        return False

    async def _overcome(self, gaps: Ledger, missing: range, height: int, error: NodeError) -> bool:
        """Give up what is pruned, and a height that nobody could give for too long; return whether it was so."""
        now = time.monotonic()
        if self._stuck.height != height:
            self._stuck = Stuck(height, 0, now)
        if pruned := PRUNED.search(str(error)):
            # A vantage point that was silent just now may have it; one that is gone may be waited for no longer.
            if not self._endpoints.all_answered and now - self._stuck.since < TRIED_SECONDS:
                return False
            lowest, batch = int(pruned[1]), missing[:BATCH]
            if lowest <= batch.stop or not await self._skip(gaps, missing, min(lowest, missing.stop) - 1):
                self.give_up(min(lowest, batch.stop) - 1)
            return True
        if NOT_YET in str(error) or not self._endpoints.all_answered:
            self._stuck = Stuck()
            return False
        self._stuck.tries += 1
        if self._stuck.tries < TRIES or now - self._stuck.since < TRIED_SECONDS:
            return False
        log.error("height %d could not be read %d times: %s", height, self._stuck.tries, error)
        # Who gives no block at all has not this one alone missing.
        self.give_up(missing[-1] if isinstance(error, MethodNotFound | Forbidden) else height)
        return True

    async def _blocks(self, heights: range) -> tuple[list[Read], NodeError | None]:
        """Return the blocks of these heights and of the next, up to the first that failed, and its error."""
        got: dict[int, Read] = {}
        errors: dict[int, NodeError] = {}
        todo = iter(range(heights.start, heights.stop + 1))

        async def read() -> None:
            for height in todo:
                try:
                    got[height] = await self._read(height)
                except NodeError as error:
                    errors[height] = error
                if errors:
                    return

        async with asyncio.TaskGroup() as group:
            for _ in range(CONCURRENCY):
                group.create_task(read())
        end = min(errors, default=heights.stop + 1)
        return [got[height] for height in range(heights.start, end)], errors.get(end)

    async def _read(self, height: int) -> Read:
        result, vantage = await self._endpoints.ask_whom("block", BlockResult, height=height)
        if result.block is None or result.block.header.height != height:
            raise BadReply(f"block {height} came without its header; is the node sound?")
        return Read(result.block, result.block_id.hash, vantage)


def _fits(block: Block, gaps: Ledger) -> bool:
    """Whether a block can be of the chain that was settled so far."""
    header, at = block.header, unix(block.header.time)
    return header.chain_id == gaps.chain_id and (gaps.settled_time or 0.0) <= at <= time.time() + AHEAD_SECONDS
