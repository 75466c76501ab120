"""ZMQ messages of real nodes, replayed as they came: what the tracker counts is what the nodes' own logs say.

The recordings are cut to the topics sequence, hashblock and rawblock, and the latter to its header.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.paths import recording
from tests.unit.bitcoin.fake_chain import FakeBlock, FakeChain
from tests.unit.bitcoin.watching import Watch, hurry, until, watching
from tests.unit.zmq_publisher import Publisher

FIXTURES = Path(__file__).parents[1] / "fixtures"
NEVER = 3600.0


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
def node() -> Iterator[Publisher]:
    with Publisher() as publisher:
        yield publisher


def messages(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FIXTURES / name / "zmq_messages.jsonl").read_text().splitlines()]


def parents(recorded: list[dict[str, Any]]) -> dict[str, str]:
    """Parent of each block, from the headers in rawblock messages, which follow the hashblock message of the block."""
    hashes = [message["body_hex"] for message in recorded if message["topic"] == "hashblock"]
    headers = [bytes.fromhex(message["body_hex"]) for message in recorded if message["topic"] == "rawblock"]
    return {block: header[4:36][::-1].hex() for block, header in zip(hashes, headers, strict=True)}


def chain_from(root: str) -> FakeChain:
    """A node whose chain begins at a recorded block."""
    chain = FakeChain()
    chain.blocks = {root: FakeBlock(root, 0, None, 1_795_321_294, 2, "valid-fork")}
    chain.tip = chain.genesis = root
    return chain


def add(chain: FakeChain, block: str, parent: str) -> None:
    above = chain.blocks[parent]
    chain.blocks.setdefault(block, FakeBlock(block, above.height + 1, parent, above.time + 1, above.work + 2))


async def follow(chain: FakeChain, node: Publisher, watch: Watch) -> None:
    await until(node.subscriptions)
    await until(lambda: watch.value("chainwatch_stream_connected", stream="zmq") == 1)
    await until(lambda: watch.tracker.first_seen(chain.tip) is not None)


async def test_core_31_sequence_messages_give_what_its_log_says(node: Publisher) -> None:
    recorded = messages("bitcoind31")
    known = parents(recorded)
    first = next(message for message in recorded if message["topic"] == "hashblock")["body_hex"]
    chain = chain_from(known[first])
    chain.zmq = [{"type": "pubsequence", "address": node.address}]
    async with watching(chain, zmq=True, poll=NEVER) as watch:
        await follow(chain, node, watch)
        for message in recorded:
            if message["topic"] != "sequence":
                continue
            body = bytes.fromhex(message["body_hex"])
            block, label = body[:32].hex(), body[32:33]
            if label == b"C":
                # The stream's own order gives the parent, and agrees with the header where that was published.
                assert known.get(block, chain.tip) == chain.tip
                add(chain, block, chain.tip)
                chain.activate(block)
            elif label == b"D":
                assert block == chain.tip
                chain.tip = str(chain.blocks[block].previous)
            node.send("sequence", body, message["seq"])
            if message["seq"] % 40 == 0:
                await until(lambda: watch.tip.hash == chain.tip)
        await until(lambda: watch.tip.hash == chain.tip)
        await until(lambda: not watch.tracker._reorgs.pending)

        assert watch.reorgs() == {"network": {2: 1}, "operator": {2: 1}}
        assert watch.value("bitcoin_blocks_connected_total") == 125
        assert watch.value("bitcoin_blocks_disconnected_total") == 4
        assert watch.value("bitcoin_mempool_added_total") == 71
        assert watch.value("bitcoin_mempool_removed_total") == 4
        assert watch.value("bitcoin_mempool_replaced_total") == 3
        assert watch.value("chainwatch_stream_gaps_total", stream="zmq") == 0


def test_the_counts_expected_of_core_31_are_those_of_its_log() -> None:
    log = recording("bitcoind31/debug_A_full.log").read_text()

    def lines(what: str) -> int:
        return len(re.findall(rf"Enqueuing {what}", log))

    assert lines("BlockConnected") == 125 + 1  # the genesis block came before anyone could subscribe
    assert lines("BlockDisconnected") == 4
    assert lines("TransactionAddedToMempool") == 71
    assert lines("TransactionRemovedFromMempool") == 4
    assert lines("TransactionRemovedFromMempool.*reason=replaced") == 3


async def test_bitcoin_sv_hashblock_messages_give_its_reorganisation(node: Publisher) -> None:
    recorded = messages("bitcoinsv")
    known = parents(recorded)
    tips = [message["body_hex"] for message in recorded if message["topic"] == "hashblock"]
    chain = chain_from(known[tips[0]])
    chain.zmq_method = "activezmqnotifications"
    chain.zmq = [{"notification": "pubhashblock", "address": node.address}]
    async with watching(chain, zmq=True, poll=NEVER) as watch:
        await follow(chain, node, watch)
        for message in recorded:
            if message["topic"] != "hashblock":
                continue
            tip = message["body_hex"]
            if known[tip] not in chain.blocks:
                # Two new blocks of the reorganisation were not announced; of the lower one not even the hash is known.
                fork = chain.branch(chain.tip)[2].hash
                add(chain, "00" * 31 + "6b", fork)
                add(chain, known[tip], "00" * 31 + "6b")
            add(chain, tip, known[tip])
            chain.activate(tip)
            node.send("hashblock", bytes.fromhex(tip), message["seq"])
            await until(lambda: watch.tip.hash == chain.tip)
        await until(lambda: not watch.tracker._reorgs.pending)

        assert watch.reorgs() == {"network": {2: 1}}
        assert watch.value("bitcoin_blocks_disconnected_total") == 2
        assert watch.value("bitcoin_blocks_connected_total") == len(tips) + 2
        assert watch.tip.height == len(tips)
        assert watch.value("chainwatch_stream_gaps_total", stream="zmq") == 0
