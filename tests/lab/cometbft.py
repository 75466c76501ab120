"""One real CometBFT node on loopback, with the kvstore application built in. See cometbftnet.py for a net of them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tests.lab import web
from tests.lab.peers import cometbft_program
from tests.lab.ports import free_port
from tests.lab.process import Process
from tests.lab.waiting import LabError, wait_until

Settings = Mapping[str, str]
"""Keys of config.toml with their table (`consensus.timeout_commit`) and values as text."""


class CometbftRpcError(LabError):
    """What a node answers instead of a result; the text is the node's."""


class CometbftNode:
    """A node in a home that has its genesis and keys. `with` starts and stops it.

    `settings` are keys of config.toml; they can be changed while it is down, or by `restart`. Ports and folder stay
    the same over restarts. The application keeps its state on disk, so that a restart replays nothing.
    """

    family = "cometbft"

    def __init__(self, home: Path, name: str, settings: Settings) -> None:
        self.name = name
        self.home = home
        self.settings: dict[str, str] = dict(settings)
        self.rpc_port = free_port()
        self.p2p_port = free_port()
        self.peers: list[str] = []  # node id and address of each peer that it keeps calling
        self.frozen = False
        self.log_file = home / "output.log"  # plain lines, or JSON where settings have log_format json
        self.process = self._process()

    def _process(self) -> Process:
        settings = {
            "moniker": self.name,
            "proxy_app": "persistent_kvstore",
            "rpc.laddr": f"tcp://127.0.0.1:{self.rpc_port}",
            "p2p.laddr": f"tcp://{self.p2p_address}",
            "p2p.persistent_peers": ",".join(self.peers),
            "p2p.pex": "false",  # everybody knows everybody
            "p2p.allow_duplicate_ip": "true",
            "p2p.addr_book_strict": "false",
            **self.settings,
        }
        environment = {f"CMT_{key.upper().replace('.', '_')}": value for key, value in settings.items()}
        command: list[str | Path] = [cometbft_program(), "node", "--home", self.home]
        return Process(f"cometbft {self.name}", command, log=self.log_file, env=environment)

    # Who it is

    @property
    def address(self) -> str:
        """The address of its validator key, in upper-case hex; full nodes have one too, without power."""
        return str(self._key_file()["address"])

    @property
    def public_key(self) -> str:
        """Its validator's public key as base64 text."""
        return str(self._key_file()["pub_key"]["value"])

    def _key_file(self) -> dict[str, Any]:
        return dict(json.loads((self.home / "config" / "priv_validator_key.json").read_text()))

    @property
    def node_id(self) -> str:
        """Its name among peers."""
        return cometbft("show-node-id", "--home", str(self.home)).strip()

    @property
    def p2p_address(self) -> str:
        """Where it accepts peers."""
        return f"127.0.0.1:{self.p2p_port}"

    @property
    def rpc_url(self) -> str:
        """Base address of the RPC; the websocket is at /websocket."""
        return f"http://127.0.0.1:{self.rpc_port}"

    def watch_settings(self) -> dict[str, str | bool | None]:
        """Settings of an exporter that watches this node."""
        return {"rpc.url": self.rpc_url}

    # Life cycle

    def start(self) -> None:
        """Start the node and wait until its RPC answers; the first block takes another second or two."""
        self.start_without_waiting()
        self.process.wait_ready(lambda: self.rpc("status", timeout=2), ignoring=web.NOT_ANSWERING)

    def start_without_waiting(self) -> None:
        """Start the node and return at once. Raises LabError when it runs already."""
        if not self.process.alive:
            self.process = self._process()  # with its settings of now
        self.process.start()
        self.frozen = False

    def stop(self) -> int:
        """Stop it by SIGTERM, as systemd does; return the exit status, -9 when it had to be killed after 15 s."""
        self.frozen = False
        return self.process.stop(15)

    def kill(self) -> None:
        """SIGKILL: the state on disk is that of a crash."""
        self.process.kill()
        self.frozen = False

    def freeze(self) -> None:
        """SIGSTOP: peers and clients stay connected and hear nothing; peers hang up after some 45 s."""
        self.process.freeze()
        self.frozen = True

    def thaw(self) -> None:
        """SIGCONT after `freeze`."""
        self.process.thaw()
        self.frozen = False

    def restart(self, settings: Settings | None = None) -> None:
        """Stop and start with the same home and ports; `settings` are changed first."""
        self.stop()
        self.settings.update(settings or {})
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # RPC

    def rpc(self, method: str, *, timeout: float = 15, **params: str | int | bool | list[str]) -> Any:
        """The `result` of a call. Raises CometbftRpcError with the node's text, or one of web.NOT_ANSWERING."""
        # Whole numbers travel as text: the node refuses others.
        sent = {key: str(value) if type(value) is int else value for key, value in params.items()}
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": sent}
        answer = json.loads(web.post(self.rpc_url, call, timeout=timeout))
        if "error" in answer:
            raise CometbftRpcError(f"{method} at {self.name}: {answer['error']}")
        return answer["result"]

    @property
    def height(self) -> int:
        """Height of its newest block, 0 before the first."""
        return int(self.rpc("status")["sync_info"]["latest_block_height"])

    def wait_height(self, height: int, timeout: float = 30) -> None:
        """Wait until it has this height or more."""
        wait_until(
            lambda: self.height >= height,
            f"{self.process.name} at height {height}",
            timeout=timeout,
            ignoring=web.NOT_ANSWERING,
            describe=self.process.log_tail,
        )

    def logged(self, text: str, since: int = 0) -> bool:
        """Whether its log says this after the first `since` bytes."""
        with self.log_file.open("rb") as log:
            log.seek(since)
            return text.encode() in log.read()

    @property
    def log_size(self) -> int:
        """Bytes that its log has now."""
        return self.log_file.stat().st_size


def cometbft(*arguments: str) -> str:
    """Run the program to its end and return what it prints. Raises LabError with its message when it fails."""
    command = [str(cometbft_program()), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise LabError(f"`{' '.join(command)}` ended with status {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout
