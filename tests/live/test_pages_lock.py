"""Nodes that answer and stand still: one whose chain lock is held, one that says it is syncing and does not move."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from chainwatch.families.bitcoin.client import LOCK_FREE
from tests.lab import Exporter, Litecoind
from tests.live.site import Site, running

OLD_SECONDS = 3
HALTED_CHAIN = "halted-regtest"


class HeldLock:
    """Stands between an exporter and its node. While the lock is held, calls that need it wait, as in the node."""

    def __init__(self, node: Litecoind) -> None:
        self.free = threading.Event()
        self.free.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(node))
        self._thread = threading.Thread(target=self._server.serve_forever, name="held lock")
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _handler(self, node: Litecoind) -> type[BaseHTTPRequestHandler]:
        free = self.free

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                calls = json.loads(body)
                methods = {call["method"] for call in (calls if isinstance(calls, list) else [calls])}
                if not methods <= LOCK_FREE:
                    free.wait()
                request = urllib.request.Request(node.rpc_url, body, {"Authorization": self.headers["Authorization"]})
                with urllib.request.urlopen(request, timeout=10) as reply:
                    answer = reply.read()
                try:
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)
                except OSError:  # whoever asked has given up
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler

    def __enter__(self) -> HeldLock:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.free.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Litecoind]]:
    folder = tmp_path_factory.mktemp("nodes")
    found = {
        "stalled": Litecoind(folder / "stalled", "stalled"),
        "halted": Litecoind(folder / "halted", "halted", options={"maxtipage": str(OLD_SECONDS)}),
    }
    with running(*found.values()):
        yield found


@pytest.fixture(scope="module")
def site(nodes: dict[str, Litecoind], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, HeldLock]]:
    """Both nodes in trouble: the lock is held, and the other node was restarted with an old tip and has no peer."""
    folder: Path = tmp_path_factory.mktemp("site")
    nodes["stalled"].mine(1)
    nodes["halted"].set_clock(-3600)
    nodes["halted"].mine(3)
    nodes["halted"].restart()
    with HeldLock(nodes["stalled"]) as lock:
        exporters = [
            Exporter(folder / "stalled", nodes["stalled"], settings={"rpc.url": lock.url, "rpc.timeout": "3"}),
            Exporter(folder / "halted", nodes["halted"], settings={"chain.name": HALTED_CHAIN}),
        ]
        thresholds = {HALTED_CHAIN: {"sync_steps_per_hour_min": 1}}
        with running(*exporters), Site(folder / "servers", exporters, thresholds=thresholds) as around:
            exporters[0].wait_value("chainwatch_syncing", 0)
            exporters[1].wait_value("chainwatch_syncing", 1)
            lock.free.clear()
            yield around, lock


def test_a_node_whose_chain_lock_is_held_pages_until_it_is_free(site: tuple[Site, HeldLock]) -> None:
    around, lock = site
    stalled = around.exporters[0]
    page = around.page("ChainwatchNodeStalled", stalled.address)
    assert page.receiver == "pager"
    assert stalled.page().value("chainwatch_up") == 1
    assert around.told(stalled.address, "critical") == {"ChainwatchNodeStalled"}
    lock.free.set()
    around.resolved("ChainwatchNodeStalled", stalled.address)


def test_a_node_that_says_it_is_syncing_and_does_not_move_pages_until_it_moves(
    site: tuple[Site, HeldLock], nodes: dict[str, Litecoind]
) -> None:
    around, _ = site
    halted = around.exporters[1].address
    assert around.page("ChainwatchSyncStuck", halted).receiver == "pager"
    assert around.told(halted, "critical") == {"ChainwatchSyncStuck"}
    nodes["halted"].mine(1)
    around.resolved("ChainwatchSyncStuck", halted)
