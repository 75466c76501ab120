"""Asks the watched node how its consensus stands and how far its peers are, no oftener than the node bears.

Both answers list every round of the height with every vote: after fifty rounds of 180 validators that is megabytes.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence

from msgspec import Struct

from chainwatch.errors import NodeError
from chainwatch.families.cometbft.client import CometbftRpc
from chainwatch.families.cometbft.schema import ConsensusState, Int64
from chainwatch.families.cometbft.tracker.consensus_state import Standing, standing

log = logging.getLogger(__name__)

# /dump_consensus_state has the peers' states besides.
DUMP_SECONDS = 10.0
# After a look the node is left alone for so many times as long as that took, and at most for so many seconds.
REST, MAX_REST = 20, 30.0


class _PeerRound(Struct, frozen=True):
    height: Int64 = 0


class _PeerState(Struct, frozen=True):
    round_state: _PeerRound = _PeerRound()


class _Peer(Struct, frozen=True):
    peer_state: _PeerState = _PeerState()


class PeerHeights(Struct, frozen=True):
    """/dump_consensus_state, of which only the peers' heights are read."""

    peers: list[_Peer] | None = None


class CloserLook:
    """Closer looks at one node, and what the last one told of its peers."""

    def __init__(self, node: CometbftRpc) -> None:
        self._node = node
        self.forget()

    def forget(self) -> None:
        """It is another node, or another chain."""
        self.peers: Sequence[int] = ()  # newest block of each
        self._dumped = self._rested = -math.inf  # by the monotonic clock

    @property
    def may_ask(self) -> bool:
        """Whether the node has rested from the last look."""
        return time.monotonic() >= self._rested

    async def look(self, *, consensus: bool) -> Standing | None:
        """Ask where consensus stands, unless its steps come anyway, and, when that is due, how far the peers are.

        None where the node does not tell.
        """
        began = time.monotonic()
        found: Standing | None = None
        try:
            if consensus:
                state = (await self._node.call("consensus_state", ConsensusState)).round_state
                found = standing(state.position, state.start_time, state.height_vote_set or [])
            if began - self._dumped >= DUMP_SECONDS:
                await self._look_around(began)
        except NodeError as error:
            log.debug("cannot look closer at consensus: %s", error)
        now = time.monotonic()
        self._rested = now + min(REST * (now - began), MAX_REST)
        return found

    async def _look_around(self, now: float) -> None:
        self.peers, self._dumped = (), now
        peers = (await self._node.call("dump_consensus_state", PeerHeights)).peers or []
        self.peers = [peer.peer_state.round_state.height - 1 for peer in peers]
