# ruff: noqa: E501 - one case a line reads best
"""Every wrong configuration that we know of, and the line that it gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chainwatch import cli
from chainwatch.config import MAX_FILE_BYTES, MAX_SECRET_BYTES
from chainwatch.errors import ChainwatchError

SECRET = "correct-horse-battery"


@dataclass(frozen=True)
class Wrong:
    """One wrong configuration, and the one line that it gives; DIR is the folder of its files."""

    what: str
    line: str
    file: str | bytes | None = None
    flags: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


def line_of(wrong: Wrong, family: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `chainwatch check-config` says of it."""

    def place(text: str) -> str:
        return text.replace("DIR", str(folder))

    for name, content in wrong.files.items():
        (folder / name).write_bytes(content)
    flags = [place(flag) for flag in wrong.flags]
    if wrong.file is not None:
        file = folder / "chainwatch.yml"
        file.write_bytes(wrong.file if isinstance(wrong.file, bytes) else wrong.file.encode())
        flags = ["--config.file", str(file), *flags]
    for name, value in wrong.environment.items():
        monkeypatch.setenv(name, place(value))
    with pytest.raises(ChainwatchError) as caught:
        cli.run(["check-config", family, *flags])
    return str(caught.value).replace(str(folder), "DIR")


def given(text: str) -> str:
    return f"(in DIR/chainwatch.yml){text}"


# fmt: off
WRONG = [
    # the file itself
    Wrong(
        "file of settings that is not there",
        "config.file: cannot read DIR/none.yml: No such file or directory; expected a YAML file that this user may read",
        flags=("--config.file=DIR/none.yml",),
    ),
    Wrong(
        "file of settings that is a folder",
        "config.file: cannot read DIR: Is a directory; expected a YAML file that this user may read",
        environment={"CHAINWATCH_CONFIG_FILE": "DIR"},
    ),
    Wrong(
        "not YAML",
        "config.file: DIR/chainwatch.yml line 3: not YAML: could not find expected ':'; "
        "expected YAML, with odd characters in quotes",
        "rpc:\nurl\nlog: {}\n",
    ),
    Wrong(
        "a tab as indentation",
        "config.file: DIR/chainwatch.yml line 2: not YAML: found character '\\t' that cannot start any token; "
        "expected YAML, with odd characters in quotes",
        "rpc:\n\turl: x\n",
    ),
    Wrong("bytes that are no text", "config.file: DIR/chainwatch.yml: not YAML; expected a YAML file", b"rpc: \xff\x00"),
    Wrong("a date that does not exist", "config.file: DIR/chainwatch.yml: not YAML; expected a YAML file", "log: 2026-13-45"),
    Wrong("thousands of brackets", "config.file: DIR/chainwatch.yml: not YAML; expected a YAML file", "[" * 9000),
    Wrong(
        "top level is a list",
        "config.file: DIR/chainwatch.yml: the top level is a list; expected a mapping of sections",
        "- rpc\n- log\n",
    ),
    Wrong(
        "top level is text",
        "config.file: DIR/chainwatch.yml: the top level is text; expected a mapping of sections",
        "http://127.0.0.1:8332",
    ),
    Wrong(
        "file too large",
        f"config.file: DIR/chainwatch.yml is larger than {MAX_FILE_BYTES} bytes; expected a file of settings",
        b"#" * (MAX_FILE_BYTES + 1),
    ),
    # its keys
    Wrong(
        "misspelt key",
        "rpc.cookiefile: unknown setting " + given("; expected rpc.cookie_file"),
        "rpc: {cookiefile: /x}",
    ),
    Wrong(
        "unknown key in a section",
        "web.zzz: unknown setting "
        + given("; expected one of web.config, web.listen_address, web.max_connections, web.telemetry_path"),
        "web: {zzz: 1}",
    ),
    Wrong(
        "unknown section",
        "qqqqqq: unknown setting "
        + given("; expected one of chain, collector, log, peers, rpc, state, tracker, web, zmq"),
        "qqqqqq: {url: x}",
    ),
    Wrong("a number as key", "7: unknown setting " + given("; expected one of chain, collector, log, peers, rpc, state, tracker, web, zmq"), "7: x"),
    Wrong(
        "key given twice",
        "DIR/chainwatch.yml: url: given more than once (line 3); expected each key once",
        "rpc:\n  url: http://127.0.0.1:1\n  url: http://127.0.0.1:2\n",
    ),
    Wrong(
        "section given twice",
        "DIR/chainwatch.yml: rpc: given more than once (line 2); expected each key once",
        "rpc: {}\nrpc: {}\n",
    ),
    Wrong(
        "key given with dots and in its section",
        "rpc.user: given more than once " + given("; expected each key once"),
        "rpc.user: a\nrpc: {user: b}\n",
    ),
    Wrong(
        "scalar instead of a section",
        "state: text instead of a section " + given("; expected one of state.dir"),
        "state: /var/lib/x",
    ),
    Wrong("list instead of a section", "zmq: a list instead of a section " + given("; expected one of zmq.enabled, zmq.url"), "zmq: []"),
    Wrong("section instead of a scalar", "rpc.url: a mapping is not valid " + given("; expected text"), "rpc: {url: {host: a}}"),
    Wrong("a section within itself", "rpc.url: a mapping is not valid " + given("; expected text"), "rpc: &r {url: *r}"),
    Wrong("collector that does not exist", "collector.mempol: unknown setting " + given("; expected collector.mempool"), "collector: {mempol: true}"),
    # values
    Wrong("number for a text", "rpc.user: 7 is not valid " + given("; expected text, in quotes"), "rpc: {user: 7}"),
    Wrong("text for a number", "rpc.timeout: '10s' is not valid " + given("; expected a number more than 0 and at most 600"), "rpc: {timeout: 10s}"),
    Wrong("number out of range", "web.max_connections: 0 is not valid " + given("; expected a whole number at least 1 and at most 10000"), "web: {max_connections: 0}"),
    Wrong("fraction for a whole number", "web.max_connections: 1.5 is not valid " + given("; expected a whole number at least 1 and at most 10000"), "web: {max_connections: 1.5}"),
    Wrong("a switch for a number", "rpc.timeout: true is not valid " + given("; expected a number more than 0 and at most 600"), "rpc: {timeout: true}"),
    Wrong("not a number", "rpc.timeout: nan is not valid " + given("; expected a number more than 0 and at most 600"), "rpc: {timeout: .nan}"),
    Wrong("infinity", "chain.spacing: inf is not valid " + given("; expected a number more than 0"), "chain: {spacing: .inf}"),
    Wrong("nothing", "web.listen_address: nothing is not valid " + given("; expected text"), "web: {listen_address: }"),
    Wrong("text for a switch", "collector.mempool: 'maybe' is not valid " + given("; expected true or false"), "collector: {mempool: maybe}"),
    Wrong("empty path", "log.file: '' is not valid " + given("; expected a path"), "log: {file: ''}"),
    Wrong("path with a zero byte", r"log.file: 'a\x00b' is not valid " + given("; expected a path"), 'log: {file: "a\\0b"}'),
    Wrong("home of nobody", "log.file: '~nobody-of-that-name/x' is not valid " + given("; expected a path"), "log: {file: ~nobody-of-that-name/x}"),
    Wrong("word that is not in the list", "log.level: 'loud' is not valid (in flag --log.level); expected one of debug, info, warning, error", flags=("--log.level=loud",)),
    Wrong("very long value", "log.level: '" + "x" * 79 + "… is not valid (in flag --log.level); expected one of debug, info, warning, error", flags=("--log.level=" + "x" * 9999,)),
    Wrong("chain's name with a blank", "chain.name: 'my chain' is not valid (in flag --chain.name); expected text that matches ^[a-z0-9._-]{1,40}$", flags=("--chain.name=my chain",)),
    # environment
    Wrong("wrong number in the environment", "rpc.timeout: 'soon' is not valid (in environment CHAINWATCH_RPC_TIMEOUT); expected a number more than 0 and at most 600", environment={"CHAINWATCH_RPC_TIMEOUT": "soon"}),
    Wrong("wrong switch in the environment", "collector.fees: 'si' is not valid (in environment CHAINWATCH_COLLECTOR_FEES); expected true or false", environment={"CHAINWATCH_COLLECTOR_FEES": "si"}),
    # secrets
    Wrong("list as a password", "rpc.password: a list is not valid " + given("; expected text"), f"rpc: {{user: a, password: [{SECRET}]}}"),
    Wrong("number as a password", "rpc.password: a number is not valid " + given("; expected text, in quotes"), "rpc: {user: a, password: 31337}"),
    Wrong("password that YAML takes for an alias", "config.file: DIR/chainwatch.yml line 1: not YAML: found undefined alias '…'; expected YAML, with odd characters in quotes", f"rpc: {{password: *{SECRET}}}"),
    Wrong("password that YAML takes for a tag", "config.file: DIR/chainwatch.yml line 1: not YAML: could not determine a constructor for the tag '…'; expected YAML, with odd characters in quotes", f"rpc: {{password: !{SECRET} x}}"),
    Wrong("password on the command line", "--rpc.password: unknown flag: everybody can see a command line; expected CHAINWATCH_RPC_PASSWORD, or rpc.password in the file", flags=(f"--rpc.password={SECRET}",)),
    Wrong("password on the command line, apart", "--rpc.password: unknown flag: everybody can see a command line; expected CHAINWATCH_RPC_PASSWORD, or rpc.password in the file", flags=("--rpc.password", SECRET)),
    Wrong("password file that is not there", "rpc.password_file: cannot read DIR/none: No such file or directory; expected a file that this user may read", flags=("--rpc.user=a", "--rpc.password-file=DIR/none")),
    Wrong("password file that is empty", "rpc.password_file: DIR/empty is empty; expected the secret on its first line", flags=("--rpc.user=a", "--rpc.password-file=DIR/empty"), files={"empty": b"\n"}),
    Wrong("password file that is no text", "rpc.password_file: DIR/binary is not text; expected a file with the secret on its first line", flags=("--rpc.user=a", "--rpc.password-file=DIR/binary"), files={"binary": b"\xff\xfe"}),
    Wrong("password file that never ends", f"rpc.password_file: /dev/zero is larger than {MAX_SECRET_BYTES} bytes; expected the secret on its first line", flags=("--rpc.user=a", "--rpc.password-file=/dev/zero")),
    Wrong("password in the URL", "rpc.url: contains a user or password; expected them in rpc.user and rpc.password_file", flags=(f"--rpc.url=http://u:{SECRET}@127.0.0.1:8332",)),
    Wrong("password in a misspelt URL", "rpc.url: contains a user or password; expected them in rpc.user and rpc.password_file", flags=(f"--rpc.url=http//u:{SECRET}@127.0.0.1:8332",)),
    Wrong("password beside a cookie", "rpc.cookie_file: given together with a user or password; expected one of the two", environment={"CHAINWATCH_RPC_PASSWORD": SECRET}, flags=("--rpc.user=a", "--rpc.cookie-file=/x")),
    Wrong("two passwords", "rpc.password_file: given together with rpc.password; expected one of the two", environment={"CHAINWATCH_RPC_PASSWORD": SECRET}, flags=("--rpc.user=a", "--rpc.password-file=DIR/p"), files={"p": b"x"}),
    Wrong("user and password in one", "rpc.user: a colon ends the user's name; expected the name alone", environment={"CHAINWATCH_RPC_PASSWORD": SECRET}, flags=(f"--rpc.user=a:{SECRET}",)),
    Wrong("user without password", "rpc.user: user and password belong together; expected both or neither", flags=("--rpc.user=a",)),
    Wrong("password without user", "rpc.user: user and password belong together; expected both or neither", environment={"CHAINWATCH_RPC_PASSWORD": SECRET}),
    # addresses
    Wrong("RPC address without a scheme", "rpc.url: '127.0.0.1:8332' is no RPC address; expected http://host:port or https://host:port", flags=("--rpc.url=127.0.0.1:8332",)),
    Wrong("RPC address with a port out of range", "rpc.url: not a URL; expected http://host:port or https://host:port", flags=("--rpc.url=http://127.0.0.1:83320",)),
    Wrong("certificate authority without https", "rpc.ca_file: given for an http address; expected an https address in rpc.url", flags=("--rpc.ca-file=/x",)),
    Wrong("certificate authority that is not there", "rpc.ca_file: cannot read DIR/none; expected a PEM file", flags=("--rpc.url=https://127.0.0.1:8332", "--rpc.ca-file=DIR/none")),
    Wrong("certificate authority that is no certificate", "rpc.ca_file: cannot read DIR/ca; expected a PEM file", flags=("--rpc.url=https://127.0.0.1:8332", "--rpc.ca-file=DIR/ca"), files={"ca": b"no certificate"}),
    Wrong("folder for the state that is not there", "state.dir: DIR/none is no folder; expected a folder that this user may write to", flags=("--state.dir=DIR/none",)),
    Wrong("ZMQ address without a scheme", "zmq.url: '127.0.0.1:28332' is no ZMQ address; expected tcp://host:port or ipc://path", flags=("--zmq.url=127.0.0.1:28332",)),
    Wrong("no port to answer on", "web.listen_address: '127.0.0.1' is no address; expected host:port, such as 127.0.0.1:PORT or [::1]:PORT", flags=("--web.listen-address=127.0.0.1",)),
    Wrong("port out of range", "web.listen_address: '127.0.0.1:65536' is no address; expected host:port, such as 127.0.0.1:PORT or [::1]:PORT", flags=("--web.listen-address=127.0.0.1:65536",)),
    Wrong("path without a slash", r"web.telemetry_path: 'metrics' is not valid (in flag --web.telemetry-path); expected text that matches ^/[A-Za-z0-9._~/-]*\Z", flags=("--web.telemetry-path=metrics",)),
    Wrong("path that is a pattern to the router", r"web.telemetry_path: '/{x}' is not valid (in flag --web.telemetry-path); expected text that matches ^/[A-Za-z0-9._~/-]*\Z", flags=("--web.telemetry-path=/{x}",)),
    Wrong("path of the landing page", "web.telemetry_path: / is the landing page; expected another path, such as /metrics", flags=("--web.telemetry-path=/",)),
    Wrong("path of another route", "web.telemetry_path: /-/healthy is a path of chainwatch's own; expected another path, such as /metrics", flags=("--web.telemetry-path=/-/healthy",)),
    # web configuration
    Wrong("web configuration that is not there", "web.config.file: cannot read DIR/web.yml: No such file or directory; expected a YAML file that this user may read", flags=("--web.config.file=DIR/web.yml",)),
    Wrong("web configuration with an unknown key", "DIR/web.yml: tls_server_config.cert_fil: no such key; expected one of cert_file, key_file, client_auth_type, client_ca_file, client_allowed_sans, min_version, max_version, cipher_suites, curve_preferences, prefer_server_cipher_suites", flags=("--web.config.file=DIR/web.yml",), files={"web.yml": b"tls_server_config: {cert_fil: x}"}),
    Wrong("web configuration with a password in clear", "DIR/web.yml: basic_auth_users.alice: is not a bcrypt hash; expected the output of `htpasswd -nBC 10 NAME`", flags=("--web.config.file=DIR/web.yml",), files={"web.yml": f"basic_auth_users: {{alice: {SECRET}}}".encode()}),
    # the command line
    Wrong("misspelt flag", "--web.listen-adress: unknown flag; expected --web.listen-address", flags=("--web.listen-adress=:9332",)),
    Wrong("flag like no other", "--qqq: unknown flag; expected one of those that --help lists", flags=("--qqq", SECRET)),
    Wrong("collector's flag misspelt", "--no-collector.mempol: unknown flag; expected --no-collector.mempool", flags=("--no-collector.mempol",)),
    Wrong("flag without its value", "argument --rpc.url: expected one argument; see chainwatch check-config bitcoin --help", flags=("--rpc.url",)),
    Wrong("value without its flag", "command line: an argument that belongs to no flag; expected flags such as --rpc.url VALUE", flags=(SECRET,)),
]
# fmt: on
