"""Who may read the pages: TLS and basic authentication from a web configuration file that may change at any time.

The file and the certificates are looked at (`stat`) when a connection or a request comes in, at most once a
second, and read again when one of them changed; a request that comes after that is served by the new
settings, a connection keeps the TLS it began with. A new file that is wrong changes nothing: the settings
from before stay, one line is logged, and `last_reload_successful` turns False until it is mended.
Only one thing cannot change while running: turning TLS on or off needs a restart.
"""

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import ipaddress
import logging
import os
import ssl
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bcrypt
from aiohttp import web

from chainwatch.errors import ConfigError
from chainwatch.exposition.web_config import WebConfig, load

_log = logging.getLogger(__name__)

_CHALLENGE = {"WWW-Authenticate": 'Basic realm="chainwatch", charset="UTF-8"'}
_REMEMBERED = 64
# A check takes some 70 ms of a core at cost 10. They run one at a time, so that a flood of wrong passwords
# has one core at most, and wait in a short line where one address has few places, so that it cannot keep a
# scraper out.
_WAITING = 32
_WAITING_PER_ADDRESS = 4
_BCRYPT_BYTES = 72  # bcrypt never looks further; the library refuses more instead of cutting

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Identity = tuple[int, ...] | None


class WebAccess:
    """A web configuration file in force.

    Raises ConfigError at construction when the file or a certificate is wrong. Use: `install(app)`, and
    `ssl_context` (None for plain HTTP) for the listening site.
    """

    def __init__(self, file: Path, check_seconds: float = 1.0) -> None:
        self._file = file
        self._check_seconds = check_seconds
        self._next_check = 0.0
        self._watched: tuple[Path, ...] = ()
        self._seen: list[_Identity] = []
        self._config = WebConfig()
        self._config, context = self._read()
        self.ssl_context: _CurrentContext | None = None
        """For every listening socket; hands each new connection the certificates of that moment."""
        if context is not None:
            self.ssl_context = _CurrentContext.following(context, self.refresh)
        self.last_reload_successful = True
        """False from a refused change until the next good one."""
        self._passwords = _Passwords()

    @property
    def config(self) -> WebConfig:
        """The settings in force."""
        return self._config

    def install(self, app: web.Application) -> None:
        """Put authentication before every handler of `app`, and the configured headers on every response."""
        app.middlewares.append(self._authenticate)
        app.on_response_prepare.append(self._add_headers)
        app.on_cleanup.append(self._close)

    def refresh(self) -> None:
        """Read the file again if it or a certificate changed; never raises."""
        now = time.monotonic()
        if now < self._next_check:
            return
        self._next_check = now + self._check_seconds
        if [_identity(file) for file in self._watched] == self._seen:
            return
        try:
            self.reload()
        except ConfigError as error:
            _log.error("web configuration not reloaded, the settings from before stay: %s", error)
        else:
            _log.info("web configuration reloaded from %s", self._file)

    def reload(self) -> None:
        """Read the file and the certificates now; ConfigError, and the settings from before, when one is wrong."""
        try:
            config, context = self._read()
            if (context is None) != (self.ssl_context is None):
                turned = "off" if context is None else "on"
                problem = f"TLS was turned {turned}, which needs a restart"
                raise ConfigError(f"{self._file}: tls_server_config", problem, "a restart of chainwatch")
        except ConfigError:
            self.last_reload_successful = False
            raise
        self._config = config
        if self.ssl_context is not None and context is not None:
            self.ssl_context.current = context
        self.last_reload_successful = True

    def _read(self) -> tuple[WebConfig, ssl.SSLContext | None]:
        # Each file's identity is taken before the file is read: what changes in between is read at the next
        # look. A file that names broken certificates is watched together with those, not with the old ones.
        identity = _identity(self._file)
        self._watch(identity, self._config)
        config = load(self._file)
        self._watch(identity, config)
        return config, config.tls.context() if config.tls else None

    def _watch(self, identity: _Identity, config: WebConfig) -> None:
        certificates = tuple(config.files())
        self._watched = (self._file, *certificates)
        self._seen = [identity, *map(_identity, certificates)]

    @web.middleware
    async def _authenticate(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.refresh()
        tls = self._config.tls
        if tls and tls.client_allowed_sans and not _names(request) & tls.client_allowed_sans:
            raise web.HTTPForbidden(text="The client certificate has no name of client_allowed_sans.\n")
        users = self._config.users
        if users:
            credentials = _credentials(request.headers.get("Authorization", ""))
            if credentials is None:
                raise web.HTTPUnauthorized(text="A user name and password are needed.\n", headers=_CHALLENGE)
            if not await self._passwords.right(users, *credentials, request.remote or ""):
                raise web.HTTPUnauthorized(text="Wrong user name or password.\n", headers=_CHALLENGE)
        return await handler(request)

    async def _add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        for name, value in self._config.headers.items():
            response.headers.setdefault(name, value)

    async def _close(self, app: web.Application) -> None:
        self._passwords.close()


class _CurrentContext(ssl.SSLContext):
    """Begins every connection with `current`.

    asyncio keeps the context that a socket began to listen with, and a context cannot forget certificate
    authorities; so a changed file becomes a new context, and this one stands before it.
    """

    current: ssl.SSLContext
    before_connection: Callable[[], None]

    @classmethod
    def following(cls, current: ssl.SSLContext, before_connection: Callable[[], None]) -> "_CurrentContext":
        context = cls(ssl.PROTOCOL_TLS_SERVER)
        context.current, context.before_connection = current, before_connection
        return context

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """Called by asyncio for each connection that was accepted."""
        self.before_connection()
        return self.current.wrap_bio(*args, **kwargs)


class _Passwords:
    """Checks passwords against bcrypt hashes; remembers right ones, as keyed hashes, and no wrong ones."""

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._waiting: Counter[str] = Counter()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bcrypt")

    async def right(self, users: Mapping[str, bytes], user: str, password: bytes, address: str) -> bool:
        """Whether this is the user's password; HTTPTooManyRequests when too many checks wait already."""
        known = user in users
        hashed = users[user] if known else self._stand_in(users, user)
        proof = hmac.digest(self._key, hashed + user.encode() + b":" + password, hashlib.sha256)
        if known and proof in self._right:
            self._right.move_to_end(proof)
            return True
        matches = await self._check(password, hashed, address)
        if not (known and matches):
            return False
        self._right[proof] = None
        if len(self._right) > _REMEMBERED:
            self._right.popitem(last=False)
        return True

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _stand_in(self, users: Mapping[str, bytes], user: str) -> bytes:
        """A hash for an unknown user to be checked against in vain, always the same one for the same name.

        So that the time of an answer does not tell which names exist, even where hashes differ in cost.
        """
        hashes = sorted(users.values())
        choice = int.from_bytes(hmac.digest(self._key, user.encode(), hashlib.sha256)[:8], "big")
        return hashes[choice % len(hashes)]

    async def _check(self, password: bytes, hashed: bytes, address: str) -> bool:
        if self._waiting.total() >= _WAITING or self._waiting[address] >= _WAITING_PER_ADDRESS:
            raise web.HTTPTooManyRequests(
                text="Too many passwords are being checked; try again.\n", headers={"Retry-After": "1"}
            )
        self._waiting[address] += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, bcrypt.checkpw, password[:_BCRYPT_BYTES], hashed)
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]


def _credentials(authorization: str) -> tuple[str, bytes] | None:
    """User name and password of an `Authorization: Basic` header; None for anything else."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    # A zero byte ends a password for some bcrypt libraries and is an error for others.
    return (user.decode("utf-8", "replace"), password) if colon and b"\0" not in password else None


def _names(request: web.Request) -> set[str]:
    """The alternative names in the client's certificate, which TLS has verified."""
    certificate = request.get_extra_info("peercert") or {}
    names = {value for kind, value in certificate.get("subjectAltName", ()) if kind in ("DNS", "email", "URI")}
    for kind, value in certificate.get("subjectAltName", ()):
        if kind == "IP Address":
            with contextlib.suppress(ValueError):  # OpenSSL says "<invalid>" for one that is none
                names.add(str(ipaddress.ip_address(value.strip())))
    return names


def _identity(path: Path) -> _Identity:
    """What changes when the file is written or replaced; None while there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
