"""Makes the document of one moment from what is known: the ledger's height, the verdict, and the last settled heights.

While the chain stands still the stream may have nothing to tell, as after a restart of this exporter: then the votes
are those that the node itself counts up in /consensus_state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from chainwatch.families.cometbft.consensus.model import (
    NIL,
    Condition,
    Height,
    NodeCondition,
    Round,
    SeenVote,
    ValidatorSet,
    Verdict,
)
from chainwatch.families.cometbft.tracker.consensus_state import PRECOMMITTING, Standing
from chainwatch.families.cometbft.tracker.consensus_state import Votes as Told
from chainwatch.families.cometbft.view import document
from chainwatch.families.cometbft.view.document import Mark
from chainwatch.families.cometbft.view.history import History, Misses
from chainwatch.families.cometbft.view.words import sentence

ROUNDS = 20
MAX_NAME = 70  # as long as a moniker may be
HASH_DIGITS = 12

Naming = Callable[[str], str | None]
Marks = Mapping[str, Mark]


class Heights(Protocol):
    """What is read of the ledger."""

    @property
    def current(self) -> Height | None:
        """The height that is being decided, as far as streams told."""

    @property
    def set(self) -> ValidatorSet | None:
        """Of the newest settled height."""


class Watched(Protocol):
    """What is read of the tracker."""

    @property
    def ledger(self) -> Heights:
        """What was told of each height."""

    @property
    def verdict(self) -> Verdict:
        """How the chain stands."""

    @property
    def standing(self) -> Standing | None:
        """The last /consensus_state; None while the chain runs."""

    @property
    def standing_set(self) -> ValidatorSet | None:
        """Who decides the standing height, as a node told, else the set of the last height before a restart."""

    @property
    def names(self) -> Collection[str]:
        """Addresses of one's own validators."""

    @property
    def chain_id(self) -> str | None:
        """As the node names its chain."""

    @property
    def tip(self) -> int | None:
        """Newest block of the watched node."""

    def condition(self) -> NodeCondition:
        """How the watched node was when last asked."""


def take(watched: Watched, history: History, naming: Naming, now: float) -> document.Snapshot:
    """Return the document; `naming` gives the name of an address, from whatever source."""
    return _Moment(watched, history, naming).snapshot(now)


def clean(name: str | None) -> str | None:
    """Make a name harmless that a stranger chose: bounded, on one line, without control or direction characters."""
    if not name:
        return None
    short = name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in short)


class _Moment:
    """The parts that belong together at one moment."""

    def __init__(self, watched: Watched, history: History, naming: Naming) -> None:
        self._watched = watched
        self._history = history
        self._naming = naming
        self._verdict = watched.verdict
        self._standing, self._current = _newest(watched.standing, watched.ledger.current)
        # The settled set is two heights older than the one that stands, and in a halt whoever joined since may be why.
        # Nothing settles in a halt: the ledger of an exporter that started in one knows no set.
        members = (watched.standing_set if self._standing else None) or watched.ledger.set or watched.standing_set
        self._members = members if members and members.power > 0 else None
        self._round = _present_round(self._standing, self._current)
        self._step = self._standing.step if self._standing else _step(self._seen(self._round))
        self._prevotes, self._precommits = self._present_marks()

    def _seen(self, number: int | None) -> Round | None:
        """What the streams told of a round."""
        return self._current.rounds.get(number) if self._current and number is not None else None

    @property
    def _whole(self) -> bool:
        """Whether some stream told all of this height, so that a vote that was not told was not there."""
        return bool(self._current and self._current.watched_by)

    def snapshot(self, now: float) -> document.Snapshot:
        """Put them together."""
        standing, current = self._standing, self._current
        present = self._seen(self._round)
        members = self._members
        return document.Snapshot(
            version=document.VERSION,
            time=now,
            chain=clean(self._watched.chain_id),
            node=self._node(),
            height=standing.height if standing else current.number if current else None,
            started=current.opened if current else standing.started if standing else None,
            round=self._round,
            step=self._step,
            proposer=self._member(present.proposer) if present else None,
            rounds=list(self._rounds()),
            prevoted=self._voted(self._prevotes, standing.prevotes if standing else None),
            precommitted=self._voted(self._precommits, standing.precommits if standing else None),
            power=document.Power(members.power, 2 * members.power // 3 + 1) if members else None,
            validators=list(self._validators()),
            missing=sorted(self._missing(), key=lambda missing: (-missing.power, missing.address)),
            last_heights=[
                document.Settled(
                    row.height, row.round, row.how, self._each(row.absent), self._each(row.nil), row.interval
                )
                for row in self._history.rows
            ],
        )

    def _node(self) -> document.Node:
        condition = self._watched.condition()
        return document.Node(
            condition=self._verdict.condition.value,
            words=sentence(self._verdict, condition.answering),
            since=self._verdict.since,
            answering=condition.answering,
            catching_up=condition.catching_up if condition.answering else None,
            peers=condition.peers,
            height=self._watched.tip,
        )

    def _name(self, address: str) -> str | None:
        return clean(self._naming(address))

    def _member(self, address: str) -> document.Member | None:
        return document.Member(address, self._name(address)) if address else None

    def _each(self, addresses: Iterable[str]) -> list[document.Member]:
        return [document.Member(address, self._name(address)) for address in addresses]

    def _present_marks(self) -> tuple[Marks, Marks]:
        """Prevotes and precommits of the present round, by address."""
        seen, standing, members = self._seen(self._round), self._standing, self._members
        if members is None:
            return {}, {}
        whole = self._whole
        return (
            _marks(members, seen.prevotes if seen else {}, standing.prevotes if standing else None, whole),
            _marks(members, seen.precommits if seen else {}, standing.precommits if standing else None, whole),
        )

    def _voted(self, marks: Marks, told: Told | None) -> float | None:
        """Share of the power that voted: as the node counts it, else as it was seen."""
        if told is not None:
            return told.share
        if self._members is None or not self._known(marks):
            return None
        return sum(m.power for m in self._members.members if marks[m.address] in ("yes", "nil")) / self._members.power

    @staticmethod
    def _known(marks: Marks) -> bool:
        return bool(marks) and "unknown" not in marks.values()

    def _rounds(self) -> Iterator[document.Round]:
        numbers = set(self._current.rounds) if self._current else set()
        if self._round is not None:
            # A vote may come for a round that has not begun.
            numbers = {number for number in numbers if number <= self._round} | {self._round}
        for number in sorted(numbers)[-ROUNDS:]:
            yield self._round_document(number)

    def _round_document(self, number: int) -> document.Round:
        seen, members = self._seen(number) or Round(number), self._members
        prevotes, precommits = self._prevotes, self._precommits
        if number != self._round and members is not None:
            prevotes = _marks(members, seen.prevotes, None, self._whole)
            precommits = _marks(members, seen.precommits, None, self._whole)
        return document.Round(
            round=number,
            proposer=self._member(seen.proposer),
            proposal=document.Proposal(
                seen.proposal_seen, seen.proposal_in_time, seen.proposal[:HASH_DIGITS].upper() or None
            ),
            timed_out=seen.timed_out,
            prevotes=self._votes(prevotes, seen.prevotes, seen),
            precommits=self._votes(precommits, seen.precommits, seen),
        )

    def _votes(self, marks: Marks, votes: Mapping[str, SeenVote], seen: Round) -> document.Votes | None:
        members = self._members
        if members is None or not self._known(marks):
            return None
        power = dict.fromkeys(("yes", "nil", "none"), 0)
        for member in members.members:
            power[marks[member.address]] += member.power
        total = members.power
        base = seen.proposal_seen or seen.started
        reached = _quorum_at(votes, members) if self._whole else None
        return document.Votes(
            block=power["yes"] / total,
            nil=power["nil"] / total,
            none=power["none"] / total,
            quorum=3 * (total - power["none"]) > 2 * total,
            quorum_after_seconds=max(0.0, reached - base) if reached is not None and base is not None else None,
        )

    def _validators(self) -> Iterator[document.Validator]:
        seen = self._seen(self._round) or Round(0)
        for index, (address, power) in enumerate(self._powers()):
            misses = self._history.misses.get(address)
            prevote, precommit = seen.prevotes.get(address), seen.precommits.get(address)
            yield document.Validator(
                address=address,
                index=index,
                name=self._name(address),
                own=address in self._watched.names,
                power=power,
                prevote=self._prevotes[address],
                precommit=self._precommits[address],
                prevote_seen=prevote.seen if prevote else None,
                precommit_seen=precommit.seen if precommit else None,
                consecutive_missed=misses.count if misses else 0,
                missing_since=misses.since if misses else None,
            )

    def _powers(self) -> list[tuple[str, int]]:
        return [(member.address, member.power) for member in self._members.members] if self._members else []

    def _missing(self) -> Iterator[document.Missing]:
        """Who is missing; nobody while nothing can be said, as of a node that catches up."""
        addresses, since = self._absent()
        for address, power in self._powers():
            if address in addresses:
                misses: Misses | None = self._history.misses.get(address)
                first = since if misses is None else misses.since if since is None else min(since, misses.since)
                if first is not None:
                    yield document.Missing(address, self._name(address), address in self._watched.names, power, first)

    def _absent(self) -> tuple[Collection[str], float | None]:
        """Who is missing, and since when at the latest (None: since the first block that they missed)."""
        verdict = self._verdict
        if verdict.condition is Condition.RUNNING:
            return self._history.misses.keys(), None
        if verdict.condition in (Condition.NO_QUORUM, Condition.STUCK_WITH_QUORUM):
            awaited = self._precommits if self._step in PRECOMMITTING else self._prevotes
            return verdict.missing or _without(awaited), verdict.since
        if verdict.condition is Condition.MANY_ROUNDS and self._current and self._round and self._whole:
            # Whoever voted in none of the rounds that are over.
            rounds = [round_ for number, round_ in self._current.rounds.items() if number < self._round]
            voted = {
                address for round_ in rounds for votes in (round_.prevotes, round_.precommits) for address in votes
            }
            return {address for address, _ in self._powers()} - voted, self._current.opened
        return (), None


def _newest(standing: Standing | None, current: Height | None) -> tuple[Standing | None, Height | None]:
    """Let go of that which is older than the other."""
    if standing is None or current is None:
        return standing, current
    if standing.height != current.number:
        return (standing, None) if standing.height > current.number else (None, current)
    number = _present_round(None, current)
    return (None, current) if number is not None and number > standing.round else (standing, current)


def _present_round(standing: Standing | None, current: Height | None) -> int | None:
    """The round that consensus stands in: a vote alone does not begin one."""
    if standing is not None:
        return standing.round
    if current is None or not current.rounds:
        return None
    begun = [number for number, seen in current.rounds.items() if seen.started is not None or seen.steps]
    return max(begun, default=min(current.rounds))


def _step(seen: Round | None) -> str | None:
    """The step that began last."""
    if seen is None or not seen.steps:
        return "NewRound" if seen and seen.started is not None else None
    return max(seen.steps, key=lambda step: seen.steps[step])


def _marks(members: ValidatorSet, seen: Mapping[str, SeenVote], told: Told | None, whole: bool) -> Marks:
    """Each member's vote: as a stream told it, else as the node counts it; `none` only where somebody knows."""
    counted = _told(members, told)
    marks: dict[str, Mark] = {}
    for member in members.members:
        vote = seen.get(member.address)
        if vote is not None:
            marks[member.address] = "nil" if vote.block == NIL else "yes"
        elif counted is not None:
            marks[member.address] = counted[member.address]
        else:
            marks[member.address] = "none" if whole else "unknown"
    return marks


def _told(members: ValidatorSet, told: Told | None) -> Marks | None:
    """Each member's vote as the node counts it; None where it does not say, or counts the votes of another set."""
    if told is None or len(told.voted) != len(members.members):
        return None
    marks: dict[str, Mark] = {}
    for member, voted, block, voter in zip(members.members, told.voted, told.blocks, told.voters, strict=True):
        if voter is not None and not member.address.startswith(voter):
            return None
        if not voted:
            marks[member.address] = "none"
        else:
            marks[member.address] = "unknown" if block is None else "nil" if block == NIL else "yes"
    return marks


def _without(marks: Marks) -> Sequence[str]:
    return [address for address, mark in marks.items() if mark == "none"]


def _quorum_at(votes: Mapping[str, SeenVote], members: ValidatorSet) -> float | None:
    """When more than two thirds of the power had voted, by this exporter's clock."""
    powers, gathered, total = members.powers(), 0, members.power
    for address, vote in sorted(votes.items(), key=lambda item: item[1].seen):
        gathered += powers.get(address, 0)
        if 3 * gathered > 2 * total:
            return vote.seen
    return None
