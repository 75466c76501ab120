"""What can go wrong, as types; each error's text is one line for the person who has to mend it."""


class ChainwatchError(Exception):
    """Base of every error that chainwatch raises on purpose."""


class ConfigError(ChainwatchError):
    """A setting is wrong: names the key, what is wrong with it and what is expected."""

    def __init__(self, key: str, problem: str, expected: str = "") -> None:
        super().__init__(f"{key}: {problem}" + (f"; expected {expected}" if expected else ""))
        self.key = key


class Unsupported(ChainwatchError):
    """This node cannot know this (its version, build or settings lack it): no failure, no alert."""


class NodeError(ChainwatchError):
    """A call to a node failed.

    `reason` is the closed word that metrics carry; the text says what was asked, whom, what came back
    and what to check.
    """

    reason = "rpc_error"
    # Whether the node understood and answered the question, be it with a no.
    answered = False


class NodeTimeout(NodeError):
    """The node did not answer in time."""

    reason = "timeout"


class NodeUnreachable(NodeError):
    """No connection, or it broke before the answer was complete."""

    reason = "connection"


class Unauthorized(NodeError):
    """The node refused the user name or password (401)."""

    reason = "unauthorized"


class Forbidden(NodeError):
    """The node refuses this address, or this method for this user (403)."""

    reason = "forbidden"


class WarmingUp(NodeError):
    """The node is starting and does not answer questions yet."""

    reason = "warming_up"


class WorkQueueFull(NodeError):
    """More RPC requests than the node, or a proxy before it, accepts (503, 429)."""

    reason = "work_queue"


class MethodNotFound(NodeError, Unsupported):
    """The node does not have this method."""

    reason = "method_not_found"
    answered = True


class RpcError(NodeError):
    """The node answered that it cannot; `code` is its JSON-RPC error code, `data` what it added, if anything."""

    answered = True

    def __init__(self, text: str, code: int, data: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.data = data


class BadReply(NodeError):
    """The answer is cut, not JSON, or not of the documented shape."""

    reason = "bad_reply"


class ReplyTooLarge(NodeError):
    """The answer is larger than the limit."""

    reason = "too_large"
