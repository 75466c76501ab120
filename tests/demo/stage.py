"""What every story plays on: a narrator, and Prometheus and Alertmanager as shipped, with a webhook that prints."""

from __future__ import annotations

import contextlib
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.demo.grafana import commands
from tests.lab import Alertmanager, Loki, LokiMissingError, Notice, Prometheus, Promtail, Webhook

SCRAPE_INTERVAL = "5s"
# Long enough for the slowest shipped `for`, keep_firing_for and group_interval that a story meets.
PATIENCE_SECONDS = 180.0


class Narrator:
    """Prints lines with the time since the start, and each page as it arrives."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        """Print one line of the story."""
        self._print([text])

    def show(self, lines: Sequence[str]) -> None:
        """Print lines for a person to paste."""
        self._print(lines)

    def page(self, notice: Notice) -> None:
        """Print what reached the webhook; the heartbeat of the watchdog is no news."""
        if notice.labels.get("severity") not in ("critical", "warning"):
            return
        head = f"{notice.status.upper():8}  {notice.alertname} ({notice.labels['severity']}, to {notice.receiver})"
        text = notice.annotations.get("description", "") if notice.status == "firing" else ""
        self._print([f">> {head}", *textwrap.wrap(text, 100)])

    def _print(self, lines: Sequence[str]) -> None:
        """Print in one piece: pages arrive in a thread of their own."""
        first, *rest = lines
        indented = "".join(f"\n             {line}" for line in rest)
        sys.stdout.write(f"{self._clock()}  {first}{indented}\n")
        sys.stdout.flush()

    def _clock(self) -> str:
        minutes, seconds = divmod(time.monotonic() - self._started, 60)
        return f"{int(minutes):3d}:{seconds:04.1f}"


@dataclass(frozen=True)
class Stage:
    """The running servers."""

    narrator: Narrator
    prometheus: Prometheus
    alertmanager: Alertmanager
    webhook: Webhook
    loki: Loki | None = field(default=None)

    def expect(self, alertname: str, status: str, since: float, **labels: str) -> float:
        """Wait for a notice and return the seconds from `since` (Unix time) to its arrival."""
        notice = self.webhook.wait_for(alertname, status, timeout=PATIENCE_SECONDS, since=since, **labels)
        return notice.received_at - since


@contextlib.contextmanager
def stage(
    folder: Path,
    targets: Mapping[str, Sequence[str]],
    narrator: Narrator,
    *,
    logs: Mapping[str, Sequence[Mapping[str, str]]],
) -> Iterator[Stage]:
    """Start Prometheus and Alertmanager with the shipped configuration, scraping `targets` (by job).

    Where Loki and promtail are built they keep the nodes' `logs` (by job: labels, __path__ among them). Then say how a
    Grafana shows it all.
    """
    with contextlib.ExitStack() as stack:
        webhook = stack.enter_context(Webhook(narrator.page))
        alertmanager = stack.enter_context(Alertmanager(folder / "alertmanager", webhook=webhook.url))
        prometheus = stack.enter_context(
            Prometheus(
                folder / "prometheus",
                targets=targets,
                alertmanager=alertmanager.address,
                scrape_interval=SCRAPE_INTERVAL,
            )
        )
        urls = {"prometheus": prometheus.url, "alertmanager": alertmanager.url}
        try:
            loki = stack.enter_context(Loki(folder / "loki", alertmanager=alertmanager.address))
            stack.enter_context(Promtail(folder / "promtail", loki.url, targets=logs))
            urls["loki"] = loki.url
        except LokiMissingError as missing:
            loki = None
            narrator.say(f"without the nodes' logs: {missing}")
        narrator.show(commands(folder / "grafana", urls))
        yield Stage(narrator, prometheus, alertmanager, webhook, loki)
