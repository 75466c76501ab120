"""Follows a chain through its nodes: streams into the ledger, settled heights into the tallies, gaps filled by RPC.

The watched node is asked every second: whether it answers, catches up, moves on. What its stream says and what it
answers together give the verdict (`verdict.py`); heights that no stream told are read afterwards (`fill.py`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence

from prometheus_client import Metric

from chainwatch.errors import NodeError
from chainwatch.exposition import fleet
from chainwatch.exposition.state_file import StateFile
from chainwatch.exposition.stream_metrics import stream_metrics
from chainwatch.families.cometbft.client import Endpoints
from chainwatch.families.cometbft.consensus.events import Event, NewBlock
from chainwatch.families.cometbft.consensus.ledger import Ledger
from chainwatch.families.cometbft.consensus.metrics import VOTE_DUPLICATES, VOTE_LATE
from chainwatch.families.cometbft.consensus.model import (
    OWN_NODE,
    DoubleSign,
    FillReason,
    NodeCondition,
    Settled,
    ValidatorSet,
    Verdict,
)
from chainwatch.families.cometbft.consensus.state import State
from chainwatch.families.cometbft.consensus.tallies import Tallies
from chainwatch.families.cometbft.schema import Status
from chainwatch.families.cometbft.settings import CometbftSettings, endpoints, own_validators
from chainwatch.families.cometbft.stream import ConsensusStream
from chainwatch.families.cometbft.tracker import fill
from chainwatch.families.cometbft.tracker.consensus_state import Standing
from chainwatch.families.cometbft.tracker.continuity import Continuity, Known
from chainwatch.families.cometbft.tracker.listening import condition_of, listen
from chainwatch.families.cometbft.tracker.memory import Memory
from chainwatch.families.cometbft.tracker.metrics import condition_metrics, round_metrics, set_metrics
from chainwatch.families.cometbft.tracker.tips import Tips
from chainwatch.families.cometbft.tracker.validator_sets import GONE, SetReader
from chainwatch.families.cometbft.tracker.watch import Watch

log = logging.getLogger(__name__)

# Streams tell of a block within milliseconds; one of which they said nothing for so long is read.
GRACE = 2.0
# A look that comes so much later than it was due shows that this process was stopped or starved.
OVERSLEPT = 5.0


class Tracker:
    """What happens on the chain, as its nodes tell; `run` follows, everything else only reads."""

    def __init__(self, nodes: Endpoints, settings: CometbftSettings, file: StateFile[State] | None = None) -> None:
        self._nodes = nodes
        self._settings = settings
        self.names = own_validators(settings)
        self.streams = [
            ConsensusStream(rpc.url, settings, vantage, self) for vantage, rpc in enumerate(endpoints(settings))
        ]
        self._sets = SetReader(nodes)
        self.watch = Watch(nodes, settings, self._sets, self.streams[OWN_NODE].health, self._deaf)
        self._filler = fill.Filler(nodes, lambda: self.ledger, self._to_fill, self._reason, self._skipped)
        self._reorg_depth = fleet.REORG_DEPTH.live(("network",))
        self._reorgs = 0
        # Who is told of each settled height, in order.
        self.observers: list[Callable[[Settled], None]] = []
        self.last_settled: Settled | None = None
        self._tips = Tips()
        # When the node first answered; how long nothing may be settled at a first start is counted from there.
        self._answered: float | None = None
        # Heights up to this one passed while nobody watched.
        self._unwatched: int | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._chain: str | None = None
        self._continuity = Continuity(nodes.own, self._known)
        self._memory = Memory(file, self._state, lambda: self.tallies.collect())
        self._begin(self._memory.load())

    def _begin(self, state: State | None, chain: str | None = None) -> None:
        """Start with what is remembered, or from nothing."""
        self.tallies = Tallies(self.names, self._settings.validators.only_own)
        self._chain = state.chain if state else chain
        self._nodes.chain_id = self._chain
        self.ledger = Ledger(
            self._settle,
            self._double_sign,
            settled=state.settled if state else 0,
            hash=state.hash if state else "",
            time=state.time if state else None,
            chain_id=self._chain or "",
            known=state.double_signs if state else (),
            gave_up=self._skipped,
        )
        self._continuity.unproven = state is not None
        if state:
            self.tallies.restore(state.tallies)
            log.info("going on after height %d of %s", state.settled, state.chain)
        self._memory.begin()

    # What others read

    @property
    def chain_id(self) -> str | None:
        """Id of the chain that is followed; from the state file until a node answers."""
        return self._chain

    @property
    def verdict(self) -> Verdict:
        """How the chain stands, as seen through the watched node."""
        return self.watch.verdict

    @property
    def tip(self) -> int | None:
        """Newest block of the watched node; None before it answered."""
        return self.watch.tip.height or None

    @property
    def standing(self) -> Standing | None:
        """The last look at /consensus_state; None while events tell how consensus stands."""
        return self.watch.standing

    @property
    def standing_set(self) -> ValidatorSet | None:
        """Who votes in the height that stands, else the set of the last settled height, be it before a restart."""
        return self.watch.members or self.tallies.set

    @property
    def target_spacing(self) -> float | None:
        """Seconds between blocks: the setting, else the median of the last ones; None before there are any."""
        return self.watch.spacing

    @property
    def shown(self) -> Sequence[str]:
        """Members of the set that have series of their own, by address."""
        return self.tallies.shown

    def first_seen(self, height: int) -> float | None:
        """Unix time at which this exporter first saw the watched node have this block; None when not remembered.

        A block that was there already when the exporter started, or the node came back, has its header's time.
        """
        return self.watch.first_seen(height)

    def condition(self) -> NodeCondition:
        """How the watched node was when last asked."""
        return self.watch.conditions.latest

    def collect(self) -> Iterable[Metric]:
        """Everything that was counted, the streams, and how the chain stands."""
        yield from self._memory.show()
        counters = self.ledger.counters
        yield from VOTE_DUPLICATES.sample(counters.duplicates)
        yield from VOTE_LATE.sample(counters.late)
        yield from fleet.REORGS.samples({("network",): counters.reorgs, ("operator",): 0})
        yield from self._reorg_depth.collect()
        yield from condition_metrics(self.verdict, self.standing, self.last_settled)
        yield from set_metrics(self.tallies.set)
        yield from round_metrics(self.watch.pulse, self.verdict)
        yield from stream_metrics([self.watch.poll, *(stream.health for stream in self.streams)])
        for stream in self.streams:
            yield from stream.collect()

    # Settings

    def configure(self, settings: CometbftSettings) -> None:
        """Take over new settings; a change of the vantage points or of one's own validators needs a restart."""
        self._settings = settings
        self.watch.configure(settings)
        for stream, rpc in zip(self.streams, endpoints(settings), strict=False):
            stream.configure(rpc.url, settings)

    def other_node(self) -> None:
        """From now on the watched node is another one, maybe of another chain: its next status tells."""
        self.watch.forget()
        self.interrupted(OWN_NODE)
        self._forget_looks()

    def _forget_looks(self) -> None:
        self._tips = Tips()
        self._continuity.forget()
        self._unwatched = self._answered = None

    # What the streams tell

    def event(self, event: Event, seen: float, vantage: int) -> None:
        """Take an event of a stream."""
        self.ledger.take(event, seen, vantage)
        self._tips.heard(vantage, time.monotonic())
        if vantage == OWN_NODE:
            self.watch.take(event, seen)
        if isinstance(event, NewBlock):
            height = event.block.header.height
            if event.block.header.chain_id == self.ledger.chain_id and self._can_be(height):
                self._tips.told(vantage, height)
                if vantage != OWN_NODE:
                    self.watch.vantage_heights[vantage] = height
            self._sets.wake()
            self._note_reorgs()

    def _can_be(self, height: int) -> bool:
        """Whether the chain can have come to this height; before the node answered, any may be."""
        reach = self.watch.tip.reach(time.time())
        return height > 0 and (not reach or height <= max(reach, self.ledger.settled + self._settings.tracker.max_fill))

    def interrupted(self, vantage: int) -> None:
        """Events of a stream may be lost."""
        self.ledger.interrupted(vantage)
        self._tips.interrupted(vantage)
        if vantage == OWN_NODE:
            self.watch.interrupted(time.time())
        else:
            self.watch.vantage_heights.pop(vantage, None)

    def _note_reorgs(self) -> None:
        while self._reorgs < self.ledger.counters.reorgs:
            self._reorgs += 1
            self._reorg_depth.labels("network").observe(1)  # how deep, a chain that never reorganises does not tell

    def _deaf(self) -> None:
        log.warning("the node at %s moves on and its stream says nothing: subscribing anew", self._nodes.own.address)
        self.streams[OWN_NODE].expect_news()

    # What the ledger tells

    def _settle(self, settled: Settled) -> None:
        self.last_settled = settled
        own_stream = self.streams[OWN_NODE].health
        self.tallies.count(settled, condition_of(settled, self.watch, own_stream.is_open))
        self._memory.changed = True
        for observe in self.observers:
            observe(settled)

    def _double_sign(self, found: DoubleSign) -> None:
        self.tallies.double_sign(found)
        self._memory.changed = True

    def _skipped(self, heights: int) -> None:
        self.tallies.skipped(heights)
        self._memory.changed = True

    # Filling

    def _to_fill(self) -> fill.State:
        tip = 0 if self._continuity.in_doubt else self._tips.to_tell(time.monotonic(), GRACE)
        return fill.State(tip, self.watch.catching_up)

    def _reason(self, height: int) -> FillReason:
        unwatched = self._unwatched is None or height <= self._unwatched
        return FillReason.EXPORTER if unwatched else FillReason.NODE

    def _set_failed(self, height: int, error: NodeError) -> None:
        if GONE.search(str(error)):
            self._filler.give_up(height)

    # Following

    async def run(self) -> None:
        """Follow until cancelled, through every failure of the nodes."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                tasks.create_task(self._follow(), name="tracker: node")
                tasks.create_task(
                    self._sets.run(lambda: self.ledger.wanted_sets(), self._learn, self._set_failed),
                    name="tracker: validator sets",
                )
                tasks.create_task(
                    self._filler.run(lambda: self._settings.tracker.max_fill), name="tracker: missed heights"
                )
                tasks.create_task(self._memory.keep(), name="tracker: state file")
        finally:
            self._tasks = None
            self.watch.poll.down()

    def _learn(self, validators: ValidatorSet) -> None:
        self.ledger.learn(validators)
        self._note_reorgs()

    async def _follow(self) -> None:
        started = False
        due = time.monotonic()
        while True:
            overslept = time.monotonic() - due > OVERSLEPT
            status = await self.watch.look()
            if status is not None:
                await self._note(status, overslept)
            known = self._chain is not None and not self._continuity.in_doubt
            if known and not started and self._tasks is not None:
                started = True
                for vantage, stream in enumerate(self.streams):
                    reading = listen(self._nodes, vantage, stream, self)
                    self._tasks.create_task(reading, name=f"tracker: stream {stream.health.name}")
            self._note_tip()
            self._sets.wake()
            self._filler.wake()
            pause = self.watch.pause
            due = time.monotonic() + pause
            await asyncio.sleep(pause)

    async def _note(self, status: Status, overslept: bool) -> None:
        """Take what a status says of the chain."""
        chain, height = status.node_info.network, status.sync_info.latest_block_height
        if doubt := await self._continuity.doubt(status):
            if not self._continuity.ended:
                log.debug("%s; it is asked again", doubt)
                return
            log.warning("%s: starting clean", doubt)
            self._start_clean(chain)
        if self._chain is None:
            self._chain = self.ledger.chain_id = chain
        if self._unwatched is None or overslept:
            self._unwatched = height
        self._begin_unheard(height)
        if self.watch.tip.interval is None:
            try:
                await self.watch.learn_spacing(height)
            except NodeError as error:
                log.debug("cannot read the headers of the last blocks: %s", error)

    def _begin_unheard(self, height: int) -> None:
        """Let heights be read where none was ever settled, and no stream tells any."""
        now = time.monotonic()
        self._answered = self._answered or now
        if not self.ledger.settled and height > 1 and now - self._answered > GRACE + self.watch.patience:
            log.warning(
                "no stream tells of blocks: they are read from height %d on; see stream_* in the metrics", height
            )
            self.ledger.begin(height - 1)

    def _known(self) -> Known:
        ledger = self.ledger
        return Known(self._chain, ledger.settled, ledger.settled_hash, ledger.settled_time)

    def _start_clean(self, chain: str) -> None:
        self._begin(None, chain)
        self.watch.forget()
        self._sets.forget()
        self._forget_looks()
        self.last_settled = None
        self._reorgs = 0

    def _note_tip(self) -> None:
        tip = max([self.watch.tip.height, *self.watch.vantage_heights.values()])
        self._tips.looked(time.monotonic(), tip)

    def _state(self) -> State | None:
        """What is to survive a restart.

        After heights were skipped nothing is known of the last one: the state before is as good.
        """
        ledger = self.ledger
        if not ledger.settled_hash or not self._chain:
            return None
        return State(
            chain=self._chain,
            settled=ledger.settled,
            hash=ledger.settled_hash,
            time=ledger.settled_time,
            tallies=self.tallies.save(),
            double_signs=ledger.known_double_signs,
        )
