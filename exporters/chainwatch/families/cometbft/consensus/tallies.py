"""Everything that is counted of settled heights, one call a height."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from prometheus_client import Metric

from chainwatch.families.cometbft.consensus import metrics
from chainwatch.families.cometbft.consensus.model import DoubleSign, NodeCondition, Settled, ValidatorSet
from chainwatch.families.cometbft.consensus.network_tally import NetworkTally
from chainwatch.families.cometbft.consensus.state import Saved, set_problem
from chainwatch.families.cometbft.consensus.validator_tally import ValidatorTallies

# Blocks over which the usual interval is taken: enough for failed rounds to be outweighed.
RECENT = 100


class Tallies:
    """Counts by height, for the network and for each validator; pure, with the block's time as only clock."""

    def __init__(self, own: Mapping[str, str], only_own: bool = False) -> None:
        """`own`: names of one's own validators by address. `only_own`: export no other validator's series."""
        self._network = NetworkTally(own)
        self._validators = ValidatorTallies(own, only_own)
        self._set: ValidatorSet | None = None
        self._powers: Mapping[str, int] = {}
        self._last_block: tuple[int, float] | None = None  # height and its time
        self._intervals: deque[float] = deque(maxlen=RECENT)

    @property
    def set(self) -> ValidatorSet | None:
        """The set of the last settled height, also of one before a restart; None where there was none."""
        return self._set

    @property
    def shown(self) -> Sequence[str]:
        """Members of that set whose series are exported, by address."""
        return self._validators.shown

    @property
    def missed_in_a_row(self) -> Mapping[str, int]:
        """How many heights each has missed that missed the last one, by address; as `shown`, also from before."""
        return self._validators.missed_in_a_row

    def count(self, settled: Settled, condition: NodeCondition) -> None:
        """Count one height; the caller sees to it that each comes once, in order.

        `condition` is the watched node's worst while the height was decided.
        """
        if self._set is None or settled.set.hash != self._set.hash:
            if self._set is not None:
                self._network.set_changed(self._set, settled.set, settled.block.time)
            self._set, self._powers = settled.set, settled.set.powers()
            self._validators.enter(self._powers, settled.block.time)
        self._note_interval(settled.block.height, settled.block.time)
        self._network.count(settled, self._powers)
        self._validators.count(settled, condition)

    def _note_interval(self, height: int, time: float) -> None:
        if self._last_block is not None and self._last_block[0] == height - 1:
            self._intervals.append(time - self._last_block[1])
        self._last_block = height, time

    def skipped(self, heights: int) -> None:
        """Count heights that were given up."""
        self._network.add(metrics.HEIGHTS_SKIPPED, amount=heights)
        self._validators.skipped()

    def double_sign(self, found: DoubleSign) -> None:
        """Count a double sign; the caller sees to it that each comes once."""
        self._network.double_sign(found)
        self._validators.double_sign(found.validator)

    def spacing(self) -> float | None:
        """Seconds between recent blocks, the median by their headers; None before the first two in a row."""
        return median(self._intervals) if self._intervals else None

    def collect(self) -> Iterable[Metric]:
        """Return all families."""
        yield from self._network.collect()
        yield from self._validators.collect()

    def save(self) -> Saved:
        """Return what is to survive a restart; to be encoded before the next height is counted."""
        validators, causes = self._validators.save()
        network, changed = self._network.save()
        fits = self._set is not None and set_problem(self._set) is None
        return Saved(
            set=self._set if fits else None, validators=validators, causes=causes, network=network, changed=changed
        )

    def restore(self, saved: Saved) -> None:
        """Continue from what was saved; called once, before the first height."""
        self._set = saved.set
        self._powers = saved.set.powers() if saved.set is not None else {}
        self._network.restore(saved.network, saved.changed)
        self._validators.restore(self._powers if saved.set else None, saved.validators, saved.causes)
