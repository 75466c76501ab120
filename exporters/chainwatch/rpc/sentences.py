"""What goes wrong between chainwatch and a node's RPC server, as typed errors with one sentence each.

`asked` is what was asked, and whom: "getpeerinfo at 127.0.0.1:8332".
"""

from __future__ import annotations

import os

from chainwatch import errors


def no_connection(asked: str, cause: str) -> errors.NodeUnreachable:
    """Nobody could be connected to."""
    return errors.NodeUnreachable(f"{asked}: {cause}; is the node running, and is this its RPC port?")


def broken_connection(asked: str, kind: str) -> errors.NodeUnreachable:
    """The connection ended before the answer did."""
    return errors.NodeUnreachable(f"{asked}: the connection broke ({kind}); did the node stop?")


def not_http(asked: str) -> errors.BadReply:
    """Something answered that does not speak HTTP."""
    return errors.BadReply(
        f"{asked}: what answers there does not speak HTTP; is this the node's RPC port, and not the one for peers?"
    )


def no_answer(asked: str, seconds: float) -> errors.NodeTimeout:
    """Time ran out."""
    return errors.NodeTimeout(
        f"{asked}: no answer within {seconds:g} s; the node hangs, is overloaded, or rpc.timeout is too short"
    )


def given_up(asked: str) -> errors.NodeTimeout:
    """Whoever waited has gone."""
    return errors.NodeTimeout(f"{asked}: given up before an answer came")


def too_large(asked: str, limit: int, kind: str) -> errors.ReplyTooLarge:
    """The answer is larger than any that a node of this kind gives."""
    return errors.ReplyTooLarge(
        f"{asked}: the answer is larger than {limit} bytes; is this a {kind} node's RPC server?"
    )


def no_reply(asked: str, status: int, size: int) -> errors.BadReply:
    """Something answered that does not speak JSON-RPC."""
    return errors.BadReply(
        f"{asked}: HTTP {status} with {size} bytes that are no JSON-RPC reply; is this the node's RPC port?"
    )


def misshapen(asked: str, error: Exception) -> errors.BadReply:
    """The answer lacks what it is documented to hold."""
    return errors.BadReply(f"{asked}: the answer is not as documented: {error}")


def method_not_found(asked: str) -> errors.MethodNotFound:
    """The node answers, and lacks the method."""
    return errors.MethodNotFound(f"{asked}: this node does not have it")


def rpc_error(asked: str, code: int, message: str, data: str = "") -> errors.RpcError:
    """The node answered with an error of its own."""
    text = printable(f"{message}: {data}" if data else message)
    return errors.RpcError(f"{asked}: {text} (code {code})", code, data)


def printable(text: str) -> str:
    """The beginning of a text of the node's, which may carry what a peer sent, fit for one line."""
    return text[:200].encode("unicode_escape").decode()


def cause(error: OSError) -> str:
    """Why there is no connection, in the system's words; asyncio puts others in their place."""
    return os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror or str(error)


def bad_certificate() -> str:
    """Why there is no connection."""
    return "the TLS certificate is not accepted; see rpc.ca_file"
