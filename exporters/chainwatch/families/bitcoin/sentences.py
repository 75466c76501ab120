"""What goes wrong between chainwatch and a node's RPC server, as typed errors with one sentence each.

The exporter's client and the one-off client say the same thing in the same words. `asked` is what was asked, and
whom: "getpeerinfo at 127.0.0.1:8332".
"""

from __future__ import annotations

import os

from chainwatch import errors
from chainwatch.families.bitcoin.login import describe
from chainwatch.families.bitcoin.settings import Rpc

# The node's own error codes, from its rpc/protocol.h.
WARMING_UP = -28
METHOD_NOT_FOUND = -32601
# In plain text, from its httpserver.cpp.
QUEUE_FULL = b"Work queue depth exceeded"

# getpeerinfo of 125 peers has 0.2 MB, a template 5 MB; a verbose mempool, which is never asked for, 80 MB.
MAX_REPLY_BYTES = 32 << 20


class RpcError(errors.NodeError):
    """The node answered that it cannot; `code` is its JSON-RPC error code."""

    answered = True

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


def no_connection(asked: str, cause: str) -> errors.NodeUnreachable:
    """Nobody could be connected to."""
    return errors.NodeUnreachable(f"{asked}: {cause}; is the node running, and is this its RPC port?")


def broken_connection(asked: str, kind: str) -> errors.NodeUnreachable:
    """The connection ended before the answer did."""
    return errors.NodeUnreachable(f"{asked}: the connection broke ({kind}); did the node stop?")


def no_answer(asked: str, seconds: float) -> errors.NodeTimeout:
    """Time ran out."""
    return errors.NodeTimeout(
        f"{asked}: no answer within {seconds:g} s; the node hangs, is overloaded, or rpc.timeout is too short"
    )


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


def too_large(asked: str) -> errors.ReplyTooLarge:
    """The answer is larger than any that a node gives."""
    return errors.ReplyTooLarge(
        f"{asked}: the answer is larger than {MAX_REPLY_BYTES} bytes; is this a Bitcoin node's RPC server?"
    )


def no_reply(asked: str, status: int, size: int) -> errors.BadReply:
    """Something answered that does not speak JSON-RPC."""
    return errors.BadReply(
        f"{asked}: HTTP {status} with {size} bytes that are no JSON-RPC reply; is this the node's RPC port?"
    )


def misshapen(asked: str, error: Exception) -> errors.BadReply:
    """The answer lacks what it is documented to hold."""
    return errors.BadReply(f"{asked}: the answer is not as documented: {error}")


def cause(error: OSError) -> str:
    """Why there is no connection, in the system's words; asyncio puts others in their place."""
    return os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror or str(error)


def bad_certificate() -> str:
    """Why there is no connection."""
    return "the TLS certificate is not accepted; see rpc.ca_file"


def rpc_error(asked: str, code: int, message: str) -> errors.NodeError:
    """The typed error for what the node answered in place of a result."""
    # The message is the node's own, but may carry what a peer sent.
    message = message[:200].encode("unicode_escape").decode()
    if code == METHOD_NOT_FOUND:
        return errors.MethodNotFound(f"{asked}: this node does not have it")
    if code == WARMING_UP:
        return errors.WarmingUp(f"{asked}: the node is starting ({message})")
    return RpcError(f"{asked}: {message} (code {code})", code)
