"""Transactions that wait for a block, from getmempoolinfo."""

from collections.abc import Iterable

from prometheus_client import Metric

from chainwatch.exposition.collector import Collector
from chainwatch.exposition.fleet import MEMPOOL_BYTES, MEMPOOL_TRANSACTIONS
from chainwatch.exposition.metrics import gauge
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.node import BitcoinNode
from chainwatch.families.bitcoin.schema import MempoolInfo
from chainwatch.families.bitcoin.units import satoshis, satoshis_per_vbyte

MEMORY = gauge("bitcoin_mempool_memory_bytes", "Memory that the mempool uses, from getmempoolinfo.usage.")
MAX_MEMORY = gauge("bitcoin_mempool_max_bytes", "Memory the mempool may use, from getmempoolinfo.maxmempool.")
FEES = gauge("bitcoin_mempool_fees_satoshis", "Fees of all waiting transactions, from getmempoolinfo.total_fee.")
MIN_FEERATE = gauge(
    "bitcoin_mempool_min_feerate_satoshis_per_vbyte",
    "Lowest feerate the mempool accepts now, from getmempoolinfo.mempoolminfee; it rises while the mempool is full.",
)
MIN_RELAY_FEERATE = gauge(
    "bitcoin_mempool_min_relay_feerate_satoshis_per_vbyte",
    "Lowest feerate the node relays at all, from getmempoolinfo.minrelaytxfee.",
)
INCREMENTAL_FEERATE = gauge(
    "bitcoin_mempool_incremental_relay_feerate_satoshis_per_vbyte",
    "Feerate that a replacement adds at least, from getmempoolinfo.incrementalrelayfee.",
)
UNBROADCAST = gauge(
    "bitcoin_mempool_unbroadcast_transactions",
    "Own transactions that no peer has asked for yet, from getmempoolinfo.unbroadcastcount.",
)
FULL_RBF = gauge("bitcoin_mempool_full_rbf", "1 when every transaction may be replaced, from getmempoolinfo.fullrbf.")
LOADED = gauge("bitcoin_mempool_loaded", "1 when the mempool of the last run is loaded, from getmempoolinfo.loaded.")


@BITCOIN.register("mempool")
class MempoolCollector(Collector[BitcoinNode]):
    """Transactions that wait for a block: count, size, fees, limits."""

    async def collect(self) -> Iterable[Metric]:
        """Ask getmempoolinfo."""
        info = await self.node.rpc.call("getmempoolinfo", into=MempoolInfo)
        return [
            *MEMPOOL_TRANSACTIONS.sample(info.size),
            *MEMPOOL_BYTES.sample(info.bytes),
            *MEMORY.sample(info.usage),
            *MAX_MEMORY.sample(info.maxmempool),
            *FEES.sample(satoshis(info.total_fee)),
            *MIN_FEERATE.sample(satoshis_per_vbyte(info.mempoolminfee)),
            *MIN_RELAY_FEERATE.sample(satoshis_per_vbyte(info.minrelaytxfee)),
            *INCREMENTAL_FEERATE.sample(satoshis_per_vbyte(info.incrementalrelayfee)),
            *UNBROADCAST.sample(info.unbroadcastcount),
            *FULL_RBF.sample(info.fullrbf),
            *LOADED.sample(info.loaded),
        ]
