"""Our exporter as an operator runs it: `python -m chainwatch FAMILY` beside a node."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, Self

from tests.lab import web
from tests.lab.node import RpcUser
from tests.lab.page import Page
from tests.lab.ports import free_port
from tests.lab.process import Process
from tests.lab.waiting import wait_until


class Watched(Protocol):
    """What an exporter must know of a node."""

    family: str

    def watch_settings(self) -> Mapping[str, str | bool | None]:
        """Settings by dotted key with which an exporter reaches the node."""


class Exporter:
    """An exporter on a free loopback port. `with` starts and stops it.

    It logs in as the node's `watch_settings` say, or as `user`. `settings` are its settings by dotted key, over those
    that follow from the node: text becomes `--key=text`, True `--key`, False `--no-key`, and None removes one.
    """

    def __init__(
        self,
        folder: Path,
        node: Watched,
        *,
        settings: Mapping[str, str | bool | None] | None = None,
        user: RpcUser | None = None,
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        self.state_dir = folder / "state"
        self.state_dir.mkdir(parents=True, exist_ok=True)
        self.environment = {} if user is None else {"CHAINWATCH_RPC_PASSWORD": user.password}
        self.settings: dict[str, str | bool | None] = {
            "web.listen-address": self.address,
            "state.dir": str(self.state_dir),
            **node.watch_settings(),
            **({} if user is None else {"rpc.cookie-file": None, "rpc.user": user.name}),
            **(settings or {}),
        }
        self.family = node.family
        self.process = self._process()

    def _process(self) -> Process:
        command = [sys.executable, "-m", "chainwatch", self.family]
        for key, value in self.settings.items():
            if isinstance(value, str):
                command.append(f"--{key}={value}")
            elif value is not None:
                command.append(f"--{key}" if value else f"--no-{key}")
        log = self.folder / "output.log"
        return Process(f"exporter {self.address}", command, log=log, env=self.environment)

    def start(self) -> None:
        """Start it and wait until it answers, whatever the state of the node."""
        self.process = self._process()
        self.process.start()
        self.process.wait_ready(lambda: web.get(f"{self.url}/-/healthy", timeout=2), ignoring=web.NOT_ANSWERING)

    def stop(self) -> int:
        """Stop it by SIGTERM, as systemd does; return the exit status, -9 when it had to be killed after 10 s."""
        return self.process.stop(10)

    def kill(self) -> None:
        """SIGKILL, as in a crash."""
        self.process.kill()

    def restart(self) -> None:
        """Stop and start, with the same port, state folder and `settings` as they are now."""
        self.stop()
        self.start()

    def page(self, timeout: float = 10) -> Page:
        """Scrape it as Prometheus would that allows `timeout` seconds. Raises OSError when it does not answer."""
        headers = {"X-Prometheus-Scrape-Timeout-Seconds": f"{timeout:g}", "Accept": "text/plain;version=0.0.4"}
        return Page(web.get(f"{self.url}/metrics", timeout=timeout, headers=headers).decode())

    def wait_value(self, name: str, value: float, timeout: float = 20, **labels: str) -> Page:
        """Scrape until this sample has this value, and return that page. Raises LabError with the end of its log."""
        seen: list[float | None] = []

        def matching() -> Page | None:
            page = self.page()
            seen.append(page.get(name, **labels))
            return page if seen[-1] == value else None

        return wait_until(
            matching,
            f"{name}{labels or ''} to be {value:g} on {self.url}/metrics",
            timeout=timeout,
            interval=0.1,
            ignoring=web.NOT_ANSWERING,
            describe=lambda: f"the page had {seen[-1] if seen else 'no answer'}\n{self.process.log_tail()}",
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
