"""A one-off diagnosis for a person: `chainwatch doctor cometbft`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from chainwatch.errors import ConfigError
from chainwatch.exposition import machine
from chainwatch.exposition.report import Finding, Level, fail, ok, skip, tell
from chainwatch.families.cometbft.client import Endpoints
from chainwatch.families.cometbft.diagnosis import chain, listening, server
from chainwatch.families.cometbft.settings import CometbftSettings
from chainwatch.rpc.settings import origin


def diagnose(settings: CometbftSettings) -> int:
    """Print what is right and what is wrong, and what to do; return 0 when nothing has to be mended, else 1.

    No step takes longer than `rpc.timeout` for each address, or the twelve seconds for which it listens.
    """
    return tell(origin(settings.rpc.url), examine(settings))


def examine(settings: CometbftSettings) -> Iterator[Finding]:
    """Yield all findings, those that explain others first."""
    for finding in server.reachable(settings.rpc):
        yield finding
        if finding.level is Level.FAIL:
            yield skip("the rest", "of the node cannot be examined before this is mended.")
            break
    else:
        yield from _node(settings)
    yield machine.state(
        settings.state.dir, "heights that pass while the exporter restarts are not counted, and counters begin anew"
    )
    yield from machine.web(settings.web)


def _node(settings: CometbftSettings) -> Iterator[Finding]:
    try:
        endpoints = Endpoints(settings)
    except ConfigError as error:
        yield fail("settings", f"{error}")
        return
    with asyncio.Runner() as loop:
        try:
            told = loop.run(server.status(endpoints))
            if isinstance(told, Finding):
                yield told
                yield skip("the rest", "of the node cannot be examined before this is mended.")
                return
            yield ok("server", f"{endpoints.own.address} answers as an RPC server of CometBFT.")
            yield from loop.run(server.examine(endpoints, told))
            yield from loop.run(listening.examine(settings, endpoints.own, told, server.is_live(told)))
            yield from loop.run(chain.examine(settings, endpoints, told))
        finally:
            loop.run(endpoints.close())
