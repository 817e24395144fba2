"""A server that gives canned answers by method and path, for clients and the command line."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl, urlsplit

TOKEN = "a-token-of-tests"


class Request(NamedTuple):
    """What came."""

    method: str
    path: str
    query: dict[str, str]
    token: str
    body: Any


class Canned(NamedTuple):
    """What is answered; `cut` closes the connection after so many bytes of the body."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed
    cut: int | None = None


Script = Callable[[Request], Canned | None]


def answer(document: object, status: int = 200) -> Canned:
    """An answer in JSON."""
    return Canned(status, json.dumps(document).encode())


def problem(status: int, code: str, detail: str, **more: Any) -> Canned:
    """A refusal."""
    return answer({"status": status, "code": code, "detail": detail, **more}, status)


class CannedHub:
    """Serves until the `with` block ends.

    Attributes:
        routes: (method, path) to what answers there; a list is used up from its front, its last
            element stays. None closes the connection without an answer.
        asked: All that came.
        is_hub: Whether it says that it is one.
    """

    def __init__(self) -> None:
        self.routes: dict[tuple[str, str], list[Canned | None] | Canned | Script] = {}
        self.asked: list[Request] = []
        self.token = TOKEN
        self.is_hub = True
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub._handle(self)

            def do_POST(self) -> None:
                hub._handle(self)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def paths(self) -> list[str]:
        """Method and path of all that came."""
        return [f"{request.method} {request.path}" for request in self.asked]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop_listening()
        self._thread.join()

    def stop_listening(self) -> None:
        """From now on nobody answers at the URL; a second call does nothing."""
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        length = int(handler.headers.get("Content-Length") or 0)
        body = json.loads(handler.rfile.read(length)) if length else None
        token = (handler.headers.get("Authorization") or "").removeprefix("Bearer ")
        query = dict(parse_qsl(parts.query))
        request = Request(handler.command, parts.path, query, token, body)
        self.asked.append(request)
        canned = self._canned(request)
        if canned is None:
            handler.close_connection = True
            return
        handler.send_response_only(canned.status)
        if self.is_hub:
            handler.send_header("Hpc-Hub", "a-hub-of-tests")
        for name, value in canned.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(canned.body)))
        handler.end_headers()
        handler.wfile.write(canned.body[: canned.cut])
        if canned.cut is not None:
            handler.close_connection = True

    def _canned(self, request: Request) -> Canned | None:
        if request.token != self.token:
            return problem(401, "unauthorized", "token not accepted")
        found = self.routes.get((request.method, request.path))
        if "ids" in request.query and not callable(found):
            return self._by_ids(request)
        if found is None:
            return problem(404, "not_found", f"no canned answer for {request.path}")
        if isinstance(found, list):
            return found.pop(0) if len(found) > 1 else found[0]
        return found if isinstance(found, Canned) else found(request)

    def _by_ids(self, request: Request) -> Canned:
        """What is canned for each job alone, as one answer."""
        cursor, data = 4, []
        for job_id in request.query["ids"].split(","):
            one = self._canned(Request("GET", f"/jobs/{job_id}", {}, request.token, None))
            if one is not None and one.status == 200:
                told = json.loads(one.body)
                cursor = max(cursor, told["cursor"])
                data.append(told["data"])
        return answer({"cursor": cursor, "data": data, "next": None})


def job(job_id: str = "7", state: str = "succeeded", **more: Any) -> dict[str, Any]:
    """A job as `GET /jobs/{id}` tells it."""
    is_over = state in ("succeeded", "failed", "cancelled")
    attempt = {
        "tasks": "0",
        "attempt": 1,
        "node_id": "n1",
        "state": state,
        "exit_code": 0,
        "signal": None,
        "cause": None,
        "started_at": 1000,
        "finished_at": 1250,
    }
    settled = [{"tasks": "0", "state": state, "cause": None}] if is_over else []
    return {
        "job_id": job_id, "ns_id": "batch", "name": None, "state": state,
        "phase": 3 if is_over else 1, "priority": 0, "tasks": "0", "counts": {state: 1},
        "submitted_at": 1_700_000_000_000, "why": None, "settled": settled,
        "spec": {"command": "x", "args": [], "cpu": 1, "memory": 64, "time_limit": 1.0},
        "attempts": [attempt] if is_over else [],
        **more,
    }  # fmt: skip


def ended(state: str = "failed", cause: str | None = None, **attempt: Any) -> dict[str, Any]:
    """A job of one task that ended so."""
    row = job(state=state)
    row["attempts"] = [{**row["attempts"][0], "exit_code": None, "cause": cause, **attempt}]
    row["settled"] = [{"tasks": "0", "state": state, "cause": cause}]
    return row


def knows(hub: CannedHub, row: dict[str, Any]) -> None:
    """Let the Hub know a job."""
    hub.routes["GET", f"/jobs/{row['job_id']}"] = answer({"cursor": 4, "data": row})
    hub.routes["GET", "/pull"] = answer(
        {"gid": "kernel", "cursor": 5, "facts": {"jobs": {row["job_id"]: {"phase": row["phase"]}}}}
    )


def sent(hub: CannedHub) -> dict[str, Any]:
    """The payload of the first event that was sent."""
    bodies = [request.body for request in hub.asked if request.path == "/ingest"]
    payload: dict[str, Any] = bodies[0]["events"][0]["payload"]
    return payload
