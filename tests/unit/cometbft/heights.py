"""Settled heights to order: a healthy one by default, and what went wrong by argument.

Validators are numbered from 0 in index order. A height takes 6 s from `start(height)`; all times within it are below.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from chainwatch.families.cometbft.consensus.model import (
    NIL,
    OWN_NODE,
    BlockFacts,
    FillReason,
    Height,
    How,
    Misbehaviour,
    NodeCondition,
    Result,
    Round,
    SeenVote,
    Settled,
    Signature,
    Validator,
    ValidatorSet,
)

HEALTHY = NodeCondition(answering=True, catching_up=False, peers=20)
FIRST = 1_700_000_000.0
SPACING = 6.0
# Seconds after the start of a height's first round; each failed round puts all but NEW_HEIGHT off by ROUND.
NEW_HEIGHT, PROPOSAL, PREVOTE, PRECOMMIT, COMMIT, BLOCK = -1.0, 0.2, 0.3, 0.7, 1.1, 1.2
ROUND = 3.0
# A vote is cast this long before it is seen, and seen so long after its step began.
TRAVEL, PREVOTE_SEEN, PRECOMMIT_SEEN = 0.08, 0.1, 0.15


@cache
def address(number: int) -> str:
    return f"{number:040X}"


def block_hash(height: int) -> str:
    return f"{height:064X}"


def start(height: int) -> float:
    """When its first round begins."""
    return FIRST + height * SPACING


def validators(powers: Sequence[int] | Mapping[int, int]) -> ValidatorSet:
    """A set of these powers, by number of the validator; its hash tells equal sets."""
    numbered = powers if isinstance(powers, Mapping) else dict(enumerate(powers))
    members = tuple(Validator(address(number), power) for number, power in numbered.items())
    return ValidatorSet(f"{hash(members) % 2**256:064X}", members)


FOUR = validators((10, 10, 10, 10))


@dataclass
class Failed:
    """A round that failed: by default the proposal never came, and all voted nil."""

    proposer: int | None = 0
    proposed: bool = False
    in_time: bool | None = None
    timed_out: bool = True

    def round(self, number: int, height: int, members: ValidatorSet) -> Round:
        begun = start(height) + ROUND * number
        votes = {member.address: SeenVote(NIL, begun + 2.0, begun + 1.9) for member in members.members}
        return Round(
            number,
            proposer="" if self.proposer is None else address(self.proposer),
            started=begun,
            proposal=f"{0xF * 16**60 + height * 100 + number:064X}" if self.proposed else NIL,
            proposal_seen=begun + 1.5 if self.proposed else None,
            proposal_in_time=self.in_time,
            timed_out=self.timed_out,
            steps={"Propose": begun, "Prevote": begun + 1.8, "Precommit": begun + 2.2},
            prevotes=dict(votes),
            precommits=dict(votes),
        )


@dataclass
class Story:
    """What happened at one height; validators by number."""

    height: int = 1
    members: ValidatorSet = FOUR
    how: How = How.WATCHED
    absent: Iterable[int] = ()  # no vote of theirs was seen, and none is in the commit
    nil: Iterable[int] = ()  # voted nil
    prevoted_only: Iterable[int] = ()  # prevoted for the block and did not precommit
    left_out: Iterable[int] = ()  # their precommits were seen, the commit has none
    unseen: Iterable[int] = ()  # signed, nobody told
    contradictions: Iterable[int] = ()
    failed: Sequence[Failed] = ()
    proposer: int = 0
    empty: bool = False
    votes_late: float = 0.0  # seconds that all precommits come later
    misbehaviour: tuple[Misbehaviour, ...] = ()
    time: float | None = None

    def settled(self) -> Settled:
        absent = {address(number) for number in (*self.absent, *self.prevoted_only, *self.left_out)}
        nil = {address(number) for number in self.nil}
        at = start(self.height) if self.time is None else self.time
        watched = self.how is How.WATCHED
        seen = None if self.how is How.FILLED else self._seen()
        return Settled(
            block=BlockFacts(
                self.height,
                block_hash(self.height),
                at,
                address(self.proposer),
                self.members.hash,
                0 if self.empty else 3,
                self.empty,
            ),
            round=len(self.failed),
            how=self.how,
            reason=FillReason.EXPORTER if self.how is How.FILLED else None,
            set=self.members,
            signatures={member.address: _signature(member.address, absent, nil, at) for member in self.members.members},
            seen=seen,
            prevotes=self._prevotes(nil) if watched else None,
            left_out=frozenset(map(address, self.left_out)),
            contradictions=frozenset(map(address, self.contradictions)),
            unseen=frozenset(map(address, self.unseen)) if watched else frozenset(),
            next_round_seen=start(self.height + 1) + ROUND * len(self.failed),
            misbehaviour=self.misbehaviour,
        )

    def _prevotes(self, nil: set[str]) -> dict[str, Result]:
        silent = {address(number) for number in self.absent}
        return {
            member.address: Result.ABSENT
            if member.address in silent
            else Result.NIL
            if member.address in nil
            else Result.BLOCK
            for member in self.members.members
        }

    def _seen(self) -> Height:
        begun = start(self.height) + ROUND * len(self.failed)
        rounds = {number: one.round(number, self.height, self.members) for number, one in enumerate(self.failed)}
        rounds[len(self.failed)] = self._committed(begun)
        rounds[0].steps["NewHeight"] = start(self.height) + NEW_HEIGHT
        return Height(
            self.height,
            opened=start(self.height) + NEW_HEIGHT,
            rounds=rounds,
            watched_by={OWN_NODE} if self.how is How.WATCHED else set(),
            ended_by={OWN_NODE},
            committed_seen=begun + BLOCK,
        )

    def _committed(self, begun: float) -> Round:
        absent, nil = {address(number) for number in self.absent}, {address(number) for number in self.nil}
        without_precommit = {address(number) for number in (*self.absent, *self.prevoted_only, *self.unseen)}
        members = [member.address for member in self.members.members]
        prevoted, precommitted = begun + PREVOTE + PREVOTE_SEEN, begun + PRECOMMIT + PRECOMMIT_SEEN + self.votes_late

        def vote(voter: str, at: float) -> SeenVote:
            return SeenVote(NIL if voter in nil else block_hash(self.height), at, at - TRAVEL)

        return Round(
            len(self.failed),
            proposer=address(self.proposer),
            started=begun,
            proposal=block_hash(self.height),
            proposal_seen=begun + PROPOSAL,
            proposal_in_time=True,
            own_proposal_seen=begun + PROPOSAL,
            own_proposal_in_time=True,
            steps={
                "Propose": begun,
                "Prevote": begun + PREVOTE,
                "Precommit": begun + PRECOMMIT,
                "Commit": begun + COMMIT,
            },
            prevotes={voter: vote(voter, prevoted) for voter in members if voter not in absent},
            precommits={voter: vote(voter, precommitted) for voter in members if voter not in without_precommit},
        )


def _signature(member: str, absent: set[str], nil: set[str], at: float) -> Signature:
    if member in absent:
        return Signature(Result.ABSENT, None)
    return Signature(Result.NIL if member in nil else Result.BLOCK, at)
