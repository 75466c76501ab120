"""The upgrade that the chain has decided on, from the upgrade module of a Cosmos SDK application."""

from collections.abc import Iterable

from prometheus_client import Metric

from chainwatch.exposition.collector import Collector
from chainwatch.exposition.metrics import gauge
from chainwatch.families.cometbft.collectors import COMETBFT
from chainwatch.families.cometbft.node import CometbftNode

HEIGHT = gauge(
    "cometbft_upgrade_height",
    "Height at which the chain stops for an upgrade, from the upgrade module's plan; absent without one.",
)
DISTANCE = gauge("cometbft_upgrade_distance_blocks", "Blocks until the upgrade's height; absent without a plan.")


@COMETBFT.register("upgrade")
class UpgradeCollector(Collector[CometbftNode]):
    """Whether the chain is about to stop for an upgrade, and when."""

    async def collect(self) -> Iterable[Metric]:
        """Ask the upgrade module through abci_query."""
        # The plan may be an answer that was kept, and chainwatch_up is about a node that answers now.
        height = (await self.node.status()).sync_info.latest_block_height
        plan = await self.node.application.plan()
        if plan is None or plan.height <= 0:
            return []
        return [*HEIGHT.sample(plan.height), *DISTANCE.sample(max(0, plan.height - height))]
