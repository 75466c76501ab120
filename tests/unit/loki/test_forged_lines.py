"""What a stranger can write into a node's log gains no label: not by text further right, not by a newline."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.loki.dry_run import dry_run

HASH = b"ab" * 32
NOW = b"2026-11-22T03:11:27.138434Z "

# In the order: what a peer calls itself, a wallet's name, a transaction's refusal, a header.
FURTHER_RIGHT = [
    NOW + b"[net] receive version message: /[error] x/: version 70016, blocks=0, us=127.0.0.1:1, txrelay=1, peer=0",
    NOW
    + b"[net] receive version message: "
    + NOW
    + b"[error] ConnectTip: ConnectBlock "
    + HASH
    + b" failed, bad: peer=1",
    NOW + b"[net] received: [error] Disk (0 bytes) peer=0",
    NOW + b"[UpdateTip: new best=" + HASH + b" height=1 date='2026-11-22T03:11:27Z'] AddToWallet x",
    NOW + b"[x] [error] [warning] Misbehaving: peer=1",
    NOW + b"[net] [*] [error] EXCESSIVE",
]


def labels(job: str, lines: list[bytes], folder: Path) -> list[dict[str, str]]:
    entries = dry_run(job, lines, folder)
    assert [entry.line for entry in entries] == lines
    return [{name: value for name, value in entry.labels.items() if name != "job"} for entry in entries]


def test_text_further_right_in_a_line_of_a_bitcoin_node_is_no_level_and_no_event(tmp_path: Path) -> None:
    for got in labels("bitcoin", FURTHER_RIGHT, tmp_path):
        assert got["level"] in ("debug", "info")
        assert got.get("event") in (None, "received_message")
        assert got.get("category") in (None, "net")


@pytest.mark.parametrize(
    "injected",
    [
        b"ERROR: ConnectTip: ConnectBlock " + HASH + b" failed, bad-cb-amount",
        b"[error] Corrupted block database detected] AddToWallet",
        b"[msghand] [validation:error] BlockChecked: block hash=" + HASH + b" state=bad-cb-amount",
        b"Misbehaving: peer=1 (0 -> 100)",
        b"UpdateTip: new best=" + HASH + b" height=1 version=1 date='2026-11-22T03:11:27Z'",
        b"[*] [error] Excessive logging detected from x",
        b"I[2026-11-22|11:36:53.673] committed state   module=state",
    ],
)
def test_a_line_behind_a_newline_in_a_wallets_name_is_unknown_whatever_it_says(injected: bytes, tmp_path: Path) -> None:
    lines = [NOW + b"[evil", injected, NOW + b"Shutdown: done"]
    entries = dry_run("bitcoin", lines, tmp_path)
    assert [entry.labels["level"] for entry in entries] == ["info", "unknown", "info"]
    assert entries[1].labels.keys() == {"job", "level"}
    # It stays with the line before it, whatever time it claims.
    assert entries[1].time.startswith(entries[0].time[:26])


def test_a_field_of_a_cometbft_line_is_no_message(tmp_path: Path) -> None:
    plain = b"I[2026-11-22|11:36:53.673] Added peer                                   module=p2p "
    lines = [
        plain + b'peer="CONSENSUS FAILURE!!!"',
        plain + b'moniker="x module=consensus step=RoundStepPropose"',
        plain + b'err="conflicting votes from validator 1DA39A678B60D13FEF148D4B7CCA44182112716E"',
        b'{"_msg":"Added peer","level":"info","module":"p2p","moniker":"\\",\\"_msg\\":\\"CONSENSUS FAILURE!!!",'
        b'"err":"conflicting votes from validator 1DA39A678B60D13FEF148D4B7CCA44182112716E",'
        b'"ts":"2026-11-22T11:51:42.268949412Z"}',
    ]
    assert labels("cometbft", lines, tmp_path) == [{"level": "info"}] * len(lines)


def test_a_line_behind_a_newline_in_a_field_is_unknown(tmp_path: Path) -> None:
    lines = [
        b"I[2026-11-22|11:36:53.673] Added peer                                   module=p2p peer=x",
        b"CONSENSUS FAILURE!!!                         module=consensus err=x",
        b"panic: runtime error: invalid memory address",
        b'{"level":"error","_msg":"CONSENSUS FAILURE!!!","ts":"1999-11-22T11:51:42Z"}',
        b'["_msg"]',
    ]
    first, *others = dry_run("cometbft", lines, tmp_path)
    assert [entry.labels for entry in others] == [{"job": "cometbft", "level": "unknown"}] * 4
    assert all(entry.time.startswith(first.time[:23]) for entry in others)


def test_lines_that_are_no_text_are_kept_as_they_are(tmp_path: Path) -> None:
    lines = [
        NOW + b"[net] received: \xff\xfe (0 bytes) peer=0",
        b"\x00\x01\xff",
        NOW + b"[\xff] [error] x",
        NOW + b"{{ .time }} ${HOME} $(id) `x`",
    ]
    assert [got["level"] for got in labels("bitcoin", lines, tmp_path)] == ["debug", "unknown", "info", "info"]
