"""Measuring by hand: requests over one kept connection, percentiles, a row of a table."""

from __future__ import annotations

import http.client
import socket
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Self

# What Prometheus sends.
SCRAPE_HEADERS = {
    "Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5",
    "Accept-Encoding": "gzip",
    "X-Prometheus-Scrape-Timeout-Seconds": "10",
}


class Connection:
    """One kept connection to a server on loopback."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def get(self, path: str) -> bytes:
        """Scrape as Prometheus does."""
        return self._ask("GET", path, None, SCRAPE_HEADERS)

    def post(self, body: bytes, authorization: str) -> bytes:
        """Send a JSON-RPC request."""
        return self._ask("POST", "/", body, {"Authorization": authorization, "Content-Type": "application/json"})

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> bytes:
        self._connection.request(method, path, body, headers)
        # Bitcoin SV sends head and body of its answer apart, and waits for our acknowledgement in between.
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise RuntimeError(f"{method} {path}: {response.status}")
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def percentile(values: Sequence[float], percent: int) -> float:
    """The value below which `percent` of the values lie."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def row(what: str, value: str, bar: str = "") -> None:
    """Print one line of the result."""
    print(f"  {what:<58} {value:>14}  {bar}", flush=True)
