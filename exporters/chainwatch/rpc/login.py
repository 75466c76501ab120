"""Basic authentication at an RPC server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import aiohttp

from chainwatch import errors
from chainwatch.config import read_secret
from chainwatch.rpc.settings import RpcSection


def header(settings: RpcSection) -> Mapping[str, str]:
    """Return the HTTP header that logs in, reading the password file afresh; none where no user is given.

    Raises `Unauthorized` where the file cannot be used.
    """
    if settings.user is None:
        return {}
    try:
        password = settings.password or read_secret(settings.password_file or Path(), "rpc.password_file")
    except errors.ConfigError as error:
        raise errors.Unauthorized(str(error)) from None
    return basic(settings.user, password)


def basic(user: str, password: str) -> Mapping[str, str]:
    """Return the header of basic authentication."""
    return {"Authorization": aiohttp.encode_basic_auth(user, password, encoding="utf-8")}
