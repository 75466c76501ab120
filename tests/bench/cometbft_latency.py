"""From one's own validator's silence, from a double sign, and from a halt of the chain to the webhook.

Rules, routes and their times are the shipped ones, scrapes come every five seconds. The net has four validators, a
block a second, and timeouts of half the defaults; the exporter watches a full node. Each round has a net of its own,
and so shares no group of Alertmanager's with a round before; within a round each trouble ends before the next begins.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.bench.measure import percentile, row
from tests.bench.paging import PATIENCE, Delay, Servers, group_wait, pause, report, servers
from tests.lab import CometbftNet, CometbftNode, Exporter

NETS = 3  # at the same time; more would be short of the two cores of a small machine
SILENT = ["CometbftValidatorMissing", "CometbftValidatorSignerSilent"]
DOUBLE_SIGN, HALT = ["CometbftDoubleSignOwn"], ["CometbftChainHalted"]


@dataclass(frozen=True)
class Took:
    """From each trouble of one round to its page, and from the conflicting vote until a block with it was decided."""

    silent: Delay
    double_sign: Delay
    proof: float
    halt: Delay


def cometbft_latency(folder: Path, rounds: int = 5) -> None:
    """Print p50 and worst of the seconds from trouble to webhook."""
    took: list[Took] = []
    with servers(folder, "cometbft") as shared:
        while len(took) < rounds:
            took += _rounds(folder, shared, range(len(took), min(len(took) + NETS, rounds)), rounds)
    report("SIGSTOP of our validator", [one.silent for one in took], "bar 20 s (p50)")
    report("conflicting vote of our validator", [one.double_sign for one in took], "bar 15 s (p50)")
    proofs = [one.proof for one in took]
    row("  of these until a block with it was decided", f"{percentile(proofs, 50):.1f}, {max(proofs):.1f} s")
    report("SIGSTOP of two of four validators, a halt", [one.halt for one in took], "bar 20 s (p50)")
    row("  group_wait of the pager's route", group_wait())


def _rounds(folder: Path, shared: Servers, numbers: range, rounds: int) -> list[Took]:
    """These rounds at the same time, each by a net of its own."""
    nets = [CometbftNet(folder / f"net-{number}", chain_id=f"round-{number}") for number in numbers]
    exporters = [
        Exporter(folder / f"exporter-{net.chain_id}", net.full, settings={"validators.own": net.validators[3].address})
        for net in nets
    ]
    shared.watch(exporters)
    with ThreadPoolExecutor(len(numbers)) as pool:
        played = [
            pool.submit(_round, net, exporter, shared, number, rounds)
            for net, exporter, number in zip(nets, exporters, numbers, strict=True)
        ]
        return [one.result() for one in played]


def _round(net: CometbftNet, exporter: Exporter, shared: Servers, number: int, rounds: int) -> Took:
    """Our validator falls silent and comes back, its key runs twice for some blocks, two others fall silent."""
    ours = net.validators[3]
    with net, exporter:
        # Rules compare with the usual block interval, and the first blocks of a net are not usual.
        shared.prometheus.wait_for(f'cometbft_heights_settled_total{{chain="{net.chain_id}",how="watched"}} >= 15')
        pause(number, rounds)
        silent = _freeze(shared, net, [ours], SILENT)
        ours.thaw()
        shared.prometheus.wait_for(_signs(ours), timeout=PATIENCE)
        double_sign, proof = _double_sign(shared, net, ours)
        shared.prometheus.wait_for(_signs(ours), timeout=PATIENCE)
        pause(number, rounds)
        halt = _freeze(shared, net, net.validators[:2], HALT)
        return Took(silent, double_sign, proof, halt)


def _freeze(shared: Servers, net: CometbftNet, nodes: list[CometbftNode], alerts: list[str]) -> Delay:
    began = time.time()
    for node in nodes:
        node.freeze()
    return shared.page(alerts, began, chain=net.chain_id)


def _signs(ours: CometbftNode) -> str:
    """Two scrapes in a row without a missed block: it is back, and in step."""
    missed = f'cometbft_validator_consecutive_missed{{validator="{ours.address}"}}'
    return f"max_over_time({missed}[7s]) == 0 and count_over_time({missed}[7s]) >= 1"


def _double_sign(shared: Servers, net: CometbftNet, ours: CometbftNode) -> tuple[Delay, float]:
    """From the later of the two votes by its own time; all clocks are one machine's.

    A block is decided when its precommits are signed, and the next block's header has the median of their times.
    """
    height = net.double_sign(ours)
    evidence = net.block(height)["evidence"]["evidence"][0]
    began = max(_unix(evidence["value"][vote]["timestamp"]) for vote in ("vote_a", "vote_b"))
    net.wait_height(height + 1)
    decided = _unix(net.block(height + 1)["header"]["time"])
    return shared.page(DOUBLE_SIGN, began, validator=ours.address), decided - began


def _unix(text: str) -> float:
    """RFC 3339 with nanoseconds, from which a node drops zeros at the end."""
    return datetime.fromisoformat(text).timestamp()
