"""The OpenAPI document at `/schema`, for the hot routes and the read routes alike.

Written by hand: bodies are decoded in Rust, so that no Python type describes them. A test holds
its paths against the routes, and a fuzzer what it says against a Hub. Here stand the routes; the
schemas are openapi_schemas.py's, the refusals openapi_refusals.py's, the dashboard's routes
openapi_ui.py's. What each field means stands in docs/http.md.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from hpc._core import __version__
from hpc.transport.openapi_refusals import common_headers, headers, references, responses
from hpc.transport.openapi_schemas import (
    BATCH_ID,
    ID,
    INT,
    MAP,
    STATE,
    TASK,
    TEXT,
    ref,
    schemas,
)
from hpc.transport.openapi_ui import ui_paths, ui_schemas

JSON: Final = "application/json"
MSGPACK: Final = "application/msgpack"
BYTES: Final = "application/octet-stream"
PLAIN: Final = "text/plain"
SSE: Final = "text/event-stream"
OPENMETRICS: Final = "application/openmetrics-text"
FLAG: Final = {"type": "boolean", "default": False}
SECONDS: Final = {"type": "number", "minimum": 0, "maximum": 60, "default": 0}

Parameters = list[dict[str, Any]]

_DESCRIPTION: Final = (
    "A Hub of hpc: five verbs (ingest, control, pull, claim, poke) and routes that only read. An "
    "error of the network or a time-out means unknown: send the same id again. Unknown fields and "
    "parameters are refused. What is JSON here is MessagePack where `Accept` names that first."
)


def document() -> bytes:
    """Return the document as JSON."""
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "hpc",
                "version": __version__,
                "description": _DESCRIPTION,
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": "/"}],
            "security": [{"token": []}],
            "tags": [
                {"name": "verbs", "description": "All that comes in, and the facts"},
                {"name": "reads", "description": "Routes that only read"},
                {"name": "dashboard", "description": "Its files, and logging in"},
            ],
            "paths": {**_verbs(), **_lists(), **_jobs(), **_log(), **_process(), **ui_paths()},
            "components": {
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
                "parameters": {"Protocol": _protocol()},
                "headers": headers(),
                "schemas": {**schemas(), **ui_schemas()},
                "responses": responses(),
            },
        }
    )


def _protocol() -> dict[str, Any]:
    return _header("Hpc-Protocol", ref("Protocol"), "The version that the client speaks")


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _needed(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {**_query(name, schema, description), "required": True}


def _header(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "schema": schema, "description": description}


def _whole(most: int, default: int | None) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 1, "maximum": most}
    return schema if default is None else {**schema, "default": default}


_AT: Final = _query("at", INT, "As it was when the log ended at this seq; not beside `wait`")
_NEXT: Final = _query("after", TEXT, "The former page's `next`")
_PAGE: Final = [_NEXT, _query("limit", _whole(10_000, 1000), "Entries")]
_JOB_ID: Final = {"name": "job_id", "in": "path", "required": True, "schema": ID}


def _get(
    operation_id: str,
    summary: str,
    answer: dict[str, Any],
    parameters: Parameters,
    *refused: int,
    tag: str = "reads",
) -> dict[str, Any]:
    """Return the path of a GET."""
    return {
        "get": {
            "operationId": operation_id,
            "summary": summary,
            "tags": [tag],
            "parameters": [{"$ref": "#/components/parameters/Protocol"}, *parameters],
            "responses": {"200": answer, **references(refused)},
        }
    }


def _post(
    operation_id: str,
    summary: str,
    content: dict[str, Any],
    answer: str,
    *refused: int,
    parameters: Parameters | None = None,
) -> dict[str, Any]:
    """Return the path of a POST."""
    path = _get(operation_id, summary, _json(answer), parameters or [], *refused, tag="verbs")
    return {"post": {**path["get"], "requestBody": {"required": True, "content": content}}}


def _forms(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the media types of a body: what is JSON can be MessagePack as well."""
    return {kind: {"schema": schema} for kind in (JSON, MSGPACK)}


def _json(answer: str) -> dict[str, Any]:
    """Return the 200 of a route that answers in JSON."""
    return {"description": "OK", "headers": common_headers(), "content": _forms(ref(answer))}


def _other(content: dict[str, Any], **more: str) -> dict[str, Any]:
    """Return the 200 of a route that answers something else; `more` describes headers."""
    told = {
        name.replace("_", "-"): {"description": of, "schema": TEXT} for name, of in more.items()
    }
    return {"description": "OK", "headers": common_headers() | told, "content": content}


def _verbs() -> dict[str, Any]:
    batch = [
        _header("Idempotency-Key", BATCH_ID, "The batch's id, where the body has none"),
        _query("dry_run", FLAG, "Answer what it would do, and record nothing"),
    ]
    pull = [
        _needed("gid", ID, "The generator"),
        _query("cursor", {**INT, "default": 0}, "What the reader has; 0 is nothing"),
        _query("limit", _whole(100_000, 10_000), "Rows"),
        _query("wait", SECONDS, "Seconds to wait for news"),
        _query("table", TEXT, "Only this table"),
        _query("row", TEXT, "Only this row of the table"),
        _query("column", TEXT, "Only this column of the row"),
        _query("hub", TEXT, "The Hub that gave the cursor"),
        _query("version", INT, "The generator's version that gave the cursor"),
        _AT,
    ]
    offered = "Offer a batch of events; all are well-formed and recorded, or none is"
    registered = "Register a namespace, a generator or a token, or revoke a token"
    claimed = "A relay offers all its resources and receives leases"
    changed = "The facts of one generator that changed since a cursor"
    return {
        "/ingest": _post(
            "ingest",
            offered,
            _forms(ref("Batch")),
            "Receipt",
            *(404, 409, 413, 415, 422, 507),
            parameters=batch,
        ),
        "/control": _post(
            "control",
            registered,
            _forms(ref("Control")),
            "Registered",
            *(404, 409, 413, 415, 422, 507),
        ),
        "/pull": _get("pull", changed, _json("Facts"), pull, 404, 410, tag="verbs"),
        "/claim": _post(
            "claim", claimed, _forms(ref("Claim")), "Grants", 404, 409, 413, 415, 422, 507
        ),
        "/pokes": _get(
            "pokes",
            "Which generators have news, as events `poke` with the data {gid, cursor}",
            _other({SSE: {"schema": TEXT}}),
            [{**_query("gid", {"type": "array", "items": ID, "maxItems": 100}, "Only these")}],
            404,
            tag="verbs",
        ),
        "/outputs": _outputs(),
    }


def _outputs() -> dict[str, Any]:
    frames = {
        "type": "string",
        "format": "binary",
        "description": (
            "Frames: length of the header (u32, little-endian), a JSON header {job_id, task, "
            "attempt, stream, offset, length, end?, now?}, then `length` bytes"
        ),
    }
    path = _post(
        "store_outputs",
        "Store output of tasks",
        {BYTES: {"schema": frames}},
        "Stored",
        *(413, 415, 422, 507),
    )
    path["post"]["requestBody"]["required"] = False  # a body of no frame is empty
    return path


def _lists() -> dict[str, Any]:
    jobs = [
        *_PAGE,
        _query("ns", TEXT, "Only of this namespace"),
        _query("state", STATE, "Only in this state"),
        _query("name", TEXT, "Only under this label"),
        _query("since", INT, "Only submitted then or later, in ms since 1970"),
        _query("until", INT, "Only submitted before then, in ms since 1970"),
        _query("order", {"enum": ["asc", "desc"], "default": "asc"}, "Oldest or newest first"),
        _query("ids", TEXT, "These alone, such as `a,b`: at most 1,000, and no other page"),
        _AT,
    ]
    return {
        "/jobs": _get("list_jobs", "Jobs", _json("JobPage"), jobs, 404, 410),
        "/nodes": _get("list_nodes", "Nodes", _json("NodePage"), [*_PAGE, _AT], 410),
        "/namespaces": _get(
            "list_namespaces",
            "Registered namespaces and generators",
            _json("NamespacePage"),
            [],
        ),
        "/tokens": _get(
            "list_tokens", "Tokens, but for what they open with", _json("TokenPage"), []
        ),
    }


def _jobs() -> dict[str, Any]:
    wait = _query("wait", SECONDS, "Seconds to wait for its end")
    log = [
        _JOB_ID,
        _query("task", TASK, "By default the job's first"),
        _query("stream", {"enum": ["stdout", "stderr"], "default": "stdout"}, "Which output"),
        _query("follow", FLAG, "Go on as it comes"),
        _query("last", _whole(2**30, None), "Only the last so many of the bytes that there are"),
        _query("after", INT, "Begin at this offset in the stream"),
        _query("before", INT, "End at this offset in the stream; not beside `follow`"),
    ]
    tasks = [
        _JOB_ID,
        _query("after", TASK, "Tasks of a greater number: the former page's `next`"),
        _query("limit", _whole(10_000, 1000), "Tasks"),
        _query("state", STATE, "Only in this state"),
        _AT,
    ]
    output = _other(
        {BYTES: {"schema": {"type": "string", "format": "binary"}}},
        Hpc_Note="What of it is missing; absent where nothing is",
        Hpc_Offset="The offset in the stream, in bytes, at which the answer begins",
    )
    all_tasks = "A job's tasks, by number: how each ended, what it used, its entry"
    why = "Why a job waits: in a sentence, for each node, and how many tasks are ahead"
    return {
        "/jobs/{job_id}": _get(
            "get_job", "One job", _json("JobAnswer"), [_JOB_ID, wait, _AT], 404, 410
        ),
        "/jobs/{job_id}/log": _get("get_job_log", "A task's output", output, log, 404),
        "/jobs/{job_id}/tasks": _get(
            "list_job_tasks", all_tasks, _json("TaskPage"), tasks, 404, 410
        ),
        "/jobs/{job_id}/why": _get(
            "get_job_why", why, _json("WhyAnswer"), [_JOB_ID, _AT], 404, 410
        ),
    }


def _log() -> dict[str, Any]:
    explain = [
        _needed("gid", ID, "A generator"),
        _needed("table", TEXT, "One of its tables"),
        _needed("key", TEXT, "A row of it"),
        _needed("column", TEXT, "A column of the row"),
        _query("after", INT, "Events after this seq"),
        _query("limit", _whole(10_000, 100), "So many events"),
        _query("why_not", FLAG, "Those that spoke of the cell and did not change it"),
        _AT,
    ]
    conflicts = [
        _query("gid", ID, "Only of this generator"),
        _NEXT,
        _query("limit", _whole(1000, 100), "Cells"),
        _AT,
    ]
    diff = [
        _query("gid", {**ID, "default": "kernel"}, "The generator"),
        _needed("from", INT, "The earlier cursor"),
        _query("to", INT, "The later cursor, by default the end of the log"),
        _query("cursor", INT, "Of the former page"),
        _query("limit", _whole(100_000, 10_000), "Rows"),
        _query("table", TEXT, "Only this table"),
    ]
    events = [
        _query("cursor", {**INT, "default": 0}, "Events after this seq"),
        _query("after", INT, "The same: the former page's `next`"),
        _query("limit", _whole(10_000, 1000), "Events"),
        _query("job", TEXT, "Only those that speak of this job"),
        _query("follow", FLAG, "Go on as it comes, with the seq as event id"),
        _header(
            "Last-Event-ID",
            {"type": "string", "pattern": "^([0-9]{1,18})?$"},
            "In place of `cursor`",
        ),
    ]
    stream = _json("EventPage")
    stream["content"] = {**stream["content"], SSE: {"schema": TEXT}}
    said_twice = "What was to be said once and was said in several ways, with the events"
    differ = "The cells that differ between two cursors"
    return {
        "/events": _get("list_events", "Events as they were recorded", stream, events, 410),
        "/explain": _get(
            "explain", "Which events a cell comes from", _json("Explained"), explain, 404, 410
        ),
        "/conflicts": _get(
            "list_conflicts", said_twice, _json("ConflictPage"), conflicts, 404, 410
        ),
        "/diff": _get("diff", differ, _json("Diff"), diff, 404, 410),
    }


def _process() -> dict[str, Any]:
    full = _query("full", FLAG, "Counts since the start, as JSON; this needs the token")
    health = _other(
        {PLAIN: {"schema": {"const": "ok\n"}}, **_forms(ref("Health"))},
        Date="The Hub's clock; of the plain answer",
    )
    ready = _other({PLAIN: {"schema": {"const": "ok\n"}}})
    schema = _other(_forms(MAP))
    metrics = _other({OPENMETRICS: {"schema": TEXT}})
    paths = {
        "/healthz": _get("health", "Is it alive?", health, [full]),
        "/readyz": _get("ready", "Is the log recovered?", ready, []),
        "/metrics": _get("metrics", "The figures of health, as OpenMetrics", metrics, []),
        "/schema": _get("schema", "This document", schema, []),
        "/schema/openapi.json": _get("openapi_json", "The same", schema, []),
    }
    paths["/healthz"]["get"]["security"] = [{}, {"token": []}]
    paths["/readyz"]["get"]["security"] = []
    return paths
