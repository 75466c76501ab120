"""Settings: one typed structure per family, filled from a YAML file, the environment and flags, in that order.

Every setting has one dotted key. `rpc.cookie_file` is `rpc: {cookie_file: …}` in the file, `CHAINWATCH_RPC_COOKIE_FILE`
in the environment and `--rpc.cookie-file` on the command line. Secrets have no flag.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
import yaml
from msgspec import Meta, Struct

from chainwatch.errors import ConfigError

ENVIRONMENT_PREFIX = "CHAINWATCH_"
# The one key whose names come from the registered collectors.
SWITCHES = "collector"
SettingsT = TypeVar("SettingsT", bound=Struct)

# A sensible file of settings has tens of lines; more is a mistake or an attack on the parser.
MAX_FILE_BYTES = 1 << 20


class Secret(str):
    """A text that shows itself to nobody who only prints what holds it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Section(Struct, frozen=True, kw_only=True):
    """Base of each group of settings."""


class Web(Section, frozen=True, kw_only=True):
    """How the exporter answers."""

    listen_address: Annotated[str, Meta(description="Address to answer on, host:port.")]
    telemetry_path: Annotated[str, Meta(description="Path of the metrics page.", pattern="^/")] = "/metrics"
    config_file: Annotated[
        Path | None, Meta(description="TLS and basic authentication, in Prometheus' web configuration format.")
    ] = None
    max_connections: Annotated[int, Meta(description="Connections answered at the same time.", ge=1, le=10_000)] = 128


class Log(Section, frozen=True, kw_only=True):
    """The exporter's own log, and the node's log where it is followed."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least important level that is logged.")
    ] = "info"
    format: Annotated[Literal["logfmt", "json"], Meta(description="Format of the exporter's own log.")] = "logfmt"
    file: Annotated[
        Path | None, Meta(description="The node's log to follow, for what it tells nowhere else (off when absent).")
    ] = None


class State(Section, frozen=True, kw_only=True):
    """What survives a restart of the exporter."""

    dir: Annotated[
        Path | None,
        Meta(
            description="Folder for the small state file; systemd's StateDirectory when absent, else nothing is kept."
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Option:
    """One setting: its dotted key, type, description and default."""

    key: str
    type: Any
    description: str
    default: Any

    @property
    def secret(self) -> bool:
        """Whether the setting has no flag, since command lines are seen by everybody."""
        return Secret in (self.type, *get_args(self.type), *(a for t in get_args(self.type) for a in get_args(t)))

    @property
    def flag(self) -> str:
        """As on the command line."""
        return "--" + self.key.replace("_", "-")

    @property
    def environment(self) -> str:
        """As in the environment."""
        return ENVIRONMENT_PREFIX + self.key.replace(".", "_").upper()


@dataclass(frozen=True, slots=True)
class Given:
    """A value that somebody gave, and where."""

    value: Any
    source: str


def options(settings: Struct, prefix: str = "") -> Iterator[Option]:
    """List every setting of a structure that holds the defaults, nested sections included."""
    hints = get_type_hints(type(settings), include_extras=True)
    for name in settings.__struct_fields__:
        default, key = getattr(settings, name), prefix + name
        if isinstance(default, Section):
            yield from options(default, key + ".")
        elif key != SWITCHES:
            meta = _meta(hints[name])
            yield Option(key, hints[name], meta.description or "", default)


def load(
    settings: type[SettingsT],
    *,
    file: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, Any],
    switches: Iterable[str] = (),
) -> SettingsT:
    """Fill a structure of settings.

    `flags` and the file's content map dotted keys to values; `switches` are the names of the family's collectors, whose
    keys are `collector.NAME`. Raises `ConfigError` with one line that names the key, and where it was given.
    """
    defaults = settings()
    known = {option.key: option for option in options(defaults)}
    for name in switches:
        known[f"{SWITCHES}.{name}"] = Option(f"{SWITCHES}.{name}", bool, "", None)
    given: dict[str, Given] = {}
    if file is not None:
        given |= {key: Given(value, str(file)) for key, value in _flatten(read_yaml(file, "config.file"))}
    for option in known.values():
        if option.environment in environ:
            given[option.key] = Given(environ[option.environment], f"environment {option.environment}")
    given |= {key: Given(value, f"flag {known[key].flag}") for key, value in flags.items()}

    for key, entry in given.items():
        if key not in known:
            raise ConfigError(key, f"unknown setting (in {entry.source})", _expectation(key, known))
    values = {key: _convert(known[key], entry) for key, entry in given.items()}
    return _filled(defaults, values)


def read_yaml(file: Path, key: str) -> Mapping[str, Any]:
    """Read a YAML file whose top level is a mapping; `key` names the setting that pointed to it in errors."""
    try:
        with file.open("rb") as stream:
            text = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(key, f"cannot read {file}: {error.strerror}") from None
    if len(text) > MAX_FILE_BYTES:
        raise ConfigError(key, f"{file} is larger than {MAX_FILE_BYTES} bytes", "a file of settings")
    try:
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        where = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(key, f"{file}{where}: not YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        raise ConfigError(key, f"{file}: not YAML", "a text file") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(key, f"{file}: the top level is a {type(content).__name__}", "a mapping of sections")
    return content


def read_secret(file: Path, key: str) -> str:
    """Read a secret from the first line of a file; the text never appears in an error."""
    try:
        lines = file.read_text().splitlines()
    except OSError as error:
        raise ConfigError(key, f"cannot read {file}: {error.strerror}", "a file that this user may read") from None
    except UnicodeDecodeError:
        raise ConfigError(key, f"{file} is not text", "a file with the secret on its first line") from None
    if not lines or not lines[0]:
        raise ConfigError(key, f"{file} is empty", "the secret on its first line")
    return lines[0]


def host_and_port(address: str, key: str) -> tuple[str, int]:
    """Split host:port ([::1]:port for IPv6; an empty host means every interface)."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535 or (":" in host and not host.startswith("[")):
        raise ConfigError(key, f"{address!r} is no address", "host:port, such as 127.0.0.1:9332 or [::1]:9332")
    return host.strip("[]"), int(port)


def _meta(hint: Any) -> Meta:
    """The description of a setting; a setting without one is a mistake of ours."""
    for extra in get_args(hint)[1:] if get_origin(hint) is Annotated else ():
        if isinstance(extra, Meta):
            return extra
    raise TypeError(f"{hint} has no description")


def _flatten(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            yield from _flatten(value, key + ".")
        else:
            yield key, value


def _expectation(key: str, known: Mapping[str, Option]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return close[0] if close else "one of " + ", ".join(sorted({name.partition(".")[0] for name in known}))


def _convert(option: Option, entry: Given) -> Any:
    if entry.value is None and option.default is None:
        return None
    try:
        return msgspec.convert(entry.value, option.type, strict=False, dec_hook=_decode)
    except (msgspec.ValidationError, ValueError) as error:
        problem = str(error).partition(" - at `$")[0]
        problem = problem[:1].lower() + problem[1:]
        raise ConfigError(option.key, f"{problem} (in {entry.source})", _expected(option.type)) from None


def _decode(target: type, value: Any) -> Any:
    if target is Secret and isinstance(value, str):
        return Secret(value)
    if target is Path and isinstance(value, str) and value:
        return Path(value).expanduser()
    raise ValueError(f"{value!r} is no path" if target is Path else f"cannot read a {target.__name__}")


def _expected(hint: Any) -> str:
    """A type in words."""
    if get_origin(hint) is Annotated:
        inner, *extras = get_args(hint)
        bounds = [
            f"{word} {bound}"
            for meta in extras
            if isinstance(meta, Meta)
            for word, bound in (("at least", meta.ge), ("more than", meta.gt), ("at most", meta.le))
            if bound is not None
        ]
        return " and ".join([_expected(inner), *bounds])
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_expected(inner) for inner in get_args(hint) if inner is not types.NoneType)
    if get_origin(hint) in (tuple, list):
        return "a list"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}.get(
        hint, getattr(hint, "__name__", str(hint))
    )


def _filled(defaults: SettingsT, values: Mapping[str, Any], prefix: str = "") -> SettingsT:
    """Return the defaults with the given values in their places."""
    changes: dict[str, Any] = {}
    for name in defaults.__struct_fields__:
        default, key = getattr(defaults, name), prefix + name
        if isinstance(default, Section):
            changes[name] = _filled(default, values, key + ".")
        elif key == SWITCHES:
            start = SWITCHES + "."
            changes[name] = {key.removeprefix(start): on for key, on in values.items() if key.startswith(start)}
        elif key in values:
            changes[name] = values[key]
    return msgspec.structs.replace(defaults, **changes)
