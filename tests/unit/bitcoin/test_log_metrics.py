"""Lines of debug.log become the right counts, whatever stands between them."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.families.bitcoin.log.metrics import LogMetrics
from tests.unit.bitcoin.log_samples import Key, counts, histogram, invalid_blocks

A, B, C = "a" * 64, "b" * 64, "c" * 64
PHASES = "bitcoin_block_connect_phase_seconds"


def about(seconds: float) -> object:
    return pytest.approx(seconds, abs=1e-5)  # the times of the log are Unix times with microseconds


class Log:
    """Writes lines as a node would, a tenth of a second apart, and reads them."""

    def __init__(self, thread: str = "") -> None:
        self.now = 0.0
        self.tenths = 0
        self.metrics = LogMetrics(clock=lambda: self.now)
        self.thread = thread

    def write(self, *messages: str, thread: str | None = None, mark: str = "") -> "Log":
        name = self.thread if thread is None else thread
        for message in messages:
            self.tenths += 1
            minutes, rest = divmod(self.tenths, 600)
            stamp = f"2026-11-22T03:{minutes:02}:{rest // 10:02}.{rest % 10}00000Z"
            self.metrics.feed(f"{mark}{stamp} {f'[{name}] ' if name else ''}{message}\n".encode())
        return self

    def invalid(self) -> dict[Key, float]:
        self.now += 10  # longer than a reason may take to come
        return invalid_blocks(self.metrics)


def tip(block: str, height: int) -> str:
    return f"UpdateTip: new best={block} height={height} version=0x2 tx=1 date='2026-11-22T03:00:00Z' progress=1"


def chain_found(block: str) -> tuple[str, str]:
    rest = "height=118  log2_work=7.894818  date=2026-11-22T03:10:15Z"
    return f"InvalidChainFound: invalid block={block}  {rest}", f"InvalidChainFound:  current best={C}  {rest}"


def failing(block: str, reason: str = "bad-cb-amount", *, validation: bool = True) -> Iterable[str]:
    """The lines of a block that fails to connect, as 0.21 writes them."""
    if validation:
        yield f"BlockChecked: block hash={block} state={reason}"
    yield from chain_found(block)
    yield f"ERROR: ConnectTip: ConnectBlock {block} failed, {reason}"
    yield from chain_found(block)


def bench(*, load: str = "  - Load block from disk: 1.00ms [0.00s]", whole: bool = True) -> list[str]:
    template = [
        "    - Sanity checks: 2.00ms [0.00s (0.00ms/blk)]",
        "    - Fork checks: 3.00ms [0.00s (infms/blk)]",
        "      - Connect 8 transactions: 4.00ms (0.006ms/tx, 0.007ms/txin) [0.00s (0.01ms/blk)]",
        "    - Verify 7 txins: 5.00ms (0.011ms/txin) [0.00s (0.02ms/blk)]",
    ]
    rest = [
        "    - Index writing: 6.00ms [0.00s (0.01ms/blk)]",
        "  - Connect total: 7.00ms [0.01s (0.04ms/blk)]",
        "  - Flush: 8.00ms [0.00s (0.00ms/blk)]",
        "  - Writing chainstate: 9.00ms [0.00s (0.00ms/blk)]",
        "  - Connect postprocess: 10.00ms [0.01s (0.03ms/blk)]",
        "- Connect block: 11.00ms [0.02s (0.07ms/blk)]",
    ]
    return [load, *template, *rest] if whole else template


@pytest.mark.parametrize("validation", [True, False], ids=["with debug=validation", "without"])
def test_block_that_fails_to_connect_is_counted_once_although_printed_twice(validation: bool) -> None:
    log = Log().write(f"received block {A} peer=3", *failing(A, validation=validation), tip(B, 9))
    assert log.invalid() == {("consensus", "network"): 1}


def test_block_checked_again_by_reconsiderblock_is_not_counted_again() -> None:
    log = Log("msghand").write(*failing(A))
    log.write("ThreadRPCServer method=reconsiderblock user=u", *failing(A), thread="httpworker.1")
    assert log.invalid() == {("consensus", "network"): 1}


def test_mutated_copies_of_one_block_are_counted_once_and_the_block_itself_apart() -> None:
    copy = f"BlockChecked: block hash={A} state=bad-txnmrklroot, hashMerkleRoot mismatch"
    refused = "ERROR: ProcessNewBlock: AcceptBlock FAILED (bad-txnmrklroot, hashMerkleRoot mismatch)"
    log = Log().write(*[f"received block {A} peer=3", copy, refused] * 3, *failing(A))
    assert log.invalid() == {("mutated", "network"): 1, ("consensus", "network"): 1}


def test_mutated_block_of_27_and_later_is_counted_once_for_its_two_lines() -> None:
    lines = (f"[net] received block {A} peer=4", "[validation] Block mutated: bad-txnmrklroot, hashMerkleRoot mismatch")
    log = Log().write(*lines, "[net] Received mutated block from peer=4", "[net] Misbehaving: peer=4: mutated block")
    assert log.invalid() == {("mutated", "network"): 1}
    log.write(*lines, "[net] Received mutated block from peer=4")
    assert log.invalid() == {("mutated", "network"): 1}
    log.write(f"[net] received block {B} peer=5", "[net] Received mutated block from peer=5")
    assert log.invalid() == {("mutated", "network"): 2}


def test_refused_block_without_its_hash_is_counted_where_no_line_before_told_it() -> None:
    log = Log().write(
        "[error] ProcessNewBlock: AcceptBlock FAILED (time-too-new, block timestamp too far in the future)"
    )
    assert log.invalid() == {("header", "network"): 1}


def test_refused_block_is_counted_although_another_failed_to_connect_for_the_same_reason() -> None:
    log = Log().write(*failing(A, "bad-txns-x"), "ERROR: ProcessNewBlock: AcceptBlock FAILED (bad-txns-x)")
    assert log.invalid() == {("consensus", "network"): 2}


def test_block_refused_for_a_fault_of_the_node_is_not_counted() -> None:
    assert Log().write("[error] ProcessNewBlock: AcceptBlock FAILED ()").invalid() == {}


def test_block_marked_invalid_before_it_was_refused_takes_the_reason_of_the_refusal() -> None:
    log = Log().write(
        *chain_found(A), "[error] ProcessNewBlock: AcceptBlock FAILED (bad-cb-height, block height mismatch)"
    )
    assert log.invalid() == {("consensus", "network"): 1}


def test_header_of_a_known_invalid_block_is_not_counted_again() -> None:
    log = Log().write(*failing(A), f"BlockChecked: block hash={A} state=duplicate-invalid")
    assert log.invalid() == {("consensus", "network"): 1}


def test_invalidateblock_is_the_operators_with_and_without_thread_names() -> None:
    assert Log().write(*chain_found(A)).invalid() == {("other", "operator"): 1}
    assert Log("httpworker.2").write(*chain_found(A)).invalid() == {("other", "operator"): 1}
    assert Log().write(*chain_found(A), tip(B, 8), *chain_found(B)).invalid() == {("other", "operator"): 2}


@pytest.mark.parametrize("after", [chain_found(B)[0], f"BlockChecked: block hash={B} state=Valid", tip(B, 8)])
def test_block_marked_invalid_is_settled_by_news_of_another_block(after: str) -> None:
    metrics = Log().write(*chain_found(A), after).metrics
    assert invalid_blocks(metrics) == {("other", "operator"): 1}


def test_block_marked_invalid_is_not_counted_before_its_reason_could_come() -> None:
    log = Log().write(*chain_found(A))
    assert invalid_blocks(log.metrics) == {}
    log.now += 1.5
    log.write(f"ERROR: ConnectTip: ConnectBlock {A} failed, bad-cb-amount")
    assert log.invalid() == {("consensus", "network"): 1}


@pytest.mark.parametrize("thread", ["httpworker.1", "http_pool_3", "worker1-N-HTTPServer"])
def test_invalid_block_on_an_rpc_thread_is_the_operators(thread: str) -> None:
    assert Log(thread).write(*failing(A)).invalid() == {("consensus", "operator"): 1}


def test_invalid_block_on_another_thread_is_the_networks_in_spite_of_a_call() -> None:
    log = Log("msghand").write("ThreadRPCServer method=submitblock user=u", thread="httpworker.1").write(*failing(A))
    assert log.invalid() == {("consensus", "network"): 1}


def test_invalid_block_after_submitblock_is_the_operators_where_lines_name_no_thread() -> None:
    log = Log().write("ThreadRPCServer method=submitblock user=u", *failing(A))
    assert log.invalid() == {("consensus", "operator"): 1}


@pytest.mark.parametrize(
    "evidence",
    [
        f"received block {A} peer=3",
        f"Saw new cmpctblock header hash={A} height=9 peer=3",
        f"Requesting block {A} from  peer=3",
    ],
)
def test_invalid_block_that_a_peer_sent_is_the_networks_in_spite_of_a_call(evidence: str) -> None:
    log = Log().write(evidence, "ThreadRPCServer method=submitblock user=u", *failing(A))
    assert log.invalid() == {("consensus", "network"): 1}


def test_call_of_a_miner_explains_one_block_and_not_the_next() -> None:
    log = Log().write("ThreadRPCServer method=submitblock user=u", tip(B, 9), *failing(A))
    assert log.invalid() == {("consensus", "network"): 1}


def test_call_explains_one_invalid_block_and_not_the_next() -> None:
    log = Log().write("ThreadRPCServer method=submitblock user=u", *failing(A), *failing(B))
    assert log.invalid() == {("consensus", "operator"): 1, ("consensus", "network"): 1}


def test_call_of_long_ago_explains_nothing() -> None:
    log = Log().write("ThreadRPCServer method=submitblock user=u", *["x"] * 101, *failing(A))
    assert log.invalid() == {("consensus", "network"): 1}


def test_flood_of_hashes_does_not_grow_the_memory() -> None:
    log = Log()
    for number in range(3000):
        log.write(
            f"BlockChecked: block hash={number:064x} state=high-hash",
            f"Saw new header hash={number:064x} height=1 peer=1",
        )
    assert log.invalid() == {("header", "network"): 3000}
    assert len(log.metrics._blocks._counted["header"]) <= 1024
    assert len(log.metrics._tips._seen) <= 1024


def test_header_to_tip_follows_several_blocks_at_once_by_hash() -> None:
    log = Log().write(f"Saw new header hash={A} height=1", f"Saw new header hash={B} height=2", tip(A, 1), tip(B, 2))
    assert histogram(log.metrics, "bitcoin_header_to_tip_seconds") == (2, about(0.4))


def test_tip_printed_while_disconnecting_does_not_end_a_blocks_way() -> None:
    log = Log().write(tip(C, 8), f"Saw new header hash={A} height=7", tip(A, 7), tip(B, 8))
    assert histogram(log.metrics, "bitcoin_header_to_tip_seconds") is None
    log.write(f"Saw new header hash={C[1:]}d height=9", tip(C[1:] + "d", 9))
    assert histogram(log.metrics, "bitcoin_header_to_tip_seconds") == (1, about(0.1))


def test_disconnect_is_known_by_its_bench_line_before_any_height_is() -> None:
    log = Log().write(f"Saw new header hash={A} height=7", "- Disconnect block: 0.04ms", tip(A, 7))
    assert histogram(log.metrics, "bitcoin_header_to_tip_seconds") is None


def test_block_that_returns_in_a_reorganisation_is_not_timed_again() -> None:
    log = Log().write(
        f"Saw new header hash={A} height=7", tip(A, 7), tip(B, 6), f"Saw new header hash={A} height=7", tip(A, 7)
    )
    assert histogram(log.metrics, "bitcoin_header_to_tip_seconds") == (1, about(0.1))


def test_compact_blocks_without_a_hash_are_matched_in_the_order_of_requests() -> None:
    log = Log()
    log.write("received: cmpctblock (260 bytes) peer=0", "sending getblocktxn (40 bytes) peer=0")  # A at 0.1 s
    log.write("received: cmpctblock (260 bytes) peer=0", "sending getblocktxn (40 bytes) peer=0")  # B at 0.3 s
    log.write("received: ping (8 bytes) peer=0", "received: blocktxn (99 bytes) peer=0")
    log.write(f"NewPoWValidBlock: block hash={A}", tip(A, 1))  # 0.8 s
    log.write("received: blocktxn (99 bytes) peer=0", f"NewPoWValidBlock: block hash={B}", tip(B, 2))  # 1.1 s
    assert histogram(log.metrics, "bitcoin_header_to_tip_seconds") == (2, about(0.7 + 0.8))


def test_compact_block_that_lacks_nothing_is_timed_from_its_arrival() -> None:
    log = Log().write("received: cmpctblock (260 bytes) peer=0", "received: blocktxn (33 bytes) peer=0")
    log.write(f"NewPoWValidBlock: block hash={A}", tip(A, 1))
    assert histogram(log.metrics, "bitcoin_header_to_tip_seconds") == (1, about(0.3))


@pytest.mark.parametrize("kind", ["ping", "", "a (b) c", "cmpctblock x"])
def test_any_other_message_ends_the_handling_of_a_compact_block(kind: str) -> None:
    log = Log().write("received: cmpctblock (260 bytes) peer=0", f"received: {kind} (8 bytes) peer=1")
    log.write(f"NewPoWValidBlock: block hash={A}", tip(A, 1))
    assert histogram(log.metrics, "bitcoin_header_to_tip_seconds") is None


def test_own_block_is_not_matched_to_a_message_of_another_thread() -> None:
    log = Log().write("received: cmpctblock (260 bytes) peer=0", thread="msghand")
    log.write(f"NewPoWValidBlock: block hash={A}", tip(A, 1), thread="httpworker.1")
    assert histogram(log.metrics, "bitcoin_header_to_tip_seconds") is None


def test_own_block_is_not_matched_to_an_earlier_message() -> None:
    log = Log().write("received: cmpctblock (260 bytes) peer=0", "received: ping (8 bytes) peer=0")
    log.write(f"NewPoWValidBlock: block hash={A}", tip(A, 1))
    log.write(f"Saw new header hash={B} height=2", tip(B, 2), thread="httpworker.1")
    assert histogram(log.metrics, "bitcoin_header_to_tip_seconds") is None


def test_old_blocks_of_the_initial_download_are_not_timed() -> None:
    old = tip(A, 1).replace("2026-11-22T03:00:00Z", "2026-11-20T03:00:00Z")
    log = Log().write(f"Requesting block {A} from  peer=1", old)
    assert histogram(log.metrics, "bitcoin_header_to_tip_seconds") is None


def test_phases_of_a_block_are_reported_in_seconds_and_those_of_a_template_are_not() -> None:
    log = Log().write(*bench(whole=False), *bench(), *bench(whole=False))
    assert histogram(log.metrics, PHASES, phase="sanity") == (1, about(0.002))
    assert histogram(log.metrics, PHASES, phase="connect") == (1, about(0.004))
    assert histogram(log.metrics, PHASES, phase="total") == (1, about(0.011))
    assert histogram(log.metrics, PHASES, phase="undo") is None


def test_phases_of_a_failed_block_are_dropped() -> None:
    failed = bench()[:4]
    log = Log().write(*failed, *bench(whole=False), *bench())
    assert histogram(log.metrics, PHASES, phase="fork_checks") == (1, about(0.003))
    log = Log().write(*failed, bench()[0], bench()[-1])
    assert histogram(log.metrics, PHASES, phase="fork_checks") is None
    assert histogram(log.metrics, PHASES, phase="total") == (1, about(0.011))


def test_phases_of_two_threads_do_not_mix() -> None:
    log = Log()
    for line in bench():
        log.write(line, thread="msghand")
        log.write(line.replace(".00ms", "0.00ms", 1), thread="scheduler")
    assert histogram(log.metrics, PHASES, phase="load") == (2, about(0.001 + 0.01))


def test_end_of_a_block_whose_beginning_was_not_read_is_dropped() -> None:
    assert histogram(Log().write(*bench()[3:]).metrics, PHASES, phase="total") is None
    assert histogram(Log().write(*bench(), *bench()[3:]).metrics, PHASES, phase="total") == (1, about(0.011))


def test_rate_limit_begins_with_the_mark_and_ends_with_the_first_line_without() -> None:
    log = Log().write("a").write("b", "c", mark="[*] ")
    assert counts(log.metrics)["bitcoin_log_rate_limited"] == 1
    assert counts(log.metrics)["bitcoin_log_rate_limits_total"] == 1
    log.metrics.feed(b"a line of a dump\n")
    assert counts(log.metrics)["bitcoin_log_rate_limited"] == 1
    log.write("d")
    assert counts(log.metrics)["bitcoin_log_rate_limited"] == 0
    excessive = "[warning] Excessive logging detected from net.cpp:1 (f): >1048576 bytes"
    log.write(excessive).write("e", excessive, mark="[*] ").write("f")  # a second source while the first is quiet
    assert counts(log.metrics)["bitcoin_log_rate_limits_total"] == 2


def test_marked_lines_count_like_others() -> None:
    log = Log().write(f"[mempoolrej] {A} from peer=1 was not accepted: dust", mark="[*] ")
    assert counts(log.metrics)["bitcoin_mempool_rejected_total", "standard", "dust"] == 1


@pytest.mark.parametrize(
    ("message", "level"),
    [
        ("ERROR: ConnectBlock(): x", "error"),
        ("[error] x", "error"),
        ("[net:error] x", "error"),
        ("Warning: x", "warning"),
        ("WARNING: x", "warning"),
        ("[warning] x", "warning"),
        ("[net] Warning: disconnecting but not discouraging local peer 3!", None),
        ("[wallet] ERROR: x", None),
        ("Warning without a colon", None),
    ],
)
def test_errors_and_warnings_are_counted_by_level_or_by_text(message: str, level: str | None) -> None:
    found = counts(Log().write(message).metrics)
    assert {name: found["bitcoin_log_messages_total", name] for name in ("error", "warning")} == {
        "error": float(level == "error"),
        "warning": float(level == "warning"),
    }


def test_simple_events_are_counted() -> None:
    log = Log().write(
        f"AcceptToMemoryPool: peer=1: accepted {A} (poolsz 1 txn, 1 kB)",
        f"{A} from peer=1 was not accepted: bad-txns-inputs-missingorspent",
        f"{A} from peer=1 was not accepted: {{evil}}",
        "Misbehaving: peer=1 (0 -> 20): x",
        f"Timeout downloading block {A}, disconnecting peer=7",
        "Peer=7 is stalling block download, disconnecting",
        "Potential stale tip detected, will try using extra outbound peer (last tip update: 7201 seconds ago)",
        f"Successfully reconstructed block {A} with 1 txn prefilled, 5 txn from mempool and 0 txn requested",
        f"Successfully reconstructed block {B} with 1 txn prefilled, 5 txn from mempool and 7 txn requested",
    )
    found = counts(log.metrics)
    assert found["bitcoin_mempool_accepted_total"] == 1
    assert found["bitcoin_mempool_rejected_total", "orphan", "bad-txns-inputs-missingorspent"] == 1
    assert found["bitcoin_mempool_rejected_total", "other", "other"] == 1
    assert found["bitcoin_misbehaving_total"] == 1
    assert found["bitcoin_block_download_timeouts_total"] == 1
    assert found["bitcoin_block_stalling_total"] == 1
    assert found["bitcoin_stale_tip_warnings_total"] == 1
    assert found["bitcoin_compact_blocks_total", "mempool"] == 1
    assert found["bitcoin_compact_blocks_total", "requested"] == 1
    assert found["bitcoin_compact_block_requested_transactions_total"] == 7
    assert found["bitcoin_log_lines_total"] == 9


def test_metric_of_a_category_is_absent_until_the_node_is_known_to_write_it() -> None:
    log = Log().write("x")
    assert "bitcoin_mempool_accepted_total" not in counts(log.metrics)
    log.metrics.categories({"mempool", "mempoolrej"})
    found = counts(log.metrics)
    assert found["bitcoin_mempool_accepted_total"] == 0
    assert found["bitcoin_mempool_rejected_total", "consensus", "bad-txns-vout-negative"] == 0
    assert "bitcoin_misbehaving_total" not in found


def test_old_lines_are_learnt_from_and_not_counted() -> None:
    metrics = LogMetrics()
    metrics.learn(f"2026-11-22T03:08:05Z {A} from peer=1 was not accepted: dust\n".encode())
    metrics.feed(b"2026-11-22 03:08:05 Misbehaving: peer=1 (0 -> 20): in another form\n")
    assert counts(metrics)["bitcoin_log_lines_total"] == 1
    assert "bitcoin_misbehaving_total" not in counts(metrics)
    assert "bitcoin_mempool_rejected_total" not in {
        name for name, *_ in (k for k in counts(metrics) if isinstance(k, tuple))
    }


@given(
    st.lists(
        st.binary(max_size=60) | st.sampled_from([tip(A, 1).encode(), b"\n", b"[*] ", b"2026-11-22T03:08:05Z "]),
        max_size=20,
    )
)
def test_any_bytes_are_read_without_error(pieces: list[bytes]) -> None:
    metrics = LogMetrics()
    chunk = b"".join(pieces) + b"\n"
    metrics.learn(chunk)
    metrics.feed(chunk)
    assert counts(metrics)["bitcoin_log_bytes_total"] == len(chunk)
