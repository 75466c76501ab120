"""Where a metric is defined: its name, type, labels and help, once.

A definition makes prometheus-client's own metric families, either fresh for one scrape (`sample`, `samples`) or living
for what is counted as it happens (`live`). The catalogue of all definitions is what `chainwatch metrics`, the
documentation and the rule tests read.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from prometheus_client import Metric
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

Kind = Literal["gauge", "counter", "histogram"]
LabelsT = TypeVar("LabelsT", bound=tuple[str, ...])
LiveT = TypeVar("LiveT", "LiveCounter", "LiveHistogram")

_catalogue: dict[str, Definition] = {}


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric as the whole project knows it."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.kind == "counter") != self.name.endswith("_total"):
            raise ValueError(f"{self.name}: counters, and only they, end in _total")
        # OpenMetrics names a counter's family without _total, so that a gauge of the same name would clash.
        family = self.name.removesuffix("_total")
        if not {family, f"{family}_total"}.isdisjoint(_catalogue):
            raise ValueError(f"{self.name}: defined twice")
        if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)+", self.name, re.ASCII):
            raise ValueError(f"{self.name}: names are words in lower case, joined by _")
        if not self.help or set(self.labels) & {"chain", "le"}:
            raise ValueError(f"{self.name}: needs a help text, and has no label chain or le of its own")
        _catalogue[self.name] = self

    def labels_of(self, suffix: str) -> tuple[str, ...]:
        """Label names of the samples with this suffix of the name."""
        return (*self.labels, "le") if suffix == "_bucket" else self.labels


class Family(Metric):
    """What one scrape gives of one definition.

    `rows` are (suffix of the name, label values, number), in the order of the page; buckets of a histogram have
    their bound `le` as last value. To prometheus-client it is one of its own metric families, whose samples are made
    when somebody asks for them; the page is written from the rows, which takes a third of the time.
    """

    def __init__(self, definition: Definition, rows: Sequence[tuple[str, tuple[str, ...], float]]) -> None:
        self.name = definition.name.removesuffix("_total")
        self.documentation = definition.help
        self.type = definition.kind
        self.unit = ""
        self.definition = definition
        self.rows = rows

    @property
    def samples(self) -> list[Sample]:  # type: ignore[override]
        """The rows as prometheus-client's samples (a plain attribute there)."""
        name = self.definition.name
        return [
            Sample(name + suffix, dict(zip(self.definition.labels_of(suffix), values, strict=True)), number)
            for suffix, values, number in self.rows
        ]


class LiveCounter:
    """Counts as things happen: `inc()`, or `labels(…).inc()` where the definition has labels."""

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        self._children: dict[tuple[str, ...], LiveCounter] = {}
        self._number = 0.0

    def labels(self, *values: str) -> LiveCounter:
        """Return the counter of these label values, new ones from 0."""
        return _child(self._children, self._definition, values, LiveCounter)

    def inc(self, amount: float = 1) -> None:
        """Count; raises `ValueError` for a negative amount."""
        if not amount >= 0:
            raise ValueError(f"{self._definition.name}: a counter does not go back by {amount}")
        self._number += amount

    def collect(self) -> list[Metric]:
        """Return the family, or nothing while no label values are known."""
        counters = self._children if self._definition.labels else {(): self}
        rows = [("", values, counter._number) for values, counter in counters.items()]
        return [Family(self._definition, rows)] if rows else []


class LiveHistogram:
    """Distributes numbers over buckets as they come: `observe(…)`, or `labels(…).observe(…)`."""

    def __init__(self, definition: HistogramDefinition) -> None:
        self._definition = definition
        self._children: dict[tuple[str, ...], LiveHistogram] = {}
        self._counts = [0] * (len(definition.buckets) + 1)
        self._sum = 0.0

    def labels(self, *values: str) -> LiveHistogram:
        """Return the histogram of these label values, new ones empty."""
        return _child(self._children, self._definition, values, LiveHistogram)

    def observe(self, number: float) -> None:
        """Count a number in its bucket, whose upper bound is inclusive."""
        self._counts[bisect_left(self._definition.buckets, number)] += 1
        self._sum += number

    def collect(self) -> list[Metric]:
        """Return the family, or nothing while no label values are known."""
        histograms = self._children if self._definition.labels else {(): self}
        bounds = [*map(floatToGoString, self._definition.buckets), "+Inf"]
        rows: list[tuple[str, tuple[str, ...], float]] = []
        for values, histogram in histograms.items():
            counted = 0
            for bound, count in zip(bounds, histogram._counts, strict=True):
                counted += count
                rows.append(("_bucket", (*values, bound), float(counted)))
            rows += [("_count", values, float(counted)), ("_sum", values, histogram._sum)]
        return [Family(self._definition, rows)] if rows else []


def _child(
    children: dict[tuple[str, ...], LiveT], definition: Any, values: tuple[str, ...], make: type[LiveT]
) -> LiveT:
    child = children.get(values)
    if child is None:
        if len(values) != len(definition.labels) or not values:
            raise ValueError(
                f"{definition.name}: {values!r} is not one text for each of the labels {definition.labels}"
            )
        "".join(values)  # raises where one of them is no text
        child = children[values] = make(definition)
    return child


class _Sampled(Definition):
    """A metric whose value is read afresh at every scrape."""

    __slots__ = ()

    def sample(self, value: float | None) -> list[Metric]:
        """Return the family with one sample, or nothing where the node does not report the value."""
        return self.samples({(): value})

    def samples(self, values: Mapping[LabelsT, float | None]) -> list[Metric]:
        """Return the family with one sample for each label tuple; values of None are left out.

        Raises `ValueError` or `TypeError` where labels or a value are not such: one collector fails, not the page.
        """
        rows = []
        for labels, value in values.items():
            if value is None:
                continue
            if labels.__class__ is not tuple or len(labels) != len(self.labels):
                raise ValueError(f"{self.name}: {labels!r} is not one text for each of the labels {self.labels}")
            "".join(labels)  # raises where one of them is no text
            rows.append(("", labels, float(value)))
        return [Family(self, rows)] if rows else []


class Gauge(_Sampled):
    """A value that goes up and down."""

    __slots__ = ()


class CounterDefinition(_Sampled):
    """A number that only grows: read from the node (`sample`) or counted here (`live`)."""

    __slots__ = ()

    def live(self, *known: Sequence[str]) -> LiveCounter:
        """Return a counter of its own; each label tuple in `known` starts at 0."""
        return _from_zero(LiveCounter(self), known)


@dataclass(frozen=True, slots=True)
class HistogramDefinition(Definition):
    """A distribution counted here, in buckets whose bounds are in the metric's unit."""

    buckets: tuple[float, ...] = field(default=(), kw_only=True)

    def live(self, *known: Sequence[str]) -> LiveHistogram:
        """Return a histogram of its own; each label tuple in `known` starts at 0."""
        return _from_zero(LiveHistogram(self), known)


def gauge(name: str, help: str, *, labels: tuple[str, ...] = ()) -> Gauge:  # noqa: A002 - Prometheus' own word
    """Define a gauge."""
    return Gauge(name, "gauge", help, labels)


def counter(name: str, help: str, *, labels: tuple[str, ...] = ()) -> CounterDefinition:  # noqa: A002
    """Define a counter; its name ends in `_total`."""
    return CounterDefinition(name, "counter", help, labels)


def histogram(
    name: str,
    help: str,  # noqa: A002
    *,
    buckets: Sequence[float],
    labels: tuple[str, ...] = (),
) -> HistogramDefinition:
    """Define a histogram with upper bounds in the metric's unit."""
    return HistogramDefinition(name, "histogram", help, labels, buckets=tuple(buckets))


def _from_zero(metric: LiveT, known: Iterable[Sequence[str]]) -> LiveT:
    """Put known label values at 0, so that the first event is seen by increase()."""
    for labels in known:
        metric.labels(*labels)
    return metric


def catalogue() -> Mapping[str, Definition]:
    """Return every metric defined by the modules imported so far, by name."""
    return dict(sorted(_catalogue.items()))
