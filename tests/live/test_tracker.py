"""The tracker on real nodes: litecoind is polled, Bitcoin SV announces its blocks by ZMQ."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import BitcoinSV, Exporter, Litecoind, Node, Page, ZmqRelay, join, part, same_tip, wait_until
from tests.lab.node import address_of_nobody

OTHER_MINER = address_of_nobody(b"another miner")
# Looks come every second, with ZMQ every five; a chain that only lost blocks is judged after five more.
JUDGED = 30.0


@pytest.fixture(params=[Litecoind, BitcoinSV], ids=["litecoind-polled", "bitcoinsv-zmq"])
def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    """Two joined nodes at height 20."""
    with request.param(tmp_path / "node-a", "a") as a, request.param(tmp_path / "node-b", "b") as b:
        a.connect(b)
        a.mine(20)
        same_tip(a, b)
        yield a, b


def following(folder: Path, node: Node, **settings: str | bool | None) -> Exporter:
    return Exporter(folder, node, settings=settings)


def wait_tip(exporter: Exporter, node: Node) -> None:
    """Wait until the tracker, not only the collectors, knows the node's tip."""
    wait_until(lambda: saved_tip(exporter) == node.tip, "the state file to hold the tip", timeout=20)


def state_file(exporter: Exporter) -> Path | None:
    return next(iter(exporter.state_dir.glob("*.json")), None)


def saved_tip(exporter: Exporter) -> str | None:
    file = state_file(exporter)
    return str(json.loads(file.read_text())["blocks"][-1]["hash"]) if file else None


def reorgs(page: Page) -> dict[str, tuple[float, float]]:
    """Times, and blocks in all, by origin."""
    return {
        origin: (
            page.value("chainwatch_reorgs_total", origin=origin),
            page.value("chainwatch_reorg_depth_blocks_sum", origin=origin),
        )
        for origin in ("network", "operator")
    }


NONE = {"network": (0, 0), "operator": (0, 0)}


@pytest.mark.parametrize("depth", [2, 3])
def test_after_a_partition_the_loser_counts_one_reorganisation_and_the_winner_none(
    nodes: tuple[Node, Node], tmp_path: Path, depth: int
) -> None:
    loser, winner = nodes
    with following(tmp_path / "one", loser) as one, following(tmp_path / "two", winner) as two:
        wait_tip(one, loser)
        wait_tip(two, winner)
        part(loser, winner)
        loser.mine(depth)
        winner.mine(depth + 1)
        wait_tip(one, loser)
        wait_tip(two, winner)
        join(loser, winner)
        wait_tip(one, loser)
        loser.mine(1)
        same_tip(loser, winner)
        wait_tip(one, loser)
        wait_tip(two, winner)
        lost, won = one.page(), two.page()

        assert reorgs(lost) == {"network": (1, depth), "operator": (0, 0)}
        assert lost.value("bitcoin_stale_blocks_total") == depth
        assert lost.value("bitcoin_blocks_disconnected_total") == depth
        assert lost.value("bitcoin_blocks_connected_total") == 2 * depth + 2
        assert reorgs(won) == NONE
        assert won.value("bitcoin_blocks_disconnected_total") == 0
        assert won.value("bitcoin_blocks_connected_total") == depth + 2
        two.wait_value("bitcoin_connected_transactions_total", depth + 2)


def test_a_branch_that_came_and_went_between_two_looks_is_counted(tmp_path: Path) -> None:
    with Litecoind(tmp_path / "a", "a") as loser, Litecoind(tmp_path / "b", "b") as winner:
        loser.connect(winner)
        loser.mine(20)
        same_tip(loser, winner)
        with Exporter(tmp_path / "exporter", loser, settings={"tracker.poll-interval": "8"}) as exporter:
            wait_tip(exporter, loser)
            part(loser, winner)
            loser.mine(2)
            winner.mine(3)
            join(loser, winner)
            page = exporter.wait_value("bitcoin_blocks_connected_total", 5, timeout=40)

            assert reorgs(page) == {"network": (1, 2), "operator": (0, 0)}


def test_several_blocks_at_once_are_all_counted(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    node, _ = nodes
    with following(tmp_path / "exporter", node) as exporter:
        wait_tip(exporter, node)
        node.mine(12)
        page = exporter.wait_value("bitcoin_blocks_connected_total", 12)

        assert reorgs(page) == NONE
        wait_until(lambda: exporter.page().get("bitcoin_connected_transactions_total") == 12, "their totals")
        assert exporter.page().value("chainwatch_tip_first_seen_timestamp_seconds") == pytest.approx(
            time.time(), abs=20
        )


def test_what_a_person_does_to_the_chain_has_origin_operator(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    node, other = nodes
    part(node, other)
    with following(tmp_path / "exporter", node) as exporter:
        wait_tip(exporter, node)
        old = node.tip
        below = str(node.rpc("getblockheader", old)["previousblockhash"])

        node.rpc("invalidateblock", below)
        exporter.wait_value("chainwatch_reorgs_total", 1, timeout=JUDGED, origin="operator")
        node.rpc("reconsiderblock", below)
        exporter.wait_value("bitcoin_blocks_connected_total", 2, timeout=JUDGED)

        node.rpc("invalidateblock", old)
        exporter.wait_value("chainwatch_reorgs_total", 2, timeout=JUDGED, origin="operator")
        [rival] = node.mine(1, to=OTHER_MINER)
        exporter.wait_value("bitcoin_blocks_connected_total", 3, timeout=JUDGED)
        node.rpc("reconsiderblock", old)
        node.rpc("preciousblock", old)
        exporter.wait_value("chainwatch_reorgs_total", 3, timeout=JUDGED, origin="operator")
        node.rpc("preciousblock", rival)
        page = exporter.wait_value("chainwatch_reorgs_total", 4, timeout=JUDGED, origin="operator")

        assert reorgs(page) == {"network": (0, 0), "operator": (4, 5)}
        assert page.value("bitcoin_stale_blocks_total") == 0


def test_a_killed_exporter_neither_forgets_nor_invents_a_reorganisation(
    nodes: tuple[Node, Node], tmp_path: Path
) -> None:
    loser, winner = nodes
    with following(tmp_path / "exporter", loser) as exporter:
        wait_tip(exporter, loser)
        loser.mine(1)
        wait_tip(exporter, loser)
        seen = exporter.page().value("chainwatch_tip_first_seen_timestamp_seconds")
        exporter.kill()
        exporter.start()
        page = exporter.wait_value("chainwatch_stream_connected", 1, stream="poll")
        assert page.value("chainwatch_tip_first_seen_timestamp_seconds") == seen
        assert reorgs(page) == NONE

        same_tip(loser, winner)
        part(loser, winner)
        loser.mine(2)
        wait_tip(exporter, loser)
        exporter.kill()
        winner.mine(3)
        join(loser, winner)
        for _ in range(2):
            exporter.start()
            wait_tip(exporter, loser)
            page = exporter.wait_value("chainwatch_reorgs_total", 1, origin="network")
            assert reorgs(page) == {"network": (1, 2), "operator": (0, 0)}
            exporter.kill()


def test_a_killed_node_that_gets_its_blocks_again_has_not_reorganised(tmp_path: Path) -> None:
    with Litecoind(tmp_path / "a", "a") as node, Litecoind(tmp_path / "b", "b") as other:
        node.connect(other)
        node.mine(5)
        same_tip(node, other)
        node.restart()  # which writes these five
        node.connect(other)
        node.mine(6)
        same_tip(node, other)
        with following(tmp_path / "exporter", node) as exporter:
            wait_tip(exporter, node)
            node.kill()
            exporter.wait_value("chainwatch_stream_connected", 0, stream="poll")
            node.start()
            assert node.height < 11
            exporter.wait_value("chainwatch_stream_connected", 1, timeout=30, stream="poll")
            node.connect(other)
            same_tip(node, other)
            node.mine(1)
            page = exporter.wait_value("bitcoin_blocks_connected_total", 1)

            assert reorgs(page) == NONE
            assert page.value("bitcoin_blocks_disconnected_total") == 0


def test_lost_zmq_messages_are_noticed_and_a_dead_publisher_is_replaced_by_polling(tmp_path: Path) -> None:
    with BitcoinSV(tmp_path / "node", topics=("hashblock",)) as node, ZmqRelay(node.zmq_url) as relay:
        node.mine(5)
        with following(tmp_path / "exporter", node, **{"zmq.url": relay.url}) as exporter:
            exporter.wait_value("chainwatch_stream_connected", 1, stream="zmq")
            wait_tip(exporter, node)
            node.mine(1)
            exporter.wait_value("bitcoin_blocks_connected_total", 1)
            relay.lose("hashblock", 2)
            node.mine(3)
            exporter.wait_value("chainwatch_stream_gaps_total", 1, stream="zmq")
            page = exporter.wait_value("bitcoin_blocks_connected_total", 4)
            assert page.value("chainwatch_stream_connected", stream="zmq") == 1
            relay.stop()
            exporter.wait_value("chainwatch_stream_connected", 0, stream="zmq")
            node.mine(2)
            page = exporter.wait_value("bitcoin_blocks_connected_total", 6)

            assert reorgs(page) == NONE


def test_blocks_that_zmq_withholds_are_found_and_the_stream_renewed(tmp_path: Path) -> None:
    with BitcoinSV(tmp_path / "node", topics=("hashblock",)) as node, ZmqRelay(node.zmq_url) as relay:
        node.mine(5)
        with following(tmp_path / "exporter", node, **{"zmq.url": relay.url}) as exporter:
            exporter.wait_value("chainwatch_stream_connected", 1, stream="zmq")
            wait_tip(exporter, node)
            node.mine(1)
            exporter.wait_value("bitcoin_blocks_connected_total", 1)
            relay.lose("hashblock", 1)
            node.mine(1)
            exporter.wait_value("bitcoin_blocks_connected_total", 2)
            wait_until(lambda: "ZMQ is silent" in exporter.process.log_tail(), "the log to say so")
            exporter.wait_value("chainwatch_stream_connected", 0, stream="zmq")
            time.sleep(1)  # for the new subscription, which only its first message proves
            began = time.monotonic()
            node.mine(1)
            exporter.wait_value("bitcoin_blocks_connected_total", 3)
            assert time.monotonic() - began < 2
            exporter.wait_value("chainwatch_stream_connected", 1, stream="zmq")
