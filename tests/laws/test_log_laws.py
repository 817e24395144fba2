"""Laws of what is recorded: ids (D2), stamps (D4), and the change of rules over a log (C1)."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from small_hub import WALL_MS, SmallHub
from strategies import LAB, LOGS, RULES

Json = Any

bounded = settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])

SCHEMA = {"schema": {"Said": [{"key": "i", "expected_type": "Int"}]}}
NEWEST = [
    {"on": "Said", "table": "t", "key": "all", "join": {"newest": {"last": "$spec.i"}}},
]
AHEAD_MS_MAX = 5_000


def said(i: int, *, at: int | None = None, node: str = "n1") -> Json:
    payload = {"ctx": {"ns_id": "lab", "node_id": node}, "spec": {"i": i}}
    return {"kind": "Said", "payload": payload} | ({} if at is None else {"at": at})


def lab() -> SmallHub:
    hub = SmallHub()
    hub.namespace("lab", SCHEMA)
    hub.generator("g", NEWEST)
    return hub


SENT = st.tuples(st.sampled_from(["a", "b", ""]), st.integers(1, 4), st.integers(0, 2))


@bounded
@given(st.lists(SENT, max_size=20), st.sets(st.integers(0, 20), max_size=3))
def test_d2_one_id_has_one_content_or_a_conflict_that_shows(
    sent: list[tuple[str, int, int]], restarts: set[int]
) -> None:
    """D2: under one (origin, n), or one id, the log holds the bytes that came first, for ever.
    Others under it are told that they are others; a number too many is told which is missing."""
    hub = lab()
    first: dict[str, int] = {}
    newest = {"a": 0, "b": 0}
    for step, (origin, n, content) in enumerate(sent):
        if step in restarts:
            hub.restart()
        batch_id, head = (f"{origin}/{n}" if origin else f"plain-{n}"), hub.head
        status, answer = hub.offer(batch_id, [said(content, at=0)])
        if batch_id in first:
            if first[batch_id] == content:
                assert (status, answer["duplicate"]) == (200, True)
            else:
                assert (status, answer["code"]) == (409, "id_conflict")
            assert hub.head == head
        elif origin and n != newest[origin] + 1:
            assert (status, answer["code"]) == (409, "gap")
            assert (answer["expected"], hub.head) == (newest[origin] + 1, head)
        else:
            assert (status, answer["duplicate"], hub.head) == (200, False, head + 1)
            first[batch_id] = content
            if origin:
                newest[origin] = n

    recorded = {row[2]: json.loads(row[6])["events"] for row in hub.log if row[2] in first}
    assert recorded.keys() == first.keys()
    for batch_id, (event,) in recorded.items():
        assert event["payload"]["spec"]["i"] == first[batch_id]
    assert len({row[2] for row in hub.log}) == len(hub.log)


TIMES = st.none() | st.integers(0, 2**63 - 1) | st.integers(WALL_MS - 9_000, WALL_MS + 9_000)


def stamps(hub: SmallHub, first_row: int) -> list[tuple[int, int]]:
    events = [event for row in hub.log[first_row:] for event in json.loads(row[6])["events"]]
    return [(event["at"], event.get("counter", 0)) for event in events]


@bounded
@given(st.lists(st.tuples(TIMES, st.integers(-2_000, 4_000)), min_size=1, max_size=12))
def test_d4_a_stamp_is_never_more_than_5_s_ahead(told: list[tuple[int | None, int]]) -> None:
    """D4: a time that is further ahead than that is brought back, and what the Hub stamps itself is
    later than all that it has recorded, whatever its own clock does."""
    hub = lab()
    rows, clock, latest = len(hub.log), hub.wall_ms, (0, 0)
    for number, (at, moves) in enumerate(told):
        hub.wall_ms += moves
        clock = max(clock, hub.wall_ms)
        if number % 5 == 4:
            hub.restart()
        hub.ingest(f"b{number}", [said(number, at=at)])
        stamp = stamps(hub, rows)[-1]
        assert stamp[0] <= clock + AHEAD_MS_MAX
        if at is not None and at <= hub.wall_ms + AHEAD_MS_MAX:
            assert stamp == (at, 0)
        else:
            assert stamp > latest
        latest = max(latest, stamp)


@bounded
@given(st.lists(TIMES, min_size=1, max_size=8), st.booleans())
def test_d4_one_bad_clock_does_not_win_for_ever(ahead: list[int | None], restarts: bool) -> None:
    """D4: a node whose clock is years ahead says its last word, and 5 s later a node whose clock is
    right is heard again."""
    hub = lab()
    for number, at in enumerate(ahead):
        hub.ingest(f"bad-{number}", [said(-1, at=at, node="zz-bad")])
    if restarts:
        hub.restart()
    hub.wall_ms += AHEAD_MS_MAX + 1
    hub.ingest("good", [said(7, at=hub.wall_ms, node="a-good")])
    assert hub.facts("g") == {"t": {"all": {"newest": 7}}}


@bounded
@given(RULES, RULES, LOGS, LOGS, st.integers(1, 3))
def test_c1_new_rules_over_the_log_are_new_rules_from_the_start(
    old: Json, new: Json, log: list[Json], more: list[Json], chunk: int
) -> None:
    """C1: a generator whose rules are replaced serves by the old ones until it has gone through the
    log by the new ones; then it is as if it had always had these, at every cursor."""
    assume(old != new)
    hub = SmallHub()
    hub.namespace("lab", LAB)
    for gid, rules in (("g", old), ("old", old), ("new", new)):
        hub.generator(gid, rules)
    for number, event in enumerate(log):
        hub.ingest(f"e{number}", [event])

    spec = {"namespaces": ["lab"], "rules": new}
    body = {"type": "RegisterGenerator", "gid": "g", "spec": spec, "replace": 1}
    turn = hub.turn([(1, "control", "", body)])
    coming = list(enumerate(more))
    while turn.build_from is not None:
        inputs: list[tuple[int, str, str, Json]] = [
            (n, "pull", f"gid={gid}&limit=100000", None) for n, gid in ((2, "g"), (3, "old"))
        ]
        if coming:
            number, event = coming.pop()
            batch = {"id": f"m{number}", "events": [event]}
            inputs.insert(0, (1, "ingest", "", batch))
        turn = hub.turn(inputs, build=hub.read(turn.build_from, chunk))
        pages = {n: json.loads(answer) for n, _, answer in turn.replies}
        if pages[2]["version"] == 1:
            assert pages[2]["facts"] == pages[3]["facts"]
    for number, event in coming:
        hub.ingest(f"m{number}", [event])

    for other in (hub, hub.replayed()):
        assert other.pull("g")["version"] == 2
        for cursor in range(other.head + 1):
            assert other.pages("g", cursor, limit=3) == other.pages("new", cursor, limit=3)
