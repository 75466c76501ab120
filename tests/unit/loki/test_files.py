"""The shipped files: current, alike for promtail and Alloy, and written in a syntax that both can read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from chainwatch.families.bitcoin.log.patterns import MESSAGES
from chainwatch.families.cometbft import log_patterns as comet
from loki.files import HERE, JOBS, texts
from loki.stages import Job, Stage
from tests.lab.alloysyntax import AlloySyntaxMissingError, alloysyntax_program, complaints
from tests.unit.loki.re2_check import different_matches

REPOSITORY = HERE.parent
FIXTURES = REPOSITORY / "tests/fixtures"
ALLOY = [HERE / "alloy/config.alloy", HERE / "alloy/journald.alloy"]
PROMTAIL = [HERE / "promtail/promtail.yml", HERE / "promtail/promtail-journald.yml"]
CLOSED = {"level", "category", "event"}


def recorded_lines(job: Job) -> list[str]:
    """Excerpts of logs, and the patterns' own quotes."""
    files = FIXTURES.glob("*/log_*.txt") if job.name == "bitcoin" else FIXTURES.glob("cometbft/**/*.log")
    lines = [line for file in files for line in file.read_text(errors="replace").splitlines()]
    quotes = [f"2026-11-22T03:11:27Z {pattern.quote}" for pattern in MESSAGES]
    if job.name == "cometbft":
        quotes = [f"I[2026-11-22|11:36:53.673] {message.quote:44} module=x" for message in comet.MESSAGES]
        quotes += [comet.PLAIN.quote]
    return lines + quotes


def from_alloy(text: str) -> dict[str, list[dict[str, Any]]]:
    """The stages of each `loki.process`, in the shape that promtail's YAML has."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, body in re.findall(r'^loki\.process "(\w+)" \{\n(.*?)^\}', text, re.DOTALL | re.MULTILINE):
        stages = re.findall(r"^\tstage\.(\w+) \{\n(.*?)^\t\}", body, re.DOTALL | re.MULTILINE)
        found[name] = [{_promtail_name(stage): _arguments(block)} for stage, block in stages]
    return found


def _promtail_name(stage: str) -> str:
    return stage.replace("label_drop", "labeldrop")


def _arguments(block: str) -> Any:
    pairs = re.findall(r"^\t\t(\w+) += (\{.*?^\t\t\}|[^\n]+)", block, re.DOTALL | re.MULTILINE)
    values = {key: _literal(value) for key, value in pairs}
    return values.get("values", values)


def _literal(text: str) -> Any:
    if text.startswith("`"):
        return text[1:-1]
    if text.startswith("{"):
        # promtail writes nothing where Alloy has an empty text: the value is named like the key.
        return {
            key: json.loads(value) or None for key, value in re.findall(r'^\t\t\t(\w+) += (".*"),$', text, re.MULTILINE)
        }
    return json.loads(text)


def test_the_shipped_files_are_what_python_m_loki_writes() -> None:
    for path, text in texts().items():
        assert path.read_text() == text, f"{path.relative_to(REPOSITORY)} is not current: run `make generate`"


@pytest.mark.parametrize("number", [0, 1], ids=["files", "journald"])
def test_alloy_and_promtail_have_the_same_stages(number: int) -> None:
    jobs = yaml.safe_load(PROMTAIL[number].read_text())["scrape_configs"]
    assert from_alloy(ALLOY[number].read_text()) == {job["job_name"]: job["pipeline_stages"] for job in jobs}
    assert all(len(job["pipeline_stages"]) > 30 for job in jobs)


def test_the_journal_and_files_have_the_same_pipelines() -> None:
    files, journal = (
        [job["pipeline_stages"] for job in yaml.safe_load(path.read_text())["scrape_configs"]] for path in PROMTAIL
    )
    assert files == journal


def test_alloy_reads_its_files_and_finds_them_in_canonical_form() -> None:
    try:
        program = alloysyntax_program()
    except AlloySyntaxMissingError as missing:
        pytest.skip(str(missing))
    assert complaints(program, ALLOY) == ""


def test_the_checker_finds_a_broken_file_and_an_unusual_form(tmp_path: Path) -> None:
    try:
        program = alloysyntax_program()
    except AlloySyntaxMissingError as missing:
        pytest.skip(str(missing))
    broken, unusual = tmp_path / "broken.alloy", tmp_path / "unusual.alloy"
    broken.write_text('loki.write "default" {\n')
    unusual.write_text('loki.write "default" {\n  a = 1\n}\n')
    assert "broken.alloy:" in complaints(program, [broken])
    assert "canonical" in complaints(program, [unusual])


def test_every_expression_means_the_same_in_re2_and_in_python_on_recorded_lines() -> None:
    for job in JOBS:
        assert different_matches(job, recorded_lines(job)) == []


def test_only_closed_sets_become_labels() -> None:
    made = {
        name for job in JOBS for stage in job.pipeline if stage.name == "labels" for name in stage.arguments["values"]
    }
    assert made == CLOSED


def test_only_stages_that_convert_cleanly_are_used() -> None:
    names = {stage.name for job in JOBS for stage in job.pipeline}
    assert names <= {
        "regex",
        "json",
        "logfmt",
        "drop",
        "timestamp",
        "labels",
        "labeldrop",
        "structured_metadata",
        "template",
    }


def test_the_line_is_never_changed() -> None:
    assert not {"output", "replace", "pack", "multiline"} & {stage.name for job in JOBS for stage in job.pipeline}


def test_whatever_is_dropped_is_counted_under_a_reason_and_explained() -> None:
    drops: list[Stage] = [stage for job in JOBS for stage in job.pipeline if stage.name == "drop"]
    assert {stage.arguments["drop_counter_reason"] for stage in drops} == {"blank", "own_rpc_call", "next_height"}
    assert all(stage.why for stage in drops)


def test_targets_have_the_labels_that_prometheus_has_for_a_node() -> None:
    for job in JOBS:
        for entry in yaml.safe_load((HERE / f"targets/{job.name}.yml").read_text()):
            assert entry["labels"].keys() == {"job", "chain", "instance", "__path__"}
            assert entry["labels"]["job"] == job.name
            assert entry["labels"]["instance"] == job.instance
            assert entry["labels"]["chain"] == job.chain


def test_nothing_listens_beyond_loopback() -> None:
    for path in (*PROMTAIL, HERE / "loki.yml"):
        server = yaml.safe_load(path.read_text())["server"]
        assert {server["http_listen_address"], server["grpc_listen_address"]} == {"127.0.0.1"}
