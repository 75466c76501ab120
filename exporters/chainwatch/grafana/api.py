"""Grafana's HTTP API as far as boards need it, by grafana-client, with errors that say what to check."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import niquests
from grafana_client.api import GrafanaApi
from grafana_client.client import GrafanaException, GrafanaServerError, GrafanaTimeoutError
from yarl import URL

from chainwatch import __version__
from chainwatch.grafana.errors import GrafanaError, RefusedError
from chainwatch.grafana.results import QueryResult
from chainwatch.grafana.settings import GrafanaSection, address, token, verified_by
from chainwatch.logs import one_line

OLDEST = 10  # the first major version that reads our boards
MAX_WORDS = 300  # of a text of Grafana's in a message of ours

Json = dict[str, Any]

# What may stand in a data source's address, which Grafana quotes in errors.
_LOGIN = re.compile(r"(?<=://)[^/\s@\"']+@")
_QUERY = re.compile(r"(?<=[\w/])\?[^\s\"']+")


@dataclass(frozen=True, slots=True)
class Remote:
    """A board as Grafana has it, and where it lies (`folder` is a uid, empty for none)."""

    board: Json
    version: int
    folder: str
    provisioned: bool
    file: str  # of the provisioning, where known
    can_save: bool


class Grafana:
    """One Grafana, asked with one token. `with` closes the connection."""

    def __init__(self, settings: GrafanaSection) -> None:
        """Open no connection yet. Raises `ConfigError`."""
        self.url = address(settings)
        self._token = token(settings)
        self._timeout = settings.timeout
        connect: Any = GrafanaApi  # which has no types
        self._api = connect(
            self._token,
            protocol=self.url.scheme,
            host=self.url.host_subcomponent,
            port=self.url.port,
            url_path_prefix=self.url.raw_path.strip("/") + "/" * (self.url.raw_path.strip("/") != ""),
            verify=verified_by(settings),
            timeout=settings.timeout,
            user_agent=f"chainwatch/{__version__}",
        )
        session = self._api.client.s
        session.trust_env = False  # no proxy and no .netrc that nobody named
        session.max_redirects = 0  # a redirected POST becomes a GET

    def __enter__(self) -> Grafana:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.client.s.close()

    def check_version(self) -> None:
        """Ask /api/health, which needs no token. Raises `GrafanaError` unless a Grafana answers that is new enough."""
        try:
            health = self._ask("its version", lambda: self._api.client.GET("/health"), dict)
        except RefusedError as error:
            if error.status == 404:
                raise self._no_grafana("its version", "404") from None
            raise
        if "database" not in health:
            raise self._no_grafana("its version", "an answer without `database`")
        major = re.match(r"(\d+)\.", str(health.get("version", "")))  # some hide it
        if major and int(major[1]) < OLDEST:
            shown = self.clean(str(health["version"]))
            raise GrafanaError(f"Grafana at {self.url} is {shown}; the boards need {OLDEST}.0 or later")

    def board(self, uid: str) -> Remote | None:
        """Return the board of this uid, None when Grafana has none."""
        what = f"board {uid}"
        try:
            found = self._ask(what, lambda: self._api.dashboard.get_dashboard(uid), dict)
        except RefusedError as error:
            if error.status == 404:
                return None
            raise
        board, meta = found.get("dashboard"), found.get("meta")
        if not isinstance(board, dict) or not isinstance(meta, dict):
            raise self._misshapen(what)
        folder = meta.get("folderUid") or ""
        if not isinstance(folder, str):
            raise self._misshapen(what)
        return Remote(
            board,
            version=board["version"] if isinstance(board.get("version"), int) else 0,
            folder=folder,
            provisioned=meta.get("provisioned") is True,
            file=self.clean(str(meta.get("provisionedExternalId") or "")),
            can_save=meta.get("canSave") is not False,
        )

    def save(self, board: Mapping[str, Any], version: int | None, folder: str) -> URL:
        """Create a board (`version` None) or replace that version of it; return its address in a browser.

        Never overwrites: what somebody saved since `version` was read makes Grafana refuse (412).
        """
        model = {**board, "id": None} | ({} if version is None else {"version": version})
        body = {
            "dashboard": model,
            "folderUid": folder,
            "message": f"chainwatch {__version__}",
            "overwrite": False,
        }
        uid = str(board["uid"])
        self._ask(f"saving board {uid}", lambda: self._api.dashboard.update_dashboard(body), dict)
        return self.url / "d" / uid

    def folder_uid(self, title: str, uid: str) -> str | None:
        """Return the uid of the folder that we made under `uid`, or else of one with this title; None without one."""
        what = f"folder {uid}"
        try:
            return self._uid(what, self._ask(what, lambda: self._api.folder.get_folder(uid), dict))
        except RefusedError as error:
            if error.status not in (403, 404):  # where rights are per folder, what is not there is forbidden
                raise
        what = "its folders"
        for each in self._ask(what, self._api.folder.get_all_folders, list):
            if not isinstance(each, dict):
                raise self._misshapen(what)
            if each.get("title") == title:
                return self._uid(what, each)
        return None

    def create_folder(self, title: str, uid: str) -> str:
        """Make a folder; return its uid."""
        what = f"making folder {title}"
        return self._uid(what, self._ask(what, lambda: self._api.folder.create_folder(title, uid), dict))

    def data_sources(self) -> Sequence[Json]:
        """Return what GET /api/datasources lists: uid, name, type, isDefault and more."""
        found = self._ask("its data sources", self._api.datasource.list_datasources, list)
        return [each for each in found if isinstance(each, dict)]

    def query(self, what: str, queries: Sequence[Json], since: str) -> dict[str, QueryResult | None]:
        """Ask queries of data sources from `since` (now-3h) to now; return the results by refId.

        Grafana answers 400 when one of them failed, with the results of the others.
        """
        body = {"queries": list(queries), "from": since, "to": "now"}
        try:
            answer = self._ask(what, lambda: self._api.client.POST("/ds/query", json=body), dict)
        except RefusedError as error:
            if not isinstance(error.answer, dict) or not isinstance(error.answer.get("results"), dict):
                raise
            answer = error.answer
        try:
            return msgspec.convert(answer.get("results"), dict[str, QueryResult | None])
        except msgspec.ValidationError:
            raise self._misshapen(what) from None

    def clean(self, text: str) -> str:
        """Make a text of Grafana's fit to be shown: one line, not long, without secrets of ours and of others."""
        hidden = _QUERY.sub("?…", _LOGIN.sub("…@", text.replace(self._token, "…")))
        return one_line(hidden if len(hidden) <= MAX_WORDS else hidden[:MAX_WORDS] + "…")

    def _ask(self, what: str, call: Callable[[], object], expected: type) -> Any:
        asked = f"{what} at {self.url}"
        with self._sentences(asked):
            answer = call()
        if isinstance(answer, str):
            raise self._no_grafana(what, "text instead of JSON")
        if not isinstance(answer, expected):
            raise self._misshapen(what)
        return answer

    def _uid(self, what: str, folder: Json) -> str:
        uid = folder.get("uid")
        if not isinstance(uid, str) or not uid:
            raise self._misshapen(what)
        return uid

    @contextmanager
    def _sentences(self, asked: str) -> Iterator[None]:
        """Turn what grafana-client raises, and lets through, into errors of ours; in none of them is the token."""
        try:
            yield
        except GrafanaTimeoutError:
            raise GrafanaError(
                f"{asked}: no answer within {self._timeout:g} s; is Grafana overloaded, or grafana.timeout too short?"
            ) from None
        except GrafanaException as error:
            raise self._refused(asked, error) from None
        except niquests.exceptions.TooManyRedirects as error:
            raise GrafanaError(
                f"{asked}: redirected to {self._location(error)}; give the address behind that. "
                "Is it https, or below a path? Does a proxy ask for a login first?"
            ) from None
        except niquests.exceptions.SSLError as error:
            raise GrafanaError(f"{asked}: {_tls_problem(error)}") from None
        except niquests.exceptions.JSONDecodeError:
            raise GrafanaError(f"{asked}: the answer is not JSON; does Grafana answer there, or a proxy?") from None
        except niquests.exceptions.ConnectionError as error:
            raise GrafanaError(f"{asked}: {_cause(error)}; does Grafana run, and is this its address?") from None
        except niquests.exceptions.RequestException as error:
            raise GrafanaError(f"{asked}: the connection broke ({type(error).__name__}); did Grafana stop?") from None

    def _refused(self, asked: str, error: GrafanaException) -> GrafanaError:
        status, answer = error.status_code, error.response
        said = answer.get("message") if isinstance(answer, dict) else None
        words = f"{status} {self.clean(str(said))}" if said else f"{status} without a word of Grafana's"
        if status == 401:
            return GrafanaError(
                f"{asked}: {words}. The token is not accepted: expired, revoked, of another Grafana, or not a token?"
            )
        hints = {
            403: ". The token's service account may not; it needs the role Editor, or rights on this folder",
            404: "" if said else "; is Grafana served below a path? Then the address needs it",
        }
        hint = "; see Grafana's log" if isinstance(error, GrafanaServerError) else hints.get(status, "")
        return RefusedError(f"{asked}: {words}{hint}", status, answer)

    def _no_grafana(self, what: str, came: str) -> GrafanaError:
        return GrafanaError(
            f"{what} at {self.url}: {came}; no Grafana answers there. Is it served below a path, such as /grafana? "
            "Does a proxy ask for a login first?"
        )

    def _misshapen(self, what: str) -> GrafanaError:
        return GrafanaError(f"{what} at {self.url}: the answer is not as Grafana documents it; which version is it?")

    def _location(self, error: niquests.exceptions.TooManyRedirects) -> str:
        location = error.response.headers.get("Location", "") if error.response is not None else ""
        try:
            return self.clean(str(URL(location).with_query(None).with_user(None).with_fragment(None)))
        except ValueError:
            return "an address that is none"


def _origin_of(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, the nearest first."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _cause(error: BaseException) -> str:
    """Why there is no connection, in the system's words."""
    for each in _origin_of(error):
        if isinstance(each, OSError) and each.errno:
            return os.strerror(each.errno)
        if "NameResolution" in type(each).__name__:
            return "no such host name"
    return "no connection"


def _tls_problem(error: BaseException) -> str:
    for each in _origin_of(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return f"the TLS certificate is not accepted ({one_line(each.verify_message)}); see grafana.ca_file"
    return "no TLS there; is the address http and not https?"
