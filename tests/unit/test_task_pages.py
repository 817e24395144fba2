"""Tasks one by one: what a page tells, up to which event, and how much of the log it reads.

The engine, the log and the turns are the real ones; only the disk is memory.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from service_rig import ServiceRig, run_with, told

from hpc.protocols import LogRow
from hpc.storage.memory import MemoryDisk, MemoryLog, MemoryReader

FIELDS = [{"key": "c", "expected_type": "Int"}]
UNKNOWN = dict.fromkeys(
    ["started_at", "finished_at", "duration_s", "peak_memory_bytes", "cpu_seconds"]
)
NEVER = {"attempt": None, "node_id": None, "exit_code": None, "signal": None, "cause": None}


class CountingReader(MemoryReader):
    """A reader that counts the rows that were read."""

    def __init__(self, log: CountingLog) -> None:
        super().__init__(log.disk)
        self._log = log

    def read(self, first_seq: int, limit: int) -> list[LogRow]:
        rows = super().read(first_seq, limit)
        self._log.rows_read += len(rows)
        return rows

    def read_job(self, job_id: str, after_seq: int, limit: int) -> list[LogRow]:
        rows = super().read_job(job_id, after_seq, limit)
        self._log.job_rows_read += len(rows)
        return rows


class CountingLog(MemoryLog):
    """A log whose second reader is counted."""

    def __init__(self) -> None:
        self.disk = MemoryDisk("h")
        super().__init__(self.disk)
        self.rows_read = 0
        self.job_rows_read = 0

    def reader(self) -> MemoryReader:
        return CountingReader(self)


class Rig(ServiceRig[CountingLog]):
    """A Hub without a transport, and one relay's words."""

    def __init__(self) -> None:
        super().__init__(CountingLog())
        self.claims = 0

    async def register(self, **more: Any) -> None:
        schema = {"SubmitJob": FIELDS, **more.pop("schema", {})}
        spec = {"schema": schema, "resources": {"cpus": 1}, **more}
        await self.ask("control", {"type": "RegisterNamespace", "ns_id": "lab", "spec": spec})

    async def say(self, kind: str, ctx: Any, spec: Any) -> None:
        event = {"kind": kind, "payload": {"ctx": {"ns_id": "lab", **ctx}, "spec": spec}}
        await self.ask("ingest", {"events": [event]})

    async def submit(self, tasks: str, **ctx: Any) -> None:
        await self.say("SubmitJob", {"job_id": "j", "tasks": tasks, **ctx}, {})

    async def claim(self, count: int) -> None:
        """Have the next tasks leased to n1."""
        self.claims += 1
        claim = {
            "node_id": "n1", "host": "h", "place": "p", "session": "s" * 26, "epoch": 1,
            "n": self.claims, "ns": ["lab"], "resources": {"cpus": count}, "max": count,
            "wait": 0, "holds": [],
        }  # fmt: skip
        assert (await self.ask("claim", claim))["grants"]

    async def report(self, tasks: str, kind: str = "JobFinished", **spec: Any) -> None:
        ctx = {"job_id": "j", "tasks": tasks, "attempt": 1, "node_id": "n1", "epoch": 1}
        await self.say(kind, ctx, spec)

    async def page(self, query: str = "") -> Any:
        return told(await self.service.tasks("j", query))

    async def tasks(self, query: str = "") -> list[Any]:
        data: list[Any] = (await self.page(query))["data"]
        return data


def with_rig(test: Callable[[Rig], Coroutine[Any, Any, None]]) -> None:
    run_with(Rig, test)


def test_each_task_is_told_with_what_its_report_says_of_it() -> None:
    """One value of a report is every task's, a list is in the order of its tasks."""

    async def test(rig: Rig) -> None:
        await rig.register()
        await rig.submit("0-5", entries=["a", 1, None, {"b": [2]}, "e", "f"])
        await rig.claim(5)
        await rig.report("3", "JobStarted", started_at=7)
        await rig.report("4", "JobStarted", started_at=9)
        await rig.report(
            "0-1,3", exit_code=[0, 7, None], signal=[None, None, 9], started_at=1000,
            finished_at=[1500, 2000, 1250], peak_memory_bytes=[10, None, 30], cpu_seconds=0.5,
            detail=[None, "why", None],
        )  # fmt: skip
        first, second, third, fourth, fifth, sixth = await rig.tasks()

        ran = {"attempt": 1, "node_id": "n1", "signal": None, "started_at": 1000}
        assert first == {
            **ran, "task": 0, "state": "succeeded", "exit_code": 0, "cause": None, "entry": "a",
            "finished_at": 1500, "duration_s": 0.5, "peak_memory_bytes": 10, "cpu_seconds": 0.5,
        }  # fmt: skip
        assert second == {
            **ran, "task": 1, "state": "failed", "exit_code": 7, "cause": "exit", "entry": 1,
            "finished_at": 2000, "duration_s": 1.0, "peak_memory_bytes": None, "cpu_seconds": 0.5,
            "detail": "why",
        }  # fmt: skip
        leased = {**NEVER, "attempt": 1, "node_id": "n1"}
        assert third == {**UNKNOWN, **leased, "task": 2, "state": "leased", "entry": None}
        assert fourth == {
            **ran, "task": 3, "state": "failed", "exit_code": None, "signal": 9, "cause": "signal",
            "entry": {"b": [2]}, "finished_at": 1250, "duration_s": 0.25, "peak_memory_bytes": 30,
            "cpu_seconds": 0.5,
        }  # fmt: skip
        assert fifth == {
            **UNKNOWN, **leased, "task": 4, "state": "running", "started_at": 9, "entry": "e",
        }  # fmt: skip
        assert sixth == {**UNKNOWN, **NEVER, "task": 5, "state": "queued", "entry": "f"}

    with_rig(test)


def test_pages_follow_each_other_by_number() -> None:
    """Each task comes once, also of one state; only null ends the list."""

    async def test(rig: Rig) -> None:
        await rig.register()
        await rig.submit("0-9,20-29")
        await rig.claim(12)
        await rig.report("0-9", exit_code=[task % 3 for task in range(10)])
        for state, expected in [
            (None, [*range(10), *range(20, 30)]),
            ("failed", [1, 2, 4, 5, 7, 8]),
            ("succeeded", [0, 3, 6, 9]),
            ("leased", [20, 21]),
            ("queued", list(range(22, 30))),
            ("held", []),
        ]:
            seen, after = [], ""
            while True:
                only = "" if state is None else f"&state={state}"
                page = await rig.page(f"limit=3{only}{after}")
                assert len(page["data"]) <= 3
                seen += [row["task"] for row in page["data"]]
                assert {row["state"] for row in page["data"]} <= ({state} if state else set(ALL))
                if page["next"] is None:
                    break
                assert page["next"] == seen[-1]
                after = f"&after={page['next']}"
            assert seen == expected, state

    with_rig(test)


ALL = ["succeeded", "failed", "leased", "queued"]


def test_what_is_held_and_what_waits_has_its_own_pages() -> None:
    """A task that nothing keeps back is queued, and no task is in two states."""

    async def test(rig: Rig) -> None:
        await rig.register()
        await rig.submit("0-5")
        await rig.say("HoldJob", {"job_id": "j", "tasks": "2-3"}, {})
        assert [row["task"] for row in await rig.tasks("state=held")] == [2, 3]
        assert [row["task"] for row in await rig.tasks("state=queued")] == [0, 1, 4, 5]
        assert [row["state"] for row in await rig.tasks("limit=3")] == ["queued", "queued", "held"]
        assert await rig.tasks("state=waiting") == []

    with_rig(test)


@pytest.mark.parametrize(
    ("job_id", "query", "status", "told_of"),
    [
        ("x", "", 404, "Job `x` is not known"),
        ("j", "state=done", 400, "`state` must be one of running, leased, queued"),
        ("j", "limit=0", 400, "`limit` must be an Int from 1 to 10000"),
        ("j", "after=-1", 400, "`after` must be an Int from 0"),
        ("j", "job_id=k", 400, "`job_id` stands twice"),
        ("j", "order=desc", 400, "`order` is not known"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(
    job_id: str, query: str, status: int, told_of: str
) -> None:
    """By the name of the parameter."""

    async def test(rig: Rig) -> None:
        await rig.register()
        await rig.submit("0-3")
        answer = await rig.service.tasks(job_id, query)
        assert answer.status == status
        assert told_of in json.loads(answer.body)["detail"]

    with_rig(test)


def test_a_page_reads_the_rows_of_its_tasks_alone() -> None:
    """The job's rows are looked through once; after that a page costs what is on it, and a report
    that has come since is found."""

    async def test(rig: Rig) -> None:
        await rig.register()
        await rig.submit("0-199")
        await rig.claim(200)
        for task in range(150):
            await rig.report(str(task), exit_code=0, started_at=task, finished_at=2 * task)
        await rig.page("limit=1")
        looked_through = rig.log.job_rows_read
        assert looked_through >= 150
        rig.log.rows_read = 0

        page = await rig.tasks("after=99&limit=10")
        assert [(row["task"], row["started_at"]) for row in page] == [
            (task, task) for task in range(100, 110)
        ]
        assert rig.log.rows_read == 10
        assert rig.log.job_rows_read == looked_through

        await rig.report("150-199", exit_code=0, started_at=5, finished_at=6)
        rig.log.rows_read = 0
        assert {row["started_at"] for row in await rig.tasks("after=149")} == {5}
        assert rig.log.rows_read == 1
        assert rig.log.job_rows_read == looked_through + 1

        rig.log.rows_read = 0
        assert len(await rig.tasks("state=failed")) == 0
        assert rig.log.rows_read == 0

    with_rig(test)


def test_events_that_are_no_reports_are_not_read() -> None:
    """A worker says thousands of things under its job, task and attempt, and none is a report."""

    async def test(rig: Rig) -> None:
        await rig.register(schema={"Said": []})
        await rig.submit("0")
        await rig.claim(1)
        for _ in range(20):
            await rig.report("0", "Said")
        await rig.report("0", exit_code=0, started_at=1, finished_at=2)
        assert [row["started_at"] for row in await rig.tasks()] == [1]
        assert rig.log.rows_read == 1

    with_rig(test)


def test_what_others_report_and_what_comes_again_changes_nothing() -> None:
    """Of an attempt the first report counts; one of a node that was never given the task, or on
    another job, is none of its."""

    async def test(rig: Rig) -> None:
        await rig.register()
        await rig.submit("0-3")
        await rig.claim(4)
        ctx = {"job_id": "j", "tasks": "0-3", "attempt": 1, "epoch": 1}
        ended = {"exit_code": 0, "started_at": 1, "finished_at": 1}
        await rig.say("JobFinished", {**ctx, "node_id": "n2"}, ended)
        await rig.report("0-3", exit_code=0, started_at=10, finished_at=20)
        await rig.report("0-3", exit_code=0, started_at=11, finished_at=21)
        await rig.report("0-3", "JobStarted", started_at=12)
        told = [(row["started_at"], row["finished_at"]) for row in await rig.tasks()]
        assert told == [(10, 20)] * 4

    with_rig(test)


def test_a_namespace_s_own_kind_can_report() -> None:
    """Where `acts_as` says that it is a JobFinished."""

    async def test(rig: Rig) -> None:
        await rig.register(schema={"Ended": []}, acts_as={"Ended": "JobFinished"})
        await rig.submit("0")
        await rig.claim(1)
        await rig.report("0", "Ended", exit_code=3, started_at=1000, finished_at=4000)
        (task,) = await rig.tasks()
        assert (task["exit_code"], task["duration_s"]) == (3, 3.0)

    with_rig(test)


def test_the_past_is_told_as_it_was() -> None:
    """A page at a cursor knows nothing of what came after it."""

    async def test(rig: Rig) -> None:
        await rig.register()
        await rig.submit("0-2", entries=["a", "b", "c"])
        await rig.claim(3)
        await rig.report("0-2", "JobStarted", started_at=5)
        then = rig.turns.head_seq
        before = await rig.tasks()
        await rig.report("0-2", exit_code=[0, 1, 0], started_at=5, finished_at=6)
        now = await rig.tasks()

        assert [row["state"] for row in now] == ["succeeded", "failed", "succeeded"]
        assert await rig.tasks(f"at={then}") == before
        assert {row["state"] for row in before} == {"running"}
        assert {row["finished_at"] for row in before} == {None}

    with_rig(test)


@pytest.mark.parametrize("seed", range(4))
def test_reports_in_any_pieces_tell_the_same(seed: int) -> None:
    """However a relay batches its reports, each task gets its own figures."""
    print(f"seed {seed}")
    chance = random.Random(seed)

    async def test(rig: Rig) -> None:
        await rig.register()
        await rig.submit("0-99")
        await rig.claim(100)
        left = list(range(100))
        chance.shuffle(left)
        while left:
            size = chance.randint(1, 20)
            some, left = sorted(left[:size]), left[size:]
            await rig.report(
                ",".join(map(str, some)),
                exit_code=[task % 2 for task in some],
                started_at=[task * 10 for task in some],
                finished_at=[task * 11 for task in some],
                cpu_seconds=[task / 8 for task in some],
            )
            await rig.page(f"after={chance.randint(0, 99)}&limit=7")
        for row in await rig.tasks():
            task = row["task"]
            assert row["state"] == ("failed" if task % 2 else "succeeded")
            assert (row["started_at"], row["finished_at"]) == (task * 10, task * 11)
            assert (row["cpu_seconds"], row["duration_s"]) == (task / 8, task / 1000)

    with_rig(test)
