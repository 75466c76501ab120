"""The Bitcoin-family node as a program: its state, its RPC server, indexes, disk, log."""

from __future__ import annotations

from dashboards.model import Query, Signal, Unit
from dashboards.signals.fleet import OK, STATE, STATE_NAMES, WARNING, firing

_OURS = 'and on (job, instance) last_over_time(chainwatch_node_info{family="bitcoin",*}[1d])'

STATE_NOW = Signal(
    title="State",
    description="The worst that is true of the node now; in step is normal.",
    unit=Unit.NUMBER,
    queries=(Query(f"max by (chain, instance) (({STATE}) {_OURS})"),),
    mappings=STATE_NAMES,
)
ALERTS = Signal(
    title="Alerts",
    description="Critical alerts and warnings that fire for the node itself. 0 is normal.",
    unit=Unit.NUMBER,
    queries=(
        Query(
            f"max by (instance) (0 * (chainwatch_up{{*}} {_OURS})"
            f" + on (job, instance) group_left () count by (job, instance) ({firing('critical|warning')})"
            f" or 0 * (chainwatch_up{{*}} {_OURS}))",
        ),
    ),
    levels=((None, OK), (1, WARNING)),
)
WARNING_KINDS = Signal(
    title="What the node warns of",
    description="By kind, at the nodes chosen. All calm is normal; test releases always warn of themselves.",
    unit=Unit.NUMBER,
    queries=(Query("max by (kind) (bitcoin_warnings{*})", "{{kind}}"),),
    mappings={0: ("calm", OK), 1: ("warns", WARNING)},
)
INDEX_LAG = Signal(
    title="Indexes behind",
    description="Blocks of the best chain that an index does not hold. 0 or 1 is normal, many while it is built.",
    unit=Unit.BLOCKS,
    queries=(Query("bitcoin_index_lag_blocks{*}", "{{instance}} {{index}}"),),
    threshold="bitcoin_index_lag_blocks",
    minimum=0,
)
LOG_MESSAGES = Signal(
    title="Errors and warnings in the log",
    description="From the node's own log, and times that it began to drop lines of a noisy source (30 and later). 0 is"
    " normal; a peer can make a node write some of them.",
    unit=Unit.NUMBER,
    queries=(
        Query(
            "round(sum by (instance, level) (increase(bitcoin_log_messages_total{*}[$__rate_interval])))",
            "{{instance}} {{level}}",
        ),
        Query(
            "round(sum by (instance) (increase(bitcoin_log_rate_limits_total{*}[$__rate_interval])))",
            "{{instance}} began to drop lines",
        ),
    ),
    minimum=0,
)
