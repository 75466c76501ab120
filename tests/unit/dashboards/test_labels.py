"""The list of what others export is short: what no board reads any more is not kept."""

from __future__ import annotations

from tests.rules import selectors
from tests.unit.dashboards.labels import FOREIGN
from tests.unit.dashboards.reading import boards


def test_every_foreign_metric_is_read_by_a_board() -> None:
    read = {one.metric for board in boards() for query in board.promql() for one in selectors(query.promql)}
    assert FOREIGN.keys() - read == set()
