"""From a node or an exporter in trouble to a page, and from its return to the notice that it is over.

All the troubles happen at once, on one site: each test looks at what was told about one instance. That every instance
gets its own alerts and no others is part of what is tested.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import struct
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from unittest import mock

import pytest

from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.methods import asked_by, methods_of
from tests.lab import NOT_ANSWERING, Exporter, LabError, Litecoind, P2PClient, RpcError, RpcUser, web
from tests.lab.p2p import INV_BLOCK
from tests.lab.wire import size
from tests.live.site import SCRAPE_SECONDS, Site, running

BITCOIN.load()
FORBIDDEN = {
    collector.name for collector in BITCOIN if "getpeerinfo" in asked_by(import_module(collector.build.__module__))
}
# May call all that the exporter asks, except getpeerinfo.
READER = RpcUser("reader", methods=tuple(sorted({*methods_of(BITCOIN)} - {"getpeerinfo"})))
GUESTS = 20
QUEUE = 6  # more than the exporter's own calls fill
# Blocks of some 250 bytes: more than the MiB that the node may upload.
UPLOADS = 6000

# Who is in trouble, the alerts of which a person is told, and who that is. Of what a page explains, nothing is told.
TOLD: dict[str, dict[str, str]] = {
    "healthy": {},
    "killed": {"ChainwatchNodeDown": "pager"},
    "frozen": {"ChainwatchNodeHanging": "pager"},
    "crowded": {"ChainwatchNodeHanging": "pager"},
    "wrong_password": {"ChainwatchNodeDown": "pager"},
    "forbidden": {"ChainwatchCollectorFailing": "chat"},
    "misconfigured": {"ChainwatchConfigReloadFailed": "chat"},
    "gone": {"ChainwatchTargetDown": "pager"},
    "restless": {"ChainwatchNodeRestarting": "chat"},
    "restless_exporter": {"ChainwatchExporterRestarting": "chat"},
    "stuck": {"BitcoinRpcCommandStuck": "chat"},
    "few_peers": {"ChainwatchPeersFew": "chat", "BitcoinOutboundPeersFew": "chat"},
    "switched_off": {"ChainwatchNodeIsolated": "pager", "BitcoinNetworkInactive": "chat"},
    "left_alone": {"BitcoinInboundPeersDropped": "chat", "BitcoinTrafficHigh": "chat"},
    "slow_clock": {"ChainwatchClockSkewed": "chat"},
    "wrong_clock": {"BitcoinNodeWarning": "chat"},
    "generous": {},
}
# Troubles of the site itself.
SERVERS = {"prometheus": {"ChainwatchRuleEvaluationFailing": "pager"}}
THRESHOLDS: dict[str, dict[str, float | str]] = {
    "restless-regtest": {"restarts_per_hour": 1},
    "restless-exporter-regtest": {"restarts_per_hour": 1},
    "stuck-regtest": {"bitcoin_rpc_command_seconds": 1},
    "few-peers-regtest": {"peers_few": 4, "bitcoin_outbound_peers_min": 8},
    "switched-off-regtest": {"peers_isolated": 1},
    # Bytes per second; a handshake takes some hundred. Its clock is moved, which looks like restarts.
    "left-alone-regtest": {
        "bitcoin_inbound_drop_ratio": 0.5,
        "bitcoin_traffic_bytes_per_second": 10,
        "restarts_per_hour": "+Inf",
    },
}
NODE_DOWN_FOR = 5  # as shipped
# A rule that cannot be evaluated: several series on both sides.
BROKEN_RULE = {"record": "lab:broken", "expr": "chainwatch_peers + on (job) chainwatch_peers"}


class Ward:
    """The patients by the names of `TOLD`, their nodes, and the site around them."""

    def __init__(self, folder: Path) -> None:
        self.settings = folder / "chainwatch.yml"
        self.settings.write_text("rpc: {timeout: 5}")
        self.nodes = {
            "plain": Litecoind(folder / "plain", "plain", users=[READER]),
            "crowded": Litecoind(
                folder / "crowded", "crowded", options={"rpcthreads": "1", "rpcworkqueue": str(QUEUE)}
            ),
            **{
                name: Litecoind(folder / name, name)
                for name in ("killed", "frozen", "restless", "switched_off", "left_alone", "slow_clock", "wrong_clock")
            },
            "generous": Litecoind(folder / "generous", "generous", options={"maxuploadtarget": "1"}),
        }
        self.exporters = {who: self._exporter(folder, who) for who in TOLD}
        self.site = Site(
            folder / "servers", list(self.exporters.values()), thresholds=THRESHOLDS, more_rules=[BROKEN_RULE]
        )
        self.told: dict[str, set[str]] = {}  # by the names of TOLD, when the troubles ended
        self.callers: list[threading.Thread] = []
        self.guests = [P2PClient(self.nodes["left_alone"]) for _ in range(GUESTS)]

    def _exporter(self, folder: Path, who: str) -> Exporter:
        chain = f"{who.replace('_', '-')}-regtest"
        settings: dict[str, str | bool | None] = {"chain.name": chain} if chain in THRESHOLDS else {}
        if who == "misconfigured":
            settings["config.file"] = str(self.settings)
        user = {"wrong_password": RpcUser("nobody"), "forbidden": READER}.get(who)
        node = self.nodes.get(who, self.nodes["plain"])
        return Exporter(folder / f"exporter-{who}", node, settings=settings, user=user)

    def instance(self, who: str) -> str:
        """The label under which a patient's alerts are told."""
        return self.site.prometheus.address if who == "prometheus" else self.exporters[who].address

    def prepare(self) -> contextlib.ExitStack:
        """Bring about what takes peers, before anybody watches. The peers leave when the stack is closed."""
        nodes, peers = self.nodes, contextlib.ExitStack()
        nodes["switched_off"].connect(nodes["plain"])
        nodes["left_alone"].set_clock(7 * 3600)  # an uptime of seven hours: its inbound slots had the time to fill
        for guest in self.guests:
            peers.enter_context(guest)
        for name, seconds in (("slow_clock", -300), ("wrong_clock", -2 * 3600)):
            nodes[name].set_clock(seconds)
            for peer in strangers(nodes[name], 4):  # the median of fewer does not count
                peers.enter_context(peer)
            nodes[name].set_clock(None)
        with P2PClient(nodes["generous"]) as glutton:
            block = struct.pack("<I", INV_BLOCK) + bytes.fromhex(nodes["generous"].mine()[0])[::-1]
            glutton.send("getdata", size(UPLOADS) + block * UPLOADS)
            glutton.sync(timeout=30)
        return peers

    def cause(self) -> None:
        """Bring all troubles about."""
        self.nodes["killed"].kill()
        self.nodes["frozen"].freeze()
        self._call("crowded", 1 + QUEUE)  # one is served, the others fill the queue
        self._call("plain", 1)
        self.nodes["switched_off"].rpc("setnetworkactive", False)
        self.exporters["gone"].kill()
        self.exporters["restless_exporter"].restart()
        self.settings.write_text("rpc: {timeout: soon}")
        with contextlib.suppress(OSError):  # it refuses, as it should
            web.post(f"{self.exporters['misconfigured'].url}/-/reload")
        self._restart_quickly()
        self._let_guests_leave()

    def end(self) -> None:
        """End those troubles that end."""
        self.nodes["killed"].start()
        self.nodes["frozen"].thaw()
        self.nodes["crowded"].restart()
        self.nodes["plain"].mine()  # what the call waits for
        self.nodes["switched_off"].rpc("setnetworkactive", True)
        self.nodes["switched_off"].connect(self.nodes["plain"])
        self.exporters["gone"].start()
        self.settings.write_text("rpc: {timeout: 6}")
        web.post(f"{self.exporters['misconfigured'].url}/-/reload")

    def _let_guests_leave(self) -> None:
        """Have as many inbound peers for a while that losing them is news."""
        inbound = f'chainwatch_peers{{direction="inbound",instance="{self.instance("left_alone")}"}}'
        self.site.prometheus.wait_for(f"count_over_time({inbound}[1m]) >= 6")
        for guest in self.guests:
            guest.sync()  # some traffic
            guest.stop()

    def _call(self, name: str, count: int) -> None:
        """Make calls that wait for the node's next block."""

        def wait() -> None:
            with contextlib.suppress(RpcError, *NOT_ANSWERING):  # the node ends before it
                self.nodes[name].rpc("waitfornewblock", 0, timeout=600)

        threads = [threading.Thread(target=wait, name="waitfornewblock", daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        self.callers += threads

    def _restart_quickly(self) -> None:
        """Restart a node within the time that the page waits; a busy machine may need another try."""
        for _ in range(5):
            began = time.monotonic()
            self.nodes["restless"].restart()
            if time.monotonic() - began < NODE_DOWN_FOR - SCRAPE_SECONDS:
                return
        raise LabError(f"a node never restarted within {NODE_DOWN_FOR - SCRAPE_SECONDS} s: this machine is too busy")


def strangers(node: Litecoind, count: int) -> Iterator[P2PClient]:
    """Peers of different addresses; a node takes the time of each address once."""
    for number in range(2, 2 + count):
        connect = functools.partial(socket.create_connection, source_address=(f"127.0.0.{number}", 0))
        with mock.patch.object(socket, "create_connection", connect):
            yield P2PClient(node)


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """All troubles brought about."""
    it = Ward(tmp_path_factory.mktemp("ward"))
    with running(*it.nodes.values()), it.prepare():
        with running(*it.exporters.values()), it.site:
            it.cause()
            yield it
        for node in it.nodes.values():
            node.kill()
        for caller in it.callers:
            caller.join()


@pytest.fixture(scope="module")
def relieved(ward: Ward) -> Ward:
    """All troubles told of, noted what was told till then, and these ended."""
    for who, names in (TOLD | SERVERS).items():
        for name in names:
            ward.site.page(name, ward.instance(who))
    ward.site.evaluated()
    ward.told = {who: ward.site.told(ward.instance(who)) for who in TOLD}
    ward.end()
    return ward


@pytest.mark.parametrize("who", TOLD | SERVERS)
def test_each_trouble_reaches_whom_it_concerns(ward: Ward, who: str) -> None:
    for name, receiver in (TOLD | SERVERS)[who].items():
        page = ward.site.page(name, ward.instance(who))
        assert page.receiver == receiver
        assert page.annotations["runbook_url"].endswith(f"/docs/runbooks/{name}.md")


@pytest.mark.parametrize("who", TOLD)
def test_no_instance_is_told_of_with_another_ones_trouble(relieved: Ward, who: str) -> None:
    assert relieved.told[who] == TOLD[who].keys()


@pytest.mark.parametrize(
    ("who", "name"),
    [
        ("killed", "ChainwatchNodeDown"),
        ("frozen", "ChainwatchNodeHanging"),
        ("crowded", "ChainwatchNodeHanging"),
        ("gone", "ChainwatchTargetDown"),
        ("misconfigured", "ChainwatchConfigReloadFailed"),
        ("stuck", "BitcoinRpcCommandStuck"),
        ("switched_off", "ChainwatchNodeIsolated"),
        ("switched_off", "BitcoinNetworkInactive"),
    ],
)
def test_what_is_over_is_told(relieved: Ward, who: str, name: str) -> None:
    relieved.site.resolved(name, relieved.instance(who))


@pytest.mark.parametrize(("who", "reason"), [("killed", "connection"), ("wrong_password", "unauthorized")])
def test_the_page_of_a_dead_node_says_why_calls_failed(ward: Ward, who: str, reason: str) -> None:
    assert reason in ward.site.page("ChainwatchNodeDown", ward.instance(who)).annotations["description"]


def test_a_forbidden_method_is_told_for_the_collectors_that_need_it(relieved: Ward) -> None:
    told = relieved.site.pages("ChainwatchCollectorFailing", instance=relieved.instance("forbidden"))
    assert {notice.labels["collector"] for notice in told} == FORBIDDEN


def test_a_full_work_queue_fires_beneath_the_page_that_explains_it(ward: Ward) -> None:
    ward.site.page("ChainwatchNodeHanging", ward.instance("crowded"))
    wanted = f'alertname="BitcoinRpcQueueFull",alertstate="firing",instance="{ward.instance("crowded")}"'
    ward.site.prometheus.wait_for(f"last_over_time(ALERTS{{{wanted}}}[1h])")


def test_a_reached_upload_target_fires_as_info_which_wakes_nobody(ward: Ward) -> None:
    wanted = f'alertname="BitcoinUploadTargetReached",alertstate="firing",instance="{ward.instance("generous")}"'
    ward.site.prometheus.wait_for(f"last_over_time(ALERTS{{{wanted}}}[1h])")


def test_a_crash_of_a_node_is_no_reorganisation(relieved: Ward) -> None:
    killed = relieved.exporters["killed"].wait_value("chainwatch_up", 1)
    assert killed.value("chainwatch_reorgs_total", origin="network") == 0
