"""The newest block of the watched node, and which software it runs, from /status."""

import re
from collections.abc import Iterable

from prometheus_client import Metric

from chainwatch.exposition import fleet
from chainwatch.exposition.collector import Collector
from chainwatch.families.cometbft.collectors import COMETBFT
from chainwatch.families.cometbft.consensus.book import unix
from chainwatch.families.cometbft.node import CometbftNode
from chainwatch.families.cometbft.schema import NodeInfo, SyncInfo

_HASH = re.compile(r"[0-9A-Fa-f]{64}")
_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,40}")
# The last lines that were called Tendermint; CometBFT went on with 0.37, and with repairs of 0.34.
_TENDERMINT = re.compile(r"v?0\.3[0-6]\.")


@COMETBFT.register("status")
class StatusCollector(Collector[CometbftNode]):
    """The newest block: height, hash, time; whether the node catches up; which software runs."""

    async def collect(self) -> Iterable[Metric]:
        """Ask /status."""
        status = await self.node.status()
        sync = status.sync_info
        return [
            *fleet.NODE_INFO.samples({_software(status.node_info): 1}),
            *fleet.SYNCING.sample(sync.catching_up),
            *fleet.TARGET_SPACING.sample(self.node.tracker.target_spacing),
            *(self._tip(sync) if sync.latest_block_height > 0 else ()),
        ]

    def _tip(self, sync: SyncInfo) -> Iterable[Metric]:
        """The newest block; a committed block is final."""
        height, block_hash, time = sync.latest_block_height, sync.latest_block_hash, sync.latest_block_time
        yield from fleet.TIP_HEIGHT.sample(height)
        yield from fleet.FINALIZED_HEIGHT.sample(height)
        yield from fleet.TIP_HASH_ID.sample(fleet.tip_hash_id(block_hash) if _HASH.fullmatch(block_hash) else None)
        yield from fleet.TIP_TIMESTAMP.sample(unix(time) if time else None)
        yield from fleet.TIP_FIRST_SEEN.sample(self.node.tracker.first_seen(height))


def _software(info: NodeInfo) -> tuple[str, str, str]:
    """Family, client and version."""
    version = info.version if _VERSION.fullmatch(info.version) else "other"
    return "cometbft", "tendermint" if _TENDERMINT.match(version) else "cometbft", version
