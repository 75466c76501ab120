"""What we count for each validator and height is what the chain itself says, whatever happens meanwhile.

A net goes through 200 heights of random trouble with an exporter at its full node and one at a validator. Meanwhile
one exporter is killed for 20 heights and the watched node restarted. Then the chain is brought to a halt: all that can
be settled is settled, and every page scraped on the way is held against /commit.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.lab import CometbftNet, CometbftNode, Exporter, Page
from tests.live.cometbft_site import TROUBLED, Counts, Recorder, Votes, disagreements, frozen, halted, sums
from tests.live.site import running

HEIGHTS = 200
DEAD_HEIGHTS = 20
UNWATCHED_MISSES = 4
SEED = 20_261_122


@dataclass
class World:
    """The net, its two exporters, and what they counted."""

    net: CometbftNet
    exporters: dict[str, Exporter]
    rng: random.Random = field(default_factory=lambda: random.Random(SEED))
    recorders: dict[str, Recorder] = field(default_factory=dict)
    began: range = range(0)  # heights during which the exporters were started
    tip: int = 0
    last: dict[str, Counts] = field(default_factory=dict)
    firsts: dict[str, int] = field(default_factory=dict)
    truths: dict[str, list[Votes]] = field(default_factory=dict)
    page: Page | None = None  # of the exporter at the full node, in the end

    @property
    def ours(self) -> CometbftNode:
        """The validator that the exporter at the full node calls its own."""
        return self.net.validators[1]

    def trouble(self, until: int) -> None:
        """Freeze one validator after another, sometimes two, until this height."""
        while self.net.height < until:
            count = 2 if self.rng.random() < 0.15 else 1
            victims: list[CometbftNode] = self.rng.sample(self.net.validators, count)
            with frozen(*victims):
                time.sleep(self.rng.uniform(0.1, 0.8 if count == 2 else 2.0))
            time.sleep(self.rng.uniform(0.05, 0.8))

    def play(self) -> None:
        """The whole story."""
        began = self.net.wait_blocks(5)
        watch = self.exporters["full"]
        self.trouble(began + 60)
        watch.kill()
        unwatched = self.net.height + DEAD_HEIGHTS
        with frozen(self.ours):
            self.net.wait_blocks(UNWATCHED_MISSES)
        self.trouble(unwatched)
        watch.start()
        self.trouble(began + 140)
        self.net.full.restart()
        self.trouble(began + HEIGHTS)
        self.net.wait_blocks(2)

    def judge(self) -> None:
        """Bring the chain to its halt and fetch the truth."""
        with halted(self.net, *self.net.validators[2:]) as self.tip:
            for who, recorder in self.recorders.items():
                self.last[who] = recorder.at_rest(self.tip)
            self.page = self.exporters["full"].page()
        self.net.wait_blocks(1)
        for who, counts in self.last.items():
            self.firsts[who] = self.tip - counts.settled  # the newest block's commit comes with the next one
            self.truths[who] = sums(self.net, range(self.firsts[who], self.tip))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything has happened."""
    folder = tmp_path_factory.mktemp("truth")
    net = CometbftNet(folder / "net", settings=TROUBLED)
    with running(net):
        net.wait_height(2)
        it = World(
            net,
            {
                "full": _exporter(folder, "full", net.full, {"validators.own": net.validators[1].address}),
                "member": _exporter(folder, "member", net.validators[0]),
            },
        )
        it.recorders = {who: Recorder(exporter) for who, exporter in it.exporters.items()}
        before = net.height
        with running(*it.exporters.values()):
            for recorder in it.recorders.values():
                recorder.wait_counting()
            it.began = range(before, net.height + 1)
            with it.recorders["full"], it.recorders["member"]:
                it.play()
            it.judge()
        yield it


def _exporter(folder: Path, who: str, node: CometbftNode, settings: Mapping[str, str] | None = None) -> Exporter:
    return Exporter(folder / f"exporter-{who}", node, settings=settings)


WATCHERS = pytest.mark.parametrize("who", ["full", "member"])


@WATCHERS
def test_every_count_on_the_way_is_the_chain_s_own(world: World, who: str) -> None:
    seen = [counts for same in world.recorders[who].seen.values() for counts in same]
    assert len(world.recorders[who].seen) > HEIGHTS / 4, "too few looks to prove anything"
    assert disagreements(seen, world.truths[who], world.firsts[who]) == []


@WATCHERS
def test_every_height_is_counted_and_none_twice(world: World, who: str) -> None:
    last = world.last[who]
    assert last.skipped == 0
    assert last.settled >= HEIGHTS
    assert disagreements([last], world.truths[who], world.firsts[who]) == []
    # Counted back from the last one, the first is one that it can have seen: had one been lost, it would be later.
    assert world.firsts[who] in world.began


def test_there_was_trouble(world: World) -> None:
    results = {result for _, result in world.last["full"].votes}
    assert results == {"block", "nil", "absent"}


def test_heights_that_passed_while_the_exporter_was_dead_are_filled_in(world: World) -> None:
    assert world.last["full"].how["filled"] >= DEAD_HEIGHTS


def test_what_our_validator_missed_while_nobody_watched_has_a_cause_that_is_not_known(world: World) -> None:
    assert world.page is not None
    ours = world.ours.address
    causes = world.page.samples("cometbft_validator_missed_by_cause_total", validator=ours)
    counted = {dict(key)["cause"]: number for key, number in causes.items()}
    assert counted["unknown"] >= UNWATCHED_MISSES - 1  # of the first height it had voted already
    assert sum(counted.values()) == world.page.value("cometbft_validator_missed_total", validator=ours, rule="sdk")


def test_two_exporters_at_two_nodes_agree_on_every_height_that_both_were_asked_at(world: World) -> None:
    ours, theirs = (votes_by_height(world, who) for who in ("full", "member"))
    common = sorted(ours.keys() & theirs.keys())
    assert len(common) > HEIGHTS / 20  # a page shows what is in the state file, which is written once a second
    steps = list(itertools.pairwise(common))
    assert [(a, b) for a, b in steps if added(ours, a, b) != added(theirs, a, b)] == []


def votes_by_height(world: World, who: str) -> dict[int, Votes]:
    """What an exporter had counted up to each height at which it was scraped."""
    seen = world.recorders[who].seen
    return {world.firsts[who] + settled - 1: same[-1].votes for settled, same in seen.items() if settled}


def added(votes: dict[int, Votes], after: int, until: int) -> dict[tuple[str, str], float]:
    """What came between two heights."""
    before = votes[after]
    return {key: more for key, number in votes[until].items() if (more := number - before.get(key, 0))}
