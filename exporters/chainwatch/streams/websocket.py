"""A websocket to a node, read for as long as `run` runs: what every family that speaks JSON-RPC this way needs.

A node drops a slow reader, often without a word, so that reading waits for nobody: one task reads, notes the time and
queues; another works through the queue in slices, so that the event loop stays free for scrapes. Memory is bounded by
the queue's length and bytes and the largest frame, whatever the peer sends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import Event
from yarl import URL

from chainwatch.errors import NodeError

# A new block comes in one frame: 21 MB by default, half as much again in base64, and JSON around it.
MAX_FRAME_BYTES = 64 << 20
# What may wait besides the limit of frames; one frame of any size always may.
MAX_QUEUE_BYTES = 64 << 20
# Answers to pings of a peer that does not read them wait up to this, then the connection is cut.
MAX_UNSENT_BYTES = 1 << 20
# So long the queue is worked on before others may have the event loop.
SLICE_SECONDS = 0.002
# So many frames are read at a time before others may have the event loop.
FRAMES_PER_TURN = 100
# How often the listener may look at its deadlines.
TICK_SECONDS = 0.25
# A peer that does not answer a ping within so long is gone, though the socket is open.
PING_SECONDS = 10.0
CLOSE_SECONDS = 1.0
RETRY_SECONDS = 0.2
RETRY_LIMIT_SECONDS = 30.0
# A connection that ends sooner than this does not count as a success, whatever it brought.
STEADY_SECONDS = 1.0

# The package's own log shows the login among the headers (debug), and stack traces of every lost connection.
_silent = logging.getLogger(f"{__name__}.package")
_silent.setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect, and how."""

    url: str  # ws:// or wss://, without a login; its path and query may hold a key
    headers: Callable[[], Mapping[str, str]] = dict  # asked before each attempt; may raise `NodeError`
    tls: ssl.SSLContext | None = None  # of a wss address
    timeout: float = 10.0  # seconds until the connection is open, and for each frame sent
    queue: int = 20_000  # frames that may wait

    @property
    def place(self) -> str:
        """Host and port, for the log."""
        url = URL(self.url)
        return f"{url.host}:{url.port}"


class Listener(Protocol):
    """Who works on the frames. All calls come from one task, in order; they must not block and should not raise."""

    def opened(self) -> None:
        """A connection is open: time to ask for what is wanted, by `Websocket.send`."""

    def frame(self, data: bytes, seen: float) -> None:
        """A frame was read at Unix time `seen`; text or binary, and from whoever answers at that address."""

    def dropped(self, frames: int) -> None:
        """So many frames came faster than they were worked on and were lost, between the last one and the next."""

    def tick(self) -> None:
        """Some time has passed; called about four times a second while the connection is open."""

    def closed(self, why: str) -> None:
        """The connection has ended, after the last frame; `why` is a sentence for the log without its end."""

    def failed(self, why: str) -> None:
        """No connection came about."""


def websocket_url(url: str, path: str = "/websocket") -> str:
    """Return the websocket's address for an RPC address: with a proxy's path prefix and query, without a login.

    Either may hold a provider's key: the address is for no log.
    """
    rpc = URL(url)
    scheme = {"http": "ws", "https": "wss"}.get(rpc.scheme, rpc.scheme)
    bare = rpc.with_user(None).with_scheme(scheme)
    return str(bare.with_path(rpc.raw_path.rstrip("/") + path, encoded=True).with_query(rpc.query or None))


class Websocket:
    """One connection at a time to one address, made again whenever it ends, sooner or later as it has deserved."""

    def __init__(self, target: Target, listener: Listener) -> None:
        self.target = target
        self._listener = listener
        self._retries = 0
        self._opened = 0.0
        self._outgoing: deque[str] = deque()
        self._again: str | None = None
        self._wake = asyncio.Event()
        self._queue = FrameQueue(target.queue, self._wake)

    @property
    def waiting(self) -> int:
        """Frames that were read and not worked on yet."""
        return len(self._queue)

    def send(self, text: str) -> None:
        """Send a text frame soon; dropped when the connection ends before."""
        self._outgoing.append(text)
        self._wake.set()

    def reconnect(self, why: str) -> None:
        """End this connection and make another; without one, try at once. Frames that wait are still delivered."""
        self._again = why
        self._wake.set()

    def useful(self) -> None:
        """Note that the peer told something worth having: the next reconnection comes quickly."""
        if self._retries and time.monotonic() - self._opened >= STEADY_SECONDS:
            self._retries = 0

    async def run(self) -> None:
        """Stay connected until cancelled, and then say goodbye."""
        while True:
            await self._session()
            await self._pause(self._delay())

    def _delay(self) -> float:
        """Seconds until the next attempt: twice as long each time, and not the same for everybody."""
        delay = min(RETRY_SECONDS * 2.0 ** min(self._retries, 20), RETRY_LIMIT_SECONDS)
        self._retries += 1
        return delay * random.uniform(0.75, 1.25)  # noqa: S311 - nothing secret

    async def _pause(self, seconds: float) -> None:
        self._again = None
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._again is None:
                    await self._wake.wait()
                    self._wake.clear()

    async def _session(self) -> None:
        """One connection, from the first attempt to its end."""
        target = self.target
        self._again = None
        try:
            connection = await _open(target)
        except (OSError, WebSocketException, EOFError, UnicodeError, NodeError) as error:
            self._listener.failed(_why_not_open(error, target))
            return
        self._opened = time.monotonic()
        self._outgoing.clear()
        self._queue = queue = FrameQueue(target.queue, self._wake)
        reader = asyncio.create_task(_read(connection, queue))
        reader.add_done_callback(lambda _: self._wake.set())
        try:
            self._listener.opened()
            why = await self._work(connection, queue, reader)
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            try:
                with contextlib.suppress(TimeoutError):  # it waits for a peer that takes nothing
                    async with asyncio.timeout(CLOSE_SECONDS):
                        await connection.close()  # code 1000: anything else is an error in the node's log
            finally:
                connection.transport.abort()
        self._listener.closed(why)

    async def _work(self, connection: ClientConnection, queue: FrameQueue, reader: asyncio.Task[str]) -> str:
        """Hand on what the reader queued; returns why the connection is to end or has ended."""
        next_tick = time.monotonic() + TICK_SECONDS
        while True:
            self._wake.clear()
            ended = reader.done()  # before the queue is emptied: what it read last is handed on too
            self._hand_on(queue)
            if (now := time.monotonic()) >= next_tick:
                next_tick = now + TICK_SECONDS
                self._listener.tick()
            if self._outgoing and not ended and not await self._flush(connection):
                return f"it took nothing from us for {self.target.timeout:g} s"
            if self._again is not None:
                reader.cancel()  # else a peer that never pauses would keep us
            if queue:
                await asyncio.sleep(0)
            elif self._again is not None:
                return self._again
            elif ended:
                return reader.result()
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(next_tick - now):
                        await self._wake.wait()

    def _hand_on(self, queue: FrameQueue) -> None:
        """Let the listener work for one slice of time."""
        end = time.monotonic() + SLICE_SECONDS
        while queue:
            missed, seen, data = queue.take()
            if missed:
                self._listener.dropped(missed)
            self._listener.frame(data, seen)
            if time.monotonic() >= end:
                return
        if missed := queue.missed():
            self._listener.dropped(missed)

    async def _flush(self, connection: ClientConnection) -> bool:
        """Send what is to be sent; false where the peer does not take it."""
        try:
            async with asyncio.timeout(self.target.timeout):
                while self._outgoing:
                    await connection.send(self._outgoing.popleft())
        except TimeoutError:
            return False
        except ConnectionClosed:
            self._outgoing.clear()  # the reader says why
        return True


class FrameQueue:
    """Frames in the order in which they came, bounded by number and bytes; what does not fit is counted there."""

    def __init__(self, frames: int, filled: asyncio.Event) -> None:
        self._frames: deque[tuple[int, float, bytes]] = deque()
        self._limit = frames
        self._filled = filled
        self._bytes = 0
        self._missed = 0

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, seen: float, data: bytes) -> None:
        """Queue a frame, or count it as missed."""
        if len(self._frames) >= self._limit or (self._frames and self._bytes + len(data) > MAX_QUEUE_BYTES):
            self._missed += 1
            return
        self._frames.append((self.missed(), seen, data))
        self._bytes += len(data)
        self._filled.set()

    def take(self) -> tuple[int, float, bytes]:
        """Return the oldest frame: how many were missed before it, when it was read, and what it holds."""
        frame = self._frames.popleft()
        self._bytes -= len(frame[2])
        return frame

    def missed(self) -> int:
        """Return how many were missed after the newest frame, and begin to count anew."""
        missed, self._missed = self._missed, 0
        return missed


class _Connection(ClientConnection):
    """Cuts off a peer that lets answers to its pings pile up."""

    def process_event(self, event: Event) -> None:
        """Look at pings before they pile up; called by the package for each frame."""
        if (
            isinstance(event, Frame)
            and event.opcode is Opcode.PING
            and self.transport.get_write_buffer_size() > MAX_UNSENT_BYTES
        ):
            self.transport.abort()
        super().process_event(event)


class _Connect(connect):
    """Follows no redirection: the login is for one address."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def _open(target: Target) -> ClientConnection:
    """Connect, without any proxy that the environment names, and without compression, which nodes do not offer."""
    tls: dict[str, Any] = {"ssl": target.tls} if target.tls else {}
    return await _Connect(
        target.url,
        additional_headers=target.headers(),
        user_agent_header="chainwatch",
        compression=None,
        proxy=None,
        open_timeout=target.timeout,
        ping_interval=PING_SECONDS,
        ping_timeout=PING_SECONDS,
        close_timeout=CLOSE_SECONDS,
        max_size=MAX_FRAME_BYTES,
        logger=_silent,
        create_connection=_Connection,
        **tls,
    )


async def _read(connection: ClientConnection, queue: FrameQueue) -> str:
    """Read until the connection ends; returns why it did."""
    try:
        while True:
            for _ in range(FRAMES_PER_TURN):
                data = await connection.recv(decode=False)
                queue.put(time.time(), data)
            await asyncio.sleep(0)
    except ConnectionClosed as error:
        return _why_closed(error)
    except WebSocketException as error:
        return f"what came is against the websocket protocol ({error.__class__.__name__})"


def _why_not_open(error: Exception, target: Target) -> str:
    """Half a sentence for the log. What the peer wrote is not quoted."""
    if isinstance(error, InvalidStatus):
        return _why_refused(error.response.status_code)
    if isinstance(error, NodeError):
        return str(error)
    if isinstance(error, ssl.SSLError):
        return "the TLS certificate is not accepted, or no TLS is spoken there; see rpc.ca_file and the address"
    if isinstance(error, TimeoutError) and error.errno is None:
        return f"no answer within {target.timeout:g} s; the node hangs, or a firewall is in between"
    if isinstance(error, OSError):
        cause = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
        return f"{cause}; is the node running, and is this its RPC port?"
    return f"what answers speaks no websocket ({error.__class__.__name__}); is this the node's RPC port?"


def _why_refused(status: int) -> str:
    advice = {
        401: "the login is refused; see rpc.user and rpc.password_file",
        403: "this address or user may not come in; see the proxy in front of the node",
        404: "there is no websocket at this path; see the address, and what the proxy in front of the node passes on",
    }.get(status, "does the proxy in front of the node pass websockets on?")
    return f"HTTP {status}: {advice}"


def _why_closed(error: ConnectionClosed) -> str:
    """Half a sentence for the log; a reason that the peer gave is cut and escaped."""
    sent, received = error.sent, error.rcvd
    if received is not None and (sent is None or error.rcvd_then_sent):
        reason = received.reason[:100].encode("unicode_escape").decode()
        return f"it was closed with code {received.code}" + (f" ({reason})" if reason else "")
    if sent is None:
        return "it broke without a goodbye; did the node stop?"
    if sent.code == CloseCode.MESSAGE_TOO_BIG:
        return f"a frame larger than {MAX_FRAME_BYTES} bytes came; is this the node's RPC port?"
    if sent.code == CloseCode.INTERNAL_ERROR:
        return f"no answer to a ping within {PING_SECONDS:g} s; the node hangs, or the network is cut"
    return f"what came is against the websocket protocol (code {sent.code})"
