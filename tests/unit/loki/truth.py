"""What labels a line must get, told from the log follower's constants in plain Python, without a pipeline.

A truth has `level`, and `category` and `event` where there are such; None stands for a line that is dropped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from chainwatch.families.bitcoin.log import prefix
from chainwatch.families.bitcoin.log.patterns import MESSAGES, PREFIX, RPC_CALL
from chainwatch.families.bitcoin.log.reasons import bare_reason
from chainwatch.families.cometbft import log_patterns as comet
from chainwatch.families.cometbft.log_patterns import Message

Labels = dict[str, str]
UNKNOWN: Labels = {"level": "unknown"}

# What the exporter asks a node every few seconds, and what it never asks; not read from the code on purpose.
POLLED = (
    "activezmqnotifications estimatesmartfee getaddrmaninfo getbestblockhash getblockchaininfo getblockhash"
    " getblockheader getblockstats getchainstates getchaintips getchaintxstats getdeploymentinfo getindexinfo"
    " getmemoryinfo getmempoolinfo getmininginfo getnettotals getnetworkinfo getorphantxs getpeerinfo getrpcinfo"
    " getzmqnotifications listbanned uptime"
)
_POLLED = re.compile(rf"ThreadRPCServer method=(?:{POLLED.replace(' ', '|')})(?: user=.*)?".encode())


class BitcoinLine:
    """One line of debug.log, taken apart as the follower does."""

    def __init__(self, text: bytes, threads: bool | None) -> None:
        """`threads` tells whether this node writes thread names, None when that is not known."""
        found = PREFIX.compiled.match(text)
        assert found is not None
        self.time: bytes | None = found["time"]
        self.tags = prefix.classify(found["brackets"], threads)
        self.message = text[found.end() - self.tags.rest :]
        self.pattern = next((one for one in MESSAGES if self.time and one.compiled.match(self.message)), None)

    @property
    def level(self) -> str:
        """Bracket, else the text's first word, else debug for a category, else info."""
        word = self.message.split(b" ", 1)[0]
        texts = {b"ERROR:": "error", b"Error:": "error", b"WARNING:": "warning", b"Warning:": "warning"}
        return self.tags.level or texts.get(word) or ("debug" if self.tags.category else "info")

    def labels(self) -> Labels | None:
        if not self.time:
            return dict(UNKNOWN)
        if self.pattern is RPC_CALL and _POLLED.fullmatch(self.message):
            return None
        labels = {"level": self.level}
        if self.tags.category:
            labels["category"] = self.tags.category
        if self.pattern:
            labels["event"] = self.pattern.name
        return labels

    def metadata(self) -> Labels:
        """What the pattern itself reads, by the names under which it is stored."""
        found = self.pattern.compiled.match(self.message) if self.pattern else None
        groups = {name: value.decode() for name, value in found.groupdict().items() if value} if found else {}
        reason = bare_reason(groups.pop("state", "") or groups.pop("reason", ""))
        kept = {"hash", "height", "peer", "phase", "milliseconds", "method"}
        told = {name: value for name, value in groups.items() if name in kept}
        if reason not in ("", "Valid"):
            told["reason"] = reason
        if self.tags.thread:
            told["thread"] = self.tags.thread
        return told


class CometLine:
    """One line of a CometBFT node, in either format."""

    def __init__(self, text: bytes) -> None:
        self.level, self.module, self.message = "unknown", "", ""
        self.fields: Mapping[str, str] = {}
        if found := re.match(comet.PLAIN.regex, text.decode(errors="replace"), re.ASCII):
            self.level, self.module, self.message = (
                comet.PLAIN_LEVELS[found["level"]],
                found["module"],
                found["message"],
            )
            pairs = re.findall(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))', found["fields"])
            self.fields = {key: quoted or bare for key, quoted, bare in pairs}
        elif text.startswith(b"{"):
            entry = json.loads(text)
            self.level, self.module = comet.JSON_LEVELS[entry[comet.JSON_LEVEL]], entry[comet.JSON_MODULE]
            self.message = entry[comet.JSON_MESSAGE if comet.JSON_MESSAGE in entry else comet.SDK_MESSAGE]
            self.fields = {key: str(value) for key, value in entry.items()}

    def found(self) -> Message | None:
        for candidate in comet.MESSAGES if self.module else ():
            if re.search(candidate.regex, self.message) and all(
                re.search(regex, self.fields.get(key, "")) for key, regex in candidate.where.items()
            ):
                return candidate
        return None

    def labels(self) -> Labels | None:
        message = self.found()
        if message is comet.NEXT_HEIGHT:
            return None
        labels = {"level": self.level}
        return labels | {"category": message.category.value, "event": message.name} if message else labels
