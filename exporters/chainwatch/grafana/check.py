"""`chainwatch grafana check`: ask every panel's queries through Grafana, as somebody who opens the board."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chainwatch.errors import ConfigError
from chainwatch.grafana.api import Grafana, Json
from chainwatch.grafana.board import Board
from chainwatch.grafana.errors import RefusedError
from chainwatch.grafana.results import QueryResult
from chainwatch.grafana.settings import GrafanaSection
from chainwatch.grafana.variables import panels, replaced, values

# The kinds of data source that boards ask; their uids are settings of the same names.
KINDS = ("prometheus", "loki")
# What a panel 500 pixels wide asks for; Grafana takes the larger of this interval and the data source's own.
_RESOLUTION = {"maxDataPoints": 500, "intervalMs": 15_000}
# The line of an alert's threshold is no data of its panel.
_THRESHOLD = "max by (chain) (chainwatch:threshold{"


class Verdict(StrEnum):
    """What a panel shows."""

    DATA = "data"
    EMPTY = "empty"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one panel of a board shows, and why not more."""

    verdict: Verdict
    panel: str
    text: str = ""


def data_sources(grafana: Grafana, settings: GrafanaSection) -> dict[str, str]:
    """Return the uid of a data source of each kind that Grafana has: the one set, else the default, else the first."""
    found = {kind: uid for kind, uid in (("prometheus", settings.prometheus), ("loki", settings.loki)) if uid}
    if len(found) == len(KINDS):
        return found
    try:
        listed = grafana.data_sources()
    except RefusedError as error:
        if error.status != 403:
            raise
        raise ConfigError(
            "grafana.prometheus", f"not given, and the token may not list data sources ({error})", "uids of both kinds"
        ) from None
    for kind in KINDS:
        fitting = sorted(
            (each for each in listed if each.get("type") == kind and each.get("uid")),
            key=lambda each: (not each.get("isDefault"), str(each.get("name"))),
        )
        if fitting:
            found.setdefault(kind, str(fitting[0]["uid"]))
    return found


class Check:
    """Asks the queries of boards of the data sources with these uids, by kind."""

    def __init__(self, grafana: Grafana, sources: Mapping[str, str]) -> None:
        self._grafana = grafana
        self._sources = sources

    def run(self, board: Board) -> Iterator[Answer]:
        """Ask every panel of a board, over the time that the board opens with."""
        since = str(board.json.get("time", {}).get("from", "now-3h"))
        chosen = values(board.json, lambda expression: self._series(board, expression))
        for panel in panels(board.json):
            yield self._panel(board, panel, chosen, since)

    def _panel(self, board: Board, panel: Mapping[str, Any], chosen: Mapping[str, str], since: str) -> Answer:
        title = str(panel.get("title", ""))
        asked = [target for target in panel["targets"] if not target.get("hide")]
        lacking = {_kind(target) for target in asked} - self._sources.keys()
        if lacking:
            return Answer(Verdict.EMPTY, title, f"no data source of type {' or '.join(sorted(lacking))} in Grafana")
        queries = [self._query(target, chosen) for target in asked]
        try:
            results = self._grafana.query(f"panel {title} of {board.uid}", queries, since)
        except RefusedError as error:
            return Answer(Verdict.ERROR, title, str(error))
        return self._verdict(title, queries, results)

    def _query(self, target: Mapping[str, Any], chosen: Mapping[str, str]) -> Json:
        kind = _kind(target)
        source = {"type": kind, "uid": self._sources[kind]}
        return {**target, **_RESOLUTION, "datasource": source, "expr": replaced(str(target.get("expr")), chosen)}

    def _verdict(self, title: str, queries: Sequence[Json], results: Mapping[str, QueryResult | None]) -> Answer:
        errors, silent, shown = [], [], 0
        for query in queries:
            ref = str(query.get("refId", "A"))
            result = results.get(ref)
            if result is None:
                errors.append(f"{ref}: no answer")
            elif result.error:
                errors.append(f"{ref}: {self._grafana.clean(result.error)}")
            elif not str(query["expr"]).startswith(_THRESHOLD):
                silent += [] if result.has_data() else [ref]
                shown += result.has_data()
        if errors:
            return Answer(Verdict.ERROR, title, "; ".join(errors))
        if not shown:
            return Answer(Verdict.EMPTY, title)
        return Answer(Verdict.DATA, title, f"nothing for {', '.join(silent)}" if silent else "")

    def _series(self, board: Board, expression: str) -> list[dict[str, str]]:
        """The labels of the series that answer a query now, for the choices of a board's variables."""
        source = self._sources.get("prometheus")
        if source is None:
            return []
        asked = {
            "refId": "A",
            "datasource": {"type": "prometheus", "uid": source},
            "expr": expression,
            "instant": True,
            "range": False,
            **_RESOLUTION,
        }
        result = self._grafana.query(f"a variable of {board.uid}", [asked], "now-5m").get("A")
        return result.series() if result else []


def _kind(target: Mapping[str, Any]) -> str:
    source = target.get("datasource")
    return str(source.get("type")) if isinstance(source, dict) else "prometheus"
