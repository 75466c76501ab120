"""Consensus events of one node, by its websocket: subscribed, read, and subscribed again after every kind of loss.

A node may refuse a subscription, cancel it with an error frame, or drop it without a word on an open connection.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Protocol

import msgspec
from msgspec.structs import replace
from prometheus_client import Metric

from chainwatch.exposition.metrics import counter
from chainwatch.families.cometbft.consensus.events import Event, decode
from chainwatch.families.cometbft.consensus.model import OWN_NODE
from chainwatch.families.cometbft.frames import NOT_DECODED, FrameError, Result, decode_frame
from chainwatch.families.cometbft.settings import CometbftSettings, endpoints
from chainwatch.families.cometbft.subscriptions import (
    ALL_CONSENSUS,
    CANCELLED,
    EVIDENCE,
    INSTEAD,
    REFUSED,
    Cancellation,
    Refusal,
    Subscription,
    Subscriptions,
    cancellation,
    height_of,
    refusal,
)
from chainwatch.rpc import login, tls
from chainwatch.rpc.sentences import printable
from chainwatch.streams.health import StreamHealth
from chainwatch.streams.websocket import Target, Websocket, websocket_url

log = logging.getLogger(__name__)

# A subscription that is cancelled again so soon is given a new connection.
AGAIN_SECONDS = 10.0
# A node that said that it exits closes the connection in a moment.
EXIT_SECONDS = 3.0

# What may happen thousands of times a second is told this often.
REPEAT_SECONDS = 60.0

FRAMES = counter("cometbft_stream_frames_total", "Frames that were read from a node's websocket.", labels=("stream",))
DROPPED = counter(
    "cometbft_stream_dropped_frames_total",
    "Frames that came faster than this exporter worked on them; the heights concerned are read afterwards.",
    labels=("stream",),
)
UNREADABLE = counter(
    "cometbft_stream_unreadable_frames_total", "Frames that are no documented answer or event.", labels=("stream",)
)
CANCELLATIONS = counter(
    "cometbft_stream_cancellations_total",
    "Subscriptions that the node ended or refused, by the reason it gave; silence is none given.",
    labels=("stream", "reason"),
)


class Handler(Protocol):
    """Who is told what a stream brings."""

    def event(self, event: Event, seen: float, vantage: int) -> None:
        """An event in the node's own order, read at Unix time `seen`. Must not raise."""

    def interrupted(self, vantage: int) -> None:
        """Events of this vantage point were or may be lost, between the events before and after this call."""


class ConsensusStream:
    """One vantage point: the watched node (0), or one of `vantage.urls` (1, 2, ... in their order).

    `health` is of the stream "consensus" for the watched node, "vantage1", ... for the others. A loss, however it comes
    about, is told to the handler at once, and once more when events can be had again; the first opening is told too.
    """

    def __init__(self, url: str, settings: CometbftSettings, vantage: int, handler: Handler) -> None:
        self.vantage = vantage
        self._name = "consensus" if vantage == OWN_NODE else f"vantage{vantage}"
        self.health = StreamHealth(self._name)
        self._handler = handler
        self._frames = self._dropped = self._unreadable = 0
        self._cancellations = dict.fromkeys(Cancellation, 0)
        self._subscriptions = Subscriptions()
        self._heard = time.monotonic()  # when the last event or agreement came
        self._exiting: float | None = None
        self._leaving = False
        self._complained = -REPEAT_SECONDS
        self._interrupted = False  # a loss was told, and nothing has come since
        self._was_open = False
        self._said = ""
        self._told: set[str] = set()
        self._given = (url, settings)
        self._websocket = Websocket(self._target(url, settings), self)

    def configure(self, url: str, settings: CometbftSettings) -> None:
        """Take over new settings; the connection is made anew where they concern it. Raises `ConfigError`."""
        (old_url, old), self._given = self._given, (url, settings)
        if (old_url, endpoints(old)[self.vantage :][:1]) != (url, endpoints(settings)[self.vantage :][:1]):
            self._websocket.target = self._target(url, settings)
            self._websocket.reconnect("the settings have changed")

    async def run(self) -> None:
        """Connect, subscribe, read, connect again; until cancelled."""
        try:
            await self._websocket.run()
        finally:
            self.health.down()

    def expect_news(self) -> None:
        """Say that the node moved on: a stream that said nothing for `stream.silence` seconds is subscribed afresh.

        Cheap and harmless to call at every look at the node.
        """
        silence = self._given[1].stream.silence
        if not self.health.is_open or self._leaving or self._websocket.waiting:
            return
        if time.monotonic() - self._heard >= silence:
            self._fell_silent(f"nothing came for {silence:g} s although the node moved on")

    def collect(self) -> Iterable[Metric]:
        """The counters cometbft_stream_*{stream} (chainwatch_stream_* come from `health`)."""
        yield from FRAMES.samples({(self._name,): self._frames})
        yield from DROPPED.samples({(self._name,): self._dropped})
        yield from UNREADABLE.samples({(self._name,): self._unreadable})
        yield from CANCELLATIONS.samples(
            {(self._name, reason.value): number for reason, number in self._cancellations.items()}
        )

    # What the websocket calls.

    def opened(self) -> None:
        """Ask for everything."""
        self._subscriptions = Subscriptions()
        self._exiting, self._leaving = None, False
        for query in (ALL_CONSENSUS, EVIDENCE):
            self._ask(self._subscriptions.add(query, time.monotonic()))

    def frame(self, data: bytes, seen: float) -> None:
        """An answer, an event, or whatever else somebody sends."""
        self._frames += 1
        try:
            frame = decode_frame(data)
            known = self._subscriptions.of(frame.id)
            if frame.error is not None:
                self._error(frame.id, frame.error, known)
            elif known is None or frame.result is None:
                self._not_understood("a frame that is no answer to a subscription")
            elif frame.result.data is None:
                self._agreed(known)
            else:
                self._event(frame.result, known, seen)
        except NOT_DECODED:
            self._not_understood("a frame that is not as documented")

    def dropped(self, frames: int) -> None:
        """The queue was full."""
        self._dropped += frames
        self._lost()
        if time.monotonic() - self._complained >= REPEAT_SECONDS:
            self._complained = time.monotonic()
            log.warning(
                "%s: frames came faster than they could be worked on, %d were dropped; the heights concerned are read"
                " afterwards. Give this exporter more CPU, or raise stream.queue", self._where(), frames,
            )  # fmt: skip

    def tick(self) -> None:
        """Look at the deadlines."""
        if self._leaving:
            return
        now, patience = time.monotonic(), self._websocket.target.timeout
        if self._exiting is not None:
            if now - self._exiting > EXIT_SECONDS:
                self._leave("the node said that it stops, and did not")
        elif any(now - known.asked > patience for known in self._subscriptions.pending):
            self._count(Cancellation.SILENCE)
            self._leave(f"no answer to a subscription within {patience:g} s; the node hangs")

    def closed(self, why: str) -> None:
        """The connection has ended."""
        if self._was_open:
            self._lost()
        self._subscriptions = Subscriptions()
        self.health.down()
        why = "the node stopped" if self._exiting is not None else why
        self._say(logging.WARNING, f"lost: {_sentence(why)} Connecting again")

    def failed(self, why: str) -> None:
        """No connection came about."""
        self.health.down()
        self._say(logging.WARNING, f"cannot connect: {_sentence(why)} Trying again")

    # What frames mean.

    def _event(self, result: Result, known: Subscription, seen: float) -> None:
        event = decode(result)
        if not known.live:  # the agreement may be overtaken by the first event
            self._agreed(known)
        self._heard = time.monotonic()
        self._interrupted = False
        self._websocket.useful()
        was_deaf = self.health.deaf
        self.health.event(seen)
        if was_deaf:
            self._say_connected()
        if event is not None:
            self._handler.event(event, seen, self.vantage)
            if not known.wide:
                self._compare(event, known)

    def _compare(self, event: Event, known: Subscription) -> None:
        """Where several subscriptions stand in for one, each shows whether the others still live."""
        known.height, known.heard = max(known.height, height_of(event)), self._heard
        silent = self._subscriptions.silent(event, self._heard - self._given[1].stream.silence)
        if silent is not None and not self._leaving:
            self._fell_silent(f"nothing came for {silent.query} although other subscriptions go on")

    def _agreed(self, known: Subscription) -> None:
        known.live = True
        self._heard = time.monotonic()
        self._look_whether_open()

    def _look_whether_open(self) -> None:
        if self.health.is_open or self._leaving or not self._subscriptions.open:
            return
        self.health.up()
        self._handler.interrupted(
            self.vantage
        )  # whatever happened before, be it before the first opening, is not known
        self._was_open = True
        if not self.health.deaf:
            self._say_connected()

    def _error(self, frame_id: int | str | None, error: FrameError, known: Subscription | None) -> None:
        pending = self._subscriptions.pending
        if known is None and frame_id in (None, -1) and pending:
            known = pending[0]  # whoever could not read the request does not know its id
        reason = cancellation(error)
        if known is None:
            self._not_understood("an error that concerns no subscription")
        elif self._leaving:
            return
        elif reason is None and not known.live:
            self._refused(known, error)
        else:
            self._cancelled(known, reason or Cancellation.OTHER, error)

    def _cancelled(self, known: Subscription, reason: Cancellation, error: FrameError) -> None:
        """The node ended a subscription; the connection and the other one go on."""
        if not known.live and known.cancelled is not None:
            return  # said twice
        self._count(reason)
        self._lost()
        self.health.down()
        again = known.cancelled is not None and time.monotonic() - known.cancelled < AGAIN_SECONDS
        known.live, known.cancelled, known.height = False, time.monotonic(), 0
        if reason is Cancellation.EXIT:
            self._exiting = time.monotonic()
            return
        self._say(logging.WARNING, f"the node cancelled {known.query}: {_quoted(error)}. {CANCELLED[reason]}")
        if again:
            self._leave("a subscription was cancelled twice in a row")
        else:
            known.asked = time.monotonic()
            self._ask(known)

    def _refused(self, known: Subscription, error: FrameError) -> None:
        """The node says no: ask for less where that may help, else do without or try again later."""
        kind = refusal(error)
        if kind is Refusal.ALREADY:
            self._agreed(known)
            return
        self._count(Cancellation.REFUSED)
        del self._subscriptions.by_id[known.id]
        # Of what is too much already, less would be refused as well.
        instead = INSTEAD.get(known.query, ()) if kind in (Refusal.QUERY, Refusal.OTHER) else ()
        for query in instead:
            self._ask(self._subscriptions.add(query, time.monotonic()))
        text = f"the node refuses {known.query}: {_quoted(error)}. "
        text += f"Asking for {', '.join(instead)} in its place" if instead else REFUSED[kind]
        if kind in (Refusal.CLIENTS, Refusal.METHOD) or not self._subscriptions.of_consensus:
            self._leave(text)
        else:
            self._say_once(f"{kind}{known.query}", text)
            self._look_whether_open()

    def _fell_silent(self, why: str) -> None:
        self._count(Cancellation.SILENCE)
        self._lost()
        self.health.silent()
        self._leave(f"{why}: the node dropped a subscription without a word, or hangs")

    def _leave(self, why: str) -> None:
        """Make another connection; what this one still brings is worked on, but nothing more is asked of it."""
        self._leaving = True
        self.health.down()
        self._websocket.reconnect(why)

    # Bookkeeping.

    def _ask(self, known: Subscription) -> None:
        request = {"jsonrpc": "2.0", "id": known.id, "method": "subscribe", "params": {"query": known.query}}
        self._websocket.send(msgspec.json.encode(request).decode())

    def _lost(self) -> None:
        """Tell of a loss, once until something has come again, and count it unless it was what makes us leave."""
        if not self._interrupted:
            self._interrupted = True
            self._handler.interrupted(self.vantage)
            if not self._leaving:
                self.health.gap()

    def _count(self, reason: Cancellation) -> None:
        self._cancellations[reason] += 1

    def _not_understood(self, what: str) -> None:
        self._unreadable += 1
        self._say_once(what, f"{what} came and was skipped; is this a CometBFT node's RPC port?")

    def _where(self) -> str:
        """Host and port alone: a provider's key may be in the path or the query."""
        return f"stream {self._name} ({self._websocket.target.place})"

    def _say_connected(self) -> None:
        self._say(logging.INFO, "connected, and subscribed to the events of consensus")

    def _say(self, level: int, text: str) -> None:
        """Log a new state once, not at every attempt."""
        if text != self._said:
            self._said = text
            log.log(level, "%s: %s", self._where(), text)

    def _say_once(self, key: str, text: str) -> None:
        if key not in self._told:
            self._told.add(key)
            log.warning("%s: %s", self._where(), text)

    def _target(self, url: str, settings: CometbftSettings) -> Target:
        rpc = replace(endpoints(settings)[self.vantage], url=url)
        address = websocket_url(url)
        return Target(
            address,
            headers=lambda: login.header(rpc),
            tls=tls.context(rpc.ca_file) if address.startswith("wss:") else None,
            timeout=rpc.timeout,
            queue=settings.stream.queue,
        )


def _quoted(error: FrameError) -> str:
    return printable(error.data or error.message) or f"code {error.code}"


def _sentence(text: str) -> str:
    return text if text.endswith(("?", ".")) else f"{text}."
