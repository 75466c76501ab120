"""What nodes and strangers write into logs, and which of Loki's alerts must fire for it: the stories of loki/rules.

Lines are those of real logs (recorded, or quoted in the follower's patterns) with a time of today's put in, and the
forgeries are made of them: the same text where a stranger can bring it.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from chainwatch.families.bitcoin.log import patterns as bitcoin
from chainwatch.families.cometbft import log_patterns as cometbft

# Where a line's time goes, by its form.
CORE, OLD, PLAIN, JSON, SDK_JSON, SDK_CONSOLE = "@core@", "@old@", "@plain@", "@json@", "@sdk_json@", "@sdk_console@"
_HASH = "a991f53cd8eb3ed017dd86faf5b4afb037ffe640165d03a1dc2670bd5d371331"


@dataclass(frozen=True)
class LogStory:
    """Lines of one node, and exactly those alerts that they must bring about."""

    name: str
    job: str
    lines: tuple[str, ...]
    fires: frozenset[str]

    @property
    def instance(self) -> str:
        """What the node is called in Loki."""
        return re.sub(r"\W+", "-", self.name).strip("-")

    @property
    def count(self) -> int:
        """How many lines Loki must have: all but blank ones."""
        return sum(1 for line in "\n".join(self.lines).split("\n") if line.strip())

    def log(self, now: datetime.datetime) -> str:
        """The lines with times from a minute ago on, a millisecond apart."""
        start = now - datetime.timedelta(minutes=1)
        moments = (start + datetime.timedelta(milliseconds=number) for number in range(len(self.lines)))
        return "".join(f"{_dated(line, moment)}\n" for line, moment in zip(self.lines, moments, strict=True))


def _dated(line: str, moment: datetime.datetime) -> str:
    utc, local = moment.astimezone(datetime.UTC), moment.astimezone()
    forms = {
        CORE: f"{utc:%Y-%m-%dT%H:%M:%S.%fZ}",
        OLD: f"{utc:%Y-%m-%d %H:%M:%S}",
        PLAIN: f"{local:%Y-%m-%d|%H:%M:%S}.{local.microsecond // 1000:03}",
        JSON: f"{utc:%Y-%m-%dT%H:%M:%S.%fZ}",
        SDK_JSON: local.isoformat(timespec="seconds").replace("+00:00", "Z"),
        SDK_CONSOLE: f"{local:%I:%M%p}".removeprefix("0"),
    }
    for mark, text in forms.items():
        line = line.replace(mark, text)
    return line


def _core(message: str) -> str:
    return f"{CORE} {message}"


def _plain(level: str, message: str, module: str = "consensus", **fields: str) -> str:
    pairs = "".join(f" {name}={json.dumps(value)}" for name, value in fields.items())
    return f"{level}[{PLAIN}] {message:<44} module={module}{pairs}"


def _json(level: str, message: str, module: str = "consensus", **fields: str) -> str:
    return json.dumps({"_msg": message, **fields, "level": level, "module": module, "ts": JSON}, separators=(",", ":"))


def _both(level: str, message: str, **fields: str) -> Iterator[str]:
    """The same line in both formats of CometBFT."""
    yield _plain(level[0].upper(), message, **fields)
    yield _json(level, message, **fields)


def _sdk(level: str, message: str, module: str, **fields: str) -> Iterator[str]:
    """The same line in the formats of the Cosmos SDK: JSON, and console without colours and with them."""
    head = {"level": level, "module": module}
    yield json.dumps({**head, **fields, "time": SDK_JSON, "message": message}, separators=(",", ":"))
    yield from _console(level, message, {**fields, "module": module})


def _console(level: str, message: str, fields: Mapping[str, str]) -> Iterator[str]:
    short = {"error": "ERR", "info": "INF"}[level]
    pairs = {name: json.dumps(text) if re.search(r'[\s"\\]', text) else text for name, text in fields.items()}
    yield " ".join([SDK_CONSOLE, short, message, *(f"{name}={text}" for name, text in pairs.items())])
    bright = [f"\x1b[36m{name}=\x1b[0m{text}" for name, text in pairs.items()]
    yield " ".join([f"\x1b[90m{SDK_CONSOLE}\x1b[0m", f"\x1b[1m\x1b[31m{short}\x1b[0m\x1b[0m", message, *bright])
    yield " ".join([f"\x1b[90m{SDK_CONSOLE}\x1b[0m", f"\x1b[31m{short}\x1b[0m", f"\x1b[1m{message}\x1b[0m", *bright])


def _bitcoin(name: str, lines: Sequence[str], *fires: str) -> LogStory:
    return LogStory(name, "bitcoin", tuple(lines), frozenset(fires))


def _cometbft(name: str, lines: Sequence[str], *fires: str) -> LogStory:
    return LogStory(name, "cometbft", tuple(lines), frozenset(fires))


_REFUSED = "ProcessNewBlock: AcceptBlock FAILED (bad-txnmrklroot, hashMerkleRoot mismatch)"
_WRONG_PASSWORD = "[warning] ThreadRPCServer incorrect password attempt from 127.0.0.1:44244"
_PEER_GONE = _plain("E", "Stopping peer for error", "p2p", peer="Peer{MConn{127.0.0.1:1} ab out}", err="EOF")
_NO_SPACE = "write /srv/node0/data/cs.wal/wal: no space left on device"
_FATAL = "A fatal internal error occurred, see debug.log for details: "
_LEVELDB_FULL = "Fatal LevelDB error: IO error: /srv/bitcoin/chainstate/2963623.ldb: No space left on device"
_LEVELDB_BROKEN = "Fatal LevelDB error: Corruption: checksum mismatch"
_SDK_FORMS = ("JSON", "console", "console in colours up to 0.47", "console in colours")
_CONFLICT = "conflicting votes from validator 1DA39A678B60D13FEF148D4B7CCA44182112716E"

_FIRING = (
    _bitcoin("LogErrors fires when Core 27 writes eleven errors", [_core(f"[error] {_REFUSED}")] * 11, "LogErrors"),
    _bitcoin("LogErrors fires when Core 26 writes eleven errors", [_core(f"ERROR: {_REFUSED}")] * 11, "LogErrors"),
    _cometbft(
        "LogErrors fires when consensus writes eleven errors",
        [_plain("E", "Error flushin to disk", wal="/srv/wal", err="input/output error")] * 11,
        "LogErrors",
    ),
    _bitcoin("LogWarnings fires when somebody tries passwords", [_core(_WRONG_PASSWORD)] * 61, "LogWarnings"),
    _bitcoin(
        "LogPanic fires when Core cannot flush",
        [
            _core("*** System error while flushing: Database I/O error"),
            _core("Error: A fatal internal error occurred, see debug.log for details"),
        ],
        "LogPanic",
    ),
    _bitcoin(
        "LogPanic fires when Core 28 ends with a level and a thread",
        [_core("[msghand] [error] A fatal internal error occurred, see debug.log for details: Failed to read block.")],
        "LogPanic",
    ),
    _cometbft(
        "LogPanic fires when a Go program panics",
        [
            "panic: runtime error: invalid memory address or nil pointer dereference",
            "[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x123]",
            "",
            "goroutine 1 [running]:",
        ],
        "LogPanic",
    ),
    _cometbft("LogPanic fires when Go's runtime ends", ["fatal error: all goroutines are asleep"], "LogPanic"),
    # Recorded: Litecoin 0.21 and Bitcoin SV 1.0 with less than 50 MB left, CometBFT 0.38 with none.
    _bitcoin(
        "LogDiskFull fires when Litecoin stops",
        [
            _core("*** Disk space is too low!"),
            _core("Error: Disk space is too low!"),
            _core("ForceFlushStateToDisk: failed to flush state (Disk space is too low!)"),
        ],
        "LogDiskFull",
    ),
    _bitcoin(
        "LogDiskFull fires when Bitcoin SV stops",
        [f"{OLD} [worker0-N-HTTPServer] *** Disk space is low!", f"{OLD} [shutoff] Error: Error: Disk space is low!"],
        "LogDiskFull",
    ),
    _bitcoin("LogDiskFull fires when LevelDB meets it first", [_core(_LEVELDB_FULL)], "LogDiskFull"),
    _bitcoin(
        "LogDiskFull fires on Core 28 with all parts of the prefix",
        [
            f"[*] {CORE} (mocktime: 2026-11-22T05:23:44Z) [httpworker.0] [noui.cpp:39] [noui_ThreadSafeMessageBox]"
            f" [error] {_FATAL}Disk space is too low!"
        ],
        "LogDiskFull",
        "LogPanic",
    ),
    _bitcoin(
        "LogDiskFull fires on Core 28 when it cannot flush",
        [_core(f"[error] {_FATAL}System error while flushing: {_LEVELDB_FULL}")],
        "LogDiskFull",
        "LogPanic",
    ),
    _bitcoin(
        "LogDiskFull fires on Core 26 with the caption of its message",
        [_core(f"Error: {_FATAL}Disk space is too low!")],
        "LogDiskFull",
        "LogPanic",
    ),
    _cometbft(
        "LogDiskFull fires when consensus dies of it",
        [_plain("E", "CONSENSUS FAILURE!!!", err=_NO_SPACE, stack="goroutine 62 [running]:\nruntime/debug.Stack()")],
        "LogDiskFull",
        "LogConsensusFailure",
    ),
    _cometbft(
        "LogDiskFull fires when a node cannot start for it",
        [f"ERROR: failed to create node: failed to initialize database: {_NO_SPACE}"],
        "LogDiskFull",
    ),
    # Recorded: Litecoin 0.21 and CometBFT 0.38 with bytes of their databases changed.
    _bitcoin(
        "LogDatabaseCorrupted fires when LevelDB finds it",
        [_core(_LEVELDB_BROKEN), _core(": Error opening block database.")],
        "LogDatabaseCorrupted",
    ),
    _bitcoin(
        "LogDatabaseCorrupted fires when Core checks its blocks",
        [_core(": Corrupted block database detected."), "Please restart with -reindex or -reindex-chainstate."],
        "LogDatabaseCorrupted",
    ),
    _bitcoin(
        "LogDatabaseCorrupted fires when the disk dies",
        [_core("LevelDB read failure: IO error: /srv/chainstate/977013.ldb: Input/output error")],
        "LogDatabaseCorrupted",
    ),
    _bitcoin(
        "LogDatabaseCorrupted fires when Core stops for it",
        [_core("Error: Error reading from database, shutting down.")],
        "LogDatabaseCorrupted",
    ),
    _bitcoin(
        "LogDatabaseCorrupted fires on Core 28 when it cannot flush",
        [_core(f"[scheduler] [error] {_FATAL}System error while flushing: {_LEVELDB_BROKEN}")],
        "LogDatabaseCorrupted",
        "LogPanic",
    ),
    _cometbft(
        "LogDatabaseCorrupted fires when a node cannot start",
        [
            "ERROR: failed to create node: failed to initialize database: leveldb: manifest corrupted"
            " (field 'comparer'): missing [file=MANIFEST-000000]"
        ],
        "LogDatabaseCorrupted",
    ),
    _bitcoin(
        "LogPeersMisbehaving fires when many break the protocol",
        [_core(f"[net] {bitcoin.MISBEHAVING.quote}"), _core(f"[net] {bitcoin.MUTATED_FROM.quote}")] * 11,
        "LogPeersMisbehaving",
    ),
    _cometbft(
        "LogPeersMisbehaving fires when many send invalid blocks",
        list(_both("error", cometbft.PEER_INVALID_BLOCK.quote, peer="ab", err="wrong Block.Header.AppHash")) * 11,
        "LogPeersMisbehaving",
    ),
    _bitcoin("LogInvalidBlock fires for Core 26", [_core(bitcoin.CONNECT_FAILED.quote)], "LogInvalidBlock"),
    _bitcoin(
        "LogInvalidBlock fires for Core 31",
        [_core(f"[error] ConnectTip: ConnectBlock {_HASH} failed, bad-cb-amount, coinbase pays too much")],
        "LogInvalidBlock",
    ),
    _bitcoin(
        "LogRateLimited fires for Core 30",
        [_core(f"[warning] {bitcoin.EXCESSIVE_LOGGING.quote}")],
        "LogRateLimited",
    ),
    _cometbft(
        "LogConsensusFailure fires when an application disagrees",
        list(_both("error", cometbft.CONSENSUS_FAILURE.quote, err="+2/3 committed an invalid block: wrong AppHash")),
        "LogConsensusFailure",
    ),
    _cometbft(
        "LogKeyFoundElsewhere fires at the start",
        [_plain("E", cometbft.SAME_KEY.quote, height="12")],
        "LogKeyFoundElsewhere",
    ),
    _cometbft(
        "LogKeyFoundElsewhere fires at the double signer",
        list(_both("error", cometbft.CONFLICTING_VOTE_OF_OURS.quote, height="12")),
        "LogKeyFoundElsewhere",
    ),
    _cometbft(
        "LogDoubleSign fires at a peer",
        list(_both("error", cometbft.CONFLICTING_VOTES.quote, height="10", err=_CONFLICT)),
        "LogDoubleSign",
    ),
    _cometbft(
        "LogDoubleSign fires by evidence",
        list(_both("info", cometbft.EVIDENCE_VERIFIED.quote, evidence="DuplicateVoteEvidence{}")),
        "LogDoubleSign",
    ),
    _cometbft(
        "LogWalCorrupted fires at the start",
        list(_both("error", cometbft.WAL_CORRUPTED.quote, err="DataCorruptionError[unexpected EOF]")),
        "LogWalCorrupted",
    ),
    _cometbft(
        "LogSigningFailed fires without a signer",
        [
            *_both("error", cometbft.SIGNING_FAILED.quote, err="endpoint connection timed out"),
            *_both("error", cometbft.SIGNER_SILENT.quote),
        ],
        "LogSigningFailed",
    ),
    _cometbft(
        "LogUpgradeNeeded fires at the height of the upgrade",
        list(_both("error", cometbft.UPGRADE_NEEDED.quote, module="x/upgrade")),
        "LogUpgradeNeeded",
    ),
    *(
        _cometbft(f"LogUpgradeNeeded fires for a program of the Cosmos SDK, {form}", [line], "LogUpgradeNeeded")
        for form, line in zip(_SDK_FORMS, _sdk("error", cometbft.UPGRADE_NEEDED.quote, "x/upgrade"), strict=True)
    ),
    *(
        _cometbft(f"LogConsensusFailure fires for a program of the Cosmos SDK, {form}", [line], "LogConsensusFailure")
        for form, line in zip(
            _SDK_FORMS,
            _sdk("error", cometbft.CONSENSUS_FAILURE.quote, "consensus", err="+2/3 committed an invalid block"),
            strict=True,
        )
    ),
    # As Cosmos SDK 0.47 and 0.50 wrote it: the first when it met the height, the second when it was started again.
    _cometbft(
        "LogUpgradeNeeded fires when consensus dies of it",
        [
            f'{SDK_CONSOLE} ERR UPGRADE "v0.31.0" NEEDED at height: 7374634:  module=server',
            f'{SDK_CONSOLE} ERR CONSENSUS FAILURE!!! err="UPGRADE \\"v0.31.0\\" NEEDED at height: 7374634: "'
            ' module=consensus stack="goroutine 451 [running]:\\nruntime/debug.Stack()"',
        ],
        "LogUpgradeNeeded",
        "LogConsensusFailure",
    ),
    _cometbft(
        "LogUpgradeNeeded fires when the old program is started again",
        [
            f"{SDK_CONSOLE} INF Replay last block using real app module=consensus",
            f'{SDK_CONSOLE} ERR UPGRADE "v2.12" NEEDED at height: 11860000: {{"binaries": {{}}}} module=server',
            'panic: UPGRADE "v2.12" NEEDED at height: 11860000: {"binaries": {}}',
        ],
        "LogUpgradeNeeded",
        "LogPanic",
    ),
)

_QUIET = (
    _bitcoin("LogErrors stays silent at ten errors", [_core(f"[error] {_REFUSED}")] * 10),
    _cometbft("LogErrors stays silent when peers come and go", [_PEER_GONE] * 40),
    _cometbft(
        "LogErrors stays silent about requests that make a handler panic",
        list(_both("error", cometbft.RPC_PANIC.quote, module="rpc-server", err="WSJSONRPC: reflect: Call")) * 20,
    ),
    _bitcoin("LogWarnings stays silent at sixty warnings", [_core(_WRONG_PASSWORD)] * 60),
    _cometbft("LogPanic stays silent about what is not at the start of a line", ["  panic: no", "a fatal error: no"]),
    _bitcoin(
        "LogDiskFull stays silent about space that may run out",
        [_core('[warning] Disk space for "/srv/blocks" may not accommodate the block files. About 9 GB of data.')],
    ),
    _bitcoin(
        "LogDatabaseCorrupted stays silent about a lock",
        [_core("Fatal LevelDB error: IO error: lock /srv/blocks/index/LOCK: Resource temporarily unavailable")],
    ),
    _bitcoin("LogPeersMisbehaving stays silent at twenty", [_core(f"[net] {bitcoin.MISBEHAVING.quote}")] * 20),
    _bitcoin(
        "LogInvalidBlock stays silent about a broken copy and about invalidateblock",
        [_core(f"[error] {_REFUSED}"), _core(bitcoin.INVALID_CHAIN.quote), _core(bitcoin.UPDATE_TIP.quote)],
    ),
    _bitcoin("LogRateLimited stays silent while lines are marked", [f"[*] {CORE} {bitcoin.UPDATE_TIP.quote}"]),
    _cometbft(
        "LogConsensusFailure LogKeyFoundElsewhere LogDoubleSign LogWalCorrupted LogUpgradeNeeded silent on progress",
        [
            *_both("info", cometbft.COMMITTED.quote, height="7"),
            *_both("info", "Timed out", dur="3s", height="7", round="0", step="RoundStepPropose"),
            *_both("error", cometbft.CONFLICTING_VOTES.quote, err="invalid signature"),
        ],
    ),
    _cometbft(
        "LogConsensusFailure LogUpgradeNeeded silent on progress of a program of the Cosmos SDK",
        [
            *_sdk("info", 'applying upgrade "v4" at height: 6915787', "x/upgrade"),
            *_console("info", cometbft.UPGRADE_NEEDED.quote, {"module": "x/upgrade"}),
            *_sdk("info", cometbft.COMMITTED.quote, "consensus", height="7"),
        ],
    ),
    _cometbft(
        "LogSigningFailed stays silent about one vote too late",
        list(_both("error", cometbft.SIGNING_FAILED.quote, err="round is over")),
    ),
)


def _forgeries(story: LogStory) -> Iterator[LogStory]:
    """The same text where strangers bring it; each must be silent.

    What follows a newline in a wallet's name has no time here: with the whole prefix nobody could tell it apart.
    """
    for place, put in (_BITCOIN_PLACES if story.job == "bitcoin" else _COMETBFT_PLACES).items():
        lines = tuple(line for text in story.lines for line in put(text))
        yield LogStory(f"{story.name}, not from a {place}", story.job, lines, frozenset())


def _untimed(line: str) -> str:
    return line.rpartition(f"{CORE} ")[2].rpartition(f"{OLD} ")[2]


_BITCOIN_PLACES: Mapping[str, Callable[[str], Sequence[str]]] = {
    "user agent": lambda text: [
        _core(f"receive version message: /{_untimed(text)}/: version 70016, blocks=0, us=[::]:0, peer=1"),
        _core(f"[net] receive version message: {text}: version 70016, blocks=0, us=[::]:0, peer=1"),
    ],
    "wallet": lambda text: [
        _core(f"[{_untimed(text)}] Releasing wallet"),
        _core(f"[w\n{_untimed(text)}] Releasing wallet"),
    ],
}
_COMETBFT_PLACES: Mapping[str, Callable[[str], Sequence[str]]] = {
    "field": lambda text: [
        *_both("error", "Stopping peer for error", module="p2p", err=text),
        *_sdk("error", "Stopping peer for error", "p2p", err=text),
    ],
}


def log_stories() -> list[LogStory]:
    """Every story."""
    return [*_FIRING, *_QUIET, *(forgery for story in _FIRING for forgery in _forgeries(story))]
