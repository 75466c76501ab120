"""The parser of logql.py takes what the boards and Loki's rules ask, and refuses what Loki refuses."""

from __future__ import annotations

import pytest

from tests.rules import log_rules
from tests.unit.dashboards.logql import check
from tests.unit.dashboards.reading import boards, without_intervals

ASKED = {without_intervals(query.expr) for board in boards() for query in board.queries() if query.loki}
ASKED |= {rule.expr for rule in log_rules()}

# What the language has that the boards may come to need.
SOUND = [
    '{job="bitcoin"} | json | level!="" | line_format "{{ .level }}: {{__line__}}"',
    'quantile_over_time(0.99, {job="bitcoin"} | logfmt | unwrap milliseconds | __error__="" [5m] offset 1h30m)',
    'sum without (level) (rate({job="bitcoin"} != "noise" !~ `a|b` [5m])) * 60 >= 1',
    '(vector(1) unless on (job) count_over_time({job=~"b.+", level!=""} [1h])) / ignoring (job) vector(2)',
]

BROKEN = {
    "no query": "",
    "parenthesis left open": 'sum(rate({job="x"} [5m])',
    "parenthesis too many": 'sum(rate({job="x"} [5m])))',
    "brace left open": 'rate({job="x" [5m])',
    "bracket left open": 'rate({job="x"} [5m)',
    "string left open": '{job="x} |= `y`',
    "empty selector": "rate({} [5m])",
    "selector of anything": '{job=~".*", level!="error"}',
    "comma too many": '{job="x",}',
    "label without quotes": "{job=x}",
    "keyword as a label": '{by="x"}',
    "unknown function": 'rates({job="x"} [5m])',
    "unknown aggregation": 'total by (job) (rate({job="x"} [5m]))',
    "unknown parser": '{job="x"} | jsn',
    "unknown escape": r'{job="x"} |~ "\d"',
    "unknown sign": '{job="x"} ; {job="y"}',
    "broken regular expression": '{job="x"} |~ `(y`',
    "regular expression of other engines": '{job="x"} |~ `(?=y)`',
    "broken template": '{job="x"} | line_format "{{.level"',
    "line filter without text": '{job="x"} |=',
    "no window": 'rate({job="x"})',
    "window without unit": 'rate({job="x"} [5])',
    "window of lines alone": '{job="x"} [5m]',
    "function without lines": "rate(vector(1) [5m])",
    "aggregation of lines": 'sum({job="x"})',
    "numbers of lines": 'max_over_time({job="x"} [5m])',
    "count of numbers": 'count_over_time({job="x"} | unwrap bytes [5m])',
    "topk without a number": 'topk(sum by (job) (rate({job="x"} [5m])))',
    "operator without an operand": 'rate({job="x"} [5m]) or',
    "no operator": 'rate({job="x"} [5m]) rate({job="x"} [5m])',
    "set of a number": 'rate({job="x"} [5m]) or 0',
    "lines beside numbers": '{job="x"} or vector(0)',
    "label_replace of three": 'label_replace(vector(0), "a", "b", "c")',
}


def test_there_are_queries() -> None:
    assert len(ASKED) > 30


@pytest.mark.parametrize("query", sorted(ASKED) + SOUND)
def test_a_sound_query_is_taken(query: str) -> None:
    check(query)


@pytest.mark.parametrize("query", BROKEN.values(), ids=BROKEN)
def test_a_broken_query_is_refused(query: str) -> None:
    with pytest.raises(ValueError, match="wanted"):
        check(query)


def test_a_complaint_says_what_is_wanted_and_where() -> None:
    with pytest.raises(ValueError, match=r"^wanted , or \}, at 14: \[5m\]\)$"):
        check('rate({job="x" [5m])')
