"""The last link of the chain: what Alertmanager delivers, with the time of its arrival."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.lab.waiting import LabError


@dataclass(frozen=True)
class Notice:
    """One alert of one delivery, from Alertmanager's webhook JSON (version 4)."""

    received_at: float  # Unix time
    receiver: str
    status: str  # firing or resolved
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: str
    ends_at: str

    @property
    def alertname(self) -> str:
        """The alert's name."""
        return self.labels.get("alertname", "")

    def matches(self, alertname: str, status: str, labels: dict[str, str]) -> bool:
        """Whether this is about such an alert."""
        return self.alertname == alertname and self.status == status and labels.items() <= self.labels.items()


class Webhook:
    """An HTTP server in a thread that keeps every alert posted to it. `url` is what Alertmanager is given.

    `on_notice` is called for each one as it arrives, in the server's thread.
    """

    def __init__(self, on_notice: Callable[[Notice], None] | None = None) -> None:
        self.notices: list[Notice] = []
        self._on_notice = on_notice
        self._arrived = threading.Condition()  # on an RLock: wait_for calls received
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self._take))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="webhook", daemon=True)

    @property
    def url(self) -> str:
        """Where to post."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and close the socket."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _take(self, message: dict[str, Any]) -> None:
        now = time.time()
        new = [
            Notice(
                now,
                message["receiver"],
                alert["status"],
                alert["labels"],
                alert["annotations"],
                alert["startsAt"],
                alert["endsAt"],
            )
            for alert in message["alerts"]
        ]
        with self._arrived:
            self.notices += new
            self._arrived.notify_all()
        if self._on_notice:
            for notice in new:
                self._on_notice(notice)

    def received(self, alertname: str, status: str = "firing", since: float = 0, **labels: str) -> list[Notice]:
        """Everything that arrived about such an alert since a Unix time, oldest first."""
        with self._arrived:
            return [n for n in self.notices if n.received_at >= since and n.matches(alertname, status, labels)]

    def wait_for(
        self, alertname: str, status: str = "firing", timeout: float = 60, since: float = 0, **labels: str
    ) -> Notice:
        """The first such notice, waiting for it if need be. Raises LabError that lists what came instead."""
        with self._arrived:
            if self._arrived.wait_for(lambda: self.received(alertname, status, since, **labels), timeout):
                return self.received(alertname, status, since, **labels)[0]
            seen = ", ".join(f"{n.alertname} {n.status} to {n.receiver}" for n in self.notices) or "nothing"
        raise LabError(f"no notice {alertname} {status} {labels or ''} within {timeout:g} s; received: {seen}")


def _handler(take: Callable[[dict[str, Any]], None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            take(json.loads(body))

        def log_message(self, *_: object) -> None:
            """Quiet: standard error belongs to the tests."""

    return Handler
