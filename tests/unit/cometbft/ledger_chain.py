"""A small chain for the ledger: its events to order, and a ledger that writes down what it tells.

Four validators of power 10, numbered in index order. A height takes 6 s; its events come at the times below.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from chainwatch.families.cometbft.consensus.events import (
    FLAG_ABSENT,
    FLAG_COMMIT,
    FLAG_NIL,
    PRECOMMIT,
    PREVOTE,
    Block,
    BlockId,
    Commit,
    CommitSig,
    CompleteProposal,
    Event,
    Evidence,
    EvidenceValue,
    Header,
    NewBlock,
    NewBlockHeader,
    NewRound,
    Proposer,
    RoundState,
    Vote,
)
from chainwatch.families.cometbft.consensus.ledger import Ledger
from chainwatch.families.cometbft.consensus.model import (
    NIL,
    OWN_NODE,
    DoubleSign,
    Height,
    Result,
    Settled,
    Validator,
    ValidatorSet,
)

CHAIN = "chainwatch-lab"
EVERYONE = range(4)
NEW_HEIGHT, ROUND, PROPOSE, PROPOSAL, PREVOTES, PRECOMMITS, COMMIT, BLOCK, LATE = 0, 1, 1.01, 1.2, 1.4, 1.8, 2, 2.1, 2.3


def address(number: int) -> str:
    return f"{number + 1:040X}"


def block_hash(height: int) -> str:
    return f"{height:064X}" if height else NIL


def at(height: int, offset: float = 0.0) -> float:
    """The time of something in a height."""
    return 1_700_000_000.0 + 6 * height + offset


FOUR = ValidatorSet("A" * 64, tuple(Validator(address(number), 10) for number in EVERYONE))


def vote(
    kind: int, height: int, who: int, *, round_number: int = 0, block: str | None = None, offset: float | None = None
) -> Vote:
    """A vote for the height's block, unless another or nil is given."""
    offset = (PREVOTES if kind == PREVOTE else PRECOMMITS) if offset is None else offset
    name = block_hash(height) if block is None else block
    when = datetime.fromtimestamp(at(height, offset - 0.05), UTC)
    return Vote(kind, height, round_number, BlockId(name), when, address(who))


def step(height: int, name: str, round_number: int = 0, event: str = "NewRoundStep") -> RoundState:
    return RoundState(height, round_number, f"RoundStep{name}", event)


def new_round(height: int, round_number: int = 0, proposer: int = 0) -> NewRound:
    return NewRound(height, round_number, Proposer(address(proposer)))


def proposal(height: int, round_number: int = 0, at_step: str = "Propose") -> CompleteProposal:
    return CompleteProposal(height, round_number, f"RoundStep{at_step}", BlockId(block_hash(height)))


def commit(height: int, flags: Mapping[int, int] | None = None, round_number: int = 0) -> Commit:
    """The commit of a height: all signed, save for other flags by number."""
    signatures = []
    for number in EVERYONE:
        flag = (flags or {}).get(number, FLAG_COMMIT)
        when = datetime.fromtimestamp(at(height, PRECOMMITS), UTC)
        signatures.append(CommitSig(FLAG_ABSENT) if flag == FLAG_ABSENT else CommitSig(flag, address(number), when))
    return Commit(height, round_number, BlockId(block_hash(height)), signatures)


def block(
    height: int,
    flags: Mapping[int, int] | None = None,
    *,
    round_number: int = 0,
    chain: str = CHAIN,
    last: str | None = None,
    validators_hash: str = FOUR.hash,
    evidence: Iterable[Evidence] = (),
) -> Block:
    """The block of a height; `flags` and `round_number` are those of the commit of the height before."""
    header = Header(
        height,
        datetime.fromtimestamp(at(height), UTC),
        chain,
        BlockId(block_hash(height - 1) if last is None else last),
        validators_hash,
        validators_hash,
        address(height % 4),
    )
    held = Block(header).evidence.__class__(list(evidence))
    return Block(header, evidence=held, last_commit=commit(height - 1, flags, round_number))


def new_block(height: int, flags: Mapping[int, int] | None = None, **options: Any) -> NewBlock:
    return NewBlock(block(height, flags, **options), BlockId(block_hash(height)))


def new_header(height: int) -> NewBlockHeader:
    return NewBlockHeader(block(height).header)


def duplicate_vote(height: int, who: int, kind: int = PREVOTE) -> Evidence:
    value = EvidenceValue(vote(kind, height, who, block=NIL), vote(kind, height, who))
    return Evidence("tendermint/DuplicateVoteEvidence", value)


@dataclass
class Course:
    """How a height went: flags of its commit, and of whom no vote or no precommit was told."""

    flags: Mapping[int, int] = field(default_factory=dict)
    no_prevote: frozenset[int] = frozenset()
    no_precommit: frozenset[int] = frozenset()


HEALTHY = Course()


def stream(height: int, course: Course = HEALTHY, before: Course = HEALTHY) -> list[tuple[float, Event]]:
    """What a node tells of a height, in its order, with the times; `before` is the course of the height before.

    The last precommit comes after the block, as it does on a healthy net.
    """
    told: list[tuple[float, Event]] = [
        (NEW_HEIGHT, step(height, "NewHeight")),
        (ROUND, new_round(height, proposer=height % 4)),
        (PROPOSE, step(height, "Propose")),
        (PROPOSAL, proposal(height)),
        (PROPOSAL, step(height, "Prevote")),
    ]
    voters = [who for who in EVERYONE if course.flags.get(who) != FLAG_ABSENT]
    for kind, silent, offset in ((PREVOTE, course.no_prevote, PREVOTES), (PRECOMMIT, course.no_precommit, PRECOMMITS)):
        for who in voters:
            if who not in silent:
                late = LATE if kind == PRECOMMIT and who == voters[-1] else offset
                named = NIL if course.flags.get(who) == FLAG_NIL else None
                told.append((late, vote(kind, height, who, block=named, offset=late)))
    told += [(PRECOMMITS - 0.1, step(height, "Precommit")), (COMMIT, step(height, "Commit"))]
    told.append((BLOCK, new_block(height, before.flags)))
    return sorted(((at(height, offset), event) for offset, event in told), key=lambda line: line[0])


@dataclass
class Heard:
    """A ledger, and what it told."""

    ledger: Ledger
    settled: list[Settled] = field(default_factory=list)
    double_signs: list[DoubleSign] = field(default_factory=list)
    given_up: list[int] = field(default_factory=list)

    @property
    def heights(self) -> list[int]:
        return [settled.block.height for settled in self.settled]

    def take(self, *events: Event, seen: float | None = None, vantage: int = OWN_NODE) -> None:
        """Give events, and the set that the ledger asks for."""
        for event in events:
            self.ledger.take(event, at(1) if seen is None else seen, vantage)
            self.serve()

    def follow(self, *heights: int, vantage: int = OWN_NODE) -> None:
        """Give whole healthy heights."""
        for height in heights:
            for seen, event in stream(height):
                self.take(event, seen=seen, vantage=vantage)

    def serve(self) -> None:
        for name in self.ledger.wanted_sets():
            if name == FOUR.hash:
                self.ledger.learn(FOUR)


def seen_of(settled: Settled) -> Height:
    """What was seen of a settled height."""
    assert settled.seen is not None
    return settled.seen


def prevote_of(settled: Settled, who: int) -> Result:
    """The prevote of a validator, of a height where it is known."""
    assert settled.prevotes is not None
    return settled.prevotes[address(who)]


def heard(**options: Any) -> Heard:
    """Return a new ledger with these options."""
    settled: list[Settled] = []
    double_signs: list[DoubleSign] = []
    given_up: list[int] = []
    ledger = Ledger(settled.append, double_signs.append, gave_up=given_up.append, **options)
    return Heard(ledger, settled, double_signs, given_up)
