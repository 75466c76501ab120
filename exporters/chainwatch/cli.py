"""The command line: one command for each family, made from its settings and collectors, and a few for people."""

from __future__ import annotations

import argparse
import asyncio
import difflib
import logging
import os
import pkgutil
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from msgspec import Struct

from chainwatch import __version__, families, logs
from chainwatch.config import CONFIG_FILE_ENVIRONMENT, SWITCHES, SettingsT, load, misspelt, options
from chainwatch.errors import ChainwatchError, ConfigError
from chainwatch.exposition.catalogue import as_markdown
from chainwatch.exposition.family import Action, Family
from chainwatch.exposition.service import Service, check
from chainwatch.grafana.settings import Settings as GrafanaSettings

log = logging.getLogger(__name__)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; raises `ChainwatchError` with a line for the user."""
    chosen, unknown = parser().parse_known_args(arguments)
    if unknown:
        raise _unknown(unknown, getattr(chosen, "settings", None), getattr(chosen, "family", None))
    command: Callable[[argparse.Namespace], int] = chosen.command
    return command(chosen)


def known_families() -> list[Family[Any]]:
    """Return every family that has a folder."""
    modules = pkgutil.iter_modules(families.__path__)
    found: list[Family[Any]] = [import_module(f"{families.__name__}.{module.name}").FAMILY for module in modules]
    for family in found:
        family.collectors.load()
    return found


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with a command line; argparse would print its usage, of a hundred lines."""

    def error(self, message: str) -> NoReturn:
        """Raise `ChainwatchError`."""
        raise ChainwatchError(f"{message}; see {self.prog} --help")


def parser() -> argparse.ArgumentParser:
    """Return the whole command line."""
    top = _Parser(
        prog="chainwatch",
        description="Watches blockchain nodes and the networks they take part in.",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"chainwatch {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    found = known_families()
    for family in found:
        watch = commands.add_parser(family.name, help=family.summary, allow_abbrev=False)
        _add_actions(watch, family)
        _add_settings(watch, family)
        watch.set_defaults(family=family, settings=family.settings, command=partial(_watch, family))
    for name, summary, act in (
        ("check-config", "Say whether settings are right, without starting.", _check_config),
        ("doctor", "Find out why a node cannot be watched, or not wholly.", _doctor),
    ):
        which = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        kinds = which.add_subparsers(metavar="FAMILY", required=True)
        for family in found:
            kind = kinds.add_parser(family.name, help=family.summary, allow_abbrev=False)
            _add_settings(kind, family)
            kind.set_defaults(family=family, settings=family.settings, command=partial(act, family))
    _add_grafana(commands)
    metrics = commands.add_parser("metrics", help="Print the catalogue of all metrics as Markdown.")
    metrics.set_defaults(command=_metrics)
    return top


def _add_actions(command: argparse.ArgumentParser, family: Family[Any]) -> None:
    """Let a word take the place of watching, where the family has such words."""
    if family.actions:
        command.add_argument(
            "action",
            nargs="?",
            choices=[action.name for action in family.actions],
            help=_escaped("; ".join(f"{action.name}: {action.summary}" for action in family.actions)),
        )


def _add_settings(command: argparse.ArgumentParser, family: Family[Any]) -> None:
    """Give a command a flag for each setting and each collector of a family."""
    _add_options(command, family.settings())
    switches = command.add_argument_group("collectors")
    for registration in family.collectors:
        state = "on" if registration.default else "off"
        switches.add_argument(
            f"--{SWITCHES}.{registration.flag}",
            dest=f"{SWITCHES}.{registration.name}",
            action=_Switch,
            default=argparse.SUPPRESS,
            nargs=0,
            help=_escaped(f"{registration.summary} Default: {state}."),
        )


def _add_options(command: argparse.ArgumentParser, settings: Struct) -> None:
    """Give a command a flag for each setting that is no secret."""
    command.add_argument(
        "--config.file",
        dest="config.file",
        type=Path,
        default=argparse.SUPPRESS,
        metavar="FILE",
        help=f"YAML file with the same settings. [{CONFIG_FILE_ENVIRONMENT}]",
    )
    for option in options(settings):
        if option.secret:
            continue
        default = "" if option.default is None else f" Default: {option.default}."
        command.add_argument(
            option.flag,
            dest=option.key,
            default=argparse.SUPPRESS,
            metavar="VALUE",
            help=_escaped(f"{option.description}{default} [{option.environment}]"),
        )


def _add_grafana(commands: Any) -> None:
    """Add `chainwatch grafana` with its words; argparse does not name the type of what holds commands."""
    summary = "Put the boards into a Grafana that you have, compare them with those there, ask their queries."
    grafana = commands.add_parser("grafana", help=summary, description=summary, allow_abbrev=False)
    words = grafana.add_subparsers(metavar="ACTION", required=True)
    for word, what, act in (
        ("push", "Create and update the boards; delete nothing. Exit code 1 when one was refused.", _grafana_push),
        ("diff", "Print what a push would change. Exit code 1 when there is anything.", _grafana_diff),
        ("check", "Ask every panel's queries. Exit code 1 for an error, 2 for empty panels only.", _grafana_check),
    ):
        action = words.add_parser(word, help=what, description=what, allow_abbrev=False)
        _add_options(action, GrafanaSettings())
        if act is _grafana_push:
            action.add_argument("--dry-run", action="store_true", help="Write nothing; say what would be.")
        action.set_defaults(settings=GrafanaSettings, command=act)


class _Switch(argparse.Action):
    """--collector.NAME and --no-collector.NAME."""

    def __init__(self, option_strings: Sequence[str], **rest: Any) -> None:
        super().__init__([*option_strings, *(f"--no-{name[2:]}" for name in option_strings)], **rest)

    def __call__(self, _parser: Any, namespace: argparse.Namespace, _values: Any, option: str | None = None) -> None:
        setattr(namespace, self.dest, not (option or "").startswith("--no-"))


def _unknown(arguments: Sequence[str], settings: type[Struct] | None, family: Family[Any] | None) -> ConfigError:
    """What to say of arguments that nobody knows; never what stands beside the flag, it may be a secret."""
    flags = [argument.partition("=")[0] for argument in arguments if argument.startswith("-")]
    if not flags:
        return ConfigError("command line", "an argument that belongs to no flag", "flags such as --rpc.url VALUE")
    known = list(options(settings())) if settings else []
    for option in known:
        if option.secret and option.flag == flags[0]:
            where = f"{option.environment}, or {option.key} in the file"
            return ConfigError(flags[0], "unknown flag: everybody can see a command line", where)
    switches = [f"--{no}{SWITCHES}.{each.flag}" for each in (family.collectors if family else ()) for no in ("", "no-")]
    names = [option.flag for option in known if not option.secret] + switches
    close = difflib.get_close_matches(flags[0], names, n=1)
    return ConfigError(flags[0], "unknown flag", close[0] if close else "one of those that --help lists")


def _load(family: Family[Any], chosen: argparse.Namespace) -> Any:
    """Read flags, environment and file into the family's settings."""
    return _settings(family.settings, chosen, [registration.name for registration in family.collectors])


def _settings(kind: type[SettingsT], chosen: argparse.Namespace, switches: Sequence[str] = ()) -> SettingsT:
    """Read flags, environment and file into settings."""
    keys = {option.key for option in options(kind())} | {f"{SWITCHES}.{name}" for name in switches}
    flags = {key: value for key, value in vars(chosen).items() if key in keys}
    file = getattr(chosen, "config.file", None) or os.environ.get(CONFIG_FILE_ENVIRONMENT)
    return load(kind, file=Path(file) if file else None, environ=os.environ, flags=flags, switches=switches)


def _checked(family: Family[Any], chosen: argparse.Namespace) -> Any:
    settings = _load(family, chosen)
    check(family, settings)
    logs.configure(settings.log.level, settings.log.format)
    switches = [registration.name for registration in family.collectors]
    for variable, meant in misspelt(family.settings, os.environ, switches).items():
        log.warning("environment variable %s sets nothing; meant %s?", variable, meant)
    return settings


def _watch(family: Family[Any], chosen: argparse.Namespace) -> int:
    for action in family.actions:
        if action.name == chosen.action:
            return _act(family, action, chosen)
    _checked(family, chosen)
    asyncio.run(_serve(family, partial(_load, family, chosen)))
    return 0


def _act(family: Family[Any], action: Action[Any], chosen: argparse.Namespace) -> int:
    settings = _load(family, chosen)
    logs.configure(settings.log.level, settings.log.format)
    return action.run(settings)


async def _serve(family: Family[Any], settings: Callable[[], Any]) -> None:
    await Service(family, settings).run()


def _check_config(family: Family[Any], chosen: argparse.Namespace) -> int:
    _checked(family, chosen)
    print("The settings are right.")
    return 0


def _doctor(family: Family[Any], chosen: argparse.Namespace) -> int:
    return family.doctor(_checked(family, chosen))


# What speaks to Grafana takes a quarter of a second to import, which exporters need not wait for.


def _grafana_push(chosen: argparse.Namespace) -> int:
    from chainwatch.grafana import command

    return command.push(_settings(GrafanaSettings, chosen), dry_run=chosen.dry_run)


def _grafana_diff(chosen: argparse.Namespace) -> int:
    from chainwatch.grafana import command

    return command.diff(_settings(GrafanaSettings, chosen))


def _grafana_check(chosen: argparse.Namespace) -> int:
    from chainwatch.grafana import command

    return command.check_boards(_settings(GrafanaSettings, chosen))


def _metrics(_: argparse.Namespace) -> int:
    print(as_markdown(), end="")
    return 0


def _escaped(text: str) -> str:
    """Argparse formats help with %."""
    return text.replace("%", "%%")
