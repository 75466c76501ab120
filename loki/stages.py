"""Stages of a log pipeline, written once and rendered for promtail (YAML) and for Alloy.

Only stages that both programs have, with the same meaning, and that `alloy convert` takes over: the two pipelines are
equal because they are one. A stage reads and writes the values extracted from a line; the line itself is never changed.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_COMMENT_WIDTH = 110

Value = str | Sequence[str] | Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: its name in promtail, its arguments in the order in which they are written, and why it is there."""

    name: str
    arguments: Mapping[str, Value]
    why: str = ""

    def comment(self) -> list[str]:
        """Return the reason as lines for a comment."""
        return textwrap.wrap(self.why, _COMMENT_WIDTH)


Pipeline = Sequence[Stage]


@dataclass(frozen=True, slots=True)
class Job:
    """The logs of one family: the value of the label `job`, the pipeline, and the usual systemd unit."""

    name: str
    title: str
    pipeline: Pipeline
    unit: str
    instance: str  # as Prometheus calls a single node's exporter
    chain: str  # an example


def regex(expression: str, source: str | None = None, why: str = "") -> Stage:
    """Take a value (the line, without `source`) apart by named groups; no match changes nothing."""
    return Stage("regex", _given(source=source, expression=expression), why)


def template(source: str, text: str, why: str = "") -> Stage:
    """Set a value by a Go template over all values; an empty result removes it."""
    return Stage("template", {"source": source, "template": text}, why)


def without_empty(*names: str, why: str = "") -> list[Stage]:
    """Remove the values of groups that took no part in a match: these are empty, not absent."""
    return [
        template(name, f"{{{{ with .{name} }}}}{{{{ . }}}}{{{{ end }}}}", why if name == names[0] else "")
        for name in names
    ]


def json(expressions: Mapping[str, str], why: str = "") -> Stage:
    """Take values from a line that is a JSON object; another line changes nothing."""
    return Stage("json", {"expressions": expressions}, why)


def logfmt(source: str, mapping: Mapping[str, str], why: str = "") -> Stage:
    """Take values from a value in logfmt."""
    return Stage("logfmt", {"source": source, "mapping": mapping}, why)


def timestamp(
    source: str, layout: str, fallbacks: Sequence[str] = (), location: str | None = None, why: str = ""
) -> Stage:
    """Take the entry's time from a value; where that is missing, the time of the line before and a nanosecond."""
    arguments = _given(
        source=source, format=layout, fallback_formats=fallbacks or None, location=location, action_on_failure="fudge"
    )
    return Stage("timestamp", arguments, why)


def drop(reason: str, expression: str, source: str | None = None, why: str = "") -> Stage:
    """Leave out what matches, counted under `reason`."""
    return Stage("drop", _given(source=source, expression=expression, drop_counter_reason=reason), why)


def labels(names: Sequence[str], why: str = "") -> Stage:
    """Make values labels of the stream. Only for closed sets."""
    return Stage("labels", {"values": dict.fromkeys(names, "")}, why)


def structured_metadata(names: Sequence[str], why: str = "") -> Stage:
    """Store values beside the line, not in the index."""
    return Stage("structured_metadata", {"values": dict.fromkeys(names, "")}, why)


def label_drop(names: Sequence[str], why: str = "") -> Stage:
    """Remove labels."""
    return Stage("labeldrop", {"values": names}, why)


def marked(mark: str, expression: str, source: str) -> Stage:
    """A `regex` that also sets the value `mark`, by which templates know that it matched."""
    flags = "(?i)" if expression.startswith("(?i)") else ""  # Python wants them at the very beginning
    return regex(f"{flags}(?P<{mark}>{expression.removeprefix(flags)})", source)


def first_of(cases: Sequence[tuple[str, str]]) -> str:
    """Return a template: the text of the first case whose condition holds; nothing if none does."""
    parts = [f"{{{{ {'else ' if number else ''}if {test} }}}}{text}" for number, (test, text) in enumerate(cases)]
    return "".join(parts) + "{{ end }}"


def _given(**arguments: Value | None) -> dict[str, Value]:
    return {name: value for name, value in arguments.items() if value is not None}
