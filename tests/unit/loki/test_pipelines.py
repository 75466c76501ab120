"""What each form of line becomes, from 0.12 to 31, by the real promtail."""

from __future__ import annotations

from pathlib import Path

import pytest

from chainwatch.families.bitcoin.log.patterns import EXCESSIVE_LOGGING, MESSAGES, RPC_CALL, UPDATE_TIP
from chainwatch.families.cometbft import log_patterns as comet
from loki.bitcoin import NEVER_DROPPED, polled
from tests.unit.loki.dry_run import Entry, dry_run
from tests.unit.loki.truth import POLLED

TIP = UPDATE_TIP.quote
STAMP, ISO, MICRO = "2026-11-22 03:11:27", "2026-11-22T03:11:27Z", "2026-11-22T03:11:27.138434Z"


def one(job: str, text: str, folder: Path, *, zone: str = "UTC") -> Entry:
    [entry] = dry_run(job, [text.encode()], folder, zone=zone)
    assert entry.line == text.encode()
    return entry


def told(entry: Entry) -> tuple[str, str | None, str | None]:
    return entry.labels["level"], entry.labels.get("category"), entry.labels.get("event")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        (f"{STAMP} {TIP}", ("info", None, "update_tip")),  # up to 0.16
        (f"{STAMP}.138434 [msghand] {TIP}", ("info", None, "update_tip")),  # Bitcoin SV
        (f"{STAMP} [net] Removing peer=1", ("info", None, None)),  # Bitcoin SV: the thread, there are no categories
        (f"{ISO} {TIP}", ("info", None, "update_tip")),  # 0.17 on
        (f"{MICRO} [msghand] [validation.cpp:2555] [UpdateTipLog] {TIP}", ("info", None, "update_tip")),  # 22 on
        (f"{MICRO} [all:info] {TIP}", ("info", "all", "update_tip")),  # 27, -loglevelalways
        (f"[*] {MICRO} {TIP}", ("info", None, "update_tip")),  # 30, while lines are dropped
        (f"{MICRO} (mocktime: {ISO}) [scheduler] {TIP}", ("info", None, "update_tip")),
        (f"{MICRO} [background validation] {TIP}", ("info", None, None)),  # a chainstate that is not the tip
        (f"{MICRO} [net:debug] received: x (1 bytes) peer=0", ("debug", "net", "received_message")),
        (f"{MICRO} [net:trace] received: x (1 bytes) peer=0", ("trace", "net", "received_message")),
        (f"{MICRO} [net] received: x (1 bytes) peer=0", ("debug", "net", "received_message")),
        (f"{MICRO} [net] [net] received: x (1 bytes) peer=0", ("debug", "net", "received_message")),
        (f"{MICRO} [net] net thread start", ("info", None, None)),  # here the thread
        (
            f"{MICRO} [msghand] [net.cpp:1] [F] [net:debug] received: x (1 bytes) peer=0",
            ("debug", "net", "received_message"),
        ),
        (f"{MICRO} [httpworker.3] [error] x", ("error", None, None)),
        (f"{MICRO} [http_pool_0] [net:warning] x", ("warning", "net", None)),
        (
            f"{MICRO} ERROR: ConnectTip: ConnectBlock {'ab' * 32} failed, bad-cb-amount",
            ("error", None, "connect_failed"),
        ),
        (
            f"{MICRO} [error] ConnectTip: ConnectBlock {'ab' * 32} failed, bad-cb-amount",
            ("error", None, "connect_failed"),
        ),
        (f"{MICRO} Warning: disconnecting but not discouraging local peer 3!", ("warning", None, None)),
        (f"{MICRO} Error: Disk space is too low!", ("error", None, None)),
        (f"{MICRO} [warning] {EXCESSIVE_LOGGING.quote}", ("warning", None, "excessive_logging")),
        (f"{MICRO} [default wallet] keypool added 1 keys", ("info", None, None)),
        (f"{MICRO} [] {TIP}", ("info", None, "update_tip")),  # a thread without a name
        (f"{MICRO} [madeup:error] x", ("info", None, None)),
        (TIP, ("unknown", None, None)),  # -logtimestamps=0
    ],
)
def test_a_line_of_a_bitcoin_node_is_told_by_its_prefix_and_message(
    text: str, labels: tuple[str, str | None, str | None], tmp_path: Path
) -> None:
    assert told(one("bitcoin", text, tmp_path)) == labels


def test_every_pattern_of_a_bitcoin_node_is_an_event(tmp_path: Path) -> None:
    lines = [f"{ISO} {pattern.quote}".encode() for pattern in MESSAGES]
    assert [entry.labels["event"] for entry in dry_run("bitcoin", lines, tmp_path)] == [one.name for one in MESSAGES]


def test_every_pattern_of_a_cometbft_node_is_an_event_with_its_category(tmp_path: Path) -> None:
    messages = [message for message in comet.MESSAGES if not message.where]
    lines = [f"E[2026-11-22|11:36:53.673] {message.quote:44} module=x".encode() for message in messages]
    got = [(entry.labels["event"], entry.labels["category"]) for entry in dry_run("cometbft", lines, tmp_path)]
    assert got == [(message.name, message.category.value) for message in messages]


def test_the_exporters_own_calls_are_left_out_and_no_others(tmp_path: Path) -> None:
    own = [f"{ISO} ThreadRPCServer method={method} user=x".encode() for method in polled()]
    own += [f"{ISO} [httpworker.1] [rpc] ThreadRPCServer method={method}".encode() for method in polled()]
    others = [
        f"{ISO} ThreadRPCServer method={method} user=getblockchaininfo".encode()
        for method in sorted(
            {*NEVER_DROPPED, "help", "logging", "getpeerinfox", "getpeerinfo_x", "stop", "sendtoaddress"}
        )
    ]
    unstamped = [b"ThreadRPCServer method=getpeerinfo user=x"]
    assert [entry.line for entry in dry_run("bitcoin", own + others + unstamped, tmp_path)] == others + unstamped
    assert RPC_CALL.compiled.match(own[0][len(ISO) + 1 :])


def test_what_is_left_out_is_what_the_exporter_asks_by_default() -> None:
    assert polled() == POLLED.split()
    assert not NEVER_DROPPED & set(polled())


def test_blank_lines_are_left_out_and_times_without_fraction_are_kept(tmp_path: Path) -> None:
    entries = dry_run("bitcoin", [b"   ", f"{ISO} x".encode(), b"\t", f"{STAMP} y".encode()], tmp_path)
    assert [entry.time for entry in entries] == ["2026-11-22T03:11:27+0000"] * 2


def test_plain_time_is_that_of_the_nodes_machine_and_json_time_is_utc(tmp_path: Path) -> None:
    plain = "I[2026-11-22|11:36:53.673] committed state                              module=state height=1"
    json = '{"_msg":"committed state","level":"info","module":"state","ts":"2026-11-22T11:36:53.673000001Z"}'
    assert one("cometbft", plain, tmp_path).time == "2026-11-22T11:36:53.673+0000"
    assert one("cometbft", plain, tmp_path, zone="America/New_York").time == "2026-11-22T11:36:53.673-0500"
    assert one("cometbft", json, tmp_path, zone="America/New_York").time == "2026-11-22T11:36:53.673000001+0000"


def test_the_sdk_s_json_has_level_time_event_and_module_as_cometbft_s_own(tmp_path: Path) -> None:
    head = '{"level":"error","module":"x/upgrade","time":"2026-11-22T11:36:53+02:00","message":'
    upgrade = one(
        "cometbft", f'{head}"UPGRADE \\"v15\\" NEEDED at height: 15816200: "}}', tmp_path, zone="America/New_York"
    )
    assert told(upgrade) == ("error", "fatal", "upgrade_needed")
    assert upgrade.time == "2026-11-22T11:36:53+0200"
    # CometBFT's own message is the one where a line has both.
    both = '{"_msg":"x","level":"info","message":"CONSENSUS FAILURE!!!","module":"p2p","ts":"2026-11-22T11:36:53Z"}'
    assert told(one("cometbft", both, tmp_path)) == ("info", None, None)
    plain = 'E[2026-11-22|11:36:53.673] UPGRADE "v15" NEEDED at height: 1:            module=x/upgrade '
    assert told(one("cometbft", plain, tmp_path)) == ("error", "fatal", "upgrade_needed")


@pytest.mark.parametrize(("word", "level"), [*comet.JSON_LEVELS.items(), ("", "unknown"), ("made up", "unknown")])
def test_levels_of_json_have_loki_s_names(word: str, level: str, tmp_path: Path) -> None:
    line = f'{{"level":"{word}","module":"server","time":"2026-11-22T11:36:53Z","message":"x"}}'
    assert told(one("cometbft", line, tmp_path))[0] == level.replace("none", "unknown")


def test_a_step_is_told_by_its_number_as_well(tmp_path: Path) -> None:
    head = '{"level":"info","dur":4996.8,"height":14,"module":"consensus","round":0,"step":'
    lines = [f'{head}{step},"time":"2026-11-22T11:36:53Z","message":"Timed out"}}'.encode() for step in (1, 3, 2)]
    assert [told(entry) for entry in dry_run("cometbft", lines, tmp_path)] == [
        ("info", "round", "timed_out"),
        ("info", None, None),
    ]


def test_the_sdk_s_console_format_has_no_date_and_stays_unknown(tmp_path: Path) -> None:
    assert told(one("cometbft", comet.SDK_CONSOLE_ERROR.quote, tmp_path)) == ("unknown", None, None)


def test_the_commit_timeout_of_every_height_is_left_out_and_a_failed_round_stays(tmp_path: Path) -> None:
    text = "I[2026-11-22|11:36:53.673] Timed out                     module=consensus dur=1s height=6 round=0 step="
    lines = [f"{text}{step}".encode() for step in ("RoundStepNewHeight", "RoundStepPropose", "RoundStepNewRound")]
    entries = dry_run("cometbft", lines, tmp_path)
    assert [told(entry) for entry in entries] == [("info", "round", "timed_out"), ("info", None, None)]


@pytest.mark.parametrize(("letter", "level"), [("D", "debug"), ("I", "info"), ("E", "error"), ("N", "unknown")])
def test_levels_of_the_plain_format_have_loki_s_names(letter: str, level: str, tmp_path: Path) -> None:
    assert told(one("cometbft", f"{letter}[2026-11-22|11:36:53.673] x     module=main ", tmp_path))[0] == level
