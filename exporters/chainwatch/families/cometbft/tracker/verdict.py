"""Tells a halted chain from a dead subscription, a dead consensus, a node that is behind, and one that does not answer.

On the stream they all look alike: silence (facts 3.5, 5). So the node is asked, and what it says is judged here;
nothing here asks or waits.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from chainwatch.families.cometbft.consensus.model import Condition, ValidatorSet, Verdict
from chainwatch.families.cometbft.tracker.consensus_state import Standing
from chainwatch.families.cometbft.tracker.pulse import BEGINNING, Pulse

log = logging.getLogger(__name__)

# A block that is stored and not applied for so long is not merely large. Applying may take seconds.
APPLYING = 3.0
# In Propose a timer runs, of 3 s by default; a chain may have a much longer one.
PROPOSING = 60.0
# How many heights a peer must be ahead: one is what gossip brings at any moment.
AHEAD = 2
# The round in which the third proposer in a row has to try.
MANY = 2
# Conditions that come and go with every height of a chain in trouble, and are no news in a log.
MOVING = (Condition.RUNNING, Condition.MANY_ROUNDS)
# Conditions of a chain that stands still; only movement ends them.
HALTED = (Condition.NO_QUORUM, Condition.STUCK_WITH_QUORUM, Condition.CONSENSUS_FAILURE)


class Answer(NamedTuple):
    """What the watched node answered to /status."""

    height: int
    catching_up: bool
    peers: int | None


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the node: what it answered; None where it was not asked, or did not answer."""

    at: float  # when it was asked
    answer: Answer | None
    standing: Standing | None = None
    members: ValidatorSet | None = None  # of the height that stands
    others: int = 0  # height that peers or vantage points have reached; 0 when not known


def reached(heights: Sequence[int]) -> int:
    """Return the height that a third of the others have reached; a single peer may say of itself what it likes."""
    ranked = sorted(heights, reverse=True)
    return ranked[(len(ranked) - 1) // 3] if ranked else 0


class Judge:
    """Holds the verdict, and what has to last before it counts."""

    def __init__(self, now: float) -> None:
        self.verdict = Verdict(Condition.UNKNOWN, now)
        self._stored: tuple[int, float] | None = None  # height of a block that is not applied, and since when
        self._target: tuple[int, float] | None = None  # height that others had reached, and when
        self._late = False  # it took the node longer than `patience` to reach the target before

    def block(self, at: float) -> None:
        """A block came from the watched node: its chain runs, or it catches up."""
        self._stored = None
        if self.verdict.condition not in (Condition.SYNCING, Condition.BEHIND):
            self._set(Condition.RUNNING, at)

    def round(self, number: int, at: float) -> None:
        """A round began at the watched node."""
        if number >= MANY and self.verdict.condition not in (Condition.SYNCING, Condition.BEHIND):
            self._set(Condition.MANY_ROUNDS, at)

    def judge(self, look: Look, pulse: Pulse, patience: float, now: float) -> Verdict:
        """Return the verdict after a look; `patience` is the silence, in seconds, that this chain may keep."""
        answer = look.answer
        if answer is not None and pulse.away:
            pulse.returned(now)
        if answer is None:
            if pulse.moved <= look.at:
                pulse.stopped()
                self._set(Condition.UNKNOWN, look.at)
        elif answer.catching_up:
            self._set(Condition.SYNCING, look.at)
        elif self._is_behind(look, answer, pulse, patience, now) and not self._failed(look, now):
            self._set(Condition.BEHIND, now, look.standing)
        elif now - pulse.moved <= patience:
            self._moving(pulse, now)
        else:
            self._silent(answer, look, pulse, patience, now)
        return self.verdict

    def _is_behind(self, look: Look, answer: Answer, pulse: Pulse, patience: float, now: float) -> bool:
        """Whether the node has not reached by now where others were a while ago, or stands still while they go on."""
        if self._target is not None and answer.height >= self._target[0]:
            self._late = now - self._target[1] >= patience
            self._target = None
        if self._target is None and look.others >= answer.height + AHEAD:
            self._target = look.others, now
        if self._target is None:
            self._late = False
            return False
        # A node that waits for a transaction may have slept for an hour when the others bring two blocks at once.
        stands = pulse.step not in BEGINNING and now - pulse.moved >= patience
        # One that stays as far behind as it is reaches each target, late: it is behind until one is reached in time.
        return self._late or stands or now - self._target[1] >= patience

    def _moving(self, pulse: Pulse, now: float) -> None:
        if pulse.alive:
            self._set(Condition.MANY_ROUNDS if (pulse.round or 0) >= MANY else Condition.RUNNING, now)

    def _silent(self, answer: Answer, look: Look, pulse: Pulse, patience: float, now: float) -> None:
        standing, since = look.standing, pulse.moved
        votes = standing.awaited if standing else None
        # Before the first block a node waits for genesis time, for days.
        longest = PROPOSING + patience if answer.height else math.inf
        if self._not_applied(look, now):
            if self._failed(look, now):
                self._set(Condition.CONSENSUS_FAILURE, since, standing)
        elif standing is not None and _waits(standing, now, now - since, longest):
            self._set(Condition.MANY_ROUNDS if standing.round >= MANY else Condition.RUNNING, now)
        elif look.others > answer.height:
            # The chain went on without this node, whose own votes prove nothing: it is behind, or is so in a moment.
            self._set(Condition.UNKNOWN, since)
        elif votes is None:
            # Not asked, refused or not readable: nothing can be told, save that what halted is still silent.
            if self.verdict.condition not in HALTED:
                self._set(Condition.UNKNOWN, since)
        elif votes.quorum:
            self._set(Condition.STUCK_WITH_QUORUM, since, standing)
        elif answer.peers == 0:
            # It hears nobody: whether the chain halted, it cannot know.
            self._set(Condition.UNKNOWN, since)
        else:
            self._set(Condition.NO_QUORUM, since, standing, votes.missing(look.members))

    def _not_applied(self, look: Look, now: float) -> bool:
        """Whether the node has stored a block that its consensus has not applied; notes since when."""
        standing = look.standing
        if look.answer is None or standing is None or look.answer.height < standing.height:
            self._stored = None
        elif self._stored is None or self._stored[0] != standing.height:
            self._stored = standing.height, now
        return self._stored is not None

    def _failed(self, look: Look, now: float) -> bool:
        """Whether that lasts."""
        return self._not_applied(look, now) and self._stored is not None and now - self._stored[1] >= APPLYING

    def _set(
        self,
        condition: Condition,
        since: float,
        standing: Standing | None = None,
        missing: tuple[str, ...] = (),
    ) -> None:
        before = self.verdict
        if condition is before.condition:
            since = before.since
        else:
            _tell(before.condition, condition)
        if standing is None:
            self.verdict = Verdict(condition, since)
            return
        self.verdict = Verdict(
            condition,
            since,
            standing.height,
            standing.round,
            standing.step,
            standing.prevotes.share if standing.prevotes else None,
            standing.precommits.share if standing.precommits else None,
            missing,
        )


def _tell(before: Condition, condition: Condition) -> None:
    """Log how the chain stands from now on."""
    level = logging.WARNING if condition in (*HALTED, Condition.BEHIND) else logging.INFO
    if {before, condition} == set(MOVING):
        level = logging.DEBUG
    log.log(level, "the chain's condition is %s, it was %s; see /consensus", condition.value, before.value)


def _waits(standing: Standing, now: float, silence: float, longest: float) -> bool:
    """Whether silence is what the step is for."""
    if standing.step == "NewHeight":  # until timeout_commit is over, or genesis time has come, by the node's own clock
        return silence < longest and (standing.started is None or now < standing.started + PROPOSING)
    if standing.step == "NewRound":  # a node that makes no empty blocks waits for a transaction
        return True
    return standing.step == "Propose" and silence < PROPOSING
