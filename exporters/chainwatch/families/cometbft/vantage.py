"""Whether a vantage point is on the watched node's chain: by its name, and by a block that both have."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import NamedTuple, Protocol, TypeVar

from chainwatch.errors import NodeError
from chainwatch.families.cometbft.schema import BlockResult, Status
from chainwatch.rpc.sentences import printable

log = logging.getLogger(__name__)

T = TypeVar("T")

# It is looked at again after so long.
RECHECK_SECONDS = 300.0
# And so soon where it names the chain, but the blocks could not be compared.
UNSURE_SECONDS = 30.0


class Node(Protocol):
    """The way to ask one node."""

    address: str

    async def call(self, method: str, into: type[T], **params: str | int | bool) -> T:
        """Ask one method. Raises `NodeError`."""


class _Found(NamedTuple):
    """The chain that a vantage point named, whether it is ours, whether that is sure, and when it was found."""

    named: str
    same: bool
    sure: bool
    since: float

    @property
    def fresh(self) -> bool:
        """Whether it need not be looked at again yet."""
        return time.monotonic() - self.since < (RECHECK_SECONDS if self.sure else UNSURE_SECONDS)


class Comparison:
    """Compares vantage points with the watched node, each now and then."""

    def __init__(self, own: Node) -> None:
        self._own = own
        self._found: dict[Node, _Found] = {}

    def drop(self, vantage: Node) -> None:
        """It was away: who answers there next time may be another."""
        self._found.pop(vantage, None)

    async def same_chain(self, vantage: Node, chain_id: str, tip: int) -> bool:
        """Whether it is on this chain; `tip` is the watched node's newest block, 0 when that node cannot be asked.

        Two nodes of one name may tell of different chains: a test network that began anew keeps its name. Where blocks
        cannot be compared, the name has to do. Raises `NodeError` where the vantage point does not say.
        """
        before = self._found.get(vantage)
        if before is not None and before.fresh:
            return before.same
        status = await vantage.call("status", Status)
        named, sure = status.node_info.network, True
        same = named == chain_id
        if same:
            height = min(tip, status.sync_info.latest_block_height) - 1
            told = await self._same_block(vantage, height, before) if height > 0 else None
            sure = told is not None
            same = told if told is not None else before is None or before.same
        elif before is None or before.named != named:
            log.warning(
                "vantage point %s is not used: it is on chain %s, the watched node at %s on %s; see vantage.urls",
                vantage.address, printable(named), self._own.address, printable(chain_id),
            )  # fmt: skip
        self._found[vantage] = _Found(named, same, sure, time.monotonic())
        return same

    async def _same_block(self, vantage: Node, height: int, before: _Found | None) -> bool | None:
        """Whether both have the same block of a height; None where one of them does not give it."""
        try:
            own, other = await asyncio.gather(_block_hash(self._own, height), _block_hash(vantage, height))
        except NodeError as error:
            log.debug("block %d cannot be compared with that of vantage point %s: %s", height, vantage.address, error)
            return None
        if not own or not other:
            return None
        if own != other and (before is None or before.same):
            log.error(
                "vantage point %s is not used: its block %d is %s, that of the watched node at %s is %s, though both "
                "name the same chain. One of them is on a fork, or left over from before the chain began anew; see "
                "vantage.urls",
                vantage.address, height, printable(other), self._own.address, printable(own),
            )  # fmt: skip
        return own == other


async def _block_hash(node: Node, height: int) -> str:
    return (await node.call("block", BlockResult, height=height)).block_id.hash
