"""The top of the node's active chain as the tracker last saw it: a short, gapless window of blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

from msgspec import Meta, Struct

# A day of Bitcoin's blocks: deeper than any reorganisation that a network survives without people talking about it.
WINDOW = 144

Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Work = Annotated[str, Meta(pattern=r"^[0-9a-f]{1,64}$")]


class Block(Struct, frozen=True):
    """One block of the active chain; `time` is its header's, `first_seen` this exporter's clock, `work` hexadecimal."""

    height: Annotated[int, Meta(ge=0)]
    hash: Hash
    previous: Hash | None
    time: int
    work: Work
    first_seen: float

    @property
    def total_work(self) -> int:
        """Expected hashes in the chain up to this block, from getblockheader.chainwork."""
        return int(self.work, 16)


class ActiveChain:
    """The last blocks of the active chain, oldest first, each the parent of the next.

    `connect` and `disconnect` raise `ValueError` where they would tear that.
    """

    def __init__(self, blocks: Iterable[Block] = ()) -> None:
        self._blocks: list[Block] = []
        self._by_hash: dict[str, Block] = {}
        self.restart(blocks)

    def __len__(self) -> int:
        return len(self._blocks)

    def __contains__(self, block_hash: object) -> bool:
        return block_hash in self._by_hash

    @property
    def blocks(self) -> Sequence[Block]:
        """Oldest first."""
        return self._blocks

    @property
    def tip(self) -> Block | None:
        """The last block; None before the node answered."""
        return self._blocks[-1] if self._blocks else None

    @property
    def bottom(self) -> Block | None:
        """The oldest block still remembered."""
        return self._blocks[0] if self._blocks else None

    def get(self, block_hash: str | None) -> Block | None:
        """A block of the window, None when the window does not hold it."""
        return self._by_hash.get(block_hash) if block_hash else None

    def connect(self, block: Block) -> None:
        """Put a block on the tip, and forget the oldest when the window is full."""
        tip = self.tip
        if tip is not None and (block.previous != tip.hash or block.height != tip.height + 1):
            raise ValueError(f"block {block.height} {block.hash} does not stand on {tip.height} {tip.hash}")
        self._blocks.append(block)
        self._by_hash[block.hash] = block
        if len(self._blocks) > WINDOW:
            del self._by_hash[self._blocks.pop(0).hash]

    def disconnect(self) -> Block:
        """Take the tip off and return it."""
        if not self._blocks:
            raise ValueError("there is no block to disconnect")
        block = self._blocks.pop()
        del self._by_hash[block.hash]
        return block

    def restart(self, blocks: Iterable[Block]) -> None:
        """Forget everything and hold these blocks, oldest first."""
        self._blocks.clear()
        self._by_hash.clear()
        for block in blocks:
            self.connect(block)

    def extend_down(self, older: Sequence[Block]) -> None:
        """Put older blocks, oldest first, below the bottom."""
        self.restart([*older, *self._blocks])
