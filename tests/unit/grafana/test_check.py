"""`chainwatch grafana check` asks what somebody who opens a board would ask, and says what came back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chainwatch.errors import ConfigError
from chainwatch.grafana.errors import GrafanaError
from tests.unit.grafana.conftest import Run, board, target, write
from tests.unit.grafana.stub import TOKEN, Grafana, frames

EMPTY = {"status": 200, "frames": [{"schema": {"fields": []}, "data": {"values": []}}]}


def variable(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "query", "datasource": {"type": "prometheus"}, "includeAll": True, **more}


def panel(title: str, *targets: dict[str, Any]) -> dict[str, Any]:
    return {"type": "timeseries", "title": title, "targets": list(targets)}


def expressions(grafana: Grafana) -> list[str]:
    return [query["expr"] for query in grafana.queries]


def test_each_panel_is_data_empty_or_error(run: Run, grafana: Grafana, boards: Path) -> None:
    asked = [panel("Up", target("up")), panel("Reorgs", target("reorgs")), panel("Broken", target("up("))]
    write(boards, board("fleet", *asked))
    answers = {"up": frames([1.0], [1.0]), "reorgs": EMPTY, "up(": {"error": "bad_data: unclosed paren", "status": 400}}
    grafana.answer = lambda query: answers[query["expr"]]
    code, out = run("check")
    assert code == 1
    assert out.splitlines() == [
        "prometheus: data source prom-uid",
        "loki: data source loki-uid",
        "Board fleet (fleet)",
        "  data   Up",
        "  empty  Reorgs",
        "  error  Broken: A: bad_data: unclosed paren",
        "Board node (node)",
        "  data   Height",
        "2 boards, 4 panels: 2 data, 1 empty, 1 error.",
    ]
    assert grafana.writes == []


def test_the_exit_code_tells_all_data_from_some_empty(run: Run, grafana: Grafana) -> None:
    assert run("check")[0] == 0
    grafana.answer = lambda query: EMPTY
    assert run("check")[0] == 2


def test_panels_in_folded_rows_are_asked_and_texts_are_not(run: Run, grafana: Grafana, boards: Path) -> None:
    row = {"type": "row", "title": "Detail", "panels": [panel("Inside", target("inside"))]}
    write(boards, board("fleet", {"type": "text", "title": "Words"}, row))
    _, out = run("check")
    assert "  data   Inside\n" in out
    assert "Words" not in out


def test_variables_have_the_values_of_all_and_grafanas_own_stay(run: Run, grafana: Grafana, boards: Path) -> None:
    asked = 'rate(x{chain=~"$chain",job=~"${job}",instance=~"${instance:regex}",v=~"[[v]]"}[$__rate_interval])'
    lines = target('{job=~"$job"} |~ "$search"', kind="loki")
    choices = [
        {"name": "datasource", "type": "datasource", "query": "prometheus"},
        variable("chain", allValue=".+"),
        variable("job", allValue=".*"),
        variable("instance", allValue=None),
        {"name": "search", "type": "textbox", "current": {"value": ""}},
        {"name": "v", "type": "custom", "current": {"value": ["a", "b"]}},
    ]
    write(
        boards,
        board("fleet", panel("Rate", target(asked)), panel("Lines", lines), templating={"list": choices}),
    )
    assert run("check")[0] == 0
    assert expressions(grafana)[:2] == [
        'rate(x{chain=~".+",job=~".*",instance=~".+",v=~"a|b"}[$__rate_interval])',
        '{job=~".*"} |~ ""',
    ]


def test_a_variable_without_all_has_its_first_value(run: Run, grafana: Grafana, boards: Path) -> None:
    single = variable("validator", includeAll=False, definition='label_values(seen{chain=~"$chain"}, validator)')
    choices = {"list": [variable("chain", allValue=".+"), single]}
    write(boards, board("fleet", panel("Votes", target('votes{validator="$validator"}')), templating=choices))

    def answer(query: dict[str, Any]) -> dict[str, Any]:
        if query["expr"] != 'count by (validator) (seen{chain=~".+"})':
            return frames([1.0], [1.0])
        both = [frames([1.0], [1.0], labels={"validator": name})["frames"][0] for name in ("BB", "AA")]
        return {"status": 200, "frames": both}

    grafana.answer = answer
    assert run("check")[0] == 0
    assert 'votes{validator="AA"}' in expressions(grafana)


def test_a_variable_of_a_query_has_what_its_regex_takes_of_the_first_series(
    run: Run, grafana: Grafana, boards: Path
) -> None:
    ours = variable(
        "validator",
        includeAll=False,
        definition='query_result(sort_desc(power{chain=~"$chain"}))',
        regex='/name="(?<text>[^"]*)".*validator="(?<value>[0-9A-F]+)"/',
    )
    choices = {"list": [variable("chain", allValue=".+"), ours]}
    write(boards, board("fleet", panel("Votes", target('votes{validator="$validator"}')), templating=choices))

    def answer(query: dict[str, Any]) -> dict[str, Any]:
        if query["expr"] != 'sort_desc(power{chain=~".+"})':
            return frames([1.0], [1.0])
        labels = ({"validator": "BB", "name": "ours"}, {"validator": "AA", "name": "other"})
        return {"status": 200, "frames": [frames([1.0], [1.0], labels=each)["frames"][0] for each in labels]}

    grafana.answer = answer
    assert run("check")[0] == 0
    assert 'votes{validator="BB"}' in expressions(grafana)


def test_the_board_is_asked_over_the_time_it_opens_with(run: Run, grafana: Grafana, boards: Path) -> None:
    write(boards, board("fleet", panel("Up", target("up")), time={"from": "now-7d", "to": "now"}))
    run("check")
    bodies = [body for _, path, body in grafana.requests if path == "/api/ds/query"]
    assert [(body["from"], body["to"]) for body in bodies] == [("now-7d", "now"), ("now-3h", "now")]


def test_a_line_for_the_alerts_threshold_is_no_data(run: Run, grafana: Grafana, boards: Path) -> None:
    line = target('max by (chain) (chainwatch:threshold{name="x"})', "B")
    write(boards, board("fleet", panel("Lag", target("lag"), line)))
    grafana.answer = lambda query: EMPTY if query["expr"] == "lag" else frames([1.0], [1.0])
    code, out = run("check")
    assert code == 2
    assert "  empty  Lag\n" in out


def test_a_panel_with_one_query_of_two_empty_has_data_and_says_which(run: Run, grafana: Grafana, boards: Path) -> None:
    write(boards, board("fleet", panel("Peers", target("in"), target("out", "B"))))
    grafana.answer = lambda query: EMPTY if query["expr"] == "out" else frames([1.0], [1.0])
    code, out = run("check")
    assert code == 0
    assert "  data   Peers: nothing for B\n" in out


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ('Post "http://bob:hunter2@prom:9090/api/v1/query?token=hunter2": refused', 'Post "http://…@prom:9090/api'),
        ("two\nlines \x1b[31m", r"two\nlines \x1b[31m"),
        ("long " * 200, "long long"),
    ],
)
def test_errors_of_data_sources_show_no_secrets_and_stay_on_their_line(
    run: Run, grafana: Grafana, words: str, shown: str
) -> None:
    grafana.answer = lambda query: {"error": words, "status": 502}
    code, out = run("check")
    assert code == 1
    assert shown in out
    assert "hunter2" not in out
    assert max(map(len, out.splitlines())) < 400


def test_an_error_that_repeats_the_token_does_not_show_it(run: Run, grafana: Grafana) -> None:
    grafana.answer = lambda query: {"error": f"upstream got Bearer {TOKEN}", "status": 502}
    assert "upstream got Bearer …" in run("check")[1]  # and `run` looks for the token


def test_named_data_sources_are_asked_and_others_not_looked_for(run: Run, grafana: Grafana) -> None:
    grafana.may_list_sources = False
    code, _ = run("check", "--grafana.prometheus=other-uid", "--grafana.loki=loki-uid")
    assert code == 0
    assert grafana.queries[0]["datasource"] == {"type": "prometheus", "uid": "other-uid"}


def test_a_token_that_may_not_list_data_sources_is_told_what_to_give(run: Run, grafana: Grafana) -> None:
    grafana.may_list_sources = False
    with pytest.raises(ConfigError, match=r"^grafana\.prometheus: not given, .*datasources:read.*; expected uids"):
        run("check")


def test_without_a_loki_its_panels_are_empty_and_say_why(run: Run, grafana: Grafana, boards: Path) -> None:
    grafana.sources = [source for source in grafana.sources if source["type"] == "prometheus"]
    write(boards, board("fleet", panel("Lines", target('{job="x"}', kind="loki"))))
    code, out = run("check")
    assert code == 2
    assert "  empty  Lines: no data source of type loki in Grafana\n" in out


def test_a_data_source_that_does_not_exist_is_an_error_of_each_panel(run: Run) -> None:
    code, out = run("check", "--grafana.prometheus=gone", "--grafana.loki=gone")
    assert code == 1
    assert "panel Height of node at http://127.0.0.1:" in out
    assert ": 404 Data source not found" in out


@pytest.mark.parametrize(
    "answer",
    [
        5,
        {"frames": 5},
        {"frames": [None]},
        {"frames": [{"schema": None}]},
        {"frames": [{"schema": {"fields": 5}}]},
        {"frames": [{"schema": {"fields": [None]}}]},
        {"frames": [{"schema": {"fields": [{"labels": ["job"]}]}}]},
        {"frames": [{"schema": {"fields": [{"labels": {"job": 5}}]}}]},
        {"frames": [{"data": None}]},
        {"frames": [{"data": {"values": 5}}]},
        {"frames": [{"data": {"values": [5]}}]},
    ],
)
@pytest.mark.parametrize(
    ("asked", "what"), [("up", "panel Up of fleet"), ("count by (job) (seen)", "a variable of fleet")]
)
def test_a_result_of_another_shape_is_one_line(
    run: Run, grafana: Grafana, boards: Path, answer: Any, asked: str, what: str
) -> None:
    choices = {"list": [variable("job", includeAll=False, definition="label_values(seen, job)")]}
    write(boards, board("fleet", panel("Up", target("up")), templating=choices))
    grafana.answer = lambda query: answer if query["expr"] == asked else frames([1.0], [1.0])
    said = rf"^{what} at {grafana.url}: the answer is not as Grafana documents it; which version is it\?$"
    with pytest.raises(GrafanaError, match=said):
        run("check")


@pytest.mark.parametrize("answer", [[], {}, {"results": None}, {"results": []}])
def test_an_answer_without_results_is_one_line(run: Run, grafana: Grafana, answer: object) -> None:
    grafana.misshapen = {"POST /api/ds/query": answer}
    with pytest.raises(GrafanaError, match=r"^panel Height of node at .*: the answer is not as Grafana documents it"):
        run("check")


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"frames": None},
        {"frames": [{}]},
        {"frames": [{"schema": {"fields": None}, "data": {"values": None}}]},
        {"frames": [{"schema": {"fields": [{"labels": None}]}, "data": {"values": [None, []]}}]},
    ],
)
def test_what_is_absent_or_an_empty_list_of_gos_is_empty(run: Run, grafana: Grafana, answer: Any) -> None:
    grafana.answer = lambda query: answer
    code, out = run("check")
    assert (code, "  empty  Height\n" in out) == (2, True)


def test_a_query_without_a_result_is_an_error_of_its_panel(run: Run, grafana: Grafana) -> None:
    grafana.misshapen = {"POST /api/ds/query": {"results": {}}}
    code, out = run("check")
    assert (code, "  error  Height: A: no answer\n" in out) == (1, True)
