"""Rendering a large page: ours beside prometheus-client's, in turns."""

from __future__ import annotations

from prometheus_client import Metric
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest

from chainwatch.exposition.text import render
from tests.bench.measure import percentile, row, seconds

SERIES = 10_000


class _Registry:
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def rendering() -> None:
    """Print the time for 10,000 series and the ratio to prometheus-client's encoder."""
    families: list[Metric] = []
    for number in range(SERIES // 100):
        family = GaugeMetricFamily(f"bitcoin_example_{number}_bytes", "An example.", labels=("network", "direction"))
        for sample in range(100):
            family.add_metric((f"network{sample}", "inbound"), sample * 1234.5678)
        families.append(family)
    pairs = [
        (
            seconds(lambda: render(families, {"chain": "bitcoin-main"}, openmetrics=True)),
            seconds(lambda: generate_latest(_Registry(families))),
        )
        for _ in range(40)
    ]
    ours, theirs = percentile([p[0] for p in pairs], 50), percentile([p[1] for p in pairs], 50)
    row(f"rendering of {SERIES} series, p50", f"{ours * 1e3:.1f} ms", "bar 20 ms")
    row("  prometheus-client's encoder, ratio", f"{theirs * 1e3:.1f} ms, {theirs / ours:.1f}x")
