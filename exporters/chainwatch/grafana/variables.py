"""A board's variables, with the values that Grafana gives them when somebody opens the board."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

ANYTHING = ".+"

# $name, ${name} and ${name:format}, [[name]]; Grafana's own ($__interval and such) stay, its data sources replace them.
_VARIABLE = re.compile(r"\$(?P<plain>\w+)|\$\{(?P<braced>\w+)(?::[^}]*)?\}|\[\[(?P<old>\w+)\]\]")
_LABEL_VALUES = re.compile(r"label_values\((?P<metric>.+), *(?P<label>\w+)\)")
_QUERY_RESULT = re.compile(r"query_result\((?P<query>.+)\)")

# The labels of the series that answer a query of Prometheus' now.
Series = Callable[[str], Sequence[Mapping[str, str]]]


def replaced(text: str, values: Mapping[str, str]) -> str:
    """Put values in the place of variables; those without a value stay."""

    def value(match: re.Match[str]) -> str:
        name = match["plain"] or match["braced"] or match["old"]
        return values.get(name, match[0])

    return _VARIABLE.sub(value, text)


def values(board: Mapping[str, Any], ask: Series) -> dict[str, str]:
    """Return the values of all variables but data sources: All where it can be chosen, else the first there is."""
    found: dict[str, str] = {}
    for variable in _list(board, "templating", "list"):
        name, kind = variable.get("name"), variable.get("type")
        if not isinstance(name, str) or kind == "datasource":
            continue
        if kind == "query" and variable.get("includeAll"):
            found[name] = str(variable.get("allValue") or ANYTHING)
        elif kind == "query":
            found[name] = next(_choices(variable, found, ask), _current(variable) or ANYTHING)
        else:
            found[name] = _current(variable)
    return found


def _choices(variable: Mapping[str, Any], known: Mapping[str, str], ask: Series) -> Iterator[str]:
    """What a variable offers, in its order, as far as Prometheus answers it."""
    source = variable.get("datasource")
    asked = replaced(str(variable.get("definition", "")), known).strip()
    if isinstance(source, dict) and source.get("type") != "prometheus":
        return
    if match := _LABEL_VALUES.fullmatch(asked):
        label = match["label"]
        yield from sorted(series[label] for series in ask(f"count by ({label}) ({match['metric']})") if label in series)
    elif match := _QUERY_RESULT.fullmatch(asked):
        for series in ask(match["query"]):
            shown = ",".join(f'{name}="{value}"' for name, value in sorted(series.items()))
            yield from _extracted(str(variable.get("regex", "")), f"{{{shown}}}")


def _extracted(pattern: str, text: str) -> Iterator[str]:
    """What a variable's regex, written as JavaScript's, takes of a series: the group `value`, or the first, or all."""
    if not pattern:
        yield text
        return
    match = re.search(re.sub(r"\(\?<(?=\w)", "(?P<", pattern.strip("/")), text)
    if match:
        yield match.groupdict().get("value") or (match[1] if match.re.groups else match[0])


def _current(variable: Mapping[str, Any]) -> str:
    current = variable.get("current")
    value = current.get("value", "") if isinstance(current, dict) else ""
    return "|".join(map(str, value)) if isinstance(value, list) else str(value)


def panels(board: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Return the panels that ask something, those in folded rows included."""
    for panel in _list(board, "panels"):
        if panel.get("type") == "row":
            yield from panels(panel)
        elif panel.get("targets"):
            yield panel


def _list(board: Mapping[str, Any], *keys: str) -> list[Any]:
    found: Any = board
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
