"""From what happens to the power of a CometBFT chain, or to a node of it, to a notice: on four more nets.

`power`: validators with 18% and then 29% of the power freeze, ours with the second. `torn`: our validator's votes
travel slowly, then another one's key runs in two processes that differ in both votes: the chain dies of the evidence.
`hidden`: the watched node has one peer, which freezes and then dies. `crowd`: 116 of 120 validators never sign, and
the watched node dies for a while.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.lab import BRISK, FATAL, CometbftNet, Exporter
from tests.lab.cometbft import Settings
from tests.live.cometbft_site import Counts, Recorder, disagreements, frozen, halted, sums
from tests.live.site import Site, running

ABSENT = 116  # with the four that sign, more than /validators gives at a time
DOWN_HEIGHTS = 8
LIVELY: Settings = {**BRISK, "consensus.timeout_commit": "400ms"}
# Nobody decides without the third, whose prevote takes up to 150 ms. Ours sends what it has every 400 ms: now and then
# it can send its prevote and not yet its precommit, and that one comes too late. The first waits for no vote before it
# proposes, and its proposal takes so long that ours is seen meanwhile: it leaves that out.
SLOW: Settings = {**BRISK, "consensus.timeout_commit": "350ms"}
SLOW_POWERS = (8, 13, 18, 3)
SLOWEST: Mapping[int, Settings] = {
    0: {"consensus.timeout_commit": "0s", "consensus.peer_gossip_sleep_duration": "500ms"},
    2: {"consensus.peer_gossip_sleep_duration": "150ms"},
    3: {"consensus.peer_gossip_sleep_duration": "400ms"},
}

OURS = {"power": 3, "torn": 3, "hidden": 3, "crowd": 3}  # number of our validator
TOLD = {
    "power": {
        "CometbftPowerMissing",
        "CometbftPowerMissingCritical",
        "CometbftRoundsRising",
        "CometbftBlockIntervalSlow",
        "CometbftValidatorProposalsMissed",
        "CometbftValidatorMissingShare",
    },
    "torn": {
        "ChainwatchStreamDown",
        "CometbftValidatorPrevotesWithoutPrecommits",
        "CometbftConsensusFailure",
        "CometbftMempoolFilling",
    },
    "hidden": {"ChainwatchPeersFew", "CometbftNodeBehind", "ChainwatchNodeIsolated"},
    "crowd": {"ChainwatchNodeDown", "CometbftChainHalted"},
}
# Of the same trouble, and as urgent.
MAY: dict[str, set[str]] = {
    "power": set(),
    "torn": {"CometbftValidatorSignerSilent"},
    "hidden": set(),
    "crowd": set(),
}


class World:
    """The nets, an exporter at the full node of each, and the site around them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nets = {
            "power": CometbftNet(folder / "power", chain_id="power", powers=(36, 35, 18, 11), settings=LIVELY),
            "torn": CometbftNet(folder / "torn", chain_id="torn", powers=SLOW_POWERS, settings=SLOW),
            "hidden": CometbftNet(folder / "hidden", chain_id="hidden", full_nodes=2),
            "crowd": CometbftNet(folder / "crowd", chain_id="crowd", powers=[1000] * 4, absent=ABSENT),
        }
        torn, hidden = self.nets["torn"], self.nets["hidden"]
        for number, settings in SLOWEST.items():
            torn.validators[number].settings |= settings
        hidden.hide(hidden.full, behind=hidden.full_nodes[1])
        # Alone until its stream is read.
        self.copy = torn.copy(torn.validators[1], {**FATAL, "rpc.unsafe": "true"})
        self.copy.peers = []
        vantage = {
            "torn": self.copy.rpc_url,
            "hidden": hidden.validators[0].rpc_url,
            "crowd": self.nets["crowd"].validators[0].rpc_url,
        }
        self.exporters = {name: self._exporter(name, vantage.get(name)) for name in OURS}
        self.site = Site(
            folder / "servers",
            list(self.exporters.values()),
            job="cometbft",
            thresholds={"torn": {"cometbft_mempool_transactions": 40}},
        )
        self.watched = (0, 0)  # heights of `crowd` that were watched before its node died, and while it was dead
        self.counts: Counts | None = None  # of `crowd`, at rest
        self.first = 0  # the first height in them
        self.late: set[str] = set()  # alerts that are inhibited, or told to nobody, and fired

    def _exporter(self, name: str, vantage: str | None) -> Exporter:
        ours = self.nets[name].validators[OURS[name]]
        settings = {"validators.own": f"{ours.address}=ours", "vantage.urls": vantage}
        return Exporter(self.folder / f"exporter-{name}", self.nets[name].full, settings=settings)

    def power(self) -> None:
        """A sixth of the power goes, then a quarter; the chain goes on slowly."""
        self.site.prometheus.wait_for(
            'count_over_time(cometbft:block_interval_seconds:mean5m{chain="power"}[60s]) > 20', timeout=60
        )
        _, _, large, ours = self.nets["power"].validators
        with frozen(large):
            self.site.page("CometbftPowerMissing", chain="power")
            with frozen(ours):
                for name in sorted(TOLD["power"]):
                    self.site.page(name, chain="power")
        self.site.resolved("CometbftPowerMissingCritical", chain="power")

    def torn(self) -> None:
        """Slow votes, and then nobody decides anything."""
        net, exporter = self.nets["torn"], self.exporters["torn"]
        self.site.page("ChainwatchStreamDown", chain="torn", stream="vantage1")
        with self.copy:
            exporter.wait_value("chainwatch_stream_connected", 1, stream="vantage1")
            self.site.page("CometbftValidatorPrevotesWithoutPrecommits", chain="torn")
            self.site.firing("CometbftValidatorLeftOut", chain="torn")
            peers = [f"{node.node_id}@{node.p2p_address}" for node in net.nodes]
            self.copy.rpc("dial_peers", peers=peers, persistent=True)
            self.site.page("CometbftConsensusFailure", chain="torn")
            self.site.firing("CometbftDoubleSignOther", chain="torn")
            for number in range(50):
                net.send(f"waits{number}=for ever")
            self.site.page("CometbftMempoolFilling", chain="torn")

    def hidden(self) -> None:
        """Behind, then alone, then waiting for blocks that nobody has for it."""
        full, relay = self.nets["hidden"].full_nodes
        self.site.page("ChainwatchPeersFew", chain="hidden")
        with frozen(relay):
            self.site.page("CometbftNodeBehind", chain="hidden")
        relay.kill()
        full.restart()
        self.site.page("ChainwatchNodeIsolated", chain="hidden")
        self.site.firing("ChainwatchSyncStuck", chain="hidden")

    def crowd(self) -> None:
        """The watched node dies; a vantage point stands in."""
        net, exporter = self.nets["crowd"], self.exporters["crowd"]
        before = watched(exporter)
        net.full.kill()
        self.site.page("ChainwatchNodeDown", chain="crowd")
        net.wait_blocks(DOWN_HEIGHTS)
        self.watched = before, watched(exporter)
        net.full.start()
        net.full.wait_height(net.validators[0].height)
        with halted(net, *net.validators[2:]) as tip:
            self.counts = Recorder(exporter).at_rest(tip)
            self.site.page("CometbftChainHalted", chain="crowd")
        net.wait_blocks(1)
        self.first = tip - self.counts.settled


def watched(exporter: Exporter) -> int:
    """Heights that were watched so far."""
    return int(exporter.page().value("cometbft_heights_settled_total", how="watched"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything has happened."""
    it = World(tmp_path_factory.mktemp("world"))
    with running(*it.nets.values()):
        for net in it.nets.values():
            net.wait_height(2)
        with running(*it.exporters.values()), it.site:
            it.site.prometheus.wait_for('min(cometbft_heights_settled_total{how="watched"}) >= 5')
            with ThreadPoolExecutor(len(OURS)) as pool:
                for done in [pool.submit(story) for story in (it.power, it.torn, it.hidden, it.crowd)]:
                    done.result()
            it.site.evaluated()
            yield it


@pytest.mark.parametrize("chain", OURS)
def test_what_happened_is_told(world: World, chain: str) -> None:
    assert world.site.told(chain=chain) >= TOLD[chain]


@pytest.mark.parametrize("chain", OURS)
def test_nobody_is_woken_for_anything_else(world: World, chain: str) -> None:
    assert world.site.told(chain=chain, severity="critical") <= TOLD[chain] | MAY[chain]


def test_our_validator_that_misses_with_a_sixth_of_the_power_is_not_to_blame(world: World) -> None:
    ours = world.nets["power"].validators[3].address
    causes = world.exporters["power"].page().samples("cometbft_validator_missed_by_cause_total", validator=ours)
    counted = {dict(key)["cause"]: number for key, number in causes.items()}
    assert counted["network"] > sum(counted.values()) / 2
    assert world.site.pages("CometbftValidatorMissing", chain="power") == []


def test_two_votes_heard_at_two_nodes_are_a_double_sign_before_any_evidence(world: World) -> None:
    page = world.exporters["torn"].page()
    assert page.value("cometbft_double_signs_total", whose="other", proof="vantage") >= 1  # its first proof
    culprit = world.nets["torn"].validators[1].address
    assert page.value("cometbft_validator_double_signs_total", validator=culprit) >= 1
    assert sum(page.samples("cometbft_double_signs_total", whose="own").values()) == 0


def test_a_node_without_peers_that_syncs_tells_only_that_it_has_none(world: World) -> None:
    assert world.site.pages("ChainwatchSyncStuck", chain="hidden") == []


def test_while_the_watched_node_is_dead_a_vantage_point_goes_on_watching(world: World) -> None:
    before, after = world.watched
    assert after - before >= DOWN_HEIGHTS - 2


def test_of_more_validators_than_fit_a_page_those_that_sign_nothing_are_absent_and_nobody_else(world: World) -> None:
    net, counts = world.nets["crowd"], world.counts
    assert counts is not None
    assert disagreements([counts], sums(net, range(world.first, world.first + counts.settled)), world.first) == []
    present = {node.address for node in net.validators}
    absent = {address: number for (address, result), number in counts.votes.items() if result == "absent"}
    assert absent == {address: counts.settled for address in net.validators_at(world.first) if address not in present}
    assert len(absent) == ABSENT
    page = world.exporters["crowd"].page()
    assert (page.value("cometbft_validators"), page.value("cometbft_power")) == (4 + ABSENT, 4000 + ABSENT)
