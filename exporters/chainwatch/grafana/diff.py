"""`chainwatch grafana diff`: what a push would change, as a unified diff."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from yarl import URL

from chainwatch.grafana.board import text
from chainwatch.grafana.push import Outcome, Plan


def differences(url: URL, plan: Plan) -> Iterator[str]:
    """Return the lines of a unified diff from the board of the Grafana at `url` to ours; none if a push does nothing.

    A board that moves has a line of its own before them: its folder is no part of it.
    """
    board = plan.board
    theirs, ours = f"{url} {board.uid}", f"{board.folder}/{board.file.name}"
    if plan.remote is None:
        yield f"--- {theirs} (no such board)"
        yield f"+++ {ours}: {board.title}, {len(text(board.json))} lines, in {plan.folder}"
    elif plan.outcome is Outcome.UPDATED:
        if plan.folder is not None:
            yield f"{theirs} moves to {plan.folder}"
        yield from difflib.unified_diff(text(plan.remote.board), text(board.json), theirs, ours, lineterm="")
