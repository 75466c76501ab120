"""Fleet overview: every chain and node, and what is wrong."""

from __future__ import annotations

from dashboards.common import MARKS, choices
from dashboards.model import Board, Row
from dashboards.panels import graph, stat
from dashboards.signals import fleet

BOARD = Board(
    uid="chainwatch-fleet",
    title="Fleet overview",
    folder="chainwatch",
    description="Every chain and node that chainwatch watches, and what is wrong.",
    variables=choices("chainwatch_up"),
    annotations=MARKS,
    rows=(Row("Now", (stat(fleet.NODES_DOWN), graph(fleet.BLOCKS_BEHIND, 20))),),
)
