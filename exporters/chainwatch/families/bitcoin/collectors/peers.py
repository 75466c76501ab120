"""Connections to other nodes, from getpeerinfo and getnetworkinfo."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from statistics import median

from msgspec import Raw, Struct
from prometheus_client import Metric

from chainwatch.exposition import fleet
from chainwatch.exposition.collector import Collector
from chainwatch.exposition.metrics import gauge
from chainwatch.families.bitcoin import labels
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.node import BitcoinNode
from chainwatch.families.bitcoin.schema import NetworkInfo

BY_NETWORK = gauge(
    "bitcoin_peers_by_network",
    "Connections by the network of the peer's address, from getpeerinfo.network.",
    labels=("network", "direction"),
)
BY_CONNECTION_TYPE = gauge(
    "bitcoin_peers_by_connection_type",
    "Connections by what they are for, from getpeerinfo.connection_type.",
    labels=("connection_type",),
)
BY_TRANSPORT = gauge(
    "bitcoin_peers_by_transport",
    "Connections by transport protocol (v2 is encrypted), from getpeerinfo.transport_protocol_type.",
    labels=("transport",),
)
BY_CLIENT = gauge(
    "bitcoin_peers_by_client",
    "Connections by the software the peer says it is, family and major version, from getpeerinfo.subver.",
    labels=("client",),
)
BY_SERVICE = gauge(
    "bitcoin_peers_by_service",
    "Connections to peers that offer a service, from getpeerinfo.services; a peer offers several.",
    labels=("service",),
)
PING = gauge("bitcoin_peers_ping_seconds", "Last round trip to the peers, from getpeerinfo.pingtime.", labels=("stat",))
TIME_OFFSET = gauge(
    "bitcoin_peers_time_offset_seconds",
    "How far the peers' clocks are ahead of the node's, from getpeerinfo.timeoffset.",
    labels=("stat",),
)
HIGH_BANDWIDTH = gauge(
    "bitcoin_peers_compact_block_high_bandwidth",
    "Peers asked to send compact blocks unasked (to), and peers that asked the node to (from), "
    "from getpeerinfo.bip152_hb_to and bip152_hb_from.",
    labels=("side",),
)
INFLIGHT = gauge("bitcoin_peers_inflight_blocks", "Blocks asked of peers and not here yet, from getpeerinfo.inflight.")
INBOUND_SLOTS = gauge(
    "bitcoin_inbound_slots", "Inbound connections that the node accepts, from the setting peers.inbound_slots."
)

# private-broadcast (31) is a passing state and has a series only while it happens.
CONNECTION_TYPES = ("outbound-full-relay", "block-relay-only", "manual", "inbound", "feeler", "addr-fetch")
TRANSPORTS = ("v1", "v2", "detecting")


class Peer(Struct):
    """One entry of getpeerinfo."""

    inbound: bool
    subver: str
    services: str
    timeoffset: int | None = None
    pingtime: float | None = None  # absent until the first pong
    inflight: list[Raw] | None = None
    network: str | None = None  # 0.21+
    connection_type: str | None = None  # 0.21+
    bip152_hb_to: bool | None = None  # 22+
    bip152_hb_from: bool | None = None
    transport_protocol_type: str | None = None  # 26+


@BITCOIN.register("peers")
class PeersCollector(Collector[BitcoinNode]):
    """Connections by direction, network, type, transport, software and services; ping, clocks, compact blocks."""

    async def collect(self) -> Iterable[Metric]:
        """Ask getpeerinfo and getnetworkinfo."""
        peers, network = await asyncio.gather(
            self.node.rpc.call("getpeerinfo", into=list[Peer]), self.node.network_info()
        )
        inbound = sum(peer.inbound for peer in peers)
        pings = [peer.pingtime for peer in peers if peer.pingtime is not None]
        offsets = [peer.timeoffset for peer in peers if peer.timeoffset is not None]
        return [
            *fleet.PEERS.samples(_directions(network, inbound, len(peers) - inbound)),
            *BY_NETWORK.samples(_by_network(peers, network)),
            *BY_CONNECTION_TYPE.samples(_by_connection_type(peers)),
            *BY_TRANSPORT.samples(_counts((peer.transport_protocol_type for peer in peers), TRANSPORTS)),
            *BY_CLIENT.samples(Counter((labels.client(peer.subver),) for peer in peers)),
            *BY_SERVICE.samples(_by_service(peers)),
            *PING.samples(_statistics(pings, {"min": min, "median": median, "p90": _p90, "max": max})),
            *TIME_OFFSET.samples(_statistics(offsets, {"min": min, "median": median, "max": max})),
            *HIGH_BANDWIDTH.samples(_high_bandwidth(peers)),
            *INFLIGHT.sample(sum(len(peer.inflight or ()) for peer in peers)),
            *INBOUND_SLOTS.sample(self.node.settings.peers.inbound_slots),
        ]


def _directions(network: NetworkInfo, inbound: int, outbound: int) -> dict[tuple[str, ...], int]:
    """Connections by direction; before 0.21 and in Bitcoin SV the node counts only their sum."""
    if network.connections_in is not None and network.connections_out is not None:
        inbound, outbound = network.connections_in, network.connections_out
    return {("inbound",): inbound, ("outbound",): outbound}


def _by_network(peers: Sequence[Peer], info: NetworkInfo) -> dict[tuple[str, ...], int]:
    """Connections by network and direction, 0 for networks that the node knows and has no peer on."""
    counts: Counter[tuple[str, ...]] = Counter(
        (labels.network(peer.network), "inbound" if peer.inbound else "outbound")
        for peer in peers
        if peer.network is not None
    )
    if peers and not counts:
        return {}
    known = [network.name for network in info.networks if network.name in labels.NETWORKS]
    return {(name, direction): 0 for name in known for direction in ("inbound", "outbound")} | dict(counts)


def _by_connection_type(peers: Sequence[Peer]) -> dict[tuple[str, ...], int]:
    return _counts((peer.connection_type for peer in peers), CONNECTION_TYPES, also=("private-broadcast",))


def _by_service(peers: Sequence[Peer]) -> dict[tuple[str, ...], int]:
    counts: Counter[tuple[str, ...]] = Counter(
        (service,) for peer in peers for service in labels.services(peer.services)
    )
    return {(name,): counts[(name,)] for name in labels.COMMON_SERVICES.values()} | dict(counts)


def _high_bandwidth(peers: Sequence[Peer]) -> dict[tuple[str, ...], int]:
    """Nothing where the node's version does not tell, or no peer is there to tell of."""
    if all(peer.bip152_hb_to is None for peer in peers):
        return {}
    return {
        ("to",): sum(bool(peer.bip152_hb_to) for peer in peers),
        ("from",): sum(bool(peer.bip152_hb_from) for peer in peers),
    }


def _counts(words: Iterable[str | None], common: Sequence[str], also: Sequence[str] = ()) -> dict[tuple[str, ...], int]:
    """How often each word occurs, 0 for a common one that does not; nothing where none is reported at all."""
    counts: Counter[tuple[str, ...]] = Counter(
        (word if word in common or word in also else labels.OTHER,) for word in words if word is not None
    )
    return {(word,): counts[(word,)] for word in common} | dict(counts) if counts else {}


def _statistics(
    values: Sequence[float], functions: dict[str, Callable[[Sequence[float]], float]]
) -> dict[tuple[str, ...], float]:
    return {(name,): function(values) for name, function in functions.items()} if values else {}


def _p90(values: Sequence[float]) -> float:
    """The value that nine in ten do not exceed (nearest rank)."""
    return sorted(values)[math.ceil(0.9 * len(values)) - 1]
