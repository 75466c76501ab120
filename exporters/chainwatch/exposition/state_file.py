"""The small file that lets a restarted exporter go on where it was, in the folder that systemd or `state.dir` names."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from chainwatch.errors import ConfigError

log = logging.getLogger(__name__)

StateT = TypeVar("StateT", bound=Struct)

# Set by systemd for a unit with StateDirectory; several folders are separated by colons.
STATE_ENVIRONMENT = "STATE_DIRECTORY"
MAX_BYTES = 1 << 20
# Seconds between two writes, and after one that failed.
PAUSE = 1.0
RETRY = 30.0
# A disk that takes longer than this for a few kilobytes is sick, and a person should know.
SLOW = 10.0
# The last write may take so long: less than a service gives its work to end.
LAST = 0.5


def state_folder(configured: Path | None) -> Path | None:
    """Return the folder for state files: the configured one, else systemd's; None where nothing is to be kept."""
    named = os.environ.get(STATE_ENVIRONMENT, "").partition(":")[0]
    return configured or (Path(named) if named else None)


class StateFile(Generic[StateT]):
    """One file of one type, whose `__post_init__` may raise `ValueError` for what no field shows to be wrong.

    A disk that is full, read-only or hangs costs the memory of the next restart, never the service: `put` only notes
    what is to be written, and `run` writes it, one state at a time and the newest next.
    """

    def __init__(self, path: Path, kind: type[StateT]) -> None:
        self.path = path
        self._decode = msgspec.json.Decoder(kind).decode
        self._encode = msgspec.json.Encoder().encode
        # A thread of its own: when the disk holds it, nobody else waits for it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state-file")
        self._unwritten: bytes | None = None
        self._news = asyncio.Event()
        self._complained = False
        self._lock: int | None = None

    def lock(self) -> None:
        """Keep other exporters away until `close`, or the end of the process; raises `ConfigError` where one is there.

        Two that write one file would each take the other's state for what became of its own node.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(self.path.with_suffix(".lock"), flags, 0o600)
        except OSError as error:
            self._not_locked(error)
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            problem = f"{self.path.parent} is in use by another exporter"
            raise ConfigError("state.dir", problem, "a folder of its own") from None
        except OSError as error:  # a network file system without locks
            os.close(descriptor)
            self._not_locked(error)
            return
        self._lock = descriptor

    def _not_locked(self, error: OSError) -> None:
        log.warning(
            "state file %s: cannot lock it (%s); make sure that no other exporter uses this folder",
            self.path,
            error.strerror,
        )

    def close(self) -> None:
        """Let other exporters have it."""
        self._thread.shutdown(wait=False)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def load(self) -> StateT | None:
        """Return what was saved; None, with a line in the log, where the file is absent, damaged or not ours."""
        try:
            with self.path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("state file %s: cannot read it (%s); starting without it", self.path, error.strerror)
            return None
        if len(content) > MAX_BYTES:
            log.warning("state file %s: larger than %d bytes, not ours; starting without it", self.path, MAX_BYTES)
            return None
        try:
            return self._decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("state file %s: damaged or of another program (%s); starting without it", self.path, error)
            return None

    def put(self, state: StateT) -> None:
        """Note what is to be written, as it is now; it takes the place of what was noted before and is not written."""
        self._unwritten = self._encode(state)
        self._news.set()

    @property
    def written(self) -> bool:
        """Whether what was put last is on disk."""
        return self._unwritten is None

    async def run(self) -> None:
        """Write what is put until cancelled; then once more, if the disk is quick about it."""
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                if await self.flush():
                    await asyncio.sleep(PAUSE)
                else:
                    await asyncio.sleep(RETRY)
                    self._news.set()
        finally:
            try:
                async with asyncio.timeout(LAST):
                    await self.flush()
            except TimeoutError:
                log.warning("state file %s: the last state could not be written in time", self.path)

    async def flush(self) -> bool:
        """Write what was put last, whole or not at all; return whether it is on disk. Logs the first failure in a row.

        A write that was given up goes on in its thread, and the next one waits for it.
        """
        content = self._unwritten
        if content is None:
            return True
        writing = asyncio.wrap_future(self._thread.submit(self._write, content))
        try:
            if not (await asyncio.wait([writing], timeout=SLOW))[0]:
                self._complain(f"still being written after {SLOW:g} s: its disk hangs or is overloaded")
            await writing
        except OSError as error:
            self._complain(f"cannot write it ({error.strerror})")
            return False
        finally:
            writing.cancel()
        if self._unwritten is content:
            self._unwritten = None
        if self._complained:
            log.info("state file %s: written again", self.path)
        self._complained = False
        return True

    def _complain(self, problem: str) -> None:
        if not self._complained:
            log.error(
                "state file %s: %s; a restart now would not know what happened last. "
                "Check the disk, free space and permissions; it is tried again.",
                self.path,
                problem,
            )
        self._complained = True

    def _write(self, content: bytes) -> None:
        temporary = self.path.with_name(self.path.name + ".tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
