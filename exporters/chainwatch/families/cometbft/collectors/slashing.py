"""How near validators are to being jailed, from the slashing module of a Cosmos SDK application."""

import time
from collections.abc import Iterable

from prometheus_client import Metric

from chainwatch.exposition.collector import Collector
from chainwatch.exposition.metrics import gauge
from chainwatch.families.cometbft.collectors import COMETBFT
from chainwatch.families.cometbft.node import CometbftNode

WINDOW = gauge(
    "cometbft_slashing_window_blocks",
    "Blocks over which the chain counts what a validator misses, from the slashing module's signed_blocks_window.",
)
MIN_SIGNED = gauge(
    "cometbft_slashing_min_signed_ratio",
    "Share of the window below which a validator is jailed, from the slashing module's min_signed_per_window.",
)
MISSED = gauge(
    "cometbft_validator_missed_window_blocks",
    "Blocks that the validator missed within the window, from the slashing module's missed_blocks_counter.",
    labels=("validator",),
)
DISTANCE = gauge(
    "cometbft_validator_jail_distance_blocks",
    "Blocks of the window that the validator may still miss without being jailed; the next one after that jails.",
    labels=("validator",),
)
JAILED = gauge(
    "cometbft_validator_jailed",
    "1 while the chain keeps one's own validator out: tombstoned, or jailed and its time not over (jailed_until).",
    labels=("validator",),
)


@COMETBFT.register("slashing")
class SlashingCollector(Collector[CometbftNode]):
    """How near validators are to being jailed; asks the application twice a minute at most."""

    async def collect(self) -> Iterable[Metric]:
        """Ask the slashing module through abci_query."""
        node = self.node
        # What follows may be an answer that was kept, and chainwatch_up is about a node that answers now.
        await node.status()
        # In turn: an application without the module is asked once.
        params = await node.application.slashing_params()
        infos = await node.application.signing_infos()
        members = [address for address in node.tracker.shown if address in infos]
        own = [address for address in node.tracker.names if address in infos]
        now = time.time()
        return [
            *WINDOW.sample(params.window),
            *MIN_SIGNED.sample(float(params.min_signed)),
            *MISSED.samples({(address,): infos[address].missed for address in members}),
            *DISTANCE.samples({(address,): max(0, params.max_missed - infos[address].missed) for address in members}),
            *JAILED.samples({(a,): infos[a].tombstoned or infos[a].jailed_until > now for a in own}),
        ]
