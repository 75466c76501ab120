"""The lines of debug.log that chainwatch understands: one named, explained, quoted pattern each.

A pattern is anchored at the start of the message, which is what follows the prefix (`prefix.py`): text of a peer
or a wallet stands further right and can never match.

Versions are those of Bitcoin Core; Litecoin 0.21 writes as Core 0.21, Bitcoin SV 1.0 as Core 0.14 unless its own
pattern is given. Messages are copied from a log; the few without a recording follow the node's source (BLOCK_TIMEOUT,
BLOCK_STALLING, EXCESSIVE_LOGGING and those of Bitcoin SV).
"""

from __future__ import annotations

from chainwatch.streams.log_pattern import Pattern

_HASH = "[0-9a-f]{64}"
_STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{6})?Z|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{6})?"


# What stands before every message, in this order and each part optional:
# - `[*] ` from 30 on, while lines of a noisy source are dropped
# - the time: `T` and `Z` from 0.17 on, a blank up to 0.16 and in Bitcoin SV; microseconds with -logtimemicros
# - `(mocktime: ...) ` on test chains
# - brackets: thread, source file, function, category or level; and, as part of the message, the wallet's name
PREFIX = Pattern(
    "prefix",
    rf"^(?P<limited>\[\*\] )?(?P<time>(?:{_STAMP}) )?(?:\(mocktime: (?:{_STAMP})\) )?"
    r"(?P<brackets>(?:\[[^\[\]]{0,120}\] ){0,6})",
    "0.12 to 31, Bitcoin SV",
    "2026-11-22T03:23:44.138434Z (mocktime: 2026-11-22T05:23:44Z) [scheduler] Potential stale tip detected",
)

# A new tip. Printed for every block connected and, with the parent as new best, for every block disconnected.
# - height follows two blanks up to 0.12, one later; `version=` from 0.13
# - date is the block's own time: quoted from 0.14, ISO 8601 from 0.17
# - a chainstate under assumeutxo writes `[background validation] ` before it (26+): that is not the tip
UPDATE_TIP = Pattern(
    "update_tip",
    rf"^UpdateTip: new best=(?P<hash>{_HASH}) +height=(?P<height>\d{{1,9}}) .*?date='?(?P<date>(?:{_STAMP}))",
    "0.12 to 31",
    "UpdateTip: new best=00000000000000000004b2aea48da395156297a536ca62c2c53d25e14225f72a height=789959"
    " version=0x333d4000 log2_work=94.182447 tx=838636104 date='2023-05-16T05:49:03Z' progress=1.000000"
    " cache=76.4MiB(626588txo)",
)

# A block leaves the active chain (category bench); the UpdateTip after it names the parent.
DISCONNECT_BLOCK = Pattern(
    "disconnect_block",
    r"^- Disconnect block: \d",
    "0.12 to 31",
    "- Disconnect block: 0.06ms, hash=089dd39fd99d58d8e7420226e7fa43395394e7d5b2de08212b359df9326d53ec, height=108",
)

# A header not known before, by a headers or a cmpctblock message.
# - 25 to 29: `height=` and no peer, or, for cmpctblock with category net, peer and no height
# - 30 on: both; in initial block download only with category validation
NEW_HEADER = Pattern(
    "new_header",
    rf"^Saw new (?:cmpctblock )?header hash=(?P<hash>{_HASH})(?: height=\d+)?(?: peer=(?P<peer>\d+))?",
    "25 to 31",
    "Saw new cmpctblock header hash=4fde24f6386c72962b1b975ed0120b23d211d3b66f28f02c21cca13e464e19e9 height=6 peer=0",
)

# A block is asked for (category net): the first line that names it up to 24.
# - 0.12 to 30: `from  peer=`, two blanks; Bitcoin SV one; 31: `(height) peer=`
REQUESTED_BLOCK = Pattern(
    "requested_block",
    rf"^Requesting block (?P<hash>{_HASH})(?: \(\d+\))?(?: from)? {{1,2}}peer=(?P<peer>\d+)",
    "0.12 to 31",
    "Requesting block 37a2629adfb52ac4d90052a6fa5b35514ae22d6ec5e76bb1c17f1483a260e39a from  peer=1",
)

# A whole block arrives (category net).
RECEIVED_BLOCK = Pattern(
    "received_block",
    rf"^received block (?P<hash>{_HASH}) peer=(?P<peer>\d+)",
    "0.12 to 31",
    "received block a991f53cd8eb3ed017dd86faf5b4afb037ffe640165d03a1dc2670bd5d371331 peer=3",
)

# A message arrives (category net). The type is the peer's choice; what the node does next is about this message.
RECEIVED_MESSAGE = Pattern(
    "received_message",
    r"^received: (?P<type>.{0,64}?) \(\d+ bytes\) peer=(?P<peer>\d+)",
    "0.12 to 31",
    "received: cmpctblock (157 bytes) peer=1",
)

# The compact block just received lacks transactions (category net).
SENDING_GETBLOCKTXN = Pattern(
    "sending_getblocktxn",
    r"^sending getblocktxn \(\d+ bytes\) peer=(?P<peer>\d+)",
    "0.13 to 31",
    "sending getblocktxn (40 bytes) peer=0",
)

# A compact block is being put together (category cmpctblock).
COMPACT_STARTED = Pattern(
    "compact_started",
    rf"^Initialized PartiallyDownloadedBlock for block (?P<hash>{_HASH}) using a cmpctblock",
    "0.13 to 31",
    "Initialized PartiallyDownloadedBlock for block 00000000000000000004b2aea48da395156297a536ca62c2c53d25e14225f72a"
    " using a cmpctblock of size 27459",
)

# A compact block is complete (category cmpctblock).
# - `(incl at least N from extra pool)` from 0.14; `(N bytes)` from 30
COMPACT_DONE = Pattern(
    "compact_done",
    rf"^Successfully reconstructed block (?P<hash>{_HASH}) with \d+ txn prefilled, \d+ txn from mempool"
    r"(?: \(incl at least \d+ from extra pool\))? and (?P<requested>\d{1,9}) txn(?: \(\d+ bytes\))? requested",
    "0.13 to 31",
    "Successfully reconstructed block 00000000000000000004b2aea48da395156297a536ca62c2c53d25e14225f72a"
    " with 1 txn prefilled, 4529 txn from mempool (incl at least 4 from extra pool) and 0 txn requested",
)

# A block on top of the tip has valid work and form; it is relayed before it is connected (category validation).
NEW_POW_VALID_BLOCK = Pattern(
    "new_pow_valid_block",
    rf"^NewPoWValidBlock: block hash=(?P<hash>{_HASH})",
    "0.20 to 31",
    "NewPoWValidBlock: block hash=a991f53cd8eb3ed017dd86faf5b4afb037ffe640165d03a1dc2670bd5d371331",
)

# The verdict on a block (category validation): `Valid`, or the reason and perhaps details after a comma.
BLOCK_CHECKED = Pattern(
    "block_checked",
    rf"^BlockChecked: block hash=(?P<hash>{_HASH}) state=(?P<state>.+)",
    "0.20 to 31",
    "BlockChecked: block hash=605fa051f5690db5cc57ef29f0a62f04a12b54087965c935fa6ed58442aac0b1"
    " state=bad-txnmrklroot, hashMerkleRoot mismatch",
)

# A block and all that builds on it are marked invalid. Printed twice for a block that fails to connect, once for
# invalidateblock.
INVALID_CHAIN = Pattern(
    "invalid_chain",
    rf"^InvalidChainFound: invalid block=(?P<hash>{_HASH}) ",
    "0.12 to 31",
    "InvalidChainFound: invalid block=a991f53cd8eb3ed017dd86faf5b4afb037ffe640165d03a1dc2670bd5d371331  height=120"
    "  log2_work=7.918863  date=2026-11-22T03:11:27Z",
)

# A block with valid work failed to connect, and why.
# - `ERROR: ` up to 26, level [error] from 27; `ConnectTip()` and the reason in parentheses in old versions
CONNECT_FAILED = Pattern(
    "connect_failed",
    rf"^(?:ERROR: )?ConnectTip(?:\(\))?: ConnectBlock (?P<hash>{_HASH}) failed[, (]{{0,2}}(?P<state>.*)",
    "0.12 to 31",
    "ERROR: ConnectTip: ConnectBlock a991f53cd8eb3ed017dd86faf5b4afb037ffe640165d03a1dc2670bd5d371331 failed,"
    " bad-cb-amount",
)

# A block was refused before it was stored. Names no hash: the line before it may.
ACCEPT_BLOCK_FAILED = Pattern(
    "accept_block_failed",
    r"^(?:ERROR: )?ProcessNewBlock: AcceptBlock FAILED(?: \((?P<state>.+)\))?",
    "0.12 to 31",
    "ERROR: ProcessNewBlock: AcceptBlock FAILED (bad-txnmrklroot, hashMerkleRoot mismatch)",
)

# A header was refused: an error up to 22, category validation from 23.
HEADER_REFUSED = Pattern(
    "header_refused",
    r"^(?:ERROR: )?AcceptBlockHeader: Consensus::(?:Contextual)?CheckBlockHeader:"
    rf" (?P<hash>{_HASH}), (?P<state>.+)",
    "0.15 to 31",
    "ERROR: AcceptBlockHeader: Consensus::ContextualCheckBlockHeader:"
    " f00eb31a6df276c64de388337f87286033533244d6a12b7f79076f3423355307, time-too-old,"
    " block's timestamp is too early",
)

# A header that builds on an invalid block (category validation).
HEADER_ON_INVALID = Pattern(
    "header_on_invalid",
    rf"^header (?P<hash>{_HASH}) has prev block invalid: {_HASH}",
    "25 to 31",
    "header 6091a740f0ef6e7fa202719285dee4cadb1ef7b4636a97acae1dcc6763691547 has prev block invalid:"
    " 3333333333333333333333333333333333333333333333333333333333333333",
)

# A peer's block does not match its header; found before the block is looked at (category validation, then net).
BLOCK_MUTATED = Pattern(
    "block_mutated",
    r"^Block mutated: (?P<state>.+)",
    "27 to 31",
    "Block mutated: bad-txnmrklroot, hashMerkleRoot mismatch",
)
MUTATED_FROM = Pattern(
    "mutated_from",
    r"^Received mutated block from peer=(?P<peer>\d+)",
    "27 to 31",
    "Received mutated block from peer=4",
)

# A peer broke the protocol (category net). Scores `(a -> b)` up to 27; the reason after a colon is optional.
MISBEHAVING = Pattern(
    "misbehaving",
    r"^Misbehaving: (?:peer=\d+|\S+ \(-?\d+ -> -?\d+\))",
    "0.12 to 31",
    "Misbehaving: peer=5 (0 -> 100) DISCOURAGE THRESHOLD EXCEEDED: invalid header received",
)

# A peer did not deliver a block in time, or holds up the download; both are disconnected.
BLOCK_TIMEOUT = Pattern(
    "block_timeout",
    rf"^Timeout downloading block (?P<hash>{_HASH})(?: from peer=\d+.*)?, disconnecting",
    "0.12 to 31",
    "Timeout downloading block 00000000000000000004b2aea48da395156297a536ca62c2c53d25e14225f72a from peer=12,"
    " disconnecting",
)
BLOCK_STALLING = Pattern(
    "block_stalling",
    r"^Peer(?:=\d+)? is stalling block download, disconnecting",
    "0.12 to 31",
    "Peer=12 is stalling block download, disconnecting",
)

# A transaction of a peer enters the mempool (category mempool); `(wtxid=...)` from 26.
ACCEPTED = Pattern(
    "accepted",
    rf"^AcceptToMemoryPool: peer=\d+: accepted {_HASH} ",
    "0.12 to 31",
    "AcceptToMemoryPool: peer=1: accepted d9346c3031c16423bf834a4615a35d9c6ca6aeb6be90ff4568173a3215024834"
    " (poolsz 1 txn, 1 kB)",
)
ACCEPTED_SV = Pattern(
    "accepted_sv",
    rf"^p2p: (?:non)?standard txn= {_HASH} accepted ",
    "Bitcoin SV",
    "p2p: standard txn= 795ec37d9601f69d025740634551b1dd4cb75c472702b849d8fb9da0bb9a5bf9 accepted"
    " (poolsz 1 txn (pri=1,sec=0), 1 kB) ",
)

# A transaction of a peer was refused (category mempoolrej; txnval in Bitcoin SV); `(wtxid=...)` from 26.
REJECTED = Pattern(
    "rejected",
    rf"^{_HASH}(?: \(wtxid={_HASH}\))? from peer=\d+ was not accepted: (?P<reason>.+)",
    "0.12 to 31",
    "94123681f9890dcc69db8cc8c402ac91fe3159046816e538dd96c8766d3e55ae from peer=7 was not accepted:"
    " min relay fee not met, 10 < 110",
)
REJECTED_SV = Pattern(
    "rejected_sv",
    rf"^p2p: (?:non)?standard txn= {_HASH} (?:detected (?P<orphan>orphan)|(?:rejected|invalid orphan) (?P<reason>.+))",
    "Bitcoin SV",
    "p2p: standard txn= 59afccd8adf5ecc2a04cab0fa7cbf0903d785c54ad2dce25cfb57a355e56873c rejected"
    " txn-mempool-conflict (code 18)",
)

# How long one part of connecting a block took (category bench).
# - `Write undo data` from 24; `Callbacks` up to 22
# - what follows the time is a running average, which may be `inf` or `nan`, and is not read
CONNECT_PHASE = Pattern(
    "connect_phase",
    r"^ {0,6}- (?P<phase>Load block from disk|Sanity checks|Fork checks|Connect \d+ transactions|Verify \d+ txins"
    r"|Write undo data|Index writing|Callbacks|Connect total|Flush|Writing chainstate|Connect postprocess"
    r"|Connect block): (?P<milliseconds>\d{1,12}(?:\.\d{1,6})?)ms",
    "0.12 to 31",
    "      - Connect 8 transactions: 0.04ms (0.004ms/tx, 0.005ms/txin) [0.00s (0.01ms/blk)]",
)

# The node fears that it is behind: no new tip for three times the usual interval.
STALE_TIP = Pattern(
    "stale_tip",
    r"^Potential stale tip detected, will try using extra outbound peer",
    "0.16 to 31",
    "Potential stale tip detected, will try using extra outbound peer (last tip update: 7201 seconds ago)",
)

# From now on lines of one source are dropped from the file.
EXCESSIVE_LOGGING = Pattern(
    "excessive_logging",
    r"^Excessive logging detected from ",
    "30 to 31",
    "Excessive logging detected from net_processing.cpp:2555 (ProcessMessage): >1048576 bytes logged during the last"
    " time window of 3600s. Suppressing logging to disk from this source location until time window resets."
    " Console logging unaffected. Last log entry.",
)

# A call by RPC (category rpc).
RPC_CALL = Pattern(
    "rpc_call",
    r"^ThreadRPCServer method=(?P<method>[a-z]{1,40})",
    "0.12 to 31",
    "ThreadRPCServer method=submitblock user=user",
)

MESSAGES = (
    UPDATE_TIP,
    DISCONNECT_BLOCK,
    NEW_HEADER,
    REQUESTED_BLOCK,
    RECEIVED_BLOCK,
    RECEIVED_MESSAGE,
    SENDING_GETBLOCKTXN,
    COMPACT_STARTED,
    COMPACT_DONE,
    NEW_POW_VALID_BLOCK,
    BLOCK_CHECKED,
    INVALID_CHAIN,
    CONNECT_FAILED,
    ACCEPT_BLOCK_FAILED,
    HEADER_REFUSED,
    HEADER_ON_INVALID,
    BLOCK_MUTATED,
    MUTATED_FROM,
    MISBEHAVING,
    BLOCK_TIMEOUT,
    BLOCK_STALLING,
    ACCEPTED,
    ACCEPTED_SV,
    REJECTED,
    REJECTED_SV,
    CONNECT_PHASE,
    STALE_TIP,
    EXCESSIVE_LOGGING,
    RPC_CALL,
)
