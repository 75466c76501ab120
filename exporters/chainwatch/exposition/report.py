"""What a diagnosis found, and how it reads on a terminal."""

from __future__ import annotations

import io
import os
import pwd
import sys
import textwrap
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from chainwatch import __version__

WIDTH = 110
_INDENT = " " * 18


class Level(StrEnum):
    """How bad it is."""

    OK = "OK"
    WARN = "WARN"  # it works, and somebody should know
    FAIL = "FAIL"  # something is to be mended
    SKIP = "--"  # could not be examined


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: a subject of one word or two, what was found, what to do about it.

    `paste` are lines for a configuration file or a shell; they are never wrapped.
    """

    level: Level
    subject: str
    text: str
    todo: str = ""
    paste: Sequence[str] = ()


def ok(subject: str, text: str) -> Finding:
    """All is well there."""
    return Finding(Level.OK, subject, text)


def warn(subject: str, text: str, todo: str = "", paste: Sequence[str] = ()) -> Finding:
    """It works, and somebody should know."""
    return Finding(Level.WARN, subject, text, todo, paste)


def fail(subject: str, text: str, todo: str = "", paste: Sequence[str] = ()) -> Finding:
    """Something is to be mended."""
    return Finding(Level.FAIL, subject, text, todo, paste)


def skip(subject: str, text: str) -> Finding:
    """It could not be examined."""
    return Finding(Level.SKIP, subject, text)


def said(error: Exception) -> str:
    """An error's text as a sentence that ends."""
    text = str(error)
    return text if text.endswith((".", "?", "!")) else f"{text}."


def tell(url: str, findings: Iterable[Finding]) -> int:
    """Print findings about the node at an address as they come; return 0 when nothing has to be mended, else 1."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    head = printable(f"chainwatch {__version__} looks at the node at {url}, as user {user_name(os.getuid())}.")
    sys.stdout.write(f"{head}\n\n")
    told = []
    for finding in findings:
        sys.stdout.write(render(finding))
        sys.stdout.flush()
        told.append(finding)
    sys.stdout.write("\n" + verdict(told))
    return int(any(finding.level is Level.FAIL for finding in told))


def passed(findings: Iterator[Finding]) -> Generator[Finding, None, bool]:
    """Hand findings on; the value is whether none of them failed."""
    sound = True
    for finding in findings:
        sound = sound and finding.level is not Level.FAIL
        yield finding
    return sound


def user_name(uid: int) -> str:
    """The name of a user of this machine, or the number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def render(finding: Finding) -> str:
    """The finding as lines for a terminal, each ended by a newline.

    Text of the node and of its peers is in them: what could steer a terminal is escaped.
    """
    lines = _wrapped(f"{finding.level:<5} {finding.subject:<11} {finding.text}")
    if finding.todo:
        lines += _wrapped(f"{_INDENT}-> {finding.todo}")
    lines += [f"{_INDENT}   {printable(line)}" for line in finding.paste]
    return "".join(line + "\n" for line in lines)


def verdict(findings: Iterable[Finding]) -> str:
    """The last line."""
    levels = [finding.level for finding in findings]
    failures, warnings = levels.count(Level.FAIL), levels.count(Level.WARN)
    worth = f"{warnings} thing{'s' * (warnings != 1)} worth knowing"
    if failures:
        rest = f", and {worth}" if warnings else ""
        return f"{failures} thing{'s' * (failures != 1)} to mend{rest}; begin with the first FAIL.\n"
    return f"All works; {worth}, see WARN.\n" if warnings else "All is well.\n"


def printable(text: str) -> str:
    """Escape control characters, line ends, and what changes the direction of writing."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        printable(text),
        WIDTH,
        subsequent_indent=_INDENT + "   " * text.startswith(_INDENT),
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
