"""The small file that lets a restarted exporter go on where it was: neither invent a reorganisation nor forget one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from chainwatch.families.bitcoin.tracker.active_chain import WINDOW, ActiveChain, Block, Hash

log = logging.getLogger(__name__)

MAX_BYTES = 1 << 20
MAX_INVALID = 20
Count = Annotated[int, Meta(ge=1, le=10_000)]


class State(Struct, kw_only=True):
    """What survives a restart.

    `label` and `genesis` tell whose blocks these are. `reorgs` are the counters so far, by origin and depth, so that
    one counted while nobody scraped is still seen to have happened. `invalid` are branches that a person put away,
    by their last block.
    """

    kind: Literal["chainwatch bitcoin tracker"] = "chainwatch bitcoin tracker"
    version: Literal[1] = 1
    label: Annotated[str, Meta(pattern=r"^[a-z0-9._-]{1,60}$")]
    genesis: Hash
    blocks: Annotated[list[Block], Meta(max_length=WINDOW)]
    reorgs: dict[Literal["network", "operator"], dict[Annotated[int, Meta(ge=1, le=100_000)], Count]] = {}
    invalid: Annotated[dict[Hash, Annotated[list[Hash], Meta(max_length=WINDOW)]], Meta(max_length=MAX_INVALID)] = {}


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(State).decode


class StateFile:
    """The file. A full disk or an unwritable folder costs the memory of the next restart, never the service."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._complained = False

    def load(self) -> State | None:
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
            state = _decode(content)
            ActiveChain(state.blocks)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            log.warning("state file %s: damaged or of another program (%s); starting without it", self.path, error)
            return None
        return state

    async def save(self, state: State) -> bool:
        """Write the file whole or not at all; return whether it is on disk. Logs the first failure in a row."""
        content = _encode(state)
        try:
            await asyncio.to_thread(self._write, content)
        except OSError as error:
            if not self._complained:
                log.error(
                    "state file %s: cannot write it (%s); a restart now would not know the last blocks. "
                    "Check free space and permissions; it is tried again.",
                    self.path,
                    error.strerror,
                )
            self._complained = True
            return False
        if self._complained:
            log.info("state file %s: written again", self.path)
        self._complained = False
        return True

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
