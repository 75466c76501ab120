"""`chainwatch grafana diff`: what a push would change, as a unified diff."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from chainwatch.grafana.api import Grafana
from chainwatch.grafana.board import Board, text


def differences(grafana: Grafana, board: Board) -> Iterator[str]:
    """Return the lines of a unified diff from Grafana's board to ours; none when they are the same."""
    remote = grafana.board(board.uid)
    theirs, ours = f"{grafana.url} {board.uid}", f"{board.folder}/{board.file.name}"
    if remote is None:
        yield f"--- {theirs} (no such board)"
        yield f"+++ {ours}: {board.title}, {len(text(board.json))} lines"
        return
    yield from difflib.unified_diff(text(remote.board), text(board.json), theirs, ours, lineterm="")
