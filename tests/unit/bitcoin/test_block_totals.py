"""Totals over connected blocks, and what remains when the node cannot tell."""

import pytest

from chainwatch import errors
from chainwatch.errors import RpcError
from tests.unit.bitcoin.fake_chain import FakeChain
from tests.unit.bitcoin.watching import hurry, until, watching

NAMES = (
    "bitcoin_connected_transactions_total",
    "bitcoin_connected_bytes_total",
    "bitcoin_connected_weight_total",
    "bitcoin_connected_fees_satoshis_total",
)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
def chain() -> FakeChain:
    chain = FakeChain()
    chain.mine(5)
    return chain


async def test_totals_start_at_zero_and_add_every_connected_block(chain: FakeChain) -> None:
    async with watching(chain) as watch:
        await watch.settled()
        await until(lambda: watch.value(NAMES[0]) is not None)
        assert [watch.value(name) for name in NAMES] == [0, 0, 0, 0]
        chain.mine(3)
        await until(lambda: watch.value(NAMES[0]) == 9)

        assert [watch.value(name) for name in NAMES] == [9, 1500, 4800, 210]


async def test_bitcoin_sv_has_no_weight_and_gives_fees_in_coins(chain: FakeChain) -> None:
    chain.stats = {"txs": 2, "total_size": 300, "totalfee": 0.00000123}
    async with watching(chain) as watch:
        await watch.settled()
        await until(lambda: watch.value(NAMES[0]) is not None)
        chain.mine(1)
        await until(lambda: watch.value(NAMES[0]) == 2)

        assert [watch.value(name) for name in NAMES] == [2, 300, None, 123]


async def test_bitcoin_sv_without_txindex_has_no_fees_and_is_asked_what_it_refused_but_once(chain: FakeChain) -> None:
    chain.stats = {"txs": 2, "total_size": 300}
    async with watching(chain) as watch:
        await watch.settled()
        await until(lambda: watch.value(NAMES[0]) is not None)
        asked = chain.asked["getblockstats"]
        chain.mine(2)
        await until(lambda: watch.value(NAMES[0]) == 4)

        assert [watch.value(name) for name in NAMES] == [4, 600, None, None]
        assert chain.asked["getblockstats"] == asked + 2


@pytest.mark.parametrize(
    "error", [errors.MethodNotFound("not here"), errors.Forbidden("403"), errors.NodeTimeout("10 s")]
)
async def test_a_node_that_does_not_tell_has_no_totals_and_is_followed_all_the_same(
    chain: FakeChain, error: errors.NodeError
) -> None:
    chain.forbidden["getblockstats"] = error
    async with watching(chain) as watch:
        await watch.settled()
        chain.mine(2)
        await watch.settled()
        await until(lambda: chain.asked["getblockstats"] == 3)

        assert [watch.value(name) for name in NAMES] == [None, None, None, None]
        assert watch.value("bitcoin_blocks_connected_total") == 2
        assert watch.value("chainwatch_stream_connected", stream="poll") == 1


async def test_a_pruned_block_is_left_out(chain: FakeChain) -> None:
    async with watching(chain) as watch:
        await watch.settled()
        await until(lambda: watch.value(NAMES[0]) == 0)
        chain.forbidden["getblockstats"] = RpcError("getblockstats: Block not available (pruned data) (code -1)", -1)
        asked = chain.asked["getblockstats"]
        chain.mine(1)
        await until(lambda: chain.asked["getblockstats"] > asked)
        del chain.forbidden["getblockstats"]
        chain.mine(1)
        await until(lambda: watch.value(NAMES[0]))

        assert watch.value(NAMES[0]) == 3


async def test_a_node_that_catches_up_is_not_asked_about_thousands_of_blocks(chain: FakeChain) -> None:
    async with watching(chain) as watch:
        await watch.settled()
        await until(lambda: chain.asked["getblockstats"] == 1)
        chain.mine(3000)
        await until(lambda: watch.value("bitcoin_blocks_connected_total") == 3000)
        await watch.settled()

        assert chain.asked["getblockstats"] == 1
