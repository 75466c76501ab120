"""From the message of a line to what it reports, as a typed event."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from chainwatch.families.bitcoin.log import patterns
from chainwatch.streams.log_pattern import Pattern


class TipUpdated(NamedTuple):
    """The best block changed, upwards or downwards."""

    hash: str
    height: int
    block_time: bytes  # as the node writes it


class BlockDisconnecting(NamedTuple):
    """The next TipUpdated goes down."""


class HeaderSeen(NamedTuple):
    """A block's header is known; `from_peer` when the line proves that a peer sent it."""

    hash: str
    from_peer: bool


class MessageReceived(NamedTuple):
    """A peer's message is about to be handled."""

    type: str
    peer: str


class TransactionsRequested(NamedTuple):
    """The compact block being handled lacks transactions; this peer is asked for them."""

    peer: str


class BlockReceived(NamedTuple):
    """A peer sent this whole block."""

    hash: str


class BlockWorkValid(NamedTuple):
    """A block on top of the tip is complete and has valid work."""

    hash: str


class CompactReconstructed(NamedTuple):
    """A compact block is complete, after asking for this number of transactions."""

    hash: str
    requested: int


class BlockChecked(NamedTuple):
    """The verdict on a block."""

    hash: str
    state: str


class InvalidChainFound(NamedTuple):
    """A block and its descendants are marked invalid."""

    hash: str


class ConnectFailed(NamedTuple):
    """A block failed to connect."""

    hash: str
    state: str


class AcceptFailed(NamedTuple):
    """A block was refused before it was stored; the line does not say which."""

    state: str


class HeaderRefused(NamedTuple):
    """A header breaks a rule."""

    hash: str
    state: str


class BlockMutated(NamedTuple):
    """A peer's block does not match its header; the line does not say which."""

    state: str  # empty in the line that names the peer


class Misbehaved(NamedTuple):
    """A peer broke the protocol."""


class BlockTimedOut(NamedTuple):
    """A peer did not deliver a block in time."""


class BlockStalled(NamedTuple):
    """A peer holds up the block download."""


class TransactionAccepted(NamedTuple):
    """A peer's transaction entered the mempool."""


class TransactionRejected(NamedTuple):
    """A peer's transaction was refused."""

    reason: str


class ConnectPhase(NamedTuple):
    """One part of connecting a block took this long."""

    phase: str
    seconds: float


class StaleTip(NamedTuple):
    """The node suspects that it does not hear of new blocks."""


class LoggingSuppressed(NamedTuple):
    """The node starts to drop lines of one source."""


class RpcCalled(NamedTuple):
    """Somebody called this method."""

    method: str


Event = (
    TipUpdated
    | BlockDisconnecting
    | HeaderSeen
    | MessageReceived
    | TransactionsRequested
    | BlockReceived
    | BlockWorkValid
    | CompactReconstructed
    | BlockChecked
    | InvalidChainFound
    | ConnectFailed
    | AcceptFailed
    | HeaderRefused
    | BlockMutated
    | Misbehaved
    | BlockTimedOut
    | BlockStalled
    | TransactionAccepted
    | TransactionRejected
    | ConnectPhase
    | StaleTip
    | LoggingSuppressed
    | RpcCalled
)
_Match = re.Match[bytes]
_Builder = Callable[[_Match], Event]

LOAD, TOTAL = "load", "total"
# The node's words, without their numbers, to the closed set of the label `phase`.
PHASES = {
    b"Load block from disk": LOAD,
    b"Sanity checks": "sanity",
    b"Fork checks": "fork_checks",
    b"Connect  transactions": "connect",
    b"Verify  txins": "verify",
    b"Write undo data": "undo",
    b"Index writing": "index",
    b"Callbacks": "callbacks",
    b"Connect total": "connect_total",
    b"Flush": "flush",
    b"Writing chainstate": "chainstate",
    b"Connect postprocess": "postprocess",
    b"Connect block": TOTAL,
}


def _text(found: _Match, group: str) -> str:
    return (found[group] or b"").decode("utf-8", "replace")


def _tip(found: _Match) -> Event:
    return TipUpdated(found["hash"].decode(), int(found["height"]), found["date"])


def _phase(found: _Match) -> Event:
    return ConnectPhase(PHASES[found["phase"].translate(None, b"0123456789")], float(found["milliseconds"]) / 1000)


def _rejected_sv(found: _Match) -> Event:
    # Bitcoin SV has its own word for what Core calls by this reason.
    return TransactionRejected("bad-txns-inputs-missingorspent" if found["orphan"] else _text(found, "reason"))


_BUILDERS: tuple[tuple[Pattern, _Builder], ...] = (
    (patterns.UPDATE_TIP, _tip),
    (patterns.DISCONNECT_BLOCK, lambda _: BlockDisconnecting()),
    (patterns.NEW_HEADER, lambda found: HeaderSeen(_text(found, "hash"), found["peer"] is not None)),
    (patterns.REQUESTED_BLOCK, lambda found: HeaderSeen(_text(found, "hash"), True)),
    (patterns.COMPACT_STARTED, lambda found: HeaderSeen(_text(found, "hash"), True)),
    (patterns.RECEIVED_BLOCK, lambda found: BlockReceived(_text(found, "hash"))),
    (patterns.RECEIVED_MESSAGE, lambda found: MessageReceived(_text(found, "type"), _text(found, "peer"))),
    (patterns.SENDING_GETBLOCKTXN, lambda found: TransactionsRequested(_text(found, "peer"))),
    (patterns.COMPACT_DONE, lambda found: CompactReconstructed(_text(found, "hash"), int(found["requested"]))),
    (patterns.NEW_POW_VALID_BLOCK, lambda found: BlockWorkValid(_text(found, "hash"))),
    (patterns.BLOCK_CHECKED, lambda found: BlockChecked(_text(found, "hash"), _text(found, "state"))),
    (patterns.INVALID_CHAIN, lambda found: InvalidChainFound(_text(found, "hash"))),
    (patterns.CONNECT_FAILED, lambda found: ConnectFailed(_text(found, "hash"), _text(found, "state"))),
    (patterns.ACCEPT_BLOCK_FAILED, lambda found: AcceptFailed(_text(found, "state"))),
    (patterns.HEADER_REFUSED, lambda found: HeaderRefused(_text(found, "hash"), _text(found, "state"))),
    (patterns.HEADER_ON_INVALID, lambda found: HeaderRefused(_text(found, "hash"), "bad-prevblk")),
    (patterns.BLOCK_MUTATED, lambda found: BlockMutated(_text(found, "state"))),
    (patterns.MUTATED_FROM, lambda _: BlockMutated("")),
    (patterns.MISBEHAVING, lambda _: Misbehaved()),
    (patterns.BLOCK_TIMEOUT, lambda _: BlockTimedOut()),
    (patterns.BLOCK_STALLING, lambda _: BlockStalled()),
    (patterns.ACCEPTED, lambda _: TransactionAccepted()),
    (patterns.ACCEPTED_SV, lambda _: TransactionAccepted()),
    (patterns.REJECTED_SV, _rejected_sv),
    (patterns.CONNECT_PHASE, _phase),
    (patterns.STALE_TIP, lambda _: StaleTip()),
    (patterns.EXCESSIVE_LOGGING, lambda _: LoggingSuppressed()),
    (patterns.RPC_CALL, lambda found: RpcCalled(_text(found, "method"))),
)

# Most lines are of no interest, and the first five bytes of a message tell.
_KEY_BYTES = 5
_KEYS: dict[bytes, tuple[Pattern, ...]] = {
    b"Updat": (patterns.UPDATE_TIP,),
    b"- Con": (patterns.CONNECT_PHASE,),
    b"  - L": (patterns.CONNECT_PHASE,),
    b"  - C": (patterns.CONNECT_PHASE,),
    b"  - F": (patterns.CONNECT_PHASE,),
    b"  - W": (patterns.CONNECT_PHASE,),
    b"    -": (patterns.CONNECT_PHASE,),
    b"     ": (patterns.CONNECT_PHASE,),
    b"- Dis": (patterns.DISCONNECT_BLOCK,),
    b"Saw n": (patterns.NEW_HEADER,),
    b"Reque": (patterns.REQUESTED_BLOCK,),
    b"Initi": (patterns.COMPACT_STARTED,),
    b"Succe": (patterns.COMPACT_DONE,),
    b"recei": (patterns.RECEIVED_MESSAGE, patterns.RECEIVED_BLOCK),
    b"sendi": (patterns.SENDING_GETBLOCKTXN,),
    b"NewPo": (patterns.NEW_POW_VALID_BLOCK,),
    b"Block": (patterns.BLOCK_CHECKED, patterns.BLOCK_MUTATED),
    b"Inval": (patterns.INVALID_CHAIN,),
    b"Conne": (patterns.CONNECT_FAILED,),
    b"Proce": (patterns.ACCEPT_BLOCK_FAILED,),
    b"Accep": (patterns.ACCEPTED, patterns.HEADER_REFUSED),
    b"ERROR": (patterns.CONNECT_FAILED, patterns.ACCEPT_BLOCK_FAILED, patterns.HEADER_REFUSED),
    b"heade": (patterns.HEADER_ON_INVALID,),
    b"Recei": (patterns.MUTATED_FROM,),
    b"Misbe": (patterns.MISBEHAVING,),
    b"Timeo": (patterns.BLOCK_TIMEOUT,),
    b"Peer=": (patterns.BLOCK_STALLING,),
    b"Peer ": (patterns.BLOCK_STALLING,),
    b"p2p: ": (patterns.ACCEPTED_SV, patterns.REJECTED_SV),
    b"Poten": (patterns.STALE_TIP,),
    b"Exces": (patterns.EXCESSIVE_LOGGING,),
    b"Threa": (patterns.RPC_CALL,),
}


def _table(builders: Iterable[tuple[Pattern, _Builder]]) -> dict[bytes, tuple[tuple[re.Pattern[bytes], _Builder], ...]]:
    by_name = {pattern.name: (pattern.compiled, builder) for pattern, builder in builders}
    return {key: tuple(by_name[pattern.name] for pattern in wanted) for key, wanted in _KEYS.items()}


_TABLE = _table(_BUILDERS)
_rejected = patterns.REJECTED.compiled.match
_TXID_CHARACTERS = 64
_BLANK = 0x20


def parse(message: bytes) -> Event | None:
    """Return what a message reports, or None when it is of no interest. Never raises."""
    candidates = _TABLE.get(message[:_KEY_BYTES])
    if candidates is None:
        # A refused transaction is the one line that begins with what it is about.
        if len(message) > _TXID_CHARACTERS and message[_TXID_CHARACTERS] == _BLANK:
            found = _rejected(message)
            if found is not None:
                return TransactionRejected(_text(found, "reason"))
        return None
    for pattern, build in candidates:
        found = pattern.match(message)
        if found is not None:
            return build(found)
    return None
