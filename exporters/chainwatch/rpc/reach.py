"""The first steps of every diagnosis: has the node's host an address, and does something listen there?"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Iterator

from yarl import URL

from chainwatch.exposition.report import Finding, fail, ok
from chainwatch.rpc.settings import RpcSection


def address(settings: RpcSection) -> Iterator[Finding]:
    """Look up the host's name."""
    host = URL(settings.url).host or ""
    try:
        ipaddress.ip_address(host)
        return
    except ValueError:
        found = resolve(host, settings.timeout)
    if isinstance(found, str):
        yield fail("address", f"{host}: {found}.", "Check rpc.url; an address such as 127.0.0.1 needs no name server.")
    else:
        yield ok("address", f"{host} is {', '.join(found)}.")


def resolve(host: str, seconds: float) -> list[str] | str:
    """Return the addresses of a host, or what is wrong, after at most `seconds`."""
    found: list[list[str] | str] = ["the name server does not answer"]

    def look_up() -> None:
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            found.append(list(dict.fromkeys(str(info[4][0]) for info in infos)))
        except (OSError, UnicodeError) as error:
            found.append(f"no address ({getattr(error, 'strerror', None) or 'not a host name'})")

    # The system's resolver knows no time limit of ours; a thread that it holds must not hold the program.
    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(seconds)
    return found[-1]


def connection(settings: RpcSection, advice: str) -> Iterator[Finding]:
    """Open a TCP connection, and close it again; `advice` is for one that is refused."""
    url = URL(settings.url)
    where = f"{url.host}:{url.port}"
    started = time.monotonic()
    try:
        socket.create_connection((url.host or "", url.port or 0), timeout=settings.timeout).close()
    except TimeoutError:
        yield fail(
            "connection",
            f"{where} does not answer at all within {settings.timeout:g} s.",
            "A firewall drops the packets, or the machine is down.",
        )
    except OSError as error:
        yield fail(
            "connection",
            f"{where}: {error.strerror or error}.",
            advice,
        )
    else:
        yield ok("connection", f"{where} accepts connections ({1000 * (time.monotonic() - started):.1f} ms).")
