"""Which of the methods that the enabled collectors ask does the node refuse to this user?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from msgspec import Raw

from chainwatch import errors
from chainwatch.exposition.collector import Registration
from chainwatch.exposition.report import Finding, fail, ok
from chainwatch.families.bitcoin import methods
from chainwatch.families.bitcoin.client import MAX_REQUESTS
from chainwatch.families.bitcoin.diagnosis.node import attempt
from chainwatch.families.bitcoin.node import BitcoinNode
from chainwatch.families.bitcoin.oneoff import Answer, OneOff
from chainwatch.families.bitcoin.settings import BitcoinSettings

# No method takes so many parameters: the node checks the whitelist, then their number, and does no work.
TOO_MANY = (None,) * 40


def examine(
    settings: BitcoinSettings, node: OneOff, enabled: Sequence[Registration[BitcoinNode]], seconds: float
) -> Iterator[Finding]:
    """Knock on every method's door, in `seconds` altogether."""
    needed = methods.methods_of(enabled)
    deadline = time.monotonic() + seconds

    def knock(method: str) -> Answer[Any] | errors.NodeError:
        return attempt(lambda left: node.ask(method, *TOO_MANY, into=Raw, timeout=left), deadline)

    with ThreadPoolExecutor(MAX_REQUESTS) as threads:
        answers = dict(zip(needed, threads.map(knock, needed), strict=True))
    refused = [method for method, answer in answers.items() if isinstance(answer, errors.Forbidden)]
    silent = [answer for answer in answers.values() if _silent(answer)]
    if silent:
        yield fail("whitelist", f"{len(silent)} of {len(needed)} methods got no answer; {silent[0]}.")
    elif not refused:
        yield ok("whitelist", f"The node lets us ask all {len(needed)} methods that the enabled collectors need.")
    if not refused:
        return
    none = (
        " A user without a list may call nothing as soon as another user has one, unless rpcwhitelistdefault=0."
        if len(refused) == len(needed)
        else ""
    )
    yield fail(
        "whitelist",
        f"The node refuses {len(refused)} of {len(needed)} methods to this user (403): {', '.join(refused)}.",
        "Put this line in place of the user's rpcwhitelist (of two lines for one user only what both allow holds), "
        f"and restart the node.{none}",
        [methods.whitelist(settings.rpc.user or "__cookie__", enabled)],
    )


def _silent(answer: Answer[Any] | errors.NodeError) -> bool:
    return isinstance(answer, errors.NodeError) and not (answer.answered or isinstance(answer, errors.Forbidden))
