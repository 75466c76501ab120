"""Branches that a person put away with invalidateblock, so that their return is known as that person's doing too."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from chainwatch.families.bitcoin.tracker.active_chain import WINDOW
from chainwatch.families.bitcoin.tracker.reorgs import INVALID
from chainwatch.families.bitcoin.tracker.state import MAX_INVALID

# While anything is marked, the marks are looked at this often.
REFRESH_SECONDS = 60.0


class InvalidBranches(Collection[str]):
    """Blocks known to be marked invalid: by the last block of their branch, as getchaintips lists them."""

    def __init__(self) -> None:
        self.branches: dict[str, list[str]] = {}
        self._refreshed = 0.0

    def __contains__(self, block_hash: object) -> bool:
        return any(block_hash in branch for branch in self.branches.values())

    def __iter__(self) -> Iterator[str]:
        return (block_hash for branch in self.branches.values() for block_hash in branch)

    def __len__(self) -> int:
        return sum(map(len, self.branches.values()))

    def due(self, now: float) -> bool:
        """Whether to ask for the marks again; `now` is a monotonic clock."""
        if not self.branches or now - self._refreshed < REFRESH_SECONDS:
            return False
        self._refreshed = now
        return True

    def remember(self, last: str, blocks: Sequence[str]) -> None:
        """Note a branch that has just been put away."""
        self.branches[last] = list(blocks[:WINDOW])

    def restore(self, branches: Mapping[str, Sequence[str]]) -> None:
        """Take over what a state file says."""
        self.branches = {last: list(blocks) for last, blocks in branches.items()}

    def add(self, statuses: Mapping[str, str] | None) -> None:
        """Add what is marked now and forget nothing: what was marked before may be why the chain is another."""
        for tip in _marked(statuses or {}):
            self.branches.setdefault(tip, [tip])

    def update(self, statuses: Mapping[str, str] | None) -> None:
        """Keep what is still marked, add what is newly marked; None (the node does not tell) changes nothing."""
        if statuses is None:
            return
        self.branches = {tip: self.branches.get(tip, [tip]) for tip in _marked(statuses)}


def _marked(statuses: Mapping[str, str]) -> list[str]:
    """The highest tips that are marked invalid; getchaintips lists them from the highest down."""
    return [tip for tip, status in statuses.items() if status == INVALID][:MAX_INVALID]
