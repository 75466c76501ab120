"""More rules that boards keep, of our own: what is named in a board exists, and people find their way."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chainwatch.families.bitcoin.log import patterns
from chainwatch.families.bitcoin.log.prefix import CATEGORIES
from chainwatch.families.cometbft import log_patterns
from tests.rules import rules, selectors
from tests.unit.dashboards.labels import Reading
from tests.unit.dashboards.lint import RULES, Complaint, rule
from tests.unit.dashboards.reading import Board, boards

__all__ = ["RULES"]  # all of them

GRAFANA_COLUMNS = 24
LABEL_IN_LEGEND = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@rule
def labels_exist(board: Board) -> Iterator[Complaint]:
    """Metrics are exported or recorded, and have the labels by which they are matched, joined and called."""
    for query in board.promql():
        reading = Reading(query.promql)
        for complaint in reading.complaints:
            yield query.where, complaint
        wanted = set(LABEL_IN_LEGEND.findall(query.legend))
        if reading.labels is not None and (missing := wanted - reading.labels):
            yield query.where, f"the legend {query.legend!r} wants {', '.join(sorted(missing))}, not in {query.expr}"


@rule
def columns_exist(board: Board) -> Iterator[Complaint]:
    """A table names columns that one of its queries has."""
    for panel in board.panels:
        if panel["type"] != "table":
            continue
        if any(target["datasource"]["type"] == "loki" for target in panel["targets"]):
            continue
        readings = [Reading(query.promql) for query in board.promql() if query.where == panel["title"]]
        if any(reading.labels is None for reading in readings):
            continue
        known = frozenset().union(*(reading.labels or () for reading in readings))
        for one in panel["transformations"]:
            for name in one["options"].get("renameByName", {}):
                if not name.startswith(("Value", "Time")) and name not in known:
                    yield panel["title"], f"no query has a label {name}"


@rule
def thresholds_exist(board: Board) -> Iterator[Complaint]:
    """A threshold that is drawn is one that is recorded."""
    recorded = {one.labels["name"] for one in rules() if one.name.startswith("chainwatch:threshold") and one.labels}
    for query in board.promql():
        for selector in selectors(query.promql):
            name = selector.labels.get("name", "")
            if selector.metric == "chainwatch:threshold" and name and set(name.split("|")) - recorded:
                yield query.where, f"there is no threshold {name}"


@rule
def links_lead_somewhere(board: Board) -> Iterator[Complaint]:
    """Links lead to boards that exist, and set variables that these have."""
    known = {one.uid: one for one in boards()}
    for link in board.links():
        if link.board is None or "$" in link.board:
            continue
        if link.board not in known:
            yield link.where, f"leads to {link.board}, which is no board"
            continue
        for name in sorted(link.variables - known[link.board].variables.keys()):
            yield link.where, f"sets {name}, which {link.board} does not have"
        for name in sorted(link.carried - board.variables.keys()):
            yield link.where, f"hands on {name}, which this board does not have"


@rule
def lines_exist(board: Board) -> Iterator[Complaint]:
    """Links to lines of the log name events, categories and levels that lines can have."""
    known = {
        "event": {one.name for one in (*patterns.MESSAGES, *log_patterns.MESSAGES)},
        "category": {one.decode() for one in CATEGORIES} | {str(one) for one in log_patterns.Category},
        "level": {"trace", "debug", "info", "warning", "error", "unknown"},
    }
    for link in board.links():
        for name, values in link.fixed.items() if link.board == "chainwatch-logs" else ():
            for value in values:
                if name in known and value not in known[name]:
                    yield link.where, f"no line has {name}={value}"


@rule
def lines_are_chosen(board: Board) -> Iterator[Complaint]:
    """Lines of the log are those of the chain, job and instance that were chosen."""
    for query in board.logql():
        for name in ("chain", "job", "instance"):
            if f'{name}=~"${name}"' not in query.expr:
                yield query.where, f'not selected by {name}=~"${name}": {query.expr}'


@rule
def fits_the_grid(board: Board) -> Iterator[Complaint]:
    """Panels stay within the page and do not lie over one another."""
    taken: dict[tuple[int, int], str] = {}
    for panel in board.json["panels"]:
        for one in (panel, *panel.get("panels", [])):
            place = one["gridPos"]
            if place["x"] + place["w"] > GRAFANA_COLUMNS:
                yield one["title"], f"ends at column {place['x'] + place['w']}"
        place = panel["gridPos"]
        for y in range(place["y"], place["y"] + place["h"]):
            for x in range(place["x"], place["x"] + place["w"]):
                if other := taken.setdefault((x, y), panel["title"]) != panel["title"]:
                    yield panel["title"], f"lies over {other}"


@rule
def panel_titles_differ(board: Board) -> Iterator[Complaint]:
    """People name a panel by its title."""
    titles = [(panel["title"], panel["type"]) for panel in board.panels]
    for title, kind in sorted({one for one in titles if titles.count(one) > 1}):
        yield title, f"is the title of several panels of type {kind}"
