"""What a Bitcoin-family node publishes by ZMQ, and where: found, subscribed to, decoded.

`sequence` (Core 0.21 and later) tells every block that is connected or disconnected and every transaction that enters
or leaves the mempool. Older nodes and Bitcoin SV have `hashblock`, which tells new tips only: a wake-up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from msgspec import Struct
from yarl import URL

from chainwatch.errors import Forbidden, MethodNotFound, NodeError
from chainwatch.families.bitcoin.client import BitcoinRpc
from chainwatch.families.bitcoin.settings import BitcoinSettings
from chainwatch.families.bitcoin.tracker.mempool_stream import MempoolStream
from chainwatch.streams.health import StreamHealth
from chainwatch.streams.zmq import Subscription

log = logging.getLogger(__name__)

BLOCKS = ("sequence", "hashblock")
WANTED = (*BLOCKS, "discardedfrommempool")
# More events than this between two looks are a node that catches up: asking it once is cheaper than following.
MAX_EVENTS = 100
# A node restarted with other settings is noticed by its restart; this is for what escapes that.
DISCOVERY_SECONDS = 60.0
_ANY_HOST = ("0.0.0.0", "::", "*", "")  # noqa: S104 - recognised, not bound


def reachable(address: str, settings: BitcoinSettings) -> str:
    """The address of a publisher as seen from here: a node that listens everywhere names no host."""
    if settings.zmq.url:
        return settings.zmq.url
    if not address.startswith("tcp://"):
        return address
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    if host.strip("[]") not in _ANY_HOST:
        return address
    node = URL(settings.rpc.url).host or "127.0.0.1"
    return f"tcp://{f'[{node}]' if ':' in node else node}:{port}"


class Publisher(Struct):
    """One entry of getzmqnotifications (`type`) or of Bitcoin SV's activezmqnotifications (`notification`)."""

    address: str
    type: str = ""
    notification: str = ""

    @property
    def topic(self) -> str:
        """The topic as messages carry it: pubhashblock publishes hashblock."""
        return (self.type or self.notification).removeprefix("pub")


@dataclass(frozen=True, slots=True)
class BlockEvent:
    """A block was connected to (C) or disconnected from (D) the active chain."""

    label: Literal["C", "D"]
    hash: str


@dataclass(frozen=True, slots=True)
class MempoolEvent:
    """A transaction entered (A) or left (R) the mempool; `number` is the mempool's own sequence."""

    label: Literal["A", "R"]
    number: int


def decode_sequence(body: bytes) -> BlockEvent | MempoolEvent | None:
    """Read the body of a `sequence` message: hash in display order, label, for A and R a little-endian number."""
    match len(body), body[32:33]:
        case 33, b"C":
            return BlockEvent("C", body[:32].hex())
        case 33, b"D":
            return BlockEvent("D", body[:32].hex())
        case 41, b"A":
            return MempoolEvent("A", int.from_bytes(body[33:], "little"))
        case 41, b"R":
            return MempoolEvent("R", int.from_bytes(body[33:], "little"))
    return None


class ZmqFeed:
    """The node's ZMQ messages, for the tracker.

    `wake` is called when there may be something new about the chain. `health` is None where the node has no ZMQ.
    """

    def __init__(self, rpc: BitcoinRpc, settings: BitcoinSettings, wake: Callable[[], None]) -> None:
        self._rpc = rpc
        self._settings = settings
        self._wake = wake
        self._events: deque[BlockEvent] = deque(maxlen=MAX_EVENTS + 1)
        self._announced = False
        self._subscription: Subscription | None = None
        self._following: asyncio.Task[None] | None = None
        self._discover_now = asyncio.Event()
        self._said = ""
        self.health: StreamHealth | None = None
        self.mempool = MempoolStream()

    async def run(self) -> None:
        """Find the publishers and follow them, until cancelled; look again when the node returns."""
        try:
            while True:
                self._discover_now.clear()
                addresses = await self._discover() if self._settings.zmq.enabled else {}
                if self._discover_now.is_set():
                    continue  # what was asked, or whom, is out of date
                if addresses is not None and (self._following is None or addresses != self._addresses):
                    await _end(self._following)
                    self._following = self._follow(addresses)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(DISCOVERY_SECONDS):
                        await self._discover_now.wait()
        finally:
            await _end(self._following)
            self._subscription = self._following = None

    @property
    def _addresses(self) -> Mapping[str, str]:
        return self._subscription.addresses if self._subscription else {}

    @property
    def connected(self) -> bool:
        """Block events arrive by ZMQ, as far as is known."""
        return self.health is not None and self.health.connected and any(topic in self._addresses for topic in BLOCKS)

    def configure(self, settings: BitcoinSettings) -> None:
        """Take over new settings."""
        self._settings = settings
        self._discover_now.set()

    def node_returned(self) -> None:
        """The node answers again after it did not: it may publish elsewhere now."""
        self._discover_now.set()

    def other_node(self) -> None:
        """From now on it is another node: what the one before published, and may still publish, is not its news."""
        if self._following is not None:
            self._following.cancel()
        self._subscription = self._following = None
        self._lost()
        self._discover_now.set()

    def silent(self) -> None:
        """The chain moved and nobody said so."""
        if self._subscription is not None and self.connected:
            log.warning("ZMQ is silent although the node has new blocks; subscribing afresh")
            self._subscription.renew()

    def take(self) -> tuple[list[BlockEvent], bool]:
        """Return the block events since the last call, in order, and whether the node itself must be asked now.

        It must where a new tip was announced without its blocks, or where events were lost or are too many.
        """
        events, announced = list(self._events), self._announced
        self._events.clear()
        self._announced = False
        return ([], True) if len(events) > MAX_EVENTS else (events, announced)

    async def _discover(self) -> dict[str, str] | None:
        """Ask which topics are published where; None while the node does not answer."""
        for method in ("getzmqnotifications", "activezmqnotifications"):
            try:
                published = await self._rpc.call(method, into=list[Publisher])
            except (MethodNotFound, Forbidden):
                continue
            except NodeError as error:
                log.debug("ZMQ: %s", error)
                return None
            return self._choose({entry.topic: entry.address for entry in reversed(published)})
        # The node does not tell: believe the settings.
        url = self._settings.zmq.url
        return self._choose(dict.fromkeys(WANTED, url)) if url else {}

    def _choose(self, published: Mapping[str, str]) -> dict[str, str]:
        """Which topics to take: `sequence` says all that `hashblock` does."""
        wanted = {topic: reachable(published[topic], self._settings) for topic in WANTED if topic in published}
        wanted = {topic: address for topic, address in wanted.items() if address.startswith(("tcp://", "ipc://"))}
        if "sequence" in wanted and not self._settings.zmq.url:
            wanted.pop("hashblock", None)
        return wanted

    def _follow(self, addresses: dict[str, str]) -> asyncio.Task[None] | None:
        if not addresses:
            self._subscription = self.health = None
            self._say("nothing to read there; the tip is followed by polling")
            return None
        self.health = self.health or StreamHealth("zmq")
        self.mempool.publishes(addresses)
        self._subscription = Subscription(
            addresses, on_message=self._take_message, on_lost=self._lost, health=self.health
        )
        self._say(", ".join(f"{topic} at {address}" for topic, address in addresses.items()))
        return asyncio.create_task(self._subscription.run())

    def _say(self, what: str) -> None:
        if what != self._said:
            self._said = what
            log.info("ZMQ: %s", what)

    def _take_message(self, topic: str, body: bytes) -> None:
        if topic == "hashblock":
            self._announced = True
            self._wake()
        elif topic == "discardedfrommempool":
            self.mempool.discarded()
        else:
            self._take_sequence(decode_sequence(body))

    def _take_sequence(self, event: BlockEvent | MempoolEvent | None) -> None:
        match event:
            case BlockEvent():
                self.mempool.interrupted()
                self._events.append(event)
                self._wake()
            case MempoolEvent("A", number):
                self.mempool.added(number)
            case MempoolEvent("R", number):
                self.mempool.removed(number)

    def _lost(self) -> None:
        self.mempool.interrupted()
        self._events.clear()
        self._announced = True
        self._wake()


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
