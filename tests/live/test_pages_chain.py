"""From what happens to a chain to a page: splits, reorganisations, nodes that fall behind, blocks that do not come.

One pair of nodes plays a story of two partitions, while nodes of their own have the other troubles; then the tests
look at what was told. Who has a chain of their own (see Site) is in nobody's way.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Exporter, Litecoind, P2PClient, join, part, same_tip, wait_until
from tests.lab.wire import build_block, header_chain
from tests.live.site import Site, running

PAIR_CHAIN = "litecoin-regtest"
# More than two exporters' looks at the tip can be apart.
OLDER_SECONDS = 4
THRESHOLDS: dict[str, dict[str, float | str]] = {
    PAIR_CHAIN: {"node_tip_stale_seconds": OLDER_SECONDS},
    "slow-regtest": {"chain_tip_stale_seconds": 1800},
    "stale-regtest": {"chain_tip_stale_seconds": 1800, "chain_tip_stale_critical_seconds": 3600},
}
SUBSIDY = 50 * 10**8
HEADER_GAP = 6

# Alerts that a person was told of, by exporter. Of a chain's own alerts see the tests.
TOLD = {
    "a": {"ChainwatchDeepReorg", "ChainwatchNodeTipStale", "ChainwatchNodeBehind"},
    "b": {"ChainwatchDeepReorg"},
    "operator": set(),
    "slow": set(),
    "stale": set(),
    "gap": {"BitcoinHeaderGap"},
    "invalid": {"BitcoinInvalidTip"},
}


class World:
    """The nodes, the exporters beside them, and the site around them."""

    def __init__(self, folder: Path) -> None:
        names = ("a", "b", "operator", "stale", "gap", "invalid")
        self.nodes = {name: Litecoind(folder / name, name) for name in names}
        self.exporters = {who: self._exporter(folder, who) for who in TOLD}
        self.site = Site(folder / "servers", list(self.exporters.values()), thresholds=THRESHOLDS)
        self.ages: dict[str, float] = {}  # seconds since the tip was first seen, by chain, at the story's end
        self.warnings_of_stale: list[str] = []  # states of the warning about the chain `stale`, then

    def _exporter(self, folder: Path, who: str) -> Exporter:
        node = self.nodes.get(who, self.nodes["stale"])
        chain = PAIR_CHAIN if who in ("a", "b") else f"{who}-regtest"
        return Exporter(folder / f"exporter-{who}", node, settings={"chain.name": chain})

    def address(self, who: str) -> str:
        """The label under which an exporter's alerts are told."""
        return self.exporters[who].address

    def prepare(self) -> None:
        """Give the nodes blocks before anybody watches."""
        a, b, stale = self.nodes["a"], self.nodes["b"], self.nodes["stale"]
        a.connect(b)
        a.mine(5)
        same_tip(a, b)
        for name in ("operator", "gap", "invalid"):
            self.nodes[name].mine(5)
        # Its last block is two hours old, and nobody saw it come.
        stale.set_clock(-2 * 3600)
        stale.mine(5)
        stale.set_clock(None)

    def cause(self) -> None:
        """Bring about what needs no story."""
        operator, gap, invalid = (self.nodes[name] for name in ("operator", "gap", "invalid"))
        operator.rpc("invalidateblock", operator.rpc("getblockhash", 3))
        with P2PClient(gap) as peer:
            peer.send_headers(header_chain(gap, HEADER_GAP))
            wait_until(lambda: gap.rpc("getblockchaininfo")["headers"] == 5 + HEADER_GAP, "the headers to be taken")
        greedy = build_block(invalid, coinbase_satoshis=SUBSIDY + 1)
        with P2PClient(invalid) as peer:
            peer.send_block(greedy.raw)
            wait_until(
                lambda: any(tip["status"] == "invalid" for tip in invalid.rpc("getchaintips")), "the block's refusal"
            )
        invalid.mine(1)  # while the best block stays, chain tips are asked for once a minute

    def tell(self) -> None:
        """Play the story of the pair. Each state lasts until a person was told of it."""
        a, b, site = self.nodes["a"], self.nodes["b"], self.site
        part(a, b)
        a.mine(2)
        b.mine(2)
        site.page("ChainwatchChainSplit", chain=PAIR_CHAIN)
        b.mine(1)
        join(a, b)  # a loses two
        site.page("ChainwatchDeepReorg", self.address("a"))
        self._operator_changes_his_mind()
        part(a, b)
        seen = self.exporters["a"].page().value("chainwatch_tip_first_seen_timestamp_seconds")
        wait_until(lambda: time.time() > seen + OLDER_SECONDS + 2, "the next block's turn")
        b.mine(1)
        site.page("ChainwatchNodeTipStale", self.address("a"))
        b.mine(2)
        site.page("ChainwatchNodeBehind", self.address("a"))
        a.mine(4)
        join(a, b)  # b loses three
        site.page("ChainwatchDeepReorg", self.address("b"))

    def note(self) -> None:
        """Keep what tests need to know of the end, since some of them go on from there."""
        for who in ("slow", "stale"):
            seen = self.exporters[who].page().value("chainwatch_tip_first_seen_timestamp_seconds")
            self.ages[who] = time.time() - seen
        held = self.site.alerts("ChainwatchChainTipStale", chain="stale-regtest")
        self.warnings_of_stale = [alert["state"] for alert in held]

    def _operator_changes_his_mind(self) -> None:
        operator, watch = self.nodes["operator"], self.exporters["operator"]
        watch.wait_value("chainwatch_reorgs_total", 1, origin="operator")
        old = next(tip["hash"] for tip in operator.rpc("getchaintips") if tip["status"] == "invalid")
        operator.mine(1)
        watch.wait_value("bitcoin_blocks_connected_total", 1)
        operator.rpc("reconsiderblock", old)
        watch.wait_value("chainwatch_tip_height", 5)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything has happened."""
    it = World(tmp_path_factory.mktemp("world"))
    with running(*it.nodes.values()):
        it.prepare()
        with running(*it.exporters.values()), it.site:
            it.cause()
            it.tell()
            for who, names in TOLD.items():
                for name in names:
                    it.site.page(name, it.address(who))
            it.site.page("ChainwatchChainTipStale", chain="slow-regtest")
            it.site.page("ChainwatchChainTipStaleCritical", chain="stale-regtest")
            it.site.evaluated()
            it.note()
            yield it


@pytest.mark.parametrize("who", TOLD)
def test_no_instance_is_told_of_with_anything_else(world: World, who: str) -> None:
    assert world.site.told(world.address(who)) == TOLD[who]


@pytest.mark.parametrize(("loser", "depth"), [("a", 2), ("b", 3)])
def test_each_reorganisation_is_one_page_about_the_losing_side(world: World, loser: str, depth: int) -> None:
    [page] = world.site.pages("ChainwatchDeepReorg", instance=world.address(loser))
    assert (page.receiver, page.labels["severity"]) == ("pager", "critical")
    assert f"up to {depth} blocks" in page.annotations["description"]
    counted = world.exporters[loser].page()
    assert counted.value("chainwatch_reorgs_total", origin="network") == 1
    assert counted.value("chainwatch_reorg_depth_blocks_sum", origin="network") == depth
    assert counted.value("bitcoin_stale_blocks_total") == depth


@pytest.mark.parametrize("loser", ["a", "b"])
def test_a_reorganisation_fires_as_info_which_wakes_nobody(world: World, loser: str) -> None:
    fired = f'alertname="ChainwatchReorg",alertstate="firing",instance="{world.address(loser)}",severity="info"'
    assert world.site.prometheus.query(f"last_over_time(ALERTS{{{fired}}}[1h])")
    assert world.site.pages("ChainwatchReorg") == []


def test_an_operator_who_invalidates_and_reconsiders_is_counted_and_pages_nobody(world: World) -> None:
    counted = world.exporters["operator"].wait_value("chainwatch_reorgs_total", 2, origin="operator")
    assert counted.value("chainwatch_reorgs_total", origin="network") == 0
    fired = f'alertstate="firing",instance="{world.address("operator")}"'
    assert world.site.prometheus.query(f"last_over_time(ALERTS{{{fired}}}[1h])") == []


def test_a_split_is_told_until_one_branch_wins(world: World) -> None:
    # One where the machine keeps up; on a slow one the story's second part is a split of its own.
    pages = world.site.pages("ChainwatchChainSplit")
    assert {(page.receiver, page.labels["chain"]) for page in pages} == {("chat", PAIR_CHAIN)}
    world.site.resolved("ChainwatchChainSplit", chain=PAIR_CHAIN)


def test_a_node_that_catches_up_is_told_to_be_well(world: World) -> None:
    world.site.resolved("ChainwatchNodeBehind", world.address("a"))


@pytest.mark.parametrize(
    ("chain", "name", "receiver"),
    [("slow", "ChainwatchChainTipStale", "chat"), ("stale", "ChainwatchChainTipStaleCritical", "pager")],
)
def test_a_chain_without_blocks_is_told_by_the_age_of_its_last(
    world: World, chain: str, name: str, receiver: str
) -> None:
    assert world.site.page(name, chain=f"{chain}-regtest").receiver == receiver
    assert 2 * 3600 <= world.ages[chain] < 3 * 3600


def test_the_critical_sister_silences_the_warning_about_a_stale_chain(world: World) -> None:
    assert world.warnings_of_stale == ["firing"]
    assert len(world.site.pages("ChainwatchChainTipStale", chain="stale-regtest")) <= 1


def test_blocks_end_the_alerts_about_a_stale_chain(world: World) -> None:
    world.nodes["stale"].mine(1)
    world.site.resolved("ChainwatchChainTipStale", chain="slow-regtest")
    world.site.resolved("ChainwatchChainTipStaleCritical", chain="stale-regtest")
