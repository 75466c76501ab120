"""What a kind of node hands to the shared parts: its settings, its collectors, and a running exporter's own work."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from aiohttp import web
from msgspec import Struct

from chainwatch.exposition.collector import Registry
from chainwatch.exposition.runner import Source

SettingsT = TypeVar("SettingsT", bound=Struct)


class Exporter(ABC, Generic[SettingsT]):
    """One node under watch, between start and stop."""

    @property
    @abstractmethod
    def node(self) -> Any:
        """What the family's collectors ask."""

    @property
    @abstractmethod
    def sources(self) -> Sequence[Source]:
        """What counts as things happen."""

    @abstractmethod
    def constant_labels(self) -> Mapping[str, str]:
        """Labels that every sample carries."""

    @abstractmethod
    def facts(self) -> Iterable[tuple[str, str]]:
        """What the landing page says of the node, as (name, value)."""

    @abstractmethod
    def background(self) -> Mapping[str, Callable[[], Any]]:
        """Work that goes on between scrapes, by name: functions that return a coroutine that never ends."""

    def routes(self) -> Iterable[web.RouteDef]:
        """Pages of its own, at the paths that the family names in `pages`. A handler whose answer has no end waits for
        the application's `http.STOPPING` too."""
        return ()

    @abstractmethod
    def configure(self, settings: SettingsT) -> None:
        """Take over new settings, as far as that needs no restart."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of connections and files."""


@dataclass(frozen=True, slots=True)
class Action(Generic[SettingsT]):
    """Something for a person that a family does beside watching: `chainwatch FAMILY NAME`."""

    name: str
    summary: str
    # Gets settings that were read but not checked together: it may need only a few. Returns the exit code.
    run: Callable[[SettingsT], int]


@dataclass(frozen=True, slots=True)
class Family(Generic[SettingsT]):
    """A kind of node."""

    name: str
    summary: str
    settings: type[SettingsT]
    check: Callable[[SettingsT], None]
    collectors: Registry[Any]
    start: Callable[[SettingsT], Exporter[SettingsT]]
    # Sections of settings that configure() cannot change in a running exporter.
    needs_restart: frozenset[str]
    # A one-off diagnosis for a person; returns the exit code.
    doctor: Callable[[SettingsT], int]
    actions: Sequence[Action[SettingsT]] = ()
    # Every path of the exporter's `routes`, with its title on the landing page; empty for one that people do not open.
    pages: Mapping[str, str] = field(default_factory=dict)
