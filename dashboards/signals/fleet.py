"""What every family has: whether a node answers, where it stands, whom it knows."""

from __future__ import annotations

from dashboards.model import Query, Signal, Unit

NODES_DOWN = Signal(
    title="Nodes that do not answer",
    description="Exporters whose node gave no answer at the last scrape. 0 is normal.",
    unit=Unit.NUMBER,
    queries=(Query("count(chainwatch_up{*} == 0) or vector(0)", "nodes"),),
    levels=((None, "green"), (1, "red")),
)

BLOCKS_BEHIND = Signal(
    title="Blocks behind",
    description="How far a node is below the best one of its chain here. 0 or 1 is normal.",
    unit=Unit.BLOCKS,
    queries=(Query("chainwatch:blocks_behind{*}"),),
    threshold="node_behind_blocks",
    minimum=0,
)
