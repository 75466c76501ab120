"""The best chain as the node sees it, and how far it is, from getblockchaininfo."""

import asyncio
import time
from collections.abc import Iterable

from prometheus_client import Metric

from chainwatch.exposition import fleet
from chainwatch.exposition.collector import Collector
from chainwatch.exposition.metrics import gauge
from chainwatch.families.bitcoin.chains import version_text
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.node import BitcoinNode
from chainwatch.families.bitcoin.schema import BlockchainInfo, BlockHeader

HEADERS = gauge("bitcoin_headers", "Height of the best header chain, from getblockchaininfo.headers.")
IBD = gauge(
    "bitcoin_initial_block_download",
    "1 until the node has caught up once, from getblockchaininfo.initialblockdownload.",
)
PROGRESS = gauge(
    "bitcoin_verification_progress_ratio",
    "Estimated share of the chain's transactions verified, from getblockchaininfo.verificationprogress.",
)
SIZE = gauge("bitcoin_blockchain_size_bytes", "Blocks and undo data on disk, from getblockchaininfo.size_on_disk.")
PRUNED = gauge("bitcoin_pruned", "1 when old blocks are deleted, from getblockchaininfo.pruned.")
PRUNE_HEIGHT = gauge("bitcoin_prune_height", "Lowest block still stored, from getblockchaininfo.pruneheight.")
PRUNE_TARGET = gauge("bitcoin_prune_target_bytes", "Size the node prunes to, from getblockchaininfo.prune_target_size.")
MEDIAN_TIME = gauge(
    "bitcoin_tip_median_timestamp_seconds", "Median time of the last 11 blocks, from getblockchaininfo.mediantime."
)

# Core's -maxtipage, beyond which a node that starts is in its initial block download.
MAX_TIP_AGE_SECONDS = 24 * 3600


@BITCOIN.register("blockchain")
class BlockchainCollector(Collector[BitcoinNode]):
    """The best chain: height, tip, headers, sync, pruning, size; which software runs."""

    def __init__(self, node: BitcoinNode) -> None:
        super().__init__(node)
        self._header: BlockHeader | None = None

    async def collect(self) -> Iterable[Metric]:
        """Ask getblockchaininfo and getnetworkinfo; a node before 23 also for the tip's header."""
        network, info = await asyncio.gather(self.node.network_info(), self.node.blockchain_info())
        chain = self.node.recognise(network, info)
        client = {("bitcoin", chain.client, version_text(network.subversion, network.version)): 1}
        return [
            *fleet.NODE_INFO.samples(client),
            *fleet.TARGET_SPACING.sample(chain.spacing),
            *fleet.TIP_HEIGHT.sample(info.blocks),
            *fleet.TIP_HASH_ID.sample(fleet.tip_hash_id(info.bestblockhash)),
            *fleet.TIP_TIMESTAMP.sample(await self._tip_time(info)),
            *fleet.TIP_FIRST_SEEN.sample(self.node.tracker.first_seen(info.bestblockhash)),
            *fleet.SYNCING.sample(_syncing(info)),
            *HEADERS.sample(info.headers),
            *IBD.sample(info.initialblockdownload),
            *PROGRESS.sample(info.verificationprogress),
            *SIZE.sample(info.size_on_disk),
            *PRUNED.sample(info.pruned),
            *PRUNE_HEIGHT.sample(info.pruneheight),
            *PRUNE_TARGET.sample(info.prune_target_size),
            *MEDIAN_TIME.sample(info.mediantime),
        ]

    async def _tip_time(self, info: BlockchainInfo) -> int:
        if info.time is not None:
            return info.time
        header = self._header
        if header is None or header.hash != info.bestblockhash:
            header = self._header = await self.node.rpc.call("getblockheader", info.bestblockhash, into=BlockHeader)
        return header.time


def _syncing(info: BlockchainInfo) -> bool:
    """Whether the node catches up.

    Bitcoin SV does not say, so headers without their blocks must tell, and only where the tip is old too, as in Core's
    own test: a node that is stuck on a young chain must not pass for one that catches up.
    """
    if info.initialblockdownload is not None:
        return info.initialblockdownload
    old = info.mediantime is not None and time.time() - info.mediantime > MAX_TIP_AGE_SECONDS
    return old and info.headers - info.blocks > 1
