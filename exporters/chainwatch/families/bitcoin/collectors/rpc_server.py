"""What the node's RPC server is busy with, from getrpcinfo."""

import time
from collections.abc import Iterable

from msgspec import Struct
from prometheus_client import Metric

from chainwatch.exposition.collector import Collector
from chainwatch.exposition.metrics import gauge
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.node import BitcoinNode

ACTIVE = gauge(
    "bitcoin_rpc_active_commands",
    "RPC calls that were running already when this scrape began, its own left out, from getrpcinfo.active_commands.",
)
LONGEST = gauge(
    "bitcoin_rpc_longest_running_command_seconds",
    "Time that the longest RPC call has been running for, this scrape's own left out, 0 when there is none, from "
    "getrpcinfo.active_commands.duration.",
)


class ActiveCommand(Struct):
    """One running call; microseconds."""

    duration: int


class RpcInfo(Struct):
    """The answer of getrpcinfo."""

    active_commands: list[ActiveCommand]


@BITCOIN.register("rpc_server")
class RpcServerCollector(Collector[BitcoinNode]):
    """Calls that keep the node's RPC server busy."""

    async def collect(self) -> Iterable[Metric]:
        """Ask getrpcinfo."""
        began = time.perf_counter()
        info = await self.node.rpc.call("getrpcinfo", into=RpcInfo)
        # Calls of this same scrape are under way too, getrpcinfo among them: they are younger than our question.
        own = time.perf_counter() - began
        running = [command.duration / 1e6 for command in info.active_commands if command.duration / 1e6 > own]
        return [*ACTIVE.sample(len(running)), *LONGEST.sample(max(running, default=0))]
