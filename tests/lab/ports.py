"""Loopback ports that stay ours while the run lasts, also against other runs on the same machine.

Asking the kernel for port 0 and closing the socket again leaves the port to whoever comes first, and the port of a
node that is down for a restart can be taken by any outgoing connection. So ports come from below the kernel's range
for outgoing connections, and each one is held by a lock file until this process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
import threading
from pathlib import Path

from tests.lab.waiting import LabError

_LOWEST, _HIGHEST = 15_000, 31_999
_held: dict[int, int] = {}  # port: descriptor of its lock file, open until the process ends
_guard = threading.Lock()


def free_port() -> int:
    """Return a TCP port on 127.0.0.1 that nobody listens on and that no other lab will hand out."""
    with _guard:
        for _ in range(200):
            port = random.randint(_LOWEST, _HIGHEST)
            if port not in _held and _reserve(port):
                return port
    raise LabError(f"no free TCP port on 127.0.0.1 between {_LOWEST} and {_HIGHEST} after 200 tries")


def free_ports(count: int) -> list[int]:
    """Return `count` different free ports."""
    return [free_port() for _ in range(count)]


def _reserve(port: int) -> bool:
    folder = Path(tempfile.gettempdir()) / f"chainwatch-lab-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(folder / str(port), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
    except OSError:
        os.close(lock)
        return False
    _held[port] = lock
    return True
