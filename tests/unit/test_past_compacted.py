"""The past, and where facts come from, over a log that was compacted: right, or refused by 410."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kept_hub import DAY_MS, HOUR_MS, HandClock, KeptHub, filled, kept

from hpc.hub.explainer import Explainer
from hpc.hub.past import Past
from hpc.hub.side import Side
from hpc.protocols import Answer, EventLog
from hpc.storage import memory, sqlite
from hpc.storage.memory import MemoryDisk

Json = Any
OpenLog = Callable[[], EventLog]

ASKED = (
    ("pull", "gid=g"), ("pull", "gid=k"), ("pull", "gid=o"), ("pull", "gid=kernel"),
    ("jobs", ""), ("nodes", ""), ("conflicts", ""),
)  # fmt: skip


@pytest.fixture(params=["sqlite", "memory"])
def open_log(request: pytest.FixtureRequest, tmp_path: Path) -> OpenLog:
    """Opens one log, of either kind."""
    if request.param == "sqlite":
        return lambda: sqlite.open_log(tmp_path / "data")
    disk = MemoryDisk()
    return lambda: memory.MemoryLog(disk)


class Asker:
    """Asks about the past of a Hub, and where its facts come from, as its service does."""

    def __init__(self, hub: KeptHub) -> None:
        self.hub = hub
        self._loop = asyncio.new_event_loop()
        self._side = Side(hub.log)
        hub_id = hub.log.hub_id
        self._past = Past(self._side, hub_id=hub_id, head_seq=lambda: hub.engines[-1].last_seq)
        self._explainer = Explainer(self._side, hub_id)

    def ask(self, verb: str, query: str) -> tuple[int, Json]:
        return self._told(self._ask(verb, query))

    def explain(self, query: str) -> tuple[int, Json]:
        return self._told(self._explainer.explain(self._ask, query))

    def conflicts(self, query: str) -> tuple[int, Json]:
        return self._told(self._explainer.conflicts(self._ask, query))

    def diff(self, query: str) -> tuple[int, Json]:
        return self._told(self._past.diff(query))

    def close(self) -> None:
        self._past.close()
        self._loop.run_until_complete(self._side.close())
        self._loop.close()

    async def _ask(self, verb: str, query: str) -> Answer:
        asked = self._past.asked(query)
        if isinstance(asked, Answer):
            return asked
        if asked is not None:
            return await self._past.ask(verb, asked)
        status, body = self.hub.ask(verb, query)
        return Answer(status, json.dumps(body).encode())

    def _told(self, answer: Any) -> tuple[int, Json]:
        status, body = self._loop.run_until_complete(answer)
        return status, json.loads(body)


@pytest.fixture
def hub(open_log: OpenLog) -> Iterator[KeptHub]:
    """A Hub with a contradiction in it, and one snapshot below its last events."""
    with kept(open_log, HandClock()) as hub:
        filled(hub, 4)
        join = {"said": {"once": "$spec.i"}, "n": {"count": 1}, "top": {"max": "$spec.i"}}
        rules = [{"on": "Said", "table": "t", "key": "all", "join": join}]
        spec = {"namespaces": ["lose"], "rules": rules}
        body = {"type": "RegisterGenerator", "gid": "o", "spec": spec}
        assert hub.ask("control", body=body)[0] == 200
        hub.idle()
        for i in range(4, 8):
            hub.say("lose", i)
        hub.close()
        hub.say("lose", 8)
        hub.submit("j2")
        yield hub


@pytest.fixture
def asker(hub: KeptHub) -> Iterator[Asker]:
    """Asks that Hub."""
    asker = Asker(hub)
    yield asker
    asker.close()


def compact(hub: KeptHub) -> None:
    """Let two days go by, after which what may go has gone."""
    hub.clock.move(2 * DAY_MS)
    hub.idle()
    if hub.log.floor() == 1:  # that round only wrote a snapshot, since the older lacks a generator
        hub.clock.move(HOUR_MS)
        hub.idle()
    assert hub.log.floor() > 1


def answers(asker: Asker, cursors: range) -> list[Any]:
    """What is said of each cursor."""
    return [asker.ask(verb, f"{query}&at={at}") for at in cursors for verb, query in ASKED]


def gone(told: tuple[int, Json], floor: int, field: str | None = None) -> None:
    """A 410 with all that a program and a person need."""
    status, problem = told
    assert (status, problem["code"]) == (410, "compacted"), problem
    assert problem["floor"] == floor
    assert problem.get("field") == field
    assert str(floor) in problem["detail"]
    assert problem["hint"]


def test_the_past_stands_on_a_snapshot_where_there_is_one(hub: KeptHub, asker: Asker) -> None:
    """After compaction every cursor from the oldest snapshot on is told as before."""
    head = hub.engines[-1].last_seq
    before = answers(asker, range(head + 1))
    assert all(status == 200 for status, _ in before)
    compact(hub)
    oldest = min(head.seq for head in hub.log.snapshots())
    assert 0 < oldest < head
    after = answers(asker, range(oldest, head + 1))
    assert after == before[oldest * len(ASKED) :]


def test_below_the_oldest_snapshot_it_is_410_with_the_least_cursor(
    hub: KeptHub, asker: Asker
) -> None:
    """What was compacted cannot be told, and is never told wrongly; what is told can be asked."""
    compact(hub)
    oldest = min(head.seq for head in hub.log.snapshots())
    for at in (0, 1, oldest - 1):
        for verb, query in ASKED:
            gone(asker.ask(verb, f"{query}&at={at}"), oldest, "at")
    gone(asker.diff(f"gid=g&from={oldest - 1}&to={oldest}"), oldest, "from")
    gone(asker.diff("gid=g&from=1&to=2"), oldest, "from")
    assert asker.ask("pull", f"gid=g&at={oldest}")[0] == 200
    status, page = asker.diff(f"gid=o&from={oldest}")
    assert status == 200
    assert page["data"]["t"]["all"]["top"] == {"from": 7, "to": 8}


def test_what_is_dropped_under_the_past_is_not_missed(hub: KeptHub, asker: Asker) -> None:
    """An engine that stands below the floor is not replayed over a hole: it begins anew."""
    head = hub.engines[-1].last_seq
    expected = asker.ask("pull", f"gid=g&at={head}")
    assert asker.ask("pull", "gid=g&at=6")[0] == 200
    compact(hub)
    assert asker.ask("pull", f"gid=g&at={head}") == expected


def test_a_generator_of_after_the_snapshot_is_built_for_the_past(
    hub: KeptHub, asker: Asker
) -> None:
    """By the rules of today, over what there is; where some is gone, it says since when."""
    hub.generator("late", "lose")
    head = hub.engines[-1].last_seq
    for at in range(head - 3, head + 1):
        (_, late), (_, early) = (asker.ask("pull", f"gid={gid}&at={at}") for gid in ("late", "g"))
        assert late["facts"] == early["facts"]
    compact(hub)
    hub.generator("later", "lose")
    page = hub.ask("pull", "gid=later")[1]
    assert page["since"] == hub.log.floor()
    head = hub.engines[-1].last_seq
    assert asker.ask("pull", f"gid=later&at={head}")[1]["facts"] == page["facts"]
    assert asker.ask("pull", f"gid=later&at={head}")[1]["since"] == page["since"]


def test_a_snapshot_that_is_damaged_is_not_the_past(open_log: OpenLog) -> None:
    """The older one, or the beginning of the log, is told instead."""
    disk = MemoryDisk()
    with kept(lambda: memory.MemoryLog(disk), HandClock()) as hub:
        filled(hub)
        hub.close()
        hub.say("keep", 50)
        head = hub.engines[-1].last_seq
        asker = Asker(hub)
        try:
            expected = answers(asker, range(head, head + 1))
            asker.ask("jobs", "at=0")  # lets the engine go
            ((stored, state),) = disk.states.values()
            disk.states = {stored.number: (stored, state[:50] + b"?" + state[51:])}
            assert answers(asker, range(head, head + 1)) == expected
        finally:
            asker.close()


def test_events_that_are_gone_explain_nothing(hub: KeptHub, asker: Asker) -> None:
    """An explanation with a hole in it would be a wrong one."""
    cell = "gid=o&table=t&key=all"
    assert asker.explain(f"{cell}&column=n")[0] == 200
    compact(hub)
    floor = hub.log.floor()
    gone(asker.explain(f"{cell}&column=n"), floor, "after")
    status, page = asker.explain(f"{cell}&column=n&after={floor - 1}")
    assert (status, [event["value"] for event in page["events"]]) == (200, [1])
    gone(asker.explain(f"{cell}&column=n&why_not=true"), floor)
    status, page = asker.explain(f"{cell}&column=top")
    assert (status, page["events"][0]["value"]) == (200, 8)
    gone(asker.explain("gid=g&table=t&key=n1&column=last"), floor)


def test_the_kernel_is_explained_over_rows_without_a_body(hub: KeptHub, asker: Asker) -> None:
    """Its events are never dropped, whatever lies between them."""
    places = [
        f"gid=kernel&table=jobs&key={job_id}&column={column}&why_not={why_not}"
        for job_id in ("j1", "j2")
        for column in ("ns_id", "phase", "submitted")
        for why_not in ("true", "false")
    ]
    places += ["gid=kernel&table=nodes&key=n1&column=down&why_not=true"]
    before = [asker.explain(place) for place in places]
    assert all(status == 200 for status, _ in before)
    compact(hub)
    assert [asker.explain(place) for place in places] == before


def test_a_given_reason_is_told_after_compaction(hub: KeptHub, asker: Asker) -> None:
    """Why a job is held is asked for weeks later, when its events can be read no more."""
    payload = {"ctx": {"job_id": "j1"}, "spec": {"reason": "not yet"}}
    events = [{"kind": "HoldJob", "payload": payload}]
    status, receipt = hub.ask("ingest", body={"events": events})
    assert status == 200, receipt
    for i in range(9, 12):  # two snapshots are kept, and only what is below the older may go
        hub.say("lose", i)
        hub.close()
    compact(hub)
    assert hub.log.floor() > receipt["first_seq"]
    status, told = asker.explain("gid=kernel&table=jobs&key=j1&column=held")
    assert (status, [event.get("because") for event in told["events"]]) == (200, ["not yet"])


def test_what_lost_nothing_is_explained_as_before(hub: KeptHub, asker: Asker) -> None:
    """That samples are kept for a day must not cost anybody else the events of their facts."""
    rules = [{"on": "Said", "table": "t", "key": "all", "join": {"n": {"count": 1}}}]
    spec = {"namespaces": ["keep"], "rules": rules}
    body = {"type": "RegisterGenerator", "gid": "whole", "spec": spec}
    assert hub.ask("control", body=body)[0] == 200
    hub.idle()
    hub.say("keep", 1)
    place = "gid=whole&table=t&key=all&column=n"
    status, before = asker.explain(place)
    assert (status, bool(before["events"])) == (200, True)
    compact(hub)
    status, after = asker.explain(place)
    assert (status, after["events"]) == (200, before["events"])
    gone(asker.explain("gid=o&table=t&key=all&column=n"), hub.log.floor(), "after")


def test_conflicts_whose_evidence_is_gone_are_listed_and_say_so(hub: KeptHub, asker: Asker) -> None:
    """A conflict is there for ever; that its first events are not must not hide it."""
    status, page = asker.conflicts("gid=o")
    assert (status, page["data"][0]["values"]) == (200, [1, 2, 4, 5])
    assert "evidence_more" not in page["data"][0]
    compact(hub)
    for query in ("", "gid=o"):
        status, after = asker.conflicts(query)
        assert (status, after["data"][0]["values"]) == (200, [1, 2, 4, 5])
        assert after["data"][0]["evidence_more"] is True
    assert asker.conflicts("gid=kernel") == (
        200,
        {"cursor": page["cursor"], "data": [], "next": None},
    )


def test_conflicts_are_listed_the_same_after_a_restart_from_a_snapshot(open_log: OpenLog) -> None:
    """The list is kept by joins; what a snapshot brings was joined by another process."""
    with kept(open_log) as hub:
        filled(hub)
        join = {"said": {"once": "$spec.i"}, "by": {"map": {"key": "$spec.s", "join": {"once": 1}}}}
        rules = [{"on": "Said", "table": "t", "key": "$ctx.node_id", "join": join}]
        spec = {"namespaces": ["lose", "keep"], "rules": rules}
        body = {"type": "RegisterGenerator", "gid": "o", "spec": spec}
        assert hub.ask("control", body=body)[0] == 200
        hub.idle()
        before = hub.ask("conflicts")
        assert len(before[1]["cells"]) == 3
        hub.close()
    with kept(open_log) as hub:
        assert hub.log.snapshots()[0].seq == hub.engines[-1].last_seq
        assert hub.ask("conflicts") == before
