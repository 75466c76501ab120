"""What a diagnosis says of the exporter's own machine, alike for every family."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from chainwatch.config import Web
from chainwatch.errors import ConfigError
from chainwatch.exposition import web_config
from chainwatch.exposition.report import Finding, fail, ok, warn
from chainwatch.exposition.state_file import state_folder


def state(configured: Path | None, cost: str) -> Finding:
    """Whether the state file can be written; `cost` says what happens without one."""
    folder = state_folder(configured)
    if folder is None:
        return ok(
            "state",
            f"No state folder: {cost}. Under systemd there is one; elsewhere set state.dir.",
        )
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return fail(
            "state",
            f"Cannot write into {folder}: {error.strerror}.",
            "The exporter's user needs it, and a few kilobytes of space: install -d -o chainwatch -m 750 DIR",
        )
    return ok("state", f"{folder} can be written.")


def web(settings: Web) -> Iterator[Finding]:
    """Whether the pages are open to the network, and whether the web configuration can be used."""
    file = settings.config.file
    if file is None:
        if not settings.listen_address.startswith(("127.", "localhost:", "[::1]:")):
            yield warn(
                "web",
                f"{settings.listen_address} is open to the network without TLS or a password.",
                "See web.config.file in docs, or a firewall that lets only Prometheus in.",
            )
        return
    try:
        config = web_config.load(file)
        if config.tls:
            config.tls.context()
    except ConfigError as error:
        yield fail("web", f"{error}", f"promtool check web-config {file}")
    else:
        tls = "TLS" if config.tls else "no TLS"
        yield ok("web", f"{file}: {tls}, {len(config.users)} users with a password.")
