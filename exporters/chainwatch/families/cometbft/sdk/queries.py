"""Questions to the application of a Cosmos SDK chain, asked through the node's abci_query.

Paths and field numbers: the SDK's proto/cosmos/{staking,slashing,upgrade}/v1beta1, the same from 0.40 to 0.53. An
application without such a module, or that is no SDK application, raises `Unsupported`; an answer that is not as the
schemas have it, `BadReply`.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, TypeVar

from msgspec import Struct

from chainwatch.errors import BadReply, Unsupported
from chainwatch.families.cometbft.sdk import bech32
from chainwatch.families.cometbft.sdk.wire import Fields, Malformed, encode

T = TypeVar("T")

VALIDATORS = "/cosmos.staking.v1beta1.Query/Validators"
SLASHING_PARAMS = "/cosmos.slashing.v1beta1.Query/Params"
SIGNING_INFOS = "/cosmos.slashing.v1beta1.Query/SigningInfos"
CURRENT_PLAN = "/cosmos.upgrade.v1beta1.Query/CurrentPlan"

# Large chains have had a few thousand validators in all; a node that never ends its list is not followed.
PAGE = 500
MAX_PAGES = 40
# Of base64. A page of validators, each with a description as long as the SDK allows, has 2.5 million.
MAX_CHARS = 4 << 20
MAX_KEY = 1024  # bytes that name the next page; the SDK's are of some twenty
# The SDK writes decimals as integers with 18 digits after the point.
DECIMAL = 10**18
MAX_DIGITS = 19  # of a share, which is 1 at most
MAX_NAME = 70  # the SDK's own limit of a moniker


class AbciResponse(Struct, frozen=True):
    """The application's answer."""

    code: int = 0
    codespace: str = ""
    value: str | None = None


class AbciQuery(Struct, frozen=True):
    """Result of abci_query."""

    response: AbciResponse


class Ask(Protocol):
    """The way to ask a node of the chain."""

    async def ask(self, method: str, into: type[T], **params: str | int | bool) -> T:
        """Ask one method."""


@dataclass(frozen=True, slots=True)
class SlashingParams:
    """When a validator is jailed for downtime: below `min_signed` (0 to 1) of `window` blocks."""

    window: int
    min_signed: Fraction

    @property
    def max_missed(self) -> int:
        """Blocks of the window that may be missed; one more jails. Rounded as the SDK does, half to even."""
        return self.window - round(self.window * self.min_signed)


@dataclass(frozen=True, slots=True)
class SigningInfo:
    """What the slashing module counts of one validator."""

    missed: int  # within the window
    jailed_until: float  # Unix seconds; long past for those never jailed
    tombstoned: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """The upgrade that the chain has decided on."""

    name: str
    height: int


@dataclass(frozen=True, slots=True)
class StakingValidator:
    """A validator of the staking module; `key` is its consensus key as opaque base64, as /validators has it."""

    moniker: str
    key: str


async def slashing_params(nodes: Ask) -> SlashingParams:
    """Ask the slashing module's parameters."""
    return await _ask(nodes, SLASHING_PARAMS, _slashing_params)


def _slashing_params(answer: Fields) -> SlashingParams:
    params = answer.message(1)
    window, digits = params.number(1), params.content(2)
    if not window or not digits.isdigit():
        raise Unsupported("the application's slashing module has no window")
    if window < 0 or len(digits) > MAX_DIGITS or int(digits) > DECIMAL:
        raise Malformed("no window, or no share of it")
    return SlashingParams(window, Fraction(int(digits), DECIMAL))


async def signing_infos(nodes: Ask) -> Mapping[str, SigningInfo]:
    """Ask what is counted of every validator that ever was, by address."""
    infos: dict[str, SigningInfo] = {}
    async for page in _pages(nodes, SIGNING_INFOS, 1, _signing_infos):
        infos |= page
    return infos


def _signing_infos(page: Fields) -> dict[str, SigningInfo]:
    infos = {}
    for info in page.messages(1):
        if address := bech32.address(info.text(1)):
            missed, until = info.number(6), info.message(4).number(1)
            if missed < 0:
                raise Malformed("fewer than no block missed")
            infos[address] = SigningInfo(missed, until, bool(info.number(5)))
    return infos


async def current_plan(nodes: Ask) -> Plan | None:
    """Ask for the upgrade that is decided on; None while there is none."""
    return await _ask(nodes, CURRENT_PLAN, _plan, empty=True)


def _plan(answer: Fields) -> Plan | None:
    plan = answer.message(1)
    return Plan(plan.text(1)[:MAX_NAME], plan.number(3)) if 1 in answer else None


async def staking_validators(nodes: Ask) -> list[StakingValidator]:
    """Ask for the validators with their names: hostile text, chosen by each of them."""
    return [validator async for page in _pages(nodes, VALIDATORS, 2, _validators) for validator in page]


def _validators(page: Fields) -> list[StakingValidator]:
    found = []
    for validator in page.messages(1):
        key = validator.message(2).message(2).content(1)  # Any{type_url, value: {key}}
        moniker = validator.message(7).text(1)[:MAX_NAME]
        found.append(StakingValidator(moniker, base64.b64encode(key).decode()))
    return found


async def _pages(nodes: Ask, path: str, pagination: int, read: Callable[[Fields], T]) -> AsyncIterator[T]:
    """Yield what is read of each page of a list; `pagination` is the request's field of that name, the answer's is 2.

    Raises `BadReply`, and `Unsupported`, at the page concerned.
    """

    def page(answer: Fields) -> tuple[T, bytes]:
        following = answer.message(2).content(1)
        if len(following) > MAX_KEY:
            raise Malformed("no key of a page")
        return read(answer), following

    key = b""
    for _ in range(MAX_PAGES):
        request = encode({1: key, 3: PAGE} if key else {3: PAGE})
        entries, key = await _ask(nodes, path, page, encode({pagination: request}), empty=True)
        yield entries
        if not key:
            return


async def _ask(nodes: Ask, path: str, read: Callable[[Fields], T], request: bytes = b"", *, empty: bool = False) -> T:
    """Ask one query and read its answer; `empty` when an answer without a field is one."""
    answer = await nodes.ask("abci_query", AbciQuery, path=path, data=request.hex(), prove=False)
    response = answer.response
    if response.code:
        raise Unsupported(f"{path}: the application does not answer this (code {response.code})")
    value = response.value or ""
    if len(value) > MAX_CHARS:
        raise BadReply(f"{path} by abci_query: the answer has more than {MAX_CHARS} characters; is the node sound?")
    try:
        fields = Fields(base64.b64decode(value, validate=True))
        # An application that is none of the SDK answers any path, with nothing or with what is no message.
        if not value and not empty:
            raise Unsupported(f"{path}: the application has nothing there")
        return read(fields)
    except ValueError:  # no base64, or `Malformed`, in whatever depth
        raise BadReply(f"{path} by abci_query: the answer is no message of the Cosmos SDK") from None
