"""Settings: one typed structure per family, filled from a YAML file, the environment and flags, in that order.

Every setting has one dotted key. `rpc.cookie_file` is `rpc: {cookie_file: …}` in the file, `CHAINWATCH_RPC_COOKIE_FILE`
in the environment and `--rpc.cookie-file` on the command line. Secrets have no flag.
"""

from __future__ import annotations

import difflib
import math
import re
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
CONFIG_FILE_ENVIRONMENT = "CHAINWATCH_CONFIG_FILE"
# The one key whose names come from the registered collectors.
SWITCHES = "collector"
SettingsT = TypeVar("SettingsT", bound=Struct)

# A sensible file of settings has tens of lines; more is a mistake or an attack on the parser.
MAX_FILE_BYTES = 1 << 20
MAX_SECRET_BYTES = 1 << 12


class Secret(str):
    """A text that shows itself to nobody who only prints what holds it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Section(Struct, frozen=True, kw_only=True):
    """Base of each group of settings."""


class WebConfigFile(Section, frozen=True, kw_only=True):
    """Who may read the pages."""

    file: Annotated[
        Path | None, Meta(description="TLS and basic authentication, in Prometheus' web configuration format.")
    ] = None


class Web(Section, frozen=True, kw_only=True):
    """How the exporter answers."""

    listen_address: Annotated[str, Meta(description="Address to answer on, host:port.")]
    telemetry_path: Annotated[str, Meta(description="Path of the metrics page.", pattern=r"^/[A-Za-z0-9._~/-]*\Z")] = (
        "/metrics"
    )
    config: WebConfigFile = WebConfigFile()
    max_connections: Annotated[int, Meta(description="Connections answered at the same time.", ge=1, le=10_000)] = 128


class Log(Section, frozen=True, kw_only=True):
    """The exporter's own log."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least important level that is logged.")
    ] = "info"
    format: Annotated[Literal["logfmt", "json"], Meta(description="Format of the exporter's own log.")] = "logfmt"


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
    keys are `collector.NAME`. An environment variable that is empty counts as not given, as in compose files. Raises
    `ConfigError` with one line that names the key, and where it was given.
    """
    defaults = settings()
    known = _known(defaults, switches)
    given: dict[str, Given] = {}
    if file is not None:
        given |= _in_file(read_yaml(file, "config.file"), known, str(file))
    for option in known.values():
        if environ.get(option.environment):
            given[option.key] = Given(environ[option.environment], f"environment {option.environment}")
    given |= {key: Given(value, f"flag {known[key].flag}") for key, value in flags.items()}
    return _filled(defaults, {key: _convert(known[key], entry) for key, entry in given.items()})


def misspelt(settings: type[Struct], environ: Mapping[str, str], switches: Iterable[str] = ()) -> dict[str, str]:
    """Environment variables that set nothing though they look as if they should, each with what may be meant.

    Others may begin with CHAINWATCH_ too: Kubernetes sets CHAINWATCH_PORT for a service of that name.
    """
    known = _known(settings(), switches)
    names = {option.environment.removeprefix(ENVIRONMENT_PREFIX) for option in known.values()}
    sections = {key.partition(".")[0].upper() for key in known}
    found = {}
    for variable in environ:
        name = variable.removeprefix(ENVIRONMENT_PREFIX)
        if name == variable or name in names or variable == CONFIG_FILE_ENVIRONMENT:
            continue
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.8)
        section = name.partition("_")[0]
        if close or section in sections:
            candidates = close or sorted(other for other in names if other.startswith(section + "_"))
            found[variable] = ", ".join(ENVIRONMENT_PREFIX + other for other in candidates)
    return found


def read_yaml(file: Path, key: str) -> Mapping[str, Any]:
    """Read a YAML file whose top level is a mapping; `key` names the setting that pointed to it in errors."""
    text = _read(file, key, MAX_FILE_BYTES, "a YAML file that this user may read")
    if len(text) > MAX_FILE_BYTES:
        raise ConfigError(key, f"{file} is larger than {MAX_FILE_BYTES} bytes", "a file of settings")
    try:
        content = _Loader(text, file).get_single_data()
    except yaml.MarkedYAMLError as error:
        where = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        # A password that begins with * or ! is an alias or a tag to YAML, which would be quoted here.
        problem = re.sub(r"'(?!\\?.')..+'", "'…'", error.problem or "", flags=re.DOTALL)
        raise ConfigError(key, f"{file}{where}: not YAML: {problem}", "YAML, with odd characters in quotes") from None
    # Values such as 2026-13-45 and !!int x fail in Python's own ways.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError):
        raise ConfigError(key, f"{file}: not YAML", "a YAML file") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(key, f"{file}: the top level is {_kind(content)}", "a mapping of sections")
    return content


def read_secret(file: Path, key: str) -> str:
    """Read a secret from the first line of a file; the text never appears in an error."""
    content = _read(file, key, MAX_SECRET_BYTES, "a file that this user may read")
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        raise ConfigError(key, f"{file} is not text", "a file with the secret on its first line") from None
    if len(content) > MAX_SECRET_BYTES:
        raise ConfigError(key, f"{file} is larger than {MAX_SECRET_BYTES} bytes", "the secret on its first line")
    if not lines or not lines[0]:
        raise ConfigError(key, f"{file} is empty", "the secret on its first line")
    return lines[0]


def host_and_port(address: str, key: str) -> tuple[str, int]:
    """Split host:port ([::1]:port for IPv6; an empty host means every interface)."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+(?:%\w+)?)\]|([^\s:\[\]/]*)):([0-9]{1,5})", address, re.ASCII)
    if match is None or int(match[3]) > 65535:
        raise ConfigError(key, f"{address!r} is no address", "host:port, such as 127.0.0.1:PORT or [::1]:PORT")
    return match[1] or match[2], int(match[3])


class _Loader(yaml.SafeLoader):
    """YAML forbids a key given twice; PyYAML would take the last without a word."""

    def __init__(self, text: bytes, file: Path) -> None:
        super().__init__(text)
        self._file = file

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse repeated keys."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    line = key.start_mark.line + 1
                    raise ConfigError(
                        f"{self._file}: {key.value}", f"given more than once (line {line})", "each key once"
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _read(file: Path, key: str, limit: int, expected: str) -> bytes:
    """Read a file, at most one byte more than `limit`: a device or a pipe may never end."""
    try:
        with file.open("rb") as stream:
            return stream.read(limit + 1)
    except OSError as error:
        raise ConfigError(key, f"cannot read {file}: {error.strerror}", expected) from None


def _meta(hint: Any) -> Meta:
    """The description of a setting; a setting without one is a mistake of ours."""
    for extra in get_args(hint)[1:] if get_origin(hint) is Annotated else ():
        if isinstance(extra, Meta):
            return extra
    raise TypeError(f"{hint} has no description")


def _known(defaults: Struct, switches: Iterable[str]) -> dict[str, Option]:
    """Every setting by its key, the collectors' switches included."""
    known = {option.key: option for option in options(defaults)}
    return known | {key: Option(key, bool, "", None) for key in (f"{SWITCHES}.{name}" for name in switches)}


def _in_file(content: Mapping[str, Any], known: Mapping[str, Option], file: str, prefix: str = "") -> dict[str, Given]:
    """Flatten a file's sections into dotted keys; raises `ConfigError` for whatever is no setting."""
    given: dict[str, Given] = {}
    for name, value in content.items():
        key = f"{prefix}{name}"
        members = [other for other in known if other.startswith(key + ".")]
        if members and isinstance(value, dict):
            more = _in_file(value, known, file, key + ".")
        elif members and value is not None:
            raise ConfigError(key, f"{_kind(value)} instead of a section (in {file})", "one of " + ", ".join(members))
        elif key in known:
            more = {key: Given(value, file)}
        elif members:  # a section whose lines are all commented out
            continue
        else:
            raise ConfigError(key, f"unknown setting (in {file})", _neighbour(key, prefix, known))
        if twice := given.keys() & more.keys():
            raise ConfigError(twice.pop(), f"given more than once (in {file})", "each key once")
        given |= more
    return given


def _neighbour(key: str, prefix: str, known: Mapping[str, Option]) -> str:
    """What may be meant by an unknown key."""
    close = difflib.get_close_matches(key, known, n=1)
    siblings = {prefix + name[len(prefix) :].partition(".")[0] for name in known if name.startswith(prefix)}
    return close[0] if close else "one of " + ", ".join(sorted(siblings))


def _convert(option: Option, entry: Given) -> Any:
    if entry.value is None and option.default is None:
        return None
    try:
        value = msgspec.convert(entry.value, _not_none(option.type), strict=False, dec_hook=_decode)
        if not isinstance(value, float) or math.isfinite(value):
            return value
    except (msgspec.ValidationError, ValueError):
        pass
    expected = _expected(_not_none(option.type))
    if expected == "text" and not isinstance(entry.value, str | dict | list | None):
        expected = "text, in quotes"
    if expected == "text" and isinstance(entry.value, list) and not option.secret:
        expected = "text; several, where they may be, with commas between"
    shown = _kind(entry.value) if option.secret else _shown(entry.value)
    raise ConfigError(option.key, f"{shown} is not valid (in {entry.source})", expected)


def _not_none(hint: Any) -> Any:
    """The type of a value that was given; msgspec knows limits on `X`, but not on `X | None`."""
    if get_origin(hint) is not Annotated:
        return hint
    inner, *extras = get_args(hint)
    if get_origin(inner) in (Union, types.UnionType):
        (inner,) = (kind for kind in get_args(inner) if kind is not types.NoneType)
    return Annotated[(inner, *extras)]


def _decode(target: type, value: Any) -> Any:
    if target is Secret and isinstance(value, str):
        return Secret(value)
    if target is Path and isinstance(value, str) and value and "\0" not in value:
        try:
            return Path(value).expanduser()
        except RuntimeError:  # ~somebody who does not exist
            pass
    raise ValueError


def _kind(value: Any) -> str:
    """What a value from YAML is, in words and without showing it."""
    kinds = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return "nothing" if value is None else kinds.get(type(value), f"a {type(value).__name__}")


def _shown(value: Any) -> str:
    """A value for an error message; mappings and lists may hold anything, so only their kind."""
    if isinstance(value, dict | list | None):
        return _kind(value)
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:80] + "…"


def _expected(hint: Any) -> str:
    """A type in words."""
    if get_origin(hint) is Annotated:
        inner, *extras = get_args(hint)
        limits = [
            f"{word} {limit}"
            for meta in extras
            if isinstance(meta, Meta)
            for word, limit in (
                ("at least", meta.ge),
                ("more than", meta.gt),
                ("at most", meta.le),
                ("that matches", meta.pattern),
            )
            if limit is not None
        ]
        return " ".join([_expected(inner), " and ".join(limits)]).strip()
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    words = {int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}
    return words.get(hint, "text")


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
