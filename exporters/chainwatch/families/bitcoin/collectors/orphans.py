"""Transactions whose parents the node does not know yet, from getorphantxs (hidden; 29 and later)."""

from collections.abc import Iterable

from msgspec import Struct
from prometheus_client import Metric

from chainwatch.exposition.collector import Collector
from chainwatch.exposition.metrics import gauge
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.node import BitcoinNode

TRANSACTIONS = gauge("bitcoin_orphan_transactions", "Transactions that wait for a parent, counted from getorphantxs.")
BYTES = gauge("bitcoin_orphan_bytes", "Size of the transactions that wait for a parent, from getorphantxs.bytes.")


class Orphan(Struct):
    """One entry of getorphantxs with verbosity 1."""

    bytes: int


@BITCOIN.register("orphans")
class OrphansCollector(Collector[BitcoinNode]):
    """Transactions that wait for a parent."""

    async def collect(self) -> Iterable[Metric]:
        """Ask getorphantxs with verbosity 1."""
        orphans = await self.node.rpc.call("getorphantxs", 1, into=list[Orphan])
        return [*TRANSACTIONS.sample(len(orphans)), *BYTES.sample(sum(orphan.bytes for orphan in orphans))]
