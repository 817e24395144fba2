"""Calls in events: all of them, in order, as few events as they fit into, none too large."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hpc.calls import messages
from hpc.calls.frames import (
    MESSAGE_BYTES,
    RAISED,
    RETURNED,
    Call,
    Told,
    ToldFrames,
    call_messages,
    first_message,
    told_frame,
)
from hpc.calls.hand import AHEAD_MAX, AHEAD_UNKNOWN_MAX, HELD_UP_S, Hand
from hpc.calls.pickled import BYTES_MAX
from hpc.calls.settling import at, how_ended

PLACE = messages.Place("j1", 3, 2)
EVENT_BYTES_MAX = 1 << 20
SIZES = st.lists(st.integers(0, BYTES_MAX), max_size=12) | st.lists(
    st.integers(0, 50), min_size=100, max_size=300
)


def size_of(event: dict[str, Any]) -> int:
    return len(json.dumps(event, separators=(",", ":")))


@given(SIZES)
def test_calls_of_any_sizes_are_sent_whole(sizes: list[int]) -> None:
    """The largest call must fit, and small ones must share."""
    calls: list[list[Any]] = [[n, messages.text_of(bytes(size))] for n, size in enumerate(sizes)]
    events = list(messages.sent(PLACE, calls, 0.5))
    specs = [event["payload"]["spec"] for event in events]
    assert [call for spec in specs for call in spec["calls"]] == calls
    assert all(spec["count"] == len(spec["calls"]) for spec in specs)
    assert {event["payload"]["ctx"]["job_id"] for event in events} <= {"j1.3.2"}
    assert all(size_of(event) < EVENT_BYTES_MAX for event in events)
    assert len(events) <= 1 + 2 * sum(sizes) * 4 // 3 // messages.EVENT_BYTES
    batches = list(messages.batches(events))
    assert [event for batch in batches for event in batch] == events


@given(SIZES, st.lists(st.integers(0, 9), max_size=3))
def test_results_of_any_sizes_are_told_whole(sizes: list[int], recalls: list[int]) -> None:
    """Also when there are none: a recall that comes too late is answered all the same."""
    results = [Told(n, 2_000_000, (RETURNED, RAISED)[n % 2], bytes(s)) for n, s in enumerate(sizes)]
    events = list(messages.returned(PLACE, "n1", results, back=[7], recalls=recalls))
    specs = [event["payload"]["spec"] for event in events]
    told = [tuple(result) for spec in specs for result in spec["results"]]
    wanted = [(one.number, one.how.decode(), messages.text_of(one.packed)) for one in results]
    assert told == wanted
    assert sum(spec["failed"] for spec in specs) == len(sizes) // 2
    assert abs(sum(spec["seconds"] for spec in specs) - 0.002 * len(sizes)) < 1e-6
    assert [spec.get("recalls", []) for spec in specs][-1] == recalls
    assert all(size_of(event) < EVENT_BYTES_MAX for event in events)


@given(st.binary(max_size=3 * MESSAGE_BYTES), st.integers(1, 2**64 - 1))
def test_a_call_is_put_together_from_its_messages(packed: bytes, number: int) -> None:
    """A long one goes in pieces; its first says how many bytes there are."""
    parts = call_messages(Call(number, packed))
    assert first_message(parts[0])[:2] == (number, len(packed))
    assert first_message(parts[0])[2] + b"".join(parts[1:]) == packed
    assert (len(parts) > 1) == Call(number, packed).is_long
    assert all(len(part) <= MESSAGE_BYTES for part in parts)


@given(st.lists(st.binary(max_size=40)), st.integers(1, 30))
def test_a_pipe_may_cut_anywhere(bodies: list[bytes], step: int) -> None:
    """A read ends where it ends, within a head too."""
    told = [Told(n, n * 10, RETURNED, body) for n, body in enumerate(bodies)]
    data = b"".join(map(told_frame, told))
    frames = ToldFrames()
    got = [one for at in range(0, len(data), step) for one in frames.put(data[at : at + step])]
    assert got == told


def test_what_is_kept_for_ever_shares_no_batch_with_calls() -> None:
    """Else one submit would keep the calls beside it in the log for good."""
    call = messages.to_worker("CallsSent", PLACE, {})
    submit = {"kind": "SubmitJob", "payload": {"spec": {}}}
    cancel = {"kind": "CancelJob", "payload": {"spec": {}}}
    assert list(messages.batches([call, submit, cancel, call, call])) == [
        [call],
        [submit, cancel],
        [call, call],
    ]


def test_a_batch_is_full_by_what_its_events_hold() -> None:
    """64 workers that are given a call each are one request, and four full events are one too."""
    small = [event for n in range(64) for event in messages.sent(PLACE, [[n, "x" * 50]], 0.0)]
    assert list(messages.batches(small)) == [small]
    text = messages.text_of(bytes(BYTES_MAX))
    large = [event for n in range(8) for event in messages.sent(PLACE, [[n, text]], 0.0)]
    told = [len(batch) for batch in messages.batches(large)]
    assert told == [4, 4]
    results = [Told(0, 1, RETURNED, bytes(BYTES_MAX))]
    returned = [event for _ in range(8) for event in messages.returned(PLACE, "n1", results)]
    assert [len(batch) for batch in messages.batches(returned)] == told


def hand(have: int, mean_s: float | None) -> Hand:
    made = Hand(PLACE, "n1")
    made.mean_s = mean_s
    made.calls = dict.fromkeys(range(have))  # type: ignore[arg-type]  # only their number counts
    return made


def test_a_worker_has_as_much_ahead_as_its_calls_take() -> None:
    """Short calls by the thousand, long ones one by one, unknown ones by equal shares."""
    assert hand(0, None).room(1000) == AHEAD_UNKNOWN_MAX
    assert hand(0, None).room(7) == 7
    assert hand(0, 1e-6).room(10**6) == AHEAD_MAX
    assert hand(0, 0.01).room(10**6) == 100
    assert hand(60, 0.01).room(10**6) <= 0
    assert hand(40, 0.01).room(10**6) == 60
    assert [hand(have, 3.0).room(50) for have in (0, 1)] == [1, 0]


def test_what_waits_behind_a_long_call_is_taken_back() -> None:
    """Until its worker has answered, and not where nothing waits."""
    long = hand(3, None)
    long.heard_s = 10.0
    assert (long.held_up_at_s(), long.clear_at_s()) == (10.0 + HELD_UP_S, 10.0 + HELD_UP_S)
    long.rest_s = 20.0
    assert long.clear_at_s() == 20.0
    long.recall = 1
    assert long.clear_at_s() == math.inf
    assert hand(1, None).clear_at_s() == math.inf
    assert hand(0, None).held_up_at_s() == math.inf


def test_ends_of_tasks_are_told_in_words() -> None:
    """A report has columns; a user wants a sentence."""
    assert at([3, 4], 1) == 4
    assert at(3, 1) == 3
    assert how_ended({"exit_code": 0}) == "exit code 0"
    assert how_ended({"signal": 9, "cause": "signal"}) == "signal 9"
    assert how_ended({"signal": 9, "cause": "oom"}) == "oom, signal 9"
    told = how_ended({"cause": "cwd not found", "detail": "`/x`: no such file or folder"})
    assert told == "cwd not found, `/x`: no such file or folder"
    assert how_ended({}) == "no reason was given"
