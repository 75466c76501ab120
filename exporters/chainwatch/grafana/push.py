"""`chainwatch grafana push`: create and update our boards, and nothing else."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from yarl import URL

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
class Folder:
    """A folder of Grafana's by its name; `uid` is None where it has yet to be made."""

    title: str
    uid: str | None

    def __str__(self) -> str:
        return f"the {'' if self.uid else 'new '}folder {self.title}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a push would make of a board, and of what Grafana has."""

    outcome: Outcome
    board: Board
    remote: Remote | None
    folder: Folder | None = None  # that the board goes into; None where it stays
    why: str = ""  # it is refused; empty where it is not


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

    def plan(self, board: Board) -> Plan:
        """Decide what becomes of a board; writes nothing. Raises `RefusedError` where Grafana does not let us look."""
        remote = self._grafana.board(board.uid)
        if remote is None:
            return Plan(Outcome.CREATED, board, None, self._find(board))
        folder = self._find(board) if self._folder else None
        if folder is not None and folder.uid == remote.folder:
            folder = None
        if folder is None and normalised(remote.board) == normalised(board.json):
            return Plan(Outcome.UNCHANGED, board, remote)
        if why := _untouchable(remote):
            return Plan(Outcome.REFUSED, board, remote, why=why)
        return Plan(Outcome.UPDATED, board, remote, folder)

    def _push(self, board: Board) -> Result:
        plan = self.plan(board)
        if plan.outcome in (Outcome.UNCHANGED, Outcome.REFUSED):
            return Result(plan.outcome, board, plan.why or board.title)
        created = plan.outcome is Outcome.CREATED
        if self._dry_run:
            moved = " (moved to another folder)" if plan.folder else ""
            return Result(plan.outcome, board, board.title + (f", in {plan.folder}" if created else moved))
        place = f", in the folder {folder_for(board, self._folder)}" if created else ""
        return Result(plan.outcome, board, f"{board.title}{place}: {self._save(plan)}")

    def _save(self, plan: Plan) -> URL:
        remote, folder = plan.remote, plan.folder
        uid = self._made(folder) if folder else remote.folder if remote else ""
        return self._grafana.save(plan.board.json, remote.version if remote else None, uid)

    def _find(self, board: Board) -> Folder:
        title = folder_for(board, self._folder)
        if title not in self._known:
            self._known[title] = self._grafana.folder_uid(title, uid_of_folder(title))
        return Folder(title, self._known[title])

    def _made(self, folder: Folder) -> str:
        uid = folder.uid or self._grafana.create_folder(folder.title, uid_of_folder(folder.title))
        self._known[folder.title] = uid
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
