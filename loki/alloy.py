"""Stages as blocks of Alloy's configuration language, in its canonical format."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from loki.stages import Pipeline, Stage, Value

# Where Alloy spells a stage another way.
_NAMES = {"labeldrop": "label_drop"}


def stages(pipeline: Pipeline) -> str:
    """Return the stages as blocks inside one `loki.process`."""
    return "\n".join("".join(f"\t{line}\n" if line else "\n" for line in _stage(stage)) for stage in pipeline)


def _stage(stage: Stage) -> Iterator[str]:
    yield from (f"// {line}" for line in stage.comment())
    yield f"stage.{_NAMES.get(stage.name, stage.name)} {{"
    yield from (f"\t{line}" for line in _attributes(stage.arguments))
    yield "}"


def _attributes(arguments: Mapping[str, Value]) -> Iterator[str]:
    """Lines of attributes; as in Go, the signs of lines that follow each other stand in one column."""
    width = max(len(name) for name in arguments)
    for name, value in arguments.items():
        if not isinstance(value, Mapping):
            yield f"{name:{width}} = {_value(value)}"
            continue
        yield f"{name:{width}} = {{"
        inner = max(len(key) for key in value)
        yield from (f"\t{key:{inner}} = {quoted(item)}," for key, item in value.items())
        yield "}"


def _value(value: Value) -> str:
    if isinstance(value, str):
        return quoted(value)
    return f"[{', '.join(quoted(item) for item in value)}]"


def quoted(text: str) -> str:
    """Return a string literal: raw, between backticks, where an escape would be needed otherwise."""
    literal = json.dumps(text, ensure_ascii=False)
    return f"`{text}`" if "\\" in literal and "`" not in text else literal
