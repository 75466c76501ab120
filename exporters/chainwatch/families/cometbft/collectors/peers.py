"""Connections to other nodes, and what queues up before them, from /net_info."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import Metric

from chainwatch.exposition.collector import Collector
from chainwatch.exposition.fleet import PEERS
from chainwatch.exposition.metrics import gauge
from chainwatch.families.cometbft.collectors import COMETBFT
from chainwatch.families.cometbft.node import CometbftNode
from chainwatch.families.cometbft.schema import Peer

QUEUE_MAX = gauge(
    "cometbft_peers_send_queue_max_ratio",
    "How full the fullest queue of messages to a peer is, from net_info connection_status.Channels.",
)
CONGESTED = gauge(
    "cometbft_peers_congested",
    "Peers with a queue of messages at least half full, from net_info connection_status.Channels.",
)

# Queues of one or two messages, such as the mempool's, are full whenever one message is on its way.
MIN_CAPACITY = 10
HALF_FULL = 0.5


@COMETBFT.register("peers")
class PeersCollector(Collector[CometbftNode]):
    """Connections by direction, and send queues."""

    async def collect(self) -> Iterable[Metric]:
        """Ask /net_info."""
        info = await self.node.net_info()
        if info.peers is None and info.n_peers != 0:
            return []
        peers = info.peers or []
        fullest = list(_fullest(peers))
        told = bool(fullest) or not peers
        return [
            *PEERS.samples(_by_direction(peers)),
            *QUEUE_MAX.sample(max(fullest, default=None)),
            *CONGESTED.sample(sum(ratio >= HALF_FULL for ratio in fullest) if told else None),
        ]


def _by_direction(peers: Sequence[Peer]) -> dict[tuple[str, ...], int | None]:
    """Number of connections by who opened them; nothing where a peer's direction is not told."""
    if any(peer.is_outbound is None for peer in peers):
        return {}
    counts = Counter("outbound" if peer.is_outbound else "inbound" for peer in peers)
    return {(direction,): counts[direction] for direction in ("inbound", "outbound")}


def _fullest(peers: Sequence[Peer]) -> Iterator[float]:
    """Share of the fullest queue of each peer that has some."""
    for peer in peers:
        told = peer.connection_status.channels if peer.connection_status else None
        if channels := [channel for channel in told or () if channel.capacity >= MIN_CAPACITY]:
            yield max(channel.size / channel.capacity for channel in channels)
