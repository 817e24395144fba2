"""Schemas of the OpenAPI document: bodies of requests, and what is answered.

What is sent is closed, as the Hub refuses what it does not know; what is answered is open, since a
later Hub may tell more. What each field means stands in docs/http.md.
"""

from __future__ import annotations

from typing import Any, Final

from hpc._core import kernel_kinds
from hpc.states import STATES
from hpc.tokens import ROLES
from hpc.transport.openapi_refusals import REFUSALS

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    """Return a reference to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


STATE: Final = ref("State")

INT_MAX: Final = 2**63 - 1
ID: Final = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"}
BATCH_ID: Final = {
    "type": "string",
    "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}(/[1-9][0-9]{0,17})?$",
    "description": "A UUID, or ORIGIN/N: it makes the repeat safe",
}
INT: Final = {"type": "integer", "minimum": 0, "maximum": INT_MAX}
ANY_INT: Final = {"type": "integer", "minimum": -(2**63), "maximum": INT_MAX}
COUNTED: Final = {"type": "integer", "minimum": 1, "maximum": 2**32 - 1}
TASK: Final = {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}
MS: Final = {**INT, "description": "Milliseconds since 1970, UTC"}
NUMBER: Final = {"type": "number", "minimum": 0}
TEXT: Final = {"type": "string"}
BOOL: Final = {"type": "boolean"}
MAP: Final = {"type": "object", "additionalProperties": True}
RANGES: Final = {
    "type": "string",
    "pattern": "^[0-9]{1,7}(-[0-9]{1,7})?(,[0-9]{1,7}(-[0-9]{1,7})?)*$",
    "description": "Numbers as ranges, such as `0-9,12`",
}
NAME: Final = {"type": "string", "maxLength": 200}

CONTROLS: Final = ("RegisterNamespace", "RegisterGenerator", "RegisterToken", "RevokeToken")

_SHORT: Final = {"type": "string", "maxLength": 512}
_NAMES_MAX: Final = 64
_AFTER_MAX: Final = 10_000
_TOTALS: Final = ("jobs", "tasks", "nodes")
_COUNTED_SINCE_THE_START: Final = (
    *("cursor", "requests", "turns", "commits", "output_syncs", "open"),
    *("unauthorized", "forbidden"),
)
_INT_OR_NULL: Final = {"type": ["integer", "null"]}


def schemas() -> dict[str, Schema]:
    """Return all by name."""
    return {
        **_sent(),
        **_claims(),
        **_registrations(),
        **_verbs(),
        **_jobs(),
        **_places(),
        **_log(),
        "Problem": _problem(),
        "Protocol": {"type": "string", "enum": ["1"]},
        "Role": {"type": "string", "enum": ROLES},
        "State": {"type": "string", "enum": STATES},
    }


def _closed(required: str, **fields: object) -> Schema:
    return {**_open(required, **fields), "additionalProperties": False}


def _open(required: str, **fields: object) -> Schema:
    """Return an object; `required` names fields, and `*` is all of them."""
    names = list(fields) if required == "*" else required.split()
    return {"type": "object", "properties": fields} | ({"required": names} if names else {})


def _list(items: object, **bounds: int) -> Schema:
    return {"type": "array", "items": items, **bounds}


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _map_of(values: Schema, **bounds: int) -> Schema:
    return {"type": "object", "additionalProperties": values, **bounds}


def _page(row: Schema, next_: Schema | None = None, **more: Schema) -> Schema:
    next_ = {**(next_ or _or_null(TEXT)), "description": "Where the next page begins; null: none"}
    return _open("*", cursor=INT, data=_list(row), next=next_, **more)


def _sent() -> dict[str, Schema]:
    jobs = _list(ID, maxItems=_AFTER_MAX)
    ctx = _closed(
        "",
        ns_id={**ID, "description": "The namespace"},
        job_id={**ID, "description": "The job; digits only are the Hub's to give"},
        node_id=ID,
        target=ID,
        priority={**ANY_INT, "description": "Higher runs first"},
        tasks={**RANGES, "description": "Such as `0-9,12`; by default one task, or all"},
        entries=_list({}) | {"description": "One value per task, told to it as HPC_ENTRY"},
        after=jobs | {"description": "Jobs all of whose tasks must have succeeded"},
        after_any=jobs | {"description": "Jobs that must be over"},
        after_fail=jobs | {"description": "Jobs that must be over, and a task of which failed"},
        after_task=BOOL | {"description": "Equal numbers of tasks are paired"},
        hold=BOOL | {"description": "Nothing of it starts until it is released"},
        attempt=COUNTED,
        epoch=COUNTED,
        slots=COUNTED,
        name={**NAME, "description": "A label"},
    )
    kinds = ", ".join(kind for kind, _ in kernel_kinds())
    kind = {
        "type": "string",
        "description": f"One of the kernel's ({kinds}), or of the namespace",
        "examples": ["SubmitJob"],
    }
    return {
        "Ctx": ctx,
        "Payload": _closed("ctx", ctx=ref("Ctx"), spec=MAP),
        "Event": _closed("kind payload", kind=kind, at=MS, payload=ref("Payload")),
        "Batch": _closed(
            "events",
            id=BATCH_ID,
            events=_list(ref("Event"), minItems=1, maxItems=100_000),
        )
        | {"examples": [_batch("SubmitJob", {"ns_id": "batch"}), _batch("CancelJob")]},
    }


def _batch(kind: str, ctx: Schema | None = None) -> Schema:
    """Return an example."""
    spec = {"command": "echo fit", "cpu": 1, "memory": 64} if kind == "SubmitJob" else {}
    payload = {"ctx": {"job_id": "fit-1"} | (ctx or {}), "spec": spec}
    return {"events": [{"kind": kind, "payload": payload}]}


def _claims() -> dict[str, Schema]:
    """Return what a relay sends and what it is answered."""
    held = {"job_id": ID, "attempt": COUNTED, "tasks": RANGES}
    amounts = {"propertyNames": ID, "maxProperties": _NAMES_MAX}
    labels = {"type": "string", "maxLength": 256}
    seconds = {"type": "number", "minimum": 0}
    return {
        "Hold": _closed("*", **held),
        "Claim": _closed(
            "node_id host place session epoch n ns resources",
            node_id=ID,
            host=_SHORT,
            place=_SHORT,
            session=ID,
            epoch=COUNTED,
            n=INT,
            ns=_list(ID, maxItems=_NAMES_MAX),
            resources=_map_of(INT) | amounts,
            max={"type": "integer", "minimum": 0, "maximum": 100_000, "default": 64},
            wait={**seconds, "maximum": 60, "default": 0},
            holds=_list(ref("Hold")),
            takeover=BOOL,
            labels=_map_of(labels) | amounts,
            time_left=seconds,
            leaving=BOOL,
        ),
        "Grant": _open(
            "job_id ns_id handler_type attempt tasks ctx spec resources",
            job_id=ID,
            ns_id=ID,
            handler_type=_or_null(TEXT),
            attempt=INT,
            tasks=RANGES,
            ctx=ref("Ctx"),
            spec=MAP,
            resources=_map_of(INT),
            needs=_map_of(INT),
            entries=_map_of({}),
        ),
        "Cancel": _open("*", **held, reason=TEXT),
        "Tail": _open("*", watch=INT, job_id=ID, task=TASK, stream=TEXT, offset=INT),
        "Grants": _open(
            "*",
            n=INT,
            lease_s=NUMBER,
            grants=_list(ref("Grant")),
            cancels=_list(ref("Cancel")),
            give_back=_list(ref("Hold")),
            tail=_list(ref("Tail")),
        ),
    }


def _registrations() -> dict[str, Schema]:
    replace = {**INT, "minimum": 1, "description": "The current version"}
    revision = {**INT, "minimum": 1}
    ids = _list(ID, minItems=1, maxItems=100)
    retention = {"type": ["integer", "null"], "minimum": 0, "description": "Seconds"}
    fields = _list(MAP) | {"description": "docs/namespaces.md has what stands in one"}
    namespace = _closed(
        "",
        revision=revision,
        preemptible=BOOL,
        handler_type=_or_null(TEXT),
        resources=MAP,
        placement=MAP,
        schema=_map_of({"oneOf": [fields, _closed("fields", fields=fields, open=BOOL)]}),
        acts_as=_map_of(TEXT),
        by=_map_of(TEXT),
        open=_list(TEXT),
        retention=retention,
    )
    rule = _closed("on table key join", on={}, table=ID, key={}, where=MAP, join=MAP)
    generator = _closed(
        "namespaces rules",
        revision=revision,
        namespaces=_list(ID),
        callback_url={"type": "null"},
        rules=_list(rule, minItems=1),
    )
    token = _closed(
        "role sha256",
        role=ref("Role"),
        namespaces=ids,
        nodes=ids,
        expires_at=MS,
        label=NAME,
        sha256={"type": "string", "pattern": "^[0-9a-f]{64}$"},
    )
    return {
        "NamespaceSpec": namespace,
        "GeneratorSpec": generator,
        "TokenSpec": token,
        "RegisterNamespace": _control(
            "RegisterNamespace", "ns_id", ref("NamespaceSpec"), replace=replace
        ),
        "RegisterGenerator": _control(
            "RegisterGenerator", "gid", ref("GeneratorSpec"), replace=replace
        ),
        "RegisterToken": _control("RegisterToken", "token_id", ref("TokenSpec")),
        "RevokeToken": _control("RevokeToken", "token_id", _closed("")),
        "Control": {"oneOf": [ref(name) for name in CONTROLS]},
        "Registered": _open(
            "duplicate",
            ns_id=ID,
            gid=ID,
            token_id=ID,
            version=INT,
            seq=INT,
            duplicate=BOOL,
            building=BOOL,
        ),
    }


def _control(kind: str, id_: str, spec: Schema, **more: Schema) -> Schema:
    return _closed(f"type {id_} spec", type={"const": kind}, **{id_: ID}, spec=spec, **more)


def _verbs() -> dict[str, Schema]:
    facts = _map_of(_map_of(MAP)) | {"description": "Table, row, column"}
    return {
        "Receipt": _open(
            "id duplicate",
            id=TEXT,
            first_seq={**INT, "description": "Absent where the receipt is no longer kept"},
            count=INT,
            duplicate=BOOL,
            jobs=_list(ID),
            pokes=_list(ID),
            deltas=_map_of(facts) | {"description": "By generator; of a dry run"},
        ),
        "Facts": _open(
            "gid hub version cursor facts more",
            gid=ID,
            hub=TEXT,
            version=INT,
            cursor=INT,
            facts=facts,
            more=BOOL,
            overflow=_map_of(_map_of(_list(TEXT))),
            snapshot=BOOL,
            since=INT,
            building=BOOL,
            failed=BOOL,
        ),
        "Stored": _open("bytes", bytes=INT, dropped=BOOL),
    }


def _jobs() -> dict[str, Schema]:
    number = _or_null(NUMBER)
    ended: dict[str, Any] = {
        "exit_code": _INT_OR_NULL,
        "signal": _INT_OR_NULL,
        "cause": _or_null(TEXT),
        "started_at": _INT_OR_NULL,
        "finished_at": _INT_OR_NULL,
        "peak_memory_bytes": _INT_OR_NULL,
    }
    settled = _open("tasks state cause", tasks=RANGES, state=STATE, cause=_or_null(TEXT))
    settled["properties"]["reason"] = TEXT
    attempt = {"tasks": RANGES, "attempt": INT, "node_id": TEXT, "state": TEXT}
    attempt |= {**ended, "cpu_seconds": NUMBER}
    told: dict[str, Any] = {"task": TASK, "state": STATE, "attempt": _INT_OR_NULL}
    told |= {"node_id": _or_null(TEXT), **ended, "duration_s": number, "cpu_seconds": number}
    told |= {"entry": {}}
    job: dict[str, Any] = {
        "job_id": ID,
        "ns_id": ID,
        "name": _or_null(TEXT),
        "state": STATE,
        "phase": {"enum": [1, 2, 3]},
        "priority": ANY_INT,
        "spec": MAP,
        "resources": _map_of(INT),
        "tasks": RANGES,
        "counts": _open("*", **dict.fromkeys(STATES, INT)),
        "submitted_at": MS,
        "why": _or_null(TEXT),
        "settled": _list(ref("Settled")),
        "attempts": _list(ref("Attempt")),
    }
    after = dict.fromkeys(("after", "after_any", "after_fail"), _list(ID)) | {"after_task": BOOL}
    ahead = _or_null(_open("*", higher=INT, earlier=INT, more=BOOL))
    priorities = _list(_open("*", tasks=RANGES, priority=ANY_INT))
    places = _list(_open("*", node_id=ID, fits=BOOL, why=TEXT))
    return {
        "Settled": settled,
        "Attempt": _open(" ".join(attempt), **attempt, detail=TEXT),
        "Job": _open(" ".join(job), **job, **after, priorities=priorities),
        "JobAnswer": _open("*", cursor=INT, data=ref("Job")),
        "JobPage": _page(ref("Job")),
        "Task": _open(" ".join(told), **told, reason=TEXT, detail=TEXT),
        "TaskPage": _page(ref("Task"), _INT_OR_NULL),
        "Why": _open("*", job_id=ID, why=_or_null(TEXT), ahead=ahead, nodes=places),
        "WhyAnswer": _open("*", cursor=INT, data=ref("Why")),
    }


def _places() -> dict[str, Schema]:
    time = _or_null(MS)
    lease = _open("*", job_id=ID, attempt=INT, tasks=RANGES, started=TEXT)
    registered = {"version": INT, "seq": INT}
    ids = {"type": ["array", "null"], "items": ID}
    return {
        "Node": _open(
            "*",
            node_id=ID,
            state={"enum": ["up", "unreachable", "left"]},
            drained=BOOL,
            draining=BOOL,
            drain_deadline=time,
            epoch=INT,
            host=TEXT,
            place=TEXT,
            session=TEXT,
            namespaces=_list(ID),
            resources=_map_of(INT),
            used=_map_of(INT),
            ahead=INT,
            labels=_map_of(TEXT),
            reserved_for=_or_null(TEXT),
            joined_at=MS,
            gone_at=time,
            leases=_list(lease),
        ),
        "NodePage": _page(ref("Node")),
        "Namespace": _open(
            "*", ns_id=ID, **registered, spec=ref("NamespaceSpec"), generators=_list(ID)
        ),
        "Generator": _open("*", gid=ID, **registered, spec=ref("GeneratorSpec"), building=BOOL),
        "NamespacePage": _page(
            ref("Namespace"), {"type": "null"}, generators=_list(ref("Generator"))
        ),
        "Token": _open(
            "*",
            token_id=ID,
            role=ref("Role"),
            namespaces=ids,
            nodes=ids,
            label=_or_null(TEXT),
            expires_at=time,
            created_at=MS,
            created_by=_or_null(TEXT),
            revoked_at=time,
            is_valid=BOOL,
        ),
        "TokenPage": _page(ref("Token"), {"type": "null"}),
    }


def _log() -> dict[str, Schema]:
    place: dict[str, Any] = {"seq": INT, "id": TEXT, "index": INT, "at": MS, "kind": TEXT}
    by = _open("*", token=TEXT, role=TEXT, **{"from": TEXT})
    recorded = {"payload": _open("*", ctx=MAP, spec=MAP)}
    cell = {"gid": ID, "table": TEXT, "key": TEXT, "column": TEXT}
    conflict: dict[str, Any] = {
        **cell,
        "values": _list({}),
        "overflow": BOOL,
        "evidence": _list(_open("seq id index at kind value", **place, node_id=ID, value={})),
        "changed": INT,
    }
    events = _page(ref("RecordedEvent"), _INT_OR_NULL)
    events["properties"]["snapshot"] = BOOL
    return {
        "RecordedEvent": _open(
            " ".join([*place, *recorded]), **place, **recorded, settles={}, by=by
        ),
        "EventPage": events,
        "Said": _open(
            "seq id index at kind value",
            **place,
            node_id=ID,
            origin=TEXT,
            rule=INT,
            rules=_list(INT),
            on=_list(TEXT),
            value={},
            reason=TEXT,
            because=TEXT,
        ),
        "Explained": _open(
            "cursor events more", cursor=INT, events=_list(ref("Said")), more=BOOL, after=INT
        ),
        "ConflictingCell": _open(
            " ".join(conflict), **conflict, within=_list(MAP), evidence_more=BOOL
        ),
        "ConflictPage": _page(ref("ConflictingCell")),
        "Diff": _open(
            "*",
            gid=ID,
            **{"from": INT},
            to=INT,
            data=_map_of(_map_of(_map_of(_open("*", **{"from": {}}, to={})))),
            cursor=INT,
            more=BOOL,
        ),
        "Health": _open(
            "hub ready at unauthorized forbidden limits",
            hub=TEXT,
            ready=BOOL,
            at=MS,
            **dict.fromkeys(_COUNTED_SINCE_THE_START, INT),
            damaged=_list(_open("*", seq=INT, until=INT, why=TEXT, id=_or_null(TEXT))),
            limits=_map_of(NUMBER),
            totals=_open("jobs tasks nodes", **dict.fromkeys(_TOTALS, _map_of(INT))),
            turned_away=INT,
            free_bytes=INT,
            min_free_bytes=INT,
            callbacks=_open(
                "subscribers told failed failing",
                **dict.fromkeys(("subscribers", "told", "failed"), INT),
                failing=_map_of(TEXT),
            ),
        ),
    }


def _problem() -> Schema:
    error = _open(
        "field expected",
        event={**INT, "description": "Of the batch, from 0"},
        frame={**INT, "description": "Of a body of output, from 0"},
        field=TEXT,
        expected=TEXT,
        got=TEXT,
        hint=TEXT,
    )
    codes = sorted({code for refusal in REFUSALS.values() for code in refusal.codes})
    return _open(
        "type title status detail code",
        type={"type": "string", "pattern": "^urn:hpc:problem:[a-z_]+$"},
        title=TEXT,
        status={"type": "integer", "minimum": 400, "maximum": 599},
        detail=TEXT,
        code={"type": "string", "enum": codes},
        hint=TEXT,
        errors=_list(error, maxItems=100),
        field=TEXT,
        known=_list(TEXT),
        floor=INT,
        version=INT,
        expected=INT,
        first_seq=INT,
        last_epoch=INT,
        host=TEXT,
        place=TEXT,
        served=INT,
        outcome=TEXT,
        forgotten_at=MS,
        seq=INT,
    )
