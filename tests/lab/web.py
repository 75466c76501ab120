"""Plain HTTP to programs on loopback, never through a proxy."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

NOT_ANSWERING = (OSError,)
"""What `get` raises when nobody listens, the answer takes too long, or its status is not 2xx."""


def get(url: str, *, timeout: float = 10, headers: Mapping[str, str] | None = None) -> bytes:
    """The body of a GET. Raises one of NOT_ANSWERING."""
    return _send(urllib.request.Request(url, headers=dict(headers or {})), timeout)


def get_json(url: str, *, timeout: float = 10) -> Any:
    """The decoded body of a GET."""
    return json.loads(get(url, timeout=timeout))


def post(url: str, body: object = None, *, timeout: float = 10) -> bytes:
    """POST `body` as JSON (nothing when None) and return the answer's body."""
    data = b"" if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    return _send(urllib.request.Request(url, data=data, headers=headers, method="POST"), timeout)


def _send(request: urllib.request.Request, timeout: float) -> bytes:
    try:
        with _opener.open(request, timeout=timeout) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            text = error.read(500).decode(errors="replace").strip()
        raise OSError(f"{request.get_method()} {request.full_url}: HTTP {error.code} {error.reason}: {text}") from None
