"""Reads validator sets: whole, or not at all."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping

from chainwatch.errors import BadReply, NodeError
from chainwatch.families.cometbft.client import Endpoints
from chainwatch.families.cometbft.consensus.model import Validator, ValidatorSet
from chainwatch.families.cometbft.schema import ValidatorsPage
from chainwatch.families.cometbft.tracker.fill import PRUNED

log = logging.getLogger(__name__)

# The most that nodes give at a time.
PER_PAGE = 100
# No chain has more; a node that says so is broken.
MAX_MEMBERS = 10_000
PAUSE, MAX_PAUSE = 0.5, 15.0
# No node has the set of this height any more.
GONE = re.compile(f"could not find validator set|{PRUNED.pattern}", re.ASCII)
# Sets read at a time; one of the node's four connections stays free for /status.
AT_A_TIME = 3


async def read_set(endpoints: Endpoints, height: int) -> tuple[Validator, ...]:
    """Return the members of a height's set in index order, from /validators. Raises `NodeError`."""

    async def page(number: int) -> ValidatorsPage:
        return await endpoints.ask("validators", ValidatorsPage, height=height, page=number, per_page=PER_PAGE)

    first = await page(1)
    total = first.total
    if not 0 < total <= MAX_MEMBERS:
        raise BadReply(f"validators of height {height}: {total} members; is the node sound?")
    others = await asyncio.gather(*map(page, range(2, -(-total // PER_PAGE) + 1)))
    pages = [first, *others]
    members = tuple(member for page in pages for member in page.members())
    if any(page.block_height != height or page.total != total for page in pages) or len(members) != total:
        raise BadReply(
            f"validators of height {height}: got {len(members)} of {total} members, on pages of heights "
            f"{sorted({page.block_height for page in pages})} that count {sorted({page.total for page in pages})}"
        )
    if len({member.address for member in members}) != total:
        raise BadReply(f"validators of height {height}: the same address twice; is the node sound?")
    return members


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
        """Read what `wanted` names (a hash, and a height that has it), until cancelled.

        `failed` is told of the error of the oldest one.
        """
        pause = PAUSE
        while True:
            self._news.clear()
            if not (named := wanted()):
                pause = PAUSE
                await self._news.wait()
                continue
            # On large chains the set changes at nearly every block, each in a block's time.
            oldest = sorted(named.items(), key=lambda item: item[1])[:AT_A_TIME]
            errors = await asyncio.gather(*(self._read(*item, learn) for item in oldest))
            if errors[0] is None:
                pause = PAUSE
                continue
            height, error = oldest[0][1], errors[0]
            log.log(
                logging.WARNING if pause == PAUSE else logging.DEBUG,
                "cannot read the validator set of height %d, and try again: %s", height, error,
            )  # fmt: skip
            failed(height, error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE)

    async def _read(self, name: str, height: int, learn: Callable[[ValidatorSet], None]) -> NodeError | None:
        """Read one set; return what went wrong."""
        # The hash is taken from a header: that the members belong to it shows in the commit's addresses.
        try:
            members = await read_set(self._endpoints, height)
        except NodeError as error:
            return error
        learn(ValidatorSet(name, members))
        return None
