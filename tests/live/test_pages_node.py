"""From a node or an exporter in trouble to a page, and from its return to the notice that it is over.

All the troubles happen at once, on one site: each test looks at what was told about one instance. That every instance
gets its own alerts and no others is part of what is tested.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.methods import methods_of
from tests.lab import NOT_ANSWERING, Exporter, LabError, Litecoind, P2PClient, RpcError, RpcUser, wait_until, web
from tests.live.site import SCRAPE_SECONDS, Site, running

BITCOIN.load()
# May call all that the exporter asks, except getpeerinfo.
READER = RpcUser("reader", methods=tuple(sorted({*methods_of(BITCOIN)} - {"getpeerinfo"})))
GUESTS = 20

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
            "crowded": Litecoind(folder / "crowded", "crowded", options={"rpcthreads": "1", "rpcworkqueue": "1"}),
            **{
                name: Litecoind(folder / name, name)
                for name in ("killed", "frozen", "restless", "switched_off", "left_alone")
            },
        }
        self.exporters = {who: self._exporter(folder, who) for who in TOLD}
        self.site = Site(
            folder / "servers", list(self.exporters.values()), thresholds=THRESHOLDS, more_rules=[BROKEN_RULE]
        )
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

    def cause(self) -> None:
        """Bring all troubles about."""
        self.nodes["killed"].kill()
        self.nodes["frozen"].freeze()
        self._call("crowded", 2)  # one is served, one fills the queue
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


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """All troubles brought about."""
    it = Ward(tmp_path_factory.mktemp("ward"))
    old = it.nodes["left_alone"]
    with running(*it.nodes.values()), contextlib.ExitStack() as stack:
        it.nodes["switched_off"].connect(it.nodes["plain"])
        old.set_clock(7 * 3600)  # its uptime is seven hours: its inbound slots had the time to fill
        for guest in it.guests:
            stack.enter_context(guest)
        with running(*it.exporters.values()), it.site:
            it.cause()
            yield it
        for node in it.nodes.values():
            node.kill()
        for caller in it.callers:
            caller.join()


@pytest.fixture(scope="module")
def relieved(ward: Ward) -> Ward:
    """Everybody told of all troubles, and these then ended."""
    for who, names in (TOLD | SERVERS).items():
        for name in names:
            ward.site.page(name, ward.instance(who))
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
    assert relieved.site.told(relieved.instance(who)) == TOLD[who].keys()


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
    assert {notice.labels["collector"] for notice in told} == {"peers"}


def test_a_full_work_queue_fires_beneath_the_page_that_explains_it(ward: Ward) -> None:
    ward.site.page("ChainwatchNodeHanging", ward.instance("crowded"))
    wanted = f'alertname="BitcoinRpcQueueFull",alertstate="firing",instance="{ward.instance("crowded")}"'
    ward.site.prometheus.wait_for(f"last_over_time(ALERTS{{{wanted}}}[1h])")


def test_a_crash_of_a_node_is_no_reorganisation(relieved: Ward) -> None:
    killed = relieved.exporters["killed"].wait_value("chainwatch_up", 1)
    assert killed.value("chainwatch_reorgs_total", origin="network") == 0


def test_the_watchdog_calls_again_and_again(ward: Ward) -> None:
    heard = ward.site.webhook.received
    wait_until(
        lambda: len(heard("ChainwatchWatchdog")) >= 2,
        "the watchdog's second call, a minute after the first",
        timeout=150,
        interval=0.5,
    )
    assert {notice.receiver for notice in heard("ChainwatchWatchdog")} == {"deadman"}
    assert heard("ChainwatchWatchdog", "resolved") == []
