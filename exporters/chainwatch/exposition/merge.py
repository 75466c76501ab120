"""Families from many collectors to one page: each name once, each series once."""

import logging
from collections.abc import Iterable

from prometheus_client import Metric

log = logging.getLogger(__name__)


class Merger:
    """Joins families of one name; leaves out, and says once, what would make Prometheus refuse the page."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def merge(self, families: Iterable[Metric]) -> list[Metric]:
        """Return the families, those of the same name as one."""
        merged: dict[str, Metric] = {}
        for family in families:
            first = merged.setdefault(family.name, family)
            if first is family:
                continue
            if first.type != family.type:
                self._tell(family.name, f"is a {first.type} and a {family.type}")
            else:
                merged[family.name] = self._joined(first, family)
        return list(merged.values())

    def _joined(self, first: Metric, second: Metric) -> Metric:
        """Return a family with the samples of both; theirs are shared with other scrapes and stay as they are."""
        joined = Metric(first.name, first.documentation, first.type, first.unit)
        joined.samples = list(first.samples)
        seen = {(sample.name, frozenset(sample.labels.items())) for sample in first.samples}
        for sample in second.samples:
            if (sample.name, frozenset(sample.labels.items())) in seen:
                self._tell(first.name, f"has the labels {sample.labels} twice")
            else:
                joined.samples.append(sample)
        return joined

    def _tell(self, name: str, problem: str) -> None:
        if name not in self._told:
            self._told.add(name)
            log.error("metric %s comes from two places and %s; the second is left out", name, problem)
