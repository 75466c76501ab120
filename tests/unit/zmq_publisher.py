"""A ZMQ publisher with a Bitcoin node's exact framing: topic, body, little-endian counter of 32 bits per topic."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

import zmq


class Publisher:
    """Binds a loopback port of its own; `port` binds the same one again, as a restarted node does."""

    def __init__(self, port: int | None = None) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.XPUB_VERBOSE, 1)
        self._socket.setsockopt(zmq.LINGER, 200)
        self.numbers: dict[str, int] = {}
        if port is None:
            self.port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        else:
            self._bind(port)

    def _bind(self, port: int) -> None:
        self.port = port
        for _ in range(200):
            try:
                self._socket.bind(f"tcp://127.0.0.1:{port}")
                return
            except zmq.ZMQError:  # the closed socket before us lingers a moment
                time.sleep(0.01)
        raise AssertionError(f"port {port} stays taken")

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def send(self, topic: str, body: bytes, number: int | None = None) -> None:
        """Publish one message; the counter goes on from the last, or is set to `number`."""
        if number is None:
            number = self.numbers.get(topic, -1) + 1
        self.numbers[topic] = number
        self.send_frames(topic.encode(), body, (number % 2**32).to_bytes(4, "little"))

    def send_frames(self, *frames: bytes) -> None:
        self._socket.send_multipart(frames)

    def connect(self, block: str) -> None:
        """Publish label C of the sequence topic."""
        self.send("sequence", bytes.fromhex(block) + b"C")

    def disconnect(self, block: str) -> None:
        """Publish label D."""
        self.send("sequence", bytes.fromhex(block) + b"D")

    def mempool(self, label: str, number: int) -> None:
        """Publish label A or R with the mempool's own sequence."""
        self.send("sequence", bytes(32) + label.encode() + number.to_bytes(8, "little"))

    def subscriptions(self) -> list[str]:
        """What was subscribed to since the last call."""
        found = []
        while self._socket.poll(0):
            message = self._socket.recv()
            if message[:1] == b"\x01":
                found.append(message[1:].decode())
        return found

    def close(self) -> None:
        self._socket.close()
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
