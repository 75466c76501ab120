"""What validators call themselves, where the chain's application tells: for people's eyes, never for a label."""

from __future__ import annotations

import asyncio
import logging

from msgspec import Struct

from chainwatch.errors import NodeError, Unsupported
from chainwatch.families.cometbft.client import Endpoints
from chainwatch.families.cometbft.names import Member, Names
from chainwatch.families.cometbft.schema import Int64
from chainwatch.families.cometbft.sdk.application import Application
from chainwatch.families.cometbft.tracker.validator_sets import MAX_MEMBERS, PER_PAGE
from chainwatch.rpc.sentences import printable

log = logging.getLogger(__name__)

# Names change seldom, and the set by a few members a day.
AGAIN_SECONDS = 600.0
FAILED_SECONDS = 60.0


class _Page(Struct, frozen=True):
    """/validators with the public keys, by which the application knows them."""

    validators: list[Member]
    total: Int64


async def follow(endpoints: Endpoints, application: Application, names: Names) -> None:
    """Keep the names current until cancelled; a chain without a staking module has none."""
    while True:
        pause = AGAIN_SECONDS
        try:
            validators = await application.validators()
            names.learn(await _members(endpoints), validators)
        except Unsupported as error:
            log.debug("validators have no names of their own here: %s", error)
        except NodeError as error:
            log.debug("cannot read what validators call themselves: %s", error)
            pause = FAILED_SECONDS
        except Exception as error:  # whatever an application may answer: nothing may hang on mere names
            problem = f"{type(error).__name__}: {printable(str(error))}"
            log.warning("cannot make out what validators call themselves; is this a Cosmos SDK chain? (%s)", problem)
        await asyncio.sleep(pause)


async def _members(endpoints: Endpoints) -> list[Member]:
    members: list[Member] = []
    for number in range(1, MAX_MEMBERS // PER_PAGE + 1):
        page = await endpoints.ask("validators", _Page, page=number, per_page=PER_PAGE)
        members += page.validators
        if not page.validators or len(members) >= page.total:
            break
    return members
