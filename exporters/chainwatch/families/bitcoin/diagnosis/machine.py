"""What chainwatch needs of its own machine: the state folder, the node's log, the web configuration."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from chainwatch.exposition import machine
from chainwatch.exposition.metrics import Definition
from chainwatch.exposition.report import Finding, fail, ok, warn
from chainwatch.families.bitcoin.diagnosis.node import Facts, RpcInfo
from chainwatch.families.bitcoin.diagnosis.scrape import names
from chainwatch.families.bitcoin.log import metrics as log_metrics
from chainwatch.families.bitcoin.log.metrics import LogMetrics
from chainwatch.families.bitcoin.settings import BitcoinSettings

# Enough for some hours of a busy node's log with the categories that we recommend, and read in a fraction of a second.
LOG_TAIL_BYTES = 4 << 20
# "Saw new header" needs no debug category.
HEADERS_SINCE = 250000


def examine(settings: BitcoinSettings, facts: Facts | None) -> Iterator[Finding]:
    """Yield what this machine lacks; `facts` are the node's answers, if it gave any."""
    yield machine.state(settings.state.dir, "a reorganisation while the exporter restarts goes unseen")
    yield from _log(settings, facts)
    yield from machine.web(settings.web)


def _log(settings: BitcoinSettings, facts: Facts | None) -> Iterator[Finding]:
    told = facts.get("getrpcinfo", RpcInfo) if facts else None
    file = settings.log.file
    if file is None:
        where = f" --log.file {told.logpath}" if told and told.logpath else " --log.file FILE"
        yield ok(
            "log",
            f"Not followed: rejected transactions, invalid blocks and block times are absent. To have them:{where}",
        )
        return
    try:
        tail = _tail(file)
    except OSError as error:
        yield fail(
            "log",
            f"Cannot read {file}: {error.strerror}.",
            "The exporter's user must be allowed to read the file and to enter every folder above it.",
        )
        return
    active = _active_categories(facts)
    yield ok("log", f"{file} can be read.")
    if told and told.logpath and Path(told.logpath).name != file.name:
        yield warn("log", f"The node writes to {told.logpath}, and log.file is {file}.", "Is it this node's log?")
    absent = _absent(tail, active, facts)
    if absent:
        wanted = ", ".join(f"{name} ({category})" if category else name for name, category in absent)
        categories = sorted({category for _, category in absent if category})
        yield warn(
            "log",
            f"{'The node does not write' if active is not None else 'Its last lines lack'} what these metrics are made "
            f"of: {wanted}.",
            "Add to the node's file and restart it; what each costs is in docs/bitcoin.md.",
            categories,
        )
    else:
        yield ok("log", "It carries all categories that metrics are made of.")


def _tail(file: Path) -> bytes:
    """The last whole lines. Raises OSError."""
    # Opening a pipe would wait for whoever writes into it.
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        state = os.fstat(stream.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        start = max(0, state.st_size - LOG_TAIL_BYTES)
        stream.seek(start)
        tail = stream.read(LOG_TAIL_BYTES)
    first = tail.find(b"\n") + 1 if start else 0
    return tail[first : tail.rfind(b"\n") + 1]


def _active_categories(facts: Facts | None) -> list[str] | None:
    """The debug categories that are on, from the RPC `logging`; None where the node does not tell this user."""
    told = facts.get("logging", dict) if facts else None
    return None if told is None else [category for category, on in told.items() if on]


def _absent(tail: bytes, active: list[str] | None, facts: Facts | None) -> list[tuple[str, str]]:
    """The metrics of the log that the node's settings give no line for, each with the setting that would."""
    network = facts.network if facts else None
    says_headers = (
        network is not None and network.subversion.startswith("/Satoshi:") and network.version >= HEADERS_SINCE
    )
    reader = LogMetrics()
    reader.learn(tail)
    reader.feed(tail)
    if active is not None:
        reader.categories(active)
    given = names(list(reader.collect()))
    defined = [value for value in vars(log_metrics).values() if isinstance(value, Definition)]
    missing = [(each.name, _category(each.help)) for each in defined if each.name not in given]
    # Where the lines are written, nothing but a block is missing.
    written = {f"debug={category}" for category in active or ()}
    return [
        (name, category)
        for name, category in missing
        if category not in written and not (says_headers and name == log_metrics.HEADER_TO_TIP.name)
    ]


def _category(text: str) -> str:
    """The setting that a metric's help names, such as debug=bench."""
    _, found, rest = text.partition("(debug=")
    return f"debug={rest.partition(')')[0]}" if found else ""
