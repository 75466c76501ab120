"""Loki, promtail and lokitool 3.5.0, built by Go from the go.mod and go.sum beside this file.

`python -m tests.lab loki` builds them into the lab's cache, which takes five and a half minutes on two cores the first
time. Debian has none of them (its package `loki` is a genetics program). Where they cannot be built, that is no error:
the tests that need them say why they are skipped. Loki is under the AGPL: it is run as a program of its own here, and
no part of it is shipped with chainwatch.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
from pathlib import Path

from tests.lab.peers import cache, go_program
from tests.lab.process import Process
from tests.lab.waiting import LabError, PeerMissingError

HERE = Path(__file__).resolve().parent
PACKAGES = {
    "loki": "github.com/grafana/loki/v3/cmd/loki",
    "promtail": "github.com/grafana/loki/v3/clients/cmd/promtail",
    "lokitool": "github.com/grafana/loki/v3/cmd/lokitool",
}
LIMIT_SECONDS = 12 * 60.0
# Dependencies from the module proxy only, no other compiler than the one that is there, no C.
SETTINGS = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOVCS": "*:off", "GOWORK": "off"}
BUILD_HINT = "Run `python -m tests.lab loki`, which takes minutes the first time."


class LokiMissingError(PeerMissingError):
    """Loki or one of its tools is not built; the text says why, or how to build it."""


def loki_program() -> Path:
    """Path of loki in the cache. Raises LokiMissingError when it was not built."""
    return _program("loki")


def promtail_program() -> Path:
    """Path of promtail in the cache. Raises LokiMissingError when it was not built."""
    return _program("promtail")


def lokitool_program() -> Path:
    """Path of lokitool in the cache. Raises LokiMissingError when it was not built."""
    return _program("lokitool")


def _program(name: str) -> Path:
    path = _folder() / name
    if not path.exists():
        failure = _failure_file()
        why = f"The last try: {failure.read_text().strip()} " if failure.exists() else ""
        raise LokiMissingError(f"{name} 3.5.0 is not built. {why}{BUILD_HINT}")
    return path


def _folder() -> Path:
    """Where the programs are kept: another list of modules or programs gives another folder."""
    what = hashlib.sha256()
    for part in ((HERE / "go.mod").read_bytes(), (HERE / "go.sum").read_bytes(), *map(str.encode, PACKAGES.values())):
        what.update(part)
    return cache() / f"loki-{what.hexdigest()[:12]}"


def _failure_file() -> Path:
    return _folder().with_suffix(".failed")


def build(limit: float = LIMIT_SECONDS) -> str | None:
    """Build what is missing within `limit` seconds; return one sentence when it could not be done.

    The sentence is kept for the tests that are skipped for it, until a build succeeds.
    """
    folder = _folder()
    if all((folder / name).exists() for name in PACKAGES):
        return None
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        problem = _build_into(folder, limit)
    except (LabError, OSError) as error:
        problem = f"Go could not be started: {error}"
    if problem:
        _failure_file().write_text(problem + "\n")
    else:
        _failure_file().unlink(missing_ok=True)
    return problem


def _build_into(folder: Path, limit: float) -> str | None:
    go = go_program()
    if go is None:
        return "Loki is built by Go, and there is none: see https://go.dev/dl/."
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        built, log = Path(scratch, "built"), Path(scratch, "go.log")
        Path(scratch, "work").mkdir()  # Go leaves its work where it lies when it is killed
        command = ["nice", "-n", "15", go, "build", "-C", str(HERE), "-mod=readonly", "-trimpath", "-ldflags=-s -w"]
        process = Process(
            "go build",
            [*command, f"-o={built}{os.sep}", *PACKAGES.values()],
            log=log,
            env={**SETTINGS, "GOTMPDIR": f"{scratch}/work"},
        )
        with process:
            ended = process.wait(limit)
            status = process.stop()  # with the compilers that it started
        if not ended:
            return f"`go build` of Loki 3.5.0 took longer than {limit:g} s and was ended; what it did is kept by Go."
        if status:
            return f"`go build` of Loki 3.5.0 ended with status {status}: {_last_words(log)}"
        with contextlib.suppress(OSError):  # another run was faster, with the same programs
            built.rename(folder)
    return None


def _last_words(log: Path) -> str:
    """What Go said last, but for its downloads."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    said = [line for line in lines if line and not line.startswith("go: downloading ")]
    return " ".join(said[-3:])[-500:] or "it said nothing."


def main() -> int:
    """Build, and say in one line what came of it. Exit status 0 in any case: only tests need these programs."""
    print(
        f"lab: Loki, promtail and lokitool 3.5.0: looking, building what is missing (at most {LIMIT_SECONDS:g} s)",
        flush=True,
    )
    if problem := build():
        print(f"lab: {problem} The tests that need them will be skipped.", file=sys.stderr)
    else:
        print("lab: Loki, promtail and lokitool: there", flush=True)
    return 0
