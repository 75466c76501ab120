"""Whether the watched node's chain is still the one that was settled: it may be another one, or have begun anew."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from chainwatch.errors import NodeError
from chainwatch.families.cometbft.client import CometbftRpc
from chainwatch.families.cometbft.consensus.book import unix
from chainwatch.families.cometbft.schema import BlockResult, Status
from chainwatch.rpc.sentences import printable

log = logging.getLogger(__name__)

# Everything that was counted is lost with a chain. One odd answer, as of a proxy that asks another node, must not do.
SURE = 3


class Known(NamedTuple):
    """What was settled last: of which chain, and the block's time, None where it was not remembered."""

    chain: str | None
    settled: int
    hash: str
    time: float | None


class Continuity:
    """Judges each status by what is known; `known` tells that."""

    def __init__(self, node: CometbftRpc, known: Callable[[], Known]) -> None:
        self._node = node
        self._known = known
        self._looks = 0
        # The block settled before a restart is still to be compared with the node's.
        self.unproven = False

    @property
    def in_doubt(self) -> bool:
        """Whether the node's last answer was of another chain, as it seems."""
        return self._looks > 0

    async def doubt(self, status: Status) -> str | None:
        """Return why this status is of another chain than the known one; None where it is not."""
        problem = await self._problem(status)
        self._looks = self._looks + 1 if problem else 0
        return problem

    @property
    def ended(self) -> bool:
        """Whether so many answers in a row were of another chain that it has to be believed."""
        return self._looks >= SURE

    def forget(self) -> None:
        """It is another chain, or another node."""
        self._looks = 0
        self.unproven = False

    async def _problem(self, status: Status) -> str | None:
        known, height = self._known(), status.sync_info.latest_block_height
        named = status.node_info.network
        if known.chain is not None and named != known.chain:
            return f"the node is on chain {named!r}, what is remembered belongs to {known.chain!r}"
        if _is_older(status, known):
            return f"chain {named!r} began anew and is at height {height} by now"
        if self.unproven and height >= known.settled and await self._differs(known):
            return f"chain {named!r} began anew: its block {known.settled} is not the one that is remembered"
        return None

    async def _differs(self, known: Known) -> bool:
        """Whether the node has another block at the height that was settled last before a restart."""
        if not known.hash:
            self.unproven = False
            return False
        try:
            found = (await self._node.call("block", BlockResult, height=known.settled)).block_id.hash
        except NodeError as error:
            log.debug("cannot compare block %d with the one remembered: %s", known.settled, error)
            self.unproven = not error.answered  # it has pruned that height
            return False
        if found in ("", known.hash):
            self.unproven = False
            return False
        log.debug("block %d is %s, %s is remembered", known.settled, printable(found), known.hash)
        return True


def _is_older(status: Status, known: Known) -> bool:
    """Whether the node's newest block is below one that was settled, yet later: time in a chain only rises."""
    sync = status.sync_info
    return (
        known.time is not None
        and sync.latest_block_time is not None
        and 0 < sync.latest_block_height < known.settled
        and unix(sync.latest_block_time) > known.time
    )
