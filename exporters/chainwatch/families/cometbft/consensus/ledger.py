"""The heights of a chain: what was seen of each while it was decided, and the truth on who signed, once it is proven.

Events of one or several vantage points go in, at least once and in nearly any order; `Settled` heights come out, each
once and in order of height. No I/O and no clock: times are those that the events come with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from chainwatch.errors import BadReply
from chainwatch.families.cometbft.consensus import book
from chainwatch.families.cometbft.consensus.admission import Admission
from chainwatch.families.cometbft.consensus.contradictions import Contradictions
from chainwatch.families.cometbft.consensus.events import (
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
    SeenVote,
    Settled,
    ValidatorSet,
)
from chainwatch.families.cometbft.consensus.queue import Queue, Ready
from chainwatch.families.cometbft.consensus.settlement import settle as make_settled

# Heights whose votes are kept, 90 KB each at 180 members. Forgotten votes only make a height partial.
MAX_OPEN = 128
# Votes that are kept in all, some 100 MB: all those heights at 700 members.
MAX_VOTES = 200_000
# Nobody stands further ahead of the last settled height and of the chain's tip than that.
MAX_AHEAD = 5000
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

    `settled`, `hash` and `time` are those of the last height settled before a restart, 0 at the first start: then the
    ledger begins with the first height that it can settle. `known` are the double signs told before the restart.
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
        time: float | None = None,
        chain_id: str = "",
        known: Iterable[DoubleSign] = (),
        gave_up: Callable[[int], None] | None = None,
    ) -> None:
        self.set: ValidatorSet | None = None  # of the newest settled height
        self._admission = Admission(chain_id)
        self._counters = Counters()
        self._tell = settle
        self._double_signs = DoubleSigns(double_sign, known)
        self._contradictions = Contradictions(self._double_signs.found)
        self._queue = Queue(settled, hash, time, gave_up or (lambda given_up: None))
        self._heights: dict[int, Height] = {}
        self._votes = 0  # kept in all; never less than there are
        self._stands: dict[int, int] = {}  # by vantage point: the height that it told last to stand in
        self._tip = 0  # as `missing` was last told

    @property
    def chain_id(self) -> str:
        """Id of the chain: given, or of the first header seen; later ones must agree. Empty before."""
        return self._admission.chain_id

    @chain_id.setter
    def chain_id(self, chain_id: str) -> None:
        self._admission.chain_id = chain_id

    @property
    def foreign(self) -> Mapping[int, str]:
        """Vantage points that answer for another chain, and its id."""
        return self._admission.foreign

    @property
    def settled(self) -> int:
        """The last height that was settled or given up; 0 before the first."""
        return self._queue.settled

    @property
    def settled_hash(self) -> str:
        """Hash of its block; empty where that is not known."""
        return self._queue.settled_hash

    @property
    def settled_time(self) -> float | None:
        """Time in its header, Unix seconds; None where that is not known."""
        return self._queue.settled_time

    @property
    def current(self) -> Height | None:
        """The height that consensus stands in: the newest of those that the vantage points told last.

        Not one far beyond what is settled and the tip that `missing` was last given.
        """
        known = max(self.settled, self._tip)
        stands = [height for height in self._stands.values() if not known or height <= known + MAX_AHEAD]
        return self._heights.get(max(stands, default=0))

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
        if vantage not in self._admission.admitted and not self._admission.admit(event, vantage):
            self._counters.foreign += vantage in self.foreign
            return
        if isinstance(event, Vote):
            self._vote(event, seen, vantage)
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
        if vantage != OWN_NODE:
            self._stands.pop(vantage, None)

    def learn(self, validators: ValidatorSet) -> None:
        """Take a set that `wanted_sets` asked for."""
        self._queue.learn(validators)
        self._settle_all()

    def fill(
        self,
        block: Block,
        hash: str,  # noqa: A002
        commit: Commit,
        reason: FillReason,
        vantage: int = OWN_NODE,
    ) -> None:
        """Take a height read by RPC from a vantage point: its block, the block's hash, and its canonical commit.

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
        if not self._admission.same_chain(block.header):
            raise BadReply(
                f"/block of height {number} is of chain {block.header.chain_id[:50]!r}, this exporter watches "
                f"{self.chain_id!r}; check rpc.url and vantage.urls"
            )
        if self._ahead(number) and not self._queue.complete(number):
            self._take_evidence(block)
            self._queue.take_filled(block, hash, commit, reason, vantage == OWN_NODE)
            self._take_commit(block.last_commit, vantage)
            self._settle_all()

    def wanted_sets(self) -> Mapping[str, int]:
        """Return the sets that are needed next: hash as in headers, and a height that has it."""
        return self._queue.wanted_sets()

    def missing(self, tip: int) -> range:
        """Return the heights that no stream will settle any more, oldest first; `tip` is the chain's newest height.

        The commit of the tip itself is not canonical yet. Give a tip that the streams have had time to tell: one only
        just learnt names heights whose events are on their way (filling them does no harm, but is needless work).
        Empty at the first start until a height was settled, or `begin` named one.
        """
        self._tip = min(tip, _LAST_HEIGHT)
        return self._queue.missing(self._tip)

    def begin(self, height: int) -> None:
        """Begin after this height where none was settled yet and no stream tells any: `missing` names what follows.

        Without it a ledger begins with the first height that streams tell whole. Ignored once it has begun.
        """
        if not self.settled and 0 < height < _LAST_HEIGHT:
            self._queue.advance(height, "")
            self._forget_heights()
            self._settle_all()

    def skip(self, height: int) -> int:
        """Give up all heights up to this one that are not settled; return how many these were."""
        settled = self.settled
        if height <= settled:
            return 0
        self._queue.advance(height, "")
        self._forget_heights()
        self._settle_all()
        return height - settled if settled else 0

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
                self._drop_farthest()
                return self._heights.get(number)
        return height

    def _vote(self, vote: Vote, seen: float, vantage: int) -> None:
        height = self._heights.get(vote.height) or self._height(vote.height, seen)
        if height is None:
            self._counters.late += 1
            return
        in_round = height.rounds.get(vote.round) or book.open_round(height, vote.round)
        votes = book.votes_of(in_round, vote.type) if in_round else None
        known = votes.get(vote.validator_address) if votes is not None else None
        if votes is None or known is None:
            self._first_vote(votes, vote, seen, vantage)
        elif known.block != vote.block_id.hash:
            tellers = frozenset((known.vantage, vantage))
            self._contradictions.add(vote.validator_address, vote.height, vote.round, vote.type, tellers)
        else:
            self._counters.duplicates += 1
            if known.vantage != vantage and known.block and OWN_NODE in (known.vantage, vantage):
                self._contradictions.agree(vote.validator_address, vote.height, known.vantage or vantage)
            if seen < known.seen or vantage < known.vantage:
                earliest, first = min(seen, known.seen), min(vantage, known.vantage)
                votes[vote.validator_address] = known._replace(seen=earliest, vantage=first)

    def _first_vote(self, votes: dict[str, SeenVote] | None, vote: Vote, seen: float, vantage: int) -> None:
        if vote.height <= self._queue.settled:
            self._counters.late += 1
        elif votes is None or not book.add_vote(votes, vote, seen, vantage):
            self._counters.refused += 1
        else:
            self._votes += 1
            if self._votes > MAX_VOTES:
                self._make_room()

    def _make_room(self) -> None:
        """Forget heights until an eighth of the room for votes is free."""
        self._votes = sum(map(book.count_votes, self._heights.values()))  # rounds that were forgotten still counted
        while 8 * self._votes > 7 * MAX_VOTES and self._drop_farthest():
            pass

    def _drop_farthest(self) -> bool:
        """Forget the height whose turn comes last, save the one that the watched node stands in."""
        stands = self._stands.get(OWN_NODE, 0)
        turn = self.settled + 1 if self.settled else stands
        number = max((one for one in self._heights if one != stands), key=lambda one: abs(one - turn), default=None)
        if number is None:
            return False
        self._forget(number)
        self._contradictions.drop(number)
        return True

    def _progress(self, event: NewRound | RoundState | CompleteProposal, seen: float, vantage: int) -> None:
        if event.height > self.settled:
            self._stands[vantage] = event.height
        height = self._height(event.height, seen)
        in_round = book.open_round(height, event.round) if height else None
        if height is None or in_round is None:
            return
        height.opened = min(height.opened, seen)
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
        if not self._admission.same_chain(header):
            self._admission.refuse(header, vantage)
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
            self._queue.take_block(block, event.block_id.hash if event.block_id else "", seen, vantage == OWN_NODE)
        elif event.block_id and vantage == OWN_NODE:
            self._contradictions.confirm(block.header.height, event.block_id.hash)
        self._take_commit(block.last_commit, vantage)
        self._settle_all()

    def _take_evidence(self, block: Block) -> None:
        for evidence in block.misbehaviour:
            self._double_signs.evidence(evidence)

    def _take_commit(self, commit: Commit | None, vantage: int) -> None:
        """Take the `last_commit` of a block. That of a chain's first block is empty, of height 0."""
        if commit is None or not commit.signatures:
            return
        if vantage == OWN_NODE:
            self._contradictions.confirm(commit.height, commit.block_id.hash)
        if not self._ahead(commit.height):
            return
        if commit.block_id.hash and book.is_hash(commit.block_id.hash):
            self._queue.take_commit(commit, vantage == OWN_NODE)
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
        self._queue.advance(number, settled.block.hash, settled.block.time)
        self._forget_heights()
        if not self._contradictions.settle(settled, ready.pending.own) and settled.contradictions:
            settled = replace(settled, contradictions=frozenset())
        self._tell(settled)

    def _forget_heights(self) -> None:
        for number in [number for number in self._heights if number <= self.settled - KEPT_SETTLED]:
            self._forget(number)
        self._contradictions.forget(self.settled - KEPT_SETTLED)

    def _forget(self, number: int) -> None:
        self._votes -= book.count_votes(self._heights.pop(number))
