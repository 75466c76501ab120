"""What is known of a height: its rounds and votes as they were seen, and the commit that proves who signed.

Times are Unix seconds: of this exporter's clock where something was seen, of the validator's where a vote says so.
Addresses are upper-case hex of 40 digits. A block is named by its hash, nil by the empty text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct

NIL = ""
# The watched node itself; other vantage points count from 1.
OWN_NODE = 0


class How(StrEnum):
    """How a height was settled."""

    WATCHED = "watched"  # from its first round to its block, without a gap
    PARTIAL = "partial"  # some of its events were seen: no vote's absence means anything
    FILLED = "filled"  # read afterwards; nothing was seen


class Result(StrEnum):
    """What became of a vote: for the block, for nil, or none."""

    BLOCK = "block"
    NIL = "nil"
    ABSENT = "absent"


class Cause(StrEnum):
    """Why a validator missed a precommit."""

    NETWORK = "network"  # many missed
    NODE = "node"  # the watched node was behind, alone, or without the proposal in time
    SIGNER = "signer"  # the node was well, and the validator did not sign
    PROPOSER = "proposer"  # the vote was seen in time, the next block left it out
    UNKNOWN = "unknown"  # nobody watched


class FillReason(StrEnum):
    """Why nothing was seen of a height."""

    NODE = "node"  # the watched node did not answer, was catching up, or told nothing
    EXPORTER = "exporter"  # this exporter was not running, or not fast enough


class Validator(Struct, frozen=True, array_like=True):
    """A member of a validator set."""

    address: str
    power: int


class ValidatorSet(Struct, frozen=True):
    """The members in index order, and the hash by which headers name the set."""

    hash: str
    members: tuple[Validator, ...]

    @property
    def power(self) -> int:
        """Voting power of all."""
        return sum(member.power for member in self.members)

    def powers(self) -> dict[str, int]:
        """Power by address."""
        return {member.address: member.power for member in self.members}


class SeenVote(NamedTuple):
    """A vote as it came."""

    block: str  # hash, or NIL
    seen: float  # by the first vantage point that had it
    timestamp: float  # what the validator says
    vantage: int = OWN_NODE  # the vantage point that had it first; the watched node, once that has it


@dataclass(slots=True)
class Round:
    """One round as seen. `steps` holds when each step was first seen, by name without `RoundStep`."""

    number: int
    proposer: str = ""  # of NewRound; empty when that was not seen
    started: float | None = None
    proposal: str = NIL  # hash of the proposed block, once it was complete
    proposal_seen: float | None = None
    proposal_in_time: bool | None = None
    own_proposal_seen: float | None = None  # by the watched node itself
    own_proposal_in_time: bool | None = None
    timed_out: bool = False  # TimeoutPropose
    steps: dict[str, float] = field(default_factory=dict)
    prevotes: dict[str, SeenVote] = field(default_factory=dict)  # by address
    precommits: dict[str, SeenVote] = field(default_factory=dict)


@dataclass(slots=True)
class Height:
    """One height as seen so far."""

    number: int
    opened: float  # when its first event came
    rounds: dict[int, Round] = field(default_factory=dict)
    # Vantage points that saw it from its first round on without a gap.
    watched_by: set[int] = field(default_factory=set)
    # Vantage points that told its block.
    ended_by: set[int] = field(default_factory=set)
    committed_seen: float | None = None  # when its block was seen applied


@dataclass(frozen=True, slots=True)
class BlockFacts:
    """What a height's own block says."""

    height: int
    hash: str
    time: float
    proposer: str
    validators_hash: str
    transactions: int
    empty: bool  # no transaction


@dataclass(frozen=True, slots=True)
class Signature:
    """One member's part in the canonical commit."""

    result: Result
    timestamp: float | None


class EvidenceType(StrEnum):
    """What evidence in a block proves."""

    DUPLICATE_VOTE = "duplicate_vote"
    LIGHT_CLIENT_ATTACK = "light_client_attack"


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """One piece of evidence in a block, and whom it convicts."""

    type: EvidenceType
    validators: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """A committed height, settled once: the truth on who signed, and what was seen of it."""

    block: BlockFacts
    round: int  # in which it was committed
    how: How
    reason: FillReason | None  # of FILLED
    set: ValidatorSet
    signatures: Mapping[str, Signature]  # by address, of every member
    seen: Height | None  # None for FILLED
    # Prevotes of the committed round by address; None where they cannot be known (partial, filled, catching up).
    prevotes: Mapping[str, Result] | None
    # Members whose precommit (for this block or nil) came in time, and that the next block left out.
    left_out: frozenset[str]
    # Members whose seen precommit and whose signature in the commit name different blocks: a double sign.
    contradictions: frozenset[str]
    # Members that signed, whose vote nobody told.
    unseen: frozenset[str]
    # Of the next height, when it was first seen: from then on a precommit came too late for its proposer.
    next_round_seen: float | None
    # The evidence in this height's own block.
    misbehaviour: tuple[Misbehaviour, ...] = ()

    @property
    def absent(self) -> Sequence[str]:
        """Members without a signature, in index order: those that missed by the Cosmos SDK's rule."""
        return [m.address for m in self.set.members if self.signatures[m.address].result is Result.ABSENT]


@dataclass(frozen=True, slots=True)
class NodeCondition:
    """How the watched node was while a height was decided, as it told when last asked."""

    answering: bool
    catching_up: bool
    peers: int | None


class Proof(StrEnum):
    """What shows a double sign."""

    EVIDENCE = "evidence"  # the chain's own: NewEvidence, or the evidence of a block
    VANTAGE = "vantage"  # two vantage points published different votes
    COMMIT = "commit"  # the vote that was seen is not the one in the commit


class DoubleSign(Struct, frozen=True):
    """Two different votes of one validator for one height, round and type; told once, by its first proof."""

    validator: str
    height: int
    round: int
    type: int  # PREVOTE or PRECOMMIT
    proof: Proof


class Condition(StrEnum):
    """How the chain stands, as seen through the watched node. Exactly one holds at a time."""

    RUNNING = "running"
    SYNCING = "syncing"  # the node says that it catches up
    BEHIND = "behind"  # the node does not say so, and its peers are heights ahead
    MANY_ROUNDS = "many_rounds"  # rounds go on without a block
    NO_QUORUM = "no_quorum"  # halted: two thirds of the power have not voted
    STUCK_WITH_QUORUM = "stuck_with_quorum"  # halted although the power voted
    CONSENSUS_FAILURE = "consensus_failure"  # the node lives, its consensus is dead: it cannot apply a block
    UNKNOWN = "unknown"  # the node does not answer


@dataclass(frozen=True, slots=True)
class Verdict:
    """The condition, since when, and at which point of consensus; ratios are shares of the set's power, 0 to 1."""

    condition: Condition
    since: float
    height: int | None = None
    round: int | None = None
    step: str | None = None  # without RoundStep, such as Prevote
    prevoted: float | None = None  # voted for a block or nil, in the present round
    precommitted: float | None = None
    # Members that have not voted in the present step, by address; empty while the chain runs.
    missing: tuple[str, ...] = ()
