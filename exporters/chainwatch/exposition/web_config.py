"""The Prometheus community's web configuration file: TLS, client certificates, basic authentication, headers.

The format is exporter-toolkit's (`promtool check web-config`), so that one file serves all of a site's
exporters. Whatever this program cannot honour is refused in words rather than served differently:

- `client_auth_type: RequestClientCert` and `RequireAnyClientCert`: Python's TLS verifies whatever it asks for;
- TLS 1.0 and 1.1, suites without forward secrecy, more than one curve: OpenSSL, as Python drives it, cannot;
- inline `cert`, `key`, `client_ca` (secrets belong into files of their own) and `rate_limit`.

`http_server_config.http2` is accepted and changes nothing: pages are served by HTTP/1.1, which every scraper
speaks. TLS 1.3 suites in `cipher_suites` are accepted and, as in exporter-toolkit, always on.
"""

import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chainwatch.config import read_yaml
from chainwatch.errors import ConfigError

_TLS_KEYS = (
    "cert_file",
    "key_file",
    "client_auth_type",
    "client_ca_file",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "curve_preferences",
    "prefer_server_cipher_suites",
)
_REFUSED = {
    "cert": "certificates written into this file are not read; give cert_file",
    "key": "keys written into this file are not read; give key_file",
    "client_ca": "certificates written into this file are not read; give client_ca_file",
    "rate_limit": "not supported; the number of connections and of password checks is bounded without it",
}
_CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_UNVERIFIED_CLIENT_AUTH = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
_TLS13_SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
_TLS12_SUITES = {  # Go's name to OpenSSL's
    f"TLS_ECDHE_{auth}_WITH_{go}": f"ECDHE-{auth}-{openssl}"
    for auth in ("ECDSA", "RSA")
    for go, openssl in {
        "AES_128_GCM_SHA256": "AES128-GCM-SHA256",
        "AES_256_GCM_SHA384": "AES256-GCM-SHA384",
        "CHACHA20_POLY1305_SHA256": "CHACHA20-POLY1305",
        "AES_128_CBC_SHA": "AES128-SHA",
        "AES_256_CBC_SHA": "AES256-SHA",
    }.items()
}
# The headers that the format allows, with their allowed values where those are closed.
_HEADERS: dict[str, tuple[str, ...]] = {
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
    "Content-Security-Policy": (),
}
_BCRYPT = re.compile(r"\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{53}", re.ASCII)
# Cost 16 already takes some 4 s of one core per check, and a scraper gives up after 10 s.
_MAX_COST = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class TLS:
    """`tls_server_config`, its paths made absolute and its words made Python's."""

    file: Path
    cert_file: Path
    key_file: Path
    client_auth: ssl.VerifyMode
    client_ca_file: Path | None
    client_allowed_sans: frozenset[str]
    min_version: ssl.TLSVersion
    max_version: ssl.TLSVersion
    ciphers: tuple[str, ...]
    curve: str | None
    prefer_server_cipher_suites: bool

    def context(self) -> ssl.SSLContext:
        """A new context with the certificates as they are on disk now; ConfigError when they cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version, context.maximum_version = self.min_version, self.max_version
        if not self.prefer_server_cipher_suites:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        if self.ciphers:
            context.set_ciphers(":".join(self.ciphers))
        if self.curve:
            context.set_ecdh_curve(self.curve)
        self._load_certificate(context)
        if self.client_ca_file:
            self._load_client_ca(context, self.client_ca_file)
        return context

    def _load_certificate(self, context: ssl.SSLContext) -> None:
        _check_readable(self._key("cert_file"), self.cert_file)
        _check_readable(self._key("key_file"), self.key_file)
        try:
            # Without a password of ours OpenSSL would ask the terminal for one, and wait.
            context.load_cert_chain(self.cert_file, self.key_file, password=lambda: "")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                problem = f"{self.key_file} is not the key of the certificate in {self.cert_file}"
                raise ConfigError(
                    self._key("key_file"), problem, "the key that the certificate was made with"
                ) from None
            problem = f"{self.cert_file} with key {self.key_file} cannot be loaded ({error.reason or error})"
            raise ConfigError(self._key("cert_file"), problem, "PEM files, the key without a passphrase") from None

    def _load_client_ca(self, context: ssl.SSLContext, client_ca_file: Path) -> None:
        _check_readable(self._key("client_ca_file"), client_ca_file)
        try:
            context.load_verify_locations(client_ca_file)
        except ssl.SSLError as error:
            problem = f"{client_ca_file} cannot be loaded ({error.reason or error})"
            raise ConfigError(self._key("client_ca_file"), problem, "a PEM file of certificates") from None
        context.verify_mode = self.client_auth
        # As in exporter-toolkit, any certificate of the file may end the chain, not only a self-signed one.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN

    def _key(self, name: str) -> str:
        return f"{self.file}: tls_server_config.{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    """A whole file: `tls` is None for plain HTTP; `users` maps a name to its bcrypt hash, and is never printed."""

    tls: TLS | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def files(self) -> Iterator[Path]:
        """The certificate files that this configuration stands on."""
        if self.tls:
            yield self.tls.cert_file
            yield self.tls.key_file
            if self.tls.client_ca_file:
                yield self.tls.client_ca_file


def load(file: Path) -> WebConfig:
    """Read and check a web configuration file; ConfigError names the file and the key.

    The certificates themselves are read by `TLS.context`.
    """
    content = read_yaml(file, "web.config.file")
    top = _Section(file, "", content, ("tls_server_config", "http_server_config", "basic_auth_users"))
    http = _Section(file, "http_server_config", top.get("http_server_config"), ("http2", "headers"))
    http.boolean("http2", True)
    return WebConfig(
        tls=_tls(file, top.get("tls_server_config")),
        headers=_headers(_Section(file, "http_server_config.headers", http.get("headers"), tuple(_HEADERS))),
        users=_users(_Section(file, "basic_auth_users", top.get("basic_auth_users"), None)),
    )


class _Section:
    """One mapping of the file: refuses keys that are not `known` (None: any), and values of the wrong type."""

    def __init__(self, file: Path, name: str, content: object, known: Sequence[str] | None) -> None:
        self.file, self.name = file, name
        if content is None:
            content = {}
        if not isinstance(content, dict):
            raise ConfigError(self.key(), f"is a {type(content).__name__}", "a mapping")
        for key in content:
            if not isinstance(key, str):
                raise ConfigError(self.key(str(key)), f"is a {type(key).__name__} as a name", "a string, in quotes")
            if known is not None and key not in known:
                raise ConfigError(self.key(key), _REFUSED.get(key, "no such key"), f"one of {', '.join(known)}")
        self.content: dict[str, Any] = content

    def key(self, name: str = "") -> str:
        """A key of this section as error messages name it."""
        dotted = ".".join(part for part in (self.name, name) if part)
        return f"{self.file}: {dotted}" if dotted else str(self.file)

    def get(self, name: str) -> object:
        return self.content.get(name)

    def string(self, name: str, default: str = "") -> str:
        value = self.content.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise ConfigError(self.key(name), f"is a {type(value).__name__}", "a string")
        return value

    def boolean(self, name: str, default: bool) -> bool:
        value = self.content.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise ConfigError(self.key(name), f"is a {type(value).__name__}", "true or false")
        return value

    def strings(self, name: str) -> list[str]:
        value = self.content.get(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ConfigError(self.key(name), "is not a list of strings", "a list of strings")
        return value

    def path(self, name: str) -> Path | None:
        """A path, relative ones seen from the file's own folder."""
        value = self.string(name)
        return self.file.absolute().parent / value if value else None

    def word(self, name: str, value: str, known: Mapping[str, Any]) -> Any:
        if value not in known:
            raise ConfigError(self.key(name), f"{value!r} is not known", f"one of {', '.join(known)}")
        return known[value]


def _tls(file: Path, content: object) -> TLS | None:
    section = _Section(file, "tls_server_config", content, _TLS_KEYS)
    if not section.content:
        return None
    cert_file, key_file = section.path("cert_file"), section.path("key_file")
    if cert_file is None or key_file is None:
        # exporter-toolkit would serve plain HTTP here without a word when other keys are given.
        missing = "key_file" if cert_file else "cert_file"
        raise ConfigError(section.key(missing), "missing, and TLS needs it", "the path of a PEM file")
    min_version = section.word("min_version", section.string("min_version", "TLS12"), _VERSIONS)
    max_version = section.word("max_version", section.string("max_version", "TLS13"), _VERSIONS)
    if max_version < min_version:
        raise ConfigError(section.key("max_version"), "is older than min_version", "TLS13, or both the same")
    client_auth, client_ca_file = _client_auth(section)
    return TLS(
        file=file,
        cert_file=cert_file,
        key_file=key_file,
        client_auth=client_auth,
        client_ca_file=client_ca_file,
        client_allowed_sans=_allowed_sans(section, client_auth),
        min_version=min_version,
        max_version=max_version,
        ciphers=_ciphers(section),
        curve=_curve(section),
        prefer_server_cipher_suites=section.boolean("prefer_server_cipher_suites", True),
    )


def _client_auth(section: _Section) -> tuple[ssl.VerifyMode, Path | None]:
    name = section.string("client_auth_type", "NoClientCert") or "NoClientCert"
    if name in _UNVERIFIED_CLIENT_AUTH:
        problem = f"{name} accepts certificates that nobody verified, which this program cannot and should not do"
        raise ConfigError(section.key("client_auth_type"), problem, f"one of {', '.join(_CLIENT_AUTH)}")
    mode: ssl.VerifyMode = section.word("client_auth_type", name, _CLIENT_AUTH)
    client_ca_file = section.path("client_ca_file")
    if mode == ssl.CERT_NONE and client_ca_file:
        problem = "given, but client_auth_type asks no client for a certificate"
        raise ConfigError(section.key("client_ca_file"), problem, "client_auth_type: RequireAndVerifyClientCert")
    if mode != ssl.CERT_NONE and not client_ca_file:
        problem = f"missing, and {name} verifies against it"
        raise ConfigError(section.key("client_ca_file"), problem, "the path of a PEM file")
    return mode, client_ca_file


def _allowed_sans(section: _Section, client_auth: ssl.VerifyMode) -> frozenset[str]:
    sans = frozenset(section.strings("client_allowed_sans"))
    if sans and client_auth != ssl.CERT_REQUIRED:
        problem = "given, but clients may come without a certificate"
        raise ConfigError(section.key("client_allowed_sans"), problem, "client_auth_type: RequireAndVerifyClientCert")
    return sans


def _ciphers(section: _Section) -> tuple[str, ...]:
    names = section.strings("cipher_suites")
    known = {**_TLS12_SUITES, **dict.fromkeys(_TLS13_SUITES, "")}
    return tuple(filter(None, (section.word("cipher_suites", name, known) for name in names)))


def _curve(section: _Section) -> str | None:
    names = section.strings("curve_preferences")
    curves: list[str] = [section.word("curve_preferences", name, _CURVES) for name in names]
    if len(curves) > 1:
        problem = f"{len(curves)} curves, and Python's TLS can be told only one"
        raise ConfigError(section.key("curve_preferences"), problem, "one curve, or none for OpenSSL's own choice")
    return curves[0] if curves else None


def _headers(section: _Section) -> dict[str, str]:
    headers = {name: section.string(name) for name in section.content}
    for name, value in headers.items():
        allowed = _HEADERS[name]
        if allowed and value not in allowed:
            raise ConfigError(section.key(name), f"{value!r} is not a value of this header", " or ".join(allowed))
        if not value.isprintable() or not value.isascii():
            raise ConfigError(section.key(name), "holds characters that a header cannot carry", "one line of ASCII")
    return {name: value for name, value in headers.items() if value}


def _users(section: _Section) -> dict[str, bytes]:
    users = {}
    for name in section.content:
        hashed = section.string(name)
        match = _BCRYPT.fullmatch(hashed)
        if match is None:  # its text stays out of the message: it may be the password itself
            raise ConfigError(section.key(name), "is not a bcrypt hash", "the output of `htpasswd -nBC 10 NAME`")
        if not 4 <= int(match["cost"]) <= _MAX_COST:
            problem = f"bcrypt cost {match['cost']}: each check would take too long, or no time at all"
            raise ConfigError(section.key(name), problem, f"a cost of 10 (4 to {_MAX_COST})")
        if ":" in name:
            raise ConfigError(section.key(name), "no client can send a user name with a colon", "another name")
        users[name] = hashed.encode()
    return users


def _check_readable(key: str, file: Path) -> None:
    try:
        with file.open("rb"):
            pass
    except OSError as error:
        raise ConfigError(key, f"cannot read {file}: {error.strerror}", "a PEM file this user may read") from None
