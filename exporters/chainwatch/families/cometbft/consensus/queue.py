"""Heights on their way to being settled: blocks, commits and validator sets, until it is a height's turn."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

from chainwatch.families.cometbft.consensus.events import Block, Commit
from chainwatch.families.cometbft.consensus.model import FillReason, ValidatorSet
from chainwatch.families.cometbft.consensus.settlement import Kept, Pending, keep, misfit

log = logging.getLogger(__name__)

# Heights that wait for an older one or for their set, 30 KB each at 180 members.
MAX_PENDING = 1000
# On large chains the set changes at nearly every block.
KEPT_SETS = 8
# Sets asked for at a time while heights are filled.
MAX_WANTED = 16
# After as many sets that do not fit a height it is given up, lest it hold up all later ones.
MAX_MISFITS = 3


class Ready(NamedTuple):
    """A height that can be settled now."""

    number: int
    pending: Pending
    validators: ValidatorSet


class Queue:
    """Lets heights out in order, each once, as soon as block, commit and set are known and belong together.

    `gave_up(n)` is told of heights that had to be given up, since the sets read for them never fitted their commits.
    """

    def __init__(
        self, settled: int, settled_hash: str, settled_time: float | None, gave_up: Callable[[int], None]
    ) -> None:
        self.settled = settled
        self.settled_hash = settled_hash
        self.settled_time = settled_time
        self.reorgs = 0
        self._gave_up = gave_up
        self._pending: dict[int, Pending] = {}
        self._sets: dict[str, ValidatorSet] = {}  # by hash, least recently used first
        self._misfits: dict[str, int] = {}  # sets that did not fit, by hash

    def complete(self, number: int) -> bool:
        """Tell whether only the turn or the set of this height is missing."""
        pending = self._pending.get(number)
        return pending is not None and pending.complete

    def take_block(self, block: Block, block_hash: str, told: float, own: bool) -> None:
        """Take a block that a stream told; the hash is empty up to 0.37. The watched node's own replaces another's."""
        pending = self._pending_of(block.header.height)
        if pending.block is None or (own and not pending.own_block):
            pending.block, pending.own_block = keep(block, block_hash), own
        pending.told = told if pending.told is None else min(pending.told, told)

    def take_commit(self, commit: Commit, own: bool) -> None:
        """Take the commit that the next block holds. The watched node's own replaces another's."""
        pending = self._pending_of(commit.height)
        if pending.commit is None or (own and not pending.own_commit):
            pending.commit, pending.own_commit = commit, own

    def take_filled(self, block: Block, block_hash: str, commit: Commit, reason: FillReason, own: bool) -> None:
        """Take block and commit that were read together; `own`: from the watched node."""
        pending = self._pending_of(block.header.height)
        pending.block, pending.commit, pending.reason = keep(block, block_hash), commit, reason
        pending.own_block = pending.own_commit = own

    def learn(self, validators: ValidatorSet) -> None:
        """Take a validator set."""
        self._sets[validators.hash] = validators

    def wanted_sets(self) -> Mapping[str, int]:
        """Return the sets that are needed next: hash, and a height that has it."""
        wanted: dict[str, int] = {}
        for number in sorted(self._pending):
            kept = self._pending[number].block
            if kept is not None and kept.facts.validators_hash not in self._sets:
                wanted.setdefault(kept.facts.validators_hash, number)
                if len(wanted) == MAX_WANTED:
                    break
        return wanted

    def missing(self, tip: int) -> range:
        """Return the heights after the last settled one that are not complete, up to the first that is, or the tip.

        Never beyond the tip: a height that a vantage point made up would make everything up to it missing.
        """
        if not self.settled:
            return range(0)
        waiting = min((number for number, pending in self._pending.items() if pending.complete), default=tip)
        return range(self.settled + 1, min(waiting, tip))

    def advance(self, settled: int, settled_hash: str, settled_time: float | None = None) -> None:
        """Go on after this height, settled or given up (then its hash and time are not known)."""
        self.settled, self.settled_hash, self.settled_time = settled, settled_hash, settled_time
        for number in [number for number in self._pending if number <= settled]:
            del self._pending[number]
        self._forget_sets()

    def ready(self) -> Ready | None:
        """Return the next height if it can be settled; sets and blocks that prove wrong are forgotten here."""
        number = self.settled + 1 if self.settled else self._first()
        pending = self._pending.get(number)
        if pending is None or pending.block is None or pending.commit is None:
            return None
        if pending.block.facts.hash not in ("", pending.commit.block_id.hash):
            self._disagree(number, pending)
            return None
        validators = self._sets.pop(pending.block.facts.validators_hash, None)
        if validators is None:
            return None
        if problem := misfit(validators, pending.commit):
            self._misfit(number, validators.hash, problem)
            return self.ready()
        self._sets[validators.hash] = validators
        self._misfits.pop(validators.hash, None)
        self._count_reorg(number, pending.block)
        return Ready(number, pending, validators)

    def _pending_of(self, number: int) -> Pending:
        pending = self._pending.get(number)
        if pending is None:
            pending = self._pending[number] = Pending()
            if len(self._pending) > MAX_PENDING:
                # Its turn comes last, and heights made up by a vantage point must not push out real ones.
                del self._pending[max(self._pending)]
        return pending

    def _first(self) -> int:
        """Return the height to begin with: one that the watched node vouches for, since it may be any number."""
        own = (number for number, one in self._pending.items() if one.complete and (one.own_block or one.own_commit))
        return min(own, default=0)

    def _forget_sets(self) -> None:
        if len(self._sets) <= KEPT_SETS:
            return
        needed = {pending.block.facts.validators_hash for pending in self._pending.values() if pending.block}
        unused = [name for name in self._sets if name not in needed]
        for name in unused[: len(self._sets) - KEPT_SETS]:
            del self._sets[name]

    def _count_reorg(self, number: int, kept: Kept) -> None:
        if number == self.settled + 1 and self.settled_hash and kept.last_block not in ("", self.settled_hash):
            self.reorgs += 1
            log.warning(
                "block %d does not build on the block that was settled for height %d (%s) but on %s: "
                "the chain was rolled back, or the RPC addresses lead to different forks",
                number,
                self.settled,
                self.settled_hash,
                kept.last_block,
            )

    def _disagree(self, number: int, pending: Pending) -> None:
        """Forget a block that the commit does not name: the height is missing then, and read by RPC.

        Or the commit, if it is another's and the block is the watched node's.
        """
        if pending.own_block and not pending.own_commit:
            pending.commit = None
            log.warning("the commit that a vantage point told of height %d is not of the watched node's block", number)
            return
        pending.block, pending.own_block = None, False
        log.warning("the block told for height %d is not the one that was committed; it is read again", number)

    def _misfit(self, number: int, name: str, problem: str) -> None:
        """Count a set that did not fit and was forgotten, so that it is wanted again."""
        count = self._misfits.pop(name, 0) + 1
        if count < MAX_MISFITS:
            self._misfits[name] = count
            log.warning(
                "the validator set read for height %d does not fit its commit: %s; it is read again", number, problem
            )
            return
        log.error("height %d is given up: of %d validator sets read for it none fits: %s", number, count, problem)
        given_up = number - self.settled if self.settled else 1
        self.advance(number, "")
        self._gave_up(given_up)
