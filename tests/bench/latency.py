"""From a block that causes a reorganisation, and from a node's death, to the webhook.

Rules, routes and their times are the shipped ones, scrapes come every five seconds. An operator's first page is what
is measured: each round has a chain of its own by name (chain.name), so that it shares no group of Alertmanager's with
a round before. Several pairs of nodes play at the same time, each round beginning at another moment between scrapes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measure import row
from tests.bench.paging import PATIENCE, Delay, Servers, group_wait, pause, report, servers
from tests.lab import Exporter, Litecoind, join, part

PAIRS = 5
REORG, DOWN = ["ChainwatchDeepReorg"], ["ChainwatchNodeDown"]


@dataclass(frozen=True)
class Took:
    """From each trouble of one round to its page."""

    reorg: Delay
    down: Delay


def latency(folder: Path, rounds: int = 10) -> None:
    """Print p50 and worst of the seconds from trouble to webhook."""
    with servers(folder, "bitcoin") as shared, ExitStack() as stack:
        pairs = [_pair(folder, number, stack) for number in range(min(PAIRS, rounds))]
        took: list[Took] = []
        while len(took) < rounds:
            took += _rounds(folder, shared, pairs, range(len(took), min(len(took) + PAIRS, rounds)), rounds)
    report("block that causes a reorganisation", [one.reorg for one in took], "bar 15, 30 s")
    report("death of a node", [one.down for one in took], "bar 15, 30 s")
    row("  group_wait of the pager's route", group_wait())


def _pair(folder: Path, number: int, stack: ExitStack) -> tuple[Litecoind, Litecoind]:
    a = stack.enter_context(Litecoind(folder / f"{number}-a", f"{number}-a"))
    b = stack.enter_context(Litecoind(folder / f"{number}-b", f"{number}-b"))
    a.mine(5)
    join(a, b)
    return a, b


def _rounds(
    folder: Path, shared: Servers, pairs: Sequence[tuple[Litecoind, Litecoind]], numbers: range, rounds: int
) -> list[Took]:
    """These rounds, each by a pair of its own, at the same time."""
    with ExitStack() as stack, ThreadPoolExecutor(len(numbers)) as pool:
        exporters = [
            stack.enter_context(
                Exporter(folder / f"exporter-{number}", a, settings={"chain.name": f"round-{number}-regtest"})
            )
            for number, (a, _) in zip(numbers, pairs, strict=False)
        ]
        shared.watch(exporters)
        played = [
            pool.submit(_round, a, b, exporter, shared, number, rounds)
            for number, (a, b), exporter in zip(numbers, pairs, exporters, strict=False)
        ]
        return [one.result() for one in played]


def _round(a: Litecoind, b: Litecoind, exporter: Exporter, shared: Servers, number: int, rounds: int) -> Took:
    """A loses two blocks to b, is killed, and comes back."""
    part(a, b)
    a.mine(2)
    b.mine(2)
    a.connect(b)  # equal work: both stay where they are
    seen = f'chainwatch_reorgs_total{{origin="network",instance="{exporter.address}"}}'
    shared.prometheus.wait_for(f"count_over_time({seen}[1m]) >= 2", timeout=PATIENCE)
    pause(number, rounds)
    began = time.time()
    b.mine(1)
    reorg = shared.page(REORG, began, instance=exporter.address)
    pause(number, rounds)
    began = time.time()
    a.kill()
    down = shared.page(DOWN, began, instance=exporter.address)
    a.start()
    join(a, b)
    return Took(reorg, down)
