"""What the tracker asks the node about its chain, and how the remembered window differs from what it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta, Struct

from chainwatch.errors import Forbidden, MethodNotFound, RpcError
from chainwatch.families.bitcoin.client import BitcoinRpc
from chainwatch.families.bitcoin.tracker.active_chain import WINDOW, ActiveChain, Block, Hash, Work

# Headers read one after the other; when the node is further ahead, only the new tip is read and the rest counted.
MAX_WALK = 36
NOT_FOUND = -5


class Header(Struct):
    """The answer of getblockheader, as far as a place in the chain goes."""

    hash: Hash
    height: Annotated[int, Meta(ge=0)]
    time: int
    confirmations: int  # -1 when the block is not in the active chain
    chainwork: Work
    previousblockhash: Hash | None = None

    def block(self, first_seen: float) -> Block:
        """The block as the window keeps it."""
        return Block(self.height, self.hash, self.previousblockhash, self.time, self.chainwork, first_seen)


class ChainTip(Struct):
    """One entry of getchaintips."""

    height: int
    hash: Hash
    branchlen: int  # blocks from the tip down to the active chain
    status: str


@dataclass(frozen=True, slots=True)
class Difference:
    """What turns the remembered chain into the node's.

    `left` blocks go from the window's tip down, then `came` join, oldest first. With `skipped` the node is that many
    blocks further than was read one by one, and `came` is its tip alone. `at_least`: the fork lies below the window;
    when nothing came, `below` is the tip there.
    """

    left: int
    came: Sequence[Header]
    skipped: int = 0
    at_least: bool = False
    below: Header | None = None

    @property
    def fall(self) -> bool:
        """Blocks left and none came: the chain only lost."""
        return self.left > 0 and not self.came


class ChainRpc:
    """Questions about the chain; each raises `NodeError`."""

    def __init__(self, rpc: BitcoinRpc) -> None:
        self._rpc = rpc

    async def best(self) -> str:
        """Hash of the tip, the cheapest question there is."""
        return await self._rpc.call("getbestblockhash", into=Hash)

    async def header(self, block_hash: str) -> Header:
        """One block's header."""
        return await self._rpc.call("getblockheader", block_hash, into=Header)

    async def headers(self, hashes: Sequence[str]) -> list[Header | None]:
        """Several headers in one request; None for blocks that the node does not know."""
        answers = await asyncio.gather(*map(self.header, hashes), return_exceptions=True)
        known: list[Header | None] = []
        for answer in answers:
            if isinstance(answer, RpcError) and answer.code == NOT_FOUND:
                known.append(None)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                known.append(answer)
        return known

    async def tips(self) -> list[ChainTip] | None:
        """All chain tips, the highest first; None when the node does not tell this user."""
        try:
            return await self._rpc.call("getchaintips", into=list[ChainTip])
        except (MethodNotFound, Forbidden, RpcError):
            return None

    async def statuses(self) -> dict[str, str] | None:
        """Status of each chain tip, by hash; None as in `tips`."""
        tips = await self.tips()
        return None if tips is None else {tip.hash: tip.status for tip in tips}

    async def genesis(self) -> str:
        """Hash of the chain's first block."""
        return await self._rpc.call("getblockhash", 0, into=Hash)

    async def difference(self, chain: ActiveChain, best_hash: str) -> Difference | None:
        """Compare the window with the chain that ends in `best_hash`; None when the node knows none of its blocks.

        The walk down from one hash cannot be confused by a chain that moves on meanwhile.
        """
        tip, bottom = chain.tip, chain.bottom
        if tip is None or bottom is None:
            return None
        if known := chain.get(best_hash):
            return Difference(tip.height - known.height, [])
        best = await self.header(best_hash)
        walked = [best]
        if best.height - tip.height <= MAX_WALK:
            while (lowest := walked[-1]).height > bottom.height and lowest.previousblockhash:
                if fork := chain.get(lowest.previousblockhash):
                    return Difference(tip.height - fork.height, walked[::-1])
                walked.append(await self.header(lowest.previousblockhash))
        return await self._distant(chain, best)

    async def _distant(self, chain: ActiveChain, best: Header) -> Difference | None:
        """Compare with a tip that is far above the window, or not above any block of it."""
        headers = await self.headers([block.hash for block in chain.blocks])
        if not any(headers):
            return None
        left = 0
        for header in reversed(headers):
            if header is not None and header.confirmations >= 0:
                return Difference(left, [best], skipped=best.height - header.height - 1)
            left += 1
        bottom = chain.blocks[0]
        if best.height < bottom.height:
            return Difference(left, [], at_least=True, below=best)
        return Difference(left, [best], skipped=best.height - bottom.height, at_least=True)

    async def below(self, bottom: Block, wanted: int) -> list[Block]:
        """Up to `wanted` blocks under a block, oldest first; their first-seen time is their header's.

        Empty when the chain changed while it was read.
        """
        first = max(0, bottom.height - wanted)
        hashes: list[str] = await asyncio.gather(
            *(self._rpc.call("getblockhash", height, into=str) for height in range(first, bottom.height))
        )
        headers = [header for header in await self.headers(hashes) if header is not None]
        children = [*(header.previousblockhash for header in headers[1:]), bottom.previous]
        heights = [header.height for header in headers]
        if [header.hash for header in headers] != children or heights != list(range(first, bottom.height)):
            return []
        return [header.block(header.time) for header in headers]


def missing(chain: ActiveChain) -> int:
    """How many blocks the window could still hold below its bottom."""
    bottom = chain.bottom
    return 0 if bottom is None else min(WINDOW - len(chain), bottom.height)
