"""A ZMQ publisher between a node and its subscribers that loses messages on request."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Self

import zmq

from tests.lab.ports import free_port
from tests.lab.waiting import LabError


class ZmqRelay:
    """Publishes at `url` what `source` publishes, unchanged, except what it was told to lose.

    `with` starts and stops it. What reached it since the start is counted in `seen` by topic; lost messages count too.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.url = f"tcp://127.0.0.1:{free_port()}"
        self.seen: Counter[str] = Counter()
        self._to_lose: Counter[str] = Counter()
        self._stopping = threading.Event()
        self._connected = threading.Event()
        self._thread = threading.Thread(target=self._run, name="zmq-relay", daemon=True)

    def lose(self, topic: str, count: int = 1) -> None:
        """Swallow the next `count` messages of a topic: the subscriber sees a gap in its counter."""
        self._to_lose[topic] += count

    def start(self) -> None:
        """Connect to the source and publish. Raises LabError when the source does not answer within 10 s."""
        self._thread.start()
        if not self._connected.wait(10):
            self.stop()
            raise LabError(f"no ZMQ publisher answers at {self.source}")

    def stop(self) -> None:
        """Stop publishing: subscribers lose their connection."""
        self._stopping.set()
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        with zmq.Context() as context, context.socket(zmq.SUB) as source, context.socket(zmq.PUB) as sink:
            sink.linger = 0
            sink.bind(self.url)
            source.subscribe(b"")
            with source.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED) as monitor:
                source.connect(self.source)
                while not self._stopping.is_set():
                    if monitor.poll(0):
                        monitor.recv_multipart()
                        self._connected.set()
                    if source.poll(20):
                        self._pass_on(source.recv_multipart(), sink)
                source.disable_monitor()

    def _pass_on(self, parts: list[bytes], sink: zmq.Socket[bytes]) -> None:
        topic = parts[0].decode("ascii", "replace")
        self.seen[topic] += 1
        if self._to_lose[topic]:
            self._to_lose[topic] -= 1
        else:
            sink.send_multipart(parts)
