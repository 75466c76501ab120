"""`python -m dashboards` writes the JSON of every board, and removes that of boards that are gone."""

from __future__ import annotations

import json
import pkgutil
from importlib import import_module
from pathlib import Path

from dashboards import boards
from dashboards.model import Board
from dashboards.render import dashboard

JSON = Path(__file__).parent / "json"


def every_board() -> list[Board]:
    """Return the boards of `boards/`, by the names of their files."""
    names = sorted(module.name for module in pkgutil.iter_modules(boards.__path__))
    return [import_module(f"{boards.__name__}.{name}").BOARD for name in names]


def texts() -> dict[Path, str]:
    """Return the text of each generated file."""
    return {
        JSON / board.file: json.dumps(dashboard(board), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        for board in every_board()
    }


def main() -> None:
    """Write them."""
    wanted = texts()
    for path in set(JSON.rglob("*.json")) - set(wanted):
        path.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
