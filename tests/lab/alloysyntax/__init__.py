"""A checker of Alloy's configuration language: Alloy's own parser and printer, built by Go from main.go beside this.

The build takes half a minute the first time; Alloy itself cannot be had as a module. The checker knows syntax only.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.lab.peers import cache, go_program
from tests.lab.waiting import PeerMissingError

HERE = Path(__file__).resolve().parent
_BUILD_SECONDS = 100
_SECONDS = 20


class AlloySyntaxMissingError(PeerMissingError):
    """The checker could not be built; the text says why."""


def alloysyntax_program() -> Path:
    """Return the checker, built if need be. Raises AlloySyntaxMissingError."""
    what = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in ("go.mod", "go.sum", "main.go")))
    program = cache() / f"alloysyntax-{what.hexdigest()[:12]}"
    if not program.exists():
        _build(program)
    return program


def complaints(program: Path, files: Sequence[Path]) -> str:
    """Return what the checker says of files, nothing where they are good."""
    done = subprocess.run([program, *files], capture_output=True, text=True, check=False, timeout=_SECONDS)
    assert (done.returncode != 0) is bool(done.stderr)
    return done.stderr


def _build(program: Path) -> None:
    go = go_program()
    if go is None:
        raise AlloySyntaxMissingError(
            "The checker of Alloy's files is built by Go, and there is none: see https://go.dev/dl/."
        )
    program.parent.mkdir(parents=True, exist_ok=True)
    scratch = program.with_suffix(f".{os.getpid()}")
    settings = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOVCS": "*:off", "GOWORK": "off"}
    command = ["nice", "-n", "15", go, "build", "-mod=readonly", "-trimpath", f"-o={scratch}", "."]
    try:
        done = subprocess.run(
            command,
            cwd=HERE,
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            check=False,
            timeout=_BUILD_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise AlloySyntaxMissingError(
            f"`go build` of Alloy's checker took over {_BUILD_SECONDS} s. Try again."
        ) from None
    if done.returncode:
        raise AlloySyntaxMissingError(f"`go build` of Alloy's checker failed: {done.stderr.strip()[-300:]}")
    scratch.replace(program)
