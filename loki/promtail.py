"""Stages as promtail's YAML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from loki.stages import Pipeline, Stage, Value

# What YAML reads as text without quotes, less the words that it takes for something else.
_PLAIN = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null)$)[A-Za-z_][A-Za-z0-9_]*")


def stages(pipeline: Pipeline, indent: int) -> str:
    """Return the items of `pipeline_stages`, indented by so many blanks."""
    return "".join(f"{' ' * indent}{line}\n" for stage in pipeline for line in _stage(stage))


def _stage(stage: Stage) -> Iterator[str]:
    yield from (f"# {line}" for line in stage.comment())
    yield f"- {stage.name}:"
    for name, value in stage.arguments.items():
        # These three are the map or the list itself.
        if name == "values":
            yield from (f"    {line}" for line in _block(value))
        elif isinstance(value, str):
            yield f"    {name}: {quoted(value)}"
        elif isinstance(value, Mapping):
            yield f"    {name}:"
            yield from (f"      {line}" for line in _block(value))
        else:
            yield f"    {name}: [{', '.join(quoted(item) for item in value)}]"


def _block(value: Value) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from (f"{key}: {quoted(item)}" if item else f"{key}:" for key, item in value.items())
    else:
        yield from (f"- {item}" for item in value)


def quoted(text: str) -> str:
    """Return a YAML scalar, in single quotes where it needs them."""
    return text if _PLAIN.fullmatch(text) else "'" + text.replace("'", "''") + "'"
