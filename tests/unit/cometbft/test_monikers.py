"""Names that validators gave themselves reach people's eyes, and no chain without a staking module is asked twice."""

from __future__ import annotations

import asyncio
import base64
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chainwatch.errors import NodeUnreachable, Unsupported
from chainwatch.families.cometbft.client import Endpoints
from chainwatch.families.cometbft.names import Names
from chainwatch.families.cometbft.sdk.application import Application
from chainwatch.families.cometbft.settings import CometbftSettings, Rpc
from chainwatch.families.cometbft.tracker import monikers
from tests.unit.cometbft import ledger_chain as chain
from tests.unit.cometbft.living_chain import LivingChain, until

KEY = base64.b64encode(b"?" * 32).decode()


class Asked:
    """An application that fails as often as told, and counts."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.times = 0

    async def validators(self) -> list[Any]:
        self.times += 1
        if self.failures:
            raise self.failures.pop(0)
        return [SimpleNamespace(key=KEY, moniker="Ann")]


async def run(application: Asked, names: Names, done: Any) -> None:
    async with LivingChain() as node:
        node.answers["validators"] = lambda page, per_page: node._validators("11", page, per_page)
        endpoints = Endpoints(CometbftSettings(rpc=Rpc(url=node.url)))
        task = asyncio.create_task(monikers.follow(endpoints, cast(Application, application), names))
        await until(done)
        task.cancel()
        await asyncio.wait([task])
        await endpoints.close()


async def test_names_are_learnt_after_a_failure_and_configured_ones_come_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(monikers, "FAILED_SECONDS", 0.01)
    names = Names({chain.address(1): "mine"})
    await run(Asked(NodeUnreachable("down")), names, lambda: names.of(chain.address(0)))
    assert names.of(chain.address(0)) == "Ann"
    assert names.of(chain.address(1)) == "mine"


async def test_an_answer_that_is_odd_in_whatever_way_neither_ends_nor_hurries_it(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monikers, "AGAIN_SECONDS", 0.05)
    names = Names({})
    odd = Asked(ValueError("Exceeds the limit (4300 digits)\nfor integer"), KeyError("x"))
    await run(odd, names, lambda: names.of(chain.address(0)))
    assert odd.times == 3
    assert [record.levelname for record in caplog.records if record.name.endswith("monikers")] == ["WARNING"] * 2
    assert "\n" not in caplog.records[0].message


async def test_a_list_of_members_that_never_ends_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monikers, "MAX_MEMBERS", 500)
    async with LivingChain() as node:
        one = node._validators("11", "1", "1")["validators"]
        node.answers["validators"] = lambda page, per_page: {"validators": one, "total": str(2**60)}
        endpoints = Endpoints(CometbftSettings(rpc=Rpc(url=node.url)))
        assert len(await monikers._members(endpoints)) == 5
        await endpoints.close()


async def test_a_chain_without_a_staking_module_has_no_names_and_is_left_alone() -> None:
    application, names = Asked(Unsupported("no such module")), Names({})
    await run(application, names, lambda: application.times)
    await asyncio.sleep(0.05)
    assert application.times == 1
    assert names.of(chain.address(0)) is None
