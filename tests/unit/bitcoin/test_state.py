"""The state file: whole or not at all, and never in the way."""

import asyncio
import errno
import json
import logging
import os
from pathlib import Path

import pytest

from chainwatch.exposition.state_file import MAX_BYTES, StateFile
from chainwatch.families.bitcoin.tracker.active_chain import WINDOW, Block
from chainwatch.families.bitcoin.tracker.state import State


def hash_of(number: int) -> str:
    return f"{number:064x}"


def state(tip: int = 5, blocks: int = 3) -> State:
    return State(
        label="bitcoin-main",
        genesis=hash_of(0),
        blocks=[
            Block(height, hash_of(height), hash_of(height - 1), 1_700_000_000, hash_of(height), 1_700_000_000.5)
            for height in range(tip - blocks + 1, tip + 1)
        ],
        reorgs={"network": {1: 4, 2: 1}, "operator": {6: 1}},
        invalid={hash_of(99): [hash_of(99), hash_of(98)]},
    )


async def save(file: StateFile[State], what: State) -> bool:
    file.put(what)
    return await file.flush()


async def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json", State)

    assert file.load() is None
    assert await save(file, state())

    assert StateFile(tmp_path / "state.json", State).load() == state()
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600


async def test_a_full_window_with_mainnet_work_fits_with_room_to_spare(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json", State)

    await save(file, state(tip=900_000, blocks=WINDOW))

    assert (tmp_path / "state.json").stat().st_size < MAX_BYTES / 10
    assert file.load() == state(tip=900_000, blocks=WINDOW)


def damaged() -> dict[str, bytes]:
    good = json.loads(
        json.dumps({"kind": "chainwatch bitcoin tracker", "version": 1, "label": "a", "genesis": hash_of(0)})
    )
    block = {"height": 1, "hash": hash_of(1), "previous": hash_of(0), "time": 1, "work": "2", "first_seen": 1.0}

    def variant(**change: object) -> bytes:
        return json.dumps({**good, "blocks": [block], **change}).encode()

    return {
        "empty": b"",
        "cut": variant()[:-20],
        "not text": b"\xff\xfe\x00\x80",
        "another program's": b'{"kind": "shopping list", "items": []}',
        "a later version": variant(version=2),
        "a torn chain": variant(blocks=[block, {**block, "height": 7, "hash": hash_of(7)}]),
        "not a hash": variant(blocks=[{**block, "hash": "../../etc/passwd"}]),
        "work that is no number": variant(blocks=[{**block, "work": "twelve"}]),
        "too many blocks": variant(blocks=[block] * (WINDOW + 1)),
        "a counter too large": variant(reorgs={"network": {"1": 10**9}}),
        "an unknown origin": variant(reorgs={"martians": {"1": 1}}),
        "a label with a line break": variant(label="a\nb"),
        "deeply nested": b"[" * 100_000,
        "too large": variant() + b" " * MAX_BYTES,
    }


@pytest.mark.parametrize("name", damaged())
def test_a_file_that_cannot_be_trusted_is_named_in_the_log_and_ignored(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(damaged()[name])

    assert StateFile(path, State).load() is None

    [record] = caplog.records
    assert str(path) in record.getMessage()
    assert "starting without it" in record.getMessage()
    assert "\n" not in record.getMessage()


def test_a_folder_in_the_files_place_is_named_in_the_log_and_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert StateFile(tmp_path, State).load() is None

    assert "cannot read it (Is a directory)" in caplog.text


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """While it holds True, what is written does not reach the disk."""
    full = [True]
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return full


async def test_a_full_disk_keeps_the_old_file_says_so_once_and_is_tried_again(
    tmp_path: Path, full_disk: list[bool], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file = StateFile(tmp_path / "state.json", State)
    full_disk[0] = False
    await save(file, state(tip=5))
    full_disk[0] = True

    assert not await save(file, state(tip=6))
    assert not await save(file, state(tip=7))

    assert file.load() == state(tip=5)
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]
    [record] = caplog.records
    assert "No space left on device" in record.getMessage()
    full_disk[0] = False
    assert await save(file, state(tip=8))
    assert file.load() == state(tip=8)
    assert caplog.records[-1].getMessage().endswith("written again")


async def test_a_missing_folder_costs_the_file_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert not await save(StateFile(tmp_path / "absent" / "state.json", State), state())

    assert "No such file or directory" in caplog.text


async def test_the_temporary_file_is_never_written_through_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "state.json.tmp").symlink_to(victim)

    await save(StateFile(tmp_path / "state.json", State), state())

    assert victim.read_text() == "precious"


async def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json", State)
    await save(file, state())
    done = asyncio.Event()

    async def read() -> int:
        reads = 0
        while not done.is_set():
            assert StateFile(tmp_path / "state.json", State).load() is not None
            reads += 1
            await asyncio.sleep(0)
        return reads

    reader = asyncio.create_task(read())
    for tip in range(10, 40):
        await save(file, state(tip=tip, blocks=8))
    done.set()
    assert await reader > 30
