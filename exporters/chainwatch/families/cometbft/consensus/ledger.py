"""The heights of a chain: what was seen of each while it was decided, and the truth on who signed, once it is proven.

Events of one or several vantage points go in, at least once and in nearly any order; `Settled` heights come out, each
once and in order of height. No I/O and no clock: times are those that the events come with.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from chainwatch.errors import BadReply
from chainwatch.families.cometbft.consensus import book
from chainwatch.families.cometbft.consensus.events import (
    PRECOMMIT,
    Block,
    Commit,
    CompleteProposal,
    Event,
    Header,
    NewBlock,
    NewBlockHeader,
    NewRound,
    RoundState,
    Vote,
)
from chainwatch.families.cometbft.consensus.evidence import DoubleSigns
from chainwatch.families.cometbft.consensus.model import (
    OWN_NODE,
    DoubleSign,
    FillReason,
    Height,
    Proof,
    SeenVote,
    Settled,
    ValidatorSet,
)
from chainwatch.families.cometbft.consensus.queue import Queue, Ready
from chainwatch.families.cometbft.consensus.settlement import settle as make_settled

log = logging.getLogger(__name__)

# Heights whose votes are kept, 90 KB each at 180 members. Forgotten votes only make a height partial.
MAX_OPEN = 128
# Settled heights stay for a moment: a slower vantage point may still show a double sign in them.
KEPT_SETTLED = 4
_LAST_HEIGHT = 2**63


@dataclass(slots=True)
class Counters:
    """What the ledger met on its way; all only grow."""

    duplicates: int = 0  # votes told again, by the same vantage point or by another
    late: int = 0  # votes that came after their height was settled
    reorgs: int = 0  # blocks whose predecessor is not the block that was settled
    refused: int = 0  # events with an impossible address, hash, height or round, or beyond a bound
    foreign: int = 0  # events of a vantage point that answers for another chain


class Ledger:
    """Keeps the open heights and settles them in order, exactly once.

    `settled` and `hash` name the last height that was settled before a restart, 0 at the first start: then the ledger
    begins with the first height that it can settle. `known` are the double signs told before the restart.
    `gave_up(n)` is told of heights that the ledger itself had to give up, since the sets read for them never fitted
    their commits; those that `skip` gives up are its caller's to count.
    """

    def __init__(
        self,
        settle: Callable[[Settled], None],
        double_sign: Callable[[DoubleSign], None],
        *,
        settled: int = 0,
        hash: str = "",  # noqa: A002
        chain_id: str = "",
        known: Iterable[DoubleSign] = (),
        gave_up: Callable[[int], None] | None = None,
    ) -> None:
        self.set: ValidatorSet | None = None  # of the newest settled height
        self.chain_id = chain_id  # of the first header seen; later ones must agree
        self.foreign: dict[int, str] = {}  # vantage points that answer for another chain, and its id
        self._counters = Counters()
        self._tell = settle
        self._double_signs = DoubleSigns(double_sign, known)
        self._queue = Queue(settled, hash, gave_up or (lambda given_up: None))
        self._heights: dict[int, Height] = {}
        self._current = 0
        # Vantage points whose headers showed that they are of this chain. The watched node's own define it.
        self._admitted = {OWN_NODE}

    @property
    def settled(self) -> int:
        """The last height that was settled or given up; 0 before the first."""
        return self._queue.settled

    @property
    def settled_hash(self) -> str:
        """Hash of its block; empty where that is not known."""
        return self._queue.settled_hash

    @property
    def current(self) -> Height | None:
        """The height that consensus stands in, as far as any vantage point told."""
        return self._heights.get(self._current)

    @property
    def heights(self) -> Mapping[int, Height]:
        """Heights seen and not settled yet, and the last few settled ones."""
        return self._heights

    @property
    def counters(self) -> Counters:
        """What was met on the way."""
        self._counters.reorgs = self._queue.reorgs
        return self._counters

    @property
    def known_double_signs(self) -> list[DoubleSign]:
        """Double signs told so far, oldest first, for the state file; bounded."""
        return self._double_signs.known

    def take(self, event: Event, seen: float, vantage: int = OWN_NODE) -> None:
        """Take an event that a vantage point told; `seen` is when, in Unix seconds.

        Further vantage points count from their first block on: only headers tell which chain they speak of, and votes
        of another chain with the same validators would look like double signs.
        """
        if vantage not in self._admitted and not self._admit(event, vantage):
            return
        if isinstance(event, Vote):
            self._vote(event, seen)
        elif isinstance(event, RoundState | NewRound | CompleteProposal):
            self._progress(event, seen, vantage)
        elif isinstance(event, NewBlock):
            self._new_block(event, seen, vantage)
        elif isinstance(event, NewBlockHeader):
            self._applied(event.header, seen, vantage)
        else:
            self._double_signs.evidence(event.evidence)

    def interrupted(self, vantage: int) -> None:
        """Note that events of this vantage point were or may be lost: it no longer watches what is undecided."""
        for height in self._heights.values():
            book.interrupt(height, vantage)

    def learn(self, validators: ValidatorSet) -> None:
        """Take a set that `wanted_sets` asked for."""
        self._queue.learn(validators)
        self._settle_all()

    def fill(self, block: Block, hash: str, commit: Commit, reason: FillReason) -> None:  # noqa: A002
        """Take a height read by RPC: its block, the block's hash, and its canonical commit.

        Ignored if the height is settled, or only waits for its turn. Raises BadReply if these do not belong together,
        or are of another chain.
        """
        number = block.header.height
        if commit.height != number or commit.block_id.hash != hash or not hash or not book.is_hash(hash):
            raise BadReply(
                f"/block and /commit of height {number} do not agree: the block is {hash[:64]!r}, the commit is of "
                f"height {commit.height} and block {commit.block_id.hash[:64]!r}; check that the RPC address leads to "
                "one node, not to several in turn"
            )
        if not self._same_chain(block.header):
            raise BadReply(
                f"/block of height {number} is of chain {block.header.chain_id[:50]!r}, this exporter watches "
                f"{self.chain_id!r}; check rpc.url and vantage.urls"
            )
        if self._ahead(number) and not self._queue.complete(number):
            self._take_evidence(block)
            self._queue.take_filled(block, hash, commit, reason)
            self._take_commit(block.last_commit)
            self._settle_all()

    def wanted_sets(self) -> Mapping[str, int]:
        """Return the sets that are needed next: hash as in headers, and a height that has it."""
        return self._queue.wanted_sets()

    def missing(self, tip: int) -> range:
        """Return the heights that no stream will settle any more, oldest first; `tip` is the chain's newest height.

        The commit of the tip itself is not canonical yet. Give a tip that the streams have had time to tell: one only
        just learnt names heights whose events are on their way (filling them does no harm, but is needless work).
        Empty at the first start until a height was settled.
        """
        return self._queue.missing(tip)

    def skip(self, height: int) -> int:
        """Give up all heights up to this one that are not settled; return how many these were."""
        settled = self.settled
        if height <= settled:
            return 0
        self._queue.advance(height, "")
        self._forget_heights()
        self._settle_all()
        return height - settled if settled else 0

    def _admit(self, event: Event, vantage: int) -> bool:
        """Tell whether a vantage point that is not known to be of this chain shows now that it is."""
        header = event.header if isinstance(event, NewBlockHeader) else None
        header = event.block.header if isinstance(event, NewBlock) else header
        if header is not None and self.chain_id:
            if header.chain_id == self.chain_id:
                self._admitted.add(vantage)
                self.foreign.pop(vantage, None)
                return True
            self._refuse_chain(header, vantage)
        self._counters.foreign += vantage in self.foreign
        return False

    def _refuse_chain(self, header: Header, vantage: int) -> None:
        self._admitted.discard(vantage)
        if vantage not in self.foreign:
            own = vantage == OWN_NODE
            log.error(
                "%s sends events of chain %.50r, this exporter watches %.50r: they are not counted; check %s",
                "the watched node" if own else f"vantage point {vantage}",
                header.chain_id,
                self.chain_id,
                "rpc.url, and the state file if the node was moved to another chain" if own else "vantage.urls",
            )
        self.foreign[vantage] = header.chain_id[:50]

    def _same_chain(self, header: Header) -> bool:
        self.chain_id = self.chain_id or header.chain_id
        return header.chain_id == self.chain_id

    def _ahead(self, number: int) -> bool:
        if 0 < number < _LAST_HEIGHT:
            return number > self._queue.settled
        self._counters.refused += 1
        return False

    def _height(self, number: int, seen: float) -> Height | None:
        """Return an open height; None for one that is settled, impossible, or older than all that are kept."""
        if not self._ahead(number):
            return None
        height = self._heights.get(number)
        if height is None:
            height = self._heights[number] = Height(number, seen)
            if len(self._heights) > MAX_OPEN:
                del self._heights[min(self._heights)]
                return self._heights.get(number)
        return height

    def _vote(self, vote: Vote, seen: float) -> None:
        height = self._heights.get(vote.height) or self._height(vote.height, seen)
        if height is None:
            self._counters.late += 1
            return
        in_round = height.rounds.get(vote.round) or book.open_round(height, vote.round)
        votes = book.votes_of(in_round, vote.type) if in_round else None
        known = votes.get(vote.validator_address) if votes is not None else None
        if votes is None or known is None:
            self._first_vote(votes, vote, seen)
        elif known.block != vote.block_id.hash:
            self._double_signs.found(vote.validator_address, vote.height, vote.round, vote.type, Proof.VANTAGE)
        else:
            self._counters.duplicates += 1
            if seen < known.seen:
                votes[vote.validator_address] = known._replace(seen=seen)

    def _first_vote(self, votes: dict[str, SeenVote] | None, vote: Vote, seen: float) -> None:
        if vote.height <= self._queue.settled:
            self._counters.late += 1
        elif votes is None or not book.add_vote(votes, vote, seen):
            self._counters.refused += 1

    def _progress(self, event: NewRound | RoundState | CompleteProposal, seen: float, vantage: int) -> None:
        height = self._height(event.height, seen)
        in_round = book.open_round(height, event.round) if height else None
        if height is None or in_round is None:
            return
        height.opened = min(height.opened, seen)
        self._current = max(self._current, height.number)
        if isinstance(event, NewRound):
            book.begin_round(height, in_round, event, seen, vantage)
        elif isinstance(event, RoundState):
            book.enter_step(height, in_round, event, seen, vantage)
        elif not book.take_proposal(in_round, event, seen, vantage):
            self._counters.refused += 1

    def _applied(self, header: Header, seen: float, vantage: int) -> bool:
        """Note that a block was applied; False if it is of another chain.

        A header alone is no more than that: it does not prove who signed the height before.
        """
        if not self._same_chain(header):
            self._refuse_chain(header, vantage)
            return False
        if height := self._height(header.height, seen):
            book.end(height, seen, vantage)
        return True

    def _new_block(self, event: NewBlock, seen: float, vantage: int) -> None:
        block = event.block
        if not self._applied(block.header, seen, vantage):
            return
        if self._ahead(block.header.height):
            self._take_evidence(block)
            self._queue.take_block(block, event.block_id.hash if event.block_id else "", seen)
        self._take_commit(block.last_commit)
        self._settle_all()

    def _take_evidence(self, block: Block) -> None:
        for evidence in block.misbehaviour:
            self._double_signs.evidence(evidence)

    def _take_commit(self, commit: Commit | None) -> None:
        """Take the `last_commit` of a block. That of a chain's first block is empty, of height 0."""
        if commit is None or not commit.signatures or not self._ahead(commit.height):
            return
        if commit.block_id.hash and book.is_hash(commit.block_id.hash):
            self._queue.take_commit(commit)
        else:
            self._counters.refused += 1

    def _settle_all(self) -> None:
        while ready := self._queue.ready():
            self._settle(ready)

    def _settle(self, ready: Ready) -> None:
        number = ready.number
        next_seen = book.next_round_seen(self._heights.get(number + 1))
        settled = make_settled(ready.pending, ready.validators, self._heights.get(number), next_seen)
        self.set = settled.set
        self._queue.advance(number, settled.block.hash)
        self._forget_heights()
        for address in sorted(settled.contradictions):
            self._double_signs.found(address, number, settled.round, PRECOMMIT, Proof.COMMIT)
        self._tell(settled)

    def _forget_heights(self) -> None:
        for number in [number for number in self._heights if number <= self.settled - KEPT_SETTLED]:
            del self._heights[number]
