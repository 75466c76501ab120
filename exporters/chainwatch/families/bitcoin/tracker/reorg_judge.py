"""From blocks that came and left to counted reorganisations with their origin."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from prometheus_client import Metric

from chainwatch.errors import NodeError
from chainwatch.families.bitcoin.tracker.active_chain import WINDOW, Block
from chainwatch.families.bitcoin.tracker.chain_rpc import ChainRpc, ChainTip
from chainwatch.families.bitcoin.tracker.marked import InvalidBranches
from chainwatch.families.bitcoin.tracker.reorg_counts import ReorgCounts
from chainwatch.families.bitcoin.tracker.reorgs import Origin, Reorg, ReorgWatch, origin

log = logging.getLogger(__name__)


class ReorgJudge:
    """Holds what is under way (`watch`), what was counted (`counts`) and what a person put away (`invalid`)."""

    def __init__(self, node: ChainRpc) -> None:
        self._node = node
        self.watch = ReorgWatch()
        self.counts = ReorgCounts()
        self.invalid = InvalidBranches()
        self._unwatched_since: Block | None = None

    @property
    def pending(self) -> bool:
        """Something is not judged yet: what is remembered must not be written down without it."""
        return self.watch.pending or self._unwatched_since is not None

    def unwatched(self, since: Block) -> None:
        """The chain moved on from this tip without telling each step: look for branches that came and went unseen."""
        self._unwatched_since = self._unwatched_since or since

    def forget(self) -> None:
        """Another chain; what was counted stays counted."""
        self.watch.forget()
        self._unwatched_since = None
        self.invalid.restore({})

    async def judge(self) -> bool:
        """Count the reorganisations that are over, and return whether there were any.

        Raises `NodeError` where the node cannot be asked about them now; they are kept for the next time.
        """
        reorgs = self.watch.take(time.monotonic())
        if not reorgs:
            return False
        try:
            statuses = await self._node.statuses()
        except NodeError:
            self.watch.give_back(reorgs)
            raise
        for reorg in reorgs:
            self._count(reorg, statuses)
        self.invalid.update(statuses)
        return True

    def _count(self, reorg: Reorg, statuses: dict[str, str] | None) -> None:
        who = origin(reorg, statuses, self.invalid)
        self.counts.add(who, reorg.depth)
        if who == "operator" and statuses is not None:
            self.invalid.remember(reorg.old_tip.hash, reorg.all_left)
        log.warning(
            "reorganisation: %s%d blocks left the active chain from height %d down, %d took their place; origin %s",
            "at least " if reorg.at_least else "",
            reorg.depth,
            reorg.old_tip.height,
            len(reorg.came),
            who,
        )

    async def find_unseen(self, active: Block) -> int:
        """Count branches that were active between two looks, or while the exporter was down; return their blocks.

        A node validates a block fully only when it connects it. So a `valid-fork` with more work than the tip of the
        last look was the best chain after it, and gave way to a better one: the network's doing, unless the better one
        holds a block that a person had put away and has brought back.
        """
        since = self._unwatched_since
        if since is None:
            return 0
        tips = await self._node.tips()
        if tips is not None and not any(tip.hash == active.hash and tip.status == "active" for tip in tips):
            return 0  # it moved on meanwhile: the next look compares again
        unseen = [
            tip.branchlen
            for tip in tips or ()
            if tip.status == "valid-fork" and tip.height >= since.height and await self._is_unseen(tip, since)
        ]
        who: Origin = "operator" if unseen and await self._was_brought_back(active, since) else "network"
        self._unwatched_since = None
        for depth in unseen:
            self.counts.add(who, depth)
            log.warning(
                "reorganisation: %d blocks came and left the active chain between two looks; origin %s", depth, who
            )
        return sum(unseen)

    async def _was_brought_back(self, active: Block, since: Block) -> bool:
        """Whether a block that joined since a look is one that a person had put away."""
        block_hash: str | None = active.hash
        for _ in range(WINDOW):
            if block_hash is None or block_hash == since.hash:
                return False
            if block_hash in self.invalid:
                return True
            block_hash = (await self._node.header(block_hash)).previousblockhash
        return False

    async def _is_unseen(self, tip: ChainTip, since: Block) -> bool:
        """Whether no block of a branch was seen; where its lower part was, the known reorganisation gets deeper."""
        header = await self._node.header(tip.hash)
        if int(header.chainwork, 16) <= since.total_work:
            return False
        for above in range(min(tip.branchlen, WINDOW)):
            if self.watch.deepen(header.hash, above):
                return False
            if header.previousblockhash is None:
                break
            header = await self._node.header(header.previousblockhash)
        return True

    async def refresh(self) -> None:
        """Forget marks that a person has taken back: what happens to those blocks then is the network's again."""
        if self.invalid.due(time.monotonic()):
            self.invalid.update(await self._node.statuses())

    def collect(self) -> Iterable[Metric]:
        """Return the counters."""
        return self.counts.collect()
