"""What a Bitcoin-family node refuses in ways of its own, as typed errors with one sentence each.

The exporter's client and the one-off client say the same thing in the same words; what every node has in common is in
`chainwatch.rpc.sentences`. `asked` is what was asked, and whom: "getpeerinfo at 127.0.0.1:8332".
"""

from __future__ import annotations

from chainwatch import errors
from chainwatch.families.bitcoin.login import describe
from chainwatch.families.bitcoin.settings import Rpc
from chainwatch.rpc.sentences import method_not_found, printable
from chainwatch.rpc.sentences import rpc_error as own_error

# The node's own error codes, from its rpc/protocol.h.
WARMING_UP = -28
METHOD_NOT_FOUND = -32601
# In plain text, from its httpserver.cpp.
QUEUE_FULL = b"Work queue depth exceeded"

# getpeerinfo of 125 peers has 0.2 MB, a template 5 MB; a verbose mempool, which is never asked for, 80 MB.
MAX_REPLY_BYTES = 32 << 20


def refusal(asked: str, status: int, body: bytes, settings: Rpc) -> errors.NodeError | None:
    """What an HTTP status says, with a body that is no JSON; None where the body has to tell."""
    asked = f"{asked}: {status}."
    # 500 in versions of old, 503 later; a node that shuts down says 503 with other words.
    if status in (500, 503) and body.startswith(QUEUE_FULL):
        return errors.WorkQueueFull(f"{asked} The node's RPC queue is full; see rpcworkqueue and rpcthreads.")
    match status:
        case 401:
            return errors.Unauthorized(f"{asked} The node refuses {describe(settings)}.")
        case 403:
            return errors.Forbidden(
                f"{asked} The node refuses this address (see rpcallowip) or this method for this user "
                "(see rpcwhitelist)."
            )
        case 503:
            return errors.NodeUnreachable(f"{asked} The node takes no calls now; does it shut down?")
    return None


def rpc_error(asked: str, code: int, message: str) -> errors.NodeError:
    """The typed error for what the node answered in place of a result."""
    if code == METHOD_NOT_FOUND:
        return method_not_found(asked)
    if code == WARMING_UP:
        return errors.WarmingUp(f"{asked}: the node is starting ({printable(message)})")
    return own_error(asked, code, message)
