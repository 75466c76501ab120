"""Double signs, each told once however many proofs of it come, and the evidence in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from chainwatch.families.cometbft.consensus.book import is_address
from chainwatch.families.cometbft.consensus.events import PRECOMMIT, PREVOTE, Evidence
from chainwatch.families.cometbft.consensus.model import DoubleSign, EvidenceType, Misbehaviour, Proof

# Evidence comes within some thousand heights of the deed; more double signs than this are one incident.
MAX_KNOWN = 1000
# A block holds few pieces, and each convicts at most a set.
_MAX_CONVICTS = 1000


class DoubleSigns:
    """Tells each double sign by its first proof; `known` are those told before a restart."""

    def __init__(self, tell: Callable[[DoubleSign], None], known: Iterable[DoubleSign] = ()) -> None:
        self._tell = tell
        self._known = {_key(double_sign): double_sign for double_sign in known}

    @property
    def known(self) -> list[DoubleSign]:
        """Those told so far, oldest first."""
        return list(self._known.values())

    def found(self, validator: str, height: int, round_number: int, kind: int, proof: Proof) -> None:
        """Take a proof."""
        double_sign = DoubleSign(validator, height, round_number, kind, proof)
        key = _key(double_sign)
        if key in self._known:
            return
        self._known[key] = double_sign
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._tell(double_sign)

    def evidence(self, evidence: Evidence) -> None:
        """Take the chain's own proof, of NewEvidence or of a block; only duplicate votes are double signs."""
        a, b = (evidence.value.vote_a, evidence.value.vote_b) if evidence.value else (None, None)
        if a is None or b is None or a.validator_address != b.validator_address:
            return
        possible = is_address(a.validator_address) and 0 < a.height < 2**63 and 0 <= a.round < 2**31
        if possible and a.type in (PREVOTE, PRECOMMIT):
            self.found(a.validator_address, a.height, a.round, a.type, Proof.EVIDENCE)


def misbehaviour(evidence: Evidence) -> Misbehaviour | None:
    """Return what a piece of evidence proves, and of whom; None for a kind that is not known here."""
    value = evidence.value
    if evidence.type.endswith("/DuplicateVoteEvidence"):
        convicts = [value.vote_a.validator_address] if value and value.vote_a else []
        kind = EvidenceType.DUPLICATE_VOTE
    elif evidence.type.endswith("/LightClientAttackEvidence"):
        convicts = value.convicts if value else []
        kind = EvidenceType.LIGHT_CLIENT_ATTACK
    else:
        return None
    return Misbehaviour(kind, tuple(address for address in convicts[:_MAX_CONVICTS] if is_address(address)))


def _key(double_sign: DoubleSign) -> tuple[str, int, int, int]:
    return double_sign.validator, double_sign.height, double_sign.round, double_sign.type
