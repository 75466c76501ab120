"""The chain's application, asked seldom: its lists are long, and change in hours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from chainwatch.families.cometbft.sdk import queries
from chainwatch.families.cometbft.sdk.queries import Ask, Plan, SigningInfo, SlashingParams, StakingValidator

T = TypeVar("T")

# Somebody who is about to be jailed has minutes; parameters and upgrades change by votes of days.
SIGNING_INFOS_SECONDS = 30.0
PARAMETERS_SECONDS = 300.0


class Application:
    """Answers of a Cosmos SDK application, each kept for a while and asked once for all who want it meanwhile.

    Raises `Unsupported` where the application has no such module, and other `NodeError`s where it does not answer: an
    answer that is too old is never given in place of a new one.
    """

    def __init__(self, nodes: Ask) -> None:
        self._params = _Kept(PARAMETERS_SECONDS, lambda: queries.slashing_params(nodes))
        self._infos = _Kept(SIGNING_INFOS_SECONDS, lambda: queries.signing_infos(nodes))
        self._plan = _Kept(PARAMETERS_SECONDS, lambda: queries.current_plan(nodes))
        self._validators = _Kept(PARAMETERS_SECONDS, lambda: queries.staking_validators(nodes))

    async def slashing_params(self) -> SlashingParams:
        """When the chain jails for downtime."""
        return await self._params.get()

    async def signing_infos(self) -> Mapping[str, SigningInfo]:
        """What counts towards that, by address."""
        return await self._infos.get()

    async def plan(self) -> Plan | None:
        """The upgrade ahead; None while there is none."""
        return await self._plan.get()

    async def validators(self) -> list[StakingValidator]:
        """The validators' own names."""
        return await self._validators.get()


@dataclass(slots=True)
class _Kept(Generic[T]):
    """One answer and its age."""

    seconds: float
    ask: Callable[[], Awaitable[T]]
    _task: asyncio.Task[T] | None = None
    _until: float = 0.0

    async def get(self) -> T:
        """Return the answer, asked anew when it is too old. One who gives up does not spoil it for the others."""
        task = self._task
        if task is None or (task.done() and (time.monotonic() >= self._until or _failed(task))):
            task = self._task = asyncio.ensure_future(self.ask())
            self._until = time.monotonic() + self.seconds
            assert task is not None
            task.add_done_callback(_failed)
        return await asyncio.shield(task)


def _failed(task: asyncio.Task[T]) -> bool:
    """Whether there is no answer in it."""
    return task.cancelled() or task.exception() is not None
