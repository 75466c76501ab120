"""The exporter's own calls to its node, counted alike in every family."""

from collections.abc import Iterable

from prometheus_client import Metric

from chainwatch.exposition import fleet


class RpcMetrics:
    """Counts calls, failures by reason, and the time of each request."""

    def __init__(self) -> None:
        self._requests = fleet.RPC_REQUESTS.live()
        self._failures = fleet.RPC_FAILURES.live()
        self._duration = fleet.RPC_DURATION.live()

    def asked(self, method: str) -> None:
        """Count one call."""
        self._requests.labels(method).inc()

    def failed(self, method: str, reason: str) -> None:
        """Count one failed call; `reason` is the error's closed word."""
        self._failures.labels(method, reason).inc()

    def took(self, method: str, seconds: float) -> None:
        """Record how long one request took."""
        self._duration.labels(method).observe(seconds)

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        for live in (self._requests, self._failures, self._duration):
            yield from live.collect()
