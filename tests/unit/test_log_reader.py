"""Reading a task's output, over real turns and a real store, with an engine that a test scripts."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from stored_outputs import stored

from hpc import ranges
from hpc.hub import log_reader
from hpc.hub.commit import Committer
from hpc.hub.frames import Header, encode
from hpc.hub.log_reader import ASK_S_MIN, LogReader
from hpc.hub.outputs import OutputStore
from hpc.hub.turn import Turns
from hpc.hub.turn_parts import Input
from hpc.ports import LogQuery, LogReading, StreamBroken
from hpc.protocols import Answer
from hpc.storage.memory import MemoryLog

DEADLINE_S = 20.0
JOB = "fit-1"


class Step:
    """What one step of the scripted engine brings."""

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self.replies: list[tuple[int, int, bytes]] = []
        self.pokes: list[tuple[str, int]] = []
        self.wake_ms: int | None = None
        self.build_from: int | None = None


class JobEngine:
    """Knows one job, whose state a test sets; an `ingest` is an event of that job."""

    def __init__(self) -> None:
        self.last_seq = 0
        self.settled = ""
        self.cancelled = False
        self.spec: dict[str, Any] = {}
        self.attempts: list[dict[str, Any]] = []
        self.node: dict[str, Any] | None = None
        self.tails: list[dict[str, str]] = []
        self.watched: set[str] = set()
        self.tokens: list[tuple[str, str, bool]] = []
        self.asked = 0

    def attempt(self, number: int, state: str, node_id: str = "n1") -> None:
        """Make an attempt of all tasks the newest, or change its state."""
        self.attempts = [one for one in self.attempts if one["attempt"] != number]
        self.attempts.append({"attempt": number, "state": state, "node_id": node_id})
        is_live = state in ("leased", "running")
        self.node = {"node_id": node_id, "attempt": number, "state": "up"} if is_live else None

    def told(self, task: int) -> dict[str, Any]:
        """A task as `GET /jobs/{id}/tasks` tells it: of its attempts the one that counts."""
        is_settled = task in ranges.numbers(self.settled)
        attempts = sorted(
            self.attempts,
            key=lambda one: (is_settled and one["state"] == "succeeded", one["attempt"]),
        )
        newest = attempts[-1] if attempts else {"attempt": None, "node_id": None, "state": "queued"}
        is_live = newest["state"] in ("leased", "running")
        state = "succeeded" if is_settled else newest["state"] if is_live else "queued"
        state = "cancelled" if self.cancelled else state
        return {"task": task, "state": state} | {k: newest[k] for k in ("attempt", "node_id")}

    def ahead_ms(self, *, wall_ms: int, mono_ms: int) -> int:
        return 0

    def step(
        self, inputs: list[Input], *, wall_ms: int, mono_ms: int, build: Sequence[Any]
    ) -> Step:
        step = Step()
        for token, verb, query, *_ in inputs:
            fields = {name: values[0] for name, values in parse_qs(query).items()}
            if verb == "ingest":
                self.last_seq += 1
                zeros = bytes(32)
                row = (self.last_seq, 1, str(self.last_seq), zeros, zeros, 0, b"{}", (JOB,))
                step.rows.append(row)
                step.replies.append((token, 200, b"{}"))
            elif verb == "tasks" and fields["job_id"] == JOB:
                self.asked += 1
                after = int(fields.get("after", -1))
                page = [self.told(task) for task in range(3) if task > after]
                data = page[: int(fields["limit"])]
                step.replies.append((token, 200, json.dumps({"data": data}).encode()))
            elif verb == "job" and fields["job_id"] == JOB:
                attempts = [{**one, "tasks": "0-2"} for one in self.attempts]
                job = {"tasks": "0-2", "attempts": attempts, "spec": self.spec}
                step.replies.append((token, 200, json.dumps({"data": job}).encode()))
            elif verb == "tail" and self.node is not None:
                self.tails.append(fields)
                self.watched.add(fields["watch"])
                step.replies.append((token, 200, json.dumps(self.node).encode()))
            elif verb == "untail":
                self.watched.discard(fields["watch"])
            else:
                step.replies.append((token, 404, b'{"code":"not_found"}'))
        return step


class Rig:
    """A log reader and what it stands on."""

    def __init__(self, folder: Path) -> None:
        self.engine = JobEngine()
        self.outputs = OutputStore(folder)
        committer = Committer(
            log=MemoryLog(),
            outputs=self.outputs,
            build_engine=lambda: self.engine,
            lease_ms=30_000,
        )
        self.turns = Turns(committer, on_fatal=lambda error: pytest.fail(str(error)))
        self.reader = LogReader(self.turns, self.outputs)

    async def put(self, offset: int, data: bytes, **more: Any) -> None:
        """Store a frame of task 0's stdout, as a relay sends it."""
        fields = {"job_id": JOB, "task": 0, "attempt": 1, "stream": "stdout"} | more
        header = Header(offset=offset, length=len(data), **fields)
        assert (await stored(self.turns, encode(header, data))).status == 200

    async def event(self) -> None:
        """Commit an event of the job, so that its watchers look again."""
        await self.turns.ask("ingest", "")

    async def open(
        self, task: int | None = None, *, follow: bool = False, **part: int
    ) -> LogReading:
        reading = await self.reader.open(JOB, LogQuery(task, "stdout", follow, **part))
        assert isinstance(reading, LogReading)
        return reading


async def whole(reading: LogReading) -> bytes:
    """Read to the end and close."""
    try:
        return b"".join([chunk async for chunk in reading.chunks])
    finally:
        await reading.chunks.aclose()


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Callable[[Rig], Coroutine[Any, Any, None]]], None]:
    """Run a test on a loop of its own; it must leave no watch behind."""

    def run(test: Callable[[Rig], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            rig = Rig(tmp_path)
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await test(rig)
                    await rig.turns.ask("job", "job_id=x")
                assert not rig.turns.feeds.jobs
                assert not rig.engine.watched
            finally:
                await rig.turns.close()
                rig.outputs.close()

        asyncio.run(main())

    return run


Run = Callable[[Callable[[Rig], Coroutine[Any, Any, None]]], None]


def test_a_settled_task_is_read_whole_and_without_a_note(run: Run) -> None:
    """The usual case after the fact: nothing is missing, nothing is said."""

    async def test(rig: Rig) -> None:
        rig.engine.attempt(1, "succeeded")
        rig.engine.settled = "0-2"
        await rig.put(0, b"hello ")
        await rig.put(6, b"world\n", end=True)

        reading = await rig.open(0)

        assert (reading.note, await whole(reading)) == (None, b"hello world\n")
        empty = await rig.open(1)
        assert (empty.note, await whole(empty)) == (None, b"")

    run(test)


def test_the_end_of_a_stream_is_read_without_what_is_before_it(run: Run) -> None:
    """A line of progress costs its bytes, however long the stream is; a hole before it nothing."""

    async def test(rig: Rig) -> None:
        rig.engine.attempt(1, "succeeded")
        rig.engine.settled = "0-2"
        await rig.put(0, b"hello ")
        await rig.put(6, b"world\n", end=True)
        assert await whole(await rig.open(0, last=4)) == b"rld\n"
        assert await whole(await rig.open(0, last=400)) == b"hello world\n"
        assert await whole(await rig.open(1, last=4)) == b""
        await rig.put(0, b"begin", task=2)
        await rig.put(1000, b"the end", task=2, end=True)
        assert await whole(await rig.open(2, last=4)) == b" end"

    run(test)


def test_a_long_stream_is_read_from_its_end_part_by_part(run: Run) -> None:
    """Each part says where it begins, which is where the one before it ends; a hole is no part."""

    async def test(rig: Rig) -> None:
        rig.engine.attempt(1, "succeeded")
        rig.engine.settled = "0-2"
        await rig.put(0, b"0123456789")
        await rig.put(10, b"", gone=1000)
        await rig.put(1010, b"abcdef", end=True)

        async def part(**asked: int) -> tuple[int, bytes]:
            reading = await rig.open(0, **asked)
            return reading.offset, await whole(reading)

        assert await part(last=4) == (1012, b"cdef")
        assert await part(before=1012, last=4) == (8, b"89ab")
        assert await part(before=8, last=400) == (0, b"01234567")
        assert await part(after=4, before=1011) == (4, b"456789a")
        assert await part(after=1012, last=2) == (1014, b"ef")
        assert await part(after=1012, last=400) == (1012, b"cdef")
        assert await part(after=5, before=5) == (5, b"")
        assert await part(after=2**63 - 1, last=1) == (2**63 - 1, b"")
        assert await part(before=500, last=4) == (6, b"6789")

    run(test)


def test_a_follower_may_begin_near_the_end(run: Run) -> None:
    """It waits until the relay has said what there is, and goes on from there."""

    async def test(rig: Rig) -> None:
        rig.engine.attempt(1, "running")
        await rig.put(0, b"he")
        opening = asyncio.create_task(rig.open(0, follow=True, last=2))
        while not rig.engine.tails:
            await asyncio.sleep(0)
        await rig.put(2, b"llo ", now=True)
        reading = await opening
        assert reading.offset == 4
        assert await anext(reading.chunks) == b"o "
        await rig.put(6, b"world", end=True)
        rig.engine.attempt(1, "succeeded")
        rig.engine.settled = "0"
        await rig.event()
        assert await whole(reading) == b"world"

    run(test)


def test_output_that_may_have_been_removed_is_told(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a job from before the oldest pack; no output at all would look the same."""

    async def test(rig: Rig) -> None:
        rig.engine.settled = "0-2"
        rig.engine.attempt(1, "succeeded")
        rig.engine.node = None
        reading = await rig.open()
        assert (reading.note, await whole(reading)) == (None, b"")
        day_ms = 1_700_000_000_000
        monkeypatch.setattr(OutputStore, "removed_before_ms", day_ms)
        reading = await rig.open()
        assert reading.note == "the Hub keeps no output from before 2023-11-14T22:13:20Z; " + (
            "node n1 may have it"
        )
        assert await whole(reading) == b""
        await rig.put(0, b"here", end=True)
        reading = await rig.open()
        assert (reading.note, await whole(reading)) == (None, b"here")

    run(test)


def test_a_follower_of_a_busy_job_asks_now_and_then(run: Run) -> None:
    """It does not ask at every end of another task; output comes at once all the same."""

    async def test(rig: Rig) -> None:
        loop = asyncio.get_running_loop()
        rig.engine.attempt(1, "running")
        reading = await rig.open(0, follow=True)
        asked, began_s = rig.engine.asked, loop.time()
        await rig.put(0, b"a")
        assert await anext(reading.chunks) == b"a"
        rest = asyncio.ensure_future(whole(reading))
        for _ in range(100):
            await rig.event()
        rig.engine.attempt(1, "succeeded")
        rig.engine.settled = "0"
        await rig.put(1, b"b", end=True)
        await rig.event()

        assert await rest == b"b"
        assert rig.engine.asked - asked <= 2 + (loop.time() - began_s) / ASK_S_MIN

    run(test)


def test_a_hole_in_the_middle_is_told_and_passed_over(run: Run) -> None:
    """Of a long stream the Hub has head and tail; the note says where the rest is."""

    async def test(rig: Rig) -> None:
        rig.engine.attempt(1, "succeeded", "n7")
        rig.engine.settled = "0"
        await rig.put(0, b"head")
        await rig.put(100, b"tail", end=True)

        reading = await rig.open()

        assert reading.note == "bytes 4 to 99 of stdout are not at the Hub; node n7 may have them"
        assert await whole(reading) == b"headtail"

    run(test)


@pytest.mark.parametrize("is_settled", [False, True])
def test_fault_50_what_its_relay_has_not_kept_is_told_and_passed_over(
    run: Run, is_settled: bool
) -> None:
    """No node is asked for what it has said that it has not got."""

    async def test(rig: Rig) -> None:
        await rig.put(0, b"head")
        await rig.put(4, b"", gone=96)
        await rig.put(104, b"", gone=6)
        await rig.put(100, b"seen")
        await rig.put(110, b"tail", end=is_settled)
        rig.engine.attempt(1, "succeeded" if is_settled else "running")
        rig.engine.settled = "0" if is_settled else ""
        opening = asyncio.ensure_future(rig.open())
        if not is_settled:
            while not rig.engine.tails:
                await rig.turns.ask("job", "job_id=x")
            assert rig.engine.tails[0]["offset"] == "114"
            await rig.put(114, b"", now=True)

        reading = await opening

        assert reading.note == (
            "102 bytes in the middle of stdout were not kept, 4 to 99, 104 to 109: its relay "
            "keeps no more of a task without an output limit of its own"
        )
        assert await whole(reading) == b"headseentail"
        assert len(rig.engine.tails) == (not is_settled)

    run(test)


def test_fault_50_a_follower_passes_over_what_is_gone(run: Run) -> None:
    """It goes on with what is kept, and ends well."""

    async def test(rig: Rig) -> None:
        rig.engine.attempt(1, "running")
        reading = await rig.open(follow=True)
        await rig.put(0, b"head")
        assert await anext(reading.chunks) == b"head"
        read = asyncio.ensure_future(whole(reading))
        await rig.put(4, b"", gone=10)
        await rig.put(14, b"more")
        await rig.put(18, b"", gone=2)
        rig.engine.attempt(1, "succeeded")
        rig.engine.settled = "0"
        await rig.put(20, b"tail", end=True)
        await rig.event()

        assert (reading.note, await read) == (None, b"moretail")

    run(test)


def test_the_attempt_that_settled_the_task_is_the_one_that_is_read(run: Run) -> None:
    """A late success may settle a task while a newer attempt was leased elsewhere."""

    async def test(rig: Rig) -> None:
        rig.engine.attempt(1, "succeeded")
        rig.engine.attempt(2, "closed", "n2")
        rig.engine.settled = "0"
        await rig.put(0, b"first", attempt=1, end=True)
        await rig.put(0, b"second", attempt=2)

        assert await whole(await rig.open()) == b"first"

    run(test)


def test_reading_a_running_task_asks_its_relay(run: Run) -> None:
    """What is there when the reader asks comes back, though no piece was sent before."""

    async def test(rig: Rig) -> None:
        rig.engine.attempt(1, "running")
        await rig.put(0, b"so far")
        opening = asyncio.ensure_future(rig.open())
        while not rig.engine.tails:
            await rig.turns.ask("job", "job_id=x")

        await rig.put(6, b", and now", now=True)
        reading = await opening

        assert (reading.note, await whole(reading)) == (None, b"so far, and now")
        place = {"job_id": JOB, "task": "0", "stream": "stdout"}
        assert rig.engine.tails == [place | {"attempt": "1", "offset": "6", "watch": "1"}]

    run(test)


def test_a_relay_that_does_not_answer_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the Hub has is better than nothing, if the reader knows that it is no more than that."""
    monkeypatch.setattr(log_reader, "TAIL_WAIT_S", 0.05)

    async def test(rig: Rig) -> None:
        rig.engine.attempt(1, "running")
        await rig.put(0, b"so far")

        reading = await rig.open()

        note = "node n1 has not answered; these are the bytes that the Hub has"
        assert (reading.note, await whole(reading)) == (note, b"so far")

    run(test)


@pytest.mark.parametrize("follow", [False, True])
def test_a_node_that_is_away_is_not_waited_for(run: Run, follow: bool) -> None:
    """The Hub knows already that nobody will answer."""

    async def test(rig: Rig) -> None:
        rig.engine.attempt(1, "running")
        rig.engine.node = {"node_id": "n1", "attempt": 1, "state": "unreachable"}
        await rig.put(0, b"so far")

        reading = await rig.open(follow=follow)

        assert reading.note == "node n1 is unreachable; these are the bytes that the Hub has"
        assert await anext(reading.chunks) == b"so far"
        await reading.chunks.aclose()

    run(test)


def test_a_follower_goes_on_until_the_task_is_settled(run: Run) -> None:
    """`hpc run` begins before the task does, and ends with it, the last byte included."""

    async def test(rig: Rig) -> None:
        reading = await rig.open(follow=True)
        read = asyncio.ensure_future(whole(reading))
        rig.engine.attempt(1, "running")
        await rig.event()
        while not rig.engine.tails:
            await rig.turns.ask("job", "job_id=x")
        await rig.put(0, b"one ", now=True)
        await rig.put(4, b"two ")
        # A piece that is ahead waits for the one before it.
        await rig.put(14, b"four")
        await rig.put(8, b"three ", end=False)
        rig.engine.attempt(1, "succeeded")
        rig.engine.settled = "0-2"
        await rig.put(18, b"!", end=True)
        await rig.event()

        assert await read == b"one two three four!"

    run(test)


@pytest.mark.parametrize("is_open", [True, False], ids=["before the cancel", "after it"])
def test_a_follower_stays_for_the_grace_of_a_cancelled_task(run: Run, is_open: bool) -> None:
    """It is settled by the cancel, and over once its processes are reported to have ended."""

    async def test(rig: Rig) -> None:
        rig.engine.attempt(1, "running")
        await rig.put(0, b"early;")
        reading = await rig.open(follow=True) if is_open else None
        rig.engine.attempt(1, "closed")
        rig.engine.cancelled = True
        reading = reading or await rig.open(follow=True)
        read, asked = asyncio.ensure_future(whole(reading)), rig.engine.asked
        await rig.event()
        while rig.engine.asked == asked:
            await rig.turns.ask("job", "job_id=x")
        assert not read.done()
        await rig.put(6, b"late", end=True)
        rig.engine.attempt(1, "failed")
        await rig.event()

        assert await read == b"early;late"

    run(test)


def test_a_follower_does_not_wait_for_a_node_that_never_reports(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No longer than the task's grace and the time for a piece."""
    monkeypatch.setattr(log_reader, "TAIL_WAIT_S", 0.01)

    async def test(rig: Rig) -> None:
        rig.engine.spec = {"grace": 0.01}
        rig.engine.attempt(1, "closed")
        rig.engine.cancelled = True
        await rig.put(0, b"early", end=True)
        assert await whole(await rig.open(follow=True)) == b"early"

    run(test)


def test_a_follower_goes_over_to_the_next_attempt(run: Run) -> None:
    """A task whose node was lost runs again; its reader stays."""

    async def test(rig: Rig) -> None:
        rig.engine.attempt(1, "running")
        await rig.put(0, b"lost;")
        read = asyncio.ensure_future(whole(await rig.open(follow=True)))
        rig.engine.attempt(1, "lost")
        rig.engine.attempt(2, "running", "n2")
        await rig.event()
        await rig.put(0, b"found", attempt=2, end=True)
        rig.engine.attempt(2, "succeeded", "n2")
        rig.engine.settled = "0"
        await rig.event()

        assert await read == b"lost;found"

    run(test)


def test_a_follower_is_cut_off_with_the_hub(run: Run) -> None:
    """SIGTERM does not wait for readers; an answer that ended well would say that this was all."""

    async def test(rig: Rig) -> None:
        read = asyncio.ensure_future(whole(await rig.open(follow=True)))
        await rig.event()
        await rig.turns.close()

        with pytest.raises(StreamBroken):
            await read

    run(test)


def test_the_middle_of_a_long_stream_is_asked_of_the_node_that_has_it(run: Run) -> None:
    """A report carries both ends; the rest lies at the relay and is not lost."""

    async def test(rig: Rig) -> None:
        rig.engine.attempt(1, "succeeded")
        rig.engine.settled = "0"
        rig.engine.node = {"node_id": "n1", "attempt": 1, "state": "up"}
        await rig.put(0, b"head")
        await rig.put(7, b"tail", end=True)
        opening = asyncio.ensure_future(rig.open())
        while not rig.engine.tails:
            await rig.turns.ask("job", "job_id=x")

        await rig.put(4, b"m")
        reading = await opening
        rest = asyncio.ensure_future(whole(reading))
        await rig.put(5, b"id")

        assert (reading.note, await rest) == (None, b"headmidtail")
        assert [tail["offset"] for tail in rig.engine.tails] == ["4"]

    run(test)


def test_a_middle_that_never_comes_is_told_and_passed_over(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node is up and has not kept it: the note says so, and both ends are shown."""
    monkeypatch.setattr(log_reader, "TAIL_WAIT_S", 0.05)

    async def test(rig: Rig) -> None:
        rig.engine.attempt(1, "succeeded")
        rig.engine.settled = "0"
        rig.engine.node = {"node_id": "n1", "attempt": 1, "state": "up"}
        await rig.put(0, b"head")
        await rig.put(7, b"tail", end=True)

        for follow in (False, True):
            reading = await rig.open(follow=follow)
            missing = "bytes 4 to 6 of stdout are not at the Hub; node n1 may have them"
            assert (reading.note, await whole(reading)) == (missing, b"headtail")

    run(test)


def test_a_node_that_has_kept_nothing_is_not_waited_for(run: Run) -> None:
    """It says so by a frame of no attempt; one from before this reader counts for nothing."""

    async def test(rig: Rig) -> None:
        rig.engine.attempt(1, "succeeded")
        rig.engine.settled = "0"
        rig.engine.node = {"node_id": "n1", "attempt": 1, "state": "up"}
        await rig.put(0, b"head")
        await rig.put(7, b"tail", end=True)
        for follow in (False, True):
            opening = asyncio.ensure_future(rig.open(follow=follow))
            asked = len(rig.engine.tails) + 1
            while len(rig.engine.tails) < asked:
                await rig.event()
            assert not opening.done()
            await rig.put(0, b"", attempt=0, now=True)
            reading = await opening
            assert reading.note == "bytes 4 to 6 of stdout are not at the Hub; node n1 " + (
                "has not got them"
            )
            assert await whole(reading) == b"headtail"

    loop_s = time.monotonic()
    run(test)
    assert time.monotonic() - loop_s < log_reader.TAIL_WAIT_S


def test_a_follower_gets_the_middle_of_what_has_ended_meanwhile(run: Run) -> None:
    """The report is at the Hub before the last pieces: they are waited for, not passed over."""

    async def test(rig: Rig) -> None:
        rig.engine.attempt(1, "running")
        reading = await rig.open(follow=True)
        read = asyncio.ensure_future(whole(reading))
        await rig.put(0, b"head")
        await rig.put(7, b"tail", end=True)
        rig.engine.attempt(1, "succeeded")
        rig.engine.settled = "0"
        await rig.event()
        await rig.put(4, b"mid")

        assert await read == b"headmidtail"

    run(test)


def test_an_answer_whose_rest_stops_coming_breaks_off(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who opens it again is told by a note what is missing."""
    monkeypatch.setattr(log_reader, "TAIL_WAIT_S", 0.05)

    async def test(rig: Rig) -> None:
        rig.engine.attempt(1, "running")
        reading = await rig.open(follow=True)
        read = asyncio.ensure_future(whole(reading))
        await rig.put(0, b"head")
        await rig.put(7, b"tail", end=True)
        rig.engine.attempt(1, "succeeded")
        rig.engine.settled = "0"
        await rig.event()

        with pytest.raises(StreamBroken):
            await read
        again = await rig.open(follow=True)
        assert again.note == "bytes 4 to 6 of stdout are not at the Hub; node n1 may have them"
        assert await whole(again) == b"headtail"

    run(test)


def test_a_reading_that_is_never_begun_leaves_no_watch(run: Run) -> None:
    """A client may leave between the question and the first byte."""

    async def test(rig: Rig) -> None:
        rig.engine.attempt(1, "running")
        reading = await rig.open(follow=True)
        assert rig.engine.watched

        await reading.chunks.aclose()

    run(test)


@pytest.mark.parametrize(("job_id", "task"), [("nobody", 0), (JOB, 3)])
def test_no_such_job_or_task_is_404(run: Run, job_id: str, task: int) -> None:
    """An empty output would look as if the task had said nothing."""

    async def test(rig: Rig) -> None:
        answer = await rig.reader.open(job_id, LogQuery(task))

        assert isinstance(answer, Answer)
        assert (answer.status, json.loads(answer.body)["code"]) == (404, "not_found")
        if job_id == JOB:
            told = json.loads(answer.body)["detail"]
            assert told == "job `fit-1` has no task 3; its tasks are 0-2"

    run(test)


def test_a_task_that_ends_before_it_is_watched_ends_its_follower(run: Run) -> None:
    """Its last event has gone by when the watch begins: no other would wake the reader."""

    async def test(rig: Rig) -> None:
        rig.engine.attempt(1, "leased")
        await rig.put(0, b"out\n", end=True)
        step = rig.engine.step

        def ends_after_the_first_question(inputs: list[Input], **more: Any) -> Step:
            answered = step(inputs, **more)
            if any(one[1] == "tasks" for one in inputs):
                rig.engine.attempt(1, "succeeded")
                rig.engine.settled = "0-2"
            return answered

        rig.engine.step = ends_after_the_first_question  # type: ignore[method-assign]

        reading = await rig.open(follow=True)

        assert (reading.note, await whole(reading)) == (None, b"out\n")

    run(test)
