"""What the lab's Bitcoin-family nodes share: configuration file, life cycle, RPC, blocks, peers, clock, wallet."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from tests.lab import rpc
from tests.lab.ports import free_port
from tests.lab.process import Process
from tests.lab.waiting import wait_until

Options = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True)
class RpcUser:
    """A user in the node's `rpcauth`; with `methods` it may call only these (`rpcwhitelist`)."""

    name: str
    password: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)
    methods: tuple[str, ...] | None = None

    def rpcauth(self) -> str:
        """The node's configuration value: name, salt and HMAC, not the password."""
        salt = secrets.token_hex(16)
        digest = hmac.new(salt.encode(), self.password.encode(), hashlib.sha256).hexdigest()
        return f"{self.name}:{salt}${digest}"


def address_of_nobody(seed: bytes) -> str:
    """A P2PKH address (regtest's version byte 111) made of a hash, to which nobody has a key."""
    payload = b"\x6f" + hashlib.sha256(seed).digest()[:20]
    number = int.from_bytes(payload + hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4])
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"[digit] + digits
    return digits


class Node:
    """A real node on regtest, on loopback, in a folder of its own. `with` starts and stops it.

    `options` are lines of its configuration file; a sequence gives several lines. They can be changed while it is
    down or by `restart`. Ports and folder stay the same over restarts.
    """

    family = "bitcoin"  # ours, which watches it
    kind = "node"
    magic = bytes.fromhex("fabfb5da")  # chainparams.cpp, pchMessageStart of regtest
    config_name = "bitcoin.conf"
    log_name = "debug.log"
    config_has_sections = True  # Core 0.17 and later

    def __init__(
        self, folder: Path, name: str = "a", *, options: Options | None = None, users: Sequence[RpcUser] = ()
    ) -> None:
        self.name = name
        self.base_options: Options = {}  # what a subclass needs; `options` win
        self.folder = folder
        self.options: dict[str, str | Sequence[str]] = dict(options or {})
        self.users = list(users)
        self.rpc_port = free_port()
        self.p2p_port = free_port()
        # Two nodes that mine in the same second to the same address make the very same block.
        self.miner_address = address_of_nobody(str(folder).encode())
        self.log_file = folder / "regtest" / self.log_name
        self.cookie_file = folder / "regtest" / ".cookie"
        folder.mkdir(parents=True, exist_ok=True)
        self.process = Process(
            f"{self.kind} {name}",
            [self.program(), f"-datadir={folder}"],
            log=folder / "output.log",
            env={"HOME": str(folder)},  # Debian's litecoind wrapper writes into the home folder
            more_logs=[self.log_file],
        )

    def program(self) -> Path:
        """The node's executable. Raises PeerMissingError when it is not installed."""
        raise NotImplementedError

    # Life cycle

    def start(self) -> None:
        """Write the configuration, start the node, and wait until its RPC is out of warm-up."""
        self.start_without_waiting()
        self.process.wait_ready(self._answers, ignoring=(rpc.RpcError, *rpc.NOT_ANSWERING))

    def start_without_waiting(self) -> None:
        """Start the node and return at once: its RPC refuses connections first, then answers -28 (warming up)."""
        (self.folder / self.config_name).write_text(self._configuration())
        self.process.start()

    def _answers(self) -> bool:
        return self.rpc("getblockcount", timeout=5) is not None

    def stop(self) -> None:
        """Stop it by SIGTERM, as systemd does; waits for the end."""
        self.process.stop(30)

    def kill(self) -> None:
        """SIGKILL: the state on disk is that of a crash."""
        self.process.kill()

    def freeze(self) -> None:
        """SIGSTOP: connections are accepted by the kernel and never answered."""
        self.process.freeze()

    def thaw(self) -> None:
        """SIGCONT after `freeze`."""
        self.process.thaw()

    def restart(self, **options: str | Sequence[str]) -> None:
        """Stop and start with the same folder and ports; `options` are changed first. The cookie is a new one."""
        self.stop()
        self.options.update(options)
        self.start()

    def rotate_log(self) -> Path:
        """Rename the log and make the node open a new one (SIGHUP), as logrotate does; return the old one's path."""
        old = self.log_file.with_suffix(".log.1")
        self.log_file.rename(old)
        self.process.signal(signal.SIGHUP)
        return old

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _configuration(self) -> str:
        settings: dict[str, str | Sequence[str]] = {
            "bind": f"127.0.0.1:{self.p2p_port}",
            "port": str(self.p2p_port),
            "rpcbind": "127.0.0.1",
            "rpcport": str(self.rpc_port),
            "rpcallowip": "127.0.0.1",
            "server": "1",
            "dnsseed": "0",
            "discover": "0",
            "listenonion": "0",
            "upnp": "0",
            "printtoconsole": "0",
            "keypool": "5",
            "fallbackfee": "0.0002",
            "rpcauth": [user.rpcauth() for user in self.users],
            "rpcwhitelist": [f"{u.name}:{','.join(u.methods)}" for u in self.users if u.methods is not None],
            "rpcwhitelistdefault": "0",  # users without a list of their own, and the cookie, may call everything
            **self.base_options,
            **self.options,
        }
        lines = ["regtest=1", *(["[regtest]"] if self.config_has_sections else [])]
        for key, value in settings.items():
            values = [value] if isinstance(value, str) else value
            lines += [f"{key}={one}" for one in values]
        return "\n".join(lines) + "\n"

    # RPC

    @property
    def rpc_url(self) -> str:
        """Base address of the RPC, without credentials."""
        return f"http://127.0.0.1:{self.rpc_port}"

    def watch_settings(self) -> dict[str, str | bool | None]:
        """Settings of an exporter that watches this node and logs in by its cookie."""
        return {"rpc.url": self.rpc_url, "rpc.cookie-file": str(self.cookie_file)}

    def rpc(self, method: str, *params: object, wallet: str = "", timeout: float = 60) -> Any:
        """Call the node with the cookie's rights. Raises RpcError, or one of rpc.NOT_ANSWERING."""
        user, _, password = self.cookie_file.read_text().partition(":")
        return rpc.call(self.rpc_port, user, password, method, *params, wallet=wallet, timeout=timeout)

    def rpc_as(self, user: RpcUser, method: str, *params: object) -> Any:
        """Call the node as one of its `users`."""
        return rpc.call(self.rpc_port, user.name, user.password, method, *params)

    # Blocks

    @property
    def height(self) -> int:
        """Height of the active chain's tip."""
        return int(self.rpc("getblockcount"))

    @property
    def tip(self) -> str:
        """Hash of the active chain's tip."""
        return str(self.rpc("getbestblockhash"))

    def mine(self, count: int = 1, to: str | None = None) -> list[str]:
        """Mine `count` blocks on the tip and return their hashes, lowest first.

        They pay to an address of this node's that nobody owns, or to `to`.
        """
        return [str(block) for block in self.rpc("generatetoaddress", count, to or self.miner_address)]

    def wait_height(self, height: int, timeout: float = 20) -> None:
        """Wait until the tip has this height."""
        wait_until(lambda: self.height == height, f"{self.process.name} at height {height}", timeout=timeout)

    def set_clock(self, seconds_from_now: float | None) -> None:
        """Move the node's clock (setmocktime) relative to ours; None lets it run on by itself.

        A set clock stands still: that is how a tip becomes stale without waiting for it.
        """
        self.rpc("setmocktime", 0 if seconds_from_now is None else int(time.time() + seconds_from_now))

    def run_scheduler(self, seconds: int) -> None:
        """Bring the node's scheduled tasks forward by 1 to 3600 seconds (mockscheduler)."""
        self.rpc("mockscheduler", seconds)

    # Peers

    @property
    def p2p_address(self) -> str:
        """Where this node accepts peers."""
        return f"127.0.0.1:{self.p2p_port}"

    def peers(self) -> list[dict[str, Any]]:
        """getpeerinfo of those whose version handshake is done."""
        return [peer for peer in self.rpc("getpeerinfo") if peer["subver"]]

    def connect(self, other: Node) -> None:
        """Open a connection to another node (addnode onetry) and wait until both have shaken hands."""
        before = len(other.peers())
        self.rpc("addnode", other.p2p_address, "onetry")
        wait_until(lambda: self._connections_to(other), f"{self.name} to have {other.name} as peer")
        wait_until(lambda: len(other.peers()) > before, f"{other.name} to have {self.name} as peer")

    def disconnect(self, other: Node) -> None:
        """Close every connection between the two, whoever opened them, and wait until both have noticed."""
        for opener, target in ((self, other), (other, self)):
            opener._close_connections_to(target)

    def _close_connections_to(self, other: Node) -> None:
        """Close the connections that this node opened to another."""
        mine = self._connections_to(other)
        left = len(other.rpc("getpeerinfo")) - len(mine)
        for peer in mine:
            self.rpc("disconnectnode", "", peer["id"])
        wait_until(lambda: not self._connections_to(other), f"{self.name} to lose its peer {other.name}")
        wait_until(lambda: len(other.rpc("getpeerinfo")) <= left, f"{other.name} to lose its peer {self.name}")

    def _connections_to(self, other: Node) -> list[dict[str, Any]]:
        return [peer for peer in self.peers() if not peer["inbound"] and peer["addr"] == other.p2p_address]

    # Wallet

    def fund(self, blocks: int = 101) -> None:
        """Give the node's wallet mature coins by mining to it; with 101 blocks it can spend one coinbase."""
        self.open_wallet()
        self.mine(blocks, to=self.new_address())

    def open_wallet(self) -> None:
        """Make sure that there is a wallet. Nodes that come with one have nothing to do."""

    def new_address(self) -> str:
        """An address of the node's wallet."""
        return str(self.rpc("getnewaddress"))

    def send(self, amount: Decimal | str = "0.1", to: str | None = None) -> str:
        """Pay from the node's wallet (to itself by default) and return the txid."""
        return str(self.rpc("sendtoaddress", to or self.new_address(), str(amount)))


def part(one: Node, other: Node) -> None:
    """Part two nodes: from now on each builds its own chain."""
    one.disconnect(other)


def join(one: Node, other: Node, timeout: float = 20) -> None:
    """Join two nodes and wait until they have the same tip: the one with less work reorganises."""
    one.connect(other)
    same_tip(one, other, timeout=timeout)


def same_tip(*nodes: Node, timeout: float = 20) -> None:
    """Wait until all nodes have the same tip. Raises LabError when two of them have equal work and disagree."""
    wait_until(
        lambda: len({node.tip for node in nodes}) == 1,
        "one tip on " + ", ".join(node.name for node in nodes),
        timeout=timeout,
        describe=lambda: ", ".join(f"{node.name}: {node.height} {node.tip[:12]}" for node in nodes),
    )
