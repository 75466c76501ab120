"""A node in trouble: the scrape answers in time, says what is wrong, and shows nothing stale and no zero."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from chainwatch.cli import known_families
from chainwatch.exposition.metrics import catalogue
from tests.lab import Exporter, Litecoind, Page, RpcUser

# What an exporter says of itself while its node is away. Counters keep counting; all else of the node must vanish.
OWN = ("chainwatch_up", "chainwatch_collector_", "chainwatch_stream_", "chainwatch_build_", "chainwatch_config_")
TIMEOUT = 3.0


def gauges_of_the_node(page: Page) -> set[str]:
    """Names of gauges that only the node could have told."""
    known_families()  # defines their metrics
    gauges = {name for name, definition in catalogue().items() if definition.kind == "gauge"}
    return {name for name in page.names() & gauges if not name.startswith(OWN)}


def scrape(exporter: Exporter) -> tuple[Page, float]:
    began = time.monotonic()
    page = exporter.page(TIMEOUT)
    return page, time.monotonic() - began


def assert_away(page: Page, seconds: float) -> None:
    assert page.value("chainwatch_up") == 0
    assert gauges_of_the_node(page) == set()
    assert set(page.samples("chainwatch_collector_success").values()) == {0}
    assert seconds < TIMEOUT


def test_a_frozen_node_costs_its_values_and_not_the_scrape(litecoind: Litecoind, tmp_path: Path) -> None:
    with Exporter(tmp_path / "exporter", litecoind) as exporter:
        healthy = exporter.wait_value("chainwatch_up", 1)
        assert len(gauges_of_the_node(healthy)) > 40
        litecoind.freeze()
        for _ in range(2):
            page, seconds = scrape(exporter)
            assert_away(page, seconds)
            # Told in the same page: by this the rules know a node that hangs from one that is down.
            assert page.value("chainwatch_rpc_failures_total", method="getblockchaininfo", reason="timeout") >= 1
        litecoind.thaw()
        exporter.wait_value("chainwatch_up", 1, timeout=5)


def test_a_killed_node_is_down_at_once_and_up_when_it_is_back(litecoind: Litecoind, tmp_path: Path) -> None:
    with Exporter(tmp_path / "exporter", litecoind) as exporter:
        exporter.wait_value("chainwatch_up", 1)
        litecoind.kill()
        page, seconds = scrape(exporter)
        assert_away(page, seconds)
        assert seconds < 1
        assert page.value("chainwatch_up", chain="litecoin-regtest") == 0
        litecoind.start()  # with a new cookie
        page = exporter.wait_value("chainwatch_up", 1, timeout=5)
        assert set(page.samples("chainwatch_collector_success").values()) == {1}


def test_a_restart_shows_warming_up_and_then_the_new_cookie_is_used(litecoind: Litecoind, tmp_path: Path) -> None:
    with Exporter(tmp_path / "exporter", litecoind) as exporter:
        started = exporter.wait_value("chainwatch_up", 1).value("chainwatch_node_start_timestamp_seconds")
        time.sleep(2)  # the node tells its uptime in whole seconds
        litecoind.stop()
        litecoind.start_without_waiting()
        seen = set()
        deadline = time.monotonic() + 20
        while (page := exporter.page(TIMEOUT)).value("chainwatch_up") == 0 and time.monotonic() < deadline:
            seen |= {dict(labels)["reason"] for labels in page.samples("chainwatch_rpc_failures_total")}
            assert gauges_of_the_node(page) == set()
        assert page.value("chainwatch_up") == 1
        assert page.value("chainwatch_node_start_timestamp_seconds") > started
        assert seen & {"connection", "warming_up"}


def test_a_wrong_password_is_said_and_not_shown(litecoind: Litecoind, tmp_path: Path) -> None:
    wrong = RpcUser("nobody", "a-password-that-must-not-leak")
    with Exporter(tmp_path / "exporter", litecoind, user=wrong) as exporter:
        page, seconds = scrape(exporter)
        assert_away(page, seconds)
        reasons = {dict(labels)["reason"] for labels in page.samples("chainwatch_rpc_failures_total")}
        assert reasons == {"unauthorized"}
        log = exporter.process.log_tail()
        assert "401" in log
        assert "rpcauth" in log
        assert wrong.password not in log + page.text


def test_a_forbidden_method_costs_its_own_collector_alone(tmp_path: Path) -> None:
    methods = [
        "getblockchaininfo",
        "getnetworkinfo",
        "getmempoolinfo",
        "getbestblockhash",
        "getblockheader",
        "getblockstats",
        "uptime",
        "getnettotals",
        "getmininginfo",
        "getnetworkhashps",
        "getindexinfo",
        "getmemoryinfo",
        "getrpcinfo",
        "estimatesmartfee",
        "getchaintxstats",
        "getchaintips",
        "listbanned",
        "getblockhash",
        "getzmqnotifications",
    ]
    reader = RpcUser("reader", methods=tuple(methods))  # getpeerinfo is left out
    with (
        Litecoind(tmp_path / "node", users=[reader]) as node,
        Exporter(tmp_path / "exporter", node, user=reader) as exporter,
    ):
        node.mine(3)
        for _ in range(3):
            page = exporter.wait_value("chainwatch_up", 1)
        failed = {
            dict(labels)["collector"] for labels, ok in page.samples("chainwatch_collector_success").items() if not ok
        }
        assert "peers" in failed
        assert {"blockchain", "mempool", "block", "fees"}.isdisjoint(failed)
        assert page.value("chainwatch_tip_height") == 3
        assert page.get("bitcoin_peers_inflight_blocks") is None
        assert page.value("chainwatch_rpc_failures_total", method="getpeerinfo", reason="forbidden") >= 3
        assert "rpcwhitelist" in exporter.process.log_tail()


def test_an_exporter_that_starts_before_its_node_waits_for_it(tmp_path: Path) -> None:
    node = Litecoind(tmp_path / "node")
    with Exporter(tmp_path / "exporter", node) as exporter:
        page, seconds = scrape(exporter)
        assert_away(page, seconds)
        assert page.value("chainwatch_up", chain="unknown") == 0
        with node:
            page = exporter.wait_value("chainwatch_up", 1)
            assert page.value("chainwatch_up", chain="litecoin-regtest") == 1


def test_two_servers_at_once_cost_the_node_one_collection(litecoind: Litecoind, tmp_path: Path) -> None:
    with Exporter(tmp_path / "exporter", litecoind, settings={"tracker.poll-interval": "600"}) as exporter:
        exporter.wait_value("chainwatch_up", 1)
        before = exporter.page().value("chainwatch_rpc_requests_total", method="getmempoolinfo")
        litecoind.freeze()  # so that both are surely there at the same time
        pages: list[Page] = []
        servers = [threading.Thread(target=lambda: pages.append(exporter.page(8))) for _ in range(2)]
        for server in servers:
            server.start()
        time.sleep(0.5)
        litecoind.thaw()
        for server in servers:
            server.join()
        asked = {page.value("chainwatch_rpc_requests_total", method="getmempoolinfo") for page in pages}
        assert asked == {before + 1}
        assert [page.value("chainwatch_up") for page in pages] == [1, 1]


@pytest.mark.parametrize("chain", ["litecoin-regtest"])
def test_after_the_first_answer_the_label_chain_survives_a_restart_of_both(
    litecoind: Litecoind, tmp_path: Path, chain: str
) -> None:
    with Exporter(tmp_path / "exporter", litecoind) as exporter:
        exporter.wait_value("chainwatch_up", 1)
        time.sleep(1.5)  # the state file is written by the tracker
        litecoind.kill()
        exporter.restart()
        assert exporter.page().value("chainwatch_up", chain=chain) == 0
