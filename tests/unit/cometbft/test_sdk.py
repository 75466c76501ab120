"""The application's answers are read as the Cosmos SDK's schemas have them.

The encoded messages were made by code generated from the published schemas (cosmos/{staking,slashing,upgrade}/v1beta1).
"""

import asyncio
import base64
import contextlib
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.errors import BadReply, NodeUnreachable, Unsupported
from chainwatch.families.cometbft.names import Member, Names
from chainwatch.families.cometbft.sdk import bech32, queries
from chainwatch.families.cometbft.sdk.application import Application
from chainwatch.families.cometbft.sdk.wire import Fields, Malformed, encode

T = TypeVar("T")

NODE0 = "63D55B36139650643B22251A44066B2215A15318"
NODE3 = "1DA39A678B60D13FEF148D4B7CCA44182112716E"
PARAMS = "Cj8IkE4SETUwMDAwMDAwMDAwMDAwMDAwGgMI2AQiETUwMDAwMDAwMDAwMDAwMDAwKg8xMDAwMDAwMDAwMDAwMDA="
INFOS = (
    "Cj4KNGNvc21vc3ZhbGNvbnMxdjAyNGtkc25qZWd4Z3dlenk1ZHlncG50eWcyNno1Y2NxanRhODAQBRhNIgAwKgpBCjJvc21vdmFsY29uczFyazNl"
    "NWV1dHZyZ25sbWM1MzQ5aGVqanlycXMzeXV0d2VuaDZybCIGCMDCjtgGKAEwnUoSBgoEbmV4dA=="
)
PLAN = "Cg0KA3YxNRiIrMUHIgF4"
VALIDATORS = (
    "Cn4KD2Nvc21vc3ZhbG9wZXIxeBJDCh0vY29zbW9zLmNyeXB0by5lZDI1NTE5LlB1YktleRIiCiADRJckZIed8k6das5tnWw0XOC0oRdpvSAvUOpW"
    "mhofSxgBIAEqBzEwMDAwMDA6FwoVTm9kZSDimIMgPGI+dGhyZWU8L2I+QAMKMhIoCgIveBIiCiDt6IoanNGpgecu5G37tPxRCXrQ/6MInxrgPRHy"
    "rTazhjoGCgR6ZXJv"
)
KEY3 = "A0SXJGSHnfJOnWrObZ1sNFzgtKEXab0gL1DqVpoaH0s="
KEY0 = "7eiKGpzRqYHnLuRt+7T8UQl60P+jCJ8a4D0R8q02s4Y="


class Asked:
    """A node whose application gives these values, by path and, for a list, in turn."""

    def __init__(self, **values: Any) -> None:
        self.values = {getattr(queries, name): value for name, value in values.items()}
        self.requests: list[tuple[str, str]] = []

    async def ask(self, method: str, into: type[T], **params: str | int | bool) -> T:
        assert method == "abci_query"
        path, data = str(params["path"]), str(params["data"])
        self.requests.append((path, data))
        value = self.values.get(path)
        if isinstance(value, list):
            value = value.pop(0)
        if isinstance(value, Exception):
            raise value
        response = {"code": 0 if value is not None else 6, "codespace": "sdk", "value": value}
        return msgspec.convert({"response": response}, into)


QUERIES: Mapping[str, Callable[[Asked], Coroutine[Any, Any, Any]]] = {
    "SLASHING_PARAMS": queries.slashing_params,
    "SIGNING_INFOS": queries.signing_infos,
    "CURRENT_PLAN": queries.current_plan,
    "VALIDATORS": queries.staking_validators,
}


async def test_slashing_parameters_tell_how_many_blocks_may_be_missed() -> None:
    params = await queries.slashing_params(Asked(SLASHING_PARAMS=PARAMS))
    assert params.window == 10_000
    assert float(params.min_signed) == 0.05
    assert params.max_missed == 9500


async def test_signing_infos_are_read_page_by_page_with_addresses_of_any_prefix() -> None:
    node = Asked(SIGNING_INFOS=[INFOS, ""])
    infos = await queries.signing_infos(node)
    assert infos[NODE0] == queries.SigningInfo(missed=42, jailed_until=0, tombstoned=False)
    assert infos[NODE3] == queries.SigningInfo(missed=9501, jailed_until=1795400000, tombstoned=True)
    first, second = (bytes.fromhex(data) for _, data in node.requests)
    assert first == bytes.fromhex("0a0318f403")
    assert Fields(second).message(1).content(1) == b"next"
    assert Fields(second).message(1).number(3) == 500


async def test_a_list_without_end_is_not_followed_for_ever() -> None:
    node = Asked(SIGNING_INFOS=[INFOS] * 100)
    await queries.signing_infos(node)
    assert len(node.requests) == queries.MAX_PAGES


async def test_an_upgrade_is_told_with_its_height_and_none_is_none() -> None:
    assert await queries.current_plan(Asked(CURRENT_PLAN=PLAN)) == queries.Plan("v15", 15816200)
    assert await queries.current_plan(Asked(CURRENT_PLAN="")) is None


async def test_names_are_found_by_the_same_key_and_configured_ones_come_first() -> None:
    validators = await queries.staking_validators(Asked(VALIDATORS=[VALIDATORS]))
    names = Names({NODE0: "mine"})
    members = [{"address": NODE0, "pub_key": {"value": KEY0}}, {"address": NODE3, "pub_key": {"value": KEY3}}]
    names.learn(msgspec.convert(members, list[Member]), validators)
    assert names.of(NODE0) == "mine"
    assert names.of(NODE3) == "Node \u2603 <b>three</b>"
    assert names.of("0" * 40) is None


@pytest.mark.parametrize("value", [None, ""])
async def test_an_application_without_the_module_is_not_supported(value: str | None) -> None:
    with pytest.raises(Unsupported):
        await queries.slashing_params(Asked(SLASHING_PARAMS=value))


@pytest.mark.parametrize("value", ["cmVzdHZhbHVl", "!!", "CgA=" + "/" * 8])
async def test_an_answer_that_is_no_message_is_a_bad_reply(value: str) -> None:
    with pytest.raises((BadReply, Unsupported)):
        await queries.slashing_params(Asked(SLASHING_PARAMS=value))


def message(fields: Mapping[int, Any]) -> str:
    """A message, with messages within, as abci_query answers it."""

    def within(fields: Mapping[int, Any]) -> bytes:
        return encode({number: within(value) if isinstance(value, dict) else value for number, value in fields.items()})

    return base64.b64encode(within(fields)).decode()


def params(window: int, share: str) -> str:
    return message({1: {1: window, 2: share}})


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("SLASHING_PARAMS", message({1: 5})),
        ("SLASHING_PARAMS", params(2**64 - 1, "5" + "0" * 17)),
        ("SLASHING_PARAMS", params(100, "1" + "0" * 17 + "1" * 2)),
        ("SLASHING_PARAMS", params(100, "9" * 5000)),  # more digits than int() takes
        ("SIGNING_INFOS", message({1: b"\xff"})),
        ("SIGNING_INFOS", message({1: {1: 7}})),
        ("SIGNING_INFOS", message({1: {1: "cosmosvalcons1v024kdsnjegxgwezy5dygpntyg26z5ccqjta80", 6: 2**64 - 1}})),
        ("SIGNING_INFOS", message({2: {1: b"k" * 2000}})),
        ("CURRENT_PLAN", message({1: {3: b"soon"}})),
        ("VALIDATORS", message({1: {2: b"\xff"}})),
        ("VALIDATORS", message({1: {2: {2: b"\xff"}}})),
        ("VALIDATORS", message({1: {7: 1}})),
        ("VALIDATORS", "\u00e4" * 4),
    ],
)
async def test_what_is_malformed_in_any_depth_is_a_bad_reply(query: str, value: str) -> None:
    with pytest.raises(BadReply):
        await QUERIES[query](Asked(**{query: value}))


@pytest.mark.parametrize("query", QUERIES)
async def test_an_answer_of_megabytes_is_refused_before_it_is_read(query: str) -> None:
    node = Asked(**{query: base64.b64encode(b"\x08\x01" * (2 << 20)).decode()})
    started = time.process_time()
    with pytest.raises(BadReply, match="more than 4194304 characters"):
        await QUERIES[query](node)
    assert time.process_time() - started < 0.5


messages = st.recursive(
    st.integers(0, 2**64 - 1) | st.binary(max_size=12) | st.text(alphabet="0159", max_size=25),
    lambda values: st.dictionaries(st.integers(1, 8), values, max_size=4),
    max_leaves=8,
)


@given(st.binary(max_size=60).map(lambda raw: base64.b64encode(raw).decode()) | st.text(max_size=12) | (
    st.dictionaries(st.integers(1, 8), messages, max_size=4).map(message)
))  # fmt: skip
def test_whatever_the_application_answers_is_read_or_a_nodes_error(value: str) -> None:
    for name, query in QUERIES.items():
        with contextlib.suppress(BadReply, Unsupported):
            asyncio.run(query(Asked(**{name: [value, ""]})))


async def test_the_application_is_asked_once_for_all_who_want_to_know() -> None:
    node = Asked(SLASHING_PARAMS=PARAMS)
    application = Application(node)
    first, second = await asyncio.gather(application.slashing_params(), application.slashing_params())
    assert first == second == await application.slashing_params()
    assert len(node.requests) == 1


async def test_a_failure_is_not_kept() -> None:
    application = Application(Asked(SLASHING_PARAMS=[NodeUnreachable("down"), PARAMS]))
    with pytest.raises(NodeUnreachable):
        await application.slashing_params()
    assert (await application.slashing_params()).window == 10_000


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("cosmosvalcons1v024kdsnjegxgwezy5dygpntyg26z5ccqjta80", NODE0),
        ("osmovalcons1rk3e5eutvrgnlmc5349hejjyrqs3yutwenh6rl", NODE3),
        ("osmovalcons1rk3e5eutvrgnlmc5349hejjyrqs3yutwenh6rq", None),  # checksum
        ("cosmosvalcons1", None),
        ("\u00e41qqqqqqqqqq", None),
        ("", None),
    ],
)
def test_bech32_address_becomes_hex_or_nothing(text: str, address: str | None) -> None:
    assert bech32.address(text) == address


@given(st.dictionaries(st.integers(1, 500), st.integers(0, 2**63 - 1) | st.binary(max_size=40), max_size=8))
def test_what_is_encoded_is_read_back(fields: dict[int, int | bytes]) -> None:
    read = Fields(encode(fields))
    for number, value in fields.items():
        assert (read.number(number) if isinstance(value, int) else read.content(number)) == value


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_malformed(message: bytes) -> None:
    try:
        fields = Fields(message)
        for number in range(1, 8):
            try:
                fields.number(number)
                list(fields.messages(number))
            except Malformed:
                pass
    except Malformed:
        pass


def test_negative_numbers_are_read() -> None:
    assert Fields(base64.b64decode("CP///////////wE=")).number(1) == -1
