"""A chain that a fake node answers for, and a tracker that follows it: blocks by RPC, events when a test tells them."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs
from prometheus_client import Metric

from chainwatch.exposition.state_file import StateFile
from chainwatch.families.cometbft.client import Endpoints
from chainwatch.families.cometbft.consensus.model import OWN_NODE, Settled
from chainwatch.families.cometbft.consensus.state import State
from chainwatch.families.cometbft.settings import CometbftSettings, Rpc, Validators, Vantage
from chainwatch.families.cometbft.settings import Tracker as TrackerSettings
from chainwatch.families.cometbft.stream import Handler
from chainwatch.families.cometbft.tracker import tracker as module
from chainwatch.families.cometbft.tracker.tracker import Tracker
from chainwatch.streams.health import StreamHealth
from tests.unit.cometbft import ledger_chain as chain
from tests.unit.cometbft.fake_node import FakeNode, NodeSays


class Quiet:
    """In place of a node's stream: open, and silent; a test gives its events to the tracker itself."""

    def __init__(self, url: str, settings: CometbftSettings, vantage: int, handler: Handler) -> None:
        self.health = StreamHealth("consensus" if vantage == OWN_NODE else f"vantage{vantage}")
        self.url = url
        self.news_expected = 0
        self._vantage, self._handler = vantage, handler

    def configure(self, url: str, settings: CometbftSettings) -> None:
        self.url = url

    async def run(self) -> None:
        self.health.up()
        self._handler.interrupted(self._vantage)
        await asyncio.Event().wait()

    def expect_news(self) -> None:
        self.news_expected += 1

    def collect(self) -> Iterable[Metric]:
        return ()


def encoded(value: object) -> Any:
    """As nodes write JSON: 64-bit integers, which heights are, as text."""
    plain = msgspec.json.decode(msgspec.json.encode(value))

    def text(key: str, member: Any) -> Any:
        if isinstance(member, dict):
            return {name: text(name, one) for name, one in member.items()}
        if isinstance(member, list):
            return [text(key, one) for one in member]
        return str(member) if key == "height" else member

    return text("", plain)


class LivingChain(FakeNode):
    """A node whose chain grows by `height`; `flags` are those of a height's commit, by validator number."""

    def __init__(self, height: int = 10) -> None:
        super().__init__(folder=None)
        self.height = height
        self.lowest = 1
        self.catching_up = False
        self.chain_id = chain.CHAIN
        self.n_peers = 4
        self.stands = "Prevote"  # of the height that is being decided
        self.voted = (True, True, True, True)
        self.flags: dict[int, dict[int, int]] = {}
        self.peer_heights: list[int] = []
        self.answers = {
            "status": self._status,
            "net_info": lambda: {"n_peers": str(self.n_peers), "peers": []},
            "block": self._block,
            "blockchain": self._blockchain,
            "validators": self._validators,
            "consensus_state": self._consensus_state,
            "dump_consensus_state": lambda: {
                "peers": [{"peer_state": {"round_state": {"height": str(height)}}} for height in self.peer_heights]
            },
        }

    def filled(self) -> list[int]:
        """Heights whose blocks were asked for."""
        return [int(params["height"]) for method, params in self.requests if method == "block"]

    def _block_of(self, height: int) -> Any:
        return chain.block(height, self.flags.get(height - 1), chain=self.chain_id)

    def _status(self) -> Any:
        header = self._block_of(self.height).header
        return {
            "node_info": {"network": self.chain_id, "version": "0.38.25"},
            "sync_info": {
                "latest_block_height": str(self.height),
                "latest_block_hash": chain.block_hash(self.height),
                "latest_block_time": msgspec.to_builtins(header.time),
                "catching_up": self.catching_up,
            },
        }

    def _block(self, height: str) -> Any:
        number = int(height)
        if number < self.lowest:
            data = f"height {number} is not available, lowest height is {self.lowest}"
            raise NodeSays(-32603, "Internal error", data)
        if number > self.height:
            data = f"height {number} must be less than or equal to the current blockchain height {self.height}"
            raise NodeSays(-32603, "Internal error", data)
        return {"block_id": {"hash": chain.block_hash(number)}, "block": encoded(self._block_of(number))}

    def _blockchain(self, minHeight: str, maxHeight: str) -> Any:  # noqa: N803 - the node's own names
        heights = range(min(int(maxHeight), self.height), max(int(minHeight), self.lowest) - 1, -1)
        return {"block_metas": [{"header": encoded(self._block_of(height).header)} for height in heights]}

    def _validators(self, height: str, page: str, per_page: str) -> Any:
        members = [
            {
                "address": member.address,
                "voting_power": str(member.power),
                "pub_key": {"type": "tendermint/PubKeyEd25519", "value": base64.b64encode(b"?" * 32).decode()},
            }
            for member in chain.FOUR.members
        ]
        first = (int(page) - 1) * int(per_page)
        return {
            "block_height": height,
            "validators": members[first : first + int(per_page)],
            "count": "4",
            "total": str(len(members)),
        }

    def _consensus_state(self) -> Any:
        step = {"Prevote": 4, "Precommit": 6, "Commit": 8}[self.stands]
        bits = "".join("_x"[voted] for voted in self.voted)
        votes = f"BA{{4:{bits}}} {10 * sum(self.voted)}/40 = {sum(self.voted) / 4:.2f}"
        texts = ["nil-Vote"] * 4
        present = {"round": 0, "prevotes": texts, "prevotes_bit_array": votes}
        present |= {"precommits": texts, "precommits_bit_array": "BA{4:____} 0/40 = 0.00"}
        height = self.height if self.stands == "Commit" else self.height + 1
        return {"round_state": {"height/round/step": f"{height}/0/{step}", "height_vote_set": [present]}}


class Following:
    """A running tracker, and the heights that it settled."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.settled: list[Settled] = []
        tracker.observers.append(self.settled.append)

    @property
    def heights(self) -> list[int]:
        return [settled.block.height for settled in self.settled]

    @property
    def stream(self) -> Quiet:
        quiet: Any = self.tracker.streams[OWN_NODE]
        assert isinstance(quiet, Quiet)
        return quiet

    def tell(self, *heights: int, vantage: int = OWN_NODE) -> None:
        """Whole healthy heights come by a stream, now."""
        for height in heights:
            for _, event in chain.stream(height):
                self.tracker.event(event, time.time(), vantage)

    async def until_settled(self, height: int) -> None:
        await until(lambda: self.tracker.ledger.settled >= height)

    def value(self, name: str, **labels: str) -> float | None:
        """A sample of what would be exported; None when it is absent."""
        for family in self.tracker.collect():
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return None


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses that are meant for a real node, and leave the streams to the test."""
    monkeypatch.setattr(module, "ConsensusStream", Quiet)
    monkeypatch.setattr(module, "GRACE", 0.02)
    monkeypatch.setattr("chainwatch.families.cometbft.tracker.memory.SAVE_SECONDS", 0.02)
    monkeypatch.setattr("chainwatch.families.cometbft.tracker.fill.PAUSE", 0.02)
    monkeypatch.setattr("chainwatch.families.cometbft.tracker.validator_sets.PAUSE", 0.02)
    monkeypatch.setattr("chainwatch.families.cometbft.tracker.watch.CLOSER_SECONDS", 0.02)
    monkeypatch.setattr("chainwatch.families.cometbft.tracker.watch.STATUS_SECONDS", 0.3)
    monkeypatch.setattr("chainwatch.families.cometbft.tracker.watch.PEERS_SECONDS", 0.0)
    monkeypatch.setattr("chainwatch.exposition.state_file.PAUSE", 0.0)


@asynccontextmanager
async def following(
    node: LivingChain, *others: LivingChain, folder: Path | None = None, max_fill: int = 1000, **settings: Any
) -> AsyncIterator[Following]:
    """Run a tracker on the node, with the others as vantage points; what it remembers is in the folder."""
    made = CometbftSettings(
        rpc=Rpc(url=node.url, timeout=5),
        vantage=Vantage(urls=",".join(other.url for other in others) or None),
        validators=Validators(own=f"{chain.address(3)}=mine"),
        tracker=TrackerSettings(poll_interval=0.02, max_fill=max_fill),
    )
    made = structs.replace(made, **settings)
    endpoints = Endpoints(made)
    file = StateFile(folder / "cometbft.json", State) if folder else None
    tracker = Tracker(endpoints, made, file)
    running = asyncio.create_task(tracker.run())
    try:
        yield Following(tracker)
    finally:
        running.cancel()
        await asyncio.wait([running])
        if file:
            file.close()
        await endpoints.close()
        if not running.cancelled():
            running.result()
