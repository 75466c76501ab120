"""A one-off diagnosis for a person: `chainwatch doctor bitcoin`."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Generator, Iterator

from chainwatch import __version__
from chainwatch.errors import ConfigError
from chainwatch.exposition.report import Finding, Level, fail, printable, render, skip, verdict
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.diagnosis import access, machine, node, reach, scrape, zmq_check
from chainwatch.families.bitcoin.oneoff import OneOff
from chainwatch.families.bitcoin.settings import BitcoinSettings


def diagnose(settings: BitcoinSettings) -> int:
    """Print what is right and what is wrong, and what to do; return 0 when nothing has to be mended, else 1.

    No step takes longer than `rpc.timeout`, and a node that does not answer one step is not asked the next.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    user = reach.user_name(os.getuid())
    print(printable(f"chainwatch {__version__} looks at the node at {settings.rpc.url}, as user {user}.") + "\n")
    findings = []
    for finding in examine(settings):
        print(render(finding), end="", flush=True)
        findings.append(finding)
    print("\n" + verdict(findings), end="")
    return int(any(finding.level is Level.FAIL for finding in findings))


def examine(settings: BitcoinSettings) -> Iterator[Finding]:
    """Yield all findings, those that explain others first."""
    try:
        rpc = OneOff(settings.rpc)
    except ConfigError as error:
        yield fail("settings", f"{error}")
        return
    facts = None
    reached = yield from _passed(reach.examine(settings.rpc, rpc))
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


def _passed(findings: Iterator[Finding]) -> Generator[Finding, None, bool]:
    """Hand findings on; the value is whether none of them failed."""
    passed = True
    for finding in findings:
        passed = passed and finding.level is not Level.FAIL
        yield finding
    return passed
