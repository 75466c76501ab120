"""The ZMQ subscription against a publisher with a node's framing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chainwatch.streams import zmq as stream
from chainwatch.streams.health import StreamHealth
from chainwatch.streams.zmq import MessageCounters, Subscription
from tests.unit.zmq_publisher import Publisher


class Listener:
    """What a subscription told."""

    def __init__(self, *topics: str, addresses: dict[str, str] | None = None, at: str = "") -> None:
        self.health = StreamHealth("zmq")
        self.messages: list[tuple[str, bytes]] = []
        self.lost = 0
        self.subscription = Subscription(
            addresses or dict.fromkeys(topics, at),
            on_message=lambda topic, body: self.messages.append((topic, body)),
            on_lost=self._note_loss,
            health=self.health,
        )

    def _note_loss(self) -> None:
        self.lost += 1

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Listener]:
        task = asyncio.create_task(self.subscription.run())
        try:
            yield self
            assert not task.done(), "the subscription ended by itself"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], object], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def ready(listener: Listener, publisher: Publisher, *topics: str) -> None:
    """Wait until the publisher knows every subscription, not just the connection."""
    wanted, seen = set(topics or listener.subscription.addresses), set()

    def arrived() -> bool:
        seen.update(publisher.subscriptions())
        return wanted <= seen

    await until(arrived)
    await until(lambda: listener.health.is_open)


async def test_messages_arrive_with_topic_and_body_and_the_stream_is_up() -> None:
    with Publisher() as node:
        async with Listener("hashblock", "sequence", at=node.address).listening() as listener:
            assert not listener.health.connected
            await ready(listener, node)
            before = time.time()
            node.send("hashblock", b"\x01" * 32)
            node.connect("ab" * 32)
            await until(lambda: len(listener.messages) == 2)

            assert listener.messages == [("hashblock", b"\x01" * 32), ("sequence", b"\xab" * 32 + b"C")]
            assert listener.health.connected
            assert listener.health.gaps == 0
            assert before <= (listener.health.last_event_timestamp or 0) <= time.time()
        assert not listener.health.connected


async def test_the_first_number_seen_is_the_baseline() -> None:
    with Publisher() as node:
        async with Listener("sequence", at=node.address).listening() as listener:
            await ready(listener, node)
            node.send("sequence", b"first", 4711)
            node.send("sequence", b"second", 4712)
            await until(lambda: len(listener.messages) == 2)

            assert listener.health.gaps == 0


async def test_a_jump_of_the_counter_is_one_gap_told_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with Publisher() as node:
        async with Listener("sequence", at=node.address).listening() as listener:
            await ready(listener, node)
            node.send("sequence", b"a", 7)
            await until(lambda: listener.messages)
            told = listener.lost
            node.send("sequence", b"b", 12)
            node.send("sequence", b"c", 13)
            await until(lambda: len(listener.messages) == 3)

            assert listener.health.gaps == 1
            assert listener.lost == told + 1
            assert [record.getMessage() for record in caplog.records] == [
                "ZMQ topic sequence: 4 messages were lost; asking the node instead"
            ]


async def test_each_topic_has_its_own_counter() -> None:
    with Publisher() as node:
        async with Listener("sequence", "hashblock", at=node.address).listening() as listener:
            await ready(listener, node)
            node.send("sequence", b"a", 7)
            node.send("hashblock", b"b", 900)
            node.send("sequence", b"c", 8)
            node.send("hashblock", b"d", 901)
            await until(lambda: len(listener.messages) == 4)

            assert listener.health.gaps == 0


def test_the_counter_wraps_after_32_bits_and_starts_anew_when_it_goes_back() -> None:
    counters = MessageCounters()

    assert counters.missed("sequence", 2**32 - 1) == 0
    assert counters.missed("sequence", 0) == 0
    assert counters.missed("sequence", 3) == 2
    assert counters.missed("sequence", 1) == 0
    assert counters.missed("sequence", 2) == 0
    counters.clear()
    assert counters.missed("sequence", 500) == 0


async def test_a_publisher_that_restarts_is_no_gap_but_may_have_lost_messages() -> None:
    with Publisher() as node:
        async with Listener("sequence", at=node.address).listening() as listener:
            await ready(listener, node)
            node.send("sequence", b"before", 1000)
            await until(lambda: listener.messages)
            told = listener.lost
            node.close()
            await until(lambda: not listener.health.connected)
            with Publisher(node.port) as again:
                await ready(listener, again)
                again.send("sequence", b"after", 0)
                await until(lambda: len(listener.messages) == 2)

                assert listener.health.connected
                assert listener.health.gaps == 0
                assert listener.lost > told


async def test_a_publisher_that_comes_later_is_found() -> None:
    with Publisher() as placeholder:
        port = placeholder.port
    async with Listener("sequence", at=f"tcp://127.0.0.1:{port}").listening() as listener:
        await asyncio.sleep(0.3)
        assert not listener.health.connected
        with Publisher(port) as node:
            await ready(listener, node)
            node.send("sequence", b"a")
            await until(lambda: listener.messages)


async def test_topics_at_two_addresses_are_up_only_while_both_are() -> None:
    with Publisher() as one:
        other = Publisher()
        listener = Listener(addresses={"hashblock": one.address, "discardedfrommempool": other.address})
        async with listener.listening():
            await until(lambda: listener.health.connected)
            other.close()
            await until(lambda: not listener.health.connected)


async def test_a_renewed_stream_is_connected_when_a_message_arrives_and_not_before() -> None:
    with Publisher() as node:
        async with Listener("sequence", at=node.address).listening() as listener:
            await ready(listener, node)
            assert listener.health.connected
            listener.subscription.renew()
            await ready(listener, node)
            assert not listener.health.connected
            node.send("sequence", b"a", 3)
            await until(lambda: listener.messages)

            assert listener.health.connected


async def test_another_kind_of_server_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "RETRY_SECONDS", 0.1)
    answers: list[asyncio.Task[None] | None] = []

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100)
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Listener("sequence", at=f"tcp://127.0.0.1:{port}").listening() as listener:
            await until(lambda: len(answers) >= 3)

            assert not listener.health.connected
            assert listener.messages == []
    await asyncio.gather(*filter(None, answers))


async def test_topics_that_only_begin_alike_are_ignored() -> None:
    with Publisher() as node:
        async with Listener("hashblock", at=node.address).listening() as listener:
            await ready(listener, node)
            node.send("hashblock2", b"no")
            node.send("hashblock", b"yes")
            await until(lambda: listener.messages)

            assert listener.messages == [("hashblock", b"yes")]


async def test_malformed_messages_are_ignored_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with Publisher() as node:
        async with Listener("sequence", at=node.address).listening() as listener:
            await ready(listener, node)
            for _ in range(50):
                node.send_frames(b"sequence")
                node.send_frames(b"sequence", b"body", b"\x01")
                node.send_frames(b"sequence", b"body", b"\x01\x00\x00\x00", b"more")
                node.send_frames(b"sequence\xff\xfe", b"body", b"\x01\x00\x00\x00")
            node.send("sequence", b"good", 5)
            await until(lambda: listener.messages)

            assert listener.messages == [("sequence", b"good")]
            assert listener.health.gaps == 0
            assert len(caplog.records) == 1


async def test_an_oversized_message_is_not_taken_and_the_stream_recovers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "RETRY_SECONDS", 0.2)
    with Publisher() as node:
        async with Listener("sequence", at=node.address).listening() as listener:
            await ready(listener, node)
            node.send("sequence", b"x" * (stream.MAX_MESSAGE_BYTES + 1), 1)
            await until(lambda: not listener.health.connected)
            await ready(listener, node)
            node.send("sequence", b"small", 2)
            await until(lambda: listener.messages)

            assert listener.messages == [("sequence", b"small")]


async def test_a_burst_leaves_the_loop_to_others() -> None:
    count = 1_000  # what a publisher queues at most
    with Publisher() as node:
        async with Listener("sequence", at=node.address).listening() as listener:
            await ready(listener, node)
            for number in range(count):
                node.send("sequence", b"x", number)
            time.sleep(0.3)  # they are all in our queue before the loop turns again
            turns = 0
            while len(listener.messages) < count:
                await asyncio.sleep(0)
                turns += 1

            assert turns >= count / stream.MESSAGES_PER_TURN - 1
            assert listener.health.gaps == 0


async def test_what_a_full_queue_drops_is_noticed() -> None:
    with Publisher() as node:
        async with Listener("sequence", at=node.address).listening() as listener:
            await ready(listener, node)
            node.send("sequence", b"x", 0)
            await until(lambda: listener.messages)
            count = 20 * stream.QUEUE_MESSAGES
            for number in range(1, count):
                node.send("sequence", b"x" * 1000, number)
            await asyncio.sleep(0.5)
            node.send("sequence", b"x", count)
            await until(lambda: listener.messages and listener.health.gaps)

            assert len(listener.messages) < count


async def test_an_address_that_zmq_refuses_is_told_once_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stream, "RETRY_SECONDS", 0.01)
    async with Listener("sequence", at="tcp://no port here").listening() as listener:
        await asyncio.sleep(0.2)

        assert not listener.health.connected
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "cannot subscribe to tcp://no port here" in warnings[0]


async def test_threads_and_sockets_are_gone_after_the_end() -> None:
    def held() -> tuple[int, int]:
        return len(list(Path("/proc/self/task").iterdir())), len(list(Path("/proc/self/fd").iterdir()))

    with Publisher() as node:
        before = held()
        for _ in range(3):
            async with Listener("sequence", at=node.address).listening() as listener:
                await ready(listener, node)
                listener.subscription.renew()
                await ready(listener, node)
                assert held() > before
        await until(lambda: all(now <= then for now, then in zip(held(), before, strict=True)))
