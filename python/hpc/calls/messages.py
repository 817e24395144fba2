"""messages: how calls and what comes of them lie in events of the namespace `calls`.

Bytes stand in base64, the densest form that a JSON text takes; a call is `[number, text]`, what
came of one `[number, letter, text]`. What an executor says to a worker goes to the worker's inbox,
what a worker says goes to the executor's job; both are read by `GET /events?job=…&follow=true`.

Nothing here opens a call.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from hpc.calls.frames import RAISED, Told

NS_ID: Final = "calls"

EVENT_BYTES: Final = 1_000_000
"""Texts of one event; with what stands around them it stays below 1 MiB."""

BATCH_BYTES: Final = 4 * EVENT_BYTES
"""Texts of one batch: a Hub reads whole batches where it reads any of their events."""

KERNEL: Final = frozenset({"SubmitJob", "CancelJob"})
"""Kinds that have no retention; a batch leaves the log only where all of its events may."""

ITEMS_MAX: Final = 5_000
"""Calls or results of one event."""

_AROUND: Final = 32
"""Bytes that a number, a letter and signs take beside a text."""

_EVENT_AROUND: Final = 1_000
"""Bytes that an event takes beside its calls or results, about."""

_ITEMS: Final = {"CallsSent": "calls", "CallsReturned": "results"}
"""Where the texts of an event stand; others have few bytes."""

Event = dict[str, Any]
Item = TypeVar("Item", bound="list[Any]")


class Place(NamedTuple):
    """Which worker: a task of an executor's job, at an attempt.

    Attributes:
        job_id: The executor's job.
    """

    job_id: str
    task: int
    attempt: int

    @property
    def inbox(self) -> str:
        """The id under which it is told something."""
        return f"{self.job_id}.{self.task}.{self.attempt}"


def text_of(data: bytes) -> str:
    """Return bytes as a text."""
    return b64encode(data).decode("ascii")


def bytes_of(text: str) -> bytes:
    """Return the bytes of a text."""
    return b64decode(text, validate=True)


def to_worker(kind: str, place: Place, spec: dict[str, Any]) -> Event:
    """Return what an executor says to a worker."""
    ctx = {"ns_id": NS_ID, "job_id": place.inbox}
    return {"kind": kind, "payload": {"ctx": ctx, "spec": {"executor": place.job_id, **spec}}}


def from_worker(kind: str, place: Place, node_id: str, spec: dict[str, Any]) -> Event:
    """Return what a worker says to its executor."""
    ctx = {
        "ns_id": NS_ID,
        "job_id": place.job_id,
        "node_id": node_id,
        "tasks": str(place.task),
        "attempt": place.attempt,
    }
    return {"kind": kind, "payload": {"ctx": ctx, "spec": spec}}


def sent(place: Place, calls: Sequence[list[Any]], linger_s: float) -> Iterator[Event]:
    """Yield events that send calls `[number, text]`, as few as there can be."""
    for part in _parts(calls):
        spec = {"calls": part, "count": len(part), "linger": linger_s}
        yield to_worker("CallsSent", place, spec)


def recalled(place: Place, number: int, *, calls: Sequence[int] = (), newest: int = 0) -> Event:
    """Return the request to give calls back that have not begun.

    Args:
        place: Of whom.
        number: Of the request; the answer names it.
        calls: These; none is the newest.
        newest: So many.
    """
    assert len(calls) <= ITEMS_MAX, "no worker has so many ahead"
    spec: dict[str, Any] = {"recall": number}
    if calls:
        spec["calls"] = list(calls)
    if newest:
        spec["newest"] = newest
    return to_worker("CallsRecalled", place, spec)


def returned(
    place: Place,
    node_id: str,
    results: Sequence[Told],
    *,
    back: Sequence[int] = (),
    recalls: Sequence[int] = (),
) -> Iterator[Event]:
    """Yield events that tell what came of calls, as few as there can be.

    Args:
        place: Of the worker.
        node_id: Where it is.
        results: What came of calls, in order.
        back: Calls that were recalled and had not begun.
        recalls: Requests that are answered by this; they stand in the last event.
    """
    texts = [[one.number, one.how.decode(), text_of(one.packed)] for one in results]
    parts = list(_parts(texts)) or [[]]
    place_in_all = 0
    for index, part in enumerate(parts):
        of_part = results[place_in_all : place_in_all + len(part)]
        place_in_all += len(part)
        spec: dict[str, Any] = {
            "results": part,
            "count": len(part),
            "failed": sum(one.how == RAISED for one in of_part),
            "seconds": sum(one.ran_ns for one in of_part) / 1e9,
        }
        if index == len(parts) - 1:
            if back:
                spec["recalled"] = list(back)
            if recalls:
                spec["recalls"] = list(recalls)
        yield from_worker("CallsReturned", place, node_id, spec)


def batches(events: Iterable[Event]) -> Iterator[list[Event]]:
    """Yield events in batches, in their order, as few as they fit into.

    What is kept for ever and what is not share none.
    """
    batch: list[Event] = []
    size = 0
    for event in events:
        more = _size(event)
        is_full = size + more > BATCH_BYTES
        if batch and (is_full or (event["kind"] in KERNEL) != (batch[0]["kind"] in KERNEL)):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += more
    if batch:
        yield batch


def _size(event: Event) -> int:
    """Return about how many bytes an event takes."""
    spec = event["payload"]["spec"]
    items = spec.get(_ITEMS.get(event["kind"], ""))
    if items is None:
        return len(json.dumps(event))
    return _EVENT_AROUND + sum(len(item[-1]) + _AROUND for item in items)


def _parts(items: Sequence[Item]) -> Iterator[list[Item]]:
    part: list[Item] = []
    size = 0
    for item in items:
        more = len(item[-1]) + _AROUND
        if part and (size + more > EVENT_BYTES or len(part) == ITEMS_MAX):
            yield part
            part, size = [], 0
        part.append(item)
        size += more
    if part:
        yield part
