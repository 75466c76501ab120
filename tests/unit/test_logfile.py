"""A log is followed through growth, rename, cut, absence and refusal, with nothing lost and nothing twice."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.streams.health import StreamHealth
from chainwatch.streams.logfile import Lines, LogFollower, Tail

POLL = 0.01


class Reader:
    """A follower and what it handed on."""

    def __init__(self, path: Path, *, step: int = 256 * 1024) -> None:
        self.chunks: list[bytes] = []
        self.primed: list[bytes] = []
        self.health = StreamHealth("log")
        self.follower = LogFollower(
            path, self.chunks.append, self.health, prime=self.primed.append, poll=POLL, step=step
        )

    @property
    def lines(self) -> list[bytes]:
        return b"".join(self.chunks).splitlines()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(POLL)

    async def has(self, *lines: bytes) -> None:
        await self.until(lambda: len(self.lines) >= len(lines))
        assert self.lines == list(lines)


@asynccontextmanager
async def following(path: Path, *, step: int = 256 * 1024) -> AsyncIterator[Reader]:
    reader = Reader(path, step=step)
    task = asyncio.create_task(reader.follower.run())
    try:
        await reader.until(lambda: reader.follower.status != f"{path}: not opened yet")
        yield reader
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not reader.health.connected
    assert task.cancelled()


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "debug.log"


async def test_reading_starts_at_the_end_and_the_tail_before_it_is_only_learnt_from(path: Path) -> None:
    path.write_bytes(b"old\n")
    async with following(path) as reader:
        append(path, b"new\n")
        await reader.has(b"new")
        assert reader.primed == [b"old\n"]
        assert reader.health.connected
        assert reader.health.gaps == 0
        assert reader.health.last_event_timestamp is not None


async def test_tail_is_whole_lines_of_at_most_64_kib(path: Path) -> None:
    path.write_bytes(b"".join(b"line %d\n" % number for number in range(20_000)) + b"half")
    async with following(path) as reader:
        append(path, b" old\nnew\n")
        await reader.has(b"new")
        (tail,) = reader.primed
        assert 60_000 < len(tail) <= 64 * 1024
        assert tail.startswith(b"line ")
        assert tail.endswith(b"line 19999\n")


async def test_line_is_handed_on_when_it_is_complete(path: Path) -> None:
    path.touch()
    async with following(path) as reader:
        append(path, b"one\ntw")
        await reader.has(b"one")
        append(path, b"o\n")
        await reader.has(b"one", b"two")


async def test_file_that_is_missing_is_waited_for_and_read_from_its_beginning(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with following(path) as reader:
        assert reader.follower.status == f"{path}: no such file; waiting for it. If the node runs, check --log.file"
        assert not reader.health.connected
        await asyncio.sleep(5 * POLL)
        path.write_bytes(b"first\n")
        await reader.has(b"first")
        assert reader.health.connected
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: no such file; waiting for it. If the node runs, check --log.file",
        f"{path}: following it",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_file_that_may_not_be_read_is_tried_again(path: Path) -> None:
    path.write_bytes(b"old\n")
    path.chmod(0)
    async with following(path) as reader:
        assert "permission denied; the exporter's user must be allowed to read" in reader.follower.status
        path.chmod(0o600)
        await reader.until(lambda: reader.health.connected)
        append(path, b"new\n")
        await reader.has(b"new")


async def test_refused_permission_is_said_in_words(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("chainwatch.streams.logfile.os.open", refuse)
        async with following(path) as reader:
            assert reader.follower.status.startswith(f"{path}: permission denied; the exporter's user must be allowed")
            assert not reader.health.connected


async def test_folder_is_refused_in_words(tmp_path: Path) -> None:
    async with following(tmp_path) as reader:
        assert reader.follower.status == f"{tmp_path}: cannot be read: not a regular file. Trying again"


async def test_pipe_does_not_hang_the_follower(path: Path) -> None:
    os.mkfifo(path)
    async with following(path) as reader:
        assert "not a regular file" in reader.follower.status


async def test_renamed_file_is_read_to_its_end_before_the_new_one(path: Path) -> None:
    path.touch()
    async with following(path) as reader:
        with path.open("ab", buffering=0) as old:
            old.write(b"1\n")
            await reader.has(b"1")
            path.rename(path.with_suffix(".1"))
            old.write(b"2\n")
            await reader.has(b"1", b"2")
            path.touch()  # logrotate's `create`, before the node has reopened its log
            await asyncio.sleep(5 * POLL)
            old.write(b"3\n4")
            await reader.has(b"1", b"2", b"3")
        append(path, b"5\n")
        await reader.has(b"1", b"2", b"3", b"4", b"5")
        assert reader.health.gaps == 0


def test_bytes_written_to_the_old_file_after_the_new_one_was_noticed_are_read(path: Path) -> None:
    path.touch()
    tail = Tail(path)
    tail.open()
    with path.open("ab", buffering=0) as old:
        path.rename(path.with_suffix(".1"))
        path.write_bytes(b"2\n")
        assert tail.read().again
        old.write(b"1\n")
    assert tail.read().data == b"1\n"
    assert tail.read().ended
    tail.open()
    assert tail.read().data == b"2\n"
    tail.close()


async def test_deleted_file_is_read_on_while_the_node_writes_to_it(path: Path) -> None:
    path.touch()
    async with following(path) as reader:
        with path.open("ab", buffering=0) as old:
            path.unlink()
            old.write(b"1\n")
            await reader.has(b"1")
        path.write_bytes(b"2\n")
        await reader.has(b"1", b"2")


async def test_cut_file_is_read_from_its_beginning_and_counts_as_a_gap(path: Path) -> None:
    path.touch()
    async with following(path) as reader:
        append(path, b"1\nlost hal")
        await reader.has(b"1")
        os.truncate(path, 0)
        await reader.until(lambda: reader.health.gaps == 1)
        append(path, b"2\n")
        await reader.has(b"1", b"2")
        assert reader.health.gaps == 1


async def test_file_cut_and_grown_past_the_old_end_between_two_looks_is_noticed(path: Path) -> None:
    path.touch()
    async with following(path) as reader:
        append(path, b"1\n")
        await reader.has(b"1")
        path.write_bytes(b"x\nyyyyy\n")  # no await between cut and growth
        await reader.has(b"1", b"x", b"yyyyy")
        assert reader.health.gaps == 1


async def test_file_shrunk_by_the_node_is_read_on_behind_the_known_line(path: Path) -> None:
    # bitcoind keeps the last 10 MB of its log when it starts (-shrinkdebugfile): the same lines at other places.
    old = [b"2026-11-22T03:08:05.%06dZ line" % number for number in range(30_000)]
    path.touch()
    async with following(path) as reader:
        append(path, b"\n".join(old) + b"\n")
        await reader.has(*old)
        path.write_bytes(b"\n".join(old[20_000:]) + b"\nnew\n")
        await reader.has(*old, b"new")
        assert reader.health.gaps == 0


async def test_line_that_is_too_long_is_cut_and_counted(path: Path) -> None:
    path.touch()
    async with following(path, step=50_000) as reader:
        append(path, b"a" * 200_000 + b"\nnext\n")
        await reader.has(b"a" * 65536, b"next")
        assert reader.follower.lines_cut == 1


async def test_event_loop_turns_between_steps(path: Path) -> None:
    path.touch()
    reader = Reader(path, step=1000)
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task, other = asyncio.create_task(reader.follower.run()), asyncio.create_task(turn())
    await reader.until(lambda: reader.health.connected)
    append(path, b"x\n" * 50_000)
    before = turns
    await reader.until(lambda: len(reader.lines) == 50_000)
    assert turns - before >= 100
    assert max(len(chunk) for chunk in reader.chunks) <= 2000
    task.cancel()
    other.cancel()
    await asyncio.gather(task, other, return_exceptions=True)


async def test_error_of_the_handler_ends_the_run(path: Path) -> None:
    path.touch()

    def broken(_: bytes) -> None:
        raise LookupError("a bug")

    health = StreamHealth("log")
    task = asyncio.create_task(LogFollower(path, broken, health, poll=POLL).run())
    while not health.connected:
        await asyncio.sleep(POLL)
    append(path, b"x\n")
    with pytest.raises(LookupError):
        await task
    assert not health.connected


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(POLL)


def write_and_rotate(path: Path, count: int, every: int, rotate: Callable[[int], None], done: threading.Event) -> None:
    """Write numbered lines as a node does: unbuffered, appending, reopening after a rotation."""
    file = path.open("ab", buffering=0)
    try:
        for number in range(count):
            file.write(b"line %d\n" % number)
            if number % every == every - 1:
                rotate(number)
                file.close()
                file = path.open("ab", buffering=0)
    finally:
        file.close()
        done.set()


async def test_rotation_under_load_loses_nothing_and_repeats_nothing(path: Path) -> None:
    path.touch()
    done, every = threading.Event(), 5_000

    async with following(path) as reader:

        def rotate(number: int) -> None:
            # Two rotations within one poll would lose the file between, so the present one has been begun.
            wait_for(lambda: len(reader.lines) > number + 1 - every)
            path.rename(path.with_name(f"debug.log.{number}"))

        writer = threading.Thread(target=write_and_rotate, args=(path, 40_000, every, rotate, done))
        writer.start()
        await reader.until(lambda: done.is_set() and len(reader.lines) >= 40_000)
        writer.join()
        assert reader.lines == [b"line %d" % number for number in range(40_000)]
        assert reader.health.gaps == 0


async def test_copytruncate_under_load_repeats_nothing_and_owns_up_to_each_gap(path: Path) -> None:
    path.touch()
    done = threading.Event()

    async with following(path) as reader:

        def rotate(number: int) -> None:
            wait_for(lambda: len(reader.lines) > number)  # what is cut unread is lost, by anybody's follower
            os.truncate(path, 0)

        writer = threading.Thread(target=write_and_rotate, args=(path, 20_000, 5_000, rotate, done))
        writer.start()
        await reader.until(lambda: done.is_set() and reader.health.gaps == 4)
        writer.join()
        assert reader.lines == [b"line %d" % number for number in range(20_000)]


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_file_descriptor_is_closed(path: Path) -> None:
    path.write_bytes(b"x\n")
    tail = Tail(path)
    tail.open()
    before = open_descriptors()
    tail.close()
    tail.close()
    assert open_descriptors() == before - 1


@given(
    data=st.lists(st.sampled_from([b"\n", b"a", b"bb", b"c" * 9]), max_size=60).map(b"".join),
    cuts=st.lists(st.integers(0, 300), max_size=6),
    limit=st.integers(1, 20),
)
def test_lines_do_not_depend_on_the_pieces_and_are_bounded(data: bytes, cuts: list[int], limit: int) -> None:
    whole, pieces = Lines(limit), Lines(limit)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    got = b"".join(pieces.feed(data[start:end]) for start, end in pairwise(places))
    assert got == whole.feed(data)
    assert pieces.cut == whole.cut
    complete = data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]
    assert got.split(b"\n")[: len(complete)] == [line[:limit] for line in complete]
    assert len(pieces._rest) <= limit
