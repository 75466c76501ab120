"""Whose fault a missed precommit is: each cause brought about on a net of its own, at the same time.

Heights that nobody watched have the cause `unknown`: see test_cometbft_truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import CometbftNet, CometbftNode, Exporter, Page, wait_until
from tests.live.cometbft_site import Recorder, frozen
from tests.live.site import running

MISSED = 4
CAUSES = ("network", "node", "signer", "proposer")


@dataclass
class Case:
    """A net whose validator `ours` misses blocks, and the exporter that says why."""

    net: CometbftNet
    ours: CometbftNode
    watched: CometbftNode
    exporter: Exporter
    silent: bool  # ours freezes for some blocks
    also_silent: tuple[CometbftNode, ...]
    page: Page | None = None

    def play(self) -> None:
        """Miss some blocks and sign again."""
        Recorder(self.exporter).wait_counting()
        if self.silent:
            # Who misses as well is away for longer: with ours alone, the cause is another.
            with frozen(*self.also_silent):
                self.net.wait_blocks(2)
                with frozen(self.ours):
                    self.net.wait_blocks(MISSED + 1, timeout=60)
                wait_until(self.signs_again, "our validator's next vote to be counted")
            back = self.net.wait_blocks(4)
        else:
            wait_until(
                lambda: self.causes(self.exporter.page()).get("proposer", 0) >= 2, "votes to be left out", timeout=60
            )
            back = self.net.height
        self.exporter.wait_value("chainwatch_syncing", 0)
        wait_until(lambda: self.exporter.page().value("chainwatch_tip_height") >= back, "the exporter to be up to date")
        self.page = self.exporter.page()

    def signs_again(self) -> bool:
        """Whether a vote has been counted after all that were missed: heights are counted in order."""
        page, ours = self.exporter.page(), self.ours.address
        missed = page.value("cometbft_validator_missed_total", validator=ours, rule="sdk")
        return missed > 0 and page.value("cometbft_validator_consecutive_missed", validator=ours) == 0

    def causes(self, page: Page) -> dict[str, float]:
        """Blocks missed, by cause, without those of which there are none."""
        found = page.samples("cometbft_validator_missed_by_cause_total", validator=self.ours.address)
        return {dict(key)["cause"]: number for key, number in found.items() if number}


def _network(folder: Path) -> Case:
    """Another validator with more than a sixth of the power is away too."""
    net = CometbftNet(folder / "net", validators=6, powers=(10, 10, 10, 10, 10, 5), chain_id="cause-network")
    return _case(folder, net, net.full, net.validators[5], also_silent=(net.validators[4],))


def _node(folder: Path) -> Case:
    """The watched node is the validator itself, and hangs."""
    net = CometbftNet(folder / "net", full_nodes=0, chain_id="cause-node")
    return _case(folder, net, net.validators[3], net.validators[3])


def _signer(folder: Path) -> Case:
    """The validator says nothing, while the watched node and everybody else are well."""
    net = CometbftNet(folder / "net", chain_id="cause-signer")
    return _case(folder, net, net.full, net.validators[3])


def _proposer(folder: Path) -> Case:
    """The validator's votes travel for up to 100 ms, and one proposer waits for nobody.

    Its proposals travel for up to half a second. Until one is there the watched node still takes votes: it sees ours,
    and then a block without it. The other two have a quorum.
    """
    net = CometbftNet(folder / "net", powers=(10, 15, 15, 4), chain_id="cause-proposer")
    gossip, commit = "consensus.peer_gossip_sleep_duration", "consensus.timeout_commit"
    for node in net.nodes:
        node.settings[commit] = "500ms"
    net.validators[0].settings |= {commit: "0s", gossip: "500ms"}
    net.validators[3].settings |= {gossip: "100ms"}
    return _case(folder, net, net.full, net.validators[3], silent=False)


def _case(
    folder: Path,
    net: CometbftNet,
    watched: CometbftNode,
    ours: CometbftNode,
    *,
    silent: bool = True,
    also_silent: tuple[CometbftNode, ...] = (),
) -> Case:
    exporter = Exporter(folder / "exporter", watched, settings={"validators.own": f"{ours.address}=ours"})
    return Case(net, ours, watched, exporter, silent, also_silent)


BUILDERS = {"network": _network, "node": _node, "signer": _signer, "proposer": _proposer}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Case]]:
    """Every validator has missed its blocks."""
    folder = tmp_path_factory.mktemp("causes")
    found = {cause: BUILDERS[cause](folder / cause) for cause in CAUSES}
    with running(*(case.net for case in found.values())):
        for case in found.values():
            case.net.wait_height(2)
        with running(*(case.exporter for case in found.values())), ThreadPoolExecutor(len(found)) as pool:
            list(pool.map(Case.play, found.values()))
            yield found


@pytest.mark.parametrize("cause", CAUSES)
def test_each_cause_is_given_when_it_is_the_cause(cases: Mapping[str, Case], cause: str) -> None:
    case = cases[cause]
    assert case.page is not None
    given = case.causes(case.page)
    if cause == "proposer":
        # Now and then its proposal is quicker than our vote, or the exporter did not hear a height whole.
        given = {one: number for one, number in given.items() if one not in ("signer", "unknown")}
    assert set(given) == {cause}
    assert given[cause] >= (2 if cause == "proposer" else MISSED)


@pytest.mark.parametrize("cause", CAUSES)
def test_each_miss_has_one_cause(cases: Mapping[str, Case], cause: str) -> None:
    case = cases[cause]
    assert case.page is not None
    missed = case.page.value("cometbft_validator_missed_total", validator=case.ours.address, rule="sdk")
    assert sum(case.causes(case.page).values()) == missed


def test_a_validator_that_misses_while_others_sign_misses_alone(cases: Mapping[str, Case]) -> None:
    case = cases["signer"]
    assert case.page is not None
    missed = case.page.value("cometbft_validator_missed_total", validator=case.ours.address, rule="sdk")
    assert case.page.value("cometbft_validator_missed_alone_total", validator=case.ours.address) == missed


def test_the_rounds_that_our_frozen_validator_should_have_led_are_counted_as_its_own(cases: Mapping[str, Case]) -> None:
    case = cases["signer"]
    assert case.page is not None
    failed = case.page.value("cometbft_validator_proposals_total", validator=case.ours.address, result="failed")
    assert failed >= 1
    assert sum(case.page.samples("cometbft_round_failures_total", whose="own").values()) == failed
    assert case.page.value("cometbft_round_failures_total", whose="own", reason="no_proposal") >= 1
