"""The files of promtail and of Alloy, whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from loki import alloy, bitcoin, cometbft, promtail
from loki.stages import Job

HERE = Path(__file__).parent
JOBS = (bitcoin.JOB, cometbft.JOB)

_MADE = "Written by `python -m loki` from the patterns of the exporter's log follower: change those, or loki/*.py."

_PROMTAIL = f"""\
# promtail for chainwatch: {{what}}
# {_MADE}
# promtail is at its end of life since 2026-03-02. For a new installation take loki/alloy/: it labels every line alike.

server:
  http_listen_address: 127.0.0.1
  http_listen_port: 9080
  grpc_listen_address: 127.0.0.1
  grpc_listen_port: 0 # any free one; nothing asks it

positions:
  # Kept across restarts, or every line is sent again; /tmp, the packages' default, is not.
  filename: /var/lib/promtail/positions.yaml

clients:
  - url: http://127.0.0.1:3100/loki/api/v1/push

scrape_configs:
"""

_FILES_JOB = """\
  # {title}. Addresses are in the targets file; a change is noticed within seconds.
  - job_name: {name}
    file_sd_configs:
      - files: [/etc/promtail/targets/{name}.yml]
    pipeline_stages:
{stages}"""

_JOURNAL_JOB = """\
  # {title}. A second node is a second job, with its own unit and instance.
  - job_name: {name}
    journal:
      matches: _SYSTEMD_UNIT={unit}
      max_age: 12h # how far to look back at the first start
      # chain and instance as in Prometheus, or boards find no lines for a number.
      labels:
        job: {name}
        chain: {chain}
        instance: {instance}
    pipeline_stages:
{stages}"""

_ALLOY = f"""\
// Alloy for chainwatch: {{what}}
// {_MADE}

loki.write "default" {{{{
	endpoint {{{{
		url = "http://127.0.0.1:3100/loki/api/v1/push"
	}}}}
}}}}
"""

_ALLOY_FILES = """
// {title}. Addresses are in the targets file; a change is noticed within seconds.
discovery.file "{name}" {{
	files = ["/etc/alloy/targets/{name}.yml"]
}}

local.file_match "{name}" {{
	path_targets = discovery.file.{name}.targets
}}

loki.source.file "{name}" {{
	targets    = local.file_match.{name}.targets
	forward_to = [loki.process.{name}.receiver]
}}
"""

_ALLOY_JOURNAL = """
// {title}. A second node is a second source, with its own unit and instance.
loki.source.journal "{name}" {{
	matches = "_SYSTEMD_UNIT={unit}"
	max_age = "12h"

	// chain and instance as in Prometheus, or boards find no lines for a number.
	labels = {{
		job      = "{name}",
		chain    = "{chain}",
		instance = "{instance}",
	}}
	forward_to = [loki.process.{name}.receiver]
}}
"""

_ALLOY_PROCESS = """
loki.process "{name}" {{
{stages}
	forward_to = [loki.write.default.receiver]
}}
"""


def _fields(job: Job) -> Mapping[str, str]:
    return {
        "title": job.title,
        "name": job.name,
        "unit": job.unit,
        "chain": job.chain,
        "instance": job.instance,
    }


def promtail_file(head: str, block: str) -> str:
    """Return a whole configuration of promtail."""
    jobs = (block.format(**_fields(job), stages=promtail.stages(job.pipeline, indent=6)) for job in JOBS)
    return _PROMTAIL.format(what=head) + "\n".join(jobs)


def alloy_file(head: str, source: str) -> str:
    """Return a whole configuration of Alloy."""
    jobs = (
        source.format(**_fields(job)) + _ALLOY_PROCESS.format(name=job.name, stages=alloy.stages(job.pipeline))
        for job in JOBS
    )
    return _ALLOY.format(what=head) + "".join(jobs)


def texts() -> dict[Path, str]:
    """Return the text of each generated file."""
    files, journal = "the nodes' log files.", "nodes that log to systemd's journal."
    return {
        HERE / "promtail/promtail.yml": promtail_file(files, _FILES_JOB),
        HERE / "promtail/promtail-journald.yml": promtail_file(journal, _JOURNAL_JOB),
        HERE / "alloy/config.alloy": alloy_file(files, _ALLOY_FILES),
        HERE / "alloy/journald.alloy": alloy_file(journal, _ALLOY_JOURNAL),
    }
