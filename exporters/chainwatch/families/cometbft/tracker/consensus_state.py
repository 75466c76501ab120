"""Reads /consensus_state: where consensus stands, and who has voted there.

Its votes are texts for people, meant for no program (facts: `nil-Vote` is a vote that was **not received**):

    Vote{1:63D55B361396 6/00/SIGNED_MSG_TYPE_PREVOTE(Prevote) A2D702A899B2 67C3257CA190 000000000000 @ 2026-…Z}
    Vote{0:000001E443FD 1262197/00/1(Prevote) 634ADAF1F402 7BB974E1BA40 @ 2019-…Z}          (Tendermint 0.33)
    BA{4:_xx_} 20/40 = 0.50                                             (who voted; voted power/all power = share)

Whatever does not look like that is not known, never zero.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from chainwatch.families.cometbft.consensus.book import unix
from chainwatch.families.cometbft.consensus.model import NIL, ValidatorSet
from chainwatch.families.cometbft.schema import RoundVotes

STEPS = ("", "NewHeight", "NewRound", "Propose", "Prevote", "PrevoteWait", "Precommit", "PrecommitWait", "Commit")
# The steps in which precommits are gathered; before them it is prevotes.
PRECOMMITTING = ("Precommit", "PrecommitWait", "Commit")
# First bytes of an address and of a block's hash, as hex; zeros for nil.
DIGITS = 12
MAX_MEMBERS = 10_000
MAX_TEXT = 1000

POSITION = re.compile(r"(\d{1,19})/(\d{1,10})/(\d)", re.ASCII)
VOTE = re.compile(
    r"Vote\{(?P<index>\d{1,5}):(?P<address>[0-9A-F]{12}) \d+/\d+/\w+\(\w+\) (?P<block>[0-9A-F]{12}) ", re.ASCII
)
BIT_ARRAY = re.compile(r"BA\{(\d{1,5}):([x_\s]*)\} (\d{1,19})/(\d{1,19}) =", re.ASCII)


@dataclass(frozen=True, slots=True)
class Votes:
    """The votes of one type in one round, by index of the validator set."""

    voted: tuple[bool, ...]
    # First digits of the block's hash, or NIL; None where no vote, or none that can be read, was received.
    blocks: tuple[str | None, ...]
    # First digits of the address of each that voted; None for the others.
    voters: tuple[str | None, ...]
    power: int
    total: int

    @property
    def share(self) -> float:
        """Share of the power that voted, for a block or nil."""
        return self.power / self.total

    @property
    def quorum(self) -> bool:
        """Whether more than two thirds of the power voted."""
        return 3 * self.power > 2 * self.total

    @property
    def lacking(self) -> float:
        """Share of the power that lacks to more than two thirds."""
        return max(0, 2 * self.total // 3 + 1 - self.power) / self.total

    def missing(self, members: ValidatorSet | None) -> tuple[str, ...]:
        """Addresses of those that have not voted; empty where the set is not known, or not the one that votes here."""
        if members is None or len(members.members) != len(self.voted):
            return ()
        addresses = [member.address for member in members.members]
        for address, voter in zip(addresses, self.voters, strict=True):
            if voter is not None and not address.startswith(voter):
                return ()
        return tuple(address for address, voted in zip(addresses, self.voted, strict=True) if not voted)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the node's consensus stands; votes are of the present round."""

    height: int
    round: int
    step: str  # without RoundStep
    started: float | None  # when round 0 began or is to begin, by the node's clock
    prevotes: Votes | None
    precommits: Votes | None

    @property
    def position(self) -> tuple[int, int, str]:
        """Height, round and step."""
        return self.height, self.round, self.step

    @property
    def awaited(self) -> Votes | None:
        """The votes that the present step gathers."""
        return self.precommits if self.step in PRECOMMITTING else self.prevotes


def standing(position: str, started: datetime | None, rounds: Sequence[RoundVotes]) -> Standing | None:
    """Read `height/round/step`, `start_time` and `height_vote_set`; None where the position cannot be read."""
    match = POSITION.fullmatch(position)
    if match is None or not 0 < int(match[3]) < len(STEPS):
        return None
    number = int(match[2])
    present = next((entry for entry in rounds if entry.round == number), None)
    return Standing(
        height=int(match[1]),
        round=number,
        step=STEPS[int(match[3])],
        started=unix(started) if started else None,
        prevotes=votes(present.prevotes, present.prevotes_bit_array) if present else None,
        precommits=votes(present.precommits, present.precommits_bit_array) if present else None,
    )


def votes(texts: Sequence[str], bit_array: str) -> Votes | None:
    """Read the votes of a round; None where the bit array, the only place that tells the power, cannot be read."""
    match = BIT_ARRAY.match(bit_array[: 2 * MAX_MEMBERS])
    if match is None:
        return None
    bits = "".join(match[2].split())
    size, power, total = int(match[1]), int(match[3]), int(match[4])
    if len(bits) != size or size > MAX_MEMBERS or not 0 <= power <= total or not total:
        return None
    blocks: list[str | None] = [None] * size
    voters: list[str | None] = [None] * size
    for place, text in enumerate(texts[:size]):
        vote = VOTE.match(text[:MAX_TEXT])
        if vote and int(vote["index"]) == place:
            blocks[place] = vote["block"] if vote["block"].strip("0") else NIL
            voters[place] = vote["address"]
    return Votes(tuple(bit == "x" for bit in bits), tuple(blocks), tuple(voters), power, total)
