"""The complete debug.log files of our own nodes give the counts that their scenarios and plain grep give."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from chainwatch.families.bitcoin.log.metrics import LogMetrics
from chainwatch.families.bitcoin.log.reasons import block_class
from tests.conformance.paths import recording
from tests.unit.bitcoin.log_samples import counts, histogram, invalid_blocks, positive

PHASES = "bitcoin_block_connect_phase_seconds"


@dataclass(frozen=True)
class Truth:
    """What a log must give; the numbers of lines come from `grep -c`, the rest as the comments say."""

    lines: int  # wc -l
    errors: int  # 'Z ERROR: ', 'Z [error] '
    warnings: int  # 'Z Warning: ', 'Z [warning] '
    misbehaving: int  # 'Misbehaving: '
    accepted: int  # 'AcceptToMemoryPool: peer='
    connected: int  # '- Connect block'
    undo: int | None  # 'Write undo data'; None where the version has none
    header_to_tip: int
    rejected: Mapping[tuple[str, str], int] = field(default_factory=dict)
    invalid: Mapping[tuple[str, str], int] = field(default_factory=dict)


ORPHAN = ("orphan", "bad-txns-inputs-missingorspent")
LOW_FEE = ("fee", "min relay fee not met")
CONFLICT = ("conflict", "txn-mempool-conflict")
TOO_MUCH = ("consensus", "bad-txns-in-belowout")

TRUTHS = {
    # Invalid: eight blocks and one with an unknown parent by submitblock (submitblock_results.json), one marked by
    # invalidateblock; by P2P one that pays too much, one with a wrong merkle root, one header without work.
    # Header to tip: the four blocks of B's branch and B's last two (`Requesting block` and `received block`).
    "litecoind/debug_A_full.log": Truth(
        lines=5078,
        errors=20,
        warnings=4,
        misbehaving=5,
        accepted=0,
        connected=126,
        undo=None,
        header_to_tip=6,
        rejected={
            ORPHAN: 1,
            LOW_FEE: 1,
            CONFLICT: 1,
            TOO_MUCH: 1,
            ("standard", "non-mandatory-script-verify-flag"): 1,
        },
        invalid={
            ("consensus", "operator"): 1,
            ("mutated", "operator"): 2,
            ("header", "operator"): 6,
            ("other", "operator"): 1,
            ("consensus", "network"): 1,
            ("mutated", "network"): 1,
            ("header", "network"): 1,
        },
    ),
    # B saw the two blocks that pay too much, relayed by A before A had connected them. Header to tip: 115 of the 120
    # blocks came from A; block 20 was put together while its parent was not the tip, so no line told its hash.
    "litecoind/debug_B_full.log": Truth(
        lines=3074,
        errors=7,
        warnings=0,
        misbehaving=0,
        accepted=1,
        connected=120,
        undo=None,
        header_to_tip=114,
        invalid={("consensus", "network"): 2},
    ),
    # As litecoind A. The corrupt copy of the tip is looked at here, the header without work is not named any more.
    "bitcoind31/debug_A_full.log": Truth(
        lines=22996,
        errors=11,
        warnings=2,
        misbehaving=4,
        accepted=1,
        connected=126,
        undo=125,
        header_to_tip=6,
        rejected={ORPHAN: 1, LOW_FEE: 1, TOO_MUCH: 1, ("standard", "mempool-script-verify-flag-failed"): 1},
        invalid={
            ("consensus", "operator"): 1,
            ("mutated", "operator"): 3,
            ("header", "operator"): 6,
            ("other", "operator"): 1,
            ("consensus", "network"): 1,
            ("mutated", "network"): 1,
        },
    ),
    # Header to tip: 'Saw new header' and 'Saw new cmpctblock header' name 115 of the tips.
    "bitcoind31/debug_B_full.log": Truth(
        lines=4324,
        errors=2,
        warnings=1,
        misbehaving=0,
        accepted=1,
        connected=122,
        undo=121,
        header_to_tip=115,
        invalid={("consensus", "network"): 2},
    ),
    # Only the four blocks of the other branch came from a peer. Refusals by RPC are not logged.
    "bitcoinsv/bitcoind_A_full.log": Truth(
        lines=4436, errors=2, warnings=0, misbehaving=0, accepted=0, connected=114, undo=None, header_to_tip=4
    ),
}


def read(name: str, step: int = 256 * 1024) -> LogMetrics:
    """Read a recording in steps of whole lines, as the follower hands them on, and let all reasons come."""
    now = 0.0
    metrics = LogMetrics(clock=lambda: now)
    data, start = recording(name).read_bytes(), 0
    while start < len(data):
        end = data.rfind(b"\n", start, start + step) + 1
        metrics.feed(data[start:end])
        start = end
    now += 10
    return metrics


@pytest.mark.parametrize("name", TRUTHS)
def test_log_gives_the_counts_of_its_scenario(name: str) -> None:
    truth, metrics = TRUTHS[name], read(name)
    found = counts(metrics)
    assert found["bitcoin_log_lines_total"] == truth.lines
    assert found["bitcoin_log_bytes_total"] == recording(name).stat().st_size
    assert found["bitcoin_log_messages_total", "error"] == truth.errors
    assert found["bitcoin_log_messages_total", "warning"] == truth.warnings
    assert found.get("bitcoin_misbehaving_total", 0) == truth.misbehaving
    assert found.get("bitcoin_mempool_accepted_total", 0) == truth.accepted
    assert found["bitcoin_log_rate_limits_total"] == found["bitcoin_log_rate_limited"] == 0
    assert found["bitcoin_block_download_timeouts_total"] == found["bitcoin_block_stalling_total"] == 0
    assert positive(metrics, "bitcoin_mempool_rejected_total") == truth.rejected
    assert invalid_blocks(metrics) == truth.invalid


@pytest.mark.parametrize("name", TRUTHS)
def test_log_gives_the_durations_of_its_blocks(name: str) -> None:
    truth, metrics = TRUTHS[name], read(name)
    header_to_tip = histogram(metrics, "bitcoin_header_to_tip_seconds")
    assert header_to_tip is not None
    assert header_to_tip[0] == truth.header_to_tip
    # The genesis block is not checked, so it has no lines for the parts in between.
    found = {phase: histogram(metrics, PHASES, phase=phase) for phase in ("load", "total", "sanity", "undo")}
    assert {phase: value[0] for phase, value in found.items() if value is not None} == {
        "load": truth.connected,
        "total": truth.connected,
        "sanity": truth.connected - 1,
    } | ({"undo": truth.undo} if truth.undo is not None else {})


@pytest.mark.parametrize("name", TRUTHS)
def test_total_connect_time_is_the_sum_of_the_logs_own_numbers(name: str) -> None:
    text = recording(name).read_text(errors="replace")
    milliseconds = sum(float(value) for value in re.findall(r" - Connect block: ([\d.]+)ms", text))
    total = histogram(read(name), PHASES, phase="total")
    assert total is not None
    assert total[1] == pytest.approx(milliseconds / 1000)


@pytest.mark.parametrize("folder", ["litecoind", "bitcoind31"])
def test_submitted_blocks_are_classified_as_the_rpc_answered(folder: str) -> None:
    answers = json.loads(recording(f"{folder}/submitblock_results.json").read_text())
    refused = [each["result"] for each in answers.values() if each["result"] not in (None, "inconclusive")]
    classes = [block_class(reason) for reason in refused]
    found = {
        key[0]: value for key, value in TRUTHS[f"{folder}/debug_A_full.log"].invalid.items() if key[1] == "operator"
    }
    corrupt = folder == "bitcoind31"  # a corrupted copy of a known block, which 0.21 calls a duplicate
    assert found == {name: classes.count(name) + (corrupt and name == "mutated") for name in set(classes)} | {
        "other": 1
    }


@pytest.mark.parametrize("name", TRUTHS)
def test_counts_do_not_depend_on_how_the_log_was_cut_into_steps(name: str) -> None:
    small, large = counts(read(name, step=700)), counts(read(name, step=1 << 30))
    assert small == large
