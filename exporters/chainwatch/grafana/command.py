"""The three words of `chainwatch grafana`: what they print and how they end."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable

from chainwatch.grafana import board, check
from chainwatch.grafana.api import Grafana
from chainwatch.grafana.diff import differences
from chainwatch.grafana.push import Outcome, Push
from chainwatch.grafana.settings import Settings
from chainwatch.logs import one_line


def push(settings: Settings, *, dry_run: bool) -> int:
    """Create and update the boards; return 1 when Grafana, or we, refused one."""
    boards = board.read(settings.boards)
    count: Counter[str] = Counter()
    with Grafana(settings.grafana) as grafana:
        grafana.check_version()
        for result in Push(grafana, settings.grafana.folder, dry_run=dry_run).run(boards):
            count[result.outcome] += 1
            _say_outcome(result.outcome, result.board, result.text)
        _say(f"{_boards(len(boards))} at {grafana.url}: {_counted(count, Outcome)}.")
    if dry_run:
        _say("Dry run: nothing was written.")
    return int(count[Outcome.REFUSED] > 0)


def diff(settings: Settings) -> int:
    """Print what a push would change, and what it would refuse; return 1 when it would change anything."""
    boards = board.read(settings.boards)
    different = refused = 0
    with Grafana(settings.grafana) as grafana:
        grafana.check_version()
        pushing = Push(grafana, settings.grafana.folder, dry_run=True)
        for plan in map(pushing.plan, boards):
            if plan.outcome is Outcome.REFUSED:
                refused += 1
                _say_outcome(plan.outcome, plan.board, plan.why)
            lines = list(differences(grafana.url, plan))
            different += bool(lines)
            for line in lines:
                _say(line)
        if not different:
            found = f"nothing that a push would change, {refused} refused" if refused else "no difference"
            _say(f"{_boards(len(boards))} at {grafana.url}: {found}.")
    return int(different > 0)


def check_boards(settings: Settings) -> int:
    """Ask every panel; return 1 when one has an error, 2 when there is none and one is empty, else 0."""
    boards = board.read(settings.boards)
    count: Counter[str] = Counter()
    with Grafana(settings.grafana) as grafana:
        grafana.check_version()
        sources = check.data_sources(grafana, settings.grafana)
        for kind, uid in sources.items():
            _say(f"{kind}: data source {uid}")
        asking = check.Check(grafana, sources)
        for each in boards:
            _say(f"{each.title} ({each.uid})")
            for answer in asking.run(each):
                count[answer.verdict] += 1
                _say(f"  {answer.verdict:<5}  {answer.panel}" + (f": {answer.text}" if answer.text else ""))
    _say(f"{_boards(len(boards))}, {count.total()} panels: {_counted(count, check.Verdict)}.")
    return 1 if count[check.Verdict.ERROR] else 2 if count[check.Verdict.EMPTY] else 0


def _say(text: str) -> None:
    """Print a line; titles and texts in it may be anybody's."""
    sys.stdout.write(one_line(text) + "\n")
    sys.stdout.flush()


def _say_outcome(outcome: Outcome, of: board.Board, text: str) -> None:
    _say(f"{outcome:<10} {of.uid:<30} {text}")


def _boards(number: int) -> str:
    return f"{number} board{'s' * (number != 1)}"


def _counted(count: Counter[str], words: Iterable[str]) -> str:
    return ", ".join(f"{count[word]} {word}" for word in words if count[word]) or "nothing"
