"""Whether expressions mean the same in RE2, which Loki's programs use, and in Python."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import re2

from loki.stages import Job
from tests.unit.loki.truth import BitcoinLine, CometLine

_NUMBERS = re.compile(r"[0-9a-fA-F]{6,}|\d+")


def different_matches(job: Job, lines: Iterable[str]) -> list[tuple[str, str]]:
    """Return expression and text wherever a job's expressions do not find the same groups.

    Tried on one line of each kind, lines that differ in numbers only being of one, and on the parts that stages read.
    """
    kinds = {_NUMBERS.sub("0", text): text for line in lines for text in (line, *_parts(job, line))}
    wrong, matched = [], 0
    expressions = list(_expressions(job))
    for expression in expressions:
        here, there = re.compile(expression, re.ASCII), re2.compile(expression)
        for text in kinds.values():
            ours, theirs = here.search(text), there.search(text)
            if (ours and ours.groupdict()) != (theirs and {name: theirs[name] for name in here.groupindex}):
                wrong.append((expression, text))
            matched += ours is not None
    assert matched > len(expressions), f"only {matched} matches on {len(kinds)} lines: are they of this job?"
    return wrong


def _parts(job: Job, line: str) -> Iterable[str]:
    if job.name == "bitcoin":
        taken = BitcoinLine(line.encode(), threads=None)
        reason = taken.message.partition(b"accepted: ")[2]
        return (taken.message.decode(errors="replace"), reason.decode(errors="replace"))
    comet = CometLine(line.encode())
    return (comet.message, *comet.fields.values())


def _expressions(job: Job) -> Iterator[str]:
    for stage in job.pipeline:
        if isinstance(expression := stage.arguments.get("expression"), str):
            yield expression
