"""What systemd is told about this process: sd_notify(3) messages and the watchdog.

Own lines rather than the `sdnotify` package: that one reads the process environment only, is untyped, and
does not know RELOADING's time stamp or the watchdog. Without NOTIFY_SOCKET nothing here does anything.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping

from chainwatch.errors import ConfigError

_log = logging.getLogger(__name__)

# Looks at the loop ten times per watchdog period: often enough that one moment of trouble does not cost
# the next feeding, which is due at half the period.
_TICKS_PER_PERIOD = 10


class Notifier:
    """The service manager's ear, from NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID.

    Raises ConfigError for a WATCHDOG_USEC that is no positive number. A message that cannot be delivered
    is logged and forgotten: the service is worth more than its report.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = _socket_address(environ.get("NOTIFY_SOCKET", ""))
        self.watchdog_seconds = _watchdog_seconds(environ)
        """The watchdog's period, or None when nobody waits for this process."""

    def ready(self, status: str) -> None:
        """Started, or done with reloading; `status` is what `systemctl status` shows."""
        self._send("READY=1", _status_line(status))

    def reloading(self) -> None:
        """A reload begins; `ready` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The process is on its way out."""
        self._send("STOPPING=1", _status_line("stopping"))

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(_status_line(text))

    async def feed_watchdog(self, sound: Callable[[], bool]) -> None:
        """Feed the watchdog at half its period for as long as `sound()` holds and the event loop keeps up.

        The loop keeps up when a sleep ends within a tenth of the watchdog's period of its due time. A
        process that is unsound for a whole period is restarted by systemd. Returns at once when there is no
        watchdog; runs until cancelled otherwise.
        """
        if self.watchdog_seconds is None or not self._address:
            return
        loop = asyncio.get_running_loop()
        tick = self.watchdog_seconds / _TICKS_PER_PERIOD
        due = loop.time()
        lag = 0.0
        while True:
            if loop.time() >= due and self._is_well(sound, lag, tick):
                self._send("WATCHDOG=1")
                due = loop.time() + self.watchdog_seconds / 2 - tick / 2
            planned = loop.time() + tick
            await asyncio.sleep(tick)
            lag = loop.time() - planned

    def _is_well(self, sound: Callable[[], bool], lag: float, limit: float) -> bool:
        if lag > limit:
            _log.warning("watchdog not fed: the event loop was blocked for %.1f s, more than %.1f s", lag, limit)
            return False
        try:
            well = sound()
        except Exception:
            _log.exception("watchdog not fed: the soundness check itself failed")
            return False
        if not well:
            _log.warning("watchdog not fed: the last collection is not sound")
        return well

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.settimeout(1)  # a service manager that is stuck must not hold the event loop for long
                sock.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)
        except OSError as error:
            _log.warning("systemd was not told %r: %s; see NOTIFY_SOCKET", lines[0], error)


def _status_line(text: str) -> str:
    # A line break would begin a field of its own.
    return "STATUS=" + " ".join(text.split())


def _socket_address(value: str) -> str:
    if value.startswith("@"):  # the kernel's abstract namespace
        return "\0" + value[1:]
    if value and not value.startswith("/"):
        _log.warning("NOTIFY_SOCKET is %r, neither a path nor an abstract socket: systemd is not told anything", value)
        return ""
    return value


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    value = environ.get("WATCHDOG_USEC", "")
    meant_for = environ.get("WATCHDOG_PID", "")
    if not value or (meant_for and meant_for != str(os.getpid())):
        return None
    if not (value.isascii() and value.isdigit()) or int(value) == 0:
        raise ConfigError("WATCHDOG_USEC", f"{value!r} is not a time", "a whole number of microseconds above 0")
    return int(value) / 1e6
