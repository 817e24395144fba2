"""What schemathesis cannot know of the Hub, loaded by it: MessagePack, frames of output, and which
values go together.
"""

from __future__ import annotations

import itertools
import os
from typing import Any

import msgspec
import schemathesis
from closed import close
from hypothesis import strategies as st

from hpc._core import kernel_kinds
from hpc.hub import frames
from hpc.transport.openapi_refusals import REFUSALS

HEAD_SEQ = 5
"""Of a Hub that has registered its namespaces: `at` and `to` are cursors of its log."""

THERE = {
    "job_id": "fit-1",
    "gid": "kernel",
    "table": "jobs",
    "row": "fit-1",
    "key": "fit-1",
    "column": "priority",
    "path": "index.html",
}
KINDS = [kind for kind, _ in kernel_kinds()]
NO_MSGPACK = b"\xc1"
CALLS = itertools.count()


@schemathesis.serializer("application/msgpack")
def to_msgpack(_context: Any, value: Any) -> bytes:
    try:
        return msgspec.msgpack.encode(value)
    except (OverflowError, TypeError, ValueError):  # what MessagePack has not
        return NO_MSGPACK


@schemathesis.deserializer("application/msgpack")
def of_msgpack(_context: Any, response: Any) -> Any:
    return msgspec.msgpack.decode(response.content)


@schemathesis.check
def code_stands_beside_its_status(_context: Any, response: Any, _case: Any) -> None:
    if response.status_code < 400:
        return
    is_json = "json" in response.headers["content-type"][0]
    document = (msgspec.json if is_json else msgspec.msgpack).decode(response.content)
    assert document["status"] == response.status_code
    assert document["code"] in REFUSALS[response.status_code].codes


def packs() -> st.SearchStrategy[bytes]:
    header = st.builds(
        frames.Header,
        job_id=st.sampled_from(["fit-1", "1"]),
        task=st.integers(0, 3),
        attempt=st.integers(1, 2),
        stream=st.sampled_from(["stdout", "stderr"]),
        offset=st.integers(0, 9),
        length=st.just(3),
        end=st.booleans(),
    )
    return st.lists(header.map(lambda one: frames.encode(one, b"abc")), max_size=3).map(b"".join)


schemathesis.openapi.media_type("application/octet-stream", packs())


@schemathesis.hook
def before_load_schema(_context: Any, document: dict[str, Any]) -> None:
    close(document["components"]["schemas"])


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: dict[str, Any]) -> None:
    """Have nothing wait, every third answer in MessagePack, and together what goes together."""
    query = case.query or {}
    if query.get("follow") in (True, "true"):
        query["follow"] = "false"
    for sent in (query, case.body):
        if isinstance(sent, dict) and is_long(sent.get("wait")):
            sent["wait"] = 0
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    n = next(CALLS)
    if n % 3 == 0:
        case.headers["Accept"] = "application/msgpack"
    case.body = with_ints(case.body)
    agree(case.operation.path, query)
    if n % 2 == 0:
        speak_of_what_is_there(case, query, n)


def is_long(wait: Any) -> bool:
    try:
        return 0 < float(wait) <= 60
    except (TypeError, ValueError):
        return False


def speak_of_what_is_there(case: Any, query: dict[str, Any], n: int) -> None:
    for given in (query, case.path_parameters):
        given.update({name: THERE[name] for name in THERE if name in given})
    if case.operation.path == "/ui/session" and isinstance(case.body, dict):
        case.body = {"token": os.environ["HPC_TOKEN"]}
    events = case.body.get("events") if isinstance(case.body, dict) else None
    for event in events or ():
        event["kind"] = KINDS[n % len(KINDS)]
        event["payload"]["ctx"].update(ns_id="batch", job_id="fit-1")


def with_ints(value: Any) -> Any:
    """Write 1.0 as 1, which JSON Schema has alike and the Hub has not, and ranges that ascend."""
    if isinstance(value, dict):
        told = {name: with_ints(inner) for name, inner in value.items()}
        return {**told, "tasks": "0-2"} if isinstance(told.get("tasks"), str) else told
    if isinstance(value, list):
        return [with_ints(inner) for inner in value]
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return int(value) if is_whole else value


def agree(path: str, query: dict[str, Any]) -> None:
    """Make one question of values that were drawn each by itself."""
    for part, whole in (("row", "table"), ("column", "row")):
        if whole not in query:
            query.pop(part, None)
    if "ids" in query:
        for other in ("after", "limit", "order"):
            query.pop(other, None)
    if path == "/conflicts":
        query.pop("after", None)  # another page's
    for cursor in ("at", "to", "from"):
        if cursor in query:
            query[cursor] = int(query[cursor]) % HEAD_SEQ
    if "from" in query and "to" in query:
        query["from"] = min(query["from"], query["to"])
