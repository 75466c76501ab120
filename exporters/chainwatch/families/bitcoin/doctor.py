"""A one-off diagnosis for a person: `chainwatch doctor bitcoin`."""

from __future__ import annotations

from collections.abc import Iterator

from chainwatch.errors import ConfigError
from chainwatch.exposition.report import Finding, fail, passed, skip, tell
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.diagnosis import access, machine, node, reach, scrape, zmq_check
from chainwatch.families.bitcoin.oneoff import OneOff
from chainwatch.families.bitcoin.settings import BitcoinSettings
from chainwatch.rpc.settings import origin


def diagnose(settings: BitcoinSettings) -> int:
    """Print what is right and what is wrong, and what to do; return 0 when nothing has to be mended, else 1.

    No step takes longer than `rpc.timeout`, and a node that does not answer one step is not asked the next.
    """
    return tell(origin(settings.rpc.url), examine(settings))


def examine(settings: BitcoinSettings) -> Iterator[Finding]:
    """Yield all findings, those that explain others first."""
    try:
        rpc = OneOff(settings.rpc)
    except ConfigError as error:
        yield fail("settings", f"{error}")
        return
    facts = None
    reached = yield from passed(reach.examine(settings.rpc, rpc))
    if reached:
        facts = node.ask_all(rpc, settings.rpc.timeout)
        yield from _node(settings, rpc, facts)
    else:
        yield skip("the rest", "of the node cannot be examined before this is mended.")
    yield from machine.examine(settings, facts)


def _node(settings: BitcoinSettings, rpc: OneOff, facts: node.Facts) -> Iterator[Finding]:
    enabled = [entry for entry in BITCOIN if settings.collector.get(entry.name, entry.default)]
    yield from node.examine(settings, facts)
    if facts.late:
        yield fail("answers", f"{facts.late}.", "It answered before: does it hang now, or is it busy?")
        return
    yield from access.examine(settings, rpc, enabled, settings.rpc.timeout)
    yield from zmq_check.examine(settings, facts)
    yield from node.examine_clock(facts)
    yield from scrape.examine(settings, enabled)
