"""What measurements of pages share: the servers as shipped, scraping every five seconds, and rows on what came."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from tests.bench.measure import percentile, row
from tests.lab import Alertmanager, Exporter, Notice, Prometheus, Webhook, wait_until
from tests.lab.alertmanager import SHIPPED_CONFIG
from tests.lab.prometheus import SHIPPED_CONFIG as PROMETHEUS_CONFIG

SCRAPE_SECONDS = 5
PATIENCE = 120.0


@dataclass(frozen=True)
class Delay:
    """Seconds from one trouble to its page, and to the evaluation in which the rule fired; which alert it was."""

    page: float
    rule: float
    alert: str


@dataclass(frozen=True)
class Servers:
    """What all rounds share. `targets` are those that Prometheus scrapes after its next reload."""

    targets: list[str]
    prometheus: Prometheus
    webhook: Webhook

    def watch(self, exporters: Sequence[Exporter]) -> None:
        """Scrape these from now on, and no others."""
        self.targets[:] = [exporter.address for exporter in exporters]
        self.prometheus.reload()

    def page(self, alerts: Sequence[str], began: float, **labels: str) -> Delay:
        """Wait for the first page by one of these alerts since a Unix time."""

        def first() -> Notice | None:
            came = [one for alert in alerts for one in self.webhook.received(alert, since=began, **labels)]
            return min(came, key=lambda one: one.received_at, default=None)

        notice = wait_until(first, f"a page by {' or '.join(alerts)} about {labels}", timeout=PATIENCE, interval=0.1)
        fired = datetime.fromisoformat(notice.starts_at).timestamp()
        return Delay(notice.received_at - began, fired - began, notice.alertname)


@contextmanager
def servers(folder: Path, job: str) -> Iterator[Servers]:
    """Start Prometheus, which scrapes nothing yet, Alertmanager and a webhook."""
    targets: list[str] = []
    with (
        Webhook() as webhook,
        Alertmanager(folder / "alertmanager", webhook=webhook.url) as alertmanager,
        Prometheus(
            folder / "prometheus",
            targets={job: targets},
            alertmanager=alertmanager.address,
            scrape_interval=f"{SCRAPE_SECONDS}s",
        ) as prometheus,
    ):
        yield Servers(targets, prometheus, webhook)


def pause(number: int, rounds: int) -> None:
    """Have each round begin at another moment between two scrapes."""
    time.sleep(SCRAPE_SECONDS * number / rounds)


def report(what: str, delays: Sequence[Delay], bar: str) -> None:
    """Print p50 and worst, and for each alert that came first how often it did and how long it waits."""
    pages, rules = [one.page for one in delays], [one.rule for one in delays]
    row(f"{what}: p50, worst of {len(delays)}", f"{percentile(pages, 50):.1f}, {max(pages):.1f} s", bar)
    row("  of these until the rule fired", f"{percentile(rules, 50):.1f}, {max(rules):.1f} s")
    for alert in sorted({one.alert for one in delays}):
        row(f"  `for` of {alert}, evaluation", waits(alert), f"first {sum(one.alert == alert for one in delays)} times")


def waits(alert: str) -> str:
    """The alert's `for` and its group's interval, as shipped."""
    for file in sorted((PROMETHEUS_CONFIG.parent / "rules").glob("*.yml")):
        for group in yaml.safe_load(file.read_text())["groups"]:
            for rule in group["rules"]:
                if rule.get("alert") == alert:
                    return f"{rule.get('for', '0s')}, every {group['interval']}"
    raise LookupError(f"no rule file has {alert}")


def group_wait() -> str:
    """Alertmanager's group_wait for critical alerts, as shipped."""
    routes: list[dict[str, Any]] = yaml.safe_load(SHIPPED_CONFIG.read_text())["route"]["routes"]
    return str(next(route["group_wait"] for route in routes if route["receiver"] == "pager"))
