"""Prefixes of every version are taken off, and lines that this node would not write are left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.families.bitcoin.log.prefix import Line, PrefixReader

T = "2026-11-22T03:08:05.590964Z"
# 2026-11-22T03:08:05Z, from `date -u -d ... +%s`.
EPOCH = 1795316885


def read(*lines: str, reader: PrefixReader | None = None) -> list[Line]:
    return list((reader or PrefixReader()).read("".join(line + "\n" for line in lines).encode()))


def messages(lines: list[Line]) -> list[str]:
    return [line.message.decode() for line in lines]


@pytest.mark.parametrize(
    ("text", "thread", "category", "level", "message"),
    [
        ("2016-02-25 16:24:44 UpdateTip: x", None, None, None, "UpdateTip: x"),
        ("2026-11-22 03:13:52.923305 [main] Bitcoin SV version", "main", None, None, "Bitcoin SV version"),
        (
            "2026-11-22 03:14:46.335419 [worker2-N-CAsyncTaskPool] - Disconnect block: 0.06ms",
            "worker2-N-CAsyncTaskPool",
            None,
            None,
            "- Disconnect block: 0.06ms",
        ),
        ("2026-11-22T03:08:05Z UpdateTip: x", None, None, None, "UpdateTip: x"),
        (f"{T}   - Flush: 0.03ms", None, None, None, "  - Flush: 0.03ms"),
        (f"{T} [wa] AddToWallet x", None, None, None, "[wa] AddToWallet x"),
        (f"{T} [default wallet] AddToWallet x", None, None, None, "[default wallet] AddToWallet x"),
        (f"{T} [net] Misbehaving: peer=3", None, "net", None, "Misbehaving: peer=3"),
        (f"{T} [net] [net] socket closed", "net", "net", None, "socket closed"),
        (f"{T} [net:debug] x", None, "net", "debug", "x"),
        (f"{T} [all:info] UpdateTip: x", None, "all", "info", "UpdateTip: x"),
        (f"{T} [warning] x", None, None, "warning", "x"),
        (f"{T} [msghand] [mempoolrej] x", "msghand", "mempoolrej", None, "x"),
        (f"{T} [httpworker.3] [validation] x", "httpworker.3", "validation", None, "x"),
        (f"{T} [http_pool_11] x", "http_pool_11", None, None, "x"),
        (f"{T} [] x", "", None, None, "x"),
        (f"{T} [msghand] [validation.cpp:2555] [UpdateTipLog] x", "msghand", None, None, "x"),
        (f"{T} [net_processing.cpp:10] [ProcessMessage] [net] x", None, "net", None, "x"),
        (f"[*] {T} [bench] - Connect block: 1.00ms", None, "bench", None, "- Connect block: 1.00ms"),
        (f"{T} (mocktime: 2026-11-22T05:23:44Z) [scheduler] x", "scheduler", None, None, "x"),
        (f"{T} [background validation] UpdateTip: x", None, None, None, "[background validation] UpdateTip: x"),
    ],
)
def test_prefix_of_each_version_is_split(
    text: str, thread: str | None, category: str | None, level: str | None, message: str
) -> None:
    (line,) = read(text)
    assert (line.tags.thread, line.tags.category, line.tags.level) == (thread, category, level)
    assert line.message.decode() == message
    assert line.limited is text.startswith("[*] ")


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        ("2026-11-22T03:08:05Z", EPOCH),
        ("2026-11-22T03:08:05.590964Z", EPOCH + 0.590964),
        ("2026-11-22 03:08:05", EPOCH),
        ("2026-11-22 03:08:05.590964", EPOCH + 0.590964),
        ("2026-99-22T03:08:05Z", None),
    ],
)
def test_time_is_read_as_utc(stamp: str, seconds: float | None) -> None:
    (line,) = read(f"{stamp} x")
    assert line.timestamp() == (None if seconds is None else pytest.approx(seconds, abs=1e-6))


def test_lines_of_a_dump_are_left_out_where_lines_have_a_time() -> None:
    lines = read(f"{T} [wa] CommitTransaction:", "CTransaction(hash=88)", "UpdateTip: new best=0", "", f"{T} x")
    assert messages(lines) == ["[wa] CommitTransaction:", "x"]


def test_forged_line_with_another_kind_of_time_is_left_out() -> None:
    forged = "2026-11-22T03:08:05Z UpdateTip: new best=0"
    assert messages(read(f"{T} a", forged, f"{T} b", forged, "2026-11-22 03:08:05 x")) == ["a", "b"]


def test_forged_lines_between_real_ones_are_never_believed() -> None:
    forged = "2026-11-22T03:08:05Z forged"
    assert set(messages(read(*[f"{T} real", forged] * 100))) == {"real"}


def test_forged_line_without_thread_is_left_out_where_lines_name_threads() -> None:
    reader = PrefixReader()
    reader.learn(f"{T} [msghand] a\n{T} [scheduler] b\n".encode())
    assert messages(read(f"{T} UpdateTip: new best=0", f"{T} [msghand] c", reader=reader)) == ["c"]


def test_wallet_named_like_a_thread_does_not_make_a_node_write_thread_names() -> None:
    reader = PrefixReader()
    reader.learn(f"{T} a\n".encode())
    wallet = [f"{T} [main] AddToWallet"] * 50
    assert messages(read(*wallet, f"{T} UpdateTip: x", reader=reader)) == ["UpdateTip: x"]


def test_thread_of_a_later_version_is_taken_for_one_where_lines_name_threads() -> None:
    reader = PrefixReader()
    reader.learn(f"{T} [msghand] a\n{T} [scheduler] b\n".encode())
    (line,) = read(f"{T} [quic.7] [net] x", reader=reader)
    assert (line.tags.thread, line.tags.category, line.message) == ("quic.7", "net", b"x")


def test_lone_net_is_a_thread_only_where_lines_name_threads() -> None:
    reader = PrefixReader()
    reader.learn(f"{T} [msghand] a\n{T} [scheduler] b\n".encode())
    assert read(f"{T} [net] x", reader=reader)[0].tags.thread == "net"
    reader = PrefixReader()
    reader.learn(f"{T} a\n".encode())
    assert read(f"{T} [net] x", reader=reader)[0].tags.category == "net"


def test_new_form_after_a_restart_is_believed_after_twenty_lines() -> None:
    reader = PrefixReader()
    read(f"{T} a", reader=reader)
    after = [f"2026-11-22T03:09:00Z [{thread}] x" for thread in ("init", "scheduler") * 25]
    lines = read(*after, reader=reader)
    assert len(lines) == len(after) - 19 - 19  # for the time, then for the threads
    assert lines[-1].tags.thread == "scheduler"


def test_long_dump_does_not_make_a_node_write_no_times() -> None:
    reader = PrefixReader()
    read(f"{T} a", reader=reader)
    assert read(*["    CTxOut(nValue=1)"] * 1500, f"{T} b", reader=reader)[-1].message == b"b"
    assert read("UpdateTip: new best=0", reader=reader) == []


def test_log_without_times_is_read_once_that_is_learnt() -> None:
    reader = PrefixReader()
    reader.learn(b"UpdateTip: a\n" * 100)
    (line,) = read("[validation] x", reader=reader)
    assert (line.time, line.timestamp(), line.tags.category, line.message) == (b"", None, "validation", b"x")


def test_kind_of_time_is_learnt_from_the_old_lines_in_spite_of_dumps() -> None:
    reader = PrefixReader()
    reader.learn(b"    CTxOut(nValue=1)\n" * 300 + f"{T} a\n".encode())
    assert messages(read("UpdateTip: new best=0", f"{T} b", reader=reader)) == ["b"]


@given(st.binary(max_size=400))
def test_any_bytes_are_split_without_error_into_parts_of_themselves(chunk: bytes) -> None:
    for line in PrefixReader().read(chunk):
        assert b"\n" not in line.message
        assert line.message in chunk
        line.timestamp()


_PIECES = st.sampled_from(
    [
        "[*] ",
        T + " ",
        "2026-11-22 03:08:05 ",
        "(mocktime: 2026-11-22T05:23:44Z) ",
        "[net] ",
        "[",
        "] ",
        "[msghand] ",
        "[a.cpp:1] ",
        "\n",
        "x",
        "[net:debug] ",
    ]
)


@given(st.lists(_PIECES, max_size=30))
def test_pieces_of_prefixes_in_any_order_are_split_without_error(pieces: list[str]) -> None:
    chunk = "".join(pieces)
    for line in PrefixReader().read(chunk.encode()):
        assert line.message.decode() in chunk


def test_memory_of_brackets_is_bounded() -> None:
    reader = PrefixReader()
    for number in range(10_000):
        read(f"{T} [wallet {number}] x", reader=reader)
    assert len(reader._tags) <= 4096
