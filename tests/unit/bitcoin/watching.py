"""Runs a tracker in a test, and waits for what it has looked at rather than for time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chainwatch.exposition import state_file
from chainwatch.exposition.state_file import StateFile
from chainwatch.families.bitcoin.settings import BitcoinSettings, Zmq
from chainwatch.families.bitcoin.settings import Tracker as TrackerSettings
from chainwatch.families.bitcoin.tracker import reorgs, tracker
from chainwatch.families.bitcoin.tracker.active_chain import Block
from chainwatch.families.bitcoin.tracker.reorgs import Origin
from chainwatch.families.bitcoin.tracker.state import State
from chainwatch.families.bitcoin.tracker.tracker import Tracker
from tests.unit.bitcoin.fake_chain import FakeChain

SETTLE = 0.15


class Watch:
    """A running tracker and the node it follows."""

    def __init__(self, chain: FakeChain, running: Tracker) -> None:
        self.chain = chain
        self.tracker = running

    async def looks(self, count: int = 3) -> None:
        """Wait until the tracker has asked for the tip this many times more."""
        target = self.chain.asked["getbestblockhash"] + count
        await until(lambda: self.chain.asked["getbestblockhash"] >= target)

    async def settled(self) -> None:
        """Wait until every reorganisation has been judged."""
        await self.looks()
        await until(lambda: not self.tracker._reorgs.pending)
        await self.looks(1)

    def value(self, name: str, **labels: str) -> float | None:
        return value(self.tracker, name, **labels)

    def reorgs(self) -> dict[Origin, dict[int, int]]:
        """Times by origin and depth."""
        return self.tracker._reorgs.counts.seen

    @property
    def tip(self) -> Block:
        """The tip as the tracker knows it."""
        tip = self.tracker._chain.tip
        assert tip is not None
        return tip


def value(running: Tracker, name: str, **labels: str) -> float | None:
    """A sample of what the tracker would export; None when it is absent."""
    for family in running.collect():
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    return None


async def until(condition: Callable[[], object], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses that are meant for a real node."""
    monkeypatch.setattr(tracker, "MIN_PAUSE", 0.005)
    monkeypatch.setattr(state_file, "PAUSE", 0.0)
    monkeypatch.setattr(reorgs, "SETTLE", SETTLE)


def settings(poll: float = 0.01, *, zmq: bool = False, zmq_url: str | None = None) -> BitcoinSettings:
    return BitcoinSettings(tracker=TrackerSettings(poll_interval=poll), zmq=Zmq(enabled=zmq, url=zmq_url))


@asynccontextmanager
async def watching(chain: FakeChain, state: Path | None = None, **how: object) -> AsyncIterator[Watch]:
    """Run a tracker on this chain; its state file is `state`."""
    file = StateFile(state, State) if state else None
    running = Tracker(chain, settings(**how), file)  # type: ignore[arg-type]
    task = asyncio.create_task(running.run())
    watch = Watch(chain, running)
    try:
        yield watch
        assert not task.done(), "the tracker ended by itself"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
