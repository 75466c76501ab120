"""What several lines together say about blocks: which were invalid, how long they took to become the tip.

Plain state machines over events; each keeps a bounded memory, because hashes come from strangers.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from chainwatch.families.bitcoin.log import events
from chainwatch.families.bitcoin.log.prefix import Line, parse_time
from chainwatch.families.bitcoin.log.reasons import BLOCK_CLASSES, OTHER, block_class

NETWORK, OPERATOR = "network", "operator"
REMEMBERED = 1024

# Calls by which an operator can make the node look at one block.
_RPC_ONE_BLOCK = frozenset({"submitblock", "submitheader", "generateblock"})
# Calls after which it looks at several again.
_RPC_BLOCKS = _RPC_ONE_BLOCK | {"reconsiderblock", "invalidateblock", "preciousblock"}
# A call explains what follows within this time of the log.
_RPC_SECONDS = 10.0
# The node gives up a block after ten minutes; what comes later is about another one.
_WAIT_SECONDS = 600.0
# Core's MAX_BLOCKS_IN_TRANSIT_PER_PEER.
_BLOCKS_IN_FLIGHT = 16
# Core considers itself to be in initial download while the tip is older than this (-maxtipage).
_FRESH_SECONDS = 86_400.0

ValueT = TypeVar("ValueT")


class Recent(Generic[ValueT]):
    """A dictionary that forgets the oldest entry when it is full."""

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit = limit
        self._items: OrderedDict[str, ValueT] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        return key in self._items

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: str) -> ValueT | None:
        """Return the value of a key, None when it is unknown."""
        return self._items.get(key)

    def pop(self, key: str) -> ValueT | None:
        """Remove a key and return its value, None when it is unknown."""
        return self._items.pop(key, None)

    def first(self, key: str, value: ValueT) -> bool:
        """Set a key unless it is known; return whether it was new."""
        if key in self._items:
            return False
        self._items[key] = value
        if len(self._items) > self._limit:
            self._items.popitem(last=False)
        return True


def on_rpc_thread(line: Line) -> bool:
    """Whether a line names a thread that serves RPC calls.

    These are `httpworker.N`, `http_pool_N` from 31, `workerN-N-HTTPServer` in Bitcoin SV.
    """
    thread = line.tags.thread or ""
    return thread.startswith(("httpworker", "http_pool")) or thread.endswith("-HTTPServer")


class InvalidBlocks:
    """Counts each invalid block once for each class, and says whether the network or the operator brought it.

    The origin follows, in this order, from the thread's name where the node writes it; from a line by which a peer
    sent or announced this very block; from an RPC call shortly before (categories rpc and net tell these). With none
    of them it is taken for the network's, since a false alarm is better than silence.

    invalidateblock prints InvalidChainFound and nothing else, so a lone pair is the operator's, of class other.
    """

    def __init__(self, count: Callable[[str, str], None]) -> None:
        self._count = count  # called with class and origin
        self._counted: dict[str, Recent[None]] = {name: Recent() for name in BLOCK_CLASSES}
        self._from_peers: Recent[None] = Recent()
        self._rpc: tuple[str, float | None] | None = None
        self._marked: tuple[str, Line] | None = None  # an InvalidChainFound that is not explained yet
        self._told = ""  # the state that AcceptFailed will repeat
        self._last_received: str | None = None
        self._mutated = False

    @property
    def unsettled(self) -> bool:
        """Whether a block is marked invalid and the reason, if any, is still to come."""
        return self._marked is not None

    def rpc(self, event: events.RpcCalled, line: Line) -> None:
        """Note a call that can bring or judge blocks."""
        if event.method in _RPC_BLOCKS:
            self._rpc = (event.method, line.timestamp())

    def header(self, event: events.HeaderSeen) -> None:
        """Note that a peer announced a block."""
        if event.from_peer:
            self._from_peers.first(event.hash, None)

    def received(self, event: events.BlockReceived) -> None:
        """Note that a peer sent a block."""
        self._from_peers.first(event.hash, None)
        self._last_received = event.hash

    def tip(self) -> None:
        """Note that the tip moved: what went before is complete, and a submitted block was good."""
        self.settle()
        self._rpc_done()

    def checked(self, event: events.BlockChecked, line: Line) -> None:
        """Take the verdict on a block."""
        if self._marked is not None and self._marked[0] != event.hash:
            self.settle()
        if event.state != "Valid":
            self._fail(event.hash, event.state, line)

    def connect_failed(self, event: events.ConnectFailed, line: Line) -> None:
        """Take the reason why a block did not connect; it was stored before, so no AcceptFailed follows."""
        self._fail(event.hash, event.state, line)
        self._told = ""

    def header_refused(self, event: events.HeaderRefused, line: Line) -> None:
        """Take the reason why a header was refused."""
        self._fail(event.hash, event.state, line)

    def accept_failed(self, event: events.AcceptFailed, line: Line) -> None:
        """Take the reason why a block was refused, unless a line before told it together with the hash."""
        if self._marked is not None:
            self._fail(self._marked[0], event.state, line)
        elif event.state not in ("", self._told):
            self._fail(None, event.state, line)
        self._told = ""

    def mutated(self, event: events.BlockMutated, line: Line) -> None:
        """Count a mutated copy, which only peers send; two lines may report it, and the block is named before."""
        second, self._mutated = self._mutated and not event.state, bool(event.state)
        if not second:
            self._fail(self._last_received, "bad-txnmrklroot", line, NETWORK)
            self._told = ""

    def chain_found(self, event: events.InvalidChainFound, line: Line) -> None:
        """Note a block marked invalid, to be explained by what follows."""
        if any(event.hash in counted for counted in self._counted.values()):
            return
        if self._marked is not None and self._marked[0] != event.hash:
            self.settle()
        self._marked = self._marked or (event.hash, line)

    def settle(self) -> None:
        """Give up waiting for the reason of a marked block: there is none, an operator marked it."""
        if self._marked is None:
            return
        (block, line), self._marked = self._marked, None
        operator = line.tags.thread is None or on_rpc_thread(line)
        if self._counted[OTHER].first(block, None):
            self._count(OTHER, OPERATOR if operator else NETWORK)

    def _fail(self, block: str | None, state: str, line: Line, origin: str | None = None) -> None:
        self._told = state
        if self._marked is not None and self._marked[0] == block:
            self._marked = None
        name = block_class(state)
        if block is not None:
            repeated = state.startswith("duplicate-invalid") and any(block in seen for seen in self._counted.values())
            if repeated or not self._counted[name].first(block, None):
                return
        self._count(name, origin or self._origin(block, line))

    def _origin(self, block: str | None, line: Line) -> str:
        if line.tags.thread is not None:
            return OPERATOR if on_rpc_thread(line) else NETWORK
        if block is not None and block in self._from_peers:
            return NETWORK
        if self._rpc is None:
            return NETWORK
        called, now = self._rpc[1], line.timestamp()
        if called is not None and now is not None and not 0 <= now - called <= _RPC_SECONDS:
            return NETWORK
        self._rpc_done()
        return OPERATOR

    def _rpc_done(self) -> None:
        """Forget a call that brings one block, now that this block has been judged."""
        if self._rpc is not None and self._rpc[0] in _RPC_ONE_BLOCK:
            self._rpc = None


class _Compact(NamedTuple):
    arrived: float
    thread: str | None
    peer: str


class TipClock:
    """Times the way of each block from its header to the tip, by the log's own times.

    It starts at the first line that names the block on its way from a peer: `Saw new header` from 25 on; before,
    with category net, the compact block or the request for the block. It ends at the first UpdateTip of that hash
    that is not the way down of a reorganisation. Blocks over a day old are not timed: that is initial download.
    """

    def __init__(self, observe: Callable[[float], None]) -> None:
        self._observe = observe
        self._seen: Recent[float] = Recent()
        self._reached: Recent[None] = Recent()
        self._message: _Compact | None = None  # the compact block being handled
        self._waiting: Recent[deque[float]] = Recent()  # arrivals of those waiting for transactions, by peer
        self._height: int | None = None
        self._disconnecting = False

    def message(self, event: events.MessageReceived, line: Line) -> None:
        """Note the message that the next lines are about."""
        last, self._message = self._message, None
        if event.type == "cmpctblock":
            now = line.timestamp()
            if now is not None:
                self._message = _Compact(now, line.tags.thread, event.peer)
        elif event.type == "blocktxn":
            if last is not None and last.peer == event.peer:
                self._message = last  # nothing was missing, and the node answers itself
                return
            queue = self._waiting.get(event.peer)
            if queue:
                self._message = _Compact(queue.popleft(), line.tags.thread, event.peer)

    def transactions_requested(self, event: events.TransactionsRequested) -> None:
        """Note that the compact block being handled waits for transactions, which come in the order of requests."""
        last, self._message = self._message, None
        if last is not None and last.peer == event.peer:
            self._waiting.first(event.peer, deque(maxlen=_BLOCKS_IN_FLIGHT))
            queue = self._waiting.get(event.peer)
            if queue is not None:
                queue.append(last.arrived)

    def header(self, block: str, line: Line) -> None:
        """Note that a block is known by its header, unless it was submitted here."""
        if block in self._seen or block in self._reached or on_rpc_thread(line):
            return
        now = line.timestamp()
        if now is not None:
            self._seen.first(block, now)

    def work_valid(self, event: events.BlockWorkValid, line: Line) -> None:
        """Note which block a compact block was."""
        message, self._message = self._message, None
        now = line.timestamp()
        if message is None or now is None or message.thread != line.tags.thread:
            return
        if event.hash not in self._reached and 0 <= now - message.arrived <= _WAIT_SECONDS:
            self._seen.first(event.hash, message.arrived)

    def disconnecting(self) -> None:
        """Note that the next tip is the parent of the present one."""
        self._disconnecting = True

    def tip(self, event: events.TipUpdated, line: Line) -> None:
        """Take a new tip."""
        # Without category bench only the height tells the way: it moves by one at each UpdateTip.
        down = self._disconnecting or (self._height is not None and event.height <= self._height)
        self._disconnecting = False
        self._height = event.height
        if down or not self._reached.first(event.hash, None):
            return
        start, now = self._seen.pop(event.hash), line.timestamp()
        made = parse_time(event.block_time)
        if start is None or now is None or made is None or now < start or now - made > _FRESH_SECONDS:
            return
        self._observe(now - start)


class ConnectPhases:
    """Puts the bench lines of one block together; those of a template or of a failed block are left out.

    Every block begins with `Load block from disk` and ends with `Connect block`, and the lines of two blocks can
    only mix where threads do.
    """

    def __init__(self, observe: Callable[[str, float], None]) -> None:
        self._observe = observe
        self._open: dict[str | None, dict[str, float]] = {}

    def phase(self, event: events.ConnectPhase, thread: str | None) -> None:
        """Take one part; the last part reports them all."""
        if event.phase == events.LOAD:
            if len(self._open) >= REMEMBERED:
                self._open.clear()
            self._open[thread] = {}
        parts = self._open.get(thread)
        if parts is None:
            return
        parts[event.phase] = event.seconds
        if event.phase == events.TOTAL:
            del self._open[thread]
            for phase, seconds in parts.items():
                self._observe(phase, seconds)
