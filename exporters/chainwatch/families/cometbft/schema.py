"""What a CometBFT node answers over HTTP, as far as it is used.

Tendermint 0.34 to CometBFT 1.x; 64-bit integers are strings, which decode all the same. Unknown fields are ignored, so
that no public key is ever decoded.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct, field

from chainwatch.families.cometbft.consensus.events import Block, BlockId, Commit, Header, Proposer
from chainwatch.families.cometbft.consensus.model import Validator

# As wide as the node's own; whoever answers on the port may send more digits than a float can hold.
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class NodeInfo(Struct, frozen=True):
    """Which software, on which chain. Both are texts of the node's own choice.

    No chain is without a name, of 50 characters at most by protocol; an answer without one is none.
    """

    network: Annotated[str, Meta(min_length=1, max_length=50)]
    version: str = ""
    id: str = ""
    moniker: str = ""


class SyncInfo(Struct, frozen=True):
    """The newest block; before the first one its hash is empty, its height 0 and its time 1970.

    `catching_up` is false with an old `latest_block_time` on a node that has lost its peers.
    """

    latest_block_height: Int64
    latest_block_hash: str = ""
    latest_block_time: datetime | None = None
    earliest_block_height: Int64 | None = None
    catching_up: bool | None = None


class ValidatorInfo(Struct, frozen=True):
    """The node's own key as a validator; power 0 when it is none."""

    address: str = ""
    voting_power: Int64 = 0


class Status(Struct, frozen=True):
    """/status."""

    sync_info: SyncInfo
    node_info: NodeInfo
    validator_info: ValidatorInfo = ValidatorInfo()


class Channel(Struct, frozen=True):
    """One channel to a peer, its queue counted in messages."""

    capacity: Int64 = field(name="SendQueueCapacity", default=0)
    size: Int64 = field(name="SendQueueSize", default=0)


class ConnectionStatus(Struct, frozen=True):
    """The connection to a peer; libp2p transports tell no channels."""

    channels: list[Channel] | None = field(name="Channels", default=None)


class Peer(Struct, frozen=True):
    """A peer, without what it says of itself."""

    is_outbound: bool | None = None
    connection_status: ConnectionStatus | None = None


class NetInfo(Struct, frozen=True):
    """/net_info."""

    n_peers: Int64 | None = None
    peers: list[Peer] | None = None


class UnconfirmedTxs(Struct, frozen=True):
    """/num_unconfirmed_txs: `total` in the mempool; `n_txs` is how many this answer lists, or the same."""

    total: Int64 | None = None
    total_bytes: Int64 | None = None


class Member(Struct, frozen=True):
    """A member of a validator set."""

    address: Annotated[str, Meta(pattern="^[0-9A-F]{40}$")]
    voting_power: Annotated[int, Meta(ge=0, le=2**63 - 1)]


class ValidatorsPage(Struct, frozen=True):
    """/validators: one page of the set of `block_height`, at most 100 members, in index order."""

    block_height: Int64
    validators: list[Member]
    total: Int64

    def members(self) -> list[Validator]:
        """The page's members as consensus knows them."""
        return [Validator(member.address, member.voting_power) for member in self.validators]


class SignedHeader(Struct, frozen=True):
    """A header with a commit for it."""

    header: Header
    commit: Commit


class CommitResult(Struct, frozen=True):
    """/commit; where it is not `canonical`, which holds for the newest height, it is one node's view."""

    signed_header: SignedHeader
    canonical: bool = False


class BlockResult(Struct, frozen=True):
    """/block; the block is None where the node has none of that height."""

    block_id: BlockId = BlockId()
    block: Block | None = None


class RoundVotes(Struct, frozen=True):
    """The votes of one round, a text for each member in index order: `nil-Vote` for one that was not received.

    A received one is `Vote{i:ADDR12 H/RR/TYPE(Prevote) BLOCK12 ...}`, its block all zeros when it is for nil. The bit
    arrays end with the power that voted and the whole: `BA{4:xx__} 20/40 = 0.50`.
    """

    round: int
    prevotes: list[str] = field(default_factory=list)
    prevotes_bit_array: str = ""
    precommits: list[str] = field(default_factory=list)
    precommits_bit_array: str = ""


class ConsensusRound(Struct, frozen=True):
    """Where the node's consensus stands; `position` is "height/round/step" with the step's number, 1 to 8."""

    position: str = field(name="height/round/step")
    start_time: datetime | None = None
    proposal_block_hash: str = ""
    height_vote_set: list[RoundVotes] | None = None
    proposer: Proposer = Proposer()


class ConsensusState(Struct, frozen=True):
    """/consensus_state."""

    round_state: ConsensusRound
