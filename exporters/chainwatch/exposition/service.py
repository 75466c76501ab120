"""Runs one exporter: starts it, answers scrapes, takes over new settings, stops it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from chainwatch import logs
from chainwatch.config import host_and_port, options
from chainwatch.errors import ChainwatchError, ConfigError
from chainwatch.exposition.collector import Collector
from chainwatch.exposition.family import Exporter, Family
from chainwatch.exposition.http import Subject, application
from chainwatch.exposition.process import ProcessMetrics, ReloadMetrics
from chainwatch.exposition.runner import Runner
from chainwatch.exposition.server import Server
from chainwatch.exposition.systemd import Notifier
from chainwatch.exposition.web_access import WebAccess

log = logging.getLogger(__name__)

SettingsT = TypeVar("SettingsT", bound=Any)

# Background work, then the node's connections, may take so long each to end.
FINISH_SECONDS = 1.0
# systemd's and our own promise: SIGTERM ends within 5 s, whatever a scraper, the node, a resolver or a disk does.
STOP_SECONDS = 4.5
# After an unforeseen error, background work starts again; not at once, lest it fill the log.
RESTART_SECONDS = 5.0


def check(family: Family[Any], settings: Any) -> None:
    """Refuse settings that cannot work, without starting anything; raises `ConfigError`."""
    host_and_port(settings.web.listen_address, "web.listen_address")
    path = settings.web.telemetry_path
    if path == "/" or path.startswith("/-/") or path in family.pages:
        taken = "the landing page" if path == "/" else "a path of chainwatch's own"
        raise ConfigError("web.telemetry_path", f"{path} is {taken}", "another path, such as /metrics")
    if settings.web.config.file is not None:
        WebAccess(settings.web.config.file)
    family.check(settings)


class Service(Generic[SettingsT]):
    """One exporter as a process."""

    def __init__(self, family: Family[SettingsT], load: Callable[[], SettingsT]) -> None:
        self._family = family
        self._load = load
        self._settings = self._settings_at_start = load()
        check(family, self._settings)
        web_config_file = self._settings.web.config.file
        self._access = WebAccess(web_config_file) if web_config_file is not None else None
        self._exporter: Exporter[SettingsT] = family.start(self._settings)
        self._reloads = ReloadMetrics(lambda: self._access is None or self._access.last_reload_successful)
        self._reloading = asyncio.Lock()
        self._runner = Runner({}, [*self._exporter.sources, ProcessMetrics(), self._reloads])
        self._runner.switch(self._collectors(self._settings))
        self._notifier = Notifier()
        self._ready = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; raises `ConfigError` where it cannot listen."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload_soon)
        settings = self._settings.web
        subject = Subject(
            self._runner,
            self._exporter.constant_labels,
            self._exporter.facts,
            lambda: self._ready,
            self.reload,
            self._exporter.routes(),
            self._family.pages,
        )
        app = application(subject, self._family.name, settings.telemetry_path)
        if self._access is not None:
            self._access.install(app)
        try:
            async with Server(app, settings, self._access.ssl_context if self._access else None) as server:
                for name, work in self._exporter.background().items():
                    self._start(self._keep_going(name, work))
                self._start(self._notifier.feed_watchdog(lambda: self._runner.sound))
                self._ready = True
                log.info("chainwatch %s answers at %s%s", self._family.name, server.url, settings.telemetry_path)
                self._notifier.ready(f"watching {self._family.name}")
                # What exists by now stays: looking through it again and again would hold up scrapes.
                gc.collect()
                gc.freeze()
                await stop.wait()
                self._ready = False
                _end_anyway()
                self._notifier.stopping()
                log.info("stopping")
        finally:
            await self._finish()

    async def reload(self) -> str | None:
        """Read the settings again; return what is wrong with them, in which case nothing changes."""
        async with self._reloading:
            self._notifier.reloading()
            try:
                await self._take_over(await asyncio.to_thread(self._load))
            except ChainwatchError as error:
                self._reloads.failed()
                log.error("reload refused, the old settings stay: %s", error)
                return str(error)
            except Exception:
                self._reloads.failed()
                log.exception("reload failed by an error of chainwatch")
                return "an error of chainwatch; see its log"
            finally:
                if self._ready:  # else it still starts, or stops already
                    self._notifier.ready(f"watching {self._family.name}")
        return None

    async def _take_over(self, settings: SettingsT) -> None:
        await asyncio.to_thread(check, self._family, settings)
        collectors = self._collectors(settings)
        if self._access is not None:
            self._access.reload()
        self._exporter.configure(settings)
        self._settings = settings
        self._runner.switch(collectors)
        logs.configure(settings.log.level, settings.log.format)
        self._reloads.succeeded()
        log.info("reloaded")
        if fixed := self._changed_but_fixed(settings):
            log.warning("these settings take effect after a restart: %s", ", ".join(fixed))

    def _reload_soon(self) -> None:
        self._start(self._reload_quietly())

    async def _reload_quietly(self) -> None:
        await self.reload()

    def _collectors(self, settings: SettingsT) -> dict[str, Collector[Any]]:
        """Return the collectors that are switched on; those that run already are kept with what they remember."""
        return {
            registration.name: self._runner.collectors.get(registration.name) or registration.build(self._exporter.node)
            for registration in self._family.collectors
            if settings.collector.get(registration.name, registration.default)
        }

    def _changed_but_fixed(self, new: SettingsT) -> list[str]:
        before = {option.key: option.default for option in options(self._settings_at_start)}
        fixed = self._family.needs_restart
        return [
            option.key
            for option in options(new)
            if option.default != before[option.key] and not fixed.isdisjoint((option.key, option.key.split(".")[0]))
        ]

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_going(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run background work for ever; an error of ours costs this work alone, and for a moment."""
        told = ""
        while True:
            try:
                await work()
            except Exception as error:
                if told != repr(error):
                    told = repr(error)
                    unforeseen = None if isinstance(error, ChainwatchError) else error
                    log.error("%s stopped, and starts again: %s", name, error, exc_info=unforeseen)
            await asyncio.sleep(RESTART_SECONDS)

    async def _finish(self) -> None:
        """End background work and let go of the node."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=FINISH_SECONDS)
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                await self._exporter.close()
        except TimeoutError:
            log.warning("the node's connections did not close in time")


def _end_anyway() -> None:
    """End the process in time even where a thread hangs in a system call, such as a name that nobody resolves."""

    def end() -> None:
        log.warning("something did not end within %g s; it is left behind", STOP_SECONDS)
        os._exit(0)

    timer = threading.Timer(STOP_SECONDS, end)
    timer.daemon = True
    timer.start()
