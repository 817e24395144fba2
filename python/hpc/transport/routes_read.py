"""The read routes, as Litestar handlers: what is known, streams, output, health, schema.

They pass the raw query on where the engine answers, and parse it where the Hub's own ports do. No
route here changes anything.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from email.utils import formatdate
from typing import Any, Final
from urllib.parse import quote

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from hpc.ports import HubPorts, LogQuery
from hpc.problems import bad_query
from hpc.protocols import Answer
from hpc.transport import queries
from hpc.transport.admission import Gate
from hpc.transport.asgi import Header, Respond, headers_of, send_answer
from hpc.transport.limit_table import limits
from hpc.transport.metrics import CONTENT_TYPE, render
from hpc.transport.openapi import document
from hpc.transport.problems import not_ready
from hpc.transport.streams import SSE, Stream, event_stream, poke_stream

EVENTS_LIMIT_DEFAULT: Final = 1000
TASK_MAX: Final = 2**32 - 1
LAST_BYTES_MAX: Final = 2**30

_OK: Final = 200

App = ASGIApp
"""What a handler returns: it needs nothing of Litestar's request and answers by itself."""


def read_handlers(ports: HubPorts, gate: Gate) -> list[HTTPRouteHandler]:
    """Return Litestar's handlers of the read routes."""
    reads = _Reads(ports, gate)
    schema = _bare(_Bytes(document(), b"application/json"))
    ready = _bare(_Bytes(b"ok\n", b"text/plain"))

    @get("/healthz")
    async def healthz() -> App:
        return reads.health

    @get("/readyz")
    async def readyz() -> App:
        return ready if ports.is_ready else Respond(not_ready())

    @get("/metrics")
    async def metrics() -> App:
        return reads.metrics

    @get("/jobs")
    async def jobs() -> App:
        return reads.jobs

    @get("/jobs/{job_id:str}")
    async def job() -> App:
        return reads.job

    @get("/jobs/{job_id:str}/log")
    async def job_log() -> App:
        return reads.log

    @get("/jobs/{job_id:str}/tasks")
    async def job_tasks() -> App:
        return reads.tasks

    @get("/jobs/{job_id:str}/why")
    async def job_why() -> App:
        return reads.why

    @get("/nodes")
    async def nodes() -> App:
        return reads.nodes

    @get("/namespaces")
    async def namespaces() -> App:
        return _bare(reads.namespaces)

    @get("/tokens")
    async def tokens() -> App:
        return _bare(reads.all_tokens)

    @get("/explain")
    async def explain() -> App:
        return reads.explain

    @get("/conflicts")
    async def conflicts() -> App:
        return reads.conflicts

    @get("/diff")
    async def diff() -> App:
        return reads.diff

    @get("/events")
    async def events() -> App:
        return reads.events

    @get("/pokes")
    async def pokes() -> App:
        return reads.pokes

    @get(["/schema", "/schema/openapi.json"])
    async def openapi() -> App:
        return schema

    facts = [jobs, job, job_log, job_tasks, job_why, nodes, namespaces, events, pokes]
    return [healthz, readyz, metrics, *facts, explain, conflicts, diff, tokens, openapi]


class _Bytes:
    """A constant answer."""

    def __init__(self, body: bytes, kind: bytes, headers: Iterable[Header] = ()) -> None:
        self._body = body
        self._kind = kind
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [
            (b"content-type", self._kind),
            (b"content-length", b"%d" % len(self._body)),
            *self._headers,
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self._body, "more_body": False})


def _bare(app: App) -> App:
    """Return a route that takes no query: one that has any is refused."""

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        query = queries.parsed(scope["query_string"], ())
        if isinstance(query, Answer):
            await send_answer(send, query)
        else:
            await app(scope, receive, send)

    return checked


class _Reads:
    """The read routes of one Hub, as ASGI functions."""

    def __init__(self, ports: HubPorts, gate: Gate) -> None:
        self._ports = ports
        self._gate = gate

    async def health(self, scope: Scope, receive: Receive, send: Send) -> None:
        """That the process answers; with `full=true` also what it has done."""
        query = queries.parsed(scope["query_string"], ("full",))
        full = query if isinstance(query, Answer) else queries.flag(query, "full")
        if isinstance(full, Answer):
            await send_answer(send, full)
        elif full:
            await send_answer(send, Answer(200, msgspec.json.encode(await self._figures())))
        else:
            # The one answer that says what time it is here: `hpc doctor` compares.
            date = (b"date", formatdate(usegmt=True).encode("ascii"))
            await _Bytes(b"ok\n", b"text/plain", [date])(scope, receive, send)

    async def metrics(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The same for a monitoring system."""
        query = queries.parsed(scope["query_string"], ())
        if isinstance(query, Answer):
            await send_answer(send, query)
        else:
            await _Bytes(render(await self._figures()), CONTENT_TYPE)(scope, receive, send)

    async def _figures(self) -> dict[str, Any]:
        data: dict[str, Any] = {"hub": self._ports.hub_id, "ready": self._ports.is_ready}
        data["at"] = time.time_ns() // 1_000_000
        data |= {**self._ports.figures(), **self._gate.figures()}
        data["limits"] = {**limits(), **data.get("limits", {})}
        answer = await self._ports.ask("totals", "")
        if answer.status == _OK:  # else it ends just now
            data["totals"] = msgspec.json.decode(answer.body)["data"]
        return data

    async def jobs(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A page of jobs."""
        await self._ask("jobs", "", scope, send)

    async def nodes(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A page of nodes."""
        await self._ask("nodes", "", scope, send)

    async def namespaces(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What is registered."""
        await self._ask("namespaces", "", scope, send)

    async def all_tokens(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Every token but for what it opens with."""
        await send_answer(send, self._ports.tokens())

    async def explain(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The events that a cell comes from."""
        await _put(self._ports.explain, scope, send)

    async def conflicts(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The cells that contradict themselves."""
        await _put(self._ports.conflicts, scope, send)

    async def diff(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What differs between two cursors."""
        await _put(self._ports.diff, scope, send)

    async def job(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One job as it is now; `wait` is a hot route's."""
        await self._ask("job", f"job_id={quote(_job_id(scope), safe='')}", scope, send)

    async def why(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Why a job waits, node by node."""
        await self._ask("why", f"job_id={quote(_job_id(scope), safe='')}", scope, send)

    async def tasks(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A page of a job's tasks."""
        job_id = _job_id(scope)
        await _put(lambda query: self._ports.tasks(job_id, query), scope, send)

    async def events(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A page of events, or all after a cursor as they come."""
        query = queries.parsed(scope["query_string"], ("cursor", "after", "limit", "follow", "job"))
        if isinstance(query, Answer):
            await send_answer(send, query)
            return
        cursor = _events_cursor(query, headers_of(scope))
        limit = queries.whole(query, "limit", EVENTS_LIMIT_DEFAULT, 1, queries.EVENTS_LIMIT_MAX)
        follow = queries.flag(query, "follow")
        job_id = query.get("job", [None])[0]
        if isinstance(cursor, Answer):
            await send_answer(send, cursor)
        elif isinstance(limit, Answer):
            await send_answer(send, limit)
        elif isinstance(follow, Answer):
            await send_answer(send, follow)
        elif follow:
            first = await self._ports.events(cursor, 1, job_id)
            if first.status >= 400:  # noqa: PLR2004 - where refusals begin
                await send_answer(send, first)
                return
            await Stream(event_stream(self._ports, cursor, job_id), SSE)(scope, receive, send)
        else:
            await send_answer(send, await self._ports.events(cursor, limit, job_id))

    async def pokes(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pokes as they come, of all generators or of those that are named."""
        query = queries.parsed(scope["query_string"], ("gid",), repeatable=("gid",))
        if isinstance(query, Answer):
            await send_answer(send, query)
            return
        gids = frozenset(query.get("gid", ()))
        if len(gids) > queries.GIDS_MAX:
            await send_answer(
                send, bad_query("gid", f"at most {queries.GIDS_MAX} generators", str(len(gids)))
            )
            return
        for gid in sorted(gids):
            known = await self._ports.ask("pull", f"gid={quote(gid, safe='')}&cursor=0&limit=1")
            if known.status >= 400:  # noqa: PLR2004 - where refusals begin
                await send_answer(send, known)
                return
        await Stream(poke_stream(self._ports, gids), SSE)(scope, receive, send)

    async def log(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A task's output."""
        query = _log_query(scope["query_string"])
        if isinstance(query, Answer):
            await send_answer(send, query)
            return
        reading = await self._ports.job_log(_job_id(scope), query)
        if isinstance(reading, Answer):
            await send_answer(send, reading)
            return
        # A browser that takes it for a page would run what a task has written.
        headers: list[Header] = [
            (b"content-type", b"application/octet-stream"),
            (b"x-content-type-options", b"nosniff"),
            (b"hpc-offset", b"%d" % reading.offset),
        ]
        if reading.note is not None:
            headers.append((b"hpc-note", reading.note.encode("ascii", "replace")))
        if reading.empty is not None:
            headers.append((b"hpc-empty", reading.empty.encode()))
        await Stream(reading.chunks, headers)(scope, receive, send)

    async def _ask(self, verb: str, first: str, scope: Scope, send: Send) -> None:
        """Let the engine answer; `first` goes before the client's query."""
        query = queries.text_of(scope["query_string"])
        if isinstance(query, Answer):
            await send_answer(send, query)
            return
        whole = "&".join(part for part in (first, query) if part)
        await send_answer(send, await self._ports.ask(verb, whole))


async def _put(port: Callable[[str], Awaitable[Answer]], scope: Scope, send: Send) -> None:
    """Let one of the Hub's ports answer a raw query."""
    query = queries.text_of(scope["query_string"])
    await send_answer(send, query if isinstance(query, Answer) else await port(query))


def _events_cursor(query: queries.Query, headers: Mapping[bytes, bytes]) -> int | Answer:
    """Return after which seq events are asked for; a parameter that gives way is looked at too."""
    after = queries.whole(query, "after", 0, 0)
    cursor = after if isinstance(after, Answer) else queries.whole(query, "cursor", after, 0)
    last_id = headers.get(b"last-event-id")
    if isinstance(cursor, Answer) or not last_id:
        return cursor
    # A browser that reconnects tells here how far it has come.
    return queries.whole({"cursor": [last_id.decode("latin-1")]}, "cursor", 0, 0)


def _job_id(scope: Scope) -> str:
    return str(scope["path_params"]["job_id"])


def _log_query(raw: bytes) -> LogQuery | Answer:
    numbers = {"task": (0, TASK_MAX), "last": (1, LAST_BYTES_MAX)}
    numbers |= dict.fromkeys(("after", "before"), (0, queries.INT_MAX))
    query = queries.parsed(raw, ("stream", "follow", *numbers))
    if isinstance(query, Answer):
        return query
    said: dict[str, int] = {}
    for name, (low, high) in numbers.items():
        number = queries.whole(query, name, low, low, high)
        if isinstance(number, Answer):
            return number
        if name in query:
            said[name] = number
    follow = queries.flag(query, "follow")
    stream = query.get("stream", ["stdout"])[0]
    if isinstance(follow, Answer):
        return follow
    if stream not in ("stdout", "stderr"):
        return bad_query("stream", "stdout or stderr", stream)
    if follow and "before" in said:
        return bad_query("before", "absent beside `follow`", str(said["before"]))
    return LogQuery(stream=stream, follow=follow, **said)
