"""Reads of a job that wait: what ends a wait, and what does not."""

from __future__ import annotations

import json
from typing import Any

from small_hub import SmallHub

Json = Any

HELD = 7
"""Token of the read."""


def lab() -> SmallHub:
    """A Hub with a job `j` of two tasks, and one beside it."""
    hub = SmallHub()
    hub.namespace("lab", {"schema": {"SubmitJob": []}})
    for job_id in ("j", "other"):
        say(hub, "SubmitJob", job_id, "0-1")
    return hub


def say(hub: SmallHub, kind: str, job_id: str, tasks: str | None = None) -> Any:
    """One event in a turn of its own."""
    ctx = {"ns_id": "lab", "job_id": job_id} | ({"tasks": tasks} if tasks else {})
    event = {"kind": kind, "payload": {"ctx": ctx, "spec": {}}}
    return hub.turn([(1, "ingest", "", {"events": [event]})])


def read(hub: SmallHub, query: str) -> Any:
    return hub.turn([(HELD, "job", query, None)])


def told(turn: Any) -> tuple[int, Json] | None:
    """Status and body of what the held read was told in a turn, if it was."""
    found = [(status, json.loads(body)) for at, status, body in turn.replies if at == HELD]
    return found[0] if found else None


def test_a_read_waits_for_the_last_task() -> None:
    hub = lab()
    assert told(read(hub, "job_id=j&wait=30")) is None
    assert told(say(hub, "CancelJob", "other")) is None
    assert told(say(hub, "CancelJob", "j", "0")) is None
    answer = told(say(hub, "CancelJob", "j", "1"))
    assert answer is not None
    status, body = answer
    assert (status, body["data"]["state"], body["cursor"]) == (200, "cancelled", hub.head)
    assert told(say(hub, "RetryJob", "j", "1")) is None, "it was answered once"


def test_a_job_that_is_over_is_told_at_once_and_in_another_round_is_waited_for() -> None:
    hub = lab()
    say(hub, "CancelJob", "j")
    assert told(read(hub, "job_id=j&wait=30")) is not None
    say(hub, "RetryJob", "j", "0")
    assert told(read(hub, "job_id=j&wait=30")) is None
    assert told(say(hub, "CancelJob", "j")) is not None


def test_a_read_without_a_wait_and_one_whose_time_is_over_tell_how_it_is() -> None:
    hub = lab()
    answer = told(read(hub, "job_id=j"))
    assert answer is not None
    assert answer[1]["data"]["state"] == "queued"
    assert told(read(hub, "job_id=j&wait=30")) is None
    assert told(hub.turn([], ms=29_000)) is None
    late = told(hub.turn([], ms=1_000))
    assert late is not None
    assert late[1]["data"]["state"] == "queued"


def test_who_has_left_is_told_nothing_and_who_waits_for_what_was_forgotten_that() -> None:
    hub = lab()
    read(hub, "job_id=j&wait=30")
    hub.turn([(2, "gone", f"token={HELD}", None)])
    assert told(say(hub, "CancelJob", "j")) is None
    say(hub, "ForgetJob", "j")
    answer = told(read(hub, "job_id=j&wait=30"))
    assert answer is not None
    assert (answer[0], answer[1]["outcome"]) == (404, "cancelled")


def test_a_job_that_nobody_knows_is_404_at_once_and_a_long_wait_400() -> None:
    hub = lab()
    for query, status in (("job_id=k&wait=30", 404), ("job_id=j&wait=61", 400)):
        answer = told(read(hub, query))
        assert answer is not None
        assert answer[0] == status
