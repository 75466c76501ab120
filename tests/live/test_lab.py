"""The lab keeps its promises: what the demo, the other live tests and the benchmark rely on."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
import zmq

from tests.lab import (
    NOT_ANSWERING,
    Alertmanager,
    BitcoinSV,
    LabError,
    Litecoind,
    P2PClient,
    Page,
    Prometheus,
    RpcError,
    RpcUser,
    Webhook,
    ZmqRelay,
    free_ports,
    join,
    part,
    wait_until,
)
from tests.lab.wire import build_block, header_chain

ROOT = Path(__file__).resolve().parents[2]

PARENT = """
import sys, threading, time
from pathlib import Path
from tests.lab import Litecoind

a, b = (Litecoind(Path(sys.argv[1]) / name, name) for name in "ab")
a.start()
starter = threading.Thread(target=b.start)
starter.start()
starter.join()
b.freeze()
print(a.process.pid, b.process.pid, flush=True)
time.sleep(600)
"""


def running(pid: int) -> bool:
    """Whether this process exists and is not merely waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_children_die_with_a_parent_that_is_killed_even_when_frozen(tmp_path: Path) -> None:
    Litecoind(tmp_path / "probe")  # skips here, not in the other process, when there is no litecoind
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        children = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(children) == 2
        assert all(running(pid) for pid in children)
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(running(pid) for pid in children), "both nodes to be gone", timeout=5)


def test_a_child_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    node = Litecoind(tmp_path / "a")
    starter = threading.Thread(target=node.start)
    starter.start()
    starter.join()
    try:
        time.sleep(0.3)
        assert node.height == 0
    finally:
        node.stop()


def test_a_node_that_cannot_start_says_why_in_the_node_s_own_words(tmp_path: Path) -> None:
    node = Litecoind(tmp_path / "a", options={"prune": "550", "txindex": "1"})
    with pytest.raises(LabError, match=r"litecoind a ended with status 1(?s:.*)Prune mode is incompatible"):
        node.start()


def test_ports_are_not_handed_out_again_even_by_another_process() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    script = f"from tests.lab import ports; ports._LOWEST = ports._HIGHEST = {ports[0]}; ports.free_port()"
    other = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert f"no free TCP port on 127.0.0.1 between {ports[0]}" in other.stderr


def test_part_and_join_make_a_reorg_of_depth_two(pair: tuple[Litecoind, Litecoind]) -> None:
    a, b = pair
    part(a, b)
    lost = a.mine(2)
    won = b.mine(3)
    join(a, b)
    assert a.tip == won[-1]
    tips = {tip["hash"]: tip for tip in a.rpc("getchaintips")}
    assert tips[lost[-1]]["status"] == "valid-fork"
    assert tips[lost[-1]]["branchlen"] == 2
    assert {tip["status"] for tip in b.rpc("getchaintips")} == {"active", "headers-only"}


def test_a_restarted_node_keeps_chain_wallet_and_ports_and_has_a_new_cookie(litecoind: Litecoind) -> None:
    tip, cookie = litecoind.tip, litecoind.cookie_file.read_text()
    litecoind.restart(debug=["net", "mempool"])
    assert litecoind.tip == tip
    assert litecoind.rpc("getbalance") == 50
    assert litecoind.cookie_file.read_text() != cookie
    assert litecoind.rpc("logging")["net"] is True


def test_a_killed_node_comes_back_at_its_height(litecoind: Litecoind) -> None:
    litecoind.rpc("gettxoutsetinfo")  # writes the coins to disk
    litecoind.kill()
    with pytest.raises(NOT_ANSWERING):
        litecoind.rpc("getblockcount", timeout=1)
    litecoind.start()
    assert litecoind.height == 101


def test_a_frozen_node_accepts_connections_and_answers_once_it_thaws(litecoind: Litecoind) -> None:
    litecoind.freeze()
    with pytest.raises(TimeoutError):
        litecoind.rpc("getblockcount", timeout=0.5)
    litecoind.thaw()
    assert litecoind.height == 101


def test_a_user_with_a_whitelist_is_refused_the_rest(tmp_path: Path) -> None:
    watcher, owner = RpcUser("watcher", methods=("getblockcount",)), RpcUser("owner")
    with Litecoind(tmp_path / "a", users=[watcher, owner]) as node:
        assert node.rpc_as(watcher, "getblockcount") == 0
        with pytest.raises(RpcError, match="403"):
            node.rpc_as(watcher, "getpeerinfo")
        assert node.rpc_as(owner, "getpeerinfo") == []
        with pytest.raises(RpcError, match="401"):
            node.rpc_as(RpcUser("owner"), "getblockcount")
        assert owner.password not in (node.folder / node.config_name).read_text()


def test_mining_goes_on_past_the_height_where_litecoin_s_extension_blocks_would_begin(tmp_path: Path) -> None:
    with Litecoind(tmp_path / "a") as node:
        node.mine(440)
        assert node.height == 440


def test_a_set_clock_makes_the_tip_old(litecoind: Litecoind) -> None:
    litecoind.set_clock(7200)
    block = litecoind.mine()[0]
    assert litecoind.rpc("getblockheader", block)["time"] > time.time() + 7000
    litecoind.set_clock(None)


def test_a_block_of_ours_is_taken_and_one_that_pays_too_much_is_invalid(tmp_path: Path) -> None:
    with Litecoind(tmp_path / "a") as node:
        node.mine(20)
        with P2PClient(node) as client:
            good = build_block(node)
            client.send_block(good.raw)
            client.sync()
            assert node.tip == good.hash
            bad = build_block(node, coinbase_satoshis=10**11)
            client.send_block(bad.raw)
            client.wait_closed()
        assert node.tip == good.hash
        assert {tip["hash"] for tip in node.rpc("getchaintips") if tip["status"] == "invalid"} == {bad.hash}
        assert "bad-cb-amount" in node.log_file.read_text()


def test_headers_without_blocks_leave_a_node_behind(tmp_path: Path) -> None:
    with Litecoind(tmp_path / "a") as node:
        node.mine(20)
        with P2PClient(node) as client:
            client.send_headers(header_chain(node, 5))
            client.sync()
            chain = node.rpc("getblockchaininfo")
    assert (chain["blocks"], chain["headers"]) == (20, 25)


def test_a_rotated_log_is_opened_anew(litecoind: Litecoind) -> None:
    old = litecoind.rotate_log()
    block = litecoind.mine()[0]
    wait_until(
        lambda: litecoind.log_file.exists() and block in litecoind.log_file.read_text(), "the block in the new log"
    )
    assert block not in old.read_text()


def test_bitcoin_sv_publishes_each_block_by_zmq_and_the_relay_loses_what_it_is_told(bitcoinsv: BitcoinSV) -> None:
    with ZmqRelay(bitcoinsv.zmq_url) as relay, zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
        subscriber.subscribe("hashblock")
        subscriber.connect(relay.url)
        bitcoinsv.mine()
        wait_until(lambda: bitcoinsv.mine() and subscriber.poll(100), "the subscription to reach the relay")
        messages = received(subscriber)
        seen = relay.seen["hashblock"]
        relay.lose("hashblock", 2)
        blocks = bitcoinsv.mine(4)
        wait_until(lambda: relay.seen["hashblock"] == seen + 4, "the relay to have seen all blocks")
        after = received(subscriber)
    assert [message[1].hex() for message in after] == blocks[2:]
    assert counter(after[0]) == counter(messages[-1]) + 3


def received(subscriber: zmq.Socket[bytes]) -> list[list[bytes]]:
    """All messages that arrive until 200 ms pass without one."""
    messages = []
    while subscriber.poll(200):
        messages.append(subscriber.recv_multipart())
    return messages


def counter(message: list[bytes]) -> int:
    """The counter at the end of a node's ZMQ message."""
    return int.from_bytes(message[2], "little")


CONFIG = """
rule_files: [rules.yml]
scrape_configs:
  - job_name: prometheus
    scrape_interval: 1m
    static_configs: [{targets: ["localhost:9090"]}]
  - job_name: node
    static_configs: [{targets: ["localhost:1"]}]
  - job_name: absent
    file_sd_configs: [{files: [none.yml]}]
"""
RULES = """
groups:
  - name: lab
    rules:
      - {alert: TargetMissing, expr: up == 0, labels: {severity: critical}, annotations: {summary: "down"}}
"""
ROUTES = """
global: {smtp_smarthost: "localhost:25", smtp_from: "lab@localhost"}
route: {receiver: pager, group_wait: 30s, routes: [{receiver: chat, matchers: [severity = "info"]}]}
receivers:
  - {name: pager, pagerduty_configs: [{routing_key: key}], email_configs: [{to: "x@localhost"}]}
  - {name: chat, slack_configs: [{api_url: "http://localhost/", channel: x}]}
"""


def test_an_alert_goes_from_prometheus_through_alertmanager_to_the_webhook(tmp_path: Path, webhook: Webhook) -> None:
    shipped = {"prometheus.yml": CONFIG, "rules.yml": RULES, "alertmanager.yml": ROUTES}
    for name, text in shipped.items():
        (tmp_path / name).write_text(text)
    timing = {"group_wait": "0s", "group_interval": "1s"}
    with (
        Alertmanager(
            tmp_path / "am", webhook=webhook.url, config=tmp_path / "alertmanager.yml", timing=timing
        ) as alertmanager,
        Prometheus(
            tmp_path / "p",
            targets={"node": [(f"127.0.0.1:{free_ports(1)[0]}", {"node": "gone"})]},
            alertmanager=alertmanager.address,
            config=tmp_path / "prometheus.yml",
        ) as prometheus,
    ):
        notice = webhook.wait_for("TargetMissing", timeout=30)
        assert (notice.receiver, notice.labels["node"], notice.annotations["summary"]) == ("pager", "gone", "down")
        assert prometheus.wait_for('up{job="prometheus"} == 1')[0][1] == 1
        assert {target["labels"]["job"] for target in prometheus.targets()} == {"prometheus", "node"}
        alertmanager.post({"alertname": "Talk", "severity": "info"})
        assert webhook.wait_for("Talk").receiver == "chat"
        with pytest.raises(LabError, match="TargetMissing firing to pager"):
            webhook.wait_for("TargetMissing", status="resolved", timeout=0.1)


def test_prometheus_refuses_targets_of_a_job_that_the_configuration_lacks(tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text(CONFIG)
    server = Prometheus(tmp_path / "p", targets={"typo": ["127.0.0.1:1"]}, config=tmp_path / "prometheus.yml")
    with pytest.raises(LabError, match="has no job typo; it has prometheus, node, absent"):
        server.start()


def test_a_page_tells_absent_from_zero_and_ambiguous() -> None:
    page = Page('# TYPE a gauge\na{x="1"} 0\na{x="2"} 3\n# TYPE b_total counter\nb_total 7\n')
    assert page.value("a", x="1") == 0
    assert page.get("c") is None
    assert page.value("b_total") == 7
    with pytest.raises(LookupError, match="fits 2 samples"):
        page.get("a")
    with pytest.raises(LookupError, match="the page has no a"):
        page.value("a", x="3")


def listening_addresses(pids: Iterable[int]) -> list[str]:
    """The local address of each TCP socket on which these processes listen, in hex as /proc/net has it."""
    sockets = {str(fd.readlink()) for pid in pids for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                listening.append(fields[1].partition(":")[0])
    return listening


def test_nothing_of_the_lab_listens_beyond_loopback(pair: tuple[Litecoind, Litecoind], bitcoinsv: BitcoinSV) -> None:
    listening = listening_addresses([node.process.pid for node in (*pair, bitcoinsv)])
    assert len(listening) >= 7
    assert set(listening) == {"0100007F"}
