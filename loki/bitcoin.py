"""debug.log of Bitcoin Core 0.21 to 31, Litecoin, Bitcoin SV, by the constants of the exporter's own log follower.

Unlike the follower, a pipeline has no memory: it cannot learn whether this node writes thread names. `[net]` and
`[http]`, each both a thread and a category, are the thread where a category follows, and in the lines by which these
threads start and end; else the category.
"""

from __future__ import annotations

import re

from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.log import prefix, reasons
from chainwatch.families.bitcoin.log.patterns import MESSAGES, PREFIX, RPC_CALL
from chainwatch.families.bitcoin.methods import methods_of
from loki.stages import (
    Job,
    Pipeline,
    Stage,
    drop,
    first_of,
    label_drop,
    labels,
    marked,
    regex,
    structured_metadata,
    template,
    timestamp,
    without_empty,
)

# By each of these an operator or a miner acts on blocks: such a call explains what the node says next.
NEVER_DROPPED = frozenset(
    {"submitblock", "submitheader", "generateblock", "invalidateblock", "reconsiderblock", "preciousblock"}
)


def _one_of(names: frozenset[bytes]) -> str:
    return "|".join(sorted(name.decode() for name in names))


_THREAD = prefix.THREAD.pattern.decode()
_EITHER = _one_of(prefix.THREAD_OR_CATEGORY)
_LEVEL = _one_of(prefix.LEVELS)
_SOURCE = rf"\[{prefix.SOURCE.pattern.decode()}\] \[[^\[\]]*\] "
_TAG = rf"\[(?:(?P<category>{_one_of(prefix.CATEGORIES)})(?::(?P<level>{_LEVEL}))?|(?P<bare_level>{_LEVEL}))\] "

# After the time: thread, source location, then category and level where the line has one of them. Categories are
# younger than the time with T and Z: beside the other form, as in Bitcoin SV, what looks like one is the thread.
UNTAGGED = rf"^\S+Z (?:\[(?P<thread>{_THREAD})\] )?(?:{_SOURCE})?(?P<message>.*)$"
TAGGED = rf"^\S+Z (?:\[(?P<thread>{_THREAD}|{_EITHER})\] )?(?:{_SOURCE})?{_TAG}(?P<message>.*)$"
THREAD_LIFE = (
    rf"^\S+Z \[(?P<thread>{_EITHER})\] (?P<category>)(?P<level>)(?P<message>(?:{_EITHER}) thread (?:start|exit).*)$"
)
OLD = rf"^\S+ [0-9:.]+ (?:\[(?P<thread>{_THREAD}|{_EITHER})\] )?(?P<message>.*)$"

# Up to 26 the text tells a level, and nothing else does.
ERROR_TEXT, WARNING_TEXT = r"^(?:ERROR|Error): ", r"^(?:WARNING|Warning): "

_HASH = "[0-9a-f]{64}"
# What a line says beside what the follower reads of it. Anchored like the patterns, and for what people look up only.
DETAILS = (
    rf"^(?P<txid>{_HASH})(?: \(wtxid={_HASH}\))? from peer=(?P<peer>\d+) was not accepted: ",
    rf"^AcceptToMemoryPool: peer=(?P<peer>\d+): accepted (?P<txid>{_HASH}) ",
    rf"^p2p: (?:non)?standard txn= (?P<txid>{_HASH}) ",
    rf"^Transaction(?:AddedTo|RemovedFrom)Mempool: txid=(?P<txid>{_HASH}) ",
    rf"^(?:Enqueuing )?Block(?:Connected|Disconnected): block hash=(?P<hash>{_HASH}) block height=(?P<height>\d+)",
    rf"^Saw new (?:cmpctblock )?header hash={_HASH} height=(?P<height>\d+)",
    rf"^InvalidChainFound: invalid block={_HASH}  height=(?P<height>\d+) ",
    rf"^- Disconnect block: [^,]*, hash=(?P<hash>{_HASH}), height=(?P<height>\d+)$",
    r"^Misbehaving: peer=(?P<peer>\d+)",
    r"^Peer=(?P<peer>\d+) is stalling block download, disconnecting",
    rf"^Timeout downloading block {_HASH} from peer=(?P<peer>\d+)",
    rf"^Timeout downloading block {_HASH}, disconnecting peer=(?P<peer>\d+)",
)
METADATA = ("thread", "height", "hash", "txid", "peer", "reason", "phase", "milliseconds", "method")
OPTIONAL = ("thread", "category", "peer", "reason")  # groups that may take no part in a match

_LEVELS = first_of(
    [
        ("not .time", "unknown"),
        (".bare_level", "{{ .bare_level }}"),
        (".level", "{{ .level }}"),
        (".is_error", "error"),
        (".is_warning", "warning"),
        (".category", "debug"),
        ("true", "info"),
    ]
)


def polled() -> list[str]:
    """Return the methods whose calls are dropped: those that the exporter asks by itself, by default."""
    BITCOIN.load()
    return sorted(set(methods_of(collector for collector in BITCOIN if collector.default)) - NEVER_DROPPED)


def own_calls() -> str:
    """Return the expression of a message about a call of one of these methods."""
    closed = re.sub(r"\(\?P<method>.*?\)", f"(?:{'|'.join(polled())})", RPC_CALL.regex)
    return rf"{closed}(?: user=.*)?$"


def _prefix() -> list[Stage]:
    return [
        drop("blank", r"^\s*$", why="The file starts with blank lines at each start of the node."),
        regex(f"{PREFIX.regex}(?P<rest>.*)$", why="Time, brackets, and the rest of the line."),
        template("time", "{{ TrimSpace .time }}"),
        timestamp(
            "time",
            "RFC3339Nano",
            ["2006-01-02 15:04:05"],
            why="Always UTC; the second form is that of Bitcoin SV. A line without time belongs to the line before: it"
            " is stored right after it, and gets no label but level=unknown, since it may be text of a stranger.",
        ),
        template(
            "timed",
            "{{ if .time }}{{ .time }} {{ .brackets }}{{ .rest }}{{ end }}",
            "Nothing below reads a line without time.",
        ),
        regex(UNTAGGED, "timed", "Thread and source location, each where the node writes it."),
        regex(
            TAGGED,
            "timed",
            "Category or level or both, from closed sets; another word in brackets is part of the message.",
        ),
        regex(THREAD_LIFE, "timed", "What these threads write without a category."),
        regex(OLD, "timed", "Bitcoin SV, and Core up to 0.16."),
    ]


def _events() -> list[Stage]:
    """The patterns in reverse order: should two match, the first one's values stand."""
    found = [marked(f"is_{pattern.name}", pattern.regex, "message") for pattern in reversed(MESSAGES)]
    cases = [(f".is_{pattern.name}", pattern.name) for pattern in MESSAGES]
    return [*found, template("event", first_of(cases), "The first pattern that matches says what the line is about.")]


def _reason() -> list[Stage]:
    return [
        template("reason", "{{ with .state }}{{ . }}{{ else }}{{ with .reason }}{{ . }}{{ end }}{{ end }}"),
        regex(rf"^(?P<reason>.*?) *(?:{reasons.DETAILS.pattern}|$)", "reason", "The bare reason, without its details."),
        template(
            "reason",
            '{{ if and .reason (ne .reason "Valid") }}{{ .reason }}{{ end }}',
            "No reason, but a good verdict.",
        ),
    ]


def pipeline() -> Pipeline:
    """Return the stages for one line."""
    return [
        *_prefix(),
        drop(
            "own_rpc_call",
            own_calls(),
            "message",
            "With debug=rpc the node logs each call. These are what the exporter asks every few seconds; calls that"
            " change something, and all others, stay.",
        ),
        *_events(),
        *(regex(expression, "message") for expression in DETAILS),
        *_reason(),
        marked("is_error", ERROR_TEXT, "message"),
        marked("is_warning", WARNING_TEXT, "message"),
        template("level", _LEVELS, "Bracket, else text (up to 26), else debug for a line with a category, else info."),
        *without_empty(*OPTIONAL, why="Groups that took no part in a match are empty."),
        labels(("level", "category", "event"), "Closed sets only: nothing that a peer chooses."),
        structured_metadata(METADATA, "Beside the line, not in the index."),
        label_drop(["filename"], "One node has one log; the path would only make more streams."),
    ]


JOB = Job(
    name="bitcoin",
    title="Bitcoin Core, Litecoin, Bitcoin SV",
    pipeline=pipeline(),
    unit="bitcoind.service",
    instance="127.0.0.1:9332",
    chain="bitcoin-main",
)
