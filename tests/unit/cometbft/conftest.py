"""A fake node that answers from recordings, and a client that asks it."""

from collections.abc import AsyncIterator

import pytest

from chainwatch.families.cometbft.client import CometbftRpc
from chainwatch.families.cometbft.settings import Rpc
from tests.unit.cometbft.fake_node import FakeNode


@pytest.fixture
async def fake() -> AsyncIterator[FakeNode]:
    async with FakeNode() as node:
        yield node


@pytest.fixture
async def rpc(fake: FakeNode) -> AsyncIterator[CometbftRpc]:
    made = CometbftRpc(Rpc(url=fake.url, timeout=5))
    yield made
    await made.close()
