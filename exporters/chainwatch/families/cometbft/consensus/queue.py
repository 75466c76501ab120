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

    def __init__(self, settled: int, settled_hash: str, gave_up: Callable[[int], None]) -> None:
        self.settled = settled
        self.settled_hash = settled_hash
        self.reorgs = 0
        self._gave_up = gave_up
        self._pending: dict[int, Pending] = {}
        self._sets: dict[str, ValidatorSet] = {}  # by hash, least recently used first
        self._misfits: dict[str, int] = {}  # sets that did not fit, by hash

    def complete(self, number: int) -> bool:
        """Tell whether only the turn or the set of this height is missing."""
        pending = self._pending.get(number)
        return pending is not None and pending.complete

    def take_block(self, block: Block, block_hash: str, told: float) -> None:
        """Take a block that a stream told; the hash is empty up to 0.37."""
        pending = self._pending_of(block.header.height)
        pending.block = pending.block or keep(block, block_hash)
        pending.told = told if pending.told is None else min(pending.told, told)

    def take_commit(self, commit: Commit) -> None:
        """Take the commit that the next block holds."""
        pending = self._pending_of(commit.height)
        pending.commit = pending.commit or commit

    def take_filled(self, block: Block, block_hash: str, commit: Commit, reason: FillReason) -> None:
        """Take block and commit that were read together."""
        pending = self._pending_of(block.header.height)
        pending.block, pending.commit, pending.reason = keep(block, block_hash), commit, reason

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
        """Return the heights after the last settled one that are not complete, up to the first that is, or the tip."""
        if not self.settled:
            return range(0)
        waiting = min((number for number, pending in self._pending.items() if pending.complete), default=tip)
        return range(self.settled + 1, waiting)

    def advance(self, settled: int, settled_hash: str) -> None:
        """Go on after this height, settled or given up (then the hash is empty)."""
        self.settled, self.settled_hash = settled, settled_hash
        for number in [number for number in self._pending if number <= settled]:
            del self._pending[number]
        self._forget_sets()

    def ready(self) -> Ready | None:
        """Return the next height if it can be settled; sets and blocks that prove wrong are forgotten here."""
        number = self.settled + 1
        if not self.settled:
            number = min((number for number, pending in self._pending.items() if pending.complete), default=0)
        pending = self._pending.get(number)
        if pending is None or pending.block is None or pending.commit is None:
            return None
        if pending.block.facts.hash not in ("", pending.commit.block_id.hash):
            self._wrong_block(number, pending)
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
            if len(self._pending) >= MAX_PENDING:
                # The oldest: what is missing then stays in one piece, to be filled or skipped.
                del self._pending[min(self._pending)]
            pending = self._pending[number] = Pending()
        return pending

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

    def _wrong_block(self, number: int, pending: Pending) -> None:
        """Forget a block that the commit does not name: the height is missing then, and read by RPC."""
        pending.block = None
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
