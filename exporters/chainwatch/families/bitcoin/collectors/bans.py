"""Addresses and subnets that the node refuses to talk to, from listbanned."""

from collections.abc import Iterable

from msgspec import Raw
from prometheus_client import Metric

from chainwatch.exposition.collector import Collector
from chainwatch.exposition.metrics import gauge
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.node import BitcoinNode

ENTRIES = gauge("bitcoin_banned_entries", "Banned addresses and subnets, counted from listbanned.")


@BITCOIN.register("bans")
class BansCollector(Collector[BitcoinNode]):
    """How many addresses and subnets are banned; which ones stays with the node."""

    async def collect(self) -> Iterable[Metric]:
        """Ask listbanned."""
        return ENTRIES.sample(len(await self.node.rpc.call("listbanned", into=list[Raw])))
