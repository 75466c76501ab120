"""Each pattern matches what nodes write, in Python and in RE2 alike."""

import re
from collections.abc import Sequence

import pytest
import re2

from chainwatch.families.bitcoin.log import events
from chainwatch.families.bitcoin.log import patterns as log_patterns
from chainwatch.families.bitcoin.log.patterns import MESSAGES, PREFIX
from chainwatch.families.bitcoin.log.prefix import classify
from chainwatch.families.bitcoin.log.reasons import block_class, transaction_labels
from chainwatch.streams.log_pattern import Pattern

H = "00000000000000000004b2aea48da395156297a536ca62c2c53d25e14225f72a"
P = "1397a170ca62c2c53d25e14225f72a00000000000000000004b2aea48da39515"
HEADER = events.HeaderSeen(H, True)


def names(patterns: Sequence[Pattern]) -> list[str]:
    return [pattern.name for pattern in patterns]


@pytest.mark.parametrize("pattern", [PREFIX, *MESSAGES], ids=names([PREFIX, *MESSAGES]))
def test_pattern_is_anchored_and_finds_the_same_in_re2_as_in_python(pattern: Pattern) -> None:
    assert pattern.regex.startswith("^")
    for quote in (PREFIX.quote, *(message.quote for message in MESSAGES)):
        ours = re.search(pattern.regex, quote)
        theirs = re2.search(pattern.regex, quote)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert ours.groupdict() == theirs.groupdict()


@pytest.mark.parametrize("pattern", MESSAGES, ids=names(MESSAGES))
def test_pattern_with_the_prefix_before_it_finds_its_line_in_re2(pattern: Pattern) -> None:
    line = "[*] 2026-11-22T03:23:44.138434Z [msghand] " + pattern.quote
    found = re2.search(PREFIX.regex + pattern.regex.removeprefix("^"), line)
    assert found is not None
    assert found.groupdict()["time"] == "2026-11-22T03:23:44.138434Z "


@pytest.mark.parametrize("pattern", MESSAGES, ids=names(MESSAGES))
def test_every_quoted_message_becomes_an_event(pattern: Pattern) -> None:
    assert pattern.compiled.match(pattern.quote.encode()) is not None
    assert events.parse(pattern.quote.encode()) is not None


def test_every_message_pattern_is_in_the_list() -> None:
    constants = {value.name for value in vars(log_patterns).values() if isinstance(value, Pattern)}
    assert constants - {PREFIX.name} == set(names(MESSAGES))


@pytest.mark.parametrize(
    ("versions", "message", "event"),
    [
        (
            "0.12",
            f"UpdateTip: new best={H}  height=400000  log2_work=84.1  tx=99  date=2016-02-25 16:24:44"
            " progress=1.000000  cache=23091",
            events.TipUpdated(H, 400000, b"2016-02-25 16:24:44"),
        ),
        (
            "0.14 to 0.16, Bitcoin SV",
            f"UpdateTip: new best={H} height=107 version=0x20000000 log2_work=7.7548875 tx=112"
            " date='2026-11-22 03:15:00' progress=1.000000 cache=0.0MiB(114txo)",
            events.TipUpdated(H, 107, b"2026-11-22 03:15:00"),
        ),
        (
            "0.17 to 31",
            f"UpdateTip: new best={H} height=1 version=0x20000000 log2_work=2.0 tx=2 date='2026-11-22T03:15:00Z'"
            " progress=1.000000 cache=0.0MiB(1txo) warning='Unknown new rules activated (versionbit 28)'",
            events.TipUpdated(H, 1, b"2026-11-22T03:15:00Z"),
        ),
        (
            "26 to 31, the other chainstate",
            f"[background validation] UpdateTip: new best={H} height=1 version=0x20000000 log2_work=2.0 tx=2"
            " date='2026-11-22T03:15:00Z' progress=1.000000 cache=0.0MiB(1txo)",
            None,
        ),
        ("0.21", f"UpdatedBlockTip: new block hash={H} fork block hash={P} (in IBD=false)", None),
        ("25 to 29", f"Saw new header hash={H} height=789959", events.HeaderSeen(H, False)),
        ("25 to 29", f"Saw new cmpctblock header hash={H} peer=5", HEADER),
        ("30 to 31", f"Saw new header hash={H} height=9 peer=0, peeraddr=192.0.2.1:8333", HEADER),
        ("32", f"Saw new cmpctblock header hash={H} height=9 peer=12", HEADER),
        ("0.21", f"Requesting block {H} from  peer=1", HEADER),
        ("24", f"Requesting block {H} (112) from  peer=1", HEADER),
        ("31", f"Requesting block {H} (5) peer=0", HEADER),
        ("Bitcoin SV", f"Requesting block {H} from peer=2", HEADER),
        ("23", f"Initialized PartiallyDownloadedBlock for block {H} using a cmpctblock of size 27459", HEADER),
        ("31", f"Initialized PartiallyDownloadedBlock for block {H} using a cmpctblock of 27459 bytes", HEADER),
        (
            "0.13",
            f"Successfully reconstructed block {H} with 1 txn prefilled, 4529 txn from mempool and 3 txn requested",
            events.CompactReconstructed(H, 3),
        ),
        (
            "0.14 to 29",
            f"Successfully reconstructed block {H} with 1 txn prefilled, 4529 txn from mempool"
            " (incl at least 4 from extra pool) and 0 txn requested",
            events.CompactReconstructed(H, 0),
        ),
        (
            "30 to 31",
            f"Successfully reconstructed block {H} with 1 txn prefilled, 4529 txn from mempool"
            " (incl at least 4 from extra pool) and 12 txn (5210 bytes) requested",
            events.CompactReconstructed(H, 12),
        ),
        ("0.21", f"BlockChecked: block hash={H} state=bad-cb-amount", events.BlockChecked(H, "bad-cb-amount")),
        (
            "31",
            f"BlockChecked: block hash={H} state=bad-cb-amount, coinbase pays too much (actual=2 vs limit=1)",
            events.BlockChecked(H, "bad-cb-amount, coinbase pays too much (actual=2 vs limit=1)"),
        ),
        (
            "Bitcoin SV",
            f"ERROR: ConnectTip(): ConnectBlock {H} failed (bad-cb-amount (code 16))",
            events.ConnectFailed(H, "bad-cb-amount (code 16))"),
        ),
        ("0.21", f"ERROR: ConnectTip: ConnectBlock {H} failed, bad-x", events.ConnectFailed(H, "bad-x")),
        ("27 to 31", f"ConnectTip: ConnectBlock {H} failed, bad-x, why", events.ConnectFailed(H, "bad-x, why")),
        (
            "27 to 31",
            "ProcessNewBlock: AcceptBlock FAILED (bad-version(0x00000001), rejected nVersion=0x00000001 block)",
            events.AcceptFailed("bad-version(0x00000001), rejected nVersion=0x00000001 block"),
        ),
        (
            "23 to 31",
            f"AcceptBlockHeader: Consensus::ContextualCheckBlockHeader: {H}, time-too-new, block timestamp too far",
            events.HeaderRefused(H, "time-too-new, block timestamp too far"),
        ),
        ("25", f"header {H} has prev block invalid: {P}", events.HeaderRefused(H, "bad-prevblk")),
        (
            "27 to 31",
            "Block mutated: bad-txnmrklroot, hashMerkleRoot mismatch",
            events.BlockMutated("bad-txnmrklroot, hashMerkleRoot mismatch"),
        ),
        ("0.21", "Misbehaving: peer=6 (0 -> 20): inv message size = 50001", events.Misbehaved()),
        ("0.21", "Misbehaving: peer=3 (0 -> 100) DISCOURAGE THRESHOLD EXCEEDED", events.Misbehaved()),
        ("28 to 31", "Misbehaving: peer=4: mutated block", events.Misbehaved()),
        ("31", "Misbehaving: peer=3", events.Misbehaved()),
        ("Bitcoin SV", "Misbehaving: 192.0.2.1:8333 (0 -> 100) BAN THRESHOLD EXCEEDED", events.Misbehaved()),
        ("to 28", f"Timeout downloading block {H} from peer=7, disconnecting", events.BlockTimedOut()),
        ("28", f"Timeout downloading block {H} from peer=7 peeraddr=192.0.2.1, disconnecting", events.BlockTimedOut()),
        ("29", f"Timeout downloading block {H}, disconnecting peer=7", events.BlockTimedOut()),
        ("to 28", "Peer=7 is stalling block download, disconnecting", events.BlockStalled()),
        ("29", "Peer is stalling block download, disconnecting peer=7", events.BlockStalled()),
        ("to 25", f"AcceptToMemoryPool: peer=11: accepted {H} (poolsz 1 txn, 2 kB)", events.TransactionAccepted()),
        (
            "26",
            f"AcceptToMemoryPool: peer=11: accepted {H} (wtxid={P}) (poolsz 1 txn, 2 kB)",
            events.TransactionAccepted(),
        ),
        ("0.21, an orphan resolved", f"   accepted orphan tx {H}", None),
        ("to 25", f"{H} from peer=6 was not accepted: dust", events.TransactionRejected("dust")),
        ("26", f"{H} (wtxid={P}) from peer=6 was not accepted: dust", events.TransactionRejected("dust")),
        ("Bitcoin SV, not a peer's", f"rpc: standard txn= {H} accepted (poolsz 2 txn (pri=2,sec=0), 2 kB) ", None),
        (
            "Bitcoin SV",
            f"p2p: nonstandard txn= {H} detected orphan",
            events.TransactionRejected("bad-txns-inputs-missingorspent"),
        ),
        ("to 23", "  - Load block from disk: 0.37ms [0.00s]", events.ConnectPhase("load", 0.00037)),
        ("24 to 25", "  - Load block from disk: 0.37ms [0.00s (0.02ms/blk)]", events.ConnectPhase("load", 0.00037)),
        ("26 to 31", "  - Load block from disk: 0.02ms", events.ConnectPhase("load", 0.00002)),
        ("the first block", "    - Sanity checks: 2.00ms [0.01s (infms/blk)]", events.ConnectPhase("sanity", 0.002)),
        (
            "the first block",
            "    - Fork checks: 2.00ms [0.01s (-nanms/blk)]",
            events.ConnectPhase("fork_checks", 0.002),
        ),
        ("any", "    - Fork checks: infms [0.01s (infms/blk)]", None),
        ("any", "- Connect block: 1523.25ms [0.02s (0.07ms/blk)]", events.ConnectPhase("total", 1.52325)),
        ("Bitcoin SV", "    - MinerID total: 0.02ms [0.00s]", None),
    ],
)
def test_message_of_each_version_becomes_its_event(versions: str, message: str, event: events.Event | None) -> None:
    assert events.parse(message.encode()) == event, versions


@pytest.mark.parametrize(
    "message",
    [
        f"receive version message: /UpdateTip: new best={H} height=9 date='2026-11-22T03:15:00Z'/: version 70016",
        f"[UpdateTip: new best={H}] AddToWallet",
        f" UpdateTip: new best={H} height=9 version=0 log2_work=1 tx=1 date='2026-11-22T03:15:00Z'",
        f"got inv: wtx {H} from peer=1 was not accepted: dust",
        "Misbehaving: ",
        "",
    ],
)
def test_message_that_only_contains_an_event_is_none(message: str) -> None:
    assert events.parse(message.encode()) is None


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("bad-txns-inputs-missingorspent", ("orphan", "bad-txns-inputs-missingorspent")),
        ("min relay fee not met, 10 < 110", ("fee", "min relay fee not met")),
        ("too-long-mempool-chain, too many unconfirmed ancestors [limit: 25]", ("limits", "too-long-mempool-chain")),
        (
            "non-mandatory-script-verify-flag (Witness program hash mismatch)",
            ("standard", "non-mandatory-script-verify-flag"),
        ),
        ("non-BIP68-final", ("time", "non-BIP68-final")),
        ("bip125-replacement-disallowed", ("conflict", "bip125-replacement-disallowed")),
        ("bad-txns-in-belowout, value in (48.5) < value out (49.5)", ("consensus", "bad-txns-in-belowout")),
        ("dust (code 64)", ("standard", "dust")),
        ("dustbin", ("other", "other")),
        ('"} 1\nup 1', ("other", "other")),
        ("", ("other", "other")),
    ],
)
def test_reject_reason_is_cut_and_put_into_the_closed_set(text: str, labels: tuple[str, str]) -> None:
    assert transaction_labels(text) == labels


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("bad-cb-amount, coinbase pays too much (actual=2 vs limit=1)", "consensus"),
        ("bad-blk-sigops, out-of-bounds SigOpCount", "consensus"),
        ("bad-txns-inputs-missingorspent, CheckTxInputs: inputs missing/spent", "consensus"),
        ("mandatory-script-verify-flag-failed (Script failed)", "consensus"),
        ("bad-txns-duplicate, duplicate transaction", "mutated"),
        ("bad-txnmrklroot, hashMerkleRoot mismatch", "mutated"),
        ("bad-version(0x00000001), rejected nVersion=0x00000001 block", "header"),
        ("high-hash, proof of work failed", "header"),
        ("something new", "other"),
    ],
)
def test_block_state_becomes_a_class(text: str, name: str) -> None:
    assert block_class(text) == name


def test_brackets_are_read_from_left_to_right_up_to_the_first_unknown() -> None:
    tags = classify(b"[msghand] [validation.cpp:2555] [UpdateTipLog] [validation:info] [w] ", None)
    assert (tags.thread, tags.category, tags.level, tags.rest) == ("msghand", "validation", "info", len("[w] "))
