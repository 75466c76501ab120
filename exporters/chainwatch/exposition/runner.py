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
from chainwatch.exposition.merge import Merger

log = logging.getLogger(__name__)

# A collector that was told to stop and goes on for so long has lost its way.
STUCK_SECONDS = 30.0
# One that is told to stop does so at once, or is not waited for.
GIVING_UP_SECONDS = 0.05


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
    """Collects for every scraper. Each waits until its own deadline and gets what is there by then.

    A collector runs once at a time: scrapers that come while it runs share its answer, so that many of them ask the
    node no more than one does, and nobody is given an answer that came before he asked.
    """

    def __init__(self, collectors: Mapping[str, Collector[Any]], sources: Sequence[Source]) -> None:
        self.collectors = dict(collectors)
        self._sources = sources
        self._merger = Merger()
        self._running: dict[str, _Run] = {}
        self._given_up: dict[asyncio.Task[Outcome], float] = {}
        self._broken: set[Source] = set()
        # Changes since the last line about them, by kind of error: collector and text.
        self._news: dict[str, list[tuple[str, str]]] = {}
        self.last: dict[str, Outcome] = {}
        self.last_finished: float | None = None

    async def collect(self, timeout: float) -> list[Metric]:
        """Return every family that could be had within `timeout` seconds."""
        runs = {name: self._join(name, collector) for name, collector in self.collectors.items()}
        try:
            if runs:
                await asyncio.wait([run.task for run in runs.values()], timeout=timeout)
            outcomes = {name: run.outcome(timeout) for name, run in runs.items()}
            self.last_finished = time.time()
        finally:
            unwanted = [name for name, run in runs.items() if self._leave(name, run)]
        if unwanted:
            # What they waited for is given up, and counted, before the page is written.
            await asyncio.wait([runs[name].task for name in unwanted], timeout=GIVING_UP_SECONDS)
        for name in unwanted:
            self._note(name, outcomes[name])
        self._tell()
        return self._merger.merge([*_health(outcomes), *self._families(outcomes)])

    def switch(self, collectors: Mapping[str, Collector[Any]]) -> None:
        """Run these collectors from the next scrape on."""
        self.collectors = dict(collectors)
        self.last = {name: outcome for name, outcome in self.last.items() if name in collectors}

    @property
    def sound(self) -> bool:
        """Whether collectors come to an end; a node that is down does not make this false."""
        return all(time.monotonic() - since < STUCK_SECONDS for since in self._given_up.values())

    def _join(self, name: str, collector: Collector[Any]) -> _Run:
        run = self._running.get(name)
        if run is None:
            run = self._running[name] = _Run(collector)
            run.task.add_done_callback(lambda task: self._finished(name, task))
        run.waiters += 1
        return run

    def _leave(self, name: str, run: _Run) -> bool:
        """Give up a run that nobody waits for any more; true in that case."""
        run.waiters -= 1
        if run.waiters or run.task.done():
            return False
        del self._running[name]
        self._given_up[run.task] = time.monotonic()
        run.task.cancel()
        return True

    def _finished(self, name: str, task: asyncio.Task[Outcome]) -> None:
        if self._given_up.pop(task, None) is None:
            del self._running[name]
            if not task.cancelled():  # as when the process ends
                self._note(name, task.result())

    def _note(self, name: str, outcome: Outcome) -> None:
        """Log a collector when its state changes, not at every scrape."""
        if name not in self.collectors:  # switched off meanwhile
            return
        before = self.last.get(name)
        self.last[name] = outcome
        if _state(before) != _state(outcome):
            if not outcome.supported:
                log.debug("collector %s is not supported here: %s", name, outcome.error)
            elif isinstance(outcome.error, NodeError):
                self._news.setdefault(type(outcome.error).__name__, []).append((name, str(outcome.error)))
            elif outcome.error is not None:
                log.error("collector %s failed", name, exc_info=outcome.error)
            elif before is not None and before.supported:
                self._news.setdefault("", []).append((name, "works again"))
        if outcome.error is not None:
            outcome.error.__traceback__ = None  # its frames hold whatever the node sent

    def _tell(self) -> None:
        """Log what changed: a node that goes away fails every collector, which is one event."""
        news, self._news = self._news, {}
        for kind, changes in news.items():
            (first, text), names = changes[0], ", ".join(sorted(name for name, _ in changes))
            if not kind:
                log.info("collectors work again: %s", names)
            elif len(changes) == 1:
                log.warning("collector %s failed: %s", first, text)
            else:
                log.warning("%d collectors failed: %s (%s)", len(changes), text, names)

    def _families(self, outcomes: Mapping[str, Outcome]) -> Iterable[Metric]:
        for outcome in outcomes.values():
            yield from outcome.families
        for source in self._sources:
            try:
                families = _checked(source.collect())
            except Exception as error:
                if source not in self._broken:
                    log.exception("%s cannot be read; its metrics are left out", type(source).__name__)
                self._broken.add(source)
                error.__traceback__ = None  # an error that is kept and raised again would grow
            else:
                self._broken.discard(source)
                yield from families


class _Run:
    """One run of one collector, which any number of scrapers may wait for."""

    def __init__(self, collector: Collector[Any]) -> None:
        self._started = time.perf_counter()
        self.task = asyncio.create_task(self._collect(collector))
        self.waiters = 0

    def outcome(self, timeout: float) -> Outcome:
        """What came of it for a scraper that allowed `timeout` seconds; one that is late counts as failed."""
        if self.task.done():
            return self.task.result()
        error = NodeTimeout(f"no answer within the scrape's {timeout:.3g} s; the node hangs or is overloaded")
        return Outcome((), self._seconds, error)

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self._started

    async def _collect(self, collector: Collector[Any]) -> Outcome:
        try:
            return Outcome(_checked(await collector.collect()), self._seconds)
        except asyncio.CancelledError:
            if self.task.cancelling():
                raise
            return Outcome((), self._seconds, RuntimeError("something that the collector waited for was cancelled"))
        except Exception as error:
            return Outcome((), self._seconds, error)


def _checked(families: Iterable[Metric]) -> list[Metric]:
    """Refuse what is no metric before it spoils the page."""
    checked = list(families)
    for family in checked:
        if not isinstance(family, Metric):
            raise TypeError(f"a {type(family).__name__} among the metrics")
    return checked


def _state(outcome: Outcome | None) -> object:
    return None if outcome is None else type(outcome.error)


def _health(outcomes: Mapping[str, Outcome]) -> Iterable[Metric]:
    """Say which collectors worked; the node is up when it answered any of them."""
    supported = {name: outcome for name, outcome in outcomes.items() if outcome.supported}
    # With every collector off nobody asked the node.
    yield from fleet.UP.sample(any(outcome.answered for outcome in outcomes.values()) if outcomes else None)
    yield from fleet.COLLECTOR_SUCCESS.samples({(name,): o.error is None for name, o in supported.items()})
    yield from fleet.COLLECTOR_DURATION.samples({(name,): o.seconds for name, o in outcomes.items()})
    yield from fleet.COLLECTOR_SUPPORTED.samples({(name,): o.supported for name, o in outcomes.items()})
