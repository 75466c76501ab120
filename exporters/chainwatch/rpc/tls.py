"""Which certificates of https addresses are accepted."""

from __future__ import annotations

import ssl
from pathlib import Path

from chainwatch.errors import ConfigError


def context(ca_file: Path | None) -> ssl.SSLContext:
    """Accept what this authority signed, or those that the system trusts; raises `ConfigError` for `rpc.ca_file`."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError:  # a file that cannot be read, or is no certificate (SSLError)
        raise ConfigError("rpc.ca_file", f"cannot read {ca_file}", "a PEM file") from None
