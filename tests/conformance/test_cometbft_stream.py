"""Recorded dialogues with a real CometBFT node, played to the stream again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed

from chainwatch.families.cometbft.consensus.events import Event, NewBlockHeader, RoundState, Vote
from chainwatch.families.cometbft.frames import decode_frame
from chainwatch.families.cometbft.settings import CometbftSettings, Rpc, Stream
from chainwatch.families.cometbft.stream import ConsensusStream
from chainwatch.families.cometbft.subscriptions import Refusal, cancellation, refusal
from tests.conformance.paths import recording
from tests.unit.cometbft.fake_stream import FakeStream, agree, fake_stream, refuse, until


def lines(name: str, connection: str | None = None) -> Iterator[dict[str, Any]]:
    """The lines of a recording, or those of one of its connections."""
    with recording(f"cometbft/{name}").open() as file:
        for text in file:
            line = json.loads(text)
            if connection in (None, line["c"]):
                yield line


def with_id(raw: str, number: int) -> str:
    """A frame as if it had come for another subscription."""
    return json.dumps(json.loads(raw) | {"id": number})


class Watcher:
    """A stream and what it told."""

    def __init__(self, node: FakeStream) -> None:
        self.events: list[Event] = []
        self.interruptions = 0
        self.stream = ConsensusStream(
            node.url, CometbftSettings(rpc=Rpc(url=node.url), stream=Stream(silence=0.4)), 0, self
        )

    def event(self, event: Event, _seen: float, _vantage: int) -> None:
        self.events.append(event)

    def interrupted(self, _vantage: int) -> None:
        self.interruptions += 1

    def counted(self, name: str, *labels: str) -> float:
        (family,) = (family for family in self.stream.collect() if family.name == f"cometbft_stream_{name}")
        return sum(sample.value for sample in family.samples if set(labels) <= set(sample.labels.values()))


@asynccontextmanager
async def watched(node: FakeStream) -> AsyncIterator[Watcher]:
    watcher = Watcher(node)
    task = asyncio.create_task(watcher.stream.run())
    try:
        await until(lambda: watcher.stream.health.connected)
        yield watcher
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("dialogue", "kinds"),
    [
        ("sixth", {Refusal.PER_CLIENT}),
        ("same_query", {Refusal.ALREADY}),
        ("bad_query", {Refusal.QUERY}),
        ("long_query", {Refusal.QUERY}),
        ("no_params", {Refusal.QUERY, Refusal.OTHER}),
        ("other_methods", {Refusal.METHOD, Refusal.OTHER}),
        ("unsubscribe", {Refusal.OTHER}),
        ("client_101", {Refusal.CLIENTS}),
    ],
)
def test_recorded_refusals_are_told_apart(dialogue: str, kinds: set[Refusal]) -> None:
    frames = [decode_frame(line["raw"]) for line in lines("ws_errors/errors.jsonl", dialogue) if "raw" in line]
    errors = [frame.error for frame in frames if frame.error is not None]
    assert {refusal(error) for error in errors} == kinds
    assert {cancellation(error) for error in errors} == {None}


def test_recorded_agreements_are_neither() -> None:
    frames = [decode_frame(line["raw"]) for line in lines("ws_errors/errors.jsonl", "no_id") if "raw" in line]
    assert [(frame.id, frame.error) for frame in frames] == [(2, None)]


async def test_all_consensus_events_come_through_in_the_nodes_order() -> None:
    frames = [line["raw"] for line in lines("queries/full.jsonl", "O") if "raw" in line]
    frames = [raw for raw in frames if msgspec.json.decode(raw).get("result")]
    named = [decode_frame(raw).result for raw in frames]
    used = [result.event for result in named if result and not result.event.endswith(("NewBlockEvents", "Updates"))]
    async with fake_stream() as node, watched(node) as watcher:
        await node.send(*(with_id(raw, 1) for raw in frames))
        await until(lambda: watcher.counted("frames") == len(frames) + 2)

        told = [event.name if isinstance(event, RoundState) else type(event).__name__ for event in watcher.events]
        assert len(told) > 150
        assert told == used
        assert watcher.counted("unreadable_frames") == 0


# The recorded client had Vote (1), 'Round' (2) and NewBlockHeader (3): three of our narrow queries, or as good as that.
NARROW_IDS = {1: 3, 2: 4, 3: 6}


async def play_pause(name: str, node: FakeStream) -> None:
    """Send a slow client's recording, the pause cut, on the subscriptions of a dialect with narrow queries only."""
    last = 0.0
    for line in lines(name):
        if line["t"] - last > 0.005:
            await asyncio.sleep(min(line["t"] - last, 0.1))
        last = line["t"]
        number = json.loads(line["raw"]).get("id") if "raw" in line else None
        if number in NARROW_IDS and 'result":{}' not in line["raw"]:
            try:
                await node.send(with_id(line["raw"], NARROW_IDS[number]))
            except ConnectionClosed:
                return  # the stream has noticed, and left


def narrow(request: dict[str, Any]) -> object:
    return refuse(request, "failed to parse query: x") if "'o'" in request["params"]["query"] else agree(request)


async def test_a_recorded_cancellation_of_two_subscriptions_is_repaired_on_the_same_connection() -> None:
    async with fake_stream() as node:
        node.answer = narrow
        async with watched(node) as watcher:
            asked = len(node.requests)
            await play_pause("slow_client/pause1_slow.jsonl", node)
            await until(lambda: watcher.counted("cancellations", "capacity") == 2)
            await until(lambda: watcher.stream.health.connected)

            assert node.queries[asked:] == ["tm.event='Vote'", "tm.event CONTAINS 'Round'"]
            assert watcher.counted("cancellations", "silence") == 0
            assert watcher.stream.health.gaps == 2
            assert watcher.interruptions >= 1
            assert watcher.counted("unreadable_frames") == 0


async def test_a_recorded_cancellation_without_a_word_is_noticed_by_the_headers_that_go_on() -> None:
    async with fake_stream() as node:
        node.answer = narrow
        async with watched(node) as watcher:
            await play_pause("slow_client/pause2_slow.jsonl", node)
            await until(lambda: len(node.connections) == 2 and watcher.stream.health.is_open)

            assert watcher.counted("cancellations", "silence") == 1
            assert watcher.stream.health.gaps == 1
            newest = {kind: max(e.height for e in watcher.events if isinstance(e, kind)) for kind in (Vote, RoundState)}
            headers = [event.header.height for event in watcher.events if isinstance(event, NewBlockHeader)]
            assert max(headers) >= min(newest.values()) + 3


async def test_a_recorded_end_of_the_node_is_one_gap_and_no_new_subscription() -> None:
    frames = [line["raw"] for line in lines("restart/life1_sigterm.jsonl", "A") if "raw" in line]
    async with fake_stream() as node, watched(node) as watcher:
        await node.send(*(with_id(raw, 1) for raw in frames))
        await until(lambda: watcher.counted("cancellations", "exit") == 1)
        assert not watcher.stream.health.connected
        node.cut()
        await until(lambda: len(node.connections) == 2 and watcher.stream.health.connected)
        assert len(node.requests) == 4
        assert watcher.stream.health.gaps == 1
        assert watcher.counted("unreadable_frames") == 0
