"""Looks at the watched node every second, and more closely where consensus is silent."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from msgspec import Struct, field

from chainwatch.errors import NodeError
from chainwatch.families.cometbft.client import Endpoints
from chainwatch.families.cometbft.consensus.events import Event, Header, NewBlock, NewBlockHeader, NewRound
from chainwatch.families.cometbft.consensus.model import ValidatorSet, Verdict
from chainwatch.families.cometbft.schema import ConsensusState, Int64, NetInfo, Status
from chainwatch.families.cometbft.settings import CometbftSettings
from chainwatch.families.cometbft.tracker.conditions import Conditions
from chainwatch.families.cometbft.tracker.consensus_state import Standing, standing
from chainwatch.families.cometbft.tracker.pulse import Pulse
from chainwatch.families.cometbft.tracker.tip import INTERVALS, Tip
from chainwatch.families.cometbft.tracker.validator_sets import SetReader
from chainwatch.families.cometbft.tracker.verdict import HALTED, Answer, Judge, Look, reached
from chainwatch.streams.health import StreamHealth

log = logging.getLogger(__name__)

# A /status is answered in milliseconds; a node that takes longer than this is one that hangs.
STATUS_SECONDS = 3.0
# A closer look at a silent chain comes at least so often, however seldom the node is polled.
CLOSER_SECONDS = 1.0
PEERS_SECONDS = 5.0
# /dump_consensus_state is hundreds of kilobytes on large chains.
DUMP_SECONDS = 10.0
# A chain may be silent for so many of its own intervals before it is called halted.
PATIENT_INTERVALS = 3
# A tip so many intervals old, and no less than so many seconds, belongs to a node that is behind, whatever it says.
OLD_INTERVALS, OLD_SECONDS = 10, 60.0
# /blockchain gives no more at a time.
METAS = 20


class _PeerRound(Struct, frozen=True):
    height: Int64 = 0


class _PeerState(Struct, frozen=True):
    round_state: _PeerRound = _PeerRound()


class _Peer(Struct, frozen=True):
    peer_state: _PeerState = _PeerState()


class PeerHeights(Struct, frozen=True):
    """/dump_consensus_state, of which only the peers' heights are read."""

    peers: list[_Peer] | None = None


class _Meta(Struct, frozen=True):
    header: Header


class Metas(Struct, frozen=True):
    """/blockchain, newest first."""

    block_metas: list[_Meta] = field(default_factory=list)


class Watch:
    """What the watched node says of itself, and the verdict on its chain. `deaf` is called when its stream is dead."""

    def __init__(
        self, endpoints: Endpoints, settings: CometbftSettings, sets: SetReader, stream: StreamHealth,
        deaf: Callable[[], None],
    ) -> None:  # fmt: skip
        self._endpoints = endpoints
        self._settings = settings
        self._sets = sets
        self._stream = stream
        self._deaf = deaf
        self.poll = StreamHealth("poll")
        # Newest block of each further vantage point, by its stream.
        self.vantage_heights: dict[int, int] = {}
        self.standing: Standing | None = None
        self._clear(time.time())

    def _clear(self, now: float) -> None:
        self.conditions = Conditions()
        self.pulse = Pulse(now)
        self.tip = Tip()
        self.judge = Judge(now)
        self.vantage_heights.clear()
        self.standing = None
        self._stream_quiet_since = now
        self._peers: tuple[int | None, float] = None, 0.0
        self._elsewhere: tuple[Sequence[int], float] = (), 0.0
        self._back = True  # the node was away, or was never asked before
        self._complained = False

    def forget(self) -> None:
        """It is another node, or another chain."""
        self._clear(time.time())

    def configure(self, settings: CometbftSettings) -> None:
        """Take over new settings."""
        self._settings = settings

    @property
    def verdict(self) -> Verdict:
        """How the chain stands."""
        return self.judge.verdict

    @property
    def catching_up(self) -> bool:
        """Whether the node said so when last asked."""
        return self.conditions.latest.catching_up

    @property
    def spacing(self) -> float | None:
        """Seconds between blocks: as configured, else the median of the last ones."""
        return self._settings.chain.spacing or self.tip.interval

    @property
    def patience(self) -> float:
        """Seconds that this chain may be silent."""
        return max(self._settings.stream.silence, PATIENT_INTERVALS * (self.spacing or 0.0))

    def first_seen(self, height: int) -> float | None:
        """When the node's block of this height was first seen; for one that nobody told yet, it is seen now."""
        if height > self.tip.height and not self._back:
            self.tip.saw(height, time.time())
        return self.tip.first_seen(height)

    # Events of the watched node's stream

    def take(self, event: Event, seen: float) -> None:
        """Keep the verdict current: a block, or a round that fails, needs no look."""
        self._stream_quiet_since = seen
        applied = self.pulse.applied
        self.pulse.take(event, seen)
        if isinstance(event, NewRound):
            self.judge.round(event.round, seen)
        elif isinstance(event, NewBlock | NewBlockHeader) and self.pulse.applied > applied:
            header = event.block.header if isinstance(event, NewBlock) else event.header
            self.tip.saw(header.height, seen)
            self.tip.header(header.height, header.time.timestamp())
            self.standing = None
            self.judge.block(seen)

    def interrupted(self, at: float) -> None:
        """Events of that stream may be lost."""
        self._stream_quiet_since = at
        self.pulse.lost()
        self.pulse.heard = max(self.pulse.heard, self.tip.height + 1)

    # Looks

    async def look(self) -> Status | None:
        """Ask /status, and whatever the silence calls for; return the status, None where the node does not answer."""
        at = time.time()
        status = await self._status(at)
        if status is None:
            self.judge.judge(Look(at, None), self.pulse, self.patience, at)
            return None
        sync = status.sync_info
        self._note_tip(sync.latest_block_height, sync.latest_block_time, at)
        catching_up = bool(sync.catching_up)
        self.standing = None
        if not catching_up and self._wants_closer(at):
            await self._look_closer()
        answer = Answer(sync.latest_block_height, catching_up, self._peers[0])
        members = await self._members()
        others = max(reached(self._elsewhere[0]), reached(list(self.vantage_heights.values())))
        look = Look(at, answer, self.standing, members, others)
        self.judge.judge(look, self.pulse, self.patience, time.time())
        self._check_stream(answer, time.time())
        return status

    async def _status(self, at: float) -> Status | None:
        self.conditions.asked(at)
        try:
            async with asyncio.timeout(min(STATUS_SECONDS, self._settings.rpc.timeout)):
                status = await self._endpoints.status()
                if at - self._peers[1] >= PEERS_SECONDS:
                    network = await self._endpoints.own.call("net_info", NetInfo)
                    self._peers = network.n_peers, at
        except (NodeError, TimeoutError) as error:
            self._failed(error)
            return None
        self.conditions.answered(bool(status.sync_info.catching_up), self._peers[0])
        self.poll.up()
        self.poll.event()
        if self._complained:
            log.info("the node at %s answers again", self._endpoints.own.address)
        self._complained = False
        return status

    def _failed(self, error: Exception) -> None:
        address = self._endpoints.own.address
        problem = str(error) or f"status at {address}: no answer within {STATUS_SECONDS:g} s. Does the node hang?"
        log.log(logging.DEBUG if self._complained else logging.WARNING, "cannot watch the node: %s", problem)
        self._complained = self._back = True
        self._peers = None, 0.0
        self.standing = None
        self.conditions.failed()
        self._endpoints.set_aside()
        self.poll.down()

    def _note_tip(self, height: int, header_time: datetime | None, at: float) -> None:
        """A block that was there before anybody looked has its header's time, so that an old tip does not look fresh.

        The stream may bring a block first; then its time stands.
        """
        seen = at
        if self._back and header_time is not None and height > self.tip.height:
            seen = min(at, header_time.timestamp())
        self._back = False
        self.tip.saw(height, seen)
        self.pulse.grew(height, at)

    def _wants_closer(self, now: float) -> bool:
        """Whether the stream leaves open how consensus stands."""
        return (
            not self._stream.is_open
            or now - self._stream_quiet_since > self.patience
            or now - self.pulse.moved > self.patience
            or self.verdict.condition in HALTED
            or self._is_old(now)
        )

    def _is_old(self, now: float) -> bool:
        header = self.tip.latest_header
        return header is not None and now - header > max(OLD_SECONDS, OLD_INTERVALS * (self.spacing or 0.0))

    async def _look_closer(self) -> None:
        own = self._endpoints.own
        try:
            state = (await own.call("consensus_state", ConsensusState)).round_state
            self.standing = standing(state.position, state.start_time, state.height_vote_set or [])
            if self.standing is not None:
                self.pulse.looked(self.standing, time.time())
            now = time.time()
            if now - self._elsewhere[1] >= DUMP_SECONDS:
                self._elsewhere = (), now
                peers = (await own.call("dump_consensus_state", PeerHeights)).peers or []
                self._elsewhere = [peer.peer_state.round_state.height - 1 for peer in peers], now
        except NodeError as error:
            log.debug("cannot look closer at consensus: %s", error)

    async def _members(self) -> ValidatorSet | None:
        """Who votes in the standing step, where somebody has to be named."""
        if self.standing is None or time.time() - self.pulse.moved <= self.patience:
            return None
        return await self._sets.members(self.standing.height)

    def _check_stream(self, answer: Answer, now: float) -> None:
        """A node that moved on while its open stream said nothing has dropped the subscription."""
        if not self._stream.is_open or now - self._stream_quiet_since <= self.patience:
            return
        height = answer.height if answer.catching_up or self.standing is None else self.standing.height
        if height > self.pulse.heard:
            self._stream_quiet_since = now
            self._deaf()

    @property
    def pause(self) -> float:
        """Seconds until the next look is due."""
        interval = self._settings.tracker.poll_interval
        return min(interval, CLOSER_SECONDS) if self._wants_closer(time.time()) else interval

    async def learn_spacing(self, height: int) -> None:
        """Read the headers of the last blocks, so that the spacing is known from the start. Raises `NodeError`."""
        metas: list[Header] = []
        top = height
        while top > 0 and len(metas) <= INTERVALS:
            page = await self._endpoints.own.call("blockchain", Metas, minHeight=max(1, top - METAS + 1), maxHeight=top)
            if not page.block_metas:
                break
            metas += [meta.header for meta in page.block_metas]
            top = min(header.height for header in metas) - 1
        for header in sorted(metas, key=lambda header: header.height):
            self.tip.header(header.height, header.time.timestamp())
