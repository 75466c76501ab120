"""What Prometheus and Alertmanager have in common: a Go program with a web address and /-/ready."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.lab import web
from tests.lab.ports import free_port
from tests.lab.process import Process

REPOSITORY = Path(__file__).resolve().parents[2]


class Server:
    """A server on a free loopback port, in a folder of its own. `with` starts and stops it."""

    def __init__(self, name: str, folder: Path, program: Path, arguments: Sequence[str]) -> None:
        self.folder = folder
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        folder.mkdir(parents=True, exist_ok=True)
        command: list[str | Path] = [program, f"--web.listen-address={self.address}", *arguments]
        self.process = Process(name, command, log=folder / "output.log")

    def write_configuration(self) -> None:
        """Write what the program reads at start and on reload."""
        raise NotImplementedError

    def start(self) -> None:
        """Write the configuration, start the server, wait until it is ready."""
        self.write_configuration()
        self.process.start()
        self.process.wait_ready(lambda: web.get(f"{self.url}/-/ready", timeout=2), ignoring=web.NOT_ANSWERING)

    def stop(self) -> None:
        """Stop it by SIGTERM."""
        self.process.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
