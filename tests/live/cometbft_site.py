"""What the live tests of CometBFT share: trouble for validators, and our counts held against the chain's truth."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from tests.lab import BRISK, CometbftNet, CometbftNode, Exporter, LabError, Page, wait_until, web
from tests.lab.cometbft import Settings

# Rounds that fail cost less than a second: many heights with much trouble in little time.
TROUBLED: Settings = {
    **BRISK,
    "consensus.timeout_propose": "500ms",
    "consensus.timeout_propose_delta": "100ms",
    "consensus.timeout_prevote": "250ms",
    "consensus.timeout_prevote_delta": "100ms",
    "consensus.timeout_precommit": "250ms",
    "consensus.timeout_precommit_delta": "100ms",
}

Votes = Mapping[tuple[str, str], float]  # by validator address and result (block, nil, absent); none is not in it


@contextlib.contextmanager
def frozen(*nodes: CometbftNode) -> Iterator[None]:
    """Freeze these for as long as the block lasts."""
    for node in nodes:
        node.freeze()
    try:
        yield
    finally:
        for node in nodes:
            node.thaw()


@contextlib.contextmanager
def halted(net: CometbftNet, *victims: CometbftNode) -> Iterator[int]:
    """Freeze so many that the chain halts; gives the height at which it stands."""
    with frozen(*victims):
        yield _standing(net)


def _standing(net: CometbftNet) -> int:
    """The height once it has not risen for two seconds."""
    heights = [net.height]
    for _ in range(30):
        time.sleep(2)
        heights.append(net.height)
        if heights[-1] == heights[-2]:
            return heights[-1]
    raise LabError(f"the chain does not halt: heights {heights}")


@dataclass(frozen=True)
class Counts:
    """What a page says of all heights that were settled so far."""

    settled: int
    how: Mapping[str, int]
    skipped: int
    votes: Votes

    @classmethod
    def of(cls, page: Page) -> Self | None:
        """The counts of a page, None while it has none."""
        how = {dict(key)["how"]: int(n) for key, n in page.samples("cometbft_heights_settled_total").items()}
        if not how:
            return None
        counted = page.samples("cometbft_validator_precommits_total").items()
        votes = {(dict(key)["validator"], dict(key)["result"]): number for key, number in counted if number}
        return cls(sum(how.values()), how, int(page.value("cometbft_heights_skipped_total")), votes)


class Recorder:
    """Scrapes an exporter as often as it can, and keeps the counts by the number of heights in them."""

    def __init__(self, exporter: Exporter, interval: float = 0.1) -> None:
        self.exporter = exporter
        self.seen: dict[int, list[Counts]] = {}
        self._interval = interval
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"recorder of {exporter.address}", daemon=True)

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            with contextlib.suppress(*web.NOT_ANSWERING):
                counts = Counts.of(self.exporter.page(timeout=2))
                if counts and counts not in (same := self.seen.setdefault(counts.settled, [])):
                    same.append(counts)

    def wait_counting(self) -> None:
        """Wait until the exporter has settled a height."""
        wait_until(lambda: (counts := Counts.of(self.exporter.page())) and counts.settled, "the first height's count")

    def at_rest(self, tip: int) -> Counts:
        """Wait until the exporter knows of the newest block, and has counted all it can; the halted chain's counts."""
        self.exporter.wait_value("chainwatch_tip_height", tip)
        last: list[Counts | None] = [None]

        def still() -> Counts | None:
            before, now = last[0], Counts.of(self.exporter.page())
            last[0] = now
            return now if now == before else None

        return wait_until(still, f"{self.exporter.address} to count no more", timeout=30, interval=3)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()


def sums(net: CometbftNet, heights: range) -> list[Votes]:
    """The truth by /commit: what must be counted after none, one, two, ... of these heights."""
    total: Counter[tuple[str, str]] = Counter()
    after: list[Votes] = [{}]
    for height in heights:
        total.update(net.votes(height).items())
        after.append(dict(total))
    return after


def disagreements(seen: Sequence[Counts], truth: Sequence[Votes], first: int) -> list[str]:
    """A sentence for each count of a validator's votes that is not the truth's."""
    found = []
    for counts in seen:
        expected = truth[counts.settled] if counts.settled < len(truth) else {}
        for key in sorted({*expected, *counts.votes}):
            ours, theirs = counts.votes.get(key, 0), expected.get(key, 0)
            if ours != theirs:
                height = first + counts.settled - 1
                found.append(f"up to height {height}: {' '.join(key)} {ours:g}, by /commit {theirs:g}")
    return found
