"""The supervisor's outbox: what it has told is told again until it is acknowledged, and no more."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import time
from pathlib import Path

import pytest
from executor_kit import boottime_ms, relay, shell, until, work

from hpc.relay.link import Batch

ENDS_MS = 10
"""How long ends wait at most, by `supervisor.rs`."""


def test_reports_survive_the_supervisor_with_a_torn_last_record(tmp_path: Path) -> None:
    """A result that cost a day must not be lost, nor told under another number, by a kill."""

    async def scenario() -> None:
        async with relay(tmp_path, acknowledges=False) as taken:
            taken.link.run([shell("echo $HPC_TASK_ID", tasks="0-4", job_id="first")])
            await until(lambda: taken.batches, "a batch")
            first = taken.batches[0]
            await until(lambda: b"first" in _log(tmp_path, "s1"), "records")
            await until(lambda: _log(tmp_path, "s1").count(b'"e":{') == 5, "all five ends")
            os.kill(taken.link.pid, signal.SIGKILL)
        log = tmp_path / "outbox" / "s1.log"
        whole = log.read_bytes()
        log.write_bytes(whole + whole[-40:-3])  # a record that was being written

        async with relay(tmp_path, session="s2", acknowledges=False) as taken:
            assert taken.link.old == ["s1"]
            taken.link.adopt(["s1"])
            holds = json.loads(await taken.link.holds())
            assert holds == [{"job_id": "first", "attempt": 1, "tasks": "0-4"}]
            await until(lambda: taken.batches, "a batch of the old session")
            assert taken.batches[0] == first  # the same bytes under the same number
            taken.link.run([work("true", tasks="0-4", job_id="first")])  # held: not run again
            taken.link.run([work("true", job_id="second")])
            taken.acknowledges = True
            taken.link.fence(boottime_ms() + 60_000)
            taken.link.acked("s1", 1)
            taken.link.acked("s1", 1)  # a second answer to the same batch changes nothing
            for task in range(5):
                assert (await taken.end(task, job="first"))["exit_code"] == 0
                assert taken.text(task, job="first") == f"{task}\n"
            await until(lambda: ("second", 1, 0) in taken.ends, "the new session's end")
            own = next(b for b in taken.batches if b.origin == "s2")
            taken.link.acked("s2", own.n)
            await asyncio.wait_for(taken.link.idle(), 10)
            assert sorted(set(taken.started)) == sorted(
                [("first", 1, task) for task in range(5)] + [("second", 1, 0)]
            )
            await until(lambda: not log.exists(), "the old session's file is gone")
            assert (tmp_path / "outbox" / "s2.log").exists()

    asyncio.run(scenario())


def test_fault_48_the_start_of_what_is_tried_again_is_told_at_once(tmp_path: Path) -> None:
    """A task that takes its relay down counts only if the Hub knows that it had started; a first
    attempt waits for company, since most are the last."""

    async def scenario() -> None:
        async with relay(tmp_path) as taken:
            taken.link.run([shell("sleep 0.01", attempt=2)])
            await taken.end(attempt=2)
            kinds = [
                [event["kind"] for event in json.loads(batch.body)["events"]]
                for batch in taken.batches
            ]
            assert kinds == [["JobStarted"], ["JobFinished"]]

    asyncio.run(scenario())


def test_a_number_never_stands_before_other_reports(tmp_path: Path) -> None:
    """A power cut may take the record of a batch that was sent; what it held is told by the next
    session, and the Hub is told some of it twice."""

    async def scenario() -> None:
        log = tmp_path / "outbox" / "s1.log"
        async with relay(tmp_path, acknowledges=False) as taken:
            taken.link.run([work(kind="none", job_id="first")])
            await until(lambda: taken.batches, "the first batch")
            taken.link.run([work(kind="none", job_id="second")])
            await until(lambda: b"second" in log.read_bytes(), "the second job's records")
            synced = log.read_bytes()
            taken.link.run([work(kind="none", job_id="third")])
            await until(lambda: b"third" in log.read_bytes(), "the third job's records")
            taken.link.acked("s1", 1)
            await until(lambda: len(taken.batches) > 1, "the second batch")
            assert b"third" in taken.batches[1].body
            os.kill(taken.link.pid, signal.SIGKILL)
        log.write_bytes(synced)  # all else was never on the disk

        async with relay(tmp_path, session="s2") as taken:
            taken.link.adopt(["s1"])
            taken.link.fence(boottime_ms() + 60_000)  # a claim was answered: they are its Hub's
            await until(lambda: ("second", 1, 0) in taken.ends, "what no batch held")
            told = {batch[:2] for batch in taken.batches if b"second" in batch.body}
            assert {origin for origin, _ in told} == {"s2"}

    asyncio.run(scenario())


def test_an_end_waits_for_company_while_a_task_waits_for_its_slot(tmp_path: Path) -> None:
    """Each report costs the Hub a commit; a relay that has more to run is in no hurry."""

    async def scenario() -> None:
        async with relay(tmp_path, cpus=[0]) as taken:
            came_ms: list[float] = []
            take = taken.take

            def timed(batch: Batch) -> None:
                if b"JobFinished" in batch.body:
                    came_ms.append(1e3 * time.time())
                take(batch)

            taken.take = timed  # type: ignore[method-assign]
            taken.link.run([shell("test $HPC_TASK_ID = 0 || sleep 60", tasks="0-2")])
            end = await taken.end(0)
            assert came_ms[0] - end["finished_at"] >= ENDS_MS - 1  # clocks of whole ms

    asyncio.run(scenario())


def test_a_former_session_of_another_hub_holds_nothing(tmp_path: Path) -> None:
    """What its Hub never acknowledges must not keep another Hub's task of that name waiting."""

    async def scenario() -> None:
        async with relay(tmp_path, acknowledges=False) as taken:
            taken.link.run([work(kind="none")])
            await taken.end()
        async with relay(tmp_path, session="s2", acknowledges=False) as taken:
            await taken.end()  # told again
            taken.ends.clear()
            assert taken.link.old == ["s1"]
            assert json.loads(await taken.link.holds()) == []
            taken.link.adopt(["s1"])
            held = [{"job_id": "job", "attempt": 1, "tasks": "0"}]
            assert json.loads(await taken.link.holds()) == held
            taken.link.adopt([])  # another Hub has come in between
            assert json.loads(await taken.link.holds()) == []
            mark = tmp_path / "ran"
            taken.link.run([work("touch", str(mark))])
            await until(mark.exists, "the other Hub's task ran")
            assert json.loads(await taken.link.holds()) == held
            idle = asyncio.create_task(taken.link.idle())  # the other session's is not waited for
            for n in (1, 2):  # the start may be told before the end
                await until(
                    lambda n=n: idle.done() or ("s2", n) in [b[:2] for b in taken.batches],
                    f"batch {n}",
                )
                taken.link.acked("s2", n)
            await asyncio.wait_for(idle, 10)

    asyncio.run(scenario())


def _log(folder: Path, session: str) -> bytes:
    return (folder / "outbox" / f"{session}.log").read_bytes()


def test_one_batch_of_a_session_is_in_flight_and_numbers_have_no_gap(tmp_path: Path) -> None:
    """The Hub keeps one number per session: what comes out of turn would be a gap."""

    async def scenario() -> None:
        async with relay(tmp_path, acknowledges=False) as taken:
            for task in range(20):
                taken.link.run([work("true", tasks=str(task))])
                if task % 4 == 0:
                    await until(lambda: len(taken.batches) > len(acked), "the next batch")
                    batch = taken.batches[-1]
                    acked.append(batch.n)
                    taken.link.acked(batch.origin, batch.n)
            while len(taken.ends) < 20 or len(taken.batches) > len(acked):
                await until(lambda: len(taken.batches) > len(acked), "the next batch")
                batch = taken.batches[-1]
                acked.append(batch.n)
                taken.link.acked(batch.origin, batch.n)
            assert [batch.n for batch in taken.batches] == list(range(1, len(acked) + 1))
            assert len(taken.started) == 20

    acked: list[int] = []
    asyncio.run(scenario())


def test_refused_events_are_set_aside_and_the_rest_comes_under_the_same_number(
    tmp_path: Path,
) -> None:
    """One report that the Hub will never take must not block those behind it."""

    async def scenario() -> None:
        async with relay(tmp_path, acknowledges=False) as taken:
            taken.link.run([work(kind="none", tasks="0-2", job_id="bad")])
            taken.link.run([work(kind="none", tasks="0-2", job_id="good")])
            await until(lambda: taken.batches, "a batch")
            batch = taken.batches[0]
            events = json.loads(batch.body)["events"]
            bad = [i for i, e in enumerate(events) if e["payload"]["ctx"]["job_id"] == "bad"]
            rest = [e for i, e in enumerate(events) if i not in bad]
            taken.ends.clear()
            taken.link.refused(batch.origin, batch.n, bad)
            await until(lambda: len(taken.batches) == 2, "the rest")
            again = taken.batches[1]
            assert (again.origin, again.n) == (batch.origin, batch.n)
            if not rest:  # the first batch held the bad job alone
                (told,) = json.loads(again.body)["events"]
                assert told["kind"] == "ReportRefused"
                assert told["payload"]["spec"] == {"origin": "s1", "count": len(bad)}
            else:
                assert json.loads(again.body)["events"] == rest
            aside = (tmp_path / "refused" / "s1-1.jsonl").read_text().splitlines()
            assert [json.loads(line) for line in aside] == [events[i] for i in bad]
            taken.acknowledges = True
            taken.link.acked(again.origin, again.n)
            await asyncio.wait_for(taken.link.idle(), 10)

    asyncio.run(scenario())


def test_a_start_is_told_while_the_task_runs(tmp_path: Path) -> None:
    """Whoever watches a long task must see that it runs, not only that it ran."""

    async def scenario() -> None:
        async with relay(tmp_path) as taken:
            taken.link.run([work("sleep", "600")])
            await taken.has_started()
            assert taken.ends == {}
            assert [event["kind"] for event in taken.events] == ["JobStarted"]
            ctx = taken.events[0]["payload"]["ctx"]
            assert ctx == {
                "ns_id": "batch",
                "job_id": "job",
                "node_id": "n1",
                "tasks": "0",
                "attempt": 1,
                "epoch": 3,
            }

    asyncio.run(scenario())


def test_nothing_starts_that_could_not_be_told(tmp_path: Path) -> None:
    """An execution that nobody knows of would be run a second time elsewhere."""
    mark = tmp_path / "ran"

    async def scenario() -> None:
        async with relay(tmp_path / "n1") as taken:
            size = (tmp_path / "n1" / "outbox" / "s1.log").stat().st_size
            # No file of the supervisor may grow beyond what its outbox has: writes to it fail.
            full = (size, resource.RLIM_INFINITY)
            before = resource.prlimit(taken.link.pid, resource.RLIMIT_FSIZE, full)
            taken.link.run([work("touch", str(mark), tasks="0")])
            await taken.link.holds()  # the order was carried out as far as it can be
            assert not mark.exists()
            assert taken.batches == []
            resource.prlimit(taken.link.pid, resource.RLIMIT_FSIZE, before)
            assert await taken.returned(0) == "given_back"
            taken.link.run([work("touch", str(mark), tasks="0", attempt=2)])
            await taken.end(0, attempt=2)
            assert mark.exists()

    asyncio.run(scenario())


@pytest.mark.parametrize("session", ["s1", "s2"])
def test_a_session_that_is_continued_goes_on_counting(tmp_path: Path, session: str) -> None:
    """A supervisor that is started anew in one session must not use a number twice."""

    async def scenario() -> None:
        for attempt in (1, 2):
            async with relay(tmp_path, session=session) as taken:
                taken.link.run([work("true", attempt=attempt)])
                await taken.end(attempt=attempt)
                await asyncio.wait_for(taken.link.idle(), 10)
                numbers.append([batch.n for batch in taken.batches])
        first, second = numbers
        assert first[0] == 1
        assert second[0] == first[-1] + 1

    numbers: list[list[int]] = []
    asyncio.run(scenario())
