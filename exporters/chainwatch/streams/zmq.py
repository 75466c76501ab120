"""A subscription to ZMQ publishers that number their messages: topic, body, little-endian counter.

What is lost is noticed: a counter that jumps, a connection that breaks. What is silent is told by whoever knows that
there was something to say, and `renew` then subscribes afresh. Nothing here blocks the event loop; memory is bounded
by the queue's length times the largest message.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping

import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from chainwatch.streams.health import StreamHealth

log = logging.getLogger(__name__)

# Publishers queue 1000 messages by default; ours need not be the shorter one.
QUEUE_MESSAGES = 2_000
# What chainwatch reads has 32 to 41 bytes; libzmq cuts the connection of a publisher that sends more than this.
MAX_MESSAGE_BYTES = 64 << 10
# The loop belongs to others as well, however fast messages come.
MESSAGES_PER_TURN = 100
RETRY_SECONDS = 5.0
_COUNTER_BYTES = 4
_HALF = 1 << 31
_WATCHED = zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.DISCONNECTED


class MessageCounters:
    """The last counter of each topic; the first number seen is the baseline."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def missed(self, topic: str, number: int) -> int:
        """Note a message's number and return how many before it did not arrive.

        A number that goes back is a publisher that started anew: a new baseline.
        """
        last = self._last.get(topic)
        self._last[topic] = number
        if last is None:
            return 0
        ahead = (number - last - 1) % (2 * _HALF)
        return ahead if ahead < _HALF else 0

    def clear(self) -> None:
        """Take the next number of each topic as its baseline."""
        self._last.clear()


class Subscription:
    """Topics at their publishers' addresses, followed until cancelled.

    `on_message` gets topic and body; `on_lost` is called when messages may have been lost, after a gap or whenever a
    connection came about: the listener then asks the node itself. `health` is kept up to date.
    """

    def __init__(
        self,
        addresses: Mapping[str, str],
        *,
        on_message: Callable[[str, bytes], None],
        on_lost: Callable[[], None],
        health: StreamHealth,
    ) -> None:
        self.addresses = dict(addresses)
        self._on_message = on_message
        self._on_lost = on_lost
        self._health = health
        self._counters = MessageCounters()
        self._open: set[str] = set()
        self._renew = asyncio.Event()
        self._complained: set[str] = set()

    def renew(self) -> None:
        """Subscribe afresh: the stream is silent although its publisher has something to say.

        It counts as connected again when a message arrives: that a connection comes about proves nothing.
        """
        self._health.silent()
        self._health.down()
        self._renew.set()

    async def run(self) -> None:
        """Follow until cancelled, through every loss of connection."""
        try:
            while True:
                await self._session()
        finally:
            self._health.down()

    async def _session(self) -> None:
        """Follow with one socket until it has to be renewed."""
        self._renew.clear()
        self._open.clear()
        self._counters.clear()
        with contextlib.ExitStack() as stack:
            # One context each, so that closing it ends its threads whatever state the socket is in.
            context = zmq.asyncio.Context()
            stack.callback(context.destroy, linger=0)
            socket = context.socket(zmq.SUB)
            monitor = socket.get_monitor_socket(_WATCHED)
            stack.callback(socket.disable_monitor)
            try:
                self._connect(socket)
            except zmq.ZMQError as error:
                self._complain(f"cannot subscribe to {', '.join(sorted(set(self.addresses.values())))}: {error}")
                await asyncio.sleep(RETRY_SECONDS)
                return
            await self._follow(socket, monitor)

    def _connect(self, socket: zmq.asyncio.Socket) -> None:
        for option, value in (
            (zmq.RCVHWM, QUEUE_MESSAGES),
            (zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES),
            (zmq.LINGER, 0),
            (zmq.IPV6, 1),
            (zmq.RECONNECT_IVL, 100),
            (zmq.RECONNECT_IVL_MAX, 5_000),
            # A publisher whose machine vanished sends no goodbye.
            (zmq.TCP_KEEPALIVE, 1),
            (zmq.TCP_KEEPALIVE_IDLE, 30),
            (zmq.TCP_KEEPALIVE_INTVL, 10),
            (zmq.TCP_KEEPALIVE_CNT, 3),
        ):
            socket.setsockopt(option, value)
        for topic in self.addresses:
            socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
        for address in sorted(set(self.addresses.values())):
            socket.connect(address)

    async def _follow(self, socket: zmq.asyncio.Socket, monitor: zmq.asyncio.Socket) -> None:
        tasks = [
            asyncio.create_task(self._read(socket)),
            asyncio.create_task(self._watch(monitor)),
            asyncio.create_task(self._renew.wait()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, socket: zmq.asyncio.Socket) -> None:
        while True:
            for _ in range(MESSAGES_PER_TURN):
                self._take(await socket.recv_multipart())
            await asyncio.sleep(0)

    async def _watch(self, monitor: zmq.asyncio.Socket) -> None:
        """Follow the connections: the stream is connected while all of its addresses are.

        Returns when it has not been for a while: after a breach of protocol, such as a message too large or another
        kind of server, libzmq does not connect again by itself.
        """
        addresses = set(self.addresses.values())
        while True:
            patience = None if len(self._open) == len(addresses) else RETRY_SECONDS
            try:
                async with asyncio.timeout(patience):  # wait_for may lose a cancellation in Python 3.11
                    message = await recv_monitor_message(monitor)
            except TimeoutError:
                return
            address = message["endpoint"].decode(errors="replace")
            if message["event"] == zmq.Event.HANDSHAKE_SUCCEEDED:
                self._open.add(address)
                self._counters.clear()
            else:
                self._open.discard(address)
            # Whatever was published while there was no connection is not known.
            self._on_lost()
            if len(self._open) == len(addresses):
                self._health.up()
            else:
                self._health.down()

    def _take(self, frames: list[bytes]) -> None:
        topic = frames[0].decode(errors="replace") if frames else ""
        if topic not in self.addresses:
            return  # subscriptions match prefixes: hashblock brings hashblock2 as well
        if len(frames) != 3 or len(frames[2]) != _COUNTER_BYTES:
            self._complain(f"a message of topic {topic} does not have the three frames of a Bitcoin node; ignored")
            return
        self._health.event()
        missed = self._counters.missed(topic, int.from_bytes(frames[2], "little"))
        if missed:
            self._health.gap()
            log.warning("ZMQ topic %s: %d messages were lost; asking the node instead", topic, missed)
            self._on_lost()
        self._on_message(topic, frames[1])

    def _complain(self, problem: str) -> None:
        """Log each problem once: a publisher may repeat it thousands of times a second."""
        if problem not in self._complained:
            self._complained.add(problem)
            log.warning("ZMQ: %s", problem)
