"""The document of `GET /api/v1/consensus`.

Version 1. Fields may be added within a version; whoever reads it ignores those that it does not know. Times are Unix
seconds, ratios are shares of the set's voting power from 0 to 1, addresses 40 upper-case hex digits. Null means that it
is not known. Names are those that the operator configured or that validators gave themselves: text, and nothing else.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

VERSION = 1

# For the block, for nil, not received; or nobody can tell: votes were lost, or have not been told.
Mark = Literal["yes", "nil", "none", "unknown"]


class Node(Struct, frozen=True):
    """The watched node, and the chain as seen through it."""

    condition: str  # one of `model.Condition`
    words: str  # the condition as a sentence
    since: float  # of the condition
    answering: bool
    catching_up: bool | None  # as it said last; None before it ever answered
    peers: int | None
    height: int | None  # its newest block


class Member(Struct, frozen=True):
    """Somebody, by address and, where there is one, name."""

    address: str
    name: str | None


class Proposal(Struct, frozen=True):
    """The block that was proposed in a round."""

    seen: float | None  # when it was complete
    in_time: bool | None  # before the time to propose was over
    hash12: str | None  # first 12 digits of its hash


class Votes(Struct, frozen=True):
    """The votes of one type in one round, as shares of the power."""

    block: float
    nil: float
    none: float
    quorum: bool  # more than two thirds voted, be it for nil
    quorum_after_seconds: float | None  # since the proposal was complete, else since the round began


class Round(Struct, frozen=True):
    """A round of the present height."""

    round: int
    proposer: Member | None
    proposal: Proposal
    timed_out: bool  # the proposal did not come in time
    prevotes: Votes | None  # None where votes were lost or have not been told
    precommits: Votes | None


class Power(Struct, frozen=True):
    """Voting power of the set."""

    total: int
    two_thirds: int  # the least power that is more than two thirds


class Validator(Struct, frozen=True):
    """A member of the set, and its votes in the present round."""

    address: str
    index: int  # in the set
    name: str | None
    own: bool
    power: int
    prevote: Mark
    precommit: Mark
    prevote_seen: float | None
    precommit_seen: float | None
    consecutive_missed: int  # settled heights in a row without its signature, by the Cosmos SDK's rule
    missing_since: float | None  # time of the first of these blocks that this exporter saw


class Missing(Struct, frozen=True):
    """Somebody that the chain lacks: while it stands still, who has not voted; else who did not sign the last block."""

    address: str
    name: str | None
    own: bool
    power: int
    since: float


class Settled(Struct, frozen=True):
    """A committed height."""

    height: int
    round: int  # in which it was committed
    how: str  # one of `model.How`
    absent: list[Member]  # did not sign
    nil: list[Member]  # signed for nil
    interval: float | None  # seconds between its block and the one before, as they came


class Snapshot(Struct, frozen=True):
    """Everything at one moment."""

    version: int
    time: float  # of this exporter's clock, when the document was made
    chain: str | None
    node: Node
    height: int | None  # that is being decided
    started: float | None  # when its first event came
    round: int | None
    step: str | None  # such as Prevote
    proposer: Member | None
    rounds: list[Round]  # of this height, oldest first, the last 20
    prevoted: float | None  # shares of the power that voted in the present round
    precommitted: float | None
    power: Power | None
    validators: list[Validator]  # in index order; empty before the set is known
    missing: list[Missing]  # the most powerful first
    last_heights: list[Settled]  # oldest first, the last 20
