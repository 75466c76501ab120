"""Boards in files: where the shipped ones are, what they hold, and how two of them are compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chainwatch.errors import ConfigError

TAG = "chainwatch"  # what marks a board as ours
# Grafana's own: the row of its database, and how often the board was saved there.
_GRAFANAS = ("id", "version")


@dataclass(frozen=True, slots=True)
class Board:
    """One board of ours; `folder` is the name of the folder that its file lies in."""

    uid: str
    title: str
    folder: str
    file: Path
    json: Mapping[str, Any]


def shipped() -> Path:
    """Where the boards are that come with chainwatch: in a checkout a link to dashboards/json, else a copy of it."""
    return Path(__file__).with_name("boards")


def read(folder: Path | None) -> list[Board]:
    """Return the boards of a folder, of the shipped one if None, by uid. Raises `ConfigError`."""
    place = folder or shipped()
    found = [_read(file) for file in sorted(place.resolve().rglob("*.json"))]
    if not found:
        wrong = f"{place} has no *.json" if folder else "this installation of chainwatch has no boards in it"
        raise ConfigError("boards", wrong, "a folder like dashboards/json of the repository")
    first: dict[str, Board] = {}
    for board in found:
        if board.uid in first:
            raise ConfigError("boards", f"{board.file} has the uid of {first[board.uid].file}", "each uid once")
        first[board.uid] = board
    return sorted(found, key=lambda board: board.uid)


def is_ours(board: Mapping[str, Any]) -> bool:
    """Tell whether a board carries our tag."""
    tags = board.get("tags")
    return isinstance(tags, list) and TAG in tags


def normalised(board: Mapping[str, Any]) -> dict[str, Any]:
    """Return a board without what Grafana adds when it saves one."""
    return {key: value for key, value in board.items() if key not in _GRAFANAS}


def text(board: Mapping[str, Any]) -> list[str]:
    """Return a board as lines, the same for the same board."""
    return json.dumps(normalised(board), indent=1, sort_keys=True, ensure_ascii=False).splitlines()


def _read(file: Path) -> Board:
    try:
        board = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError("boards", f"cannot read {file}: {error.strerror}", "files that this user may read") from None
    except ValueError:
        raise ConfigError("boards", f"{file} is not JSON", "boards only") from None
    uid, title = (board.get("uid"), board.get("title")) if isinstance(board, dict) else (None, None)
    if not (isinstance(uid, str) and uid and isinstance(title, str) and title):
        raise ConfigError(
            "boards", f"{file} has no uid and title", "boards in Grafana's classic JSON, and nothing else"
        )
    if not is_ours(board):
        raise ConfigError("boards", f"{file} lacks the tag {TAG}", "that tag: what lacks it is never updated")
    return Board(uid, title, file.parent.name, file, board)
