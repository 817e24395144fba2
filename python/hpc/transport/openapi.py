"""The OpenAPI document at `/schema`, for the hot routes and the read routes alike.

Written by hand: bodies are decoded in Rust, so that no Python type describes them. A test holds
its paths against the routes. What each field means stands in the design; here stands its shape.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from hpc._core import __version__
from hpc.states import STATES
from hpc.transport.metrics import CONTENT_TYPE as METRICS_TYPE

JSON: Final = "application/json"
ID: Final = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"}
INT: Final = {"type": "integer", "minimum": 0}
TEXT: Final = {"type": "string"}
FLAG: Final = {"type": "boolean", "default": False}
MAP: Final = {"type": "object", "additionalProperties": True}
_REGISTERED: Final = ("Namespace", "Generator", "Token")
_IDS: Final[dict[str, Any]] = {"ns_id": ID, "gid": ID, "token_id": ID}


def document() -> bytes:
    """Return the document as JSON."""
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "hpc",
                "version": __version__,
                "description": (
                    "A Hub of hpc: five verbs (ingest, control, pull, claim, poke) and routes that "
                    "only read. An error or a time-out means unknown: send the same id again."
                ),
            },
            "security": [{"token": []}],
            "paths": {**_hot_paths(), **_read_paths()},
            "components": {
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
                "schemas": {**_schemas(), "Problem": _problem()},
                "responses": {
                    "Refused": {
                        "description": "Refused; nothing was recorded",
                        "content": {"application/problem+json": {"schema": _ref("Problem")}},
                    }
                },
            },
        }
    )


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: list[str], closed: bool = True, **fields: object) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "object", "properties": fields}
    if required:
        found["required"] = required
    if closed:
        found["additionalProperties"] = False
    return found


def _list(items: object) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": description}


SECONDS: Final[dict[str, Any]] = {"type": "number", "minimum": 0, "maximum": 60}


def _at() -> dict[str, Any]:
    return _query("at", INT, "As it was when the log ended at this seq")


def _path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": ID}


def _header(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "schema": TEXT, "description": description}


def _operation(
    summary: str,
    *,
    answer: str | None = None,
    kind: str = JSON,
    body: str | None = None,
    parameters: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    schema = _ref(answer) if answer else TEXT
    found: dict[str, Any] = {
        "summary": summary,
        "responses": {
            "200": {"description": "OK", "content": _forms(kind, schema)},
            "4XX": {"$ref": "#/components/responses/Refused"},
            "5XX": {"$ref": "#/components/responses/Refused"},
        },
    }
    if parameters:
        found["parameters"] = parameters
    if body:
        found["requestBody"] = {
            "required": True,
            "content": _forms(JSON, _ref(body)),
        }
    return found


def _forms(kind: str, schema: object) -> dict[str, Any]:
    """Return the media types of a body: what is JSON can be MessagePack as well."""
    kinds = (JSON, "application/msgpack") if kind == JSON else (kind,)
    return {one: {"schema": schema} for one in kinds}


def _hot_paths() -> dict[str, Any]:
    outputs = _operation("Store output of tasks, as frames", answer="Stored")
    outputs["requestBody"] = {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string"}}},
        "description": (
            "Frames: length of the header (u32, little-endian), a JSON header {job_id, task, "
            "attempt, stream, offset, length, end?, now?}, then `length` bytes"
        ),
    }
    return {
        "/ingest": {
            "post": _operation(
                "Offer a batch of events; all are well-formed and recorded, or none is",
                body="Batch",
                answer="Receipt",
                parameters=[
                    _header("Idempotency-Key", "The batch's id, where the body has none"),
                    _query("dry_run", FLAG, "Answer what it would do, and record nothing"),
                ],
            )
        },
        "/control": {
            "post": _operation(
                "Register a namespace or a generator", body="Control", answer="Registered"
            )
        },
        "/pull": {
            "get": _operation(
                "The facts of one generator that changed since a cursor",
                answer="Facts",
                parameters=[
                    {**_query("gid", ID, "The generator"), "required": True},
                    _query("cursor", INT, "What the reader has; 0 is nothing"),
                    _query("limit", {"type": "integer", "minimum": 1, "maximum": 100000}, "Rows"),
                    _query("wait", SECONDS, "Seconds to wait for news"),
                    _query("table", TEXT, "Only this table"),
                    _query("row", TEXT, "Only this row of the table"),
                    _query("column", TEXT, "Only this column of the row"),
                    _query("hub", TEXT, "The Hub that gave the cursor"),
                    _query("version", INT, "The generator's version that gave the cursor"),
                    _at(),
                ],
            )
        },
        "/claim": {
            "post": _operation(
                "A relay offers all its resources and receives leases",
                body="Claim",
                answer="Grants",
            )
        },
        "/outputs": {"post": outputs},
    }


def _read_paths() -> dict[str, Any]:
    paging = [_query("after", TEXT, "The former page's `next`"), _query("limit", INT, "Entries")]
    jobs = [
        *paging,
        _query("ns", ID, "Only of this namespace"),
        _query("state", TEXT, "Only in this state"),
        _query("name", TEXT, "Only under this label"),
        _query("order", {"enum": ["asc", "desc"], "default": "asc"}, "Oldest or newest first"),
        _query("ids", TEXT, "These alone, such as `a,b`: at most 1,000, and no other page"),
        _at(),
    ]
    follow = _query("follow", FLAG, "Go on as it comes")
    health = [_query("full", FLAG, "Counts since the start, as JSON; this needs the token")]
    log = [
        _path("job_id"),
        _query("task", INT, "By default the job's first"),
        _query("stream", {"enum": ["stdout", "stderr"], "default": "stdout"}, "Which output"),
        follow,
    ]
    tasks = [
        _path("job_id"),
        _query("after", INT, "Tasks of a greater number: the former page's `next`"),
        _query("limit", {"type": "integer", "minimum": 1, "maximum": 10_000}, "Tasks"),
        _query("state", {"enum": STATES}, "Only in this state"),
        _at(),
    ]
    explain = [
        {**_query("gid", ID, "A generator"), "required": True},
        {**_query("table", TEXT, "One of its tables"), "required": True},
        {**_query("key", TEXT, "A row of it"), "required": True},
        {**_query("column", TEXT, "A column of the row"), "required": True},
        _query("after", INT, "Events after this seq"),
        _query("limit", {"type": "integer", "minimum": 1, "maximum": 10_000}, "So many events"),
        _query("why_not", FLAG, "Those that spoke of the cell and did not change it"),
        _at(),
    ]
    events = [
        _query("cursor", INT, "Events after this seq"),
        _query("limit", {"type": "integer", "minimum": 1, "maximum": 10000}, "Events"),
        _query("job", ID, "Only those that speak of this job"),
        follow,
        _header("Last-Event-ID", "Where a stream that was cut goes on"),
    ]
    pokes = [{**_query("gid", _list(ID), "Only these generators"), "explode": True}]
    stream = "text/event-stream"
    is_open: dict[str, Any] = {"security": []}
    return {
        "/jobs": {"get": _operation("Jobs", answer="Page", parameters=jobs)},
        "/jobs/{job_id}": {
            "get": _operation(
                "One job",
                answer="One",
                parameters=[
                    _path("job_id"),
                    _query("wait", SECONDS, "Seconds to wait for its end"),
                    _at(),
                ],
            )
        },
        "/jobs/{job_id}/log": {
            "get": _operation(
                "A task's output; what is missing stands in the header `Hpc-Note`",
                kind="application/octet-stream",
                parameters=log,
            )
        },
        "/jobs/{job_id}/tasks": {
            "get": _operation(
                "A job's tasks, by number: how each ended, what it used, its entry",
                answer="Tasks",
                parameters=tasks,
            )
        },
        "/jobs/{job_id}/why": {
            "get": _operation(
                "Why a job waits: in a sentence, for each node, and how many tasks are ahead",
                answer="Why",
                parameters=[_path("job_id"), _at()],
            )
        },
        "/nodes": {"get": _operation("Nodes", answer="Page", parameters=[*paging, _at()])},
        "/tokens": {"get": _operation("Tokens, but for what they open with", answer="Page")},
        "/namespaces": {"get": _operation("Registered namespaces and generators", answer="Page")},
        "/explain": {
            "get": _operation(
                "Which events a cell comes from", answer="Explained", parameters=explain
            )
        },
        **_comparing_paths(),
        "/events": {
            "get": _operation(
                "Events as they were recorded; with `follow` a stream with the seq as event id",
                answer="Page",
                parameters=events,
            )
        },
        "/pokes": {"get": _operation("Which generators have news", kind=stream, parameters=pokes)},
        "/healthz": {
            "get": {
                **_operation("Is it alive?", kind="text/plain", parameters=health),
                **is_open,
            }
        },
        "/readyz": {"get": {**_operation("Is the log recovered?", kind="text/plain"), **is_open}},
        "/metrics": {"get": _operation("Figures as OpenMetrics", kind=METRICS_TYPE.decode())},
        "/schema": {"get": _operation("This document", answer="Any")},
    }


def _comparing_paths() -> dict[str, Any]:
    conflicts = [
        _query("gid", ID, "Only of this generator"),
        _query("after", TEXT, "The former page's `next`"),
        _query("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "Cells"),
        _at(),
    ]
    diff = [
        _query("gid", {**ID, "default": "kernel"}, "The generator"),
        {**_query("from", INT, "The earlier cursor"), "required": True},
        _query("to", INT, "The later cursor, by default the end of the log"),
        _query("cursor", INT, "Of the former page"),
        _query("limit", {"type": "integer", "minimum": 1, "maximum": 100_000}, "Rows"),
        _query("table", TEXT, "Only this table"),
    ]
    return {
        "/conflicts": {
            "get": _operation(
                "What was to be said once and was said in several ways, with the events",
                answer="Page",
                parameters=conflicts,
            )
        },
        "/diff": {
            "get": _operation(
                "The cells that differ between two cursors", answer="Diff", parameters=diff
            )
        },
    }


def _schemas() -> dict[str, Any]:
    ranges = {"type": "string", "description": "Numbers as ranges, such as `0-9,12`"}
    ctx = _object(
        [],
        ns_id=ID,
        job_id=ID,
        node_id=ID,
        target=ID,
        priority={"type": "integer"},
        tasks=ranges,
        entries=_list({}),
        attempt=INT,
        epoch=INT,
        slots=INT,
        name={"type": "string", "maxLength": 200},
    )
    payload = _object([], ctx=_ref("Ctx"), spec=MAP)
    held = _object(["job_id", "attempt", "tasks"], job_id=ID, attempt=INT, tasks=ranges)
    return {
        "Any": MAP,
        "Ctx": ctx,
        "Event": _object(["kind", "payload"], kind=TEXT, at=INT, payload=payload),
        "Batch": _object(
            ["events"],
            id=TEXT,
            events={"type": "array", "items": _ref("Event"), "minItems": 1, "maxItems": 100000},
        ),
        "Receipt": _object(
            ["id", "count", "duplicate"],
            closed=False,
            id=TEXT,
            first_seq=INT,
            count=INT,
            duplicate={"type": "boolean"},
            jobs=_list(ID),
            pokes=_list(ID),
            deltas=MAP,
        ),
        "Control": _object(
            ["type", "spec"],
            type={"enum": [f"Register{what}" for what in _REGISTERED] + ["RevokeToken"]},
            **_IDS,
            spec=MAP,
            replace={"type": "integer", "minimum": 1},
        ),
        "Registered": _object(
            ["duplicate"],
            closed=False,
            **_IDS,
            version=INT,
            seq=INT,
            duplicate={"type": "boolean"},
            building={"type": "boolean"},
            since={"type": "integer"},
        ),
        "Facts": _object(
            ["gid", "cursor", "facts", "more"],
            closed=False,
            gid=ID,
            cursor=INT,
            facts=MAP,
            more={"type": "boolean"},
            overflow=MAP,
            snapshot={"type": "boolean"},
            since={"type": "integer"},
            building={"type": "boolean"},
            failed={"type": "boolean"},
        ),
        "Claim": _object(
            ["node_id", "host", "place", "session", "epoch", "n", "ns", "resources"],
            node_id=ID,
            host=TEXT,
            place=TEXT,
            session=TEXT,
            epoch=INT,
            n=INT,
            ns=_list(ID),
            resources=MAP,
            max=INT,
            wait={"type": "number", "minimum": 0},
            holds=_list(held),
            takeover={"type": "boolean"},
            labels=MAP,
            time_left={"type": "number", "minimum": 0},
            leaving={"type": "boolean"},
        ),
        "Grants": _object(
            ["n", "lease_s", "grants", "cancels", "give_back", "tail"],
            closed=False,
            n=INT,
            lease_s={"type": "number"},
            grants=_list(MAP),
            cancels=_list(MAP),
            give_back=_list(MAP),
            tail=_list(MAP),
        ),
        "Explained": _object(
            ["cursor", "events", "more"],
            closed=False,
            cursor=INT,
            events=_list(MAP),
            more={"type": "boolean"},
            after=INT,
        ),
        "Diff": _object(
            ["gid", "from", "to", "data", "cursor", "more"],
            closed=False,
            gid=ID,
            to=INT,
            data=MAP,
            cursor=INT,
            more={"type": "boolean"},
            **{"from": INT},
        ),
        "Tasks": _object(
            ["cursor", "data", "next"],
            cursor=INT,
            data=_list(_task()),
            next={"type": ["integer", "null"]},
        ),
        "Why": _object(["cursor", "data"], cursor=INT, data=_why()),
        "Stored": _object(["bytes"], bytes=INT, dropped={"type": "boolean"}),
        "Page": _object(["cursor", "data"], closed=False, cursor=INT, data=_list(MAP)),
        "One": _object(["cursor", "data"], closed=False, cursor=INT, data=MAP),
    }


def _why() -> dict[str, Any]:
    yes_or_no = {"type": "boolean"}
    ahead = _object(["higher", "earlier", "more"], higher=INT, earlier=INT, more=yes_or_no)
    return _object(
        ["job_id", "why", "ahead", "nodes"],
        job_id=ID,
        why={"type": ["string", "null"]},
        ahead={**ahead, "type": ["object", "null"]},
        nodes=_list(_object(["node_id", "fits", "why"], node_id=ID, fits=yes_or_no, why=TEXT)),
    )


def _task() -> dict[str, Any]:
    int_or_null = {"type": ["integer", "null"]}
    text_or_null = {"type": ["string", "null"]}
    number_or_null = {"type": ["number", "null"]}
    fields: dict[str, Any] = {
        "attempt": int_or_null,
        "node_id": text_or_null,
        "exit_code": int_or_null,
        "signal": int_or_null,
        "cause": text_or_null,
        "started_at": int_or_null,
        "finished_at": int_or_null,
        "duration_s": number_or_null,
        "peak_memory_bytes": int_or_null,
        "cpu_seconds": number_or_null,
        "entry": {},
    }
    required = ["task", "state", *fields]
    state = {"enum": STATES}
    fields |= {"reason": TEXT, "detail": TEXT}
    return _object(required, task=INT, state=state, **fields)


def _problem() -> dict[str, Any]:
    error = _object(
        ["field", "expected", "got"],
        closed=False,
        event=INT,
        field=TEXT,
        expected=TEXT,
        got=TEXT,
        hint=TEXT,
    )
    return _object(
        ["type", "title", "status", "detail", "code"],
        closed=False,
        type=TEXT,
        title=TEXT,
        status=INT,
        detail=TEXT,
        code=TEXT,
        hint=TEXT,
        errors=_list(error),
    )
