"""What makes a height settled: its block, the commit that proves who signed it, and the set that was to sign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from chainwatch.families.cometbft.consensus import book
from chainwatch.families.cometbft.consensus.events import FLAG_ABSENT, FLAG_COMMIT, FLAG_NIL, Block, Commit, CommitSig
from chainwatch.families.cometbft.consensus.evidence import misbehaviour
from chainwatch.families.cometbft.consensus.model import (
    NIL,
    BlockFacts,
    FillReason,
    Height,
    How,
    Misbehaviour,
    Result,
    Round,
    SeenVote,
    Settled,
    Signature,
    ValidatorSet,
)

_RESULTS = {FLAG_ABSENT: Result.ABSENT, FLAG_COMMIT: Result.BLOCK, FLAG_NIL: Result.NIL}


@dataclass(frozen=True, slots=True)
class Kept:
    """Of a block what its settlement needs; a block itself may hold megabytes of transactions."""

    facts: BlockFacts
    last_block: str  # hash of the block before
    misbehaviour: tuple[Misbehaviour, ...]


@dataclass(slots=True)
class Pending:
    """A height that is not settled yet, as far as it is known."""

    block: Kept | None = None
    commit: Commit | None = None
    reason: FillReason | None = None  # if it was read by RPC
    told: float | None = None  # when a stream first told its block
    # Whether the watched node itself told or answered them: what others say gives way to that.
    own_block: bool = False
    own_commit: bool = False

    @property
    def complete(self) -> bool:
        """Whether only its turn and its set are missing."""
        return self.block is not None and self.commit is not None

    @property
    def own(self) -> bool:
        """Whether its block is the watched node's, by the block's own hash or by the commit that names it."""
        return self.own_commit or (self.own_block and self.block is not None and self.block.facts.hash != "")


def keep(block: Block, block_hash: str) -> Kept:
    """Return what is kept of a block; up to 0.37 its event does not tell the hash, which is then empty.

    Names that cannot be are left empty.
    """
    header, transactions = block.header, block.transactions
    facts = BlockFacts(
        header.height,
        _hash(block_hash),
        book.unix(header.time),
        header.proposer_address if book.is_address(header.proposer_address) else "",
        _hash(header.validators_hash),
        transactions,
        transactions == 0,
    )
    pieces = [misbehaviour(evidence) for evidence in block.misbehaviour]
    return Kept(facts, _hash(header.last_block_id.hash), tuple(piece for piece in pieces if piece))


def _hash(text: str) -> str:
    return text if book.is_hash(text) else ""


def misfit(validators: ValidatorSet, commit: Commit) -> str:
    """Tell why this set cannot have signed this commit; empty when it fits."""
    members, signatures = validators.members, commit.signatures
    if len(members) != len(signatures):
        return f"the set has {len(members)} members, the commit {len(signatures)} places"
    if len({member.address for member in members}) != len(members) or validators.power <= 0:
        return "the set names a member twice, or has no power"
    for place, (member, signature) in enumerate(zip(members, signatures, strict=True)):
        if not book.is_address(member.address) or member.power < 0:
            return f"place {place} of the set has no proper address or power"
        if signature.block_id_flag not in _RESULTS:
            return f"place {place} of the commit has the unknown flag {signature.block_id_flag}"
        if signature.block_id_flag != FLAG_ABSENT and signature.validator_address != member.address:
            return f"place {place} of the commit is signed by another than the set's member"
    return ""


def settle(pending: Pending, validators: ValidatorSet, seen: Height | None, next_seen: float | None) -> Settled:
    """Return the settled height; `next_seen` is when the first round of the next height was first seen.

    The set must fit the commit.
    """
    kept, commit = pending.block, pending.commit
    if kept is None or commit is None:
        raise ValueError("only a complete height can be settled")
    facts, block_hash = kept.facts, commit.block_id.hash
    if seen is None and pending.told is not None:
        # What was seen of it had to be forgotten while it waited for its turn.
        seen = Height(facts.height, pending.told, committed_seen=pending.told)
    signatures = _signatures(validators, commit)
    in_round = seen.rounds.get(commit.round) if seen else None
    if in_round is not None and commit.round == 0:
        # A node that has the whole proposal before its own round begins tells no NewRound. The header names the
        # proposer of a first round; a block that wins later may have been proposed first by another.
        in_round.proposer = in_round.proposer or facts.proposer
    precommits = in_round.precommits if in_round else {}
    prevotes = _prevotes(validators, in_round, block_hash)
    how = _how(seen, prevotes is not None)
    return Settled(
        block=replace(facts, hash=block_hash),
        round=commit.round,
        how=how,
        reason=pending.reason if how is How.FILLED else None,
        set=validators,
        signatures=signatures,
        seen=seen,
        prevotes=prevotes if how is How.WATCHED else None,
        # A node that catches up is told a height's votes when the next block is long there.
        left_out=_left_out(signatures, precommits, block_hash, next_seen if how is How.WATCHED else None),
        contradictions=_contradictions(signatures, precommits, block_hash),
        unseen=frozenset(
            address
            for address, signature in signatures.items()
            if how is How.WATCHED and signature.result is not Result.ABSENT and address not in precommits
        ),
        next_round_seen=next_seen,
        misbehaviour=kept.misbehaviour,
    )


def _how(seen: Height | None, prevotes_known: bool) -> How:
    """Without prevotes the node caught up: by block sync without any vote, or by gossip with precommits alone."""
    if seen is None:
        return How.FILLED
    return How.WATCHED if prevotes_known and seen.watched_by & seen.ended_by else How.PARTIAL


def _signatures(validators: ValidatorSet, commit: Commit) -> dict[str, Signature]:
    return {
        member.address: _signature(signature)
        for member, signature in zip(validators.members, commit.signatures, strict=True)
    }


def _signature(signature: CommitSig) -> Signature:
    result = _RESULTS[signature.block_id_flag]
    if result is Result.ABSENT or signature.timestamp is None:
        return Signature(result, None)
    return Signature(result, book.unix(signature.timestamp))


def _prevotes(validators: ValidatorSet, in_round: Round | None, block_hash: str) -> dict[str, Result] | None:
    """Prevotes of every member; None unless more than two thirds of the power prevoted as seen."""
    votes = in_round.prevotes if in_round else {}
    power = sum(member.power for member in validators.members if member.address in votes)
    if 3 * power <= 2 * validators.power:
        return None
    return {member.address: _prevote(votes.get(member.address), block_hash) for member in validators.members}


def _prevote(vote: SeenVote | None, block_hash: str) -> Result:
    if vote is None:
        return Result.ABSENT
    return Result.BLOCK if vote.block == block_hash else Result.NIL


def _left_out(
    signatures: Mapping[str, Signature], precommits: Mapping[str, SeenVote], block_hash: str, next_seen: float | None
) -> frozenset[str]:
    """Absent members whose precommit was seen before the next height began.

    Not one for another block: a commit has no place for such a vote, however early it comes.
    """
    if next_seen is None:
        return frozenset()
    return frozenset(
        address
        for address, signature in signatures.items()
        if signature.result is Result.ABSENT
        and (vote := precommits.get(address))
        and vote.seen < next_seen
        and vote.block in (block_hash, NIL)
    )


def _contradictions(
    signatures: Mapping[str, Signature], precommits: Mapping[str, SeenVote], block_hash: str
) -> frozenset[str]:
    signed = {Result.BLOCK: block_hash, Result.NIL: NIL}
    return frozenset(
        address
        for address, vote in precommits.items()
        if (signature := signatures.get(address))
        and signature.result is not Result.ABSENT
        and vote.block != signed[signature.result]
    )
