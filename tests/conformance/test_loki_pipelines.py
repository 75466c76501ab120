"""The shipped pipelines, run by the real promtail over recordings, label lines as the follower's constants say."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from chainwatch.families.bitcoin.log.prefix import parse_time
from chainwatch.families.cometbft.log_patterns import CONFLICTING_VOTES
from loki.files import HERE, JOBS
from loki.stages import Job
from tests.conformance.paths import FIXTURES, recording
from tests.lab.loki import SHIPPED_LOKI, Loki, LokiMissingError, Promtail, loki_program
from tests.unit.loki.dry_run import SHIPPED, Entry, dry_run
from tests.unit.loki.re2_check import different_matches
from tests.unit.loki.truth import UNKNOWN, BitcoinLine, CometLine, Labels

Truth = Callable[[bytes], Labels | None]


class Recorded(NamedTuple):
    """A recording, and what its format allows to know of a line."""

    file: str
    threads: bool  # the node was set to write thread names


BITCOIN = (
    Recorded("bitcoind31/debug_A_full.log", threads=False),
    Recorded("bitcoind31/debug_B_full.log", threads=False),
    Recorded("litecoind/debug_A_full.log", threads=False),
    Recorded("litecoind/debug_B_full.log", threads=False),
    Recorded("bitcoinsv/bitcoind_A_full.log", threads=True),
)
# Excerpts that every clone has. They are short, and one has a wallet's dump without prefix: no share is demanded.
COMMITTED = sorted((Path(__file__).parents[1] / "fixtures").glob("*/log_*.txt"))
COMETBFT = sorted(path.name for path in (FIXTURES / "cometbft/logs").glob("*.log")) or ["happy_node0_plain.log"]


# When all of them were recorded, in Unix time.
RECORDED_BETWEEN = tuple(datetime(2026, 11, 22, hour, tzinfo=UTC).timestamp() for hour in (3, 13))


class Result(NamedTuple):
    """How many lines went where."""

    lines: int
    dropped: int
    labelled: int
    unlabelled: Counter[str]  # by reason
    wrong: list[str]
    streams: int


def compare(lines: Sequence[bytes], entries: Sequence[Entry], truth: Truth) -> Result:
    """Hold what promtail made of lines against the truth; the order of lines is kept by a pipeline."""
    wanted = [(line, labels) for line in lines if (labels := truth(line)) is not None]
    wrong = [f"{len(wanted)} lines expected, {len(entries)} came out"] if len(wanted) != len(entries) else []
    for (line, labels), entry in zip(wanted, entries, strict=False):
        got = {name: value for name, value in entry.labels.items() if name != "job"}
        if line != entry.line or got != labels:
            wrong.append(f"{line!r}\n  wanted {labels}\n  got    {got} for {entry.line!r}")
    unlabelled = Counter("no prefix" for _, labels in wanted if labels == UNKNOWN)
    streams = {tuple(sorted(entry.labels.items())) for entry in entries}
    labelled = len(wanted) - unlabelled.total()
    return Result(len(lines), len(lines) - len(wanted), labelled, unlabelled, wrong, len(streams))


def read(path: Path) -> list[bytes]:
    """The lines, less blank ones, which promtail leaves out by itself when it reads from its input."""
    return [line for line in path.read_bytes().split(b"\n") if line]


def report(name: str, result: Result) -> None:
    print(
        f"{name}: {result.lines} lines, {result.dropped} dropped, {result.labelled} labelled, "
        f"{dict(result.unlabelled)} unlabelled, {len(result.wrong)} wrong, {result.streams} streams"
    )


@pytest.mark.parametrize("recorded", BITCOIN, ids=lambda recorded: recorded.file)
def test_every_line_of_a_bitcoin_node_gets_the_labels_that_the_follower_gives_it(
    recorded: Recorded, tmp_path: Path
) -> None:
    lines = read(recording(recorded.file))
    result = compare(
        lines, dry_run("bitcoin", lines, tmp_path), lambda line: BitcoinLine(line, recorded.threads).labels()
    )
    report(recorded.file, result)
    assert result.wrong == []
    assert result.labelled >= 0.99 * (result.lines - result.dropped)
    assert result.streams <= 60


@pytest.mark.parametrize("name", COMETBFT)
def test_every_line_of_a_cometbft_node_gets_the_labels_that_its_patterns_give_it(name: str, tmp_path: Path) -> None:
    lines = read(recording("cometbft/logs") / name)
    result = compare(lines, dry_run("cometbft", lines, tmp_path), lambda line: CometLine(line).labels())
    report(name, result)
    assert result.wrong == []
    assert result.unlabelled.total() == 0


def wrong_times(lines: Sequence[bytes], entries: Sequence[Entry], threads: bool) -> list[str]:
    """Each entry whose time is not its line's own, to the microsecond, or that does not follow the line before it."""
    kept = [line for line in lines if BitcoinLine(line, threads).labels() is not None]
    wrong, last = [], None
    for line, entry in zip(kept, entries, strict=True):
        whole, _, fraction = entry.time.partition(".")
        digits = fraction[:-5].ljust(9, "0") if fraction else "0" * 9
        micros = datetime.fromisoformat(f"{whole[:19]}.{digits[:6]}").replace(tzinfo=UTC).timestamp()
        if time := BitcoinLine(line, threads).time:
            last = parse_time(time)
            right = entry.time.endswith("+0000") and micros == last
        else:
            right = last is None or (micros == last and int(digits[6:]) > 0)
        if not right:
            wrong.append(f"{entry.time} for {line!r}")
    return wrong


@pytest.mark.parametrize("recorded", BITCOIN, ids=lambda recorded: recorded.file)
def test_entries_have_the_nodes_own_time_to_the_microsecond_and_continuations_follow_their_line(
    recorded: Recorded, tmp_path: Path
) -> None:
    lines = read(recording(recorded.file))
    assert wrong_times(lines, dry_run("bitcoin", lines, tmp_path), recorded.threads) == []


@pytest.mark.parametrize("file", COMMITTED, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_excerpts_get_the_labels_and_times_that_the_follower_gives_them(file: Path, tmp_path: Path) -> None:
    lines = read(file)
    entries = dry_run("bitcoin", lines, tmp_path)
    result = compare(lines, entries, lambda line: BitcoinLine(line, threads=False).labels())
    report(file.name, result)
    assert result.wrong == []
    assert result.labelled >= 20
    assert wrong_times(lines, entries, threads=False) == []


def test_excerpts_are_there() -> None:
    assert len(COMMITTED) >= 9


@pytest.fixture
def loki(tmp_path: Path) -> Iterator[Loki]:
    try:
        loki = Loki(tmp_path / "loki")
    except LokiMissingError as missing:
        pytest.skip(str(missing))
    with loki:
        yield loki


def test_what_is_stored_beside_a_line_is_what_the_follower_reads_of_it(loki: Loki) -> None:
    for name in ("litecoind/log_reorg.txt", "litecoind/log_rejects_misbehave.txt"):
        loki.ship(recording(name), "bitcoin", {"chain": "litecoin-regtest", "instance": "lab"})
    checked: Counter[str] = Counter()
    for entry in loki.query_range('{job="bitcoin", chain="litecoin-regtest", instance="lab"}', *RECORDED_BETWEEN):
        told = BitcoinLine(entry.line.encode(), threads=False).metadata()
        assert told.items() <= entry.metadata.items(), entry
        assert all(entry.metadata.values()), entry
        checked.update(entry.metadata.keys())
    print(dict(checked))
    assert {"hash", "height", "phase", "milliseconds", "reason", "txid", "peer", "method"} == checked.keys()


def test_fields_of_a_cometbft_line_are_stored_beside_it_in_both_formats(loki: Loki) -> None:
    for name in ("many_rounds_node0_plain.log", "happy_full_json.log", "double_sign_full_json_excerpt.log"):
        loki.ship(recording("cometbft/logs") / name, "cometbft", {"chain": "lab", "instance": name})
    checked: Counter[str] = Counter()
    for entry in loki.query_range('{job="cometbft"}', *RECORDED_BETWEEN):
        line = CometLine(entry.line.encode())
        names = ("height", "round", "step", "hash", "peer", "proposer")
        told = {name: line.fields[name] for name in names if line.fields.get(name)} | {"module": line.module}
        if line.found() is CONFLICTING_VOTES:
            told["validator"] = line.fields["err"][-40:]
        assert entry.metadata == told, entry
        checked.update(told.keys())
    assert {"height", "round", "step", "hash", "peer", "proposer", "module", "validator"} == checked.keys()


def test_loki_takes_and_finds_every_line_of_an_old_log(loki: Loki) -> None:
    file = recording("litecoind/debug_A_full.log")
    loki.ship(file, "bitcoin", {"chain": "litecoin-regtest", "instance": "lab"})
    wanted = Counter(line for line in read(file) if BitcoinLine(line, False).labels() is not None)
    # Loki gives at most 5000 lines at once.
    halves = [
        loki.query_range(f'{{job="bitcoin", event{sign}"connect_phase"}}', *RECORDED_BETWEEN) for sign in ("=", "!=")
    ]
    assert Counter(entry.line.encode() for half in halves for entry in half) == wanted


def test_a_log_is_followed_from_the_targets_file_on_across_rename_and_truncation(loki: Loki, tmp_path: Path) -> None:
    def line(text: str) -> str:
        return f"{datetime.now(tz=UTC):%Y-%m-%dT%H:%M:%S.%fZ} [error] {text}\n"

    def found(text: str) -> bool:
        return bool(loki.wait_lines(f'{{job="bitcoin", chain="bitcoin-main", level="error"}} |= "{text}"'))

    log, targets = tmp_path / "node/debug.log", tmp_path / "targets/bitcoin.yml"
    log.parent.mkdir()
    targets.parent.mkdir()
    targets.write_text((HERE / "targets/bitcoin.yml").read_text().replace("/var/lib/bitcoin", str(log.parent)))
    log.write_text("\n\n" + line("as it stands"))
    with Promtail(tmp_path / "promtail", loki.url, targets={}) as promtail:
        promtail.stop()
        settings = yaml.safe_load(promtail.config_file.read_text())
        [shipped] = [
            job for job in yaml.safe_load(SHIPPED.read_text())["scrape_configs"] if job["job_name"] == "bitcoin"
        ]
        shipped["file_sd_configs"] = [{"files": [str(targets)]}]
        settings["scrape_configs"] = [shipped]
        promtail.config_file.write_text(yaml.safe_dump(settings))
        promtail.process.start()
        assert found("as it stands")
        log.rename(log.with_suffix(".log.1"))
        log.write_text(line("after a rename, a long line"))
        assert found("after a rename")
        log.write_text(line("truncated"))
        assert found("truncated")


def test_the_shipped_configuration_of_loki_is_valid() -> None:
    try:
        program = loki_program()
    except LokiMissingError as missing:
        pytest.skip(str(missing))
    command: list[str | Path] = [program, f"-config.file={SHIPPED_LOKI}", "-verify-config"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_every_expression_means_the_same_in_re2_and_in_python_on_every_kind_of_recorded_line(job: Job) -> None:
    files = [recording(one.file) for one in BITCOIN] if job.name == "bitcoin" else recording("cometbft/logs").iterdir()
    lines = [line for file in files for line in file.read_text(errors="replace").split("\n")]
    assert different_matches(job, lines) == []
