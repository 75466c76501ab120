"""What arrives on a real datagram socket in systemd's place."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chainwatch.errors import ConfigError
from chainwatch.exposition.systemd import Notifier


class Manager:
    """systemd's end of the notification socket."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)
        self.environ = {"NOTIFY_SOCKET": address.replace("\0", "@")}

    def received(self) -> list[str]:
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.socket.close()


@pytest.fixture
def abstract_manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(f"\0chainwatch-test-{os.getpid()}-{tmp_path.name}")
    yield manager
    manager.socket.close()


def watched(manager: Manager, seconds: float, **more: str) -> Notifier:
    return Notifier({**manager.environ, "WATCHDOG_USEC": str(int(seconds * 1e6)), **more})


async def fed_for(notifier: Notifier, seconds: float, sound: object) -> None:
    task = asyncio.create_task(notifier.feed_watchdog(sound))  # type: ignore[arg-type]
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_the_stages_of_a_service_are_announced(manager: Manager) -> None:
    notifier = Notifier(manager.environ)
    before = time.monotonic_ns() // 1000
    notifier.ready("serving on 127.0.0.1:9332")
    notifier.status("tip 102")
    notifier.reloading()
    notifier.stopping()
    ready, status, reloading, stopping = manager.received()
    assert ready == "READY=1\nSTATUS=serving on 127.0.0.1:9332"
    assert status == "STATUS=tip 102"
    first, stamp = reloading.split("\n")
    assert first == "RELOADING=1"
    assert before <= int(stamp.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    assert stopping.startswith("STOPPING=1\n")


def test_a_socket_in_the_abstract_namespace_is_reached(abstract_manager: Manager) -> None:
    Notifier(abstract_manager.environ).ready("x")
    assert abstract_manager.received() == ["READY=1\nSTATUS=x"]


def test_a_line_break_in_the_status_cannot_forge_a_message(manager: Manager) -> None:
    Notifier(manager.environ).status("node says\nWATCHDOG=1\r\nMAINPID=1")
    assert manager.received() == ["STATUS=node says WATCHDOG=1 MAINPID=1"]


async def test_the_watchdog_is_fed_at_half_its_period_while_sound(manager: Manager) -> None:
    await fed_for(watched(manager, 1), 1.8, lambda: True)
    messages = manager.received()
    assert set(messages) == {"WATCHDOG=1"}
    assert 2 <= len(messages) <= 4  # four on an idle machine


async def test_the_watchdog_is_not_fed_while_unsound_and_is_again_soon_after(manager: Manager) -> None:
    state = {"sound": False}
    task = asyncio.create_task(watched(manager, 1).feed_watchdog(lambda: state["sound"]))
    await asyncio.sleep(0.3)
    assert manager.received() == []
    state["sound"] = True
    fed: list[str] = []
    async with asyncio.timeout(5):
        while not fed:
            await asyncio.sleep(0.01)
            fed = manager.received()
    assert fed == ["WATCHDOG=1"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_soundness_check_that_raises_counts_as_unsound(
    manager: Manager, caplog: pytest.LogCaptureFixture
) -> None:
    await fed_for(watched(manager, 0.2), 0.3, lambda: 1 / 0)
    assert manager.received() == []
    assert "soundness check itself failed" in caplog.text


async def test_the_watchdog_is_not_fed_while_something_blocks_the_event_loop(
    manager: Manager, caplog: pytest.LogCaptureFixture
) -> None:
    async def block() -> None:
        while True:
            time.sleep(0.12)
            await asyncio.sleep(0)

    blocker = asyncio.create_task(block())
    await fed_for(watched(manager, 0.4), 1.0, lambda: True)
    blocker.cancel()
    await asyncio.gather(blocker, return_exceptions=True)
    assert len(manager.received()) <= 1  # the one at the start, before anything was blocked
    assert "the event loop was blocked" in caplog.text


async def test_a_watchdog_meant_for_another_process_is_left_alone(manager: Manager) -> None:
    notifier = watched(manager, 0.1, WATCHDOG_PID=str(os.getpid() + 1))
    await asyncio.wait_for(notifier.feed_watchdog(lambda: True), 1)
    assert manager.received() == []
    assert watched(manager, 0.1, WATCHDOG_PID=str(os.getpid())).watchdog_seconds == 0.1


async def test_nothing_happens_without_systemd() -> None:
    notifier = Notifier({})
    notifier.ready("x")
    notifier.reloading()
    notifier.stopping()
    await asyncio.wait_for(notifier.feed_watchdog(lambda: True), 1)
    assert notifier.watchdog_seconds is None


def test_a_manager_that_has_gone_costs_one_warning_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("x")
    assert "systemd was not told 'READY=1'" in caplog.text


def test_a_socket_of_another_kind_is_refused_in_words(caplog: pytest.LogCaptureFixture) -> None:
    Notifier({"NOTIFY_SOCKET": "vsock:2:1234"}).ready("x")
    assert "neither a path nor an abstract socket" in caplog.text


@pytest.mark.parametrize("value", ["0", "-5", "soon", "²"])
def test_a_watchdog_period_that_is_no_time_is_named(value: str) -> None:
    with pytest.raises(ConfigError, match=r"^WATCHDOG_USEC: .*; expected a whole number of microseconds"):
        Notifier({"WATCHDOG_USEC": value})
