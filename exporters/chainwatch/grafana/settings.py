"""The settings of `chainwatch grafana`, and their checks."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Annotated

from msgspec import Meta
from yarl import URL

from chainwatch.config import Secret, Section, read_secret
from chainwatch.errors import ConfigError
from chainwatch.rpc.settings import origin

ADDRESS = "http://host:port or https://host:port, with the path where Grafana is served below one"
EXPECTED = "the token of a service account of Grafana's (Administration, Service accounts) with the role Editor"

# What Grafana gives out: letters, digits and a few marks. Anything else is another file's first line.
_TOKEN = re.compile(r"[\x21-\x7e]{8,4096}")


class GrafanaSection(Section, frozen=True, kw_only=True):
    """Which Grafana, and where the boards go."""

    url: Annotated[str, Meta(description="Grafana's address, with its sub-path if it has one.")] = (
        "http://127.0.0.1:3000"
    )
    token: Annotated[Secret | None, Meta(description="Service account token; by environment or file.")] = None
    token_file: Annotated[Path | None, Meta(description="File whose first line is a service account token.")] = None
    ca_file: Annotated[Path | None, Meta(description="Certificate authority of an https address.")] = None
    timeout: Annotated[float, Meta(description="Seconds after which a request is given up.", gt=0, le=600)] = 30.0
    folder: Annotated[
        str | None,
        Meta(description="Folder for all boards; a name that ends in - is put before the names of their own folders."),
    ] = None
    prometheus: Annotated[
        str | None, Meta(description="uid of the data source that `check` asks; the default one of its type if absent.")
    ] = None
    loki: Annotated[str | None, Meta(description="uid of the Loki data source, in the same way.")] = None


class Settings(Section, frozen=True, kw_only=True):
    """All settings of the command."""

    grafana: GrafanaSection = GrafanaSection()
    boards: Annotated[
        Path | None, Meta(description="Folder of boards, FOLDER/NAME.json; those that chainwatch ships if absent.")
    ] = None


def address(grafana: GrafanaSection) -> URL:
    """Return Grafana's address; raises `ConfigError`, which never shows a password."""
    try:
        url = URL(grafana.url)
    except ValueError:
        raise ConfigError("grafana.url", "not a URL", ADDRESS) from None
    if url.user or url.password or (not url.host and "@" in grafana.url):
        raise ConfigError("grafana.url", "contains a user or password", "a token in grafana.token_file")
    if url.scheme not in ("http", "https") or not url.host or url.query_string or url.fragment:
        raise ConfigError("grafana.url", f"{origin(grafana.url)!r} is no address of a Grafana", ADDRESS)
    return url


def token(grafana: GrafanaSection) -> Secret:
    """Return the token. Raises `ConfigError` where there is none, or one that cannot be; never shows it."""
    if grafana.token and grafana.token_file:
        raise ConfigError("grafana.token_file", "given together with grafana.token", "one of the two")
    if grafana.token_file:
        key, found = "grafana.token_file", read_secret(grafana.token_file, "grafana.token_file").strip()
    elif grafana.token:
        key, found = "grafana.token", str(grafana.token)
    else:
        raise ConfigError("grafana.token_file", "no token given", f"a file with {EXPECTED}")
    if not _TOKEN.fullmatch(found):
        raise ConfigError(key, "the first line is no token", EXPECTED)
    return Secret(found)


def verified_by(grafana: GrafanaSection) -> bool | str:
    """What vouches for an https address: a file of authorities, or those that the system trusts."""
    if grafana.ca_file is None:
        return True
    try:
        ssl.create_default_context(cafile=grafana.ca_file)
    except OSError:  # a file that cannot be read, or is no certificate (SSLError)
        raise ConfigError("grafana.ca_file", f"cannot read {grafana.ca_file}", "a PEM file") from None
    return str(grafana.ca_file)
