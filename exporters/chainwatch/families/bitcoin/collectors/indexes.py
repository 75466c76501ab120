"""Optional indexes of the node and how far each has come, from getindexinfo (0.21 and later)."""

import asyncio
from collections.abc import Iterable

from msgspec import Struct
from prometheus_client import Metric

from chainwatch.exposition.collector import Collector
from chainwatch.exposition.metrics import gauge
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.node import BitcoinNode

SYNCED = gauge("bitcoin_index_synced", "1 when the index is up to date, from getindexinfo.synced.", labels=("index",))
HEIGHT = gauge(
    "bitcoin_index_height", "Last block in the index, from getindexinfo.best_block_height.", labels=("index",)
)
LAG = gauge(
    "bitcoin_index_lag_blocks",
    "Blocks of the best chain not in the index, from getblockchaininfo.blocks less getindexinfo.best_block_height.",
    labels=("index",),
)
INDEXES = frozenset({"txindex", "coinstatsindex", "basic block filter index", "txospenderindex"})


class IndexInfo(Struct):
    """One member of the answer of getindexinfo."""

    synced: bool
    best_block_height: int


@BITCOIN.register("indexes")
class IndexesCollector(Collector[BitcoinNode]):
    """Whether each index is synced, and how far it is behind; nothing where no index is on."""

    async def collect(self) -> Iterable[Metric]:
        """Ask getindexinfo and getblockchaininfo."""
        answer, chain = await asyncio.gather(
            self.node.rpc.call("getindexinfo", into=dict[str, IndexInfo]), self.node.blockchain_info()
        )
        # Of several that chainwatch does not know by name, the one furthest behind is reported.
        furthest_first = sorted(answer.items(), key=lambda item: -item[1].best_block_height)
        indexes = {(name if name in INDEXES else "other",): info for name, info in furthest_first}
        return [
            *SYNCED.samples({index: info.synced for index, info in indexes.items()}),
            *HEIGHT.samples({index: info.best_block_height for index, info in indexes.items()}),
            *LAG.samples({index: max(0, chain.blocks - info.best_block_height) for index, info in indexes.items()}),
        ]
