"""From a block that causes a reorganisation, and from a node's death, to the webhook.

Rules, routes and their times are the shipped ones, scrapes come every five seconds. An operator's first page is what
is measured: each round has a chain of its own by name (chain.name), so that it shares no group of Alertmanager's with
a round before. Several pairs of nodes play at the same time, each round beginning at another moment between scrapes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.bench.measure import percentile, row
from tests.lab import Alertmanager, Exporter, Litecoind, Prometheus, Webhook, join, part
from tests.lab.alertmanager import SHIPPED_CONFIG
from tests.lab.prometheus import SHIPPED_CONFIG as PROMETHEUS_CONFIG

PAIRS = 5
SCRAPE_SECONDS = 5
REORG, DOWN = "ChainwatchDeepReorg", "ChainwatchNodeDown"
PATIENCE = 120.0


@dataclass(frozen=True)
class Took:
    """Seconds from each trouble of one round to its page."""

    reorg: float
    down: float


@dataclass(frozen=True)
class Servers:
    """What all rounds share. `targets` are those that Prometheus scrapes after its next reload."""

    targets: list[str]
    prometheus: Prometheus
    webhook: Webhook


def latency(folder: Path, rounds: int = 10) -> None:
    """Print p50 and worst of the seconds from trouble to webhook."""
    with _servers(folder) as servers, ExitStack() as stack:
        pairs = [_pair(folder, number, stack) for number in range(min(PAIRS, rounds))]
        took: list[Took] = []
        while len(took) < rounds:
            took += _rounds(folder, servers, pairs, range(len(took), min(len(took) + PAIRS, rounds)), rounds)
    for what, alert, values in (
        ("block that causes a reorganisation", REORG, [one.reorg for one in took]),
        ("death of a node", DOWN, [one.down for one in took]),
    ):
        row(f"{what}: p50, worst of {rounds}", f"{percentile(values, 50):.1f}, {max(values):.1f} s", "bar 15, 30 s")
        row(f"  `for` of {alert}, evaluation", _waits(alert))
    row("  group_wait of the pager's route", _group_wait())


@contextmanager
def _servers(folder: Path) -> Iterator[Servers]:
    targets: list[str] = []
    with (
        Webhook() as webhook,
        Alertmanager(folder / "alertmanager", webhook=webhook.url) as alertmanager,
        Prometheus(
            folder / "prometheus",
            targets={"bitcoin": targets},
            alertmanager=alertmanager.address,
            scrape_interval=f"{SCRAPE_SECONDS}s",
        ) as prometheus,
    ):
        yield Servers(targets, prometheus, webhook)


def _pair(folder: Path, number: int, stack: ExitStack) -> tuple[Litecoind, Litecoind]:
    a = stack.enter_context(Litecoind(folder / f"{number}-a", f"{number}-a"))
    b = stack.enter_context(Litecoind(folder / f"{number}-b", f"{number}-b"))
    a.mine(5)
    join(a, b)
    return a, b


def _rounds(
    folder: Path, servers: Servers, pairs: Sequence[tuple[Litecoind, Litecoind]], numbers: range, rounds: int
) -> list[Took]:
    """These rounds, each by a pair of its own, at the same time."""
    with ExitStack() as stack, ThreadPoolExecutor(len(numbers)) as pool:
        exporters = [
            stack.enter_context(
                Exporter(folder / f"exporter-{number}", a, settings={"chain.name": f"round-{number}-regtest"})
            )
            for number, (a, _) in zip(numbers, pairs, strict=False)
        ]
        servers.targets[:] = [exporter.address for exporter in exporters]
        servers.prometheus.reload()
        played = [
            pool.submit(_round, a, b, exporter, servers, SCRAPE_SECONDS * number / rounds)
            for number, (a, b), exporter in zip(numbers, pairs, exporters, strict=False)
        ]
        return [one.result() for one in played]


def _round(a: Litecoind, b: Litecoind, exporter: Exporter, servers: Servers, pause: float) -> Took:
    """A loses two blocks to b, is killed, and comes back."""
    part(a, b)
    a.mine(2)
    b.mine(2)
    a.connect(b)  # equal work: both stay where they are
    seen = f'chainwatch_reorgs_total{{origin="network",instance="{exporter.address}"}}'
    servers.prometheus.wait_for(f"count_over_time({seen}[1m]) >= 2", timeout=PATIENCE)
    time.sleep(pause)
    began = time.time()
    b.mine(1)
    reorg = _page(servers.webhook, REORG, exporter, began)
    time.sleep(pause)
    began = time.time()
    a.kill()
    down = _page(servers.webhook, DOWN, exporter, began)
    a.start()
    join(a, b)
    return Took(reorg, down)


def _page(webhook: Webhook, alert: str, exporter: Exporter, began: float) -> float:
    notice = webhook.wait_for(alert, since=began, timeout=PATIENCE, instance=exporter.address)
    return notice.received_at - began


def _waits(alert: str) -> str:
    """The alert's `for` and its group's interval, as shipped."""
    for file in sorted((PROMETHEUS_CONFIG.parent / "rules").glob("*.yml")):
        for group in yaml.safe_load(file.read_text())["groups"]:
            for rule in group["rules"]:
                if rule.get("alert") == alert:
                    return f"{rule.get('for', '0s')}, every {group['interval']}"
    raise LookupError(f"no rule file has {alert}")


def _group_wait() -> str:
    """Alertmanager's group_wait for critical alerts, as shipped."""
    routes: list[dict[str, Any]] = yaml.safe_load(SHIPPED_CONFIG.read_text())["route"]["routes"]
    return str(next(route["group_wait"] for route in routes if route["receiver"] == "pager"))
