"""Lists within events are bounded, and what nobody asks for is not even made."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import msgspec
import pytest

from chainwatch.families.cometbft.consensus import events
from chainwatch.families.cometbft.consensus.events import MAX_EVIDENCE, MAX_MEMBERS, NewBlock
from chainwatch.families.cometbft.frames import decode_frame
from tests.unit.cometbft.fake_stream import event

HEADER = {"height": "7", "time": "2026-11-22T12:00:00Z", "chain_id": "fake"}


def block(**parts: Any) -> NewBlock:
    result = decode_frame(event("NewBlock", {"block": {"header": HEADER} | parts}).encode()).result
    assert result is not None
    decoded = events.decode(result)
    assert isinstance(decoded, NewBlock)
    return decoded


def commit(signatures: int) -> dict[str, Any]:
    return {"height": "6", "round": 0, "signatures": [{"block_id_flag": 1}] * signatures}


def attack(convicts: int, name: str) -> dict[str, Any]:
    return {"type": "tendermint/LightClientAttackEvidence", "value": {name: [{"address": "AB" * 20}] * convicts}}


def test_a_block_within_the_bounds_is_read() -> None:
    read = block(last_commit=commit(MAX_MEMBERS), evidence={"evidence": [{"type": "x"}] * MAX_EVIDENCE}).block
    assert read.last_commit is not None
    assert len(read.last_commit.signatures) == MAX_MEMBERS
    assert len(read.misbehaviour) == MAX_EVIDENCE


@pytest.mark.parametrize(
    "parts",
    [
        {"last_commit": commit(MAX_MEMBERS + 1)},
        {"evidence": {"evidence": [{"type": "x"}] * (MAX_EVIDENCE + 1)}},
        {"evidence": {"evidence": [attack(MAX_MEMBERS + 1, "ByzantineValidators")]}},
        {"evidence": {"evidence": [attack(MAX_MEMBERS + 1, "byzantine_validators")]}},
    ],
)
def test_a_longer_list_makes_the_event_unreadable(parts: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError, match="length"):
        block(**parts)


@pytest.mark.parametrize(
    ("data", "number"),
    [({"txs": ["QQ==", "Qg=="]}, 2), ({"txs": []}, 0), ({"txs": None}, 0), ({}, 0), ({"txs": ["QQ=="] * 5000}, 5000)],
)
def test_transactions_are_counted(data: dict[str, Any], number: int) -> None:
    assert block(data=data).block.transactions == number


def test_millions_of_transactions_cost_no_more_than_their_text() -> None:
    value = json.dumps({"block": {"header": HEADER, "data": {"txs": ["Q" * 4] * 500_000}}}).encode()
    result = decode_frame(event("NewBlock", {}).encode()).result
    assert result is not None
    assert result.data is not None
    result = msgspec.structs.replace(result, data=msgspec.structs.replace(result.data, value=msgspec.Raw(value)))
    tracemalloc.start()
    try:
        decoded = events.decode(result)
        assert isinstance(decoded, NewBlock)
        assert decoded.block.transactions == 500_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(value)
