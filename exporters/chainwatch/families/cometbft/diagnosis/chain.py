"""Are the vantage points on the same chain, and are one's own validators in its set?"""

from __future__ import annotations

from chainwatch import errors
from chainwatch.exposition.report import Finding, fail, ok, said, warn
from chainwatch.families.cometbft.client import CometbftRpc, Endpoints
from chainwatch.families.cometbft.schema import Status
from chainwatch.families.cometbft.settings import CometbftSettings, own_validators
from chainwatch.families.cometbft.tracker.validator_sets import read_set


async def examine(settings: CometbftSettings, endpoints: Endpoints, told: Status) -> list[Finding]:
    """Return a finding for each vantage point, and one for each of one's own validators."""
    points = [await _vantage(number, rpc, told) for number, rpc in enumerate(endpoints.all[1:], 1)]
    return [*points, *await _validators(settings, endpoints, told)]


async def _vantage(number: int, rpc: CometbftRpc, own: Status) -> Finding:
    subject = f"vantage{number}"
    try:
        told = await rpc.call("status", Status)
    except errors.NodeError as error:
        return warn(subject, said(error), "While it does not answer, it is no help; see vantage.urls.")
    if told.node_info.network != own.node_info.network:
        return fail(
            subject,
            f"{rpc.address} is on chain {told.node_info.network}, the watched node on {own.node_info.network}.",
            "It is never asked; take it out of vantage.urls.",
        )
    if told.node_info.id and told.node_info.id == own.node_info.id:
        return fail(
            subject,
            f"{rpc.address} is the watched node itself, by another address.",
            "A second view needs a second node; take it out of vantage.urls.",
        )
    return ok(subject, f"{rpc.address}: same chain, height {told.sync_info.latest_block_height}.")


async def _validators(settings: CometbftSettings, endpoints: Endpoints, told: Status) -> list[Finding]:
    height = told.sync_info.latest_block_height
    if height <= 0:
        return []
    try:
        powers = {member.address: member.power for member in await read_set(endpoints, height)}
    except errors.NodeError as error:
        return [warn("validators", said(error), "Without the set no validator can be judged.")]
    whole = sum(powers.values())
    found = [ok("validators", f"{len(powers)} in the set of height {height}, with {whole} power.")]
    own = own_validators(settings)
    for address, name in own.items():
        if address in powers:
            found.append(
                ok("validator", f"{name} ({address}) has {powers[address]} power, {powers[address] / whole:.2%}.")
            )
        else:
            found.append(
                warn(
                    "validator",
                    f"{name} ({address}) is not in the set.",
                    "Is it bonded, and not jailed? The address is that of its consensus key, as in "
                    "validator_info.address of its own node's /status; not of its account.",
                )
            )
    return [*found, *([] if own else [_own_key(told, powers)])]


def _own_key(told: Status, powers: dict[str, int]) -> Finding:
    """What to do where no validator is named as one's own."""
    address = told.validator_info.address
    if address in powers:
        return warn(
            "validator",
            f"None is named as one's own, and this node signs as {address}.",
            "To have its misses counted by cause, and alerts about it:",
            [f"--validators.own {address}=NAME"],
        )
    return ok(
        "validator", "None is named as one's own (validators.own): the chain is watched, and nobody in particular."
    )
