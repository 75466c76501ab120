"""The collector contract: one small class, one async method; its switch exists because it is registered."""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Generic, TypeVar

from prometheus_client import Metric

NodeT = TypeVar("NodeT")
ClassT = TypeVar("ClassT")


class Collector(ABC, Generic[NodeT]):
    """Reads one subject from the node at every scrape.

    `collect` asks the node and returns fresh metric families. It raises `Unsupported` where this node cannot know
    the subject and any other error where something is wrong; it neither logs nor times itself: the runner does.
    """

    def __init__(self, node: NodeT) -> None:
        self.node = node

    @abstractmethod
    async def collect(self) -> Iterable[Metric]:
        """Return the metric families of this subject, built from the node's answers."""


@dataclass(frozen=True, slots=True)
class Registration(Generic[NodeT]):
    """A collector as the command line and the documentation know it."""

    name: str
    summary: str
    default: bool
    build: Callable[[NodeT], Collector[NodeT]]

    @property
    def flag(self) -> str:
        """The name as it stands in `--collector.NAME`."""
        return self.name.replace("_", "-")


class Registry(Generic[NodeT]):
    """The collectors of one family, found by importing every module of its `collectors` folder."""

    def __init__(self, package: str) -> None:
        self._package = package
        self._registered: dict[str, Registration[NodeT]] = {}

    def register(self, name: str, *, default: bool = True) -> Callable[[ClassT], ClassT]:
        """Register a collector class; `default=False` keeps an expensive one off until it is asked for."""

        def add(cls: ClassT) -> ClassT:
            if name in self._registered:
                raise ValueError(f"collector {name} is registered twice in {self._package}")
            summary = (cls.__doc__ or "").strip().partition("\n")[0]
            self._registered[name] = Registration(name, summary, default, cls)  # type: ignore[arg-type]
            return cls

        return add

    def load(self) -> None:
        """Import the modules of the folder; each registers its collector."""
        for module in pkgutil.iter_modules(import_module(self._package).__path__):
            import_module(f"{self._package}.{module.name}")

    def __iter__(self) -> Iterator[Registration[NodeT]]:
        return iter(sorted(self._registered.values(), key=lambda registration: registration.name))
