"""The web configuration file: what is accepted, promtool accepts as well; what is refused, is refused in words."""

import os
import ssl
import subprocess
from pathlib import Path

import pytest

from chainwatch.errors import ConfigError
from chainwatch.exposition.web_config import WebConfig, load

from .certificates import Authority

HASH = "$2y$04$" + "a" * 21 + "." + "b" * 31
SERVER = "cert_file: server.crt, key_file: server.key"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Authority(tmp_path).issue("server")
    return tmp_path


def written(folder: Path, text: str) -> Path:
    file = folder / "web.yml"
    file.write_text(text)
    return file


def loaded(folder: Path, text: str) -> WebConfig:
    config = load(written(folder, text))
    if config.tls:
        config.tls.context()
    return config


ACCEPTED = [
    "",
    "{}",
    "tls_server_config:\n",
    f"tls_server_config: {{{SERVER}}}",
    f"tls_server_config: {{{SERVER}, min_version: TLS13}}",
    f"tls_server_config: {{{SERVER}, min_version: TLS12, max_version: TLS12}}",
    f"tls_server_config: {{{SERVER}, client_auth_type: NoClientCert}}",
    f"tls_server_config: {{{SERVER}, client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.pem}}",
    f"tls_server_config: {{{SERVER}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem}}",
    f"tls_server_config: {{{SERVER}, prefer_server_cipher_suites: false, curve_preferences: [X25519]}}",
    f"tls_server_config: {{{SERVER}, curve_preferences: [CurveP256]}}",
    f"tls_server_config: {{{SERVER}, curve_preferences: [CurveP384]}}",
    f"tls_server_config: {{{SERVER}, curve_preferences: [CurveP521]}}",
    f"""tls_server_config:
  cert_file: server.crt
  key_file: server.key
  cipher_suites:
  - TLS_AES_128_GCM_SHA256
  - TLS_AES_256_GCM_SHA384
  - TLS_CHACHA20_POLY1305_SHA256
  - TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA
  - TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA
  - TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
  - TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
  - TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
  - TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA
  - TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA
  - TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
  - TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
  - TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
http_server_config:
  http2: true
  headers:
    Strict-Transport-Security: max-age=31536000
    X-Content-Type-Options: nosniff
    X-Frame-Options: sameorigin
    X-XSS-Protection: 1; mode=block
    Content-Security-Policy: default-src 'self'
basic_auth_users:
  prometheus: {HASH}
  "sp ace": {HASH.replace("$2y$", "$2a$")}
  "7": {HASH.replace("$2y$04", "$2b$16")}
""",
]


@pytest.mark.parametrize("text", ACCEPTED)
def test_what_we_accept_promtool_accepts(folder: Path, text: str) -> None:
    # promtool is a Debian package that `make test` installs; without it this test fails on purpose.
    loaded(folder, text)
    result = subprocess.run(
        ["promtool", "check", "web-config", "web.yml"], cwd=folder, capture_output=True, text=True, timeout=30
    )
    assert result.returncode == 0, result.stderr


def tls(more: str) -> str:
    return f"tls_server_config: {{{SERVER}, {more}}}"


REFUSED = [
    ("tls: {}", "tls", "no such key"),
    ("rate_limit: {burst: 1}", "rate_limit", "not supported"),
    ("[1, 2]", "web.config.file", "the top level is a list"),
    ("basic_auth_users: {alice: *x}", "web.config.file", "not YAML"),
    ("basic_auth_users: [alice]", "basic_auth_users", "is a list; expected a mapping"),
    ("basic_auth_users: {alice: hunter2}", "basic_auth_users.alice", "is not a bcrypt hash"),
    ("basic_auth_users: {alice: 7}", "basic_auth_users.alice", "is a int; expected a string"),
    (f"basic_auth_users: {{7: {HASH}}}", "basic_auth_users.7", "is a int as a name"),
    (f'basic_auth_users: {{"a:b": {HASH}}}', "basic_auth_users.a:b", "with a colon"),
    (f"basic_auth_users: {{a: {HASH.replace('$04', '$17')}}}", "basic_auth_users.a", "bcrypt cost 17"),
    (f"basic_auth_users: {{a: {HASH}, a: {HASH}}}", "a", "given more than once (line 1)"),
    ("http_server_config: {http3: true}", "http_server_config.http3", "no such key; expected one of http2, headers"),
    ("http_server_config: {http2: maybe}", "http_server_config.http2", "is a str; expected true or false"),
    ("http_server_config: {headers: {X-Foo: a}}", "http_server_config.headers.X-Foo", "no such key"),
    (
        "http_server_config: {headers: {X-Frame-Options: allow}}",
        "http_server_config.headers.X-Frame-Options",
        "'allow' is not a value of this header; expected deny or sameorigin",
    ),
    (
        'http_server_config: {headers: {X-XSS-Protection: "1\\r\\nSet-Cookie: x"}}',
        "http_server_config.headers.X-XSS-Protection",
        "characters that a header cannot carry",
    ),
    ("tls_server_config: {min_version: TLS13}", "tls_server_config.cert_file", "missing, and TLS needs it"),
    ("tls_server_config: {cert_file: server.crt}", "tls_server_config.key_file", "missing, and TLS needs it"),
    ("tls_server_config: {cert: PEM, key: PEM}", "tls_server_config.cert", "give cert_file"),
    ("tls_server_config: {cert_file: none.crt, key_file: server.key}", "tls_server_config.cert_file", "cannot read"),
    ("tls_server_config: {cert_file: server.crt, key_file: none}", "tls_server_config.key_file", "cannot read"),
    (
        "tls_server_config: {cert_file: server.key, key_file: server.key}",
        "tls_server_config.cert_file",
        "cannot be loaded",
    ),
    (
        "tls_server_config: {cert_file: server.crt, key_file: other.key}",
        "tls_server_config.key_file",
        "is not the key of",
    ),
    (
        "tls_server_config: {cert_file: locked.crt, key_file: locked.key}",
        "tls_server_config.cert_file",
        "without a passphrase",
    ),
    (tls("min_version: TLS10"), "tls_server_config.min_version", "'TLS10' is not known; expected one of TLS12, TLS13"),
    (tls("min_version: TLS13, max_version: TLS12"), "tls_server_config.max_version", "is older than min_version"),
    (tls("client_auth_type: RequireAnyClientCert"), "tls_server_config.client_auth_type", "nobody verified"),
    (tls("client_auth_type: RequestClientCert"), "tls_server_config.client_auth_type", "nobody verified"),
    (tls("client_auth_type: Sometimes"), "tls_server_config.client_auth_type", "'Sometimes' is not known"),
    (tls("client_ca_file: ca.pem"), "tls_server_config.client_ca_file", "asks no client for a certificate"),
    (tls("client_auth_type: RequireAndVerifyClientCert"), "tls_server_config.client_ca_file", "verifies against it"),
    (
        tls("client_auth_type: RequireAndVerifyClientCert, client_ca_file: web.yml"),
        "tls_server_config.client_ca_file",
        "expected a PEM file of certificates",
    ),
    (
        tls("client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.pem, client_allowed_sans: [a]"),
        "tls_server_config.client_allowed_sans",
        "may come without a certificate",
    ),
    (tls("cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]"), "tls_server_config.cipher_suites", "is not known"),
    (tls("cipher_suites: TLS_AES_128_GCM_SHA256"), "tls_server_config.cipher_suites", "is not a list of strings"),
    (tls("curve_preferences: [X25519, CurveP256]"), "tls_server_config.curve_preferences", "told only one"),
    (tls("curve_preferences: [P-256]"), "tls_server_config.curve_preferences", "is not known"),
]


@pytest.mark.parametrize(("text", "key", "problem"), REFUSED)
def test_what_is_wrong_is_refused_with_one_line_naming_file_and_key(
    folder: Path, text: str, key: str, problem: str
) -> None:
    authority = Authority(folder)
    authority.issue("other")
    authority.issue("locked", passphrase=b"secret")
    with pytest.raises(ConfigError) as refused:
        loaded(folder, text)
    message = str(refused.value)
    assert refused.value.key in (key, f"{folder / 'web.yml'}: {key}")
    assert problem in message
    assert "web.yml" in message
    assert "\n" not in message


def test_a_password_written_instead_of_a_hash_is_not_repeated(folder: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(folder, "basic_auth_users: {alice: hunter2}")
    assert "hunter2" not in str(refused.value)


def test_hashes_are_not_printed(folder: Path) -> None:
    assert HASH not in repr(loaded(folder, f"basic_auth_users: {{alice: {HASH}}}"))


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"web\.config\.file: cannot read .*none\.yml: No such file"):
        load(tmp_path / "none.yml")


def test_relative_paths_are_seen_from_the_files_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(folder, tls("client_auth_type: RequireAndVerifyClientCert, client_ca_file: sub/ca.pem"))
    monkeypatch.chdir(folder.parent)
    config = load(Path(os.path.relpath(folder / "web.yml")))
    assert config.tls is not None
    assert list(config.files()) == [folder / "server.crt", folder / "server.key", folder / "sub/ca.pem"]


def test_versions_and_suites_reach_the_tls_context(folder: Path) -> None:
    suites = "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]"
    config = loaded(folder, tls(f"max_version: TLS12, prefer_server_cipher_suites: false, {suites}"))
    assert config.tls is not None
    context = config.tls.context()
    assert (context.minimum_version, context.maximum_version) == (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
    assert not context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    older = [cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.2"]
    assert older == ["ECDHE-ECDSA-AES256-GCM-SHA384"]


def test_client_names_are_read_although_older_promtools_do_not_know_them(folder: Path) -> None:
    # exporter-toolkit has client_allowed_sans since 0.9 (Prometheus 2.43); promtool 2.42 calls it unknown.
    auth = "client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem"
    config = loaded(folder, tls(f"{auth}, client_allowed_sans: [prometheus.example]"))
    assert config.tls is not None
    assert config.tls.client_allowed_sans == {"prometheus.example"}
