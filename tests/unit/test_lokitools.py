"""Building Loki for the lab: it never fails anything else, ends in time, and says why it could not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.lab import lokitools, peers
from tests.lab.waiting import PeerMissingError

WORKS = """
for argument; do case $argument in -o=*) out=${argument#-o=};; esac; done
mkdir -p "$out" && cd "$out" && touch loki promtail lokitool
"""
REFUSED = """
echo 'go: downloading github.com/grafana/loki/v3 v3.5.0' >&2
echo 'go: github.com/grafana/loki/v3@v3.5.0: proxy.example: no route to host' >&2
exit 1
"""
HANGS = 'echo $$ > "$GOTMPDIR/../../pid"; exec sleep 60'


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Go of the test's own; what it does is to be written into it."""
    program = tmp_path / "bin" / "go"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CHAINWATCH_CACHE", str(tmp_path / "cache"))
    return program


def does(go: Path, script: str) -> None:
    go.write_text(f"#!/bin/sh\n{script}")
    go.chmod(0o755)


def test_what_was_built_is_found_and_not_built_again(go: Path) -> None:
    does(go, WORKS)
    assert lokitools.build() is None
    go.unlink()
    assert lokitools.build() is None
    for found in (lokitools.loki_program(), lokitools.promtail_program(), lokitools.lokitool_program()):
        assert found.exists()


def test_a_failed_build_is_no_failure_and_its_reason_is_what_skipped_tests_quote(
    go: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    does(go, REFUSED)
    assert lokitools.main() == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "no route to host" in said[0]
    with pytest.raises(PeerMissingError, match=r"loki 3.5.0 is not built.*status 1.*no route to host.*tests.lab loki"):
        lokitools.loki_program()
    does(go, WORKS)
    assert lokitools.build() is None
    assert lokitools.promtail_program().exists()


def test_a_build_that_takes_too_long_is_ended_with_all_that_it_started(go: Path, tmp_path: Path) -> None:
    does(go, HANGS)
    began = time.monotonic()
    problem = lokitools.build(limit=1)
    assert problem is not None
    assert "took longer than 1 s" in problem
    assert time.monotonic() - began < 10
    [pid] = [int(path.read_text()) for path in tmp_path.rglob("pid")]
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(PeerMissingError, match="took longer than 1 s"):
        lokitools.promtail_program()


def test_without_go_it_says_so(go: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(go.parent))
    monkeypatch.setattr(peers, "GO_FOLDERS", ())
    problem = lokitools.build()
    assert problem is not None
    assert "there is none" in problem


def test_before_any_try_a_missing_program_says_how_to_build_it(go: Path) -> None:
    with pytest.raises(
        lokitools.LokiMissingError, match=r"lokitool 3.5.0 is not built. Run `python -m tests.lab loki`"
    ):
        lokitools.lokitool_program()
