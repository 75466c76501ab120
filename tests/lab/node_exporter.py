"""A real node_exporter: this machine's processor, memory, disks and network, for the boards."""

from __future__ import annotations

from pathlib import Path

from tests.lab import web
from tests.lab.peers import program
from tests.lab.server import Server


class NodeExporter(Server):
    """node_exporter on a free loopback port, with Debian's choice of collectors."""

    def __init__(self, folder: Path) -> None:
        super().__init__("node_exporter", folder, program("prometheus-node-exporter"), [])

    def write_configuration(self) -> None:
        """It has none."""

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.process.start()
        self.process.wait_ready(lambda: web.get(f"{self.url}/metrics", timeout=5), ignoring=web.NOT_ANSWERING)
