"""`chainwatch grafana push`: create and update our boards, and nothing else."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from chainwatch.grafana.api import Grafana, Remote
from chainwatch.grafana.board import TAG, Board, is_ours, normalised
from chainwatch.grafana.errors import RefusedError


class Outcome(StrEnum):
    """What became of a board."""

    CREATED = "created"
    UNCHANGED = "unchanged"
    UPDATED = "updated"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of which board, and what there is to say about it."""

    outcome: Outcome
    board: Board
    text: str


class Push:
    """Pushes boards into one Grafana. With `dry_run` nothing is written."""

    def __init__(self, grafana: Grafana, folder: str | None, *, dry_run: bool) -> None:
        self._grafana = grafana
        self._folder = folder
        self._dry_run = dry_run
        self._known: dict[str, str | None] = {}  # folders: title to uid

    def run(self, boards: Iterable[Board]) -> Iterator[Result]:
        """Push one after the other; what Grafana refuses for one does not keep it from the next."""
        for board in boards:
            try:
                yield self._push(board)
            except RefusedError as error:
                yield Result(Outcome.REFUSED, board, str(error))

    def _push(self, board: Board) -> Result:
        remote = self._grafana.board(board.uid)
        if remote is None:
            return self._create(board)
        target = self._find(folder_for(board, self._folder)) if self._folder else remote.folder
        moves = self._folder is not None and target != remote.folder
        if not moves and normalised(remote.board) == normalised(board.json):
            return Result(Outcome.UNCHANGED, board, board.title)
        if why := _untouchable(remote):
            return Result(Outcome.REFUSED, board, why)
        if self._dry_run:
            return Result(Outcome.UPDATED, board, board.title + (" (moved to another folder)" if moves else ""))
        folder = self._folder_uid(board) if moves else remote.folder
        return Result(
            Outcome.UPDATED, board, f"{board.title}: {self._grafana.save(board.json, remote.version, folder)}"
        )

    def _create(self, board: Board) -> Result:
        title = folder_for(board, self._folder)
        if self._dry_run:
            new = "" if self._find(title) else "new "
            return Result(Outcome.CREATED, board, f"{board.title}, in the {new}folder {title}")
        url = self._grafana.save(board.json, None, self._folder_uid(board))
        return Result(Outcome.CREATED, board, f"{board.title}, in the folder {title}: {url}")

    def _find(self, title: str) -> str | None:
        if title not in self._known:
            self._known[title] = self._grafana.folder_uid(title, uid_of_folder(title))
        return self._known[title]

    def _folder_uid(self, board: Board) -> str:
        title = folder_for(board, self._folder)
        uid = self._find(title) or self._grafana.create_folder(title, uid_of_folder(title))
        self._known[title] = uid
        return uid


def folder_for(board: Board, given: str | None) -> str:
    """Return the name of a board's folder: its own, the one given, or its own after a given `prefix-`."""
    if given is None:
        return board.folder
    return given + board.folder if given.endswith("-") else given


def uid_of_folder(title: str) -> str:
    """Return the uid under which we make a folder: the same each time, and no board's."""
    if re.fullmatch(r"[a-z0-9-]{1,33}", title):
        return f"folder-{title}"
    return f"folder-{hashlib.sha256(title.encode()).hexdigest()[:24]}"  # Grafana allows 40 plain characters


def _untouchable(remote: Remote) -> str:
    """Why a board that differs from ours is not ours to change; empty when it is."""
    if not is_ours(remote.board):
        return f"a board with this uid is there that lacks the tag {TAG}: it is not ours; delete or rename it first"
    if remote.provisioned:
        file = f" ({remote.file})" if remote.file else ""
        return f"Grafana reads this board from a file{file}, and takes no other; put the new file there"
    if not remote.can_save:
        return "the token may read this board and not save it; its service account needs the role Editor"
    return ""
