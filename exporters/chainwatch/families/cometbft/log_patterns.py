"""The lines of a CometBFT node's log that matter: one named, explained, quoted pattern each.

For pipelines; the exporter does not read the log, since consensus tells more by its stream. A line is a message, which
the node's code chose, and fields, which may hold what a peer sent: a pattern is of the whole message, or of its
beginning where it goes on, and never of a field, save the closed words that `Message.where` names.

CometBFT 1.0 begins messages with a capital, so case is ignored. Versions are those of CometBFT, 0.34 including
Tendermint Core.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from chainwatch.streams.log_pattern import Pattern


class Category(StrEnum):
    """What a message is about: the value of the label in Loki."""

    FATAL = "fatal"  # the node's consensus is dead, or about to be
    DOUBLE_SIGN = "double_sign"
    ROUND = "round"  # a round failed
    PROPOSAL = "proposal"
    SIGNER = "signer"
    PROGRESS = "progress"
    PEER = "peer"
    RPC = "rpc"
    LIFE = "life"  # start, stop, sync
    NOISE = "noise"  # an error by level, harmless: it never means trouble


@dataclass(frozen=True, slots=True)
class Message(Pattern):
    """A pattern of a message; `where` maps a field to the expression that its value must match as well."""

    category: Category = field(kw_only=True)
    where: Mapping[str, str] = field(default_factory=dict, kw_only=True, hash=False)


# The plain format (log_format = "plain"): level letter, local time without an offset, message padded to 44 characters,
# then logfmt pairs. Modules of the Cosmos SDK have a slash (`x/upgrade`). Its programs have a logger of their own,
# zerolog: where they say "plain" they write a console format, see SDK_CONSOLE_ERROR.
PLAIN = Pattern(
    "plain",
    r"^(?P<level>[DIEN])\[(?P<time>\d{4}-\d\d-\d\d\|\d\d:\d\d:\d\d\.\d{3})\] (?P<message>.*?)"
    r" +module=(?P<module>[a-z0-9/_-]{1,32})(?P<fields>(?: .*)?)$",
    "0.34 to 1.0",
    "I[2026-11-22|11:36:53.673] committed state                              module=state height=1"
    " block_app_hash=0000000000000000",
)
PLAIN_LEVELS = {"D": "debug", "I": "info", "E": "error", "N": "none"}

# The JSON format (log_format = "json"): the names of its fields. `height` and `round` are numbers, durations texts,
# `ts` RFC 3339 in UTC. Lines of a service's start and stop have a field `msg` beside `_msg`.
JSON_MESSAGE, JSON_LEVEL, JSON_TIME, JSON_MODULE = "_msg", "level", "ts", "module"

# The same by the Cosmos SDK's logger: level and module as above, the others under zerolog's names. Times have an offset
# and whole seconds; levels are words of zerolog.
SDK_MESSAGE, SDK_TIME = "message", "time"
JSON_LEVELS = {
    "trace": "trace",
    "debug": "debug",
    "info": "info",
    "warn": "warning",
    "error": "error",
    "fatal": "error",
    "panic": "error",
    "none": "none",
}

# How an error begins in the SDK's console format: a time of the day, without a date, and the level's three letters,
# each in colours or not. A field escapes newlines, so nothing of a peer stands at the beginning of a line.
SDK_CONSOLE_ERROR = Pattern(
    "sdk_console_error",
    r"^(?:\x1b\[[0-9;]*m)*\d{1,2}:\d\d[AP]M[\x1b\[0-9;m ]{1,30}ERR[\x1b\[0-9;m ]{1,30}",
    "Cosmos SDK 0.40 on",
    '4:46AM ERR UPGRADE "v0.31.0" NEEDED at height: 7374634:  module=server',
)

# A panic in consensus: the process lives on, serves RPC, keeps its peers, and never takes another block. `err` says
# why, `stack` holds the trace in one line.
CONSENSUS_FAILURE = Message(
    "consensus_failure", r"(?i)^consensus failure!!!$", "0.34 to 1.0", "CONSENSUS FAILURE!!!", category=Category.FATAL
)

# The write-ahead log of consensus is damaged, as after a full disk.
WAL_CORRUPTED = Message(
    "wal_corrupted",
    r"(?i)^the wal file is corrupted",
    "0.34 to 1.0",
    "the WAL file is corrupted; attempting repair",
    category=Category.FATAL,
)

# double_sign_check_height found our own signature in a recent block: another process has this key.
SAME_KEY = Message(
    "same_key",
    r"(?i)^found signature from the same key",
    "0.34 to 1.0",
    "found signature from the same key",
    category=Category.FATAL,
)

# Cosmos SDK: the chain upgrades at this height and the program that runs does not know how.
UPGRADE_NEEDED = Message(
    "upgrade_needed",
    r"^UPGRADE \"[^\"]{1,128}\" NEEDED at height",
    "Cosmos SDK 0.40 on",
    'UPGRADE "v15" NEEDED at height: 15816200: ',
    category=Category.FATAL,
)

# The peers' first sign of a double sign, before any evidence; `err` names the validator.
CONFLICTING_VOTES = Message(
    "conflicting_votes",
    r"(?i)^failed to process message$",
    "0.34 to 1.0",
    "failed to process message",
    category=Category.DOUBLE_SIGN,
    where={"err": r"^conflicting votes from validator [0-9A-F]{40}$"},
)

# At the double signer itself: somebody else signs with its key.
CONFLICTING_VOTE_OF_OURS = Message(
    "conflicting_vote_of_ours",
    r"(?i)^found conflicting vote from ourselves",
    "0.34 to 1.0",
    "found conflicting vote from ourselves; did you unsafe_reset a validator?",
    category=Category.DOUBLE_SIGN,
)
EVIDENCE_VERIFIED = Message(
    "evidence_verified",
    r"(?i)^verified new evidence of byzantine behavior$",
    "0.34 to 1.0",
    "verified new evidence of byzantine behavior",
    category=Category.DOUBLE_SIGN,
)

# A timeout that means trouble. At every height the same message comes with RoundStepNewHeight, which is timeout_commit.
# Programs of the Cosmos SDK up to 0.46 write the step's number.
TIMED_OUT = Message(
    "timed_out",
    r"(?i)^timed out$",
    "0.34 to 1.0",
    "Timed out",
    category=Category.ROUND,
    where={"step": r"^(?:RoundStep(?:Propose|PrevoteWait|PrecommitWait)|[357])$"},
)
NEXT_HEIGHT = Message(
    "next_height",
    r"(?i)^timed out$",
    "0.34 to 1.0",
    "Timed out",
    category=Category.PROGRESS,
    where={"step": r"^(?:RoundStepNewHeight|1)$"},
)

# A round above 0 begins; `proposer` is who is to propose in it.
NEXT_ROUND = Message(
    "next_round",
    r"(?i)^resetting proposal info$",
    "0.34 to 1.0",
    "resetting proposal info",
    category=Category.ROUND,
)

PROPOSAL_RECEIVED = Message(
    "proposal_received", r"(?i)^received proposal$", "0.34 to 1.0", "received proposal", category=Category.PROPOSAL
)
PROPOSAL_COMPLETE = Message(
    "proposal_complete",
    r"(?i)^received complete proposal block$",
    "0.34 to 1.0",
    "received complete proposal block",
    category=Category.PROPOSAL,
)

# The node votes nil since the proposed block is invalid: by consensus rules, or by the application.
PROPOSAL_INVALID = Message(
    "proposal_invalid",
    r"(?i)^prevote step: (?:consensus deems this block invalid|proposalblock is invalid|state machine rejected)",
    "0.34 to 1.0",
    "prevote step: consensus deems this block invalid; prevoting nil",
    category=Category.PROPOSAL,
)

# The key could not be asked, be it a file, a remote signer or a module.
SIGNING_FAILED = Message(
    "signing_failed",
    r"(?i)^(?:failed signing vote|propose step; failed signing proposal)$",
    "0.34 to 1.0",
    "failed signing vote",
    category=Category.SIGNER,
)
SIGNER_SILENT = Message(
    "signer_silent",
    r"(?i)^signerlistener: ping timeout",
    "0.34 to 1.0",
    "SignerListener: Ping timeout",
    category=Category.SIGNER,
)

COMMITTED = Message(
    "committed",
    r"(?i)^(?:finalizing commit of block|finalized block|executed block|committed state)$",
    "0.34 to 1.0",
    "finalizing commit of block",
    category=Category.PROGRESS,
)
VALIDATORS_UPDATED = Message(
    "validators_updated",
    r"(?i)^updates to validators$",
    "0.34 to 1.0",
    "updates to validators",
    category=Category.PROGRESS,
)

PEER_LOST = Message(
    "peer_lost", r"(?i)^stopping peer for error$", "0.34 to 1.0", "Stopping peer for error", category=Category.PEER
)
PEER_GIVEN_UP = Message(
    "peer_given_up",
    r"(?i)^failed to reconnect to peer\. (?:beginning exponential backoff|giving up)",
    "0.34 to 1.0",
    "Failed to reconnect to peer. Giving up",
    category=Category.PEER,
)
PEER_INVALID_BLOCK = Message(
    "peer_invalid_block",
    r"(?i)^(?:peer sent us (?:an )?invalid block|error in validation)",
    "0.34 to 1.0",
    "Peer sent us invalid block",
    category=Category.PEER,
)
RECONNECTING = Message(
    "reconnecting",
    r"(?i)^(?:reconnecting to peer|error reconnecting to peer\. trying again)$",
    "0.34 to 1.0",
    "Error reconnecting to peer. Trying again",
    category=Category.PEER,
)

# A reader of the node's events lost its subscription; what it hears of it may be nothing at all.
SLOW_CLIENT = Message(
    "slow_client",
    r"(?i)^can't write response \(slow client\)$",
    "0.34 to 1.0",
    "Can't write response (slow client)",
    category=Category.RPC,
)
SUBSCRIBED = Message(
    "subscribed", r"(?i)^subscribe to query$", "0.34 to 1.0", "Subscribe to query", category=Category.RPC
)

# A handler of RPC died of a request, and nothing else did: whoever reaches the port can write an error with each.
RPC_PANIC = Message(
    "rpc_panic",
    r"(?i)^panic in (?:wsjsonrpc|rpc http) handler$",
    "0.34 to 1.0",
    "Panic in WSJSONRPC handler",
    category=Category.RPC,
)

SWITCH_TO_CONSENSUS = Message(
    "switch_to_consensus",
    r"(?i)^time to switch to consensus reactor!?$",
    "0.34 to 1.0",
    "Time to switch to consensus reactor!",
    category=Category.LIFE,
)
STARTED = Message("started", r"(?i)^version info$", "0.34 to 1.0", "Version info", category=Category.LIFE)
SIGNAL = Message("signal", r"(?i)^signal trapped$", "0.34 to 1.0", "signal trapped", category=Category.LIFE)

# Errors by level that come with every restart of a peer, every client that leaves, every shutdown.
HARMLESS_ERROR = Message(
    "harmless_error",
    r"(?i)^(?:error while stopping (?:connection|peer)|error stopping pool|error serving server|failed to read request"
    r"|stopped accept routine, as transport is closed|won't start a peer - switch is not running|error dialing peer)$",
    "0.34 to 1.0",
    "error while stopping connection",
    category=Category.NOISE,
)

# In the order in which they are to be tried: the first that matches says what the line is about.
MESSAGES: tuple[Message, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Message))
