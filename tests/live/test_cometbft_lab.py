"""The lab's CometBFT nets keep their promises: what the proofs about our exporter rely on."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import ClientConnection, connect

from tests.lab import FAST, NOT_ANSWERING, CometbftNet, CometbftNode, LabError, peers, wait_until
from tests.live.test_lab import listening_addresses


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CometbftNet]:
    """A net of four validators and a full node."""
    with CometbftNet(tmp_path_factory.mktemp("net")) as net:
        net.wait_height(2)
        yield net


@pytest.fixture
def net(shared: CometbftNet) -> CometbftNet:
    """The net in health: everybody signed the last block but one. Each test leaves it so that it can become so."""

    def healthy() -> bool:
        return set(shared.votes(shared.height - 1).values()) == {"block"}

    wait_until(healthy, "everybody to sign", timeout=30, interval=0.3)
    return shared


@contextlib.contextmanager
def frozen(*nodes: CometbftNode) -> Iterator[None]:
    """Freeze these for the block."""
    for node in nodes:
        node.freeze()
    try:
        yield
    finally:
        for node in nodes:
            node.thaw()


def test_blocks_come_and_carry_transactions(net: CometbftNet) -> None:
    height = net.tx("colour=red")
    block = net.block(height)
    assert (block["header"]["chain_id"], len(block["data"]["txs"])) == ("chainwatch-lab", 1)
    assert list(net.votes(height)) == list(net.validators_at(height))
    assert set(net.validators_at(height)) == {node.address for node in net.validators}
    assert net.full.address not in net.validators_at(height)


def test_a_refused_transaction_says_so(net: CometbftNet) -> None:
    with pytest.raises(LabError, match="transaction no-pair refused"):
        net.tx("no-pair")


def test_a_frozen_validator_is_absent_and_its_turn_costs_a_round(net: CometbftNet) -> None:
    victim = net.validators[3]
    with frozen(victim):
        first = net.height + 2
        net.wait_height(first + 4)  # each is proposer of one height in four
        last = net.height - 1
    heights = range(first, last + 1)
    assert {net.votes(height)[victim.address] for height in heights} == {"absent"}
    assert max(net.commit(height)["commit"]["round"] for height in heights) >= 1


def test_with_two_of_four_frozen_the_chain_halts_and_goes_on(net: CometbftNet) -> None:
    with frozen(*net.validators[2:]):
        net.wait_height(net.height)
        with pytest.raises(LabError):
            net.wait_height(net.height + 2, timeout=5)
    net.wait_blocks(2)


def test_a_power_changes_two_heights_after_its_transaction(net: CometbftNet) -> None:
    validator = net.validators[1]
    height = net.set_power(validator, 13)
    net.wait_height(height + 1)
    powers = [net.validators_at(at)[validator.address] for at in (height + 1, height + 2)]
    assert powers == [10, 13]
    net.set_power(validator, 10)


def test_a_validator_leaves_the_set_and_comes_back(net: CometbftNet) -> None:
    validator = net.validators[2]
    left = net.set_power(validator, 0) + 2
    joined = net.set_power(validator, 10) + 2
    net.wait_height(joined)
    assert [validator.address in net.validators_at(at) for at in (left - 1, left, joined - 1, joined)] == [
        True,
        False,
        False,
        True,
    ]


def test_a_duplicated_key_is_proven_and_costs_power(net: CometbftNet) -> None:
    culprit = net.validators[0]
    height = net.double_sign(culprit)
    [evidence] = net.block(height)["evidence"]["evidence"]
    assert evidence["value"]["vote_a"]["validator_address"] == culprit.address
    assert evidence["value"]["vote_a"]["block_id"] != evidence["value"]["vote_b"]["block_id"]
    net.wait_height(height + 1)
    assert net.validators_at(height + 2)[culprit.address] == 9
    net.set_power(culprit, 10)


def test_a_killed_or_restarted_node_goes_on_where_it_was(net: CometbftNet) -> None:
    height = net.full.height
    net.full.kill()
    with pytest.raises(NOT_ANSWERING):
        net.full.rpc("status", timeout=1)
    net.full.start()
    assert net.full.height >= height
    net.full.restart({"log_format": "json"})
    net.full.wait_height(height + 3)
    assert json.loads(net.full.log_file.read_text().splitlines()[-1])["level"] in ("info", "error")


def test_a_late_node_catches_up(tmp_path: Path) -> None:
    with CometbftNet(tmp_path / "net", validators=1, settings=FAST, chain_id="late", late={"node1"}) as net:
        net.wait_height(30)
        assert not net.full.process.alive
        net.full.start()
        net.full.wait_height(30)
        assert net.full.rpc("status")["node_info"]["network"] == "late"


def test_a_slow_reader_s_subscription_is_cancelled(tmp_path: Path) -> None:
    with CometbftNet(tmp_path / "net", settings=FAST) as net:
        net.wait_height(2)
        with slow_reader(net.full) as reader:
            reader.send(
                '{"jsonrpc": "2.0", "id": 7, "method": "subscribe", "params": {"query": "tm.event CONTAINS \'o\'"}}'
            )
            assert reader.recv() == '{"jsonrpc":"2.0","id":7,"result":{}}'
            net.stuff(40)
            net.wait_height(net.height + 60)
            last = last_frame(reader)
    # The word of the cancellation may be lost itself: then there is silence while the chain goes on. On a machine so
    # busy that the pause took more than 10 s the node hangs up.
    log = net.full.log_file.read_text()
    assert "out of capacity" in last or "(slow client)" in log or "Failed to write response" in log


@contextlib.contextmanager
def slow_reader(node: CometbftNode) -> Iterator[ClientConnection]:
    """A websocket that takes next to nothing while nobody receives."""
    with socket.socket() as narrow:
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.connect(("127.0.0.1", node.rpc_port))
        url = f"ws://127.0.0.1:{node.rpc_port}/websocket"
        with connect(url, sock=narrow, max_queue=1, max_size=None, close_timeout=1) as reader:
            yield reader


def last_frame(reader: ClientConnection) -> str:
    """The last frame before an error frame, silence or the end; the error frame itself when there is one."""
    last = ""
    with contextlib.suppress(TimeoutError, ConnectionClosedError):
        for _ in range(5000):
            last = str(reader.recv(timeout=2))
            if '"error":{' in last[:100]:
                break
    return last


def test_nothing_of_a_net_listens_beyond_loopback(net: CometbftNet) -> None:
    addresses = listening_addresses([node.process.pid for node in net.nodes])
    assert len(addresses) >= 10
    assert set(addresses) == {"0100007F"}


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("go version go1.26.8 linux/amd64", None),
        ("go version go1.22 linux/amd64", None),
        ("go version go1.19.8 linux/amd64", "says 'go version go1.19.8 linux/amd64'. Install it from https://go.dev"),
        ("", "says 'nothing'"),
    ],
)
def test_a_go_that_is_too_old_is_told_with_what_to_do(tmp_path: Path, said: str, problem: str | None) -> None:
    go = tmp_path / "go"
    go.write_text(f"#!/bin/sh\necho '{said}'\n")
    go.chmod(0o755)
    answer = peers.unfit_go(str(go))
    assert (answer is None) if problem is None else (answer is not None and problem in answer)


def test_without_go_the_setup_says_what_to_install() -> None:
    answer = peers.unfit_go(None)
    assert answer is not None
    assert "Go 1.22 or later, and there is none. Install it from https://go.dev/dl/" in answer
