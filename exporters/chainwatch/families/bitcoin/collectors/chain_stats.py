"""Transactions in the whole chain, from getchaintxstats."""

from collections.abc import Iterable

from msgspec import Struct
from prometheus_client import Metric

from chainwatch.exposition.collector import Collector
from chainwatch.exposition.metrics import gauge
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.node import BitcoinNode

# A gauge: a reorganisation can take transactions away.
TRANSACTIONS = gauge(
    "bitcoin_chain_transactions", "Transactions in the chain up to the best block, from getchaintxstats.txcount."
)


class ChainTxStats(Struct):
    """The answer of getchaintxstats."""

    txcount: int | None = None  # unknown below an assumeutxo snapshot


@BITCOIN.register("chain_stats")
class ChainStatsCollector(Collector[BitcoinNode]):
    """How many transactions the chain holds."""

    async def collect(self) -> Iterable[Metric]:
        """Ask getchaintxstats."""
        return TRANSACTIONS.sample((await self.node.rpc.call("getchaintxstats", into=ChainTxStats)).txcount)
