"""The websocket that every family reads, against servers that behave and servers that do not."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from chainwatch.errors import Unauthorized
from chainwatch.streams import websocket as stream
from chainwatch.streams.websocket import FrameQueue, Target, Websocket, websocket_url
from tests.unit.cometbft.fake_stream import FakeStream, dead_port, fake_stream, until
from tests.unit.exposition.certificates import Authority


class Reader:
    """Keeps what the websocket told, in order."""

    def __init__(self, url: str, work: float = 0.0, **target: Any) -> None:
        self.websocket = Websocket(Target(websocket_url(url), **target), self)
        self.log: list[tuple[str, object]] = []
        self.seen: list[float] = []
        self.ticks = 0
        self.work = work

    def told(self, what: str) -> list[object]:
        return [value for kind, value in self.log if kind == what]

    @property
    def lost(self) -> int:
        return sum(value for kind, value in self.log if kind == "dropped" and isinstance(value, int))

    def opened(self) -> None:
        self.log.append(("opened", None))

    def frame(self, data: bytes, seen: float) -> None:
        if self.work:
            time.sleep(self.work)
        self.log.append(("frame", data))
        self.seen.append(seen)

    def dropped(self, frames: int) -> None:
        self.log.append(("dropped", frames))

    def tick(self) -> None:
        self.ticks += 1

    def closed(self, why: str) -> None:
        self.log.append(("closed", why))

    def failed(self, why: str) -> None:
        self.log.append(("failed", why))

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Reader]:
        task = asyncio.create_task(self.websocket.run())
        try:
            yield self
            assert not task.done(), "it ended by itself"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("rpc", "expected"),
    [
        ("http://127.0.0.1:26657", "ws://127.0.0.1:26657/websocket"),
        ("http://127.0.0.1:26657/", "ws://127.0.0.1:26657/websocket"),
        ("https://rpc.example.org/node1/", "wss://rpc.example.org/node1/websocket"),
        ("http://[::1]:26657", "ws://[::1]:26657/websocket"),
        ("https://user:word@rpc.example.org/", "wss://rpc.example.org/websocket"),
        ("https://rpc.example.org/?key=a%26b", "wss://rpc.example.org/websocket?key=a%26b"),
        ("https://rpc.example.org/a%2Fb/?x=1&y=", "wss://rpc.example.org/a%2Fb/websocket?x=1&y="),
    ],
)
def test_the_address_keeps_the_path_and_query_of_a_proxy_and_no_login(rpc: str, expected: str) -> None:
    assert websocket_url(rpc) == expected


async def test_frames_arrive_in_order_with_the_time_at_which_they_were_read() -> None:
    async with fake_stream() as node, Reader(node.url).reading() as reader:
        await until(lambda: node.connections)
        before = time.time()
        await node.send("one", "two", b"three")
        await until(lambda: len(reader.seen) == 3)

        assert reader.told("frame") == [b"one", b"two", b"three"]
        assert before <= reader.seen[0] <= reader.seen[2] <= time.time()
        assert node.paths == ["/websocket"]


async def test_what_is_sent_arrives_and_the_end_is_a_goodbye_with_code_1000() -> None:
    async with fake_stream() as node:
        async with Reader(node.url).reading() as reader:
            await until(lambda: reader.told("opened"))
            reader.websocket.send('{"id": 1, "params": {"query": "q"}}')
            await until(lambda: node.requests)
        assert node.queries == ["q"]
        await until(lambda: node.closed_with)
        assert node.closed_with == [1000]


async def test_a_burst_of_400_frames_loses_nothing_and_leaves_the_loop_to_others() -> None:
    async with fake_stream() as node, Reader(node.url, work=0.0002).reading() as reader:
        await until(lambda: node.connections)
        held_up = 0

        async def scrape() -> None:
            nonlocal held_up
            while True:
                worked_on = len(reader.seen)
                await asyncio.sleep(0)
                held_up = max(held_up, len(reader.seen) - worked_on)

        other = asyncio.create_task(scrape())
        await node.send(*(f"{number:0500}" for number in range(400)))
        await until(lambda: len(reader.seen) == 400)
        other.cancel()

        assert reader.told("frame") == [f"{number:0500}".encode() for number in range(400)]
        assert not reader.told("dropped")
        # A slice of 2 ms; counted in frames, since the machine that runs this may be busy elsewhere.
        assert 1 <= held_up <= 11


async def test_frames_that_do_not_fit_are_counted_at_their_place() -> None:
    async with fake_stream() as node, Reader(node.url, work=0.01, queue=10).reading() as reader:
        await until(lambda: node.connections)
        await node.send(*(f"{number}" for number in range(300)))
        await until(lambda: reader.lost + len(reader.seen) == 300)
        place = [kind for kind, _ in reader.log].index("dropped")
        (_, before), (_, lost) = reader.log[place - 1 : place + 1]
        after = next((value for kind, value in reader.log[place:] if kind == "frame"), b"300")

        assert int(after) - int(before) - 1 == lost  # type: ignore[call-overload]


def test_the_queue_is_bounded_by_bytes_too_but_one_frame_always_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_QUEUE_BYTES", 100)
    queue = FrameQueue(10, asyncio.Event())
    for size in (150, 1, 60, 60):
        queue.put(1.0, b"x" * size)
    assert queue.take() == (0, 1.0, b"x" * 150)
    assert len(queue) == 0
    assert queue.missed() == 3
    queue.put(2.0, b"x" * 60)
    queue.put(3.0, b"x" * 60)
    queue.take()
    queue.put(4.0, b"x" * 60)
    assert queue.take() == (1, 4.0, b"x" * 60)


async def test_it_connects_again_after_a_cut_and_delivers_first_what_had_come() -> None:
    async with fake_stream() as node, Reader(node.url, work=0.001).reading() as reader:
        await until(lambda: node.connections)
        await node.send(*(str(number) for number in range(50)))
        node.connections[-1].transport.close()  # after what is written
        await until(lambda: len(reader.told("opened")) == 2)

        assert [kind for kind, _ in reader.log] == ["opened", *["frame"] * 50, "closed", "opened"]
        assert reader.told("closed") == ["it broke without a goodbye; did the node stop?"]


async def test_pauses_double_up_to_the_limit_and_begin_anew_after_a_useful_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []

    async def note(_: Websocket, seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(Websocket, "_pause", note)
    async with dead_port() as port:
        pass
    async with Reader(f"http://127.0.0.1:{port}").reading() as reader:
        await until(lambda: len(pauses) >= 10)
        for place, seconds in enumerate(pauses[:10]):
            usual = min(0.2 * 2**place, 30)
            assert 0.75 * usual <= seconds <= 1.25 * usual
        reader.websocket.useful()  # as of a connection that has lasted
        pauses.clear()
        await until(lambda: pauses)
        assert pauses[0] <= 0.25


async def test_a_connection_that_ends_at_once_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fake_stream() as node:
        reader = Reader(node.url)

        async def leave(connection: ServerConnection) -> None:
            await connection.send("hello")
            await connection.close()

        node.greet = leave
        monkeypatch.setattr(reader, "frame", lambda _data, _seen: reader.websocket.useful())
        async with reader.reading():
            await asyncio.sleep(1.5)
        assert 2 <= len(node.connections) <= 4  # after 0.2, 0.4, 0.8 s


async def test_a_peer_that_answers_no_ping_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "PING_SECONDS", 0.2)

    async def freeze(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await connection.wait_closed()

    async with fake_stream() as node:
        node.greet = freeze
        async with Reader(node.url).reading() as reader:
            await until(lambda: reader.told("closed"))
            assert reader.told("closed") == ["no answer to a ping within 0.2 s; the node hangs, or the network is cut"]


async def test_pings_of_the_peer_are_answered() -> None:
    async with fake_stream() as node, Reader(node.url).reading():
        await until(lambda: node.connections)
        async with asyncio.timeout(5):
            await (await node.connections[-1].ping())


async def test_a_peer_that_pings_and_does_not_read_the_answers_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_UNSENT_BYTES", 10_000)

    async def flood(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        while not connection.transport.is_closing():
            if connection.transport.get_write_buffer_size() < 1 << 20:
                connection.transport.write((b"\x89\x7d" + b"p" * 125) * 1000)
            await asyncio.sleep(0.001)

    async with fake_stream() as node:
        node.greet = flood
        async with Reader(node.url).reading() as reader:
            await until(lambda: reader.told("closed"))


async def test_an_address_that_accepts_and_says_nothing_has_a_deadline() -> None:
    async with dead_port() as port, Reader(f"http://127.0.0.1:{port}", timeout=0.2).reading() as reader:
        await until(lambda: reader.told("failed"))
        assert reader.told("failed")[0] == "no answer within 0.2 s; the node hangs, or a firewall is in between"


async def test_a_peer_that_takes_nothing_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    async def freeze(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await connection.wait_closed()

    async with fake_stream() as node:
        node.greet = freeze
        async with Reader(node.url, timeout=0.3).reading() as reader:
            await until(lambda: reader.told("opened"))
            for _ in range(40):
                reader.websocket.send("x" * 1_000_000)
            await until(lambda: reader.told("closed"))
            assert reader.told("closed") == ["it took nothing from us for 0.3 s"]


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "rpc.user"), (403, "proxy"), (404, "path"), (502, "pass websockets on"), (302, "pass websockets on")],
)
async def test_a_refusal_by_http_says_what_to_check_and_no_redirection_is_followed(status: int, advice: str) -> None:
    def refuse(connection: ServerConnection, _request: object) -> object:
        answer = connection.respond(status, "secret text of the peer")
        answer.headers["Location"] = "/elsewhere"
        return answer

    async with fake_stream(process_request=refuse) as node, Reader(node.url).reading() as reader:
        await until(lambda: reader.told("failed"))
        text = str(reader.told("failed")[0])
        assert text.startswith(f"HTTP {status}: ")
        assert advice in text
        assert "secret" not in text


async def test_something_else_on_the_port_is_told() -> None:
    def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK IMAP4 ready\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        async with Reader(f"http://127.0.0.1:{port}").reading() as reader:
            await until(lambda: reader.told("failed"))
            assert "speaks no websocket" in str(reader.told("failed")[0])
    finally:
        server.close()


async def test_the_login_is_asked_for_each_attempt_and_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.INFO, "websockets.server")  # the test's own server shows what it was sent
    words = iter(["Basic Zmlyc3Q6", "Basic c2Vjb25k"])

    def header() -> Mapping[str, str]:
        return {"Authorization": next(words)}

    async with fake_stream() as node:
        async with Reader(node.url, headers=header).reading():
            await until(lambda: node.connections)
            node.cut()
            await until(lambda: len(node.connections) == 2)
        assert [headers["Authorization"] for headers in node.headers] == ["Basic Zmlyc3Q6", "Basic c2Vjb25k"]
    assert "Zmlyc3Q6" not in caplog.text
    assert "c2Vjb25k" not in caplog.text


async def test_a_password_file_that_cannot_be_read_is_told_and_tried_again() -> None:
    def header() -> Mapping[str, str]:
        raise Unauthorized("rpc.password_file: cannot read it")

    async with fake_stream() as node, Reader(node.url, headers=header).reading() as reader:
        await until(lambda: len(reader.told("failed")) == 2)
        assert reader.told("failed")[0] == "rpc.password_file: cannot read it"


async def test_a_tls_server_is_checked_against_the_authority(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate, key = authority.issue("127.0.0.1")
    server.load_cert_chain(certificate, key)
    async with fake_stream(ssl=server) as node:
        address = f"https://127.0.0.1:{node.port}"
        trusted = ssl.create_default_context(cafile=authority.file)
        async with Reader(address, tls=trusted).reading() as reader:
            await until(lambda: reader.told("opened"))
        async with Reader(address, tls=ssl.create_default_context()).reading() as reader:
            await until(lambda: reader.told("failed"))
            assert "rpc.ca_file" in str(reader.told("failed")[0])


async def test_the_environments_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with fake_stream() as node, Reader(node.url).reading() as reader:
        await until(lambda: reader.told("opened"))


def too_large(connection: ServerConnection) -> None:
    connection.transport.write(b"\x81\x7f" + (100 << 20).to_bytes(8, "big"))


def masked(connection: ServerConnection) -> None:
    connection.transport.write(b"\x81\x81abcdx")


def unknown_opcode(connection: ServerConnection) -> None:
    connection.transport.write(b"\x83\x01x")


def empty_fragments(connection: ServerConnection) -> None:
    connection.transport.write(b"\x01\x00" + b"\x00\x00" * 20_000)


@pytest.mark.parametrize("attack", [too_large, masked, unknown_opcode, empty_fragments])
async def test_a_peer_against_the_protocol_is_left_without_growth(attack: Callable[[ServerConnection], None]) -> None:
    async def greet(connection: ServerConnection) -> None:
        attack(connection)
        await asyncio.sleep(0.1)

    async with fake_stream() as node:
        node.greet = greet
        async with Reader(node.url).reading() as reader:
            tracemalloc.start()
            try:
                await until(lambda: reader.told("closed"))
                assert tracemalloc.get_traced_memory()[1] < 40 << 20
            finally:
                tracemalloc.stop()
            assert not reader.told("frame")


async def test_a_flood_does_not_keep_it_from_connecting_again() -> None:
    async def flood(connection: ServerConnection) -> None:
        while True:
            await connection.send("garbage")
            await asyncio.sleep(0)

    async with fake_stream() as node:
        node.greet = flood
        async with Reader(node.url, work=0.0005, queue=500).reading() as reader:
            await until(lambda: len(reader.seen) > 100)
            reader.websocket.reconnect("enough")
            await until(lambda: reader.told("closed"))
            assert reader.told("closed") == ["enough"]


async def test_ticks_go_on_whether_frames_come_or_not() -> None:
    async with fake_stream() as node, Reader(node.url).reading() as reader:
        await until(lambda: reader.ticks >= 2, 5)
        ticks = reader.ticks
        end = time.monotonic() + 0.7
        while time.monotonic() < end:
            await node.send("x")
            await asyncio.sleep(0.01)
        assert reader.ticks > ticks


async def test_a_request_to_reconnect_ends_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "RETRY_SECONDS", 30.0)
    node = FakeStream()
    await node.start()
    try:
        async with Reader(node.url).reading() as reader:
            await until(lambda: node.connections)
            node.cut()
            await until(lambda: reader.told("closed"))
            await asyncio.sleep(0.05)
            reader.websocket.reconnect("now")
            await until(lambda: len(node.connections) == 2, 5)
    finally:
        await node.stop()
