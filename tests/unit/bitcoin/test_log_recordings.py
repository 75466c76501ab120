"""Excerpts from debug.log files of our own nodes give the counts of their scenarios.

Numbers are those of `grep -c` on the excerpt and of the refusals recorded with it.
"""

from pathlib import Path

import pytest

from chainwatch.families.bitcoin.log.metrics import LogMetrics
from tests.unit.bitcoin.log_samples import counts, histogram, invalid_blocks, positive

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


def read(name: str) -> LogMetrics:
    metrics = LogMetrics()
    metrics.feed((FIXTURES / name).read_bytes())
    return metrics


def header_to_tip(metrics: LogMetrics) -> tuple[float, float] | None:
    return histogram(metrics, "bitcoin_header_to_tip_seconds")


@pytest.mark.parametrize("node", ["litecoind", "bitcoind31"])
def test_reorganisation_connects_four_blocks_and_times_them(node: str) -> None:
    metrics = read(f"{node}/log_reorg.txt")  # two `- Disconnect block`, four `- Connect block`
    timed = header_to_tip(metrics)
    assert timed is not None
    assert timed[0] == 4
    connected = histogram(metrics, "bitcoin_block_connect_phase_seconds", phase="total")
    assert connected is not None
    assert connected[0] == 4


def test_reorganisation_is_timed_by_the_logs_own_times() -> None:
    # Requested at .650746 .650768 .650775 .650781, tip at .655467 .656475 .656731 .657897 of the same second.
    assert header_to_tip(read("litecoind/log_reorg.txt")) == (4, pytest.approx(0.0235, abs=1e-5))


def test_only_the_connected_block_is_measured_and_no_template() -> None:
    metrics = read("litecoind/log_block_connect.txt")  # three times `Sanity checks`, once `Connect block: 0.37ms`
    name = "bitcoin_block_connect_phase_seconds"
    assert histogram(metrics, name, phase="total") == (1, pytest.approx(0.00037))
    assert histogram(metrics, name, phase="connect") == (1, pytest.approx(0.00004))
    assert histogram(metrics, name, phase="undo") is None


@pytest.mark.parametrize("node", ["litecoind", "bitcoind31"])
def test_bad_block_of_a_peer_is_one_consensus_failure_of_the_network(node: str) -> None:
    assert invalid_blocks(read(f"{node}/log_invalid_block_p2p.txt")) == {("consensus", "network"): 1}


def test_nine_submitted_bad_blocks_are_the_operators() -> None:
    assert invalid_blocks(read("litecoind/log_invalid_block_rpc.txt")) == {
        ("consensus", "operator"): 1,
        ("mutated", "operator"): 2,
        ("header", "operator"): 6,
    }


def test_bad_block_whose_call_is_not_in_the_log_is_the_networks() -> None:
    # This excerpt begins after the first submitblock line: with no hint, a false alarm is better than silence.
    assert invalid_blocks(read("bitcoind31/log_invalid_block_rpc.txt")) == {
        ("consensus", "network"): 1,
        ("mutated", "operator"): 2,
        ("header", "operator"): 6,
    }


@pytest.mark.parametrize(
    ("node", "misbehaving", "rejected"),
    [
        (
            "litecoind",
            5,
            {
                ("standard", "non-mandatory-script-verify-flag"): 1,
                ("fee", "min relay fee not met"): 1,
                ("consensus", "bad-txns-in-belowout"): 1,
                ("orphan", "bad-txns-inputs-missingorspent"): 1,
                ("conflict", "txn-mempool-conflict"): 1,
            },
        ),
        (
            "bitcoind31",
            4,
            {
                ("standard", "mempool-script-verify-flag-failed"): 1,
                ("fee", "min relay fee not met"): 1,
                ("consensus", "bad-txns-in-belowout"): 1,
                ("orphan", "bad-txns-inputs-missingorspent"): 1,
            },
        ),
    ],
)
def test_rejects_and_misbehaviour_are_counted(
    node: str, misbehaving: int, rejected: dict[tuple[str, str], int]
) -> None:
    metrics = read(f"{node}/log_rejects_misbehave.txt")
    assert counts(metrics)["bitcoin_misbehaving_total"] == misbehaving
    assert positive(metrics, "bitcoin_mempool_rejected_total") == rejected
