"""A stub of Grafana, a folder of small boards, and the command as a person types it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chainwatch import cli
from tests.unit.grafana.stub import TOKEN, Grafana

Run = Callable[..., tuple[int, str]]


def target(expr: str, ref: str = "A", kind: str = "prometheus") -> dict[str, Any]:
    variable = {"prometheus": "${datasource}", "loki": "${loki_datasource}"}[kind]
    return {"refId": ref, "expr": expr, "datasource": {"type": kind, "uid": variable}}


def board(uid: str, *panels: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"uid": uid, "title": f"Board {uid}", "tags": ["chainwatch"], "id": None, "panels": list(panels), **more}


def write(folder: Path, *boards: dict[str, Any], name: str = "chainwatch") -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    for each in boards:
        (folder / name / f"{each['uid']}.json").write_text(json.dumps(each))


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CHAINWATCH_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def grafana() -> Iterator[Grafana]:
    with Grafana() as stub:
        yield stub


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    """Two boards in two folders."""
    folder = tmp_path / "boards"
    write(folder, board("fleet"))
    write(folder, board("node", {"type": "stat", "title": "Height", "targets": [target("up")]}), name="chainwatch-btc")
    return folder


@pytest.fixture
def run(grafana: Grafana, boards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """`chainwatch grafana ARGUMENTS` with the stub's address and token; its exit code and what it printed."""
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")

    def run(action: str, *arguments: str) -> tuple[int, str]:
        given = [f"--grafana.url={grafana.url}", f"--grafana.token-file={token}", f"--boards={boards}"]
        code = cli.run(["grafana", action, *given, *arguments])
        printed = capsys.readouterr()
        assert TOKEN not in printed.out + printed.err
        return code, printed.out

    return run
