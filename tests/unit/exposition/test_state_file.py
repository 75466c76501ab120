"""A state file of any family: one owner, never in the way, the newest state on disk."""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec import Struct

from chainwatch.errors import ConfigError
from chainwatch.exposition import state_file
from chainwatch.exposition.state_file import STATE_ENVIRONMENT, StateFile, state_folder


class Content(Struct):
    number: int
    seen: dict[str, int] = {}

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError("below zero")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def content_of(path: Path) -> Content | None:
    return StateFile(path, Content).load()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(file: StateFile[Content]) -> AsyncIterator[None]:
    task = asyncio.create_task(file.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Disk:
    """What reaches the disk waits until it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.writes = 0
        self.at_once = 0
        self._fsync = os.fsync

    def fsync(self, descriptor: int) -> None:
        self.writes += 1
        self.at_once += 1
        self.released.wait()
        self._fsync(descriptor)
        self.at_once -= 1


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk()
    monkeypatch.setattr(os, "fsync", disk.fsync)
    yield disk
    disk.released.set()


# Writing


async def test_what_is_put_is_written_as_it_was_then(path: Path) -> None:
    file, seen = StateFile(path, Content), {"a": 1}
    file.put(Content(1, seen))
    seen["a"] = 2
    async with running(file):
        await until(path.exists)

        assert content_of(path) == Content(1, {"a": 1})


async def test_while_a_disk_hangs_nobody_waits_and_then_the_newest_state_wins(
    path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_file, "PAUSE", 0)
    file = StateFile(path, Content)
    async with running(file):
        for number in range(20):
            file.put(Content(number))
            await asyncio.sleep(0.005)
        assert disk.at_once == 1
        disk.released.set()
        await until(lambda: file.written and content_of(path) == Content(19))

    assert disk.writes == 4  # the first and the last state, each with its folder


async def test_a_write_that_takes_long_is_told_once_and_so_is_its_end(
    path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(state_file, "SLOW", 0.05)
    file = StateFile(path, Content)
    async with running(file):
        file.put(Content(1))
        await until(lambda: caplog.records)
        await asyncio.sleep(0.2)
        [record] = caplog.records
        assert f"{path}: still being written after 0.05 s" in record.getMessage()
        disk.released.set()
        await until(lambda: caplog.records[-1].getMessage().endswith("written again"))


async def test_the_last_state_is_written_at_the_end(path: Path) -> None:
    file = StateFile(path, Content)
    async with running(file):
        file.put(Content(1))
        await until(path.exists)
        file.put(Content(2))
        await asyncio.sleep(0.05)  # well within the pause between two writes
        assert content_of(path) == Content(1)

    assert content_of(path) == Content(2)


async def test_a_disk_that_hangs_does_not_hold_up_the_end(
    path: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    file = StateFile(path, Content)
    async with asyncio.timeout(5):
        async with running(file):
            file.put(Content(1))
            await until(lambda: disk.writes)

    assert "the last state could not be written in time" in caplog.text


async def test_nothing_is_written_where_nothing_was_put(path: Path) -> None:
    async with running(StateFile(path, Content)):
        await asyncio.sleep(0.02)

    assert not path.exists()


# Reading


def test_what_the_type_itself_refuses_is_not_loaded(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text('{"number": -1}')

    assert content_of(path) is None
    assert "below zero" in caplog.text


# Whose it is


def test_a_second_owner_is_refused_until_the_first_is_gone(path: Path) -> None:
    first, second = StateFile(path, Content), StateFile(path, Content)
    first.lock()

    with pytest.raises(ConfigError) as refused:
        second.lock()
    first.close()
    second.lock()
    second.close()

    assert str(refused.value) == (
        f"state.dir: {path.parent} is in use by another exporter; expected a folder of its own"
    )


def test_files_of_two_families_share_a_folder(tmp_path: Path) -> None:
    files = [StateFile(tmp_path / name, Content) for name in ("bitcoin.json", "btcd.json")]
    for file in files:
        file.lock()
    for file in files:
        file.close()


def test_a_folder_where_nothing_can_be_locked_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    StateFile(tmp_path / "absent" / "state.json", Content).lock()

    assert "cannot lock it (No such file or directory)" in caplog.text


# Where it is


@pytest.mark.parametrize(
    ("configured", "environment", "expected"),
    [
        (None, None, None),
        (None, "", None),
        (None, "/var/lib/chainwatch/a", "/var/lib/chainwatch/a"),
        (None, "/var/lib/chainwatch/a:/var/lib/other", "/var/lib/chainwatch/a"),
        ("/srv/state", "/var/lib/chainwatch/a", "/srv/state"),
    ],
)
def test_the_folder_is_the_configured_one_else_systemds(
    configured: str | None, environment: str | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(STATE_ENVIRONMENT, raising=False)
    if environment is not None:
        monkeypatch.setenv(STATE_ENVIRONMENT, environment)

    assert state_folder(Path(configured) if configured else None) == (Path(expected) if expected else None)
