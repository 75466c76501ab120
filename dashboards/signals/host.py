"""The machines under the nodes, by node_exporter: processor, memory, disks, network, clock.

A machine is node_exporter's instance. It belongs to the nodes whose instance is the same up to the port: `node: bob`
in both targets files, or 10.0.0.2:9332 and 10.0.0.2:9100.
"""

from __future__ import annotations

from dashboards.model import Query, Signal, Unit

# node_exporter's own, 1.5 and later. The two of systemd need its flags --collector.systemd and
# --collector.systemd.enable-restarts-metrics, pressure a kernel that measures it (4.20 and later).
NATIVE = (
    "node_boot_time_seconds",
    "node_cpu_seconds_total",
    "node_disk_io_time_seconds_total",
    "node_disk_read_bytes_total",
    "node_disk_read_time_seconds_total",
    "node_disk_reads_completed_total",
    "node_disk_write_time_seconds_total",
    "node_disk_writes_completed_total",
    "node_disk_written_bytes_total",
    "node_filefd_allocated",
    "node_filesystem_avail_bytes",
    "node_filesystem_files",
    "node_filesystem_files_free",
    "node_filesystem_size_bytes",
    "node_load5",
    "node_memory_MemAvailable_bytes",
    "node_memory_MemTotal_bytes",
    "node_network_receive_bytes_total",
    "node_network_receive_drop_total",
    "node_network_receive_errs_total",
    "node_network_transmit_bytes_total",
    "node_network_transmit_drop_total",
    "node_network_transmit_errs_total",
    "node_pressure_cpu_waiting_seconds_total",
    "node_pressure_io_waiting_seconds_total",
    "node_pressure_memory_waiting_seconds_total",
    "node_systemd_service_restart_total",
    "node_systemd_unit_state",
    "node_timex_maxerror_seconds",
    "node_timex_offset_seconds",
    "node_timex_sync_status",
    "node_uname_info",
    "node_vmstat_oom_kill",
    "node_vmstat_pswpin",
    "node_vmstat_pswpout",
)

MACHINES = 'job=~"$host_job",instance=~"$host"'
# Neither memory, nor images, nor layers over other devices: they would count twice.
_DISKS = f'{MACHINES},device!~"(loop|ram|zram|sr|fd|dm-|md).*"'
_FILES = f'{MACHINES},fstype!~"tmpfs|ramfs|fuse.*"'
_LINKS = f'{MACHINES},device!~"lo|(ifb|veth|docker|br-|virbr|cni|cali).*"'
_IDLE = f'{MACHINES},mode="idle"'


def of_machine(expr: str) -> str:
    """Give a series the label `machine`: its instance up to the port."""
    return f'label_replace({expr}, "machine", "$1", "instance", "(.+?)(?::[0-9]+)?")'


def _rate(metric: str, select: str = MACHINES) -> str:
    return f"rate({metric}{{{select}}}[$__rate_interval])"


def _grown(metric: str, select: str = MACHINES) -> str:
    return f"increase({metric}{{{select}}}[$__rate_interval])"


_CORES = f"count by (instance) (node_cpu_seconds_total{{{_IDLE}}})"
CPU_BUSY = f"1 - avg by (instance) ({_rate('node_cpu_seconds_total', _IDLE)})"
LOAD = f"max by (instance) (node_load5{{{MACHINES}}}) / {_CORES}"
MEMORY_USED = f"1 - node_memory_MemAvailable_bytes{{{MACHINES}}} / node_memory_MemTotal_bytes{{{MACHINES}}}"
SPACE_USED = f"1 - node_filesystem_avail_bytes{{{_FILES}}} / node_filesystem_size_bytes{{{_FILES}}}"
SPACE_LEFT = f"node_filesystem_avail_bytes{{{_FILES}}}"
DISK_BUSY = _rate("node_disk_io_time_seconds_total", _DISKS)
CLOCK_OFFSET = f"node_timex_offset_seconds{{{MACHINES}}}"
CLOCK_IN_STEP = f"node_timex_sync_status{{{MACHINES}}}"

_DISK = "{{instance}} {{device}}"
_MOUNT = "{{instance}} {{mountpoint}}"

PROCESSOR = Signal(
    title="Processor",
    description="Share of all cores that work. High while a node catches up, low at the tip.",
    unit=Unit.RATIO,
    queries=(Query(CPU_BUSY),),
    minimum=0,
    maximum=1,
)
MEMORY = Signal(
    title="Memory",
    description="Share that cannot be had any more. Nodes fill the cache of files, which does not count. Near 100 % "
    "the kernel kills the largest process, mostly the node.",
    unit=Unit.RATIO,
    queries=(Query(MEMORY_USED),),
    minimum=0,
    maximum=1,
)
DISK_SPACE = Signal(
    title="Disk space",
    description="Used share of each file system. A full disk stops a node, and may cost its database.",
    unit=Unit.RATIO,
    queries=(Query(SPACE_USED, _MOUNT),),
    minimum=0,
    maximum=1,
)
DISK_TIME = Signal(
    title="Disk busy",
    description="Share of the time with a request under way. A spinning disk at 100 % is the usual reason of slow "
    "blocks; an SSD may still have room there.",
    unit=Unit.RATIO,
    queries=(Query(DISK_BUSY, _DISK),),
    minimum=0,
    maximum=1,
)
DISK_LATENCY = Signal(
    title="Disk latency",
    description="Time of one request; a gap is a time without. Below a millisecond on an SSD, some 10 ms on a spinning "
    "disk. Validators sign late on a disk that takes 100 ms.",
    unit=Unit.SECONDS,
    queries=(
        Query(
            f"{_rate('node_disk_read_time_seconds_total', _DISKS)}"
            f" / ({_rate('node_disk_reads_completed_total', _DISKS)} > 0)",
            f"{_DISK} read",
        ),
        Query(
            f"{_rate('node_disk_write_time_seconds_total', _DISKS)}"
            f" / ({_rate('node_disk_writes_completed_total', _DISKS)} > 0)",
            f"{_DISK} write",
        ),
    ),
    minimum=0,
)
NETWORK = Signal(
    title="Network",
    description="Bytes in (above) and out (below) by interface. Serving old blocks to others makes most of it.",
    unit=Unit.BYTES_PER_SECOND,
    queries=(
        Query(_rate("node_network_receive_bytes_total", _LINKS), f"{_DISK} in"),
        Query(f"-{_rate('node_network_transmit_bytes_total', _LINKS)}", f"{_DISK} out"),
    ),
)

OFFSET = Signal(
    title="Clock offset",
    description="What the kernel still has to correct. Milliseconds are normal; 0 without end means that nobody "
    "measures (see Clock in step).",
    unit=Unit.SECONDS,
    queries=(Query(CLOCK_OFFSET),),
)
CLOCK_ERROR = Signal(
    title="Largest clock error",
    description="How wrong the clock may be at most, as the kernel reckons. It grows while no time server is heard, up "
    "to 16 s.",
    unit=Unit.SECONDS,
    queries=(Query(f"node_timex_maxerror_seconds{{{MACHINES}}}"),),
    minimum=0,
)
IN_STEP = Signal(
    title="Clock in step",
    description="Whether the clock is synchronised with a time server.",
    unit=Unit.NUMBER,
    queries=(Query(CLOCK_IN_STEP),),
    mappings={1: ("in step", "green"), 0: ("by itself", "orange")},
)
NODE_CLOCK = Signal(
    title="Clock as the node sees it",
    description="How far the network's time and the node's clock are apart; of Bitcoin a median over peers, in whole "
    "seconds. 0 to 2 s is normal. From the line on there is an alert.",
    unit=Unit.SECONDS,
    queries=(Query("abs(chainwatch_clock_offset_seconds{*})"),),
    threshold="clock_offset_seconds",
    minimum=0,
)

LOAD_PER_CORE = Signal(
    title="Load per core",
    description="Average number of tasks that run, or wait for processor or disk, by core, over 5 minutes. Above 1 "
    "they wait.",
    unit=Unit.SHORT,
    queries=(Query(LOAD),),
    minimum=0,
)
PRESSURE = Signal(
    title="Pressure",
    description="Share of the time in which some task waited for processor, memory or disk. A few percent are normal; "
    "memory should be 0.",
    unit=Unit.RATIO,
    queries=tuple(
        Query(_rate(f"node_pressure_{what}_waiting_seconds_total"), f"{{{{instance}}}} {name}")
        for what, name in (("cpu", "processor"), ("memory", "memory"), ("io", "disk"))
    ),
    minimum=0,
)
SWAPPING = Signal(
    title="Pages swapped per second",
    description="In and out. 0 is normal; steady swapping makes a node miss its times.",
    unit=Unit.SHORT,
    queries=(
        Query(_rate("node_vmstat_pswpin"), "{{instance}} in"),
        Query(_rate("node_vmstat_pswpout"), "{{instance}} out"),
    ),
    minimum=0,
)
KILLED = Signal(
    title="Processes killed for want of memory",
    description="0 is normal. Look in the kernel's log whether it was the node: journalctl -k -g oom",
    unit=Unit.NUMBER,
    queries=(Query(_grown("node_vmstat_oom_kill")),),
    minimum=0,
    decimals=0,
)

FREE_SPACE = Signal(
    title="Free disk space",
    description="What a program without special rights may still use. A full Bitcoin node grows by some 100 GB a year.",
    unit=Unit.BYTES,
    queries=(Query(SPACE_LEFT, _MOUNT),),
    minimum=0,
)
INODES = Signal(
    title="Inodes used",
    description="Share of the files that a file system can hold. Low is normal; not every file system counts them.",
    unit=Unit.RATIO,
    queries=(
        Query(
            f"1 - node_filesystem_files_free{{{_FILES}}} / (node_filesystem_files{{{_FILES}}} > 0)",
            _MOUNT,
        ),
    ),
    minimum=0,
    maximum=1,
)
CHAIN_DATA = Signal(
    title="Chain data on disk",
    description="Blocks and undo data as the node counts them, of Bitcoin's family. It grows with each block; a pruned "
    "node's stays at its target.",
    unit=Unit.BYTES,
    queries=(Query("bitcoin_blockchain_size_bytes{*}"),),
)
DISK_BYTES = Signal(
    title="Disk throughput",
    description="Bytes read (above) and written (below).",
    unit=Unit.BYTES_PER_SECOND,
    queries=(
        Query(_rate("node_disk_read_bytes_total", _DISKS), f"{_DISK} read"),
        Query(f"-{_rate('node_disk_written_bytes_total', _DISKS)}", f"{_DISK} write"),
    ),
)
DISK_REQUESTS = Signal(
    title="Disk requests",
    description="Reads (above) and writes (below) a second. Cloud disks are slowed down at the number that was bought.",
    unit=Unit.IO_PER_SECOND,
    queries=(
        Query(_rate("node_disk_reads_completed_total", _DISKS), f"{_DISK} read"),
        Query(f"-{_rate('node_disk_writes_completed_total', _DISKS)}", f"{_DISK} write"),
    ),
)

LINK_TROUBLE = Signal(
    title="Packets lost per second",
    description="Errors and drops of all interfaces. 0 or few are normal.",
    unit=Unit.SHORT,
    queries=tuple(
        Query(
            f"sum by (instance) ({_rate(f'node_network_{way}_{what}_total', _LINKS)})",
            f"{{{{instance}}}} {name}",
        )
        for way, what, name in (
            ("receive", "errs", "errors in"),
            ("transmit", "errs", "errors out"),
            ("receive", "drop", "dropped in"),
            ("transmit", "drop", "dropped out"),
        )
    ),
    minimum=0,
)
OPEN_FILES = Signal(
    title="Open files",
    description="Of the whole machine. A node has hundreds to thousands; steady growth is a leak.",
    unit=Unit.NUMBER,
    queries=(Query(f"node_filefd_allocated{{{MACHINES}}}"),),
    minimum=0,
)
SERVICE_RESTARTS = Signal(
    title="Services restarted by systemd",
    description="Those whose process ended by itself and was started again; 0 is normal. Needs node_exporter's flags "
    "--collector.systemd and --collector.systemd.enable-restarts-metrics.",
    unit=Unit.NUMBER,
    queries=(
        Query(
            f"{_grown('node_systemd_service_restart_total')} > 0"
            f" or on (instance) 0 * count by (instance) (node_systemd_service_restart_total{{{MACHINES}}})",
            "{{instance}} {{name}}",
        ),
    ),
    minimum=0,
    decimals=0,
)
UNITS_FAILED = Signal(
    title="Units failed",
    description="Services that systemd gave up on, by machine; 0 is normal. Needs node_exporter's flag "
    "--collector.systemd.",
    unit=Unit.NUMBER,
    queries=(Query(f'sum by (instance) (node_systemd_unit_state{{{MACHINES},state="failed"}})'),),
    minimum=0,
    decimals=0,
)
