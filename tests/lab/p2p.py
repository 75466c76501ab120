"""A peer of our own, to send a node what other nodes would not: Bitcoin's P2P protocol, as little as is needed."""

from __future__ import annotations

import contextlib
import secrets
import socket
import struct
import threading
import time
from collections.abc import Sequence
from typing import Self

from tests.lab.node import Node
from tests.lab.waiting import LabError, wait_until
from tests.lab.wire import double_sha256, size

_HEADER = struct.Struct("<4s12sI4s")  # magic, command, length, first four bytes of the body's double SHA-256
_PROTOCOL = 70016
_NETWORK_AND_WITNESS = 1 | 8
INV_TX, INV_BLOCK = 1, 2


class P2PClient:
    """A connection to a node, with the handshake done and pings answered. `with` opens and closes it.

    What the node sends is kept in `messages` as (command, body), pings aside.
    """

    def __init__(self, node: Node, user_agent: str = "/lab:1.0/") -> None:
        self._node = node
        self._user_agent = user_agent.encode()
        self.messages: list[tuple[str, bytes]] = []
        self._socket: socket.socket | None = None
        self._closed = threading.Event()

    def start(self) -> None:
        """Connect and shake hands. Raises LabError when the node does not take part."""
        self._socket = socket.create_connection(("127.0.0.1", self._node.p2p_port), timeout=10)
        self._socket.settimeout(None)
        self._reader = threading.Thread(target=self._read, args=(self._socket,), name="p2p", daemon=True)
        self._reader.start()
        self.send("version", self._version())
        self.wait_for("version")
        self.send("verack")
        self.wait_for("verack")

    def stop(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._shut(self._socket)
            self._reader.join()
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def send(self, command: str, body: bytes = b"") -> None:
        """Send one message. Raises OSError when the node has closed the connection."""
        if self._socket is None:
            raise LabError(f"not connected to {self._node.name}")
        self._socket.sendall(self._framed(command, body))

    def send_raw(self, data: bytes) -> None:
        """Send bytes that are no message."""
        if self._socket is None:
            raise LabError(f"not connected to {self._node.name}")
        self._socket.sendall(data)

    def send_transaction(self, raw: bytes) -> None:
        """Send a transaction unasked; nodes take it as if it had been asked for."""
        self.send("tx", raw)

    def send_block(self, raw: bytes) -> None:
        """Send a block unasked; nodes look at it when its work exceeds their tip's."""
        self.send("block", raw)

    def send_headers(self, headers: Sequence[bytes]) -> None:
        """Announce blocks by their headers of 80 bytes."""
        self.send("headers", size(len(headers)) + b"".join(header + b"\0" for header in headers))

    def send_inv(self, kind: int, hashes: Sequence[str]) -> None:
        """Announce transactions or blocks by their hashes as RPC shows them."""
        entries = (struct.pack("<I", kind) + bytes.fromhex(one)[::-1] for one in hashes)
        self.send("inv", size(len(hashes)) + b"".join(entries))

    def sync(self, timeout: float = 10) -> None:
        """Wait until the node has handled everything sent so far (it answers a ping in turn)."""
        nonce = secrets.token_bytes(8)
        self.send("ping", nonce)
        wait_until(lambda: ("pong", nonce) in self.messages, f"{self._node.name} to answer a ping", timeout=timeout)

    def wait_for(self, command: str, timeout: float = 10) -> bytes:
        """Wait for a message of this kind and return the body of the first."""
        found = wait_until(
            lambda: [body for name, body in self.messages if name == command],
            f"{self._node.name} to send {command}",
            timeout=timeout,
            describe=lambda: f"it sent {[name for name, _ in self.messages]}",
        )
        return found[0]

    def wait_closed(self, timeout: float = 10) -> None:
        """Wait until the node has closed the connection."""
        if not self._closed.wait(timeout):
            raise LabError(f"{self._node.name} kept its connection to us for {timeout:g} s")

    def _framed(self, command: str, body: bytes) -> bytes:
        return _HEADER.pack(self._node.magic, command.encode(), len(body), double_sha256(body)[:4]) + body

    def _version(self) -> bytes:
        address = struct.pack("<Q", _NETWORK_AND_WITNESS) + bytes(10) + b"\xff\xff\x7f\0\0\1" + bytes(2)
        return (
            struct.pack("<iQq", _PROTOCOL, _NETWORK_AND_WITNESS, int(time.time()))
            + address * 2
            + secrets.token_bytes(8)
            + size(len(self._user_agent))
            + self._user_agent
            + struct.pack("<i?", 0, True)
        )

    def _read(self, connection: socket.socket) -> None:
        try:
            with connection.makefile("rb") as stream:
                while len(head := stream.read(_HEADER.size)) == _HEADER.size:
                    _, command, length, _ = _HEADER.unpack(head)
                    name, body = command.rstrip(b"\0").decode("ascii", "replace"), stream.read(length)
                    if name == "ping":
                        connection.sendall(self._framed("pong", body))
                    else:
                        self.messages.append((name, body))
        except OSError:
            pass  # reset by the node: closed like any other
        finally:
            self._closed.set()

    @staticmethod
    def _shut(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the node was faster
            connection.shutdown(socket.SHUT_RDWR)
