"""A board's queries as Grafana sends them: with its variables at their defaults, and its intervals."""

from __future__ import annotations

import math
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.lab import Loki, Prometheus, web
from tests.unit.dashboards.reading import Board, Query, values_of

# Of the Prometheus data source: $__rate_interval is four scrapes, when the step is one.
SCRAPE_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Range:
    """What is looked at, in Unix times."""

    start: float
    end: float

    @property
    def intervals(self) -> dict[str, str]:
        """Grafana's own variables."""
        return {
            "__rate_interval": f"{4 * SCRAPE_SECONDS}s",
            "__interval": f"{SCRAPE_SECONDS}s",
            "__auto": f"{SCRAPE_SECONDS}s",
            "__range": f"{math.ceil(self.end - self.start)}s",
        }


class Viewer:
    """Somebody who opens boards, as `range` in time, and changes nothing at the top."""

    def __init__(self, prometheus: Prometheus, loki: Loki | None, span: Range) -> None:
        self._prometheus, self._loki, self._span = prometheus, loki, span
        self._chosen: dict[str, dict[str, str]] = {}  # by board: what stands for each variable in queries

    def options(self, board: Board, name: str) -> list[str]:
        """The values that a variable offers, by what is chosen in those before it."""
        before = list(board.variables)
        earlier = {one: self._value(board, one) for one in before[: before.index(name)] if one in self._known(board)}
        return self._options(board.variables[name], earlier)

    def answer(self, board: Board, query: Query) -> list[Any]:
        """What a query answers within the range: series with at least one number, or streams with lines."""
        expr = self.expression(board, query)
        if query.loki:
            assert self._loki is not None
            return list(self._loki.answer(expr, self._span.start, self._span.end, step=SCRAPE_SECONDS)["result"])
        asked = {"query": expr, "start": self._span.start, "end": self._span.end, "step": SCRAPE_SECONDS}
        url = f"{self._prometheus.url}/api/v1/query_range?{urllib.parse.urlencode(asked)}"
        series = web.get_json(url)["data"]["result"]
        return [one for one in series if any(value != "NaN" for _, value in one["values"])]

    def expression(self, board: Board, query: Query) -> str:
        """The query as it is sent."""
        values = {name: self._value(board, name) for name in self._known(board)}
        own = {"__interval": query.interval} if query.interval else {}
        return interpolated(query.expr, {**values, **self._span.intervals, **own})

    def _known(self, board: Board) -> Iterator[str]:
        return (name for name, one in board.variables.items() if one["type"] in ("query", "textbox"))

    def _value(self, board: Board, name: str) -> str:
        chosen = self._chosen.setdefault(board.uid, {})
        if name not in chosen:
            variable = board.variables[name]
            if variable["type"] == "textbox":
                chosen[name] = variable["current"]["value"]
            elif variable["includeAll"] and variable["allValue"]:
                chosen[name] = variable["allValue"]
            else:
                options = self.options(board, name)
                everything = "|".join(map(_escaped, options))
                chosen[name] = f"({everything})" if variable["includeAll"] else "".join(options[:1])
        return chosen[name]

    def _options(self, variable: Mapping[str, Any], chosen: Mapping[str, str]) -> list[str]:
        if variable["datasource"]["type"] == "loki":
            return self._loki_options(variable["query"], chosen)
        expr, label = values_of(variable["definition"])
        expr = interpolated(expr, {**chosen, **self._span.intervals})
        if label is not None:
            asked = {"match[]": expr, "start": self._span.start, "end": self._span.end}
            url = f"{self._prometheus.url}/api/v1/label/{label}/values?{urllib.parse.urlencode(asked)}"
            return list(web.get_json(url)["data"])
        lines = [_line(metric) for metric, _ in self._prometheus.query(expr)]
        pattern = re.compile(variable["regex"].strip("/").replace("(?<", "(?P<"))
        return [found["value"] for line in lines if (found := pattern.search(line))]

    def _loki_options(self, query: Mapping[str, Any], chosen: Mapping[str, str]) -> list[str]:
        assert self._loki is not None
        span = {"start": int(self._span.start * 1e9), "end": int(self._span.end * 1e9)}
        stream = {"query": interpolated(query["stream"], chosen)} if query["stream"] else {}
        url = f"{self._loki.url}/loki/api/v1/label/{query['label']}/values?{urllib.parse.urlencode({**span, **stream})}"
        return list(web.get_json(url).get("data", []))


def interpolated(expr: str, values: Mapping[str, str]) -> str:
    """Put values in the place of `$name` and `${name}`."""
    return re.sub(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))", lambda found: values.get(found[1] or found[2], found[0]), expr)


def _escaped(value: str) -> str:
    """A value within a regular expression within a string, as Grafana puts it there."""
    return re.sub(r"[\\^$.*+?()\[\]{}|]", lambda mark: "\\\\" + mark[0], value)


def _line(metric: Mapping[str, str]) -> str:
    """A series as Grafana writes it for a variable's regex."""
    labels = ",".join(f'{name}="{value}"' for name, value in metric.items() if name != "__name__")
    return f"{metric.get('__name__', '')}{{{labels}}}"
