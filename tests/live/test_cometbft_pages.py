"""From what happens to a CometBFT chain or to our validator on it to a page, on four nets at the same time.

`silent`: our validator freezes now and then, then for longer; then two others do, and the chain halts; an exporter
starts then. `twice`: our validator's key runs in two processes, and it loses half of its power. `set`: our validator
leaves the set and comes back, the full node joins and leaves, another one gains power, a third votes nil to whatever is
proposed. `hung`: the watched node freezes, and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.lab import CometbftNet, CometbftNode, Exporter, wait_until, web
from tests.live.cometbft_site import Recorder, frozen
from tests.live.site import Site, running

FLAPS = 40  # at most
OURS = {"silent": 3, "twice": 0, "set": 2, "hung": 3}  # number of our validator
MUST = {
    "silent": {"CometbftValidatorMissing", "CometbftValidatorSignerSilent", "CometbftChainHalted"},
    "twice": {"CometbftDoubleSignOwn"},
    "set": {"CometbftValidatorNotInSet"},
    "hung": {"ChainwatchNodeHanging"},
}
# Of the same trouble, and as urgent.
MAY = {
    "silent": {"CometbftPowerMissingCritical"},
    "twice": set(),
    "set": set(),
    "hung": set(),
}


class World:
    """The nets, an exporter at the full node of each, and the site around them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nets = {name: CometbftNet(folder / name, chain_id=name) for name in OURS}
        self.nets["set"].validators[3].settings["consensus.timeout_propose"] = "1ms"
        self.exporters = {name: self._exporter(name) for name in OURS}
        self.site = Site(folder / "servers", list(self.exporters.values()), job="cometbft")
        self.documents: dict[str, Any] = {}  # of the live view, while the chain stood and while the node hung
        self.began: dict[str, float] = {}
        self.woken_for_flaps: set[str] = set()

    def ours(self, name: str) -> CometbftNode:
        """Our validator."""
        return self.nets[name].validators[OURS[name]]

    def _exporter(self, name: str, who: str = "first") -> Exporter:
        settings = {"validators.own": f"{self.ours(name).address}=ours"}
        return Exporter(self.folder / f"exporter-{name}-{who}", self.nets[name].full, settings=settings)

    def consensus(self, exporter: Exporter) -> Any:
        """The live view's document."""
        return web.get_json(f"{exporter.url}/api/v1/consensus")

    def silent(self) -> None:
        """Our validator now and then, our validator for good, then half of the power."""
        net = self.nets["silent"]
        for _ in range(FLAPS):
            with frozen(self.ours("silent")):
                net.wait_blocks(2)
            net.wait_blocks(2)
            if self.site.pages("CometbftValidatorSignerSilent", chain="silent"):
                break
        self.site.page("CometbftValidatorSignerSilent", chain="silent")
        self.woken_for_flaps = self.site.told(chain="silent", severity="critical")
        with frozen(self.ours("silent")):
            self.site.page("CometbftValidatorMissing", chain="silent")
        self.site.resolved("CometbftValidatorMissing", chain="silent")
        self.began["halt"] = time.time()
        with frozen(*net.validators[:2]):
            self.site.page("CometbftChainHalted", chain="silent")
            self.documents["halt"] = self.consensus(self.exporters["silent"])
            with self._exporter("silent", "late") as late:
                late.wait_value("cometbft_chain_condition", 1, condition="no_quorum")
                self.documents["late"] = self.consensus(late)
        self.site.resolved("CometbftChainHalted", chain="silent")

    def twice(self) -> None:
        """Our key in two processes; delegators leave."""
        self.nets["twice"].double_sign(self.ours("twice"))
        self.site.page("CometbftDoubleSignOwn", chain="twice")
        self.nets["twice"].set_power(self.ours("twice"), 5)
        self.site.firing("CometbftValidatorPowerChanged", chain="twice")
        self.site.page("CometbftValidatorPowerLost", chain="twice")

    def set(self) -> None:
        """Out, a change elsewhere, in again."""
        net = self.nets["set"]
        net.set_power(self.ours("set"), 0)
        self.site.page("CometbftValidatorNotInSet", chain="set")
        for member, power in ((net.full, 1), (net.validators[1], 12), (net.full, 0)):
            net.set_power(member, power)
        net.wait_height(net.set_power(self.ours("set"), 10) + 4)
        self.site.page("CometbftValidatorSetChurn", chain="set")
        self.site.resolved("CometbftValidatorNotInSet", chain="set")

    def hung(self) -> None:
        """The watched node answers nobody; its chain goes on."""
        net = self.nets["hung"]
        with frozen(net.full):
            self.site.page("ChainwatchNodeHanging", self.exporters["hung"].address)
            self.documents["hung"] = self.consensus(self.exporters["hung"])
        net.full.wait_height(net.validators[0].height)
        self.site.resolved("ChainwatchNodeHanging", self.exporters["hung"].address)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything has happened."""
    it = World(tmp_path_factory.mktemp("world"))
    with running(*it.nets.values()):
        for net in it.nets.values():
            net.wait_height(2)
        with running(*it.exporters.values()), it.site:
            for exporter in it.exporters.values():
                Recorder(exporter).wait_counting()
            it.site.prometheus.wait_for('min(cometbft_heights_settled_total{how="watched"}) >= 5')
            with ThreadPoolExecutor(len(OURS)) as pool:
                for done in [pool.submit(story) for story in (it.silent, it.twice, it.set, it.hung)]:
                    done.result()
            it.site.evaluated()
            yield it


@pytest.mark.parametrize("chain", OURS)
def test_people_are_woken_for_what_happened_and_for_nothing_else(world: World, chain: str) -> None:
    woken = world.site.told(chain=chain, severity="critical")
    assert MUST[chain] <= woken
    assert woken <= MUST[chain] | MAY[chain]


def test_the_page_about_our_silent_validator_says_who_and_why(world: World) -> None:
    page = world.site.pages("CometbftValidatorMissing", chain="silent")[0]
    assert (page.receiver, page.labels["validator"]) == ("pager", world.ours("silent").address)
    assert page.annotations["description"].startswith("ours (")
    assert "signer (" in page.annotations["description"]


def test_a_signer_that_comes_and_goes_is_told_before_it_is_gone(world: World) -> None:
    assert world.woken_for_flaps == {"CometbftValidatorSignerSilent"}


def test_the_page_about_a_halt_says_how_much_is_missing(world: World) -> None:
    [page] = world.site.pages("CometbftChainHalted", chain="silent")
    assert "50% of the voting power votes. 17.5% is missing" in page.annotations["description"]
    assert "2 validators do not vote" in page.annotations["description"]
    assert world.exporters["silent"].address in page.annotations["description"]


@pytest.mark.parametrize("exporter", ["halt", "late"])
def test_the_live_view_of_a_halt_names_who_is_missing(world: World, exporter: str) -> None:
    document = world.documents[exporter]
    assert document["node"]["condition"] == "no_quorum"
    assert {one["address"] for one in document["missing"]} == {
        node.address for node in world.nets["silent"].validators[:2]
    }
    assert all(one["since"] >= world.began["halt"] - 3 for one in document["missing"])


def test_a_double_sign_stays_counted_after_the_node_forgot_it(world: World) -> None:
    counted = world.exporters["twice"].page()
    ours = world.ours("twice").address
    assert counted.value("cometbft_evidence_total", type="duplicate_vote", whose="own") >= 1
    assert sum(counted.samples("cometbft_double_signs_total", whose="own").values()) >= 1
    assert sum(counted.samples("cometbft_double_signs_total", whose="other").values()) == 0
    assert counted.value("cometbft_validator_double_signs_total", validator=ours) >= 1
    page = world.site.pages("CometbftDoubleSignOwn", chain="twice")[0]
    assert page.labels["validator"] == ours


def test_changes_of_the_set_are_counted_by_kind_and_who_left_misses_nothing(world: World) -> None:
    counted = world.exporters["set"].page()
    changes = counted.samples("cometbft_validator_set_changes_total")
    assert {dict(key)["change"]: number for key, number in changes.items()} == {
        "joined": 2,
        "left": 2,
        "power_raised": 1,
        "power_lowered": 0,
    }
    ours = world.ours("set").address
    assert counted.value("cometbft_validator_in_set", validator=ours) == 1
    assert counted.value("cometbft_validator_missed_total", validator=ours, rule="sdk") == 0


def test_nil_votes_are_no_misses_by_the_sdk_s_rule(world: World) -> None:
    counted = world.exporters["set"].page()
    impatient = world.nets["set"].validators[3].address
    nil = counted.value("cometbft_validator_precommits_total", validator=impatient, result="nil")
    prevoted_nil = counted.value("cometbft_validator_prevotes_total", validator=impatient, result="nil")
    assert nil + prevoted_nil >= 3
    assert counted.value("cometbft_validator_missed_total", validator=impatient, rule="cometbft") >= nil
    assert counted.value("cometbft_validator_consecutive_missed", validator=impatient) == 0


def test_a_watched_node_that_hangs_accuses_no_validator_and_no_chain(world: World) -> None:
    assert world.documents["hung"]["node"]["condition"] == "unknown"
    page = world.exporters["hung"].page()
    wait_until(
        lambda: world.exporters["hung"].page().value("cometbft_chain_condition", condition="running") == 1, "health"
    )
    missed = page.samples("cometbft_validator_precommits_total", result="absent")
    truth = [world.nets["hung"].votes(height) for height in range(2, int(page.value("chainwatch_tip_height")) - 1)]
    for key, number in missed.items():
        absent = sum(votes[dict(key)["validator"]] == "absent" for votes in truth)
        assert number <= absent, dict(key)["validator"]
