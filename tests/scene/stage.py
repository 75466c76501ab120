"""Both chains, and what an operator runs around them: Prometheus and Alertmanager as shipped, node_exporter."""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from tests.lab import (
    Alertmanager,
    LabError,
    Loki,
    LokiMissingError,
    NodeExporter,
    Prometheus,
    Promtail,
    RpcError,
    Webhook,
)
from tests.lab.prometheus import Target
from tests.scene.bitcoin import Bitcoin
from tests.scene.cometbft import Cometbft

SCRAPE_INTERVAL = "2s"
BEAT_SECONDS = 2.0
MACHINES = ("litecoin-a", "bitcoinsv", "cometbft-full")


class Chain(Protocol):
    """What a chain does on the scene."""

    def beat(self) -> None:
        """What happens every few seconds."""

    @property
    def faults(self) -> Sequence[Callable[[], None]]:
        """What goes wrong."""


class Scene:
    """Everything. `with` starts and stops it; then let it `play`."""

    def __init__(self, folder: Path, *, stand_ins: bool = False) -> None:
        """`stand_ins` add what no program of the lab can tell; Loki and promtail run where they are built."""
        self.bitcoin = Bitcoin(folder / "bitcoin", stand_ins=stand_ins)
        self.cometbft = Cometbft(folder / "cometbft", stand_ins=stand_ins)
        self.node_exporter = NodeExporter(folder / "node_exporter")
        self.webhook = Webhook()
        self.alertmanager = Alertmanager(folder / "alertmanager", webhook=self.webhook.url)
        self.prometheus = Prometheus(
            folder / "prometheus",
            targets=self._targets(),
            alertmanager=self.alertmanager.address,
            scrape_interval=SCRAPE_INTERVAL,
        )
        self.without_loki = ""  # why there is none
        self.loki: Loki | None = None
        self._promtail: Promtail | None = None
        try:
            # Twenty rules every second, as the lab has it, keep a processor busy.
            self.loki = Loki(folder / "loki", alertmanager=self.alertmanager.address, evaluation_interval="10s")
            self._promtail = Promtail(folder / "promtail", self.loki.url, targets=self._logs())
        except LokiMissingError as missing:
            self.without_loki = str(missing)
        self._stack = contextlib.ExitStack()

    def _targets(self) -> dict[str, list[Target]]:
        targets: dict[str, list[Target]] = {
            job: [(exporter.address, {"node": name}) for name, exporter in exporters.items()]
            for job, exporters in (("bitcoin", self.bitcoin.exporters), ("cometbft", self.cometbft.exporters))
        }
        # One machine, which bears the names of several nodes, as several machines would.
        targets["node"] = [(self.node_exporter.address, {"node": name}) for name in MACHINES]
        return targets

    def _logs(self) -> dict[str, list[dict[str, str]]]:
        """Targets of promtail, with the labels that their nodes have in Prometheus."""
        return {
            job: [
                {"__path__": str(node.log_file), "instance": name, "chain": chain_of(name)}
                for name, node in nodes.items()
            ]
            for job, nodes, chain_of in (
                ("bitcoin", self.bitcoin.nodes, self.bitcoin.chain_of),
                ("cometbft", self.cometbft.nodes, self.cometbft.chain_of),
            )
        }

    def __enter__(self) -> Scene:
        with contextlib.ExitStack() as stack:
            for one in (self.bitcoin(), self.cometbft(), self.node_exporter, self.webhook, self.alertmanager):
                stack.enter_context(one)
            for server in (self.prometheus, self.loki, self._promtail):
                if server is not None:
                    stack.enter_context(server)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def addresses(self) -> dict[str, str | None]:
        """Where the servers are."""
        return {
            "prometheus": self.prometheus.url,
            "alertmanager": self.alertmanager.url,
            "loki": self.loki.url if self.loki else None,
            "node_exporter": self.node_exporter.url,
            **{name: exporter.url for name, exporter in self.bitcoin.exporters.items()},
            **{name: exporter.url for name, exporter in self.cometbft.exporters.items()},
        }

    @contextlib.contextmanager
    def playing(self, beats_between_faults: int = 0, again: bool = False) -> Iterator[list[Player]]:
        """Have both chains live for as long as the block lasts; every fault once, or `again` and again."""
        players = [Player(chain, beats_between_faults, again) for chain in (self.bitcoin, self.cometbft)]
        for player in players:
            player.start()
        try:
            yield players
        finally:
            for player in players:
                player.stop()


class Player(threading.Thread):
    """Beats of one chain, and after every few of them a fault."""

    def __init__(self, chain: Chain, beats_between_faults: int, again: bool) -> None:
        super().__init__(name=f"player of {type(chain).__name__}", daemon=True)
        self._chain = chain
        self._between = beats_between_faults
        self._again = again
        self._stopping = threading.Event()
        self.told = threading.Event()  # every fault happened
        self.failed: list[str] = []  # what did not go as it should

    def run(self) -> None:
        """Play until told to stop."""
        while not self._stopping.is_set():
            for fault in self._chain.faults:
                for _ in range(self._between):
                    self._do(self._chain.beat)
                    if self._stopping.wait(BEAT_SECONDS):
                        return
                self._do(fault)
            self.told.set()
            while not self._again and not self._stopping.wait(BEAT_SECONDS):
                self._do(self._chain.beat)

    def _do(self, what: Callable[[], None]) -> None:
        try:
            what()
        except (LabError, RpcError, OSError):
            self.failed.append(traceback.format_exc())

    def stop(self) -> None:
        """Have it end after what it does now."""
        self._stopping.set()
        self.join()
