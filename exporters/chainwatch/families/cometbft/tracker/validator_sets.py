"""Reads validator sets: whole, or not at all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from chainwatch.errors import BadReply, NodeError
from chainwatch.families.cometbft.client import Endpoints
from chainwatch.families.cometbft.consensus.model import Validator, ValidatorSet
from chainwatch.families.cometbft.schema import ValidatorsPage

log = logging.getLogger(__name__)

# The most that nodes give at a time.
PER_PAGE = 100
# No chain has more; a node that says so is broken.
MAX_MEMBERS = 10_000
PAUSE, MAX_PAUSE = 0.5, 15.0


async def read_set(endpoints: Endpoints, height: int) -> tuple[Validator, ...]:
    """Return the members of a height's set in index order, from /validators. Raises `NodeError`."""
    members: list[Validator] = []
    total = 1
    while len(members) < total:
        page = await endpoints.ask(
            "validators", ValidatorsPage, height=height, page=len(members) // PER_PAGE + 1, per_page=PER_PAGE
        )
        if members and page.total != total:
            raise BadReply(f"validators of height {height}: {page.total} members on one page, {total} on another")
        total = page.total
        members += page.members()
        if page.block_height != height or not page.validators or not len(members) <= total <= MAX_MEMBERS:
            raise BadReply(
                f"validators of height {height}: got {len(members)} of {total} members, of height {page.block_height}"
            )
    if len({member.address for member in members}) != total:
        raise BadReply(f"validators of height {height}: the same address twice; is the node sound?")
    return tuple(members)


class SetReader:
    """Reads the sets that are wanted, by the hash that headers name them by, until they are there."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._at: tuple[int, ValidatorSet] | None = None
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Something may be wanted."""
        self._news.set()

    def forget(self) -> None:
        """It is another chain."""
        self._at = None

    async def members(self, height: int) -> ValidatorSet | None:
        """The set that decides this height; None where no node gives it. Its hash is not known."""
        if self._at is None or self._at[0] != height:
            try:
                self._at = height, ValidatorSet("", await read_set(self._endpoints, height))
            except NodeError as error:
                log.debug("cannot read who decides height %d: %s", height, error)
                return None
        return self._at[1]

    async def run(
        self, wanted: Callable[[], Mapping[str, int]], learn: Callable[[ValidatorSet], None],
        failed: Callable[[int, NodeError], None],
    ) -> None:  # fmt: skip
        """Read what `wanted` names (a hash, and a height that has it), until cancelled; `failed` is told of errors."""
        pause = PAUSE
        while True:
            self._news.clear()
            if not (named := wanted()):
                pause = PAUSE
                await self._news.wait()
                continue
            # The hash is taken from a header: that the members belong to it shows in the commit's addresses.
            name, height = min(named.items(), key=lambda item: item[1])
            try:
                learn(ValidatorSet(name, await read_set(self._endpoints, height)))
                pause = PAUSE
            except NodeError as error:
                log.log(
                    logging.WARNING if pause == PAUSE else logging.DEBUG,
                    "cannot read the validator set of height %d, and try again: %s", height, error,
                )  # fmt: skip
                failed(height, error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, MAX_PAUSE)
