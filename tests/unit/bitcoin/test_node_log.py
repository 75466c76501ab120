"""When a node's log counts as followed: quiet is no fault, silence about a new block is."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from chainwatch.errors import MethodNotFound
from chainwatch.families.bitcoin.log import node_log
from chainwatch.families.bitcoin.log.node_log import NodeLog
from tests.unit.bitcoin.watching import until

LINE = "2025-11-22T12:00:00Z Saw new header hash=00 height=1\n"


class Rpc:
    """A node that does not tell its log categories."""

    async def call(self, method: str, *_: Any, **__: Any) -> Any:
        raise MethodNotFound(method)


class Subject:
    """A log under watch; `moved_after` is what the tracker would say."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.moved_after: float | None = None
        self.log = NodeLog(path, Rpc(), lambda: self.moved_after)  # type: ignore[arg-type]

    @property
    def connected(self) -> float:
        [number] = [
            sample.value
            for family in self.log.collect()
            for sample in family.samples
            if sample.name == "chainwatch_stream_connected"
        ]
        return number

    def write(self) -> None:
        with self.path.open("a") as file:
            file.write(LINE)


@asynccontextmanager
async def following(path: Path) -> AsyncIterator[Subject]:
    path.write_text("an old line\n")
    subject = Subject(path)
    task = asyncio.create_task(subject.log.run())
    try:
        await until(lambda: subject.connected == 1)
        yield subject
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_log, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(node_log, "CHECK_SECONDS", 0.01)


async def stays_connected(subject: Subject) -> None:
    for _ in range(100):
        assert subject.connected == 1
        await asyncio.sleep(0.01)


async def test_a_log_without_a_line_about_a_new_block_is_lost_until_its_next_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with following(tmp_path / "debug.log") as subject:
        subject.moved_after = time.time()
        assert subject.connected == 1
        await until(lambda: subject.connected == 0)
        await asyncio.sleep(0.5)

        assert caplog.text.count("silent although the node has new blocks") == 1
        assert "silent" in subject.log.status
        subject.write()
        await until(lambda: subject.connected == 1)
        assert subject.log.status.endswith("following it")
        await stays_connected(subject)


async def test_a_log_that_spoke_after_the_tip_moved_is_followed(tmp_path: Path) -> None:
    async with following(tmp_path / "debug.log") as subject:
        subject.moved_after = time.time()
        subject.write()
        await stays_connected(subject)


async def test_a_quiet_log_of_a_quiet_chain_is_followed(tmp_path: Path) -> None:
    async with following(tmp_path / "debug.log") as subject:
        await stays_connected(subject)
