"""Runs the collectors for a scrape: side by side, isolated, until the scraper's deadline."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from prometheus_client import Metric

from chainwatch.errors import NodeError, NodeTimeout, Unsupported
from chainwatch.exposition import fleet
from chainwatch.exposition.collector import Collector

log = logging.getLogger(__name__)

# A collection that lives this much longer than its scrapers wanted has lost its way.
STUCK_SECONDS = 30.0


class Source(Protocol):
    """Something that counts as things happen; it is read at every scrape and never waits."""

    def collect(self) -> Iterable[Metric]:
        """Return the families as they stand."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one collector in one collection."""

    families: Sequence[Metric]
    seconds: float
    error: Exception | None = None

    @property
    def supported(self) -> bool:
        """Whether this node can know the subject at all."""
        return not isinstance(self.error, Unsupported)

    @property
    def answered(self) -> bool:
        """Whether the node answered, were it with an error of its own."""
        return self.error is None or (isinstance(self.error, NodeError) and self.error.answered)


class Runner:
    """Collects for every scraper; those that come while a collection runs share it.

    Each scraper waits until its own deadline and gets what is there by then.
    """

    def __init__(self, collectors: Mapping[str, Collector[Any]], sources: Sequence[Source]) -> None:
        self.collectors = dict(collectors)
        self._sources = sources
        self._running: _Collection | None = None
        self.last: dict[str, Outcome] = {}
        self.last_finished: float | None = None

    async def collect(self, timeout: float) -> list[Metric]:
        """Return every family that could be had within `timeout` seconds."""
        if self._running is None:
            self._running = _Collection(self.collectors)
        running = self._running
        try:
            outcomes = await running.outcomes(timeout)
        finally:
            if running.waiters == 0 and self._running is running:
                self._running = None
                running.cancel()
        self._note(outcomes)
        families = list(_health(outcomes))
        for outcome in outcomes.values():
            families.extend(outcome.families)
        for source in self._sources:
            families.extend(source.collect())
        return families

    @property
    def sound(self) -> bool:
        """Whether collections come to an end; a node that is down does not make this false."""
        return self._running is None or self._running.overdue < STUCK_SECONDS

    def _note(self, outcomes: Mapping[str, Outcome]) -> None:
        """Log a collector when its state changes, not at every scrape."""
        for name, outcome in outcomes.items():
            before = self.last.get(name)
            if _state(before) == _state(outcome):
                continue
            if not outcome.supported:
                log.debug("collector %s is not supported here: %s", name, outcome.error)
            elif isinstance(outcome.error, NodeError):
                log.warning("collector %s failed: %s", name, outcome.error)
            elif outcome.error is not None:
                log.error("collector %s failed", name, exc_info=outcome.error)
            elif before is not None and before.supported:
                log.info("collector %s works again", name)
        self.last = dict(outcomes)
        self.last_finished = time.time()


class _Collection:
    """One run of all collectors, which any number of scrapers may wait for."""

    def __init__(self, collectors: Mapping[str, Collector[Any]]) -> None:
        self._started = time.monotonic()
        self._due = self._started
        self._tasks = {name: asyncio.create_task(_run(collector)) for name, collector in collectors.items()}
        self.waiters = 0

    async def outcomes(self, timeout: float) -> dict[str, Outcome]:
        """Wait for all collectors, at most `timeout` seconds; those that are late count as failed."""
        self.waiters += 1
        self._due = max(self._due, time.monotonic() + timeout)
        try:
            if self._tasks:
                await asyncio.wait(self._tasks.values(), timeout=timeout)
        finally:
            self.waiters -= 1
        return {
            name: task.result() if task.done() and not task.cancelled() else self._late(timeout)
            for name, task in self._tasks.items()
        }

    def cancel(self) -> None:
        """Give up what nobody waits for any more."""
        for task in self._tasks.values():
            task.cancel()

    @property
    def overdue(self) -> float:
        """Seconds since the last scraper wanted its answer."""
        return time.monotonic() - self._due

    def _late(self, timeout: float) -> Outcome:
        error = NodeTimeout(f"no answer within the scrape's {timeout:.3g} s; the node hangs or is overloaded")
        return Outcome((), time.monotonic() - self._started, error)


async def _run(collector: Collector[Any]) -> Outcome:
    started = time.perf_counter()
    try:
        families: Sequence[Metric] = list(await collector.collect())
        return Outcome(families, time.perf_counter() - started)
    except Exception as error:
        return Outcome((), time.perf_counter() - started, error)


def _state(outcome: Outcome | None) -> object:
    return None if outcome is None else type(outcome.error)


def _health(outcomes: Mapping[str, Outcome]) -> Iterable[Metric]:
    """Say which collectors worked; the node is up when it answered any of them."""
    supported = {name: outcome for name, outcome in outcomes.items() if outcome.supported}
    yield from fleet.UP.sample(any(outcome.answered for outcome in outcomes.values()))
    yield from fleet.COLLECTOR_SUCCESS.samples({(name,): o.error is None for name, o in supported.items()})
    yield from fleet.COLLECTOR_DURATION.samples({(name,): o.seconds for name, o in outcomes.items()})
    yield from fleet.COLLECTOR_SUPPORTED.samples({(name,): o.supported for name, o in outcomes.items()})
