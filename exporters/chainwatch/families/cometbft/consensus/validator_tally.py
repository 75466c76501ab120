"""What is counted of each validator, and its rows on the page.

With 180 validators these are nine tenths of all series, so that rows are made directly, from label values made once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import Metric

from chainwatch.exposition.metrics import Definition, Family
from chainwatch.families.cometbft.consensus import metrics
from chainwatch.families.cometbft.consensus.attribution import attribute
from chainwatch.families.cometbft.consensus.model import Cause, How, NodeCondition, Result, Settled
from chainwatch.families.cometbft.consensus.rounds import failed_rounds
from chainwatch.families.cometbft.consensus.state import MAX_VALIDATORS
from chainwatch.families.cometbft.consensus.validator_counts import ValidatorCounts, ValidatorTally

# Seconds for which a validator that left the set is still exported, so that Prometheus sees its last counts.
REMEMBERED = 3600.0
# A set that is exchanged again and again must not add up; the longest gone are forgotten first.
MAX_LEAVERS = 100

Row = tuple[str, tuple[str, ...], float]


class ValidatorTallies:
    """Counts by validator: the members, those that left within the hour, and always one's own."""

    def __init__(self, own: Mapping[str, str], only_own: bool) -> None:
        """`own`: names by address; with `only_own` nobody else is counted."""
        self._own = own
        self._only_own = only_own
        self._by_address = {address: ValidatorTally(address) for address in own}
        self._powers: Mapping[str, int] | None = None  # of the last settled height

    def enter(self, powers: Mapping[str, int], at: float) -> None:
        """Take the powers of a set that is new; `at` is the time of the first block that has it."""
        self._powers = powers
        if not self._only_own:
            for address in powers:
                if address not in self._by_address:
                    self._by_address[address] = ValidatorTally(address)
        for address, tally in self._by_address.items():
            if address in powers:
                if tally.counts.left is not None:
                    tally.counts.consecutive = 0  # who was away from the set did not miss what came before
                tally.counts.left = None
            elif tally.counts.left is None:
                tally.counts.left = at

    def skipped(self) -> None:
        """Heights were given up: of no run of misses is it known that it went on."""
        for tally in self._by_address.values():
            tally.counts.consecutive = 0

    def _forget(self, now: float) -> None:
        """Forget who left long ago, one's own never."""
        left = [
            (tally.counts.left, address)
            for address, tally in self._by_address.items()
            if tally.counts.left is not None and address not in self._own
        ]
        left.sort()
        for place, (when, address) in enumerate(left, start=1):
            if now - when > REMEMBERED or len(left) - place >= MAX_LEAVERS:
                del self._by_address[address]

    def count(self, settled: Settled, condition: NodeCondition) -> None:
        """Count one height, whose set was entered."""
        self._forget(settled.block.time)
        signatures, prevotes, members = settled.signatures, settled.prevotes, len(settled.set.members)
        alone = 3 * (members - len(settled.absent)) > 2 * members
        for address, tally in self._by_address.items():
            signature = signatures.get(address)
            if signature is None:
                continue  # not a member
            tally.precommitted(signature.result, alone)
            if prevotes is not None:
                tally.prevoted(prevotes.get(address, Result.ABSENT), signature.result)
        self._count_proposals(settled)
        for address in settled.left_out:
            if (late := self._by_address.get(address)) is not None:
                late.counts.left_out += 1
        self._count_delays(settled)
        for address in self._own:
            if address in signatures and signatures[address].result is Result.ABSENT:
                self._by_address[address].causes[attribute(settled, address, condition)] += 1

    def _count_proposals(self, settled: Settled) -> None:
        if (committed := self._by_address.get(settled.block.proposer)) is not None:
            committed.counts.committed += 1
            committed.counts.empty += settled.block.empty
        for proposer, _, rounds in failed_rounds(settled):
            if (failed := self._by_address.get(proposer)) is not None:
                failed.counts.failed += rounds

    def _count_delays(self, settled: Settled) -> None:
        if settled.seen is None or settled.how is not How.WATCHED:
            return
        committed = settled.seen.rounds.get(settled.round)
        if committed is None or committed.proposal_seen is None:
            return
        for address, vote in committed.precommits.items():
            tally = self._by_address.get(address)
            if tally is not None and vote.block == settled.block.hash:
                tally.delayed(max(0.0, vote.seen - committed.proposal_seen))

    @property
    def shown(self) -> Sequence[str]:
        """Members that are exported."""
        return [address for address in self._by_address if address in (self._powers or ())]

    @property
    def missed_in_a_row(self) -> Mapping[str, int]:
        """How many of the last heights each has missed that missed the last one, by address."""
        return {one.itself[0]: one.counts.consecutive for one in self._by_address.values() if one.counts.consecutive}

    def double_sign(self, address: str) -> None:
        """Count a double sign of a validator that is known here."""
        if (tally := self._by_address.get(address)) is not None:
            tally.counts.double_signs += 1

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        for definition, rows in (*self._gauges(), *self._precommits(), *self._others(), *self._own_rows()):
            if rows:
                yield Family(definition, rows)

    def _gauges(self) -> Iterable[tuple[Definition, list[Row]]]:
        powers = self._powers or {}
        members = [(one, powers[address]) for address, one in self._by_address.items() if address in powers]
        yield metrics.VALIDATOR_POWER, [("", one.itself, float(power)) for one, power in members]
        yield metrics.CONSECUTIVE_MISSED, [("", one.itself, float(one.counts.consecutive)) for one, _ in members]

    def _precommits(self) -> Iterable[tuple[Definition, list[Row]]]:
        precommits: list[Row] = []
        prevotes: list[Row] = []
        missed: list[Row] = []
        for one in self._by_address.values():
            counts = one.counts
            block, nil, absent = one.by_result
            precommits += (
                ("", block, float(counts.block)),
                ("", nil, float(counts.nil)),
                ("", absent, float(counts.absent)),
            )
            prevotes += (
                ("", block, float(counts.prevoted_block)),
                ("", nil, float(counts.prevoted_nil)),
                ("", absent, float(counts.prevoted_absent)),
            )
            sdk, cometbft = one.by_rule
            missed += (("", sdk, float(counts.absent)), ("", cometbft, float(counts.absent + counts.nil)))
        return (metrics.PRECOMMITS, precommits), (metrics.PREVOTES, prevotes), (metrics.MISSED, missed)

    def _others(self) -> Iterable[tuple[Definition, list[Row]]]:
        all_ = [(one.itself, one.counts) for one in self._by_address.values()]
        yield metrics.MISSED_ALONE, [("", itself, float(counts.alone)) for itself, counts in all_]
        yield metrics.PREVOTE_WITHOUT_PRECOMMIT, [("", itself, float(counts.prevote_only)) for itself, counts in all_]
        yield metrics.LEFT_OUT, [("", itself, float(counts.left_out)) for itself, counts in all_]
        proposals: list[Row] = []
        delays: list[Row] = []
        for one in self._by_address.values():
            committed, failed = one.by_proposal
            proposals += (("", committed, float(one.counts.committed)), ("", failed, float(one.counts.failed)))
            delays += _delay_rows(one)
        yield metrics.PROPOSALS, proposals
        yield metrics.EMPTY_PROPOSALS, [("", itself, float(counts.empty)) for itself, counts in all_]
        yield metrics.VOTE_DELAY, delays
        yield (
            metrics.VALIDATOR_DOUBLE_SIGNS,
            [
                ("", itself, float(counts.double_signs))
                for itself, counts in all_
                if counts.double_signs or itself[0] in self._own
            ],
        )

    def _own_rows(self) -> Iterable[tuple[Definition, list[Row]]]:
        yield metrics.OWN_INFO, [("", (address, name), 1.0) for address, name in self._own.items()]
        if self._powers is not None:
            yield metrics.IN_SET, [("", (address,), float(address in self._powers)) for address in self._own]
        own = [self._by_address[address] for address in self._own]
        yield (
            metrics.MISSED_BY_CAUSE,
            [
                ("", labels, float(number))
                for one in own
                for labels, number in zip(one.by_cause, one.causes.values(), strict=True)
            ],
        )

    def save(self) -> tuple[dict[str, ValidatorCounts], dict[str, dict[Cause, int]]]:
        """Return counts by address and causes of one's own; of too many, one's own and the most powerful first."""
        order = dict.fromkeys((*self._own, *(self._powers or ()), *self._by_address))
        kept = [address for address in order if address in self._by_address][:MAX_VALIDATORS]
        return (
            {address: self._by_address[address].counts for address in kept},
            {address: dict(self._by_address[address].causes) for address in kept if address in self._own},
        )

    def restore(
        self,
        powers: Mapping[str, int] | None,
        counts: Mapping[str, ValidatorCounts],
        causes: Mapping[str, Mapping[Cause, int]],
    ) -> None:
        """Go on from there, `powers` None where the set was not saved; who is own may have changed in between."""
        self._powers = powers
        for address, saved in counts.items():
            # Whoever was own, is no member and never left has nothing to be kept for.
            member = powers is None or address in powers
            wanted = address in self._own or (not self._only_own and (member or saved.left is not None))
            if wanted:
                self._by_address[address] = ValidatorTally(address, saved)
                self._by_address[address].causes.update(causes.get(address, {}))
        for address in () if self._only_own else powers or ():
            self._by_address.setdefault(address, ValidatorTally(address))


def _delay_rows(one: ValidatorTally) -> list[Row]:
    counted = 0
    rows: list[Row] = []
    for labels, number in zip(one.by_bound, one.delays, strict=True):
        counted += number
        rows.append(("_bucket", labels, float(counted)))
    rows += (("_count", one.itself, float(counted)), ("_sum", one.itself, one.delay_sum))
    return rows
