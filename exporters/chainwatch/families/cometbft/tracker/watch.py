"""Looks at the watched node every second, and more closely where consensus is silent."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from datetime import datetime

from msgspec import Struct, field

from chainwatch.errors import NodeError
from chainwatch.families.cometbft.client import Endpoints
from chainwatch.families.cometbft.consensus.book import unix
from chainwatch.families.cometbft.consensus.events import Event, Header, NewBlock, NewBlockHeader, NewRound
from chainwatch.families.cometbft.consensus.model import ValidatorSet, Verdict
from chainwatch.families.cometbft.schema import NetInfo, Status
from chainwatch.families.cometbft.settings import CometbftSettings
from chainwatch.families.cometbft.subscriptions import height_of
from chainwatch.families.cometbft.tracker.closer import CloserLook
from chainwatch.families.cometbft.tracker.conditions import Conditions
from chainwatch.families.cometbft.tracker.consensus_state import Standing
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
# A node that does not give its headers is asked for them again after so long.
HEADERS_SECONDS = 60.0
# A chain may be silent for so many of its own intervals before it is called halted.
PATIENT_INTERVALS = 3
# A tip so many intervals old, and no less than so many seconds, belongs to a node that is behind, whatever it says.
OLD_INTERVALS, OLD_SECONDS = 10, 60.0
# /blockchain gives no more at a time.
METAS = 20


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
        # Who votes there; None where nobody has to be named, or no node tells.
        self.members: ValidatorSet | None = None
        self._closer = CloserLook(endpoints.own)
        self._clear(time.time())

    def _clear(self, now: float) -> None:
        self.conditions = Conditions()
        self.pulse = Pulse(now)
        self.tip = Tip()
        self.judge = Judge(now)
        self.vantage_heights.clear()
        self._closer.forget()
        self.standing = self.members = None
        self._looked = now  # when the standing step was read
        self._stream_quiet_since = now
        self._peers: tuple[int | None, float] = None, 0.0
        self._headers_asked = -math.inf  # by the monotonic clock
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
        now = time.time()
        if self.tip.height < height <= self.tip.reach(now) and not self._back:
            self.tip.saw(height, now)
        return self.tip.first_seen(height)

    # Events of the watched node's stream

    def take(self, event: Event, seen: float) -> None:
        """Keep the verdict current: a block, or a round that fails, needs no look."""
        self._stream_quiet_since = seen
        if height_of(event) > self.tip.reach(seen):
            return  # no chain is there; once believed, it would hide whatever comes
        applied = self.pulse.applied
        self.pulse.take(event, seen)
        if isinstance(event, NewRound):
            self.judge.round(event.round, seen)
        elif isinstance(event, NewBlock | NewBlockHeader) and self.pulse.applied > applied:
            header = event.block.header if isinstance(event, NewBlock) else event.header
            self.tip.saw(header.height, seen)
            self.tip.header(header.height, unix(header.time))
            self.standing = self.members = None
            self.judge.block(seen)

    def interrupted(self, at: float) -> None:
        """Events of that stream may be lost."""
        self._stream_quiet_since = at
        self.pulse.lost()
        self.pulse.heard = max(self.pulse.heard, self.tip.height + 1)

    # Looks

    async def look(self) -> Status | None:
        """Ask /status, and whatever the silence calls for; return the status.

        None where the node does not answer, or what it answers cannot be believed yet.
        """
        at = time.time()
        status = await self._status(at)
        if status is None:
            self.judge.judge(Look(at, None), self.pulse, self.patience, at)
            return None
        sync = status.sync_info
        if not self._note_tip(sync.latest_block_height, sync.latest_block_time, at):
            return None
        await self._ask_peers(at)
        catching_up = bool(sync.catching_up)
        self.standing = None if catching_up else await self._look_closer(at)
        self.members = await self._read_members()
        answer = Answer(sync.latest_block_height, catching_up, self._peers[0])
        look = Look(at, answer, self.standing, self.members, self._others())
        self.judge.judge(look, self.pulse, self.patience, time.time())
        self._check_stream(answer, time.time())
        return status

    async def _status(self, at: float) -> Status | None:
        self.conditions.asked(at)
        try:
            async with asyncio.timeout(min(STATUS_SECONDS, self._settings.rpc.timeout)):
                status = await self._endpoints.status()
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

    async def _ask_peers(self, at: float) -> None:
        """Count the peers now and then. A node that does not say, for a proxy may hide it, answers all the same."""
        if at - self._peers[1] < PEERS_SECONDS:
            return
        peers = None
        try:
            async with asyncio.timeout(min(STATUS_SECONDS, self._settings.rpc.timeout)):
                peers = (await self._endpoints.own.call("net_info", NetInfo)).n_peers
        except (NodeError, TimeoutError) as error:
            problem = str(error) or f"no answer within {STATUS_SECONDS:g} s"
            log.debug("cannot count the peers of the node at %s: %s", self._endpoints.own.address, problem)
        self._peers = peers, at
        self.conditions.found_peers(peers, at)

    def _failed(self, error: Exception) -> None:
        address = self._endpoints.own.address
        problem = str(error) or f"status at {address}: no answer within {STATUS_SECONDS:g} s. Does the node hang?"
        log.log(logging.DEBUG if self._complained else logging.WARNING, "cannot watch the node: %s", problem)
        self._complained = self._back = True
        self._peers = None, self._peers[1]
        self.standing = self.members = None
        self.conditions.failed()
        self._endpoints.set_aside()
        self.poll.down()

    def _note_tip(self, height: int, header_time: datetime | None, at: float) -> bool:
        """Take what /status says is the newest block; False where that cannot be.

        A block that was there before anybody looked has its header's time, so that an old tip does not look fresh.
        The stream may bring a block first; then its time stands.
        """
        before = self.tip.height
        if not self.tip.answered(height, unix(header_time) if header_time else at, at):
            log.warning(
                "the node at %s is at height %d, so it says, after %d: not believed unless it says so again",
                self._endpoints.own.address, height, before,
            )  # fmt: skip
            return False
        if self.tip.height < before:
            log.warning("the node at %s fell back from height %d to %d", self._endpoints.own.address, before, height)
            self.pulse.fell(height)
        seen = at
        if self._back and header_time is not None and height > self.tip.height:
            seen = min(at, unix(header_time))
        if self._back:  # a stream that opened before the first answer told nothing of what was there already
            self.pulse.heard = max(self.pulse.heard, height + 1)
        self._back = False
        self.tip.saw(height, seen)
        self.pulse.grew(height, at)
        return True

    def _is_unclear(self, now: float) -> bool:
        """Whether the stream leaves open how consensus stands."""
        return (
            not self._stream.is_open
            or now - self._stream_quiet_since > self.patience
            or now - self.pulse.moved > self.patience
            or self.verdict.condition in HALTED
        )

    def _is_old(self, now: float) -> bool:
        header = self.tip.latest_header
        return header is not None and now - header > max(OLD_SECONDS, OLD_INTERVALS * (self.spacing or 0.0))

    async def _look_closer(self, at: float) -> Standing | None:
        """Read where consensus stands, unless events tell; and how far the peers are, also where the tip is old."""
        unclear = self._is_unclear(at)
        if not unclear and not self._is_old(at):
            return None
        if not self._closer.may_ask:  # what has not moved since still stands there
            return self.standing if unclear and self.pulse.moved <= self._looked else None
        found = await self._closer.look(consensus=unclear)
        now = time.time()
        if found is None or found.height > self.tip.reach(now):
            return None
        self.pulse.looked(found, now)
        self._looked = now
        return found

    def _others(self) -> int:
        """The height that others have reached, peers or vantage points; 0 when that is not known."""
        reach = self.tip.reach(time.time())
        told = self._closer.peers, list(self.vantage_heights.values())
        return max(reached([height for height in heights if height <= reach]) for heights in told)

    async def _read_members(self) -> ValidatorSet | None:
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
        return min(interval, CLOSER_SECONDS) if self._is_unclear(time.time()) else interval

    async def learn_spacing(self, height: int) -> None:
        """Read the headers of the last blocks, so that the spacing is known from the start. Raises `NodeError`.

        A node that gives none is asked once a minute; a single block has no interval.
        """
        if height < 2 or time.monotonic() - self._headers_asked < HEADERS_SECONDS:
            return
        self._headers_asked = time.monotonic()
        metas: list[Header] = []
        top = height
        while top > 0 and len(metas) <= INTERVALS:
            page = await self._endpoints.own.call("blockchain", Metas, minHeight=max(1, top - METAS + 1), maxHeight=top)
            if not page.block_metas:
                break
            metas += [meta.header for meta in page.block_metas if 0 < meta.header.height <= top]
            top = min((header.height for header in metas), default=0) - 1
        for header in sorted(metas, key=lambda header: header.height):
            self.tip.header(header.height, unix(header.time))
