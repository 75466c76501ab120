"""Votes of one validator that contradict each other: double signs, or two histories of one chain.

A vantage point may follow a fork under the same chain id, where everybody seems to sign twice. So a contradiction is
held until its height is settled by a block that is the watched node's own; or until the vantage point proves to be on
the same history: more than two thirds of the members vote for the same block there as at the watched node.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from chainwatch.families.cometbft.consensus.events import PRECOMMIT
from chainwatch.families.cometbft.consensus.model import OWN_NODE, Proof, Settled, ValidatorSet

log = logging.getLogger(__name__)

# A fork goes on from height to height; after so many without it, it is said again.
QUIET = 1000
_NOBODY = ValidatorSet("", ())


class _Vote(NamedTuple):
    """Which vote there are two of."""

    validator: str
    round: int
    type: int


@dataclass(slots=True)
class _Case:
    """What contradicts itself in one height, and who agrees."""

    # With the proof, and the vantage points that told the two votes.
    found: dict[_Vote, tuple[Proof, frozenset[int]]] = field(default_factory=dict)
    told: set[_Vote] = field(default_factory=set)
    # By vantage point: who voted there for the same block as at the watched node.
    agreed: dict[int, set[str]] = field(default_factory=dict)
    # Once the height is settled:
    set: ValidatorSet | None = None
    hash: str = ""
    own: bool = False  # the watched node told this block, or answered with it

    def agrees(self, vantage: int, members: frozenset[str]) -> bool:
        """Tell whether a vantage point is on the watched node's history."""
        return vantage == OWN_NODE or 3 * len(members & self.agreed.get(vantage, set())) > 2 * len(members)


class Contradictions:
    """Tells double signs as soon as they are certain, and drops those of a fork.

    `tell` takes validator, height, round, type and proof.
    """

    def __init__(self, tell: Callable[[str, int, int, int, Proof], None]) -> None:
        self._tell = tell
        self._cases: dict[int, _Case] = {}
        self._set: ValidatorSet | None = None  # of the last settled height
        self._forked: int | None = None  # the last height with too many

    def add(self, validator: str, height: int, round_number: int, kind: int, tellers: frozenset[int]) -> None:
        """Take two votes that these vantage points told; if nothing else decides, the next settled height does."""
        case = self._case(height)
        case.found.setdefault(_Vote(validator, round_number, kind), (Proof.VANTAGE, tellers))
        self._judge(height, case)

    def agree(self, validator: str, height: int, vantage: int) -> None:
        """Note that a vantage point told a vote for the same block as the watched node."""
        case = self._case(height)
        case.agreed.setdefault(vantage, set()).add(validator)
        if len(case.told) < len(case.found):
            self._judge(height, case)

    def settle(self, settled: Settled, own: bool) -> bool:
        """Take a settled height, and judge it and the last few again; return whether its contradictions count."""
        number = settled.block.height
        case = self._case(number)
        for address in sorted(settled.contradictions):
            case.found.setdefault(_Vote(address, settled.round, PRECOMMIT), (Proof.COMMIT, frozenset()))
        self._set = case.set = settled.set
        case.hash, case.own = settled.block.hash, own
        for height, one in self._cases.items():
            if len(one.told) < len(one.found):
                self._judge(height, one)
        return own and self._forked != number

    def confirm(self, height: int, block_hash: str) -> None:
        """Note that the watched node names this block of a height; it may do so after others had it settled."""
        case = self._cases.get(height)
        if case is not None and not case.own and block_hash and case.hash == block_hash:
            case.own = True
            self._judge(height, case)

    def forget(self, height: int) -> None:
        """Forget all up to this height."""
        for number in [number for number in self._cases if number <= height]:
            del self._cases[number]

    def drop(self, height: int) -> None:
        """Forget this height, whose votes had to be forgotten."""
        self._cases.pop(height, None)

    def _case(self, height: int) -> _Case:
        case = self._cases.get(height)
        if case is None:
            case = self._cases[height] = _Case()
        return case

    def _judge(self, height: int, case: _Case) -> None:
        members = frozenset(member.address for member in (case.set or self._set or _NOBODY).members)
        accused = {vote.validator for vote in case.found} & members
        if 3 * len(accused) > len(members):
            self._fork(height, len(accused), len(members))
            return
        for vote, (proof, tellers) in case.found.items():
            certain = case.own or (tellers and all(case.agrees(vantage, members) for vantage in tellers))
            if certain and vote.validator in members and vote not in case.told:
                case.told.add(vote)
                self._tell(vote.validator, height, vote.round, vote.type, proof)

    def _fork(self, height: int, accused: int, members: int) -> None:
        if self._forked is None or height > self._forked + QUIET:
            log.error(
                "in height %d the votes of %d of %d validators contradict each other: this is a fork of the chain and "
                "no double sign, and none is counted; check that rpc.url and every one of vantage.urls follow the same "
                "chain, by the hash that /block?height=%d gives at each",
                height,
                accused,
                members,
                height,
            )
        self._forked = max(height, self._forked or 0)
