"""From what peers send and the mempool does to a page, where the exporter follows the node's log as well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Exporter, Litecoind, P2PClient, Page, join, wait_until
from tests.lab.wire import NOBODY, Input, build_block, transaction
from tests.live.site import Site, running

DEBUG = {"debug": ["mempool", "mempoolrej", "net", "validation", "cmpctblock", "bench", "rpc"]}
SUBSIDY = 50 * 10**8
ROTATIONS, PER_LOG = 3, 20
# One transaction is far more than a millionth of the mempool's limit.
THRESHOLDS: dict[str, dict[str, float | str]] = {
    "mempool-regtest": {
        "bitcoin_mempool_transactions_min": 1,
        "bitcoin_mempool_accepts_per_hour_min": 1,
        "bitcoin_mempool_full_ratio": 1e-6,
        # Its clock is moved, which looks like restarts.
        "restarts_per_hour": "+Inf",
    }
}
TOLD = {
    "attacked": {"BitcoinMempoolRejectConsensus", "BitcoinInvalidBlock", "BitcoinInvalidTip"},
    "forged": set(),
    "mempool": {"BitcoinMempoolEmpty", "BitcoinMempoolNoAccepts", "BitcoinMempoolFull"},
    "no_log": {"ChainwatchStreamDown"},
}


class World:
    """Nodes that write much into their logs, exporters that follow these, and the site around them."""

    def __init__(self, folder: Path) -> None:
        names = ("attacked", "forged", "mempool", "payer")
        self.nodes = {name: Litecoind(folder / name, name, options=DEBUG) for name in names}
        self.exporters = {who: self._exporter(folder, who) for who in TOLD}
        self.site = Site(folder / "servers", list(self.exporters.values()), thresholds=THRESHOLDS)

    def _exporter(self, folder: Path, who: str) -> Exporter:
        node = self.nodes.get(who, self.nodes["forged"])
        log = folder / "no-such.log" if who == "no_log" else node.log_file
        return Exporter(
            folder / f"exporter-{who}", node, settings={"log.file": str(log), "chain.name": f"{who}-regtest"}
        )

    def address(self, who: str) -> str:
        """The label under which an exporter's alerts are told."""
        return self.exporters[who].address

    def prepare(self) -> None:
        """Blocks and money, before anybody watches."""
        self.nodes["attacked"].mine(5)
        self.nodes["forged"].mine(5)
        payer, mempool = self.nodes["payer"], self.nodes["mempool"]
        payer.fund(102)
        join(payer, mempool)
        payer.disconnect(mempool)
        mempool.set_clock(4000)  # its uptime is over an hour: its mempool had the time to fill

    def cause(self) -> None:
        """Send what no honest peer would, and let another peer pretend that it happened elsewhere."""
        attacked, forged = self.nodes["attacked"], self.nodes["forged"]
        greedy = build_block(attacked, coinbase_satoshis=SUBSIDY + 1)
        with P2PClient(attacked) as peer:
            peer.send_transaction(impossible(1))
            peer.wait_closed()  # it is thrown out for that
        with P2PClient(attacked) as peer:
            peer.send_block(greedy.raw)
            peer.wait_closed()
        attacked.mine(1)  # while the best block stays, chain tips are asked for once a minute
        for lie in lies(greedy.hash):
            with P2PClient(forged, user_agent=lie) as peer:
                peer.sync()

    def pay(self) -> None:
        """Send the mempool's node a transaction by P2P."""
        payer = self.nodes["payer"]
        raw = payer.rpc("gettransaction", payer.send())["hex"]
        with P2PClient(self.nodes["mempool"]) as peer:
            peer.send_transaction(bytes.fromhex(raw))
            peer.sync()

    def tell(self) -> None:
        """Fill the mempool, empty it, and wait for an hour without transactions (see WINDOWS)."""
        self.pay()
        self.site.page("BitcoinMempoolFull", self.address("mempool"))
        self.nodes["mempool"].mine(1)
        self.site.page("BitcoinMempoolEmpty", self.address("mempool"))
        self.site.page("BitcoinMempoolNoAccepts", self.address("mempool"))
        self.pay()


def impossible(number: int) -> bytes:
    """A transaction that pays a negative amount; another number gives another transaction."""
    return transaction([Input(f"{number:064x}", 0)], [(-1, NOBODY)])


def lies(block: str) -> list[str]:
    """User agents that look like lines of the log, which quotes them; 256 bytes at most."""
    stamp = "2030-01-01T00:00:00Z "
    return [
        f"/x\n{stamp}{'ab' * 32} from peer=1 was not accepted: bad-txns-vout-negative\n/",
        f"\r\n{stamp}InvalidChainFound: invalid block={block}  height=6",
        f"\n{stamp}BlockChecked: block hash={block} state=bad-cb-amount\n",
        f"{'ab' * 32} from peer=1 was not accepted: bad-txns-vout-negative",
    ]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything has happened and was told."""
    it = World(tmp_path_factory.mktemp("world"))
    with running(*it.nodes.values()):
        it.prepare()
        with running(*it.exporters.values()), it.site:
            it.cause()
            it.tell()
            for who, names in TOLD.items():
                for name in names:
                    it.site.page(name, it.address(who))
            it.site.evaluated()
            yield it


@pytest.mark.parametrize("who", TOLD)
def test_each_is_told_of_with_its_own_troubles_alone(world: World, who: str) -> None:
    assert world.site.told(world.address(who)) == TOLD[who]


def test_only_what_the_nodes_own_index_says_wakes_a_person(world: World) -> None:
    receivers = {name: {page.receiver for page in world.site.pages(name)} for names in TOLD.values() for name in names}
    assert {name for name, who in receivers.items() if "pager" in who} == {"BitcoinInvalidTip", "BitcoinMempoolEmpty"}


def test_what_a_peer_sent_is_counted_by_its_reason_and_class(world: World) -> None:
    page = world.exporters["attacked"].page()
    rejected = page.samples("bitcoin_mempool_rejected_total")
    assert sum(rejected.values()) == 1
    assert (
        page.value("bitcoin_mempool_rejected_total", **{"class": "consensus", "reason": "bad-txns-vout-negative"}) == 1
    )
    invalid = page.samples("bitcoin_invalid_blocks_total")
    assert sum(invalid.values()) == 1
    assert page.value("bitcoin_invalid_blocks_total", **{"class": "consensus", "origin": "network"}) == 1
    assert page.value("bitcoin_misbehaving_total") == 2


def test_lines_that_a_peer_hides_in_its_user_agent_are_not_counted(world: World) -> None:
    log = world.nodes["forged"].log_file.read_text()
    assert log.count("was not accepted") >= 2  # the node did quote them
    page = world.exporters["forged"].page()
    assert page.value("chainwatch_stream_connected", stream="log") == 1
    assert page.value("bitcoin_log_lines_total") > 0
    for name in ("bitcoin_mempool_rejected_total", "bitcoin_invalid_blocks_total", "bitcoin_misbehaving_total"):
        assert set(page.samples(name).values()) == {0}


def test_a_transaction_ends_the_alerts_about_an_empty_mempool(world: World) -> None:
    world.site.resolved("BitcoinMempoolEmpty", world.address("mempool"))
    world.site.resolved("BitcoinMempoolNoAccepts", world.address("mempool"))
    page = world.exporters["mempool"].page()
    assert page.value("bitcoin_mempool_accepted_total") == 2
    assert page.value("chainwatch_mempool_transactions") == 1


def test_a_log_that_is_missing_is_told_as_a_closed_stream(world: World) -> None:
    [page] = world.site.pages("ChainwatchStreamDown")
    assert page.labels["stream"] == "log"
    assert "--log.file" in world.exporters["no_log"].process.log_tail()


def test_a_log_rotated_under_load_loses_no_line_and_counts_none_twice(tmp_path: Path) -> None:
    rejected = "bitcoin_mempool_rejected_total"
    with (
        Litecoind(tmp_path / "node", options=DEBUG) as node,
        Exporter(tmp_path / "exporter", node, settings={"log.file": str(node.log_file)}) as exporter,
    ):
        node.mine(1)
        exporter.wait_value(rejected, 0, reason="bad-txns-vout-negative")
        for number in range(ROTATIONS * PER_LOG):
            with P2PClient(node) as peer:
                peer.send_transaction(impossible(number))
                peer.wait_closed()  # it is thrown out for that
            if number % PER_LOG == PER_LOG // 2:
                node.rotate_log().rename(node.log_file.with_suffix(f".log.{number}"))
        exporter.wait_value(rejected, ROTATIONS * PER_LOG, reason="bad-txns-vout-negative", timeout=30)
        logs = [log.read_text() for log in node.log_file.parent.glob("debug.log*")]
        assert [log.count("was not accepted") > 0 for log in logs] == [True] * (ROTATIONS + 1)
        node.mine(1)  # and what comes after is read too
        lines = exporter.page().value("bitcoin_log_lines_total")
        page = wait_until(lambda: grown(exporter, lines), "the newest log to be followed")
        assert page.value(rejected, reason="bad-txns-vout-negative") == ROTATIONS * PER_LOG
        assert page.value("chainwatch_stream_gaps_total", stream="log") == 0


def grown(exporter: Exporter, lines: float) -> Page | None:
    """The page, once the log has given more than so many lines."""
    page = exporter.page()
    return page if page.value("bitcoin_log_lines_total") > lines else None
