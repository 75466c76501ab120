"""A fake node that answers a few calls, and a client that asks it."""

from collections.abc import AsyncIterator

import pytest

from chainwatch.families.bitcoin.client import BitcoinRpc
from chainwatch.families.bitcoin.settings import Rpc
from tests.unit.bitcoin.asking import CHAIN_CALLS
from tests.unit.bitcoin.fake_node import FakeNode


@pytest.fixture
async def fake() -> AsyncIterator[FakeNode]:
    async with FakeNode() as node:
        node.answers |= {"getblockcount": 7, "getbestblockhash": "00ff", "uptime": 12, "getnettotals": {}}
        node.answers |= {method: {} for method in CHAIN_CALLS}
        yield node


@pytest.fixture
async def rpc(fake: FakeNode) -> AsyncIterator[BitcoinRpc]:
    made = BitcoinRpc(Rpc(url=fake.url, timeout=5))
    yield made
    await made.close()
