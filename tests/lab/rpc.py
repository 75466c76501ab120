"""One JSON-RPC call to a node, as a person or a test makes it."""

from __future__ import annotations

import http.client
from typing import Any

from bitcoinrpc.authproxy import AuthServiceProxy, JSONRPCException

RpcError = JSONRPCException
"""What a node answers instead of a result; `.code` and `.message` as in the node's RPC errors (-5, -8, -26, ...)."""

NOT_ANSWERING = (OSError, http.client.HTTPException)
"""What a call raises when nobody listens, the connection breaks or the answer takes too long."""


def call(
    port: int, user: str, password: str, method: str, *params: object, wallet: str = "", timeout: float = 60
) -> Any:
    """Call `method` on 127.0.0.1 through a proxy of its own.

    A proxy of python-bitcoinrpc 1.0 that saw one broken call is of no further use.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    path = f"/wallet/{wallet}" if wallet else ""
    try:
        proxy = AuthServiceProxy(
            f"http://{user}:{password}@127.0.0.1:{port}{path}", method, timeout=timeout, connection=connection
        )
        return proxy(*params)
    finally:
        connection.close()
