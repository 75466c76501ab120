"""What the exporter tells of itself: its process, its build, its configuration."""

import platform
import time
from collections.abc import Callable, Iterable

from prometheus_client import Metric, ProcessCollector
from prometheus_client.registry import CollectorRegistry

from chainwatch import __version__
from chainwatch.exposition.metrics import gauge

BUILD_INFO = gauge("chainwatch_build_info", "The running version of chainwatch.", labels=("version", "python"))
RELOAD_SUCCESSFUL = gauge(
    "chainwatch_config_last_reload_successful", "1 when the settings in force are those that were last given."
)
RELOAD_TIME = gauge(
    "chainwatch_config_last_reload_success_timestamp_seconds", "When settings were last read without error."
)


class ProcessMetrics:
    """CPU, memory, file descriptors of this process, and the version that runs."""

    def __init__(self) -> None:
        self._process = ProcessCollector(registry=CollectorRegistry())

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        yield from self._process.collect()
        yield from BUILD_INFO.samples({(__version__, platform.python_version()): 1})


class ReloadMetrics:
    """Whether the last settings that somebody gave are in force; `also` answers for those read elsewhere."""

    def __init__(self, also: Callable[[], bool] = lambda: True) -> None:
        self._also = also
        self.succeeded()

    def succeeded(self) -> None:
        """Note that settings were read and taken over."""
        self._successful, self._time = True, time.time()

    def failed(self) -> None:
        """Note that settings were refused; the old ones stay."""
        self._successful = False

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        return [*RELOAD_SUCCESSFUL.sample(self._successful and self._also()), *RELOAD_TIME.sample(self._time)]
