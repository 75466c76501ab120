"""What is counted of the network as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from itertools import product

from prometheus_client import Metric

from chainwatch.exposition.metrics import CounterDefinition
from chainwatch.families.cometbft.consensus import metrics
from chainwatch.families.cometbft.consensus.delays import full_delay, quorum_delay, step_durations
from chainwatch.families.cometbft.consensus.model import (
    NIL,
    DoubleSign,
    EvidenceType,
    Height,
    How,
    Proof,
    Round,
    SeenVote,
    Settled,
    ValidatorSet,
)
from chainwatch.families.cometbft.consensus.rounds import Failure, failed_rounds
from chainwatch.families.cometbft.consensus.validator_counts import MAX_COUNT

TYPES = ("prevote", "precommit")
WHOSE = ("own", "other")


class Change(StrEnum):
    """How a validator set differs from the one before."""

    JOINED = "joined"
    LEFT = "left"
    POWER_RAISED = "power_raised"
    POWER_LOWERED = "power_lowered"


# Every counter, and the label values that start at 0.
_COUNTERS: dict[CounterDefinition, Iterable[tuple[str, ...]]] = {
    metrics.HEIGHTS_SETTLED: [(how.value,) for how in How],
    metrics.HEIGHTS_SKIPPED: [()],
    metrics.ROUND_FAILURES: list(product((*WHOSE, "unknown"), [failure.value for failure in Failure])),
    metrics.VOTE_EVENTS: list(product(TYPES, ("block", "nil"))),
    metrics.VOTE_UNSEEN: [()],
    metrics.VOTE_CONTRADICTIONS: [()],
    metrics.SET_CHANGES: [(change.value,) for change in Change],
    metrics.EVIDENCE: list(product([kind.value for kind in EvidenceType], WHOSE)),
    metrics.DOUBLE_SIGNS: list(product(WHOSE, [proof.value for proof in Proof])),
}


class NetworkTally:
    """Counters that survive a restart, and histograms that do not."""

    def __init__(self, own: Iterable[str]) -> None:
        """`own`: addresses of one's own validators."""
        self._own = frozenset(own)
        self._counts = {one.name: dict.fromkeys(known, 0) for one, known in _COUNTERS.items()}
        self._changed: dict[str, float] = {}
        self._interval = metrics.BLOCK_INTERVAL.live()
        self._rounds = metrics.ROUNDS_PER_HEIGHT.live()
        self._steps = metrics.STEP_DURATION.live(*((step,) for step in metrics.STEPS))
        self._arrival = metrics.VOTE_ARRIVAL.live(*product(TYPES, ("proposal", "timestamp")))
        self._quorum = metrics.VOTE_QUORUM_DELAY.live(*((kind,) for kind in TYPES))
        self._full = metrics.VOTE_FULL_DELAY.live(*((kind,) for kind in TYPES))
        # The last watched height, and when its block was seen.
        self._last_block: tuple[int, float] | None = None

    def add(self, definition: CounterDefinition, *labels: str, amount: int = 1) -> None:
        """Count."""
        counts = self._counts[definition.name]
        counts[labels] = counts.get(labels, 0) + amount

    def _whose(self, *addresses: str) -> str:
        return "other" if self._own.isdisjoint(addresses) else "own"

    def count(self, settled: Settled, powers: Mapping[str, int]) -> None:
        """Count one height; `powers` are its set's."""
        self.add(metrics.HEIGHTS_SETTLED, settled.how.value)
        self._rounds.observe(settled.round + 1)
        for proposer, failure, rounds in failed_rounds(settled):
            whose = self._whose(proposer) if proposer else "unknown"
            self.add(metrics.ROUND_FAILURES, whose, failure.value, amount=rounds)
        self.add(metrics.VOTE_CONTRADICTIONS, amount=len(settled.contradictions))
        for proven in settled.misbehaviour:
            self.add(metrics.EVIDENCE, proven.type.value, self._whose(*proven.validators))
        if settled.seen is not None:
            for seen in settled.seen.rounds.values():
                self._count_votes(seen)
        if settled.seen is not None and settled.how is How.WATCHED:
            self._watched(settled, settled.seen, powers)

    def _count_votes(self, seen: Round) -> None:
        for kind, votes in _by_type(seen):
            nil = sum(vote.block == NIL for vote in votes.values())
            self.add(metrics.VOTE_EVENTS, kind, "block", amount=len(votes) - nil)
            self.add(metrics.VOTE_EVENTS, kind, "nil", amount=nil)

    def _watched(self, settled: Settled, height: Height, powers: Mapping[str, int]) -> None:
        self.add(metrics.VOTE_UNSEEN, amount=len(settled.unseen))
        for step, duration in step_durations(height):
            self._steps.labels(step).observe(duration)
        self._block_seen(height)
        for seen in height.rounds.values():
            self._arrivals(seen)
        self._quorums(settled, height, powers)

    def _block_seen(self, height: Height) -> None:
        if height.committed_seen is None:
            return
        if self._last_block is not None and self._last_block[0] == height.number - 1:
            self._interval.observe(max(0.0, height.committed_seen - self._last_block[1]))
        self._last_block = height.number, height.committed_seen

    def _arrivals(self, seen: Round) -> None:
        for kind, votes in _by_type(seen):
            since_timestamp = self._arrival.labels(kind, "timestamp").observe
            for vote in votes.values():
                since_timestamp(max(0.0, vote.seen - vote.timestamp))
            if seen.proposal_seen is not None:
                since_proposal = self._arrival.labels(kind, "proposal").observe
                for vote in votes.values():
                    if vote.block == seen.proposal:
                        since_proposal(max(0.0, vote.seen - seen.proposal_seen))

    def _quorums(self, settled: Settled, height: Height, powers: Mapping[str, int]) -> None:
        committed = height.rounds.get(settled.round)
        if committed is None or committed.proposal_seen is None:
            return
        since, total = committed.proposal_seen, sum(powers.values())
        for kind, votes in _by_type(committed):
            quorum = quorum_delay(votes, settled.block.hash, powers, since, total)
            full = full_delay(votes, powers, since)
            if quorum is not None:
                self._quorum.labels(kind).observe(quorum)
            if full is not None:
                self._full.labels(kind).observe(full)

    def set_changed(self, before: ValidatorSet, now: ValidatorSet, at: float) -> None:
        """Count what changed between the sets of two settled heights; `at` is the newer block's time."""
        old, new = before.powers(), now.powers()
        stayed = old.keys() & new.keys()
        for change, members in (
            (Change.JOINED, len(new) - len(stayed)),
            (Change.LEFT, len(old) - len(stayed)),
            (Change.POWER_RAISED, sum(new[address] > old[address] for address in stayed)),
            (Change.POWER_LOWERED, sum(new[address] < old[address] for address in stayed)),
        ):
            if members:
                self.add(metrics.SET_CHANGES, change.value, amount=members)
                self._changed[change.value] = at

    def double_sign(self, found: DoubleSign) -> None:
        """Count a double sign."""
        self.add(metrics.DOUBLE_SIGNS, self._whose(found.validator), found.proof.value)

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        for definition in _COUNTERS:
            yield from definition.samples(self._counts[definition.name])
        yield from metrics.SET_CHANGED.samples({(change,): at for change, at in self._changed.items()})
        for live in (self._interval, self._rounds, self._steps, self._arrival, self._quorum, self._full):
            yield from live.collect()

    def save(self) -> tuple[dict[str, dict[str, int]], dict[str, float]]:
        """Return the counters by metric and by label values joined with commas, and when the set last changed how."""
        counts = {
            name: {",".join(labels): min(number, MAX_COUNT) for labels, number in counts.items() if number}
            for name, counts in self._counts.items()
        }
        return counts, dict(self._changed)

    def restore(self, counts: Mapping[str, Mapping[str, int]], changed: Mapping[str, float]) -> None:
        """Go on from there; what this version does not know is ignored."""
        for name, known in self._counts.items():
            for labels in known:
                known[labels] += counts.get(name, {}).get(",".join(labels), 0)
        self._changed.update((change.value, changed[change]) for change in Change if change in changed)


def _by_type(seen: Round) -> Iterable[tuple[str, Mapping[str, SeenVote]]]:
    return zip(TYPES, (seen.prevotes, seen.precommits), strict=True)
