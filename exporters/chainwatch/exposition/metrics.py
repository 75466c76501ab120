"""Where a metric is defined: its name, type, labels and help, once.

A definition makes prometheus-client's own metric families, either fresh for one scrape (`sample`, `samples`) or living
for what is counted as it happens (`live`). The catalogue of all definitions is what `chainwatch metrics`, the
documentation and the rule tests read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from prometheus_client import Counter, Histogram, Metric
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

Kind = Literal["gauge", "counter", "histogram"]
LabelsT = TypeVar("LabelsT", bound=tuple[str, ...])
LiveT = TypeVar("LiveT", Counter, Histogram)

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
        family = self._family()
        for labels, value in values.items():
            if value is None:
                continue
            if not isinstance(labels, tuple) or len(labels) != len(self.labels) or not all(map(_is_text, labels)):
                raise ValueError(f"{self.name}: {labels!r} is not one text for each of the labels {self.labels}")
            family.add_metric(labels, float(value))
        return [family] if family.samples else []

    def _family(self) -> GaugeMetricFamily | CounterMetricFamily:
        raise NotImplementedError


class Gauge(_Sampled):
    """A value that goes up and down."""

    __slots__ = ()

    def _family(self) -> GaugeMetricFamily:
        return GaugeMetricFamily(self.name, self.help, labels=self.labels)


class CounterDefinition(_Sampled):
    """A number that only grows: read from the node (`sample`) or counted here (`live`)."""

    __slots__ = ()

    def _family(self) -> CounterMetricFamily:
        return CounterMetricFamily(self.name, self.help, labels=self.labels)

    def live(self, *known: Sequence[str]) -> Counter:
        """Return a counter of its own; each label tuple in `known` starts at 0."""
        return _from_zero(Counter(self.name, self.help, self.labels, registry=None), known)


@dataclass(frozen=True, slots=True)
class HistogramDefinition(Definition):
    """A distribution counted here, in buckets whose bounds are in the metric's unit."""

    buckets: tuple[float, ...] = field(default=(), kw_only=True)

    def live(self, *known: Sequence[str]) -> Histogram:
        """Return a histogram of its own; each label tuple in `known` starts at 0."""
        return _from_zero(Histogram(self.name, self.help, self.labels, registry=None, buckets=self.buckets), known)


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


def _is_text(label: object) -> bool:
    return isinstance(label, str)


def _from_zero(metric: LiveT, known: Iterable[Sequence[str]]) -> LiveT:
    """Put known label values at 0, so that the first event is seen by increase()."""
    for labels in known:
        metric.labels(*labels)
    return metric


def catalogue() -> Mapping[str, Definition]:
    """Return every metric defined by the modules imported so far, by name."""
    return dict(sorted(_catalogue.items()))
