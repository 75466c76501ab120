"""The boards as generated, read as data: panels, queries, variables, links."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from dashboards.__main__ import JSON
from dashboards.model import Json

# What stands for Grafana's own intervals while a query is parsed: durations that nobody writes, to be known again.
INTERVALS = {
    "$__rate_interval": "5m7s",
    "$__interval": "1m1s",
    "$__range": "1h11s",
    "$__auto": "5m3s",
}
RATE_INTERVAL, INTERVAL, RANGE = timedelta(seconds=307), timedelta(seconds=61), timedelta(seconds=3611)


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a board; `where` is the panel's title, or what else asks."""

    where: str
    expr: str
    legend: str = ""
    loki: bool = False
    kind: str = "panel"  # panel, annotation, variable
    about: str = ""  # title, description and columns of the panel
    instant: bool = False
    interval: str | None = None  # what $__interval is, where the query says so itself

    @property
    def promql(self) -> str:
        """The expression as a parser of PromQL takes it."""
        return without_intervals(self.expr)


def without_intervals(expr: str) -> str:
    """Put durations in the place of Grafana's intervals."""
    for name, duration in INTERVALS.items():
        expr = expr.replace(name, duration).replace("${" + name[1:] + "}", duration)
    return expr


@dataclass(frozen=True, slots=True)
class Link:
    """Where a panel leads: to a board with values for its variables, some of them those chosen here."""

    where: str
    url: str

    @property
    def board(self) -> str | None:
        """The uid it leads to, None outside of our boards."""
        found = re.match(r"/d/([^/?]+)", self.url)
        return found[1] if found else None

    @property
    def fixed(self) -> dict[str, list[str]]:
        """Values by variable, except those taken from a row of the panel."""
        found: dict[str, list[str]] = {}
        for key, value in parse_qsl(urlsplit(self.url).query):
            if key.startswith("var-") and "$" not in value:
                found.setdefault(key[4:], []).append(value)
        return found

    @property
    def variables(self) -> set[str]:
        """Every variable of the board there that the link sets."""
        named = set(re.findall(r"[?&]var-(\w+)=", self.url))
        return named | self.carried

    @property
    def carried(self) -> set[str]:
        """Variables whose choice here is handed on."""
        return set(re.findall(r"\$\{(\w+):queryparam\}", self.url))


@dataclass(frozen=True)
class Board:
    """One generated board."""

    file: Path
    json: Json

    @property
    def uid(self) -> str:
        """Its fixed name."""
        return str(self.json["uid"])

    @property
    def panels(self) -> list[Json]:
        """Every panel but rows, those of folded rows too."""
        placed = [one for panel in self.json["panels"] for one in (panel, *panel.get("panels", []))]
        return [panel for panel in placed if panel["type"] != "row"]

    @property
    def variables(self) -> dict[str, Json]:
        """Its variables by name."""
        return {one["name"]: one for one in self.json["templating"]["list"]}

    @property
    def chosen(self) -> dict[str, Json]:
        """Its variables whose values are asked of a data source."""
        return {name: one for name, one in self.variables.items() if one["type"] == "query"}

    def panel_queries(self) -> Iterator[Query]:
        """Every query of a panel."""
        for panel in self.panels:
            for target in panel.get("targets", []):
                loki = target["datasource"]["type"] == "loki"
                columns = [name for one in panel.get("transformations", []) for name in _renamed(one)]
                about = ". ".join([panel["title"], panel["description"], *columns])
                instant = bool(target.get("instant"))
                yield Query(panel["title"], target["expr"], target["legendFormat"], loki, about=about, instant=instant)

    def queries(self) -> Iterator[Query]:
        """Every query of a panel, an annotation or a variable, except label_values without a metric."""
        yield from self.panel_queries()
        for mark in self.json["annotations"]["list"]:
            yield Query(
                f"annotation {mark['name']}",
                mark["expr"],
                mark["titleFormat"],
                kind="annotation",
                interval=mark["step"],
            )
        for name, variable in self.chosen.items():
            if expr := values_of(variable["definition"])[0]:
                loki = variable["datasource"]["type"] == "loki"
                yield Query(f"variable {name}", expr, loki=loki, kind="variable")

    def promql(self) -> list[Query]:
        """Every query of a Prometheus."""
        return [query for query in self.queries() if not query.loki]

    def logql(self) -> list[Query]:
        """Every query of a Loki, those of variables left out: they are mere stream selectors."""
        return [query for query in self.panel_queries() if query.loki]

    def links(self) -> Iterator[Link]:
        """Links of panels and of their fields."""
        for panel in self.panels:
            found = [*panel.get("links", []), *_field_links(panel)]
            yield from (Link(panel["title"], one["url"]) for one in found)


def _renamed(transformation: Json) -> list[str]:
    return list(transformation["options"].get("renameByName", {}).values())


def _field_links(panel: Json) -> Iterator[Mapping[str, Any]]:
    config = panel.get("fieldConfig", {})
    yield from config.get("defaults", {}).get("links", [])
    for override in config.get("overrides", []):
        for one in override["properties"]:
            if one["id"] == "links":
                yield from one["value"]


def values_of(definition: str) -> tuple[str, str | None]:
    """The expression ("" for none) of a variable's query, and the label whose values it lists (None: series)."""
    if found := re.fullmatch(r"query_result\((.+)\)", definition):
        return found[1], None
    found = re.fullmatch(r"label_values\((?:(.*),)? *(\w+)\)", definition)
    assert found, f"{definition}: neither label_values(METRIC, LABEL) nor query_result(EXPRESSION)"
    return (found[1] or "").strip(), found[2]


@cache
def boards() -> tuple[Board, ...]:
    """Every board, from the files as they are committed."""
    return tuple(Board(path, json.loads(path.read_text())) for path in sorted(JSON.rglob("*.json")))
