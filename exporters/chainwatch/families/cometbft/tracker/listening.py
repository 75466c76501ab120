"""Reads the streams, and tells how the watched node was while a height was decided that they told."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from chainwatch.families.cometbft.client import Endpoints
from chainwatch.families.cometbft.consensus.model import OWN_NODE, How, NodeCondition, Settled
from chainwatch.families.cometbft.stream import ConsensusStream, Handler
from chainwatch.families.cometbft.tracker.watch import Watch

# A block that is older when it is told was decided before the node told of it: it reads up on its chain.
HISTORY = 60.0


async def listen(nodes: Endpoints, vantage: int, stream: ConsensusStream, handler: Handler) -> None:
    """Read a stream; a vantage point's while that is on the chain, since another chain's votes prove nothing."""
    if vantage == OWN_NODE:
        await stream.run()
    rpc = nodes.all[vantage]
    while True:
        await nodes.found_same_chain(rpc)
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(stream.run())
            await nodes.left_chain(rpc)
            reading.cancel()
        handler.interrupted(vantage)


def condition_of(settled: Settled, watch: Watch, stream_open: bool) -> NodeCondition:
    """How the watched node was while the height was decided, which is not before the time in its header.

    `stream_open`: whether its stream is.
    """
    seen, start = settled.seen, settled.block.time
    end = start + watch.patience
    # By a clock of ours that is ahead all is history; what was watched is known to be none.
    if seen and (settled.how is How.WATCHED or seen.opened < start + HISTORY):
        start, end = seen.opened, seen.committed_seen or max(seen.opened + watch.patience, end)
    condition = watch.conditions.during(start, end)
    if seen and seen.ended_by and OWN_NODE not in seen.ended_by and stream_open:
        # The others have told of this block and of the next one. It hangs, though nobody has asked it since.
        return replace(condition, answering=False)
    return condition
