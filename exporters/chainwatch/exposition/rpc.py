"""The exporter's own calls to its node, counted alike in every family."""

from collections import Counter
from collections.abc import Iterable

from prometheus_client import Metric

from chainwatch.exposition import fleet


class RpcMetrics:
    """Counts calls, failures by reason, and the time of each request."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str]] = Counter()
        self._failures: Counter[tuple[str, str]] = Counter()
        self._duration = fleet.RPC_DURATION.live()

    def asked(self, method: str) -> None:
        """Count one call."""
        self._requests[(method,)] += 1

    def failed(self, method: str, reason: str) -> None:
        """Count one failed call; `reason` is the error's closed word."""
        self._failures[method, reason] += 1

    def took(self, method: str, seconds: float) -> None:
        """Record how long one request took."""
        self._duration.labels(method).observe(seconds)

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        yield from fleet.RPC_REQUESTS.samples(self._requests)
        yield from fleet.RPC_FAILURES.samples(self._failures)
        yield from self._duration.collect()
