"""A stub of Grafana's HTTP API, strict in what it takes.

Shapes, statuses and messages are those of Grafana's documentation, pages "Dashboard HTTP API", "Folder HTTP API", "Data
source HTTP API" (with "Query a data source") and "Other HTTP API" (health), and of Grafana's own errors.go where the
pages only number them.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Json = dict[str, Any]
Answer = tuple[int, object]

TOKEN = "glsa_Xk2vLQ7nZ0sT4uYw_8c1d2e3f"
_UID = re.compile(r"[a-zA-Z0-9_-]*")
_DENIED = {
    "accessErrorId": "ACE0123456789",
    "message": "You'll need additional permissions to perform this action. Permissions needed: dashboards:write",
    "title": "Access denied",
}


@dataclass
class Stored:
    """A board as Grafana keeps it."""

    data: Json
    folder: str
    version: int = 1
    provisioned: bool = False
    can_save: bool = True
    messages: list[str] = field(default_factory=list)


def frames(*columns: list[float], labels: dict[str, str] | None = None) -> Json:
    """A result with one frame, its columns time and value."""
    value = {"name": "Value", "type": "number", "labels": labels or {}}
    fields = [{"name": "Time", "type": "time"}, value]
    return {"status": 200, "frames": [{"schema": {"refId": "A", "fields": fields}, "data": {"values": list(columns)}}]}


class Grafana:
    """The stub; `with` starts and stops it. Tests set its state and read `requests`."""

    def __init__(self, path: str = "", tls: ssl.SSLContext | None = None) -> None:
        """Serve below `path`, by TLS where a context is given."""
        self.path = path
        self.health: Answer = (200, {"database": "ok", "version": "12.0.1", "commit": "80658a7"})
        self.folders: dict[str, str] = {}  # uid: title
        self.boards: dict[str, Stored] = {}
        self.closed_folders: set[str] = set()  # the token may not write there
        self.unreadable: set[str] = set()  # boards
        self.may_list_sources = True
        self.sources = [
            {"id": 1, "uid": "loki-uid", "name": "Loki", "type": "loki", "isDefault": False, "access": "proxy"},
            {"id": 2, "uid": "other-uid", "name": "A first", "type": "prometheus", "isDefault": False},
            {"id": 3, "uid": "prom-uid", "name": "Prometheus", "type": "prometheus", "isDefault": True},
        ]
        self.answer: Callable[[Json], Json] = lambda query: frames([1.0], [1.0])
        self.misshapen: dict[str, object] = {}  # "GET /api/folders": what comes with 200 in place of the answer
        self.before_save: Callable[[], None] = lambda: None
        self.requests: list[tuple[str, str, Any]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._server.server_port}{path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def writes(self) -> list[str]:
        """The paths of requests that change something."""
        return [path for method, path, _ in self.requests if method != "GET" and path != "/api/ds/query"]

    @property
    def queries(self) -> list[Json]:
        """Every query asked of a data source."""
        return [query for _, path, body in self.requests if path == "/api/ds/query" for query in body["queries"]]

    def respond(self, method: str, path: str, token: str | None, body: Any) -> Answer:
        """Answer one request."""
        self.requests.append((method, path, body))
        if path == "/api/health":
            return self.health
        if token != f"Bearer {TOKEN}":
            return 401, {"message": "Invalid API key", "messageId": "api-key.invalid", "statusCode": 401}
        if method == "POST" and not isinstance(body, dict):
            return 400, {"message": "bad request data"}
        if f"{method} {path}" in self.misshapen:
            return 200, self.misshapen[f"{method} {path}"]
        for pattern, answer in (
            ("GET /api/folders", self._list_folders),
            ("POST /api/folders", self._make_folder),
            (r"GET /api/folders/([\w-]+)", self._folder),
            (r"GET /api/dashboards/uid/([\w-]+)", self._board),
            ("POST /api/dashboards/db", self._save),
            ("GET /api/datasources", self._data_sources),
            ("POST /api/ds/query", self._query),
        ):
            if match := re.fullmatch(pattern, f"{method} {path}"):
                given: Any = body if method == "POST" else "".join(match.groups())
                return answer(given)
        return 404, {"message": "Not found"}

    def _list_folders(self, _: object) -> Answer:
        return 200, [{"id": n, "uid": uid, "title": title} for n, (uid, title) in enumerate(self.folders.items(), 1)]

    def _folder(self, uid: str) -> Answer:
        if uid not in self.folders:
            return 404, {"message": "folder not found", "status": "not-found"}
        return 200, {"id": 1, "uid": uid, "title": self.folders[uid], "canSave": uid not in self.closed_folders}

    def _make_folder(self, body: Json) -> Answer:
        uid, title = body.get("uid", ""), body.get("title")
        if body.keys() - {"uid", "title", "parentUid"} or not isinstance(uid, str):
            return 400, {"message": "bad request data"}
        if not title:
            return 400, {"message": "folder title cannot be empty"}
        if not _UID.fullmatch(uid):
            return 400, {"message": "uid contains illegal characters"}
        if len(uid) > 40:
            return 400, {"message": "uid too long, max 40 characters"}
        if uid in self.folders or uid in self.boards:
            return 409, {"message": "a folder/dashboard with the same uid already exists"}
        if "*" in self.closed_folders:
            return 403, _DENIED
        self.folders[uid] = title
        return self._folder(uid)

    def _board(self, uid: str) -> Answer:
        stored = self.boards.get(uid)
        if uid in self.unreadable:
            return 403, _DENIED
        if stored is None:
            return 404, {"message": "Dashboard not found"}
        meta = {
            "slug": "a-slug",
            "url": f"{self.path}/d/{uid}/a-slug",
            "folderUid": stored.folder,
            "canSave": stored.can_save,
            "provisioned": stored.provisioned,
            "provisionedExternalId": "fleet.json" if stored.provisioned else "",
        }
        return 200, {"dashboard": {**stored.data, "id": 7, "version": stored.version}, "meta": meta}

    def _save(self, body: Json) -> Answer:
        self.before_save()
        board, folder = body.get("dashboard"), body.get("folderUid", "")
        if body.keys() - {"dashboard", "folderUid", "message", "overwrite"} or not isinstance(board, dict):
            return 400, {"message": "bad request data"}
        if refusal := self._invalid(board, str(body.get("message", ""))):
            return refusal
        if folder and folder not in self.folders:
            return 400, {"message": "folder not found"}
        if folder in self.closed_folders:
            return 403, _DENIED
        stored = self.boards.get(board["uid"])
        if stored is not None:
            if stored.provisioned:
                return 400, {"message": "Cannot save provisioned dashboard"}
            if not stored.can_save:
                return 403, _DENIED
            if board.get("version", 0) != stored.version and body.get("overwrite") is not True:
                said = "The dashboard has been changed by someone else"
                return 412, {"message": said, "status": "version-mismatch"}
        version = stored.version + 1 if stored else 1
        messages = [*(stored.messages if stored else []), str(body.get("message", ""))]
        data = {key: value for key, value in board.items() if key not in ("id", "version")}
        self.boards[board["uid"]] = Stored(data, folder, version, messages=messages)
        url = f"{self.path}/d/{board['uid']}/a-slug"
        return 200, {
            "id": 7,
            "uid": board["uid"],
            "url": url,
            "status": "success",
            "version": version,
            "slug": "a-slug",
        }

    def _invalid(self, board: Json, message: str) -> Answer | None:
        if not board.get("title"):
            return 400, {"message": "Dashboard title cannot be empty", "status": "empty-name"}
        if not _UID.fullmatch(board.get("uid") or ""):
            return 400, {"message": "uid contains illegal characters"}
        if len(board["uid"]) > 40:
            return 400, {"message": "uid too long, max 40 characters"}
        if len(message) > 500:
            return 400, {"message": "message too long, max 500 characters"}
        if board["uid"] in self.folders:
            return 400, {"message": "Dashboard cannot be changed to a folder"}
        if board.get("id") not in (None, 7):
            return 404, {"message": "Dashboard not found", "status": "not-found"}
        return None

    def _data_sources(self, _: object) -> Answer:
        if not self.may_list_sources:
            return 403, {**_DENIED, "message": "Permissions needed: datasources:read"}
        return 200, self.sources

    def _query(self, body: Json) -> Answer:
        queries = body.get("queries")
        if body.keys() != {"queries", "from", "to"} or not isinstance(queries, list) or not queries:
            return 400, {"message": "bad request data"}
        results = {}
        for query in queries:
            known = {source["uid"]: source["type"] for source in self.sources}
            source = query["datasource"]
            if known.get(source["uid"]) != source["type"]:
                return 404, {"message": "Data source not found"}
            # The data source knows Grafana's own variables only.
            foreign = re.search(r"\$(?!__\w+)\w*", query["expr"])
            said = f"bad_data: parse error at {foreign[0]}" if foreign else ""
            results[query["refId"]] = {"error": said, "status": 400} if said else self.answer(query)
        return (400 if any(isinstance(each, dict) and "error" in each for each in results.values()) else 200), {
            "results": results
        }


def _handler(grafana: Grafana) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            plain = self.headers.get("Content-Type", "").startswith("application/json")
            body = json.loads(raw) if raw and plain else None
            path = self.path.partition("?")[0]
            if grafana.path and not path.startswith(grafana.path + "/"):
                self._send(404, "text/html", b"<html>nginx: not found</html>")
                return
            token = self.headers.get("Authorization")
            status, answer = grafana.respond(self.command, path.removeprefix(grafana.path), token, body)
            if isinstance(answer, str):  # a page of somebody before Grafana, or a redirect
                self._send(status, "text/html", answer.encode())
            else:
                self._send(status, "application/json; charset=UTF-8", json.dumps(answer).encode())

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _serve  # noqa: N815

        def _send(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            if status in (301, 302):
                self.send_header("Location", body.decode())
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler
