"""The events of consensus, decoded from a node's websocket.

Field names and encodings: 64-bit integers are strings, hashes and addresses upper-case hex, times RFC 3339; the same in
Tendermint 0.34 to CometBFT 1.x, save where a class says otherwise. Unknown fields are ignored, so that no public key,
signature or vote extension is ever decoded.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct, field

from chainwatch.families.cometbft.frames import Result

PREVOTE, PRECOMMIT = 1, 2
# block_id_flag of a signature in a commit.
FLAG_ABSENT, FLAG_COMMIT, FLAG_NIL = 1, 2, 3

# As the protocol has them, int64 and int32: whoever answers on the port could send numbers of any length.
Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
RoundNumber = Annotated[int, Meta(ge=0, le=2**31 - 1)]

# CometBFT's own limit of votes in a commit.
MAX_MEMBERS = 10_000
# Evidence is a megabyte of a block at most, by default, and hundreds of bytes each.
MAX_EVIDENCE = 10_000


class BlockId(Struct, frozen=True):
    """Which block; the hash is empty for nil."""

    hash: str = ""


class Vote(Struct, frozen=True):
    """A prevote or precommit that the node added to its own; a conflicting one it never tells."""

    type: int
    height: Number
    round: RoundNumber
    block_id: BlockId
    timestamp: datetime
    validator_address: str


class _VoteValue(Struct, frozen=True):
    vote: Vote = field(name="Vote")


class Proposer(Struct, frozen=True):
    """Who is to propose."""

    address: str = ""


class NewRound(Struct, frozen=True):
    """A round begins; names the proposer also where its proposal never comes."""

    height: Number
    round: RoundNumber
    proposer: Proposer = Proposer()


class RoundState(Struct, frozen=True):
    """NewRoundStep, Polka, Lock, Relock, Unlock, ValidBlock, TimeoutPropose or TimeoutWait, as `name` says.

    Polka also comes for nil. A second NewRoundStep with RoundStepPrecommit means that the node waits for precommits.
    """

    height: Number
    round: RoundNumber
    step: str
    name: str = ""


class CompleteProposal(Struct, frozen=True):
    """The node has the whole proposed block; step RoundStepPropose means in time, a later one too late."""

    height: Number
    round: RoundNumber
    step: str
    block_id: BlockId = BlockId()


class Header(Struct, frozen=True):
    """A block's header; its time is about that of the precommits of the height before."""

    height: Number
    time: datetime
    chain_id: str = ""
    last_block_id: BlockId = BlockId()
    validators_hash: str = ""
    next_validators_hash: str = ""
    proposer_address: str = ""


class CommitSig(Struct, frozen=True):
    """One member's signature in a commit, at the member's place in the set of that height; no address when absent."""

    block_id_flag: int
    validator_address: str = ""
    timestamp: datetime | None = None


class Commit(Struct, frozen=True):
    """Who signed a height. As `last_commit` of the next block it is the truth, as newest /commit one node's view."""

    height: Number
    round: RoundNumber
    block_id: BlockId = BlockId()
    signatures: Annotated[list[CommitSig], Meta(max_length=MAX_MEMBERS)] = field(default_factory=list)


class _Txs(Struct, frozen=True):
    txs: Raw = Raw(b"null")


class Evidence(Struct, frozen=True):
    """Proof of misbehaviour: `tendermint/DuplicateVoteEvidence` or `tendermint/LightClientAttackEvidence`."""

    type: str = ""
    value: EvidenceValue | None = None


class Convict(Struct, frozen=True):
    """A validator that signed a false light block."""

    address: str = ""


Convicts = Annotated[list[Convict], Meta(max_length=MAX_MEMBERS)]


class EvidenceValue(Struct, frozen=True):
    """The two votes of a duplicate vote, or who took part in a light client attack; spelled anew in 1.0."""

    vote_a: Vote | None = None
    vote_b: Vote | None = None
    to_0_40: Convicts | None = field(name="ByzantineValidators", default=None)
    since_1_0: Convicts | None = field(name="byzantine_validators", default=None)

    @property
    def convicts(self) -> list[str]:
        """Addresses of those that took part in a light client attack."""
        return [convict.address for convict in self.to_0_40 or self.since_1_0 or ()]


class _EvidenceList(Struct, frozen=True):
    evidence: Annotated[list[Evidence], Meta(max_length=MAX_EVIDENCE)] | None = None


class Block(Struct, frozen=True):
    """A block with the commit of the height before; at the first height that commit is empty."""

    header: Header
    data: _Txs = _Txs()
    evidence: _EvidenceList = _EvidenceList()
    last_commit: Commit | None = None

    @property
    def transactions(self) -> int:
        """How many it holds."""
        # Texts in base64, of which a block may hold millions: nothing is made of them.
        return bytes(self.data.txs).count(b'"') // 2

    @property
    def misbehaviour(self) -> list[Evidence]:
        """The evidence in it."""
        return self.evidence.evidence or []


class NewBlock(Struct, frozen=True):
    """A block was applied; `block_id` only since 0.38."""

    block: Block
    block_id: BlockId | None = None


class NewBlockHeader(Struct, frozen=True):
    """The same, of the header alone."""

    header: Header


class NewEvidence(Struct, frozen=True):
    """Evidence went into the block of this height."""

    height: Number
    evidence: Evidence = Evidence()


Event = Vote | NewRound | RoundState | CompleteProposal | NewBlock | NewBlockHeader | NewEvidence

_TYPES: dict[str, Any] = {
    "Vote": _VoteValue,
    "NewRound": NewRound,
    "CompleteProposal": CompleteProposal,
    "NewBlock": NewBlock,
    "NewBlockHeader": NewBlockHeader,
    "NewEvidence": NewEvidence,
} | dict.fromkeys(
    ("NewRoundStep", "Polka", "Lock", "Relock", "Unlock", "ValidBlock", "TimeoutPropose", "TimeoutWait"), RoundState
)
_decoders = {name: msgspec.json.Decoder(kind, strict=False).decode for name, kind in _TYPES.items()}


def decode(result: Result) -> Event | None:
    """Return the event; None for one that is not used here. Raises one of `frames.NOT_DECODED`."""
    decoder = _decoders.get(result.event)
    if decoder is None or result.data is None:
        return None
    event = decoder(result.data.value)
    if event.__class__ is _VoteValue:
        return event.vote
    if event.__class__ is RoundState:
        return RoundState(event.height, event.round, event.step, result.event)
    return event  # type: ignore[no-any-return]
