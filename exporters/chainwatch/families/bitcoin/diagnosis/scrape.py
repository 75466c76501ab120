"""What will be missing from the metrics, and why: every enabled collector is run once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module

from prometheus_client import Metric

from chainwatch.errors import Forbidden, NodeError, Unsupported
from chainwatch.exposition.collector import Registration
from chainwatch.exposition.metrics import Definition
from chainwatch.exposition.report import Finding, fail, ok, said
from chainwatch.exposition.runner import Outcome, Runner
from chainwatch.families.bitcoin.client import BitcoinRpc
from chainwatch.families.bitcoin.node import BitcoinNode
from chainwatch.families.bitcoin.settings import BitcoinSettings
from chainwatch.families.bitcoin.tracker.tracker import Tracker


def examine(settings: BitcoinSettings, enabled: Sequence[Registration[BitcoinNode]]) -> Iterator[Finding]:
    """Yield one finding for all collectors that give everything, and one for each that does not.

    What a collector could give is every metric that its file defines; what is absent is not in this list of ours but
    in what it gave.
    """
    outcomes = asyncio.run(_run(settings, enabled))
    whole = [entry.name for entry in enabled if outcomes[entry.name].error is None and not _absent(entry, outcomes)]
    refused = [entry.name for entry in enabled if isinstance(outcomes[entry.name].error, Forbidden)]
    yield ok("collectors", f"{len(whole)} of {len(enabled)} give all they can: {', '.join(whole) or 'none'}.")
    for entry in enabled:
        error = outcomes[entry.name].error
        if error is None and entry.name not in whole:
            absent = ", ".join(_absent(entry, outcomes))
            yield ok("collector", f"{entry.name}: works; not reported by this version, or nothing there yet: {absent}.")
        elif isinstance(error, Unsupported):
            yield ok("collector", f"{entry.name}: not on this node. {said(error)}")
        elif error is not None and entry.name not in refused:
            yield _failed(entry.name, error)
    if refused:
        yield fail(
            "collectors",
            f"{len(refused)} get nothing, because the node refuses what they ask (403): {', '.join(refused)}.",
            "Mend the whitelist as said above, or switch them off with --no-collector.NAME.",
        )


async def _run(settings: BitcoinSettings, enabled: Sequence[Registration[BitcoinNode]]) -> Mapping[str, Outcome]:
    rpc = BitcoinRpc(settings.rpc)
    # Without a state file, which belongs to the exporter that may run beside us.
    node = BitcoinNode(settings, rpc, Tracker(rpc, settings))
    runner = Runner({registration.name: registration.build(node) for registration in enabled}, [])
    log = logging.getLogger(Runner.__module__)
    before = log.disabled
    log.disabled = True  # the report says it
    try:
        await runner.collect(settings.rpc.timeout)
    finally:
        log.disabled = before
        await rpc.close()
    return runner.last


def _failed(name: str, error: Exception) -> Finding:
    if isinstance(error, NodeError):
        return fail("collector", f"{name}: {error}", f"To do without it: --no-collector.{name.replace('_', '-')}")
    return fail(
        "collector",
        f"{name}: {type(error).__name__}: {error}",
        "This is a mistake in chainwatch; please report it with the node's version.",
    )


def _absent(entry: Registration[BitcoinNode], outcomes: Mapping[str, Outcome]) -> list[str]:
    """The metrics that the collector's file defines and that this run did not give."""
    module = import_module(entry.build.__module__)
    defined = {value.name for value in vars(module).values() if isinstance(value, Definition)}
    return sorted(defined - names(outcomes[entry.name].families))


def names(families: Sequence[Metric]) -> set[str]:
    """Names as definitions have them; prometheus-client keeps the suffix of counters apart."""
    return {family.name + "_total" * (family.type == "counter") for family in families if family.samples}
