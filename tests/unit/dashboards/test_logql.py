"""A real Loki takes every LogQL query of the boards for one."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator

import pytest

from tests.lab import Loki, LokiMissingError, web
from tests.unit.dashboards.reading import boards, without_intervals

QUERIES = sorted({(board.uid, query.where, query.expr) for board in boards() for query in board.logql()})


@pytest.fixture(scope="module")
def loki(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loki]:
    """Loki as shipped, without a line."""
    try:
        with Loki(tmp_path_factory.mktemp("loki")) as server:
            yield server
    except LokiMissingError as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize(("board", "panel", "expr"), QUERIES, ids=[f"{uid}: {panel}" for uid, panel, _ in QUERIES])
def test_loki_parses_the_query(loki: Loki, board: str, panel: str, expr: str) -> None:
    asked = urllib.parse.urlencode({"query": without_intervals(expr)})
    answer = json.loads(web.get(f"{loki.url}/loki/api/v1/format_query?{asked}"))
    assert answer["status"] == "success", f"{board}, {panel}: {expr}: {answer}"
