"""How the exporters fare: scrapes, collectors, their calls to the node, streams, the log, the process."""

from __future__ import annotations

from dashboards.common import alert_at
from dashboards.model import Query, Signal, Unit

# What Prometheus says of its targets knows no chain.
TARGETS = '{job=~"$job",instance=~"$instance"}'
OF_EXPORTERS = "and on (job, instance) chainwatch_build_info{*}"

GOOD_BAD = ((None, "green"), (1, "red"))

TARGETS_DOWN = Signal(
    title="Targets down",
    description="Targets of the chosen jobs that Prometheus cannot scrape, exporters and others. 0 is normal.",
    unit=Unit.NUMBER,
    queries=(Query(f"count(up{TARGETS} == 0) or vector(0)", "targets"),),
    levels=GOOD_BAD,
)
COLLECTORS_FAILING = Signal(
    title="Collectors failing",
    description="Collectors that failed at the last scrape though the node answered; their metrics are absent. 0 is "
    "normal. The row Collectors says which.",
    unit=Unit.NUMBER,
    queries=(
        Query(
            "count(chainwatch_collector_success{*} == 0 unless on (job, instance) chainwatch_up{*} == 0) or vector(0)",
            "collectors",
        ),
    ),
    levels=GOOD_BAD,
)
STREAMS_CLOSED = Signal(
    title="Streams closed",
    description="Streams of events that are closed or deaf though the node answers. 0 is normal; seconds at a restart.",
    unit=Unit.NUMBER,
    queries=(
        Query(
            "count(chainwatch_stream_connected{*} == 0 unless on (job, instance) chainwatch_up{*} == 0) or vector(0)",
            "streams",
        ),
    ),
    levels=GOOD_BAD,
)
CALLS_FAILED = Signal(
    title="Failed calls",
    description="Calls to nodes that failed within two minutes. 0 is normal; each restart of a node costs some. "
    "Methods that a node does not have are not counted.",
    unit=Unit.NUMBER,
    queries=(Query('sum(chainwatch:rpc_failures:increase2m{reason!="method_not_found",*}) or vector(0)', "calls"),),
    levels=((None, "green"), (1, "orange")),
    decimals=0,
)
SETTINGS_REFUSED = Signal(
    title="Settings refused",
    description="Exporters that refused the settings they were last given and run on those before. 0 is normal.",
    unit=Unit.NUMBER,
    queries=(Query("count(chainwatch_config_last_reload_successful{*} == 0) or vector(0)", "exporters"),),
    levels=GOOD_BAD,
)
RESTARTS = Signal(
    title="Restarts within an hour",
    description="Of the exporter that restarted most often. 0 is normal, 1 or 2 an upgrade.",
    unit=Unit.NUMBER,
    queries=(Query("max(changes(process_start_time_seconds{*}[1h]))", "restarts"),),
    levels=((None, "green"), (1, "orange"), (alert_at("restarts_per_hour"), "red")),
)

TARGET_STATES = Signal(
    title="Targets",
    description="Whether Prometheus can scrape them. A gap is a time when Prometheus itself did not run, or did not "
    "know the target.",
    unit=Unit.NUMBER,
    queries=(Query(f"up{TARGETS}", "{{job}} {{instance}}"),),
    mappings={1: ("up", "green"), 0: ("down", "red")},
)
SCRAPE_DURATION = Signal(
    title="Time a scrape takes",
    description="Normal is below a second. At the job's scrape_timeout (4 s as shipped) Prometheus gives up; the "
    "exporter drops slow collectors before that.",
    unit=Unit.SECONDS,
    queries=(Query(f"scrape_duration_seconds{TARGETS} {OF_EXPORTERS}"),),
    minimum=0,
)
SAMPLES = Signal(
    title="Samples per scrape",
    description="Steady: 200 to 800 from Bitcoin's exporter; CometBFT's grow with the validator set. At the job's "
    "sample_limit the whole scrape is refused.",
    unit=Unit.NUMBER,
    queries=(Query(f"scrape_samples_scraped{TARGETS} {OF_EXPORTERS}"),),
    minimum=0,
)

COLLECTORS_FAILING_OVER_TIME = Signal(
    title="Failing collectors",
    description="0 is normal. While a node is down, all that ask it fail.",
    unit=Unit.NUMBER,
    queries=(Query("sum by (instance) (1 - chainwatch_collector_success{*})"),),
    minimum=0,
    decimals=0,
)
COLLECTOR_TIME = Signal(
    title="Time of the slowest collectors",
    description="The three slowest, each at its slowest exporter. Collectors run side by side: the slowest decides "
    "how long a scrape takes.",
    unit=Unit.SECONDS,
    queries=(Query("topk(3, max by (job, collector) (chainwatch_collector_duration_seconds{*}))", "{{collector}}"),),
    minimum=0,
)

CALLS = Signal(
    title="Calls to the node",
    description="What exporters ask of their nodes. Steady, at a few per second and node; a jump is a change of "
    "settings or a second scraper.",
    unit=Unit.CALLS_PER_SECOND,
    queries=(Query("sum by (instance) (rate(chainwatch_rpc_requests_total{*}[$__rate_interval]))"),),
    minimum=0,
)
CALLS_BY_METHOD = Signal(
    title="Calls by method",
    description="The six methods that are asked most.",
    unit=Unit.CALLS_PER_SECOND,
    queries=(
        Query("topk(6, sum by (method) (rate(chainwatch_rpc_requests_total{*}[$__rate_interval])))", "{{method}}"),
    ),
    minimum=0,
)
FAILURES_BY_REASON = Signal(
    title="Failed calls by reason",
    description="Within two minutes. None is normal. connection: nobody listens; warming_up: the node starts; timeout, "
    "work_queue: it is busy; forbidden, unauthorized: its settings refuse the exporter; method_not_found: what its "
    "version lacks, once per start.",
    unit=Unit.NUMBER,
    queries=(
        Query(
            "sum by (reason) (chainwatch:rpc_failures:increase2m{*})"
            ' or on () label_replace(vector(0), "reason", "none", "", "")',
            "{{reason}}",
        ),
    ),
    minimum=0,
    decimals=0,
)
FAILURES_BY_METHOD = Signal(
    title="Failed calls by method",
    description="Calls that failed per second; the methods that never failed are left out, save for the line of all.",
    unit=Unit.CALLS_PER_SECOND,
    queries=(
        Query(
            "sum by (method) (rate(chainwatch_rpc_failures_total{*}[$__rate_interval])) > 0"
            ' or on () label_replace(vector(0), "method", "none", "", "")',
            "{{method}}",
        ),
    ),
    minimum=0,
)


def _latency(share: float, by: str) -> str:
    buckets = f"sum by (le, {by}) (rate(chainwatch_rpc_duration_seconds_bucket{{*}}[$__rate_interval]))"
    return f"histogram_quantile({share}, {buckets}) >= 0"


LATENCY = Signal(
    title="Time of an answer",
    description="95 of 100 requests are answered within it. Milliseconds are normal; seconds are a busy node or disk.",
    unit=Unit.SECONDS,
    queries=(Query(_latency(0.95, "instance")),),
    minimum=0,
)
LATENCY_BY_METHOD = Signal(
    title="Time of an answer by method",
    description="95 of 100 requests are answered within it. Several calls in one request are the method batch.",
    unit=Unit.SECONDS,
    queries=(Query(f"topk(6, {_latency(0.95, 'method')})", "{{method}}"),),
    minimum=0,
)
LATENCY_SPREAD = Signal(
    title="Answers by their time",
    description="How many requests were answered within which time, of all exporters together. Normal is a dark band "
    "far below.",
    unit=Unit.SECONDS,
    queries=(Query("sum by (le) (increase(chainwatch_rpc_duration_seconds_bucket{*}[$__rate_interval]))", "{{le}}"),),
)

STREAM_STATES = Signal(
    title="Streams",
    description="Whether each stream of events is open and sound. poll is no stream: it looks at the tip.",
    unit=Unit.NUMBER,
    queries=(Query("chainwatch_stream_connected{*}", "{{instance}} {{stream}}"),),
    mappings={1: ("open", "green"), 0: ("closed", "red")},
)
STREAM_BEHIND = Signal(
    title="Streams behind the tip",
    description="How long before the present tip was seen a stream said something last; 0 when it spoke since, which "
    "is normal. From the line on the alert takes it for deaf.",
    unit=Unit.SECONDS,
    queries=(
        Query(
            "clamp_min(chainwatch_tip_first_seen_timestamp_seconds{*} - on (job, instance) group_right ()"
            " chainwatch_stream_last_event_timestamp_seconds{*}, 0)",
            "{{instance}} {{stream}}",
        ),
    ),
    threshold="stream_silent_seconds",
    minimum=0,
)
STREAM_SILENCE = Signal(
    title="Time since a stream's last event",
    description="At most about the time between blocks; poll looks at least every minute, whatever there is to see.",
    unit=Unit.SECONDS,
    queries=(Query("time() - chainwatch_stream_last_event_timestamp_seconds{*}", "{{instance}} {{stream}}"),),
    threshold="poll_silent_seconds",
    minimum=0,
)
STREAM_GAPS = Signal(
    title="Gaps in streams",
    description="Times that a stream lost events and what was missing was read afterwards. 0 is normal.",
    unit=Unit.NUMBER,
    queries=(Query("increase(chainwatch_stream_gaps_total{*}[$__rate_interval])", "{{instance}} {{stream}}"),),
    minimum=0,
    decimals=0,
)
FRAMES = Signal(
    title="Frames of the websocket",
    description="CometBFT: what came from nodes. It follows votes and blocks: steady while the chain runs.",
    unit=Unit.FRAMES_PER_SECOND,
    queries=(Query("rate(cometbft_stream_frames_total{*}[$__rate_interval])", "{{instance}} {{stream}}"),),
    minimum=0,
)
FRAMES_LOST = Signal(
    title="Frames lost",
    description="CometBFT: dropped because they came faster than they were worked on, or unreadable. 0 is normal; the "
    "heights concerned are read afterwards.",
    unit=Unit.NUMBER,
    queries=(
        Query(
            "increase(cometbft_stream_dropped_frames_total{*}[$__rate_interval])",
            "{{instance}} {{stream}} dropped",
        ),
        Query(
            "increase(cometbft_stream_unreadable_frames_total{*}[$__rate_interval])",
            "{{instance}} {{stream}} unreadable",
        ),
    ),
    minimum=0,
    decimals=0,
)
CANCELLATIONS = Signal(
    title="Subscriptions ended by the node",
    description="CometBFT: by the reason that it gave. 0 is normal; too slow a reader is the usual one.",
    unit=Unit.NUMBER,
    queries=(
        Query("sum by (reason) (increase(cometbft_stream_cancellations_total{*}[$__rate_interval]))", "{{reason}}"),
    ),
    minimum=0,
    decimals=0,
)

LOG_LINES = Signal(
    title="Lines read from the log",
    description="Where the exporter follows the node's log. A line at 0 while the node works: the log moved, or is not "
    "written.",
    unit=Unit.LINES_PER_SECOND,
    queries=(Query("rate(bitcoin_log_lines_total{*}[$__rate_interval])"),),
    minimum=0,
)
LOG_BYTES = Signal(
    title="Bytes read from the log",
    description="Where the exporter follows the node's log. Some kB/s with debug categories on.",
    unit=Unit.BYTES_PER_SECOND,
    queries=(Query("rate(bitcoin_log_bytes_total{*}[$__rate_interval])"),),
    minimum=0,
)

CPU = Signal(
    title="CPU of the exporter",
    description="Of one core. A few percent is normal; much more with a node's debug log on.",
    unit=Unit.RATIO,
    queries=(Query("rate(process_cpu_seconds_total{*}[$__rate_interval])"),),
    minimum=0,
)
MEMORY = Signal(
    title="Memory of the exporter",
    description="Resident. 40 to 150 MiB is normal; steady growth is a fault of ours.",
    unit=Unit.BYTES,
    queries=(Query("process_resident_memory_bytes{*}"),),
    minimum=0,
)
FILES = Signal(
    title="Open files of the exporter",
    description="Share of the limit. Below 10 % is normal; at 100 % no connection can be made.",
    unit=Unit.RATIO,
    queries=(Query("process_open_fds{*} / process_max_fds{*}"),),
    minimum=0,
)
SETTINGS_AGE = Signal(
    title="Age of the settings",
    description="Time since settings were last read without error, at the start or by a reload.",
    unit=Unit.SECONDS,
    queries=(Query("time() - chainwatch_config_last_reload_success_timestamp_seconds{*}"),),
    minimum=0,
)

# Prometheus and Alertmanager themselves: whatever is chosen above.
RULES_FAILING = Signal(
    title="Rule evaluations that failed",
    description="Of each Prometheus. 0 is normal; else alerts are dead.",
    unit=Unit.NUMBER,
    queries=(Query("sum by (instance) (increase(prometheus_rule_evaluation_failures_total[$__rate_interval]))"),),
    minimum=0,
    decimals=0,
)
NOTICES_FAILED = Signal(
    title="Notices that did not get through",
    description="From Prometheus to Alertmanager, and from there to people. 0 is normal.",
    unit=Unit.NUMBER,
    queries=(
        Query(
            "sum by (instance) (increase(prometheus_notifications_errors_total[$__rate_interval]))",
            "{{instance}} to Alertmanager",
        ),
        Query(
            "sum by (instance) (increase(alertmanager_notifications_failed_total[$__rate_interval]))",
            "{{instance}} to people",
        ),
    ),
    minimum=0,
    decimals=0,
)
TARGETS_KNOWN = Signal(
    title="Targets known",
    description="By job, from the files in targets/. A job that falls to 0 takes its alerts with it.",
    unit=Unit.NUMBER,
    queries=(Query('sum by (config) (prometheus_sd_discovered_targets{name="scrape"})', "{{config}}"),),
    minimum=0,
    decimals=0,
)
