"""Host: what the machines have left, beside the nodes on them."""

from __future__ import annotations

from dashboards.common import ALERTS, EXPORTER_STARTS, NODE_STARTS, choices
from dashboards.model import Board, Row, Unit, Variable
from dashboards.panels import Column, bars, graph, table, timeline
from dashboards.signals import exporters
from dashboards.signals import host as signals

_NODES = signals.of_machine("group by (chain, instance) (chainwatch_up{*})")


def _of_node(expr: str) -> str:
    """A figure of the node itself, with its machine's name."""
    return signals.of_machine(f"max by (chain, instance) ({expr})")


def _of_its_machine(expr: str) -> str:
    """A figure of the machine under a node."""
    return f"{_NODES} * on (machine) group_left () max by (machine) ({signals.of_machine(expr)})"


MACHINES = table(
    "Machines",
    "One row for each machine with node_exporter, each figure the worst of its disks. Orange and red: what a node does "
    "not stand for long.",
    (
        Column(title="Machine", label="instance", width=140),
        Column(
            title="Processor",
            expr=signals.CPU_BUSY,
            unit=Unit.RATIO,
            width=85,
            levels=((None, "text"), (0.95, "orange")),
        ),
        Column(title="Load per core", expr=signals.LOAD, unit=Unit.SHORT, width=105),
        Column(
            title="Memory used",
            expr=f"max by (instance) ({signals.MEMORY_USED})",
            unit=Unit.RATIO,
            width=105,
            levels=((None, "text"), (0.9, "orange"), (0.97, "red")),
        ),
        Column(
            title="Fullest disk",
            expr=f"max by (instance) ({signals.SPACE_USED})",
            unit=Unit.RATIO,
            width=100,
            levels=((None, "text"), (0.85, "orange"), (0.95, "red")),  # file systems slow down before they are full
        ),
        Column(title="Least space left", expr=f"min by (instance) ({signals.SPACE_LEFT})", unit=Unit.BYTES, width=125),
        Column(
            title="Busiest disk",
            expr=f"max by (instance) ({signals.DISK_BUSY})",
            unit=Unit.RATIO,
            width=100,
            levels=((None, "text"), (0.9, "orange")),
        ),
        Column(
            title="Clock offset",
            expr=f"max by (instance) (abs({signals.CLOCK_OFFSET}))",
            unit=Unit.SECONDS,
            width=100,
            levels=((None, "text"), (0.1, "orange"), (1, "red")),  # with NTP it is right within milliseconds
        ),
        Column(
            title="Clock",
            expr=f"max by (instance) ({signals.CLOCK_IN_STEP})",
            width=85,
            mappings={1: ("in step", None), 0: ("by itself", "orange")},
        ),
        Column(
            title="Killed for memory",
            expr=f"max by (instance) (increase(node_vmstat_oom_kill{{{signals.MACHINES}}}[$__range]))",
            width=135,
            levels=((None, "text"), (1, "red")),
        ),
        Column(
            title="Started",
            expr=f"max by (instance) (node_boot_time_seconds{{{signals.MACHINES}}} * 1000)",
            unit=Unit.AGO,
        ),
    ),
    height=5,
    sort="Machine",
)

NODES = table(
    "Nodes",
    "One row for each node, with what its machine has left. They belong together when their instances are the same up "
    "to the port (`node: bob` in both targets files, or one address); else the machine's columns stay empty.",
    (
        Column(title="Node", label="instance", width=130),
        Column(title="Chain", label="chain", width=130),
        Column(title="Machine", label="machine", width=130),
        Column(
            title="Answers",
            expr=_of_node("chainwatch_up{*}"),
            width=75,
            mappings={1: ("yes", "green"), 0: ("NO", "red")},
        ),
        Column(title="Chain data", expr=_of_node("bitcoin_blockchain_size_bytes{*}"), unit=Unit.BYTES, width=90),
        Column(title="Mempool", expr=_of_node("bitcoin_mempool_memory_bytes{*}"), unit=Unit.BYTES, width=90),
        Column(
            title="Exporter's memory", expr=_of_node("process_resident_memory_bytes{*}"), unit=Unit.BYTES, width=140
        ),
        Column(title="Machine's memory", expr=_of_its_machine(signals.MEMORY_USED), unit=Unit.RATIO, width=135),
        Column(title="Machine's fullest disk", expr=_of_its_machine(signals.SPACE_USED), unit=Unit.RATIO, width=160),
        Column(
            title="Node started",
            expr=_of_node("chainwatch_node_start_timestamp_seconds{*} * 1000"),
            unit=Unit.AGO,
        ),
    ),
    height=7,
    sort="Node",
)

BOARD = Board(
    uid="chainwatch-host",
    title="Host",
    folder="chainwatch",
    description="What the machines under the nodes have left, by node_exporter (job node of prometheus.yml). A machine "
    "and a node belong together when their instances are the same up to the port.",
    variables=(
        Variable(name="host_job", query="label_values(node_uname_info, job)", label="machines' job", all_value=".+"),
        Variable(
            name="host",
            query='label_values(node_uname_info{job=~"$host_job"}, instance)',
            label="machine",
            all_value=".+",
        ),
        *choices("chainwatch_up"),
    ),
    annotations=(ALERTS, NODE_STARTS, EXPORTER_STARTS),
    rows=(
        Row(
            "Now",
            (
                MACHINES,
                NODES,
                graph(signals.PROCESSOR),
                graph(signals.MEMORY),
                graph(signals.DISK_SPACE),
                graph(signals.DISK_TIME),
                graph(signals.DISK_LATENCY),
                graph(signals.NETWORK),
            ),
        ),
        Row(
            "Clock",
            (
                graph(signals.OFFSET, 12, soft_max=0.01),
                graph(signals.NODE_CLOCK, 12),
                graph(signals.CLOCK_ERROR, 12),
                timeline(signals.IN_STEP, 12, 7),
            ),
            folded=True,
        ),
        Row(
            "Disks",
            (
                graph(signals.FREE_SPACE, 12),
                graph(signals.CHAIN_DATA, 12),
                graph(signals.DISK_BYTES),
                graph(signals.DISK_REQUESTS),
                graph(signals.INODES),
            ),
            folded=True,
        ),
        Row(
            "Processor, memory, network",
            (
                graph(signals.LOAD_PER_CORE, 12),
                graph(signals.PRESSURE, 12),
                graph(signals.SWAPPING, soft_max=1),
                bars(signals.KILLED),
                graph(signals.LINK_TROUBLE, soft_max=1),
            ),
            folded=True,
        ),
        Row(
            "Services and exporters",
            (
                bars(signals.SERVICE_RESTARTS),
                graph(signals.UNITS_FAILED, steps=True, soft_max=1),
                graph(signals.OPEN_FILES),
                graph(exporters.CPU, 12),
                graph(exporters.MEMORY, 12),
            ),
            folded=True,
        ),
    ),
)
