"""Can the node's websocket be subscribed to, does something come, and does this machine's clock agree?"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator
from statistics import median

from chainwatch import errors
from chainwatch.exposition.report import Finding, fail, ok, said, warn
from chainwatch.families.cometbft import stream as stream_module
from chainwatch.families.cometbft.client import CometbftRpc
from chainwatch.families.cometbft.consensus.book import unix
from chainwatch.families.cometbft.consensus.events import Event, Vote
from chainwatch.families.cometbft.consensus.model import OWN_NODE
from chainwatch.families.cometbft.schema import Status
from chainwatch.families.cometbft.settings import CometbftSettings
from chainwatch.families.cometbft.stream import ConsensusStream

# Most chains have a block within so long, and a node tells tens of events with each.
LISTEN_SECONDS = 12.0
# So many votes tell the clock's offset.
ENOUGH_VOTES = 4

# A vote takes milliseconds to seconds to come; none comes before it was made.
EARLY_SECONDS = -0.5
LATE_SECONDS = 5.0


class _Ear(logging.Handler):
    """Notes what comes, and what the stream says of itself."""

    def __init__(self, live: bool) -> None:
        super().__init__()
        self._live = live
        self.heard_enough = asyncio.Event()
        self.started = time.time()
        self.first: float | None = None
        self.delays: list[float] = []
        self.said = ""

    def event(self, event: Event, seen: float, _vantage: int) -> None:
        """An event came."""
        self.first = self.first or seen
        if isinstance(event, Vote) and len(self.delays) < 100 * ENOUGH_VOTES:
            self.delays.append(seen - unix(event.timestamp))
        if not self._live or len(self.delays) >= ENOUGH_VOTES:
            self.heard_enough.set()

    def interrupted(self, _vantage: int) -> None:
        """Nothing is kept that could be spoilt."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what went wrong."""
        if record.levelno >= logging.WARNING:
            self.said = record.getMessage()


async def examine(
    settings: CometbftSettings, rpc: CometbftRpc, told: Status, live: bool, seconds: float = LISTEN_SECONDS
) -> list[Finding]:
    """Return whether events come; `live` says whether votes are to be expected, `told` what the node said before."""
    ear = _Ear(live)
    stream = ConsensusStream(settings.rpc.url, settings, OWN_NODE, ear)
    with _heard_by(ear):
        task = asyncio.create_task(stream.run())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await ear.heard_enough.wait()
        subscribed = stream.health.is_open
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    if subscribed and ear.first is None:
        return [await _silence(rpc, told, seconds)]
    return [_stream(ear, live, seconds), *_clock(ear, live)]


async def _silence(rpc: CometbftRpc, told: Status, seconds: float) -> Finding:
    """Nothing came: whether anything was to come, the node's height tells."""
    height = told.sync_info.latest_block_height
    silent = f"It takes our subscriptions, and nothing came within {seconds:g} s"
    try:
        blocks = (await rpc.call("status", Status)).sync_info.latest_block_height - height
    except errors.NodeError as error:
        return warn("websocket", f"{silent}. {said(error)}", "Run this again once the node answers.")
    if blocks > 0:
        return fail(
            "websocket",
            f"{silent}, while the node took {blocks} block{'s' * (blocks != 1)}.",
            "Something between us and the node holds frames back: a proxy that buffers, or passes no websocket on.",
        )
    return warn(
        "websocket",
        f"{silent}: the node is still at height {height}.",
        "A chain that stands still is silent, and so is one that waits for a transaction. Who has not voted is on the "
        "exporter's page /consensus, or in `chainwatch cometbft top`.",
    )


def _stream(ear: _Ear, live: bool, seconds: float) -> Finding:
    if ear.first is not None and (ear.delays or not live):
        return ok(
            "websocket", f"It takes our subscriptions; the first event came after {ear.first - ear.started:.1f} s."
        )
    if ear.first is not None:
        return warn("websocket", f"Events come, and no vote among them within {seconds:g} s.", "Does the chain move?")
    return fail(
        "websocket",
        ear.said or f"No answer to a subscription within {seconds:g} s.",
        "A proxy in front must pass the websocket on (Upgrade, at the path /websocket); the node takes 100 clients "
        "(rpc.max_subscription_clients in config.toml).",
    )


def _clock(ear: _Ear, live: bool) -> Iterator[Finding]:
    """Votes carry the time of their validator's clock; the median is of many machines."""
    if not live or not ear.delays:
        return
    delay = median(ear.delays)
    if EARLY_SECONDS <= delay <= LATE_SECONDS:
        yield ok("clock", f"Votes come {1000 * delay:.0f} ms after the time that they carry.")
        return
    where = "behind" if delay < 0 else "ahead"
    yield warn(
        "clock",
        f"Votes come {abs(delay):.1f} s {'before' if delay < 0 else 'after'} the time that they carry.",
        f"This machine's clock is {where} by about that, or votes are very slow; see timedatectl status.",
    )


@contextlib.contextmanager
def _heard_by(ear: _Ear) -> Iterator[None]:
    """The report tells what the stream would log."""
    log = logging.getLogger(stream_module.__name__)
    propagated, log.propagate = log.propagate, False
    log.addHandler(ear)
    try:
        yield
    finally:
        log.removeHandler(ear)
        log.propagate = propagated
