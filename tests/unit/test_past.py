"""The past beside a Hub that goes on: what it costs, what it refuses, and what it waits for.

The engine, the log and the turns are the real ones; only the disk is memory.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from service_rig import ServiceRig, run_with, told

from hpc.errors import StorageError
from hpc.hub.past_query import Asked, asked_at, asked_diff
from hpc.protocols import Answer, LogRow
from hpc.storage.memory import MemoryDisk, MemoryLog, MemoryReader

DEADLINE_S = 30.0
SCHEMA = {"Said": [{"key": "i", "expected_type": "Int"}]}
RULE = {
    "on": "Said",
    "table": "t",
    "key": "$ctx.node_id",
    "join": {"most": {"max": "$spec.i"}, "said": {"once": "$spec.i"}},
}


class CountingReader(MemoryReader):
    """A reader that counts what is read, and can be held or made to fail."""

    def __init__(self, log: WatchedLog) -> None:
        super().__init__(log.disk)
        self._log = log

    def read(self, first_seq: int, limit: int) -> list[LogRow]:
        self._log.reading.set()
        assert self._log.gate.wait(DEADLINE_S)
        if self._log.failures:
            raise self._log.failures.pop()
        rows = super().read(first_seq, limit)
        self._log.events_read += sum(row.count for row in rows)
        return rows


class WatchedLog(MemoryLog):
    """A log whose second reader is watched."""

    def __init__(self) -> None:
        self.disk = MemoryDisk("h")
        super().__init__(self.disk)
        self.events_read = 0
        self.opened = 0
        self.gate = threading.Event()
        self.gate.set()
        self.reading = threading.Event()
        self.failures: list[StorageError] = []

    def reader(self) -> MemoryReader:
        self.opened += 1
        return CountingReader(self)


class Rig(ServiceRig[WatchedLog]):
    """A Hub without a transport."""

    def __init__(self) -> None:
        super().__init__(WatchedLog(), lease_ms=1000)
        self._numbers = itertools.count(1)

    async def __aexit__(self, *error: Any) -> None:
        self.log.gate.set()
        await super().__aexit__(*error)

    async def control(self, kind: str, name: str, spec: Any) -> None:
        field = {"RegisterNamespace": "ns_id", "RegisterGenerator": "gid"}[kind]
        body = json.dumps({"type": kind, field: name, "spec": spec}).encode()
        assert (await self.service.ask("control", "", body)).status == 200

    async def lab(self) -> int:
        """Register what there is to talk about; returns the seq of the last registration."""
        await self.control("RegisterNamespace", "lab", {"schema": SCHEMA})
        await self.control("RegisterGenerator", "g", {"namespaces": ["lab"], "rules": [RULE]})
        return self.turns.head_seq

    async def say(self, *values: int, node: str = "n") -> int:
        """Say values in one batch; returns the seq of the last."""
        ctx = {"ns_id": "lab", "node_id": node}
        events = [
            {"kind": "Said", "at": 1, "payload": {"ctx": ctx, "spec": {"i": i}}} for i in values
        ]
        body = json.dumps({"id": f"b{next(self._numbers)}", "events": events}).encode()
        assert (await self.service.ask("ingest", "", body)).status == 200
        return self.turns.head_seq

    async def most(self, query: str) -> Any:
        return told(await self.service.ask("pull", query))["facts"]["t"]["n"]["most"]


def refused(answer: Answer | Any) -> tuple[int, str, str]:
    assert isinstance(answer, Answer)
    problem = json.loads(answer.body)
    return answer.status, problem["code"], problem["detail"]


def with_rig(test: Callable[[Rig], Coroutine[Any, Any, None]]) -> None:
    run_with(Rig, test)


def test_pulls_and_lists_at_one_cursor_cost_one_replay() -> None:
    """Paging through the past, and looking at it from several sides, is cheap after the first."""

    async def test(rig: Rig) -> None:
        begin = await rig.lab()
        end = await rig.say(*range(10))
        at = begin + 3
        assert await rig.most(f"gid=g&at={at}") == 2
        read = rig.log.events_read
        for verb, query in (("pull", "gid=kernel"), ("jobs", ""), ("nodes", "limit=5")):
            assert told(await rig.service.ask(verb, f"{query}&at={at}"))["cursor"] == at
        assert rig.log.events_read == read
        assert await rig.most(f"at={at + 4}&gid=g") == 6
        assert rig.log.events_read <= read + 10, "a later cursor goes on from an earlier one"
        assert await rig.most(f"gid=g&at={begin + 1}&cursor=0") == 0
        assert await rig.most(f"gid=g&at={end}") == 9

    with_rig(test)


def test_the_rules_of_the_past_are_those_of_today() -> None:
    """A table that is registered now can be looked at as it would have been; also where the past
    was being looked at before."""

    async def test(rig: Rig) -> None:
        begin = await rig.lab()
        await rig.say(1, 2, 3)
        assert await rig.most(f"gid=g&at={begin + 1}") == 1
        least = {**RULE, "join": {"least": {"min": "$spec.i"}}}
        await rig.control("RegisterGenerator", "late", {"namespaces": ["lab"], "rules": [least]})
        page = told(await rig.service.ask("pull", f"gid=late&at={begin + 2}"))
        assert page["facts"] == {"t": {"n": {"least": 1}}}
        page = told(await rig.service.diff(f"gid=late&from={begin}&to={begin + 1}"))
        assert page["data"] == {"t": {"n": {"least": {"from": None, "to": 1}}}}

    with_rig(test)


def test_no_turn_waits_for_the_past() -> None:
    """While the log is read for a question to the past, and for one about it, events come in."""

    async def test(rig: Rig) -> None:
        begin = await rig.lab()
        await rig.say(1)
        rig.log.gate.clear()
        place = "gid=g&table=t&key=n&column=said"
        questions = [
            asyncio.ensure_future(question)
            for question in (
                rig.service.ask("pull", f"gid=g&at={begin + 1}"),
                rig.service.ask("pull", f"gid=g&at={begin}"),
                rig.service.explain(place),
                rig.service.diff(f"gid=g&from={begin}"),
            )
        ]
        assert await asyncio.to_thread(rig.log.reading.wait, DEADLINE_S)
        await rig.say(7)
        assert await rig.most("gid=g") == 7
        assert not any(question.done() for question in questions)
        rig.log.gate.set()
        answers = [told(answer) for answer in await asyncio.gather(*questions)]
        assert answers[0]["facts"]["t"]["n"]["most"] == 1
        assert answers[1]["facts"] == {}

    with_rig(test)


def test_a_reader_that_leaves_leaves_a_past_that_can_be_asked() -> None:
    """What was replayed for it is kept, and the next one gets its own answer."""

    async def test(rig: Rig) -> None:
        begin = await rig.lab()
        await rig.say(1, 2, 3)
        rig.log.gate.clear()
        gone = asyncio.ensure_future(rig.service.ask("pull", f"gid=g&at={begin + 3}"))
        assert await asyncio.to_thread(rig.log.reading.wait, DEADLINE_S)
        gone.cancel()
        rig.log.gate.set()
        assert await rig.most(f"gid=g&at={begin + 2}") == 2

    with_rig(test)


def test_a_log_that_cannot_be_read_is_503_and_read_anew() -> None:
    """The past is no reason for the Hub to end."""

    async def test(rig: Rig) -> None:
        begin = await rig.lab()
        await rig.say(5)
        rig.log.failures.append(StorageError("The disk is away"))
        assert refused(await rig.service.ask("pull", f"gid=g&at={begin + 1}"))[0] == 503
        opened = rig.log.opened
        assert await rig.most(f"gid=g&at={begin + 1}") == 5
        assert rig.log.opened == opened + 1

    with_rig(test)


def test_pages_of_why_not_go_on_where_the_search_was() -> None:
    """The fold of a cell is kept for its next page, and found again where it is not."""

    async def test(rig: Rig) -> None:
        begin = await rig.lab()
        await rig.say(9, *range(9))
        place = "gid=g&table=t&key=n&column=most&why_not=true&limit=1"
        seqs, after = [], 0
        while True:
            read = rig.log.events_read
            page = told(await rig.service.explain(f"{place}&after={after}"))
            seqs += [event["seq"] for event in page["events"]]
            if not page["more"]:
                break
            after = page["after"]
        assert seqs == list(range(begin + 2, begin + 11))
        again = told(await rig.service.explain(f"{place}&after={begin + 5}"))
        assert again["events"][0]["seq"] == begin + 6
        assert again["events"][0]["reason"] == "says 4, the cell had 9"
        assert rig.log.events_read > read

    with_rig(test)


def test_a_hub_that_ends_answers_what_is_asked_of_the_past() -> None:
    """Nobody is left waiting, and the log is not closed under a reader."""

    async def test(rig: Rig) -> None:
        begin = await rig.lab()
        await rig.say(1, 2, 3)
        rig.log.gate.clear()
        questions = [
            asyncio.ensure_future(rig.service.ask("pull", f"gid=g&at={begin + place}"))
            for place in (1, 2)
        ]
        assert await asyncio.to_thread(rig.log.reading.wait, DEADLINE_S)
        ending = asyncio.ensure_future(rig.side.close())
        rig.log.gate.set()
        await ending
        for answer in await asyncio.gather(*questions):
            assert refused(answer)[:2] == (503, "stopping")

    with_rig(test)


@pytest.mark.parametrize("start", [0, 7])
def test_a_search_that_is_cut_off_goes_on_with_the_next_page(
    monkeypatch: pytest.MonkeyPatch, start: int
) -> None:
    """A page may be empty and have more; whoever goes on comes to the end, and misses nothing."""
    monkeypatch.setattr("hpc.hub.explainer.PIECE_EVENTS", 2)
    monkeypatch.setattr("hpc.hub.explainer.PIECES_MAX", 1)

    async def test(rig: Rig) -> None:
        begin = await rig.lab()
        for value in (9, *range(9)):
            await rig.say(value)
        for column, why_not, places in (
            ("most", "true", range(2, 11)),
            ("said", "false", range(1, 11)),
        ):
            query = f"gid=g&table=t&key=n&column={column}&why_not={why_not}"
            after, pages, seqs = begin + start, 0, []
            while True:
                page = told(await rig.service.explain(f"{query}&after={after}"))
                seqs += [event["seq"] - begin for event in page["events"]]
                pages += 1
                if not page["more"]:
                    break
                assert page["after"] >= after
                after = page["after"]
            assert seqs == [place for place in places if place > start]
            assert 1 < pages < 20

    with_rig(test)


def test_evidence_is_the_first_event_of_each_value_or_says_that_it_is_not_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a log that is longer than the search, the newest contradiction is told, and that there is
    more; what was said before is never told as if it were said first."""

    async def test(rig: Rig) -> None:
        begin = await rig.lab()
        await rig.say(5, 5, 5)
        await rig.say(5, 7, 5, 3)

        async def found() -> Any:
            (conflict,) = told(await rig.service.conflicts(""))["data"]
            seqs = [(event["value"], event["seq"] - begin) for event in conflict["evidence"]]
            return seqs, conflict.get("evidence_more", False)

        assert await found() == ([(5, 1), (7, 5), (3, 7)], False)
        monkeypatch.setattr("hpc.hub.explainer.PIECE_EVENTS", 2)
        assert await found() == ([(5, 1), (7, 5), (3, 7)], False)
        monkeypatch.setattr("hpc.hub.explainer.PIECES_MAX", 1)
        assert await found() == ([(3, 7)], True)

    with_rig(test)


def test_what_is_asked_of_the_past_is_read_strictly() -> None:
    """A cursor that makes no sense is refused with the bounds, a wait with the reason."""
    head_seq = 20
    assert asked_at("gid=g&cursor=3", head_seq) is None
    assert asked_at("gid=g&table=at%3D5&format=5", head_seq) is None
    assert asked_at("at=20", head_seq) == Asked(20, "")
    assert asked_at("gid=g&at=0&cursor=3", head_seq) == Asked(0, "gid=g&cursor=3")
    assert asked_at("gid=g&at=7&wait=0", head_seq) == Asked(7, "gid=g&wait=0")
    for text in ("21", "-1", "", "1e3", "%32", "now"):
        status, code, detail = refused(asked_at(f"gid=g&at={text}", head_seq))
        assert (status, code) == (400, "bad_request")
        assert "from 0 to 20" in detail
    assert refused(asked_at("at=1&at=2", head_seq))[0] == 400
    assert "`wait`" in refused(asked_at("at=1&wait=5", head_seq))[2]
    for query in ("", "from=3&to=2", "from=21", "to=3", "from=1&from=2", "from=x", "from=1&to=21"):
        assert refused(asked_diff(f"gid=g&{query}", head_seq))[0] == 400
    assert refused(asked_diff("to=3", head_seq))[2] == "Query parameter `from` is missing"


@pytest.mark.parametrize("verb", ["ingest", "control", "claim", "namespaces"])
def test_nothing_but_reads_is_put_to_the_past(verb: str) -> None:
    """The past is not written to; what has no past says that it does not know `at`."""

    async def test(rig: Rig) -> None:
        await rig.lab()
        answer = await rig.service.ask(verb, "at=1", b"{}")
        assert answer.status in (200, 400, 422)
        assert rig.log.opened == 0

    with_rig(test)


def test_a_fault_behind_a_past_is_answered_and_said(capfd: pytest.CaptureFixture[str]) -> None:
    """Whoever asked without a task to wait in is told as well."""

    async def test(rig: Rig) -> None:
        await rig.lab()
        rig.log.failures = [RuntimeError("a fault")]
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        rig.service.put("pull", "gid=kernel&at=1", b"", answered.set_result, "")
        answer = await answered
        assert (answer.status, json.loads(answer.body)["code"]) == (503, "internal")

    with_rig(test)
    assert "a fault" in capfd.readouterr().err
