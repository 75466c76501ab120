"""One exporter: new settings while it runs, and a state folder that is its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from chainwatch.config import State
from chainwatch.errors import ConfigError, RpcError
from chainwatch.exposition.service import check
from chainwatch.families.bitcoin import FAMILY
from chainwatch.families.bitcoin.exporter import BitcoinExporter
from chainwatch.families.bitcoin.settings import BitcoinSettings, Rpc, Tracker, Zmq
from tests.unit.bitcoin.fake_chain import FakeChain
from tests.unit.bitcoin.fake_node import FakeNode, NodeSays
from tests.unit.bitcoin.watching import hurry, until, value


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@asynccontextmanager
async def serving(chain: FakeChain) -> AsyncIterator[FakeNode]:
    """A node with this chain."""

    def answering(method: str) -> Any:
        def answer(*params: Any) -> Any:
            try:
                return getattr(chain, f"_{method}")(*params)
            except RpcError as error:
                raise NodeSays(error.code, str(error)) from None

        return answer

    async with FakeNode() as node:
        methods = ("getbestblockhash", "getblockhash", "getblockheader", "getblockchaininfo", "getnetworkinfo")
        node.answers |= {method: answering(method) for method in (*methods, "getchaintips", "getblockstats")}
        yield node


@asynccontextmanager
async def running(settings: BitcoinSettings) -> AsyncIterator[BitcoinExporter]:
    exporter = BitcoinExporter(settings)
    task = asyncio.create_task(exporter.node.tracker.run())
    try:
        yield exporter
        assert not task.done(), "the tracker ended by itself"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await exporter.close()


def watching(node: FakeNode) -> BitcoinSettings:
    return BitcoinSettings(rpc=Rpc(url=node.url), zmq=Zmq(enabled=False), tracker=Tracker(poll_interval=0.01))


async def knows(exporter: BitcoinExporter, tip: str) -> None:
    await until(lambda: exporter.node.tracker.first_seen(tip) is not None)


@pytest.mark.parametrize("delayed", ["getbestblockhash", "getblockheader", "getchaintips", "*"])
async def test_another_node_is_no_reorganisation_whenever_it_comes(delayed: str) -> None:
    one = FakeChain()
    one.mine(20)
    other = FakeChain(blocks=dict(one.blocks))
    other.activate(one.tip)
    one.mine(2, "one")
    other.mine(3, "other")
    async with serving(one) as node, serving(other) as next_node, running(watching(node)) as exporter:
        await knows(exporter, one.tip)
        # A look is under way, and would go on at the next node.
        node.delays[delayed] = 0.2
        one.mine(1, "one")
        asked = len(node.requests)
        await until(lambda: len(node.requests) > asked)
        exporter.configure(watching(next_node))
        await knows(exporter, other.tip)
        other.mine(1, "more")
        await knows(exporter, other.tip)
        await asyncio.sleep(0.3)

        tracker = exporter.node.tracker
        assert value(tracker, "chainwatch_reorgs_total", origin="network") == 0
        assert value(tracker, "chainwatch_reorgs_total", origin="operator") == 0
        assert value(tracker, "bitcoin_blocks_disconnected_total") == 0
        before = len(node.requests)
        other.reorganise(2, 3)
        await until(lambda: value(tracker, "chainwatch_reorgs_total", origin="network") == 1)
        assert len(node.requests) == before


async def test_a_look_at_the_node_before_does_not_pass_for_one_at_the_next() -> None:
    one = FakeChain()
    one.mine(20)
    other = FakeChain(blocks=dict(one.blocks), subversion="/Bitcoin SV:1.2.1/")
    other.activate(one.tip)
    async with serving(one) as node, serving(other) as next_node, running(watching(node)) as exporter:
        await knows(exporter, one.tip)
        node.delays["getbestblockhash"] = 0.2
        asked = len(node.requests)
        await until(lambda: len(node.requests) > asked)
        exporter.configure(watching(next_node))
        await knows(exporter, other.tip)

        assert exporter.node.tracker.chain_label == "bitcoinsv-regtest"


async def test_new_settings_of_the_same_node_forget_nothing() -> None:
    chain = FakeChain()
    chain.mine(20)
    async with serving(chain) as node, running(watching(node)) as exporter:
        await knows(exporter, chain.tip)
        chain.reorganise(2, 3)
        exporter.configure(watching(node))
        await until(lambda: value(exporter.node.tracker, "chainwatch_reorgs_total", origin="network") == 1)


def test_what_is_taken_over_at_once_needs_no_restart() -> None:
    assert FAMILY.needs_restart == {"web", "state", "log.file"}


async def test_a_state_folder_has_one_exporter(tmp_path: Path) -> None:
    settings = BitcoinSettings(state=State(dir=tmp_path))
    first = BitcoinExporter(settings)

    with pytest.raises(ConfigError, match=r"^state\.dir: .* is in use by another exporter; expected a folder of its"):
        BitcoinExporter(settings)
    check(FAMILY, settings)  # what check-config does beside a running exporter
    await first.close()
    await BitcoinExporter(settings).close()
