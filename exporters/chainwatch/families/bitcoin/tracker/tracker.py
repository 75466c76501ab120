"""Follows the tip of the node's active chain between scrapes, and counts what happens to it.

Two sources tell of changes, and one window (`ActiveChain`) takes them both in:

- The node itself, by RPC, is the authority. A look asks for the best hash and, where it is another one, walks down to
  the window: whatever came and left in between is found, however many blocks arrived at once or how long nobody looked.
- ZMQ `sequence` gives every connect and disconnect in the node's own order, also a reorganisation that went forth and
  back between two looks. Such an event is taken only where it fits: a disconnect of the window's tip, a connect on the
  window's tip. One that is late, because a look was faster, does not fit any more and is dropped. So nothing counts
  twice, and the look that follows each batch of events repairs whatever was lost.

`hashblock` and gaps are mere wake-ups for a look; without ZMQ looks come at the poll interval, with it more rarely.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable

from prometheus_client import Metric

from chainwatch.errors import BadReply, NodeError
from chainwatch.exposition.metrics import counter
from chainwatch.exposition.state_file import StateFile
from chainwatch.exposition.stream_metrics import stream_metrics
from chainwatch.families.bitcoin.chains import identify
from chainwatch.families.bitcoin.client import BitcoinRpc
from chainwatch.families.bitcoin.schema import BlockchainInfo, NetworkInfo
from chainwatch.families.bitcoin.settings import BitcoinSettings
from chainwatch.families.bitcoin.tracker.active_chain import ActiveChain, Block
from chainwatch.families.bitcoin.tracker.block_totals import BlockTotals
from chainwatch.families.bitcoin.tracker.chain_rpc import ChainRpc, Difference, Header, missing
from chainwatch.families.bitcoin.tracker.reorg_judge import ReorgJudge
from chainwatch.families.bitcoin.tracker.reorgs import INVALID
from chainwatch.families.bitcoin.tracker.state import State
from chainwatch.families.bitcoin.tracker.zmq_feed import BlockEvent, ZmqFeed
from chainwatch.streams.health import StreamHealth

log = logging.getLogger(__name__)

CONNECTED = counter(
    "bitcoin_blocks_connected_total",
    "Blocks that joined the active chain; while the node catches up they are counted by height.",
)
DISCONNECTED = counter("bitcoin_blocks_disconnected_total", "Blocks that left the active chain, whoever caused it.")

# With ZMQ, looks are a safety net.
POLLS_WITH_ZMQ = 5
# How long ZMQ may lag behind RPC before it is called silent; the node sends from a queue of its own.
GRACE = 2.0
# At most this many looks a second, whatever wakes us.
MIN_PAUSE = 0.1
# A node that fails is asked less and less often, up to this.
MAX_BACKOFF = 15.0
# Older blocks come from catching up (Core's own limit for initial block download), which hashblock does not announce.
RECENT = 24 * 3600
# Seconds after which to look whether a reorganisation is over.
JUDGE_PAUSE = 1.0


class Tracker:
    """The tip and what became of it; `run` follows, everything else only reads."""

    def __init__(self, rpc: BitcoinRpc, settings: BitcoinSettings, state: StateFile[State] | None = None) -> None:
        self._settings = settings
        self._rpc = rpc
        self._node = ChainRpc(rpc)
        self._file = state
        self._chain = ActiveChain()
        self._reorgs = ReorgJudge(self._node)
        self._totals = BlockTotals(rpc)
        self._woken = asyncio.Event()
        self._feed = ZmqFeed(rpc, settings, self._woken.set)
        self._poll = StreamHealth("poll")
        self._connected = CONNECTED.live()
        self._disconnected = DISCONNECTED.live()
        self._label: str | None = None
        self._genesis: str | None = None
        # The node or this exporter was away since the last look: nobody watched what happened.
        self._interrupted = True
        self._behind_zmq_since: float | None = None
        self._rolled_back = False
        self._unsaved = False
        self._tasks: asyncio.TaskGroup | None = None
        self._following: asyncio.Task[None] | None = None
        # Unix time of the last look that left the window as the node's chain was.
        self._agreed: float | None = None
        # Unix time after which the tip last moved under our eyes; None until it did.
        self.moved_after: float | None = None
        self._restore()

    @property
    def chain_label(self) -> str | None:
        """Label of the chain that is followed; from the state file until the node answers."""
        return self._label

    def first_seen(self, block_hash: str) -> float | None:
        """Unix time at which this exporter saw a block join the active chain; None when it does not remember it.

        A block that was there already when the exporter or the node came back was seen by nobody: it has its header's
        time, or now where that lies ahead, so that an old tip does not look fresh.
        """
        block = self._chain.get(block_hash)
        return block.first_seen if block else None

    def collect(self) -> Iterable[Metric]:
        """Return everything that was counted, and the state of the streams."""
        yield from self._reorgs.collect()
        yield from self._connected.collect()
        yield from self._disconnected.collect()
        yield from self._totals.collect()
        yield from self._feed.mempool.collect()
        yield from stream_metrics(stream for stream in (self._poll, self._feed.health) if stream is not None)

    def configure(self, settings: BitcoinSettings) -> None:
        """Take over new settings."""
        self._settings = settings
        self._feed.configure(settings)
        self._woken.set()

    def other_node(self) -> None:
        """From now on the RPC server is another one: its chain is not what became of the chain before.

        A look under way has asked the node before, and is given up. What was counted stays counted.
        """
        if self._following is not None and self._tasks is not None:
            self._following.cancel()
            self._following = self._tasks.create_task(self._follow(), name="tracker: chain")
        self._forget()
        self._interrupted = True
        self._feed.other_node()

    async def run(self) -> None:
        """Follow until cancelled, through every failure of the node."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                tasks = self._tasks
                self._following = tasks.create_task(self._follow(), name="tracker: chain")
                tasks.create_task(self._feed.run(), name="tracker: ZMQ")
                tasks.create_task(self._totals.run(), name="tracker: block totals")
                if self._file is not None:
                    tasks.create_task(self._file.run(), name="tracker: state file")
        finally:
            self._tasks = None
            self._poll.down()

    async def _follow(self) -> None:
        failures = 0
        while True:
            self._woken.clear()
            try:
                if self._interrupted:
                    await self._recognise()
                await self._look()
                self._poll.up()
                self._poll.event()
                if failures:
                    log.info("the node answers again; following its tip")
                failures = 0
            except NodeError as error:
                failures += 1
                self._node_failed(error, failures)
            self._save()
            await asyncio.sleep(MIN_PAUSE)
            await self._wait(failures)

    def _node_failed(self, error: NodeError, failures: int) -> None:
        log.log(logging.WARNING if failures == 1 else logging.DEBUG, "cannot follow the tip: %s", error)
        self._poll.down()
        self._interrupted = True
        self._behind_zmq_since = None

    async def _wait(self, failures: int) -> None:
        """Wait for a wake-up, or until the next look is due."""
        interval = self._settings.tracker.poll_interval
        if failures:
            # What a failing node publishes does not make it answer.
            await asyncio.sleep(min(interval * 2 ** min(failures - 1, 10), max(MAX_BACKOFF, interval)))
            return
        if self._feed.connected:
            interval *= POLLS_WITH_ZMQ
        if self._behind_zmq_since is not None:
            interval = min(interval, GRACE / 2)
        if self._reorgs.pending:
            interval = min(interval, JUDGE_PAUSE)
        # Not wait_for, which in Python 3.11 may lose a cancellation.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(interval):
                await self._woken.wait()

    # Whose chain it is

    def _restore(self) -> None:
        state = self._file.load() if self._file else None
        if state is None:
            return
        self._label, self._genesis = state.label, state.genesis
        self._reorgs.counts.restore(state.reorgs)
        if state.address not in ("", self._rpc.address):
            log.info("what is remembered of the chain is from %s, another node: starting clean", state.address)
            return
        self._chain.restart(state.blocks)
        self._reorgs.invalid.restore(state.invalid)

    async def _recognise(self) -> None:
        """After every absence: is this still the chain that the window belongs to?"""
        network, info, genesis, statuses = await asyncio.gather(
            self._rpc.call("getnetworkinfo", into=NetworkInfo),
            self._rpc.call("getblockchaininfo", into=BlockchainInfo),
            self._node.genesis(),
            self._node.statuses(),
        )
        label = identify(network.subversion, info.chain, self._settings.chain).label
        if self._genesis is not None and (label, genesis) != (self._label, self._genesis):
            log.warning("the node is on %s, what is remembered belongs to %s: starting clean", label, self._label)
            self._forget()
        self._label, self._genesis = label, genesis
        self._reorgs.invalid.add(statuses)
        self._feed.node_returned()

    def _forget(self) -> None:
        self._chain.restart([])
        self._reorgs.forget()
        self._rolled_back = False
        self._behind_zmq_since = None
        self._agreed = self.moved_after = None

    # Looking

    async def _look(self) -> None:
        """Bring the window to where the node is, and judge what happened on the way."""
        before, began = self._chain.tip, time.time()
        events, must_ask = self._feed.take()
        if self._interrupted or not self._chain.tip:
            must_ask, events = True, []
        # Events are gone when this fails; `_interrupted` then makes the next look ask the node.
        must_ask = not await self._apply_events(events) or must_ask
        await self._compare(must_ask)
        self._note_move(before, began)
        self._interrupted = False
        if tip := self._chain.tip:
            unseen = await self._reorgs.find_unseen(tip)
            self._connected.inc(unseen)
            self._disconnected.inc(unseen)
        self._unsaved |= await self._reorgs.judge()
        await self._reorgs.refresh()

    def _note_move(self, before: Block | None, began: float) -> None:
        """Note when the tip moved at the earliest: after the last look that agreed with the node."""
        if before != self._chain.tip and not self._interrupted:
            self.moved_after = self._agreed
        if self._behind_zmq_since is None:
            self._agreed = began

    async def _compare(self, must_ask: bool) -> None:
        best = await self._node.best()
        tip = self._chain.tip
        if tip is not None and best == tip.hash:
            self._behind_zmq_since = None
            self._rolled_back = False
            await self._fill()
            return
        if tip is not None and not must_ask and self._zmq_may_tell():
            return
        difference = await self._node.difference(self._chain, best)
        if difference is None:
            await self._start_clean(best)
        elif not (difference.fall and await self._was_rolled_back(tip, difference)):
            self._apply(difference)
        if tip is not None and difference is not None and difference.came:
            self._moved_by_itself(tip, difference.came[-1], announced=must_ask)
        self._behind_zmq_since = None

    def _zmq_may_tell(self) -> bool:
        """Whether to wait a little for ZMQ to tell what a look found first."""
        if not self._feed.connected or self._rolled_back:
            return False
        now = time.monotonic()
        if self._behind_zmq_since is None:
            self._behind_zmq_since = now
        return now - self._behind_zmq_since < GRACE

    def _moved_by_itself(self, before: Block, tip: Header, *, announced: bool) -> None:
        """The chain moved on without telling each step; that says nothing while the node catches up."""
        if time.time() - tip.time > RECENT:
            return
        self._reorgs.unwatched(before)
        if not announced and self._behind_zmq_since is not None:
            self._feed.silent()  # ZMQ had time to tell

    async def _start_clean(self, best_hash: str) -> None:
        if self._chain.tip is not None:
            log.warning("the node is on none of the last blocks: reindexed, restored or another chain; starting clean")
        self._forget()
        header = await self._node.header(best_hash)
        self._chain.restart([header.block(min(time.time(), header.time))])
        self._totals.learn(header.hash)
        self._unsaved = True
        log.info("following the tip from height %d", header.height)
        await self._fill()

    async def _fill(self) -> None:
        """Learn the blocks below, so that a reorganisation's fork is found inside the window."""
        bottom, wanted = self._chain.bottom, missing(self._chain)
        if bottom is not None and wanted > 0:
            older = await self._node.below(bottom, wanted)
            self._chain.extend_down(older)
            self._unsaved |= bool(older)

    async def _was_rolled_back(self, tip: Block | None, difference: Difference) -> bool:
        """Whether a chain that only fell, while nobody watched, was cut by a crash and not by a person.

        A killed node starts from the state it last wrote, hours old maybe, and gets the same blocks again: they never
        left the chain. invalidateblock on the other hand leaves its mark on the old tip.
        """
        if not self._interrupted:
            return self._rolled_back
        statuses = await self._node.statuses() or {}
        if tip is None or statuses.get(tip.hash) == INVALID:
            return False
        if difference.at_least:
            await self._start_clean(await self._node.best())
            return True
        if not self._rolled_back:
            log.warning(
                "the node came back %d blocks lower without having disconnected any: it was killed before it wrote "
                "them down, and will fetch them again",
                difference.left,
            )
        self._rolled_back = True
        return True

    # Changing the window

    async def _apply_events(self, events: list[BlockEvent]) -> bool:
        """Take ZMQ's events that fit; return False when one did not and was not merely late."""
        new = [event.hash for event in events if event.label == "C" and event.hash not in self._chain]
        headers = {header.hash: header for header in await self._node.headers(new) if header is not None}
        all_fit = True
        for event in events:
            tip = self._chain.tip
            if event.label == "D":
                if tip is not None and tip.hash == event.hash and len(self._chain) > 1:
                    self._disconnect()
                else:
                    all_fit = False
            elif event.hash not in self._chain:
                header = headers.get(event.hash) or await self._node.header(event.hash)
                if tip is not None and header.previousblockhash == tip.hash:
                    self._connect(header, time.time())
                    self._total(header)
                else:
                    all_fit = False
        return all_fit

    def _apply(self, difference: Difference) -> None:
        """Take a difference found by a look."""
        now = time.time()
        for _ in range(difference.left):
            self._disconnect(at_least=difference.at_least)
        self._rolled_back = False
        if difference.skipped or difference.at_least:
            self._connected.inc(difference.skipped)
            below = difference.below
            self._chain.restart([below.block(min(now, below.time))] if below else [])
        for header in difference.came:
            seen_now = not self._interrupted and not difference.skipped
            self._connect(header, now if seen_now else min(now, header.time))
            if not difference.skipped:
                self._total(header)

    def _total(self, header: Header) -> None:
        if time.time() - header.time <= RECENT:  # while catching up, the node has better things to do
            self._totals.count(header.hash)

    def _connect(self, header: Header, first_seen: float) -> None:
        block = header.block(first_seen)
        try:
            self._chain.connect(block)
        except ValueError as error:
            raise BadReply(f"getblockheader at {self._rpc.address}: {error}; is this one node?") from None
        self._reorgs.watch.connected(block, time.monotonic())
        self._connected.inc()
        self._unsaved = True

    def _disconnect(self, *, at_least: bool = False) -> None:
        block = self._chain.disconnect()
        unwatched = self._interrupted or self._rolled_back
        self._reorgs.watch.disconnected(block, time.monotonic(), interrupted=unwatched, at_least=at_least)
        self._disconnected.inc()
        self._unsaved = True

    # Remembering

    def _save(self) -> None:
        """Have the state written when something changed; not amid a reorganisation, which would be lost."""
        if self._file is None or self._label is None or self._genesis is None:
            return
        if not self._unsaved or self._reorgs.pending:
            return
        self._file.put(
            State(
                label=self._label,
                genesis=self._genesis,
                address=self._rpc.address,
                blocks=list(self._chain.blocks),
                reorgs=self._reorgs.counts.seen,
                invalid=self._reorgs.invalid.branches,
            )
        )
        self._unsaved = False
