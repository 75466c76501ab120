"""Addresses of other nodes that the node could try, from getaddrmaninfo (26 and later)."""

from collections.abc import Iterable

from msgspec import Struct
from prometheus_client import Metric

from chainwatch.exposition.collector import Collector
from chainwatch.exposition.metrics import gauge
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.labels import NETWORKS
from chainwatch.families.bitcoin.node import BitcoinNode

# A gauge, and nothing to alert on: peers decide which addresses they tell.
ADDRESSES = gauge(
    "bitcoin_addrman_addresses",
    "Known addresses of other nodes: heard of (new) or once connected to (tried), from getaddrmaninfo.",
    labels=("network", "table"),
)


class AddressCount(Struct):
    """The tables of one network."""

    new: int
    tried: int


@BITCOIN.register("addrman")
class AddrmanCollector(Collector[BitcoinNode]):
    """Addresses of other nodes by network."""

    async def collect(self) -> Iterable[Metric]:
        """Ask getaddrmaninfo."""
        counts = await self.node.rpc.call("getaddrmaninfo", into=dict[str, AddressCount])
        known = {name: count for name, count in counts.items() if name in NETWORKS}
        return ADDRESSES.samples(
            {(name, "new"): count.new for name, count in known.items()}
            | {(name, "tried"): count.tried for name, count in known.items()}
        )
