"""How the exporter logs in to the node's RPC server: by cookie, by user and password, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from chainwatch import errors
from chainwatch.families.bitcoin.settings import Rpc
from chainwatch.rpc import login


def header(settings: Rpc) -> Mapping[str, str]:
    """Return the HTTP header that logs in, reading cookie or password file afresh.

    Raises `NodeUnreachable` where the node has written no cookie, `Unauthorized` where a file cannot be used.
    """
    if settings.cookie_file is not None:
        return login.basic(*_read_cookie(settings.cookie_file))
    return login.header(settings)


def describe(settings: Rpc) -> str:
    """Who it is that the node refuses, and what to check; the end of a sentence."""
    if settings.cookie_file is not None:
        return f"the cookie in {settings.cookie_file}; is it this node's data directory"
    if settings.user is not None:
        return f"the password of user {settings.user}; see rpcauth and rpc.password_file"
    return "a call without a login; give rpc.cookie_file, or rpc.user with rpc.password_file"


def _read_cookie(file: Path) -> tuple[str, str]:
    try:
        user, colon, password = file.read_text().strip().partition(":")
    except FileNotFoundError:
        raise errors.NodeUnreachable(
            f"no cookie file {file}: is the node running, and is this its data directory?"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text"
        raise errors.Unauthorized(
            f"cannot read the cookie file {file}: {why}; may this user read it (see rpccookieperms)?"
        ) from None
    if not colon:
        raise errors.Unauthorized(f"{file} is no cookie file: it lacks user:password")
    return user, password
