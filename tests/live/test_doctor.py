"""The doctor in front of real nodes: what it says, with which exit code, and how soon."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import BitcoinSV, Litecoind, Node, RpcUser


@dataclass(frozen=True)
class Report:
    status: int
    text: str
    seconds: float

    def lines(self, level: str) -> list[str]:
        """The first line of each finding of a level."""
        return [line for line in self.text.splitlines() if line.startswith(level + " ")]


def doctor(*arguments: str) -> Report:
    command = [sys.executable, "-m", "chainwatch", "doctor", "bitcoin", *arguments]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={"PATH": "/usr/bin"})
    assert done.stderr == ""
    return Report(done.returncode, done.stdout, time.monotonic() - started)


def cookie(node: Node) -> Sequence[str]:
    return "--rpc.url", node.rpc_url, "--rpc.cookie-file", str(node.cookie_file)


def password(node: Node, user: RpcUser, folder: Path) -> Sequence[str]:
    file = folder / f"{user.name}.password"
    file.write_text(user.password)
    return "--rpc.url", node.rpc_url, "--rpc.user", user.name, "--rpc.password-file", str(file)


def test_a_healthy_litecoind_has_nothing_to_mend(litecoind: Litecoind, tmp_path: Path) -> None:
    report = doctor(*cookie(litecoind), "--log.file", str(litecoind.log_file), "--state.dir", str(tmp_path))
    assert report.status == 0, report.text
    assert report.lines("FAIL") == []
    assert "/LitecoinCore:0.21.2.1/" in report.text
    assert 'chain="litecoin-regtest"; a block every 150 s' in report.text
    assert "Not built into this node" in report.text
    assert "height 101 of 101 headers" in report.text
    assert "debug=mempoolrej" in report.text
    secret = litecoind.cookie_file.read_text().partition(":")[2]
    assert secret not in report.text


def test_debug_categories_that_are_on_are_not_asked_for(tmp_path: Path) -> None:
    debug = ["net", "mempool", "mempoolrej", "bench", "cmpctblock"]
    with Litecoind(tmp_path / "a", options={"debug": debug}) as node:
        node.mine()
        report = doctor(*cookie(node), "--log.file", str(node.log_file))
    assert "It carries all categories" in report.text
    assert report.lines("WARN") == []


def test_bitcoin_sv_is_heard_by_zmq(bitcoinsv: BitcoinSV) -> None:
    report = doctor(*cookie(bitcoinsv))
    assert report.status == 0, report.text
    assert f"Connected to {bitcoinsv.zmq_url}" in report.text
    assert 'chain="bitcoinsv-regtest"; a block every 600 s' in report.text


@pytest.fixture
def watched(tmp_path: Path) -> tuple[Litecoind, RpcUser]:
    watcher = RpcUser("watcher", methods=("getblockchaininfo", "getnetworkinfo", "getnettotals", "uptime"))
    return Litecoind(tmp_path / "a", users=[watcher]), watcher


def test_a_wrong_password(watched: tuple[Litecoind, RpcUser], tmp_path: Path) -> None:
    node, watcher = watched
    stranger = RpcUser("watcher")
    with node:
        report = doctor(*password(node, stranger, tmp_path))
    assert report.status == 1
    assert len(report.lines("FAIL")) == 1
    assert "401. The node refuses the password of user watcher" in report.text
    assert stranger.password not in report.text
    assert watcher.password not in report.text


def test_the_line_that_the_doctor_gives_mends_the_whitelist(watched: tuple[Litecoind, RpcUser], tmp_path: Path) -> None:
    node, watcher = watched
    with node:
        login = password(node, watcher, tmp_path)
        report = doctor(*login)
        assert report.status == 1
        (line,) = [line.strip() for line in report.text.splitlines() if line.strip().startswith("rpcwhitelist=")]
        node.users = [RpcUser("watcher", watcher.password, tuple(line.partition(":")[2].split(",")))]
        node.restart()
        mended = doctor(*login)
    assert mended.status == 0, mended.text
    assert mended.lines("FAIL") == []


def test_a_frozen_node_is_told_within_the_timeout(litecoind: Litecoind) -> None:
    litecoind.freeze()
    try:
        report = doctor(*cookie(litecoind), "--rpc.timeout", "2")
    finally:
        litecoind.thaw()
    assert report.status == 1
    assert report.seconds < 5
    assert "accepts connections, but nothing reads them" in " ".join(report.text.split())


def test_a_node_that_is_down(litecoind: Litecoind) -> None:
    litecoind.stop()
    report = doctor(*cookie(litecoind))
    assert report.status == 1
    assert "Connection refused" in report.text
    assert report.seconds < 5


def test_a_port_that_is_for_peers(litecoind: Litecoind) -> None:
    url = f"http://{litecoind.p2p_address}"
    report = doctor("--rpc.url", url, "--rpc.cookie-file", str(litecoind.cookie_file), "--rpc.timeout", "3")
    assert report.status == 1
    assert "server" in report.lines("FAIL")[0]
