"""Runs one exporter: starts it, answers scrapes, takes over new settings, stops it."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from aiohttp import web
from chainwatch.exposition.web_config import WebConfig

from chainwatch import logs
from chainwatch.config import host_and_port, options
from chainwatch.errors import ChainwatchError, ConfigError
from chainwatch.exposition.collector import Collector
from chainwatch.exposition.connections import Gate
from chainwatch.exposition.family import Exporter, Family
from chainwatch.exposition.http import Subject, application
from chainwatch.exposition.process import ProcessMetrics, ReloadMetrics
from chainwatch.exposition.runner import Runner
from chainwatch.exposition.systemd import Notifier

log = logging.getLogger(__name__)

SettingsT = TypeVar("SettingsT", bound=Any)

# systemd's and our own promise: SIGTERM ends within 5 s, whatever a scraper or the node does.
STOP_SECONDS = 3.0
# After an unforeseen error, background work starts again; not at once, lest it fill the log.
RESTART_SECONDS = 5.0
MAX_HEADER_BYTES = 8190
KEEP_ALIVE_SECONDS = 120.0


class Service(Generic[SettingsT]):
    """One exporter as a process."""

    def __init__(self, family: Family[SettingsT], load: Callable[[], SettingsT]) -> None:
        self._family = family
        self._load = load
        self._settings = load()
        family.check(self._settings)
        self._exporter: Exporter[SettingsT] = family.start(self._settings)
        self._reloads = ReloadMetrics()
        sources = [*self._exporter.sources, ProcessMetrics(), self._reloads]
        self._runner = Runner(self._collectors(), sources)
        self._notifier = Notifier()
        self._ready = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; raises `ConfigError` where the address or the web configuration is wrong."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload_soon)
        web_settings = self._settings.web
        subject = Subject(
            self._runner, self._exporter.constant_labels, self._exporter.facts, lambda: self._ready, self.reload
        )
        app = application(subject, self._family.name, web_settings.telemetry_path)
        web_config = WebConfig.load(web_settings.config_file) if web_settings.config_file else None
        if web_config is not None:
            app.middlewares.append(web_config.middleware)
        try:
            async with Server(app, web_settings, web_config) as server:
                for name, work in self._exporter.background().items():
                    self._start(self._keep_going(name, work))
                self._start(self._notifier.feed_watchdog(lambda: self._runner.sound))
                self._ready = True
                log.info("chainwatch %s answers at %s%s", self._family.name, server.url, web_settings.telemetry_path)
                self._notifier.ready(f"watching {self._family.name}")
                await stop.wait()
                self._ready = False
                self._notifier.stopping()
                log.info("stopping")
        finally:
            await self._finish()

    async def reload(self) -> str | None:
        """Read the settings again; return what is wrong with them, in which case nothing changes."""
        self._notifier.reloading()
        try:
            settings = await asyncio.to_thread(self._load)
            self._family.check(settings)
            collectors = self._collectors(settings)
            self._exporter.configure(settings)
        except ChainwatchError as error:
            self._reloads.failed()
            log.error("reload refused, the old settings stay: %s", error)
            return str(error)
        finally:
            self._notifier.ready(f"watching {self._family.name}")
        fixed = self._changed_but_fixed(settings)
        self._settings, self._runner.collectors = settings, collectors
        logs.configure(settings.log.level, settings.log.format)
        self._reloads.succeeded()
        log.info("reloaded")
        if fixed:
            log.warning("these settings take effect after a restart: %s", ", ".join(fixed))
        return None

    def _reload_soon(self) -> None:
        self._start(self._reload_quietly())

    async def _reload_quietly(self) -> None:
        await self.reload()

    def _collectors(self, settings: SettingsT | None = None) -> dict[str, Collector[Any]]:
        """Return the collectors that are switched on; those that go on running are kept with what they remember."""
        chosen = (settings or self._settings).collector
        current = self._runner.collectors if settings is not None else {}
        return {
            registration.name: current.get(registration.name) or registration.build(self._exporter.node)
            for registration in self._family.collectors
            if chosen.get(registration.name, registration.default)
        }

    def _changed_but_fixed(self, new: SettingsT) -> list[str]:
        before = {option.key: option.default for option in options(self._settings)}
        return [
            option.key
            for option in options(new)
            if option.default != before[option.key]
            and (option.key in self._family.needs_restart or option.key.partition(".")[0] in self._family.needs_restart)
        ]

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_going(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run background work for ever; an error of ours costs this work alone, and for a moment."""
        while True:
            try:
                await work()
            except ChainwatchError as error:
                log.error("%s stopped: %s", name, error)
            except Exception:
                log.exception("%s stopped by an error of chainwatch; it starts again", name)
            await asyncio.sleep(RESTART_SECONDS)

    async def _finish(self) -> None:
        """End within `STOP_SECONDS`."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_SECONDS / 2)
        try:
            async with asyncio.timeout(STOP_SECONDS / 2):
                await self._exporter.close()
        except TimeoutError:
            log.warning("the node's connections did not close in time")


class Server:
    """The listening socket with its limits, as an asynchronous context."""

    def __init__(self, app: web.Application, settings: Any, web_config: WebConfig | None) -> None:
        self._host, self._port = host_and_port(settings.listen_address, "web.listen_address")
        self._limit = settings.max_connections
        self._web_config = web_config
        self._server: asyncio.Server | None = None
        self._gate: Gate | None = None
        app.middlewares.append(self._complete)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=STOP_SECONDS / 2,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
        )

    @property
    def url(self) -> str:
        """Where it answers."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        scheme = "http" if self._web_config is None or self._web_config.ssl_context is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    async def __aenter__(self) -> Server:
        await self._runner.setup()
        assert self._runner.server is not None
        self._gate = Gate(self._runner.server, self._limit)
        try:
            self._server = await asyncio.get_running_loop().create_server(
                self._gate,
                self._host or None,
                self._port,
                ssl=None if self._web_config is None else self._web_config.ssl_context,
                reuse_address=True,
            )
        except OSError as error:
            await self._runner.cleanup()
            where = f"{self._host}:{self._port}"
            raise ConfigError("web.listen_address", f"cannot listen on {where}: {error.strerror or error}") from None
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._runner.cleanup()

    @web.middleware
    async def _complete(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Tell the guard of the connection that the client has asked."""
        assert self._gate is not None
        self._gate.asked(request.transport)
        return await handler(request)
