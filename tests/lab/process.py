"""One child process: started, frozen, killed, and never left behind.

The kernel kills the child when we die, even by SIGKILL (PR_SET_PDEATHSIG, set by util-linux' setpriv, so that nothing
has to run between fork and exec). Two traps of that call are closed here: the signal comes when the *thread* that
started the child ends, so one thread that lives as long as we do starts them all; and a parent that died before the
call is noticed by the shell that follows, which then does not start the program.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from tests.lab.waiting import LabError, PeerMissingError, wait_until

_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lab-spawner")
_START_IF_PARENT_LIVES = '[ "$PPID" = "$0" ] && exec "$@"'


class Process:
    """A program with its own process group, its output in a file, and a name for messages."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        more_logs: Sequence[Path] = (),
    ) -> None:
        """`env` is added to our own environment; `more_logs` are quoted in errors beside `log`."""
        self.name = name
        self.command = [str(part) for part in command]
        self.log = log
        self._env = dict(env or {})
        self._more_logs = tuple(more_logs)
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the program; its output is appended to `log`. Raises LabError when it runs already."""
        if self.alive:
            raise LabError(f"{self.name} runs already as process {self.pid}")
        if self._child is not None:
            self._end_group()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._child = _spawner.submit(self._spawn).result()

    def _spawn(self) -> subprocess.Popen[bytes]:
        tied = ["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", _START_IF_PARENT_LIVES, str(os.getpid())]
        if shutil.which("setpriv") is None:
            raise PeerMissingError("setpriv is missing; it ties children to the lab. Install util-linux 2.33 or later.")
        with self.log.open("ab") as output:
            return subprocess.Popen(
                tied + self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._env},
                process_group=0,
            )

    @property
    def pid(self) -> int:
        """The child's process id. Raises LabError when it was never started or has been stopped."""
        if self._child is None:
            raise LabError(f"{self.name} is not running")
        return self._child.pid

    @property
    def alive(self) -> bool:
        """True while the program runs (also when frozen)."""
        return self._child is not None and not self._exited()

    def _exited(self) -> bool:
        """Whether the child has ended, leaving it unreaped: until then nobody else can get its process id."""
        if self._child is None or self._child.returncode is not None:
            return True
        return os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program alone, for example SIGHUP for a reload."""
        os.kill(self.pid, number)

    def freeze(self) -> None:
        """Stop the program in its tracks (SIGSTOP): its sockets accept and nobody answers."""
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen program run on (SIGCONT)."""
        os.killpg(self.pid, signal.SIGCONT)

    def kill(self) -> int:
        """End it at once (SIGKILL) and return its exit status as `stop` does."""
        return self._end_group()

    def stop(self, timeout: float = 15.0) -> int:
        """Ask it to end (SIGTERM, after thawing), kill it after `timeout` seconds; return the exit status.

        The status is negative when a signal ended it: -9 tells that it did not end by itself in time.
        """
        if self.alive:
            os.killpg(self.pid, signal.SIGTERM)
            os.killpg(self.pid, signal.SIGCONT)
            self.wait(timeout)
        return self._end_group()

    def wait(self, timeout: float) -> bool:
        """Wait until it has ended by itself; False when it still runs after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not self._exited():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)
        return True

    def _end_group(self) -> int:
        if self._child is None:
            return 0
        if self._child.returncode is None:
            os.killpg(self._child.pid, signal.SIGKILL)  # what the program itself started goes with it
        status, self._child = self._child.wait(), None
        return status

    def wait_ready(
        self, probe: Callable[[], object], *, timeout: float = 30.0, ignoring: tuple[type[Exception], ...] = ()
    ) -> None:
        """Wait until `probe` answers something truthy.

        Raises LabError with the last log lines when the program ends or takes too long; then it is killed.
        """

        def ready() -> bool:
            if not self.alive:
                status = self._end_group()
                raise LabError(f"{self.name} ended with status {status} while starting\n{self.log_tail()}")
            return bool(probe())

        try:
            wait_until(ready, f"{self.name} to be ready", timeout=timeout, ignoring=ignoring, describe=self.log_tail)
        except BaseException:  # also Ctrl-C: whoever asked for a ready program gets none that runs
            self._end_group()
            raise

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of each log, each log under its path; for error messages."""
        parts = []
        for path in (self.log, *self._more_logs):
            text = path.read_text(errors="replace") if path.exists() else "(no such file)"
            parts.append(f"--- {path}\n" + "\n".join(text.splitlines()[-lines:]))
        return "\n".join(parts)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
