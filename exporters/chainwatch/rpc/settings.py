"""The settings that every node's RPC address has, and their checks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from msgspec import Meta
from yarl import URL

from chainwatch.config import Secret, Section, read_secret
from chainwatch.errors import ConfigError

ADDRESS = "http://host:port or https://host:port"

_ORIGIN = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?(?://)?[^/?#\\]*")


class RpcSection(Section, frozen=True, kw_only=True):
    """How to reach a node's RPC server; a family says what `url` is and what it is when not given."""

    url: Annotated[str, Meta(description="The node's RPC address.")]
    user: Annotated[str | None, Meta(description="RPC user.")] = None
    password: Annotated[Secret | None, Meta(description="RPC password; by environment or file, never as a flag.")] = (
        None
    )
    password_file: Annotated[Path | None, Meta(description="File whose first line is the RPC password.")] = None
    ca_file: Annotated[Path | None, Meta(description="Certificate authority of an https RPC address.")] = None
    timeout: Annotated[
        float, Meta(description="Seconds after which a call is given up; a scrape may give up earlier.", gt=0, le=600)
    ] = 10.0


def origin(text: str) -> str:
    """Return an address, or what was meant for one, up to its path: providers put keys into path and query."""
    shown = _ORIGIN.match(text)
    return shown.group() if shown else ""


def check_url(key: str, text: str) -> URL:
    """Return the address of an RPC server; raises `ConfigError`, which never shows a password or a key."""
    try:
        url = URL(text)
    except ValueError:
        raise ConfigError(key, "not a URL", ADDRESS) from None
    if url.user or url.password or (not url.host and "@" in text):
        raise ConfigError(key, "contains a user or password", "them in rpc.user and rpc.password_file")
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError(key, f"{origin(text)!r} is no RPC address", ADDRESS)
    return url


def check_login(rpc: RpcSection) -> None:
    """Check that user and password belong together, and that there is one password."""
    if rpc.password and rpc.password_file:
        raise ConfigError("rpc.password_file", "given together with rpc.password", "one of the two")
    if rpc.password_file:
        read_secret(rpc.password_file, "rpc.password_file")
    if (rpc.user is None) != (rpc.password is None and rpc.password_file is None):
        raise ConfigError("rpc.user", "user and password belong together", "both or neither")
    if rpc.user and ":" in rpc.user:
        raise ConfigError("rpc.user", "a colon ends the user's name", "the name alone")
