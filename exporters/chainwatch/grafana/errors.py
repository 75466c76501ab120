"""What can go wrong between chainwatch and a Grafana."""

from __future__ import annotations

from chainwatch.errors import ChainwatchError


class GrafanaError(ChainwatchError):
    """Grafana did not answer, not as documented, or not to us: nothing further can be asked."""


class RefusedError(GrafanaError):
    """Grafana understood one request and said no, with this HTTP status; others may go through."""

    def __init__(self, text: str, status: int, answer: object = None) -> None:
        super().__init__(text)
        self.status = status
        self.answer = answer  # the body, where it was JSON
