"""Fixtures of the live tests: real nodes, from the lab.

A program that is not installed skips the tests that need it; where CI is set it fails them instead. Loki alone is
skipped there too: it is built from hundreds of modules, which are not to be had everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.lab import BitcoinSV, Litecoind, PeerMissingError, Webhook, same_tip
from tests.lab.loki import LokiMissingError


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, None, None]:
    return (yield from _skip_when_a_peer_is_missing())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    return (yield from _skip_when_a_peer_is_missing())


def _skip_when_a_peer_is_missing() -> Generator[None, None, None]:
    try:
        return (yield)
    except PeerMissingError as error:
        if os.environ.get("CI") and not isinstance(error, LokiMissingError):
            raise
        pytest.skip(str(error))


@pytest.fixture
def litecoind(tmp_path: Path) -> Iterator[Litecoind]:
    """One node with 101 blocks, whose wallet can spend one coinbase."""
    with Litecoind(tmp_path / "litecoind-a") as node:
        node.fund()
        yield node


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Litecoind, Litecoind]]:
    """Two nodes that are peers of each other at height 101; the wallet of the first can spend one coinbase."""
    with Litecoind(tmp_path / "litecoind-a", "a") as a, Litecoind(tmp_path / "litecoind-b", "b") as b:
        a.connect(b)
        a.fund()
        same_tip(a, b)
        yield a, b


@pytest.fixture
def bitcoinsv(tmp_path: Path) -> Iterator[BitcoinSV]:
    """One Bitcoin SV node with ZMQ and 101 blocks, whose wallet can spend one coinbase."""
    with BitcoinSV(tmp_path / "bitcoinsv-a") as node:
        node.fund()
        yield node


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """Where Alertmanager delivers."""
    with Webhook() as sink:
        yield sink
