"""What makes connects and disconnects of blocks a reorganisation, how deep it was, and who caused it. Pure logic.

A reorganisation begins with the first block that leaves the active chain. It ends when the chain has more work than
before, or is again what it was: a node that follows its network stops nowhere else, since it holds its lock from the
first disconnect until then. What has less work for longer than `SETTLE` was done by a person (`invalidateblock`), or is
what a crash left.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from chainwatch.families.bitcoin.tracker.active_chain import Block

Origin = Literal["network", "operator"]
INVALID = "invalid"
# Seconds without news after which a chain that lost work is taken as it is. invalidateblock disconnects block by
# block, a tenth of a second or so each on mainnet, and all of them belong to one reorganisation.
SETTLE = 5.0


@dataclass(slots=True)
class Reorg:
    """One reorganisation: blocks of the old chain that are away, highest first, and blocks that took their place."""

    old_tip: Block
    # The node or this exporter was away in between: the node may have crashed and lost blocks.
    interrupted: bool
    left: list[Block] = field(default_factory=list)
    came: list[Block] = field(default_factory=list)
    all_left: list[str] = field(default_factory=list)
    depth: int = 0
    at_least: bool = False

    @property
    def returned(self) -> bool:
        """The old chain is back as it was."""
        return not self.left

    @property
    def overtaken(self) -> bool:
        """The chain has more work than before the reorganisation."""
        return bool(self.came) and self.came[-1].total_work > self.old_tip.total_work

    @property
    def over(self) -> bool:
        """What follows is another matter."""
        return self.overtaken or self.returned

    def disconnected(self, block: Block) -> None:
        """A block left the active chain."""
        if self.came and self.came[-1].hash == block.hash:
            self.came.pop()
            return
        self.left.append(block)
        self.all_left.append(block.hash)
        self.depth = max(self.depth, len(self.left))

    def connected(self, block: Block) -> None:
        """A block joined the active chain."""
        if not self.came and self.left and self.left[-1].hash == block.hash:
            self.left.pop()
        else:
            self.came.append(block)


class ReorgWatch:
    """Puts disconnects and connects, in the node's order, together to reorganisations."""

    def __init__(self) -> None:
        self._current: Reorg | None = None
        self._ended: list[Reorg] = []
        self._last_change = 0.0

    @property
    def pending(self) -> bool:
        """A reorganisation is under way, or waits to be taken."""
        return self._current is not None or bool(self._ended)

    def disconnected(self, block: Block, now: float, *, interrupted: bool = False, at_least: bool = False) -> None:
        """Note a block that left the active chain; `now` is a monotonic clock."""
        if self._current is not None and self._current.over:
            self._end()
        if self._current is None:
            self._current = Reorg(block, interrupted)
        self._current.at_least |= at_least
        self._current.disconnected(block)
        self._last_change = now

    def connected(self, block: Block, now: float) -> None:
        """Note a block that joined it."""
        if self._current is not None and self._current.returned:
            self._end()
        if self._current is not None:
            self._current.connected(block)
            self._last_change = now

    def take(self, now: float) -> list[Reorg]:
        """Return the reorganisations that are over."""
        current = self._current
        if current is not None and (current.over or now - self._last_change >= SETTLE):
            self._end()
        ended, self._ended = self._ended, []
        return ended

    def give_back(self, reorgs: list[Reorg]) -> None:
        """Put back what could not be judged now, because the node did not answer."""
        self._ended = [*reorgs, *self._ended]

    def deepen(self, old_tip: str, blocks: int) -> bool:
        """A reorganisation took more blocks than were seen: some stood on its old tip. False when it is not known."""
        for reorg in (*self._ended, self._current):
            if reorg is not None and reorg.old_tip.hash == old_tip:
                reorg.depth += blocks
                return True
        return False

    def forget(self) -> None:
        """Another chain: what was under way means nothing."""
        self._current = None
        self._ended = []

    def _end(self) -> None:
        if self._current is not None:
            self._ended.append(self._current)
            self._current = None


def origin(reorg: Reorg, statuses: Mapping[str, str] | None, were_invalid: Collection[str]) -> Origin:
    """Tell a person's doing from the network's; in doubt it is the network's.

    `statuses` are those of getchaintips after the reorganisation (None when the node would not tell), `were_invalid`
    the blocks known to be marked invalid before it.

    - invalidateblock marks what it disconnects; a block that left by the network's choice stays valid.
    - reconsiderblock brings back what was marked; the network cannot make a node connect a block so marked.
    - preciousblock, and an invalidateblock without traces, lead to a chain with no more work. The network leads only
      to more, save when the node crashed, or when a new branch turned out to be invalid halfway: then the branch's
      end is newly marked while the old tip is not.
    """
    statuses = statuses or {}
    if any(statuses.get(block.hash) == INVALID for block in reorg.left):
        return "operator"
    if any(block.hash in were_invalid for block in reorg.came):
        return "operator"
    if reorg.overtaken or reorg.interrupted:
        return "network"
    if reorg.returned and any(tip not in were_invalid for tip, status in statuses.items() if status == INVALID):
        return "network"
    return "operator"
