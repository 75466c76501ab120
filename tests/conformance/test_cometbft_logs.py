"""The log patterns find what real nodes wrote, in both formats, and nothing else."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import re2

from chainwatch.families.cometbft.log_patterns import (
    JSON_LEVEL,
    JSON_MESSAGE,
    JSON_MODULE,
    MESSAGES,
    PLAIN,
    PLAIN_LEVELS,
    Category,
    Message,
)
from tests.conformance.paths import recording

# level, message, fields
Line = tuple[str, str, Mapping[str, str]]


def plain(line: str) -> Line:
    found = re2.search(PLAIN.regex, line)
    assert found is not None, line
    fields = {
        key: quoted or bare for key, quoted, bare in re.findall(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))', found["fields"])
    }
    return PLAIN_LEVELS[found["level"]], found["message"], fields


def as_json(line: str) -> Line:
    entry = json.loads(line)
    assert JSON_MODULE in entry
    return entry[JSON_LEVEL], entry[JSON_MESSAGE], {key: str(value) for key, value in entry.items()}


def lines(name: str) -> Iterator[Line]:
    path: Path = recording("cometbft/logs") / name
    for line in path.read_text().splitlines():
        yield as_json(line) if "_json" in name else plain(line)


def message(line: Line) -> Message | None:
    _, text, fields = line
    for candidate in MESSAGES:
        if re2.search(candidate.regex, text) and all(
            re2.search(regex, fields.get(key, "")) for key, regex in candidate.where.items()
        ):
            return candidate
    return None


def counts(name: str) -> Counter[str]:
    return Counter(found.name for line in lines(name) if (found := message(line)))


def categories(name: str) -> Counter[str]:
    return Counter(found.category.value for line in lines(name) if (found := message(line)))


def test_both_formats_of_one_run_tell_the_same_and_no_trouble() -> None:
    for name in ("happy_node0_plain.log", "happy_full_json.log"):
        found = categories(name)
        assert found[Category.PROGRESS] >= 20
        assert not {Category.FATAL, Category.DOUBLE_SIGN, Category.ROUND, Category.SIGNER} & found.keys()


def test_every_height_ends_its_commit_timeout_and_none_of_them_is_a_failed_round() -> None:
    found = counts("happy_node0_plain.log")
    assert found["next_height"] >= 5
    assert found["timed_out"] == 0


def test_extra_rounds_are_told_with_their_timeouts_and_proposers() -> None:
    found = counts("many_rounds_node0_plain.log")
    assert found["timed_out"] > 20
    assert found["next_round"] > 10
    proposers = {
        fields["proposer"]
        for _, text, fields in lines("many_rounds_node0_plain.log")
        if text == "resetting proposal info"
    }
    assert all(re.fullmatch("[0-9A-F]{40}", proposer) for proposer in proposers)
    assert len(proposers) == 4


def test_a_halt_is_one_timeout_and_then_silence() -> None:
    assert counts("halt_node0_plain.log")["timed_out"] == 1


@pytest.mark.parametrize(
    "name", ["consensus_failure_node1_plain_excerpt.log", "consensus_failure_full_json_excerpt.log"]
)
def test_a_consensus_failure_is_fatal_in_both_formats_and_told_once(name: str) -> None:
    assert counts(name)["consensus_failure"] == 1
    assert categories(name)[Category.FATAL] == 1


def test_a_double_sign_is_told_by_peers_before_the_evidence_and_by_the_signer_itself() -> None:
    order = [found.name for line in lines("double_sign_node0_debug_excerpt.log") if (found := message(line))]
    assert order.index("conflicting_votes") < order.index("evidence_verified")
    assert counts("double_sign_node3_plain_excerpt.log")["conflicting_vote_of_ours"] >= 1
    assert counts("double_sign_full_json_excerpt.log")["conflicting_votes"] >= 1


def test_a_lost_reader_is_told_by_the_node() -> None:
    assert counts("slow_client_full_json_excerpt.log")["slow_client"] == 16


def test_a_change_of_the_set_is_told() -> None:
    assert counts("valset_change_node0_plain_excerpt.log")["validators_updated"] >= 4


def test_errors_by_level_are_harmless_or_named() -> None:
    unnamed = {
        line[1]
        for path in recording("cometbft/logs").iterdir()
        for line in lines(path.name)
        if line[0] == "error" and message(line) is None
    }
    assert unnamed == set()


def test_a_request_that_makes_a_handler_panic_is_of_rpc() -> None:
    [panic] = [line for line in lines("ws_errors_full_json.log") if line[1].startswith("Panic")]
    found = message(panic)
    assert panic[0] == "error"
    assert found is not None
    assert (found.name, found.category, found.quote) == ("rpc_panic", Category.RPC, panic[1])


def test_every_line_of_every_recording_has_level_message_and_module() -> None:
    total = sum(1 for path in recording("cometbft/logs").iterdir() for _ in lines(path.name))
    assert total > 1500
