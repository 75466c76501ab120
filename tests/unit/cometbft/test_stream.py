"""A node's consensus events: subscribed, read, and subscribed again after every kind of loss."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from chainwatch.config import Secret
from chainwatch.families.cometbft import stream as module
from chainwatch.families.cometbft.consensus.events import Event, NewBlock, RoundState, Vote
from chainwatch.families.cometbft.settings import CometbftSettings, Rpc, Stream, Vantage
from chainwatch.families.cometbft.stream import ConsensusStream
from chainwatch.families.cometbft.subscriptions import ALL_CONSENSUS, EVIDENCE, NARROW
from tests.unit.cometbft import fake_stream as fake
from tests.unit.cometbft.fake_stream import FakeStream, agree, block, fake_stream, refuse, step, until, vote

CONNECTED = "connected, and subscribed to the events of consensus"


class Watcher:
    """A stream, and what it told in order: events, and the word interrupted, save for the first opening's."""

    def __init__(self, url: str, vantage: int = 0, work: float = 0.0, queue: int = 20_000, **rpc: Any) -> None:
        rpc.setdefault("timeout", 2.0)
        self.settings = CometbftSettings(
            rpc=Rpc(url=url, **rpc),
            stream=Stream(silence=0.2, queue=queue),
            vantage=Vantage(urls=url if vantage else None),
        )
        self.told: list[Event | str] = []
        self.seen: list[float] = []
        self.vantages: set[int] = set()
        self.openings = 0  # interruptions at the first opening
        self.work = work
        self.stream = ConsensusStream(url, self.settings, vantage, self)

    @property
    def events(self) -> list[Event]:
        return [event for event in self.told if not isinstance(event, str)]

    @property
    def interruptions(self) -> int:
        return self.told.count("interrupted")

    def event(self, event: Event, seen: float, vantage: int) -> None:
        if self.work:
            time.sleep(self.work)
        self.told.append(event)
        self.seen.append(seen)
        self.vantages.add(vantage)

    def interrupted(self, vantage: int) -> None:
        self.vantages.add(vantage)
        if self.stream.health.is_open and not self.openings and not self.told:
            self.openings += 1
        else:
            self.told.append("interrupted")

    def counted(self, name: str, **labels: str) -> float:
        """A counter of this stream; fails where it is not exported."""
        (number,) = [
            sample.value
            for family in self.stream.collect()
            for sample in family.samples
            if sample.name == f"cometbft_stream_{name}_total" and labels.items() <= sample.labels.items()
        ]
        return number

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[Watcher]:
        task = asyncio.create_task(self.stream.run())
        try:
            yield self
            if task.done():
                task.result()
                raise AssertionError("the stream ended by itself")
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def watched(node: FakeStream, **options: Any) -> AsyncIterator[Watcher]:
    """A stream that is connected and subscribed."""
    async with Watcher(node.url, **options).watching() as watcher:
        await until(lambda: watcher.stream.health.connected)
        yield watcher


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Our own lines, without the address."""
    return [record.getMessage().partition("): ")[2] for record in caplog.records if record.name == module.log.name]


async def test_two_subscriptions_tell_everything_in_the_nodes_order(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with fake_stream() as node, watched(node) as watcher:
        before = time.time()
        await node.send(step(5), vote(5), block(5), fake.event("NewBlockEvents", {"height": "5"}))
        await until(lambda: watcher.counted("frames") == 6)

        assert node.queries == [ALL_CONSENSUS, EVIDENCE]
        assert [type(event) for event in watcher.events] == [RoundState, Vote, NewBlock]
        assert before <= watcher.seen[0] <= time.time()
        assert watcher.vantages == {0}
        assert messages(caplog) == [CONNECTED]
        health = watcher.stream.health
        assert (health.name, health.gaps, watcher.interruptions) == ("consensus", 0, 0)
        assert (health.last_event_timestamp or 0) >= before


async def test_the_first_opening_is_told_before_the_first_event_and_is_no_gap() -> None:
    async with fake_stream() as node:
        # The other agreement is overtaken by the event.
        node.answer = lambda request: agree(request) if request["params"]["query"] == EVIDENCE else None
        async with Watcher(node.url).watching() as watcher:
            await until(lambda: watcher.counted("frames") == 1)
            assert (watcher.openings, watcher.told) == (0, [])
            await node.send(step(5))
            await until(lambda: watcher.told)
            assert (watcher.openings, watcher.interruptions, watcher.stream.health.gaps) == (1, 0, 0)


async def test_a_providers_key_reaches_the_node_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.INFO, "websockets.server")  # the test's own server shows what it was sent
    async with fake_stream() as node:
        url = f"{node.url}/sesame?apikey=sesame%261"
        async with Watcher(url).watching() as watcher:
            await until(lambda: watcher.stream.health.connected)
            await node.stop()
            await until(lambda: not watcher.stream.health.connected)
            await until(lambda: any("cannot connect" in message for message in messages(caplog)))
        assert node.paths == ["/sesame/websocket?apikey=sesame%261"]
    assert f"stream consensus (127.0.0.1:{node.port}): connected" in caplog.text
    assert "sesame" not in caplog.text


async def test_a_vantage_point_has_a_name_of_its_own_and_is_named_to_the_handler() -> None:
    async with fake_stream() as node, watched(node, vantage=1) as watcher:
        await node.send(step(5))
        await until(lambda: watcher.events)
        assert watcher.stream.health.name == "vantage1"
        assert watcher.vantages == {1}
        assert watcher.counted("frames", stream="vantage1") == 3


async def test_the_login_goes_to_the_watched_node_only_and_into_no_log(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.INFO, "websockets.server")  # the test's own server shows what it was sent
    async with fake_stream() as node:
        async with watched(node, user="op", password=Secret("sesame")):
            assert node.headers[0]["Authorization"] == "Basic b3A6c2VzYW1l"
        async with watched(node, vantage=1, user="op", password=Secret("sesame")):
            assert "Authorization" not in node.headers[1]
    assert "sesame" not in caplog.text
    assert "b3A6c2VzYW1l" not in caplog.text


async def test_400_frames_at_once_lose_nothing() -> None:
    async with fake_stream() as node, watched(node) as watcher:
        await node.send(*(vote(height) for height in range(1, 401)))
        await until(lambda: len(watcher.events) == 400)
        assert [event.height for event in watcher.events if isinstance(event, Vote)] == list(range(1, 401))
        assert watcher.stream.health.gaps == 0
        assert watcher.counted("dropped_frames") == 0


async def test_frames_that_come_too_fast_are_counted_and_told_where_they_are_missing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with fake_stream() as node, watched(node, work=0.005, queue=100) as watcher:
        await node.send(*(vote(height) for height in range(1, 301)))
        await until(lambda: watcher.counted("dropped_frames") + len(watcher.events) == 300, 20)
        place = watcher.told.index("interrupted")
        before, after = watcher.told[place - 1], watcher.told[place + 1] if len(watcher.told) > place + 1 else None

        assert watcher.counted("dropped_frames") > 0
        assert watcher.stream.health.gaps == watcher.interruptions
        assert isinstance(before, Vote)
        assert not isinstance(after, Vote) or after.height > before.height + 1
        assert sum("stream.queue" in text for text in messages(caplog)) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (fake.CAPACITY, "capacity"),
        ("subscription was cancelled (reason: internal subscription event buffer is out of capacity)", "capacity"),
        ("subscription was canceled (reason: slow client)", "slow_client"),
        ("subscription was cancelled (reason: client is not pulling messages fast enough)", "slow_client"),
        ("subscription was canceled (reason: something new)", "other"),
        ("subscription went away", "other"),
    ],
)
async def test_a_cancelled_subscription_is_made_again_on_the_same_connection(
    text: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with fake_stream() as node, watched(node) as watcher:
        await node.send(step(5))
        await node.cancel(1, text)
        await until(lambda: len(node.requests) == 3 and watcher.stream.health.connected)
        await node.send(step(7))
        await until(lambda: len(watcher.events) == 2)

        assert len(node.connections) == 1
        assert node.queries[2] == ALL_CONSENSUS
        assert watcher.counted("cancellations", reason=reason) == 1
        assert watcher.stream.health.gaps == 1
        assert watcher.told[1:3] == ["interrupted", "interrupted"]  # when it is lost, and when it is there again
        assert text in caplog.text


async def test_the_ids_of_old_nodes_are_understood() -> None:
    async with fake_stream() as node, watched(node) as watcher:
        await node.send(step(5, number="1#event"))
        await node.cancel("1#event")
        await until(lambda: len(node.requests) == 3)
        assert len(watcher.events) == 1
        assert watcher.counted("unreadable_frames") == 0


async def test_a_subscription_that_is_cancelled_again_at_once_gets_a_new_connection() -> None:
    async with fake_stream() as node, watched(node) as watcher:
        await node.cancel(1)
        await until(lambda: len(node.requests) == 3 and watcher.stream.health.connected)
        await node.cancel(1)
        await until(lambda: len(node.connections) == 2 and watcher.stream.health.connected)
        assert node.closed_with == [1000]
        assert watcher.counted("cancellations", reason="capacity") == 2


async def test_a_node_that_stops_and_returns_is_one_gap(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with fake_stream() as node, watched(node) as watcher:
        await node.send(step(5))
        await node.cancel(1, fake.EXITED)
        await node.cancel(2, fake.EXITED)
        await until(lambda: watcher.counted("cancellations", reason="exit") == 2)
        assert not watcher.stream.health.connected
        assert watcher.told[1:] == ["interrupted"]
        await node.stop()
        await until(lambda: any("cannot connect" in text for text in messages(caplog)))
        await node.start()
        await until(lambda: watcher.stream.health.connected)

        assert watcher.stream.health.gaps == 1
        assert watcher.told[1:] == ["interrupted", "interrupted"]
        assert len(node.requests) == 4, "nothing is asked of a node that stops"
        assert messages(caplog) == [
            CONNECTED,
            "lost: the node stopped. Connecting again",
            "cannot connect: Connection refused; is the node running, and is this its RPC port? Trying again",
            CONNECTED,
        ]


async def test_a_node_that_says_that_it_stops_and_does_not_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXIT_SECONDS", 0.2)
    async with fake_stream() as node, watched(node) as watcher:
        await node.cancel(1, fake.EXITED)
        await until(lambda: len(node.connections) == 2 and watcher.stream.health.connected)


async def test_a_killed_node_is_one_gap() -> None:
    async with fake_stream() as node, watched(node) as watcher:
        await node.send(step(5))
        await until(lambda: watcher.events)
        node.cut()
        await until(lambda: len(node.connections) == 2 and watcher.stream.health.connected)
        assert watcher.stream.health.gaps == 1
        assert watcher.told[1:] == ["interrupted", "interrupted"]


async def test_a_first_connection_is_no_loss_however_long_it_takes() -> None:
    node = FakeStream()
    await node.start()
    await node.stop()
    async with Watcher(node.url).watching() as watcher:
        await asyncio.sleep(0.5)
        await node.start()
        try:
            await until(lambda: watcher.stream.health.connected)
            assert (watcher.stream.health.gaps, watcher.interruptions) == (0, 0)
        finally:
            await node.stop()


async def test_silence_although_the_node_moves_on_makes_a_new_connection(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with fake_stream() as node, watched(node) as watcher:
        await node.send(step(5))
        await until(lambda: watcher.events)
        watcher.stream.expect_news()  # it spoke just now
        await asyncio.sleep(0.25)
        assert len(node.connections) == 1
        watcher.stream.expect_news()
        watcher.stream.expect_news()
        assert not watcher.stream.health.connected
        await until(lambda: len(node.connections) == 2)
        await until(lambda: watcher.stream.health.is_open)
        assert not watcher.stream.health.connected, "that a connection comes about proves nothing"
        await node.send(step(9))
        await until(lambda: watcher.stream.health.connected)

        assert watcher.counted("cancellations", reason="silence") == 1
        assert watcher.stream.health.gaps == 1
        assert messages(caplog) == [
            CONNECTED,
            "lost: nothing came for 0.2 s although the node moved on: the node dropped a subscription without a word,"
            " or hangs. Connecting again",
            CONNECTED,
        ]


async def test_a_quiet_chain_is_left_alone() -> None:
    async with fake_stream() as node, watched(node) as watcher:
        await asyncio.sleep(0.6)
        assert len(node.connections) == 1
        assert watcher.stream.health.connected


async def test_expecting_news_without_a_connection_changes_nothing() -> None:
    async with fake.dead_port() as port:
        pass
    async with Watcher(f"http://127.0.0.1:{port}").watching() as watcher:
        await asyncio.sleep(0.3)
        watcher.stream.expect_news()
        assert watcher.counted("cancellations", reason="silence") == 0


async def test_no_agreement_in_time_makes_a_new_connection(caplog: pytest.LogCaptureFixture) -> None:
    async with fake_stream() as node:
        node.answer = lambda _: None
        async with Watcher(node.url, timeout=0.2).watching() as watcher:
            await until(lambda: len(node.connections) == 2)
            assert not watcher.stream.health.connected
            assert watcher.stream.health.gaps == 0
            assert "no answer to a subscription within 0.2 s" in caplog.text


async def test_an_event_before_the_agreement_counts_as_one() -> None:
    async with fake_stream() as node:
        node.answer = lambda request: json.loads(step(5)) if request["id"] == 1 else agree(request)
        async with watched(node) as watcher:
            await until(lambda: watcher.events)
            assert watcher.stream.health.connected


def refusing(*words: str, data: str, **more: Any) -> Any:
    """An answer that refuses queries with any of these words in them."""

    def answer(request: dict[str, Any]) -> object:
        query = request["params"]["query"]
        return refuse(request, data, **more) if any(word in query for word in words) else agree(request)

    return answer


@pytest.mark.parametrize("data", ["failed to parse query: offset 9: EOF", "maximum query length exceeded", "new text"])
async def test_a_dialect_without_our_query_gets_narrow_ones_and_the_log_says_so_once(
    data: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with fake_stream() as node:
        node.answer = refusing("'o'", data=data)
        async with watched(node) as watcher:
            assert node.queries == [ALL_CONSENSUS, EVIDENCE, *NARROW]
            await node.send(vote(5, 3), step(5, number=4), block(5, 6))
            await until(lambda: len(watcher.events) == 3)
            node.cut()
            await until(lambda: len(node.connections) == 2 and watcher.stream.health.connected)
        assert sum("in its place" in text for text in messages(caplog)) == 1
        assert watcher.counted("cancellations", reason="refused") == 2


async def test_a_dialect_without_contains_still_gives_votes_rounds_and_blocks() -> None:
    async with fake_stream() as node:
        node.answer = refusing("CONTAINS", data="failed to parse query: x")
        async with watched(node):
            assert set(node.queries) - {ALL_CONSENSUS, "tm.event CONTAINS 'Round'"} == {
                EVIDENCE, "tm.event='Vote'", "tm.event='CompleteProposal'", "tm.event='NewBlock'",
                "tm.event='NewRound'",
            }  # fmt: skip


async def test_one_of_several_subscriptions_that_falls_silent_is_noticed() -> None:
    async with fake_stream() as node:
        node.answer = refusing("'o'", data="failed to parse query: x")
        async with watched(node) as watcher:
            for height in (5, 6):
                await node.send(vote(height, 3), step(height, number=4), block(height, 6))
            for height in (7, 8):
                await node.send(step(height, number=4), block(height, 6))
            await until(lambda: len(watcher.events) == 10)
            await node.send(block(9, 6))
            await until(lambda: len(watcher.events) == 11)
            assert len(node.connections) == 1, "the others may just be ahead"
            await asyncio.sleep(0.25)
            await node.send(step(9, number=4), block(10, 6))
            await until(lambda: len(node.connections) == 2)
            assert watcher.counted("cancellations", reason="silence") == 1


async def test_a_connection_with_one_subscription_does_without_evidence(caplog: pytest.LogCaptureFixture) -> None:
    async with fake_stream() as node:
        node.answer = refusing("NewEvidence", data="max_subscriptions_per_client 1 reached")
        async with watched(node) as watcher:
            await node.send(step(5))
            await until(lambda: watcher.events)
            assert len(node.requests) == 2
    assert "Raise max_subscriptions_per_client in its config.toml; going on without" in caplog.text


@pytest.mark.parametrize(
    ("data", "code", "advice"),
    [
        ("max_subscription_clients 100 reached", -32603, "Raise max_subscription_clients in its config.toml"),
        ("max_subscriptions_per_client 0 reached", -32603, "Raise max_subscriptions_per_client in its config.toml"),
        ("", -32601, "Is this a CometBFT node's RPC port"),
    ],
)
async def test_a_node_that_takes_no_subscription_is_asked_again_later(
    data: str, code: int, advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with fake_stream() as node:
        node.answer = refusing("tm.event", data=data, code=code)
        async with Watcher(node.url).watching() as watcher:
            await until(lambda: len(node.connections) == 3)
            assert not watcher.stream.health.connected
            assert (watcher.stream.health.gaps, watcher.interruptions) == (0, 0)
            assert sum(advice in text for text in messages(caplog)) == 1
            node.answer = agree
            await until(lambda: watcher.stream.health.connected)


async def test_already_subscribed_is_an_agreement() -> None:
    async with fake_stream() as node:
        node.answer = refusing("tm.event", data="already subscribed")
        async with watched(node) as watcher:
            assert watcher.counted("cancellations", reason="refused") == 0


async def test_text_of_the_node_is_cut_and_escaped_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with fake_stream() as node, watched(node):
        await node.cancel(1, "canceled \x1b[31m\n" + "x" * 100_000)
        await until(lambda: len(node.requests) == 3)
    assert all(len(text) < 1000 and text.isprintable() for text in messages(caplog))


async def test_new_settings_make_a_new_connection_only_where_they_concern_it() -> None:
    async with fake_stream() as first, fake_stream() as second, watched(first) as watcher:
        watcher.stream.configure(first.url, watcher.settings)
        await asyncio.sleep(0.2)
        assert len(first.connections) == 1
        watcher.stream.configure(second.url, CometbftSettings(rpc=Rpc(url=second.url)))
        await until(lambda: second.connections)
        await until(lambda: watcher.stream.health.connected)
        assert first.closed_with == [1000]


NESTED = b"[" * 200_000
GARBAGE: list[str | bytes] = [
    b"\x00\xff\xfe", "", "null", "[]", "42", '"text"', "{", '{"id": 1.5, "result": {}}', '{"id": {}, "result": {}}',
    '{"id": 1}', '{"id": 99, "result": {}}', '{"id": "²", "result": {}}', '{"id": "9' + "9" * 5000 + '", "result": {}}',
    '{"id": 1, "result": {"data": 5}}', '{"id": 1, "result": ' + "[" * 100_000, NESTED,
    fake.event("Vote", {"Vote": {"type": 2}}), fake.event("Vote", None), step(5, number=77),
    '{"id": 1, "result": {"data": {"value": ' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}}}",
    '{"error": {"code": -32700, "message": "Parse error"}}',
]  # fmt: skip


async def test_whatever_else_comes_is_counted_skipped_and_told_a_few_times(caplog: pytest.LogCaptureFixture) -> None:
    async with fake_stream() as node, watched(node) as watcher:
        for _ in range(3):
            await node.send(*GARBAGE)
        await node.send(step(6))
        await until(lambda: watcher.events)

        assert watcher.counted("unreadable_frames") == 3 * len(GARBAGE)
        assert len(node.connections) == 1
        assert watcher.stream.health.gaps == 0
        assert len(messages(caplog)) <= 3


async def test_endless_garbage_does_not_grow_memory() -> None:
    async def flood(connection: ServerConnection) -> None:
        number = 0
        while True:
            number += 1
            await connection.send(
                json.dumps({"id": number % 3, "error": {"code": number, "data": f"canceled {number}" + "x" * 1000}})
            )

    async with fake_stream() as node:
        node.greet = flood
        async with Watcher(node.url).watching() as watcher:
            await until(lambda: watcher.counted("frames") > 500)
            tracemalloc.start()
            try:
                start = watcher.counted("frames")
                await until(lambda: watcher.counted("frames") > start + 3000, 20)
                assert tracemalloc.get_traced_memory()[0] < 8 << 20
            finally:
                tracemalloc.stop()
        assert len(node.requests) < 100


async def test_a_frame_of_100_megabytes_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    async with fake_stream() as node, watched(node) as watcher:
        node.connections[0].transport.write(b"\x81\x7f" + (100 << 20).to_bytes(8, "big"))
        await until(lambda: len(node.connections) == 2 and watcher.stream.health.connected)
        assert watcher.stream.health.gaps == 1
        assert "a frame larger than 67108864 bytes came" in caplog.text
