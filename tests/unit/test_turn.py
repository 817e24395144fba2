"""Turns over a scripted engine: one commit is shared, and no answer goes before it."""

from __future__ import annotations

import asyncio

import pytest
from stored_outputs import stored
from turn_rig import LEASE_MS, REPORT, SUBMIT, Rig, code, in_thread, settled, with_rig

from hpc.errors import HpcError, StorageError, StorageFull
from hpc.hub.space import DROPPED, PAUSE_MS_MIN, Space
from hpc.hub.turn_parts import Input
from hpc.protocols import Answer, EventLog


def test_what_arrives_during_a_commit_shares_the_next() -> None:
    """Group commit: a hundred submits cost two fsyncs, not a hundred."""

    async def test(rig: Rig) -> None:
        rig.log.gate.clear()
        first = rig.asked("ingest")
        await in_thread(rig.log.appending)
        others = [rig.asked("ingest") for _ in range(99)]
        await asyncio.sleep(0)
        rig.log.gate.set()

        answers = await asyncio.gather(first, *others)

        assert [answer.body for answer in answers] == [b"%d" % n for n in range(1, 101)]
        assert [len(step) for step in rig.engine.steps if step] == [1, 99]

    with_rig(test)


def test_no_answer_goes_before_the_append() -> None:
    """An answer, also to a read of the same turn, never shows what is not yet durable."""

    async def test(rig: Rig) -> None:
        rig.log.gate.clear()
        write, read = rig.asked("ingest"), rig.asked("jobs")
        await in_thread(rig.log.appending)
        await asyncio.wait([write, read], timeout=0.05)
        assert not write.done() and not read.done()
        assert rig.turns.feeds.head_seq == 0
        assert rig.engine.last_seq == 1
        assert rig.turns.figures()["cursor"] == 0

        rig.log.gate.set()

        assert [(await write).status, (await read).status] == [200, 200]
        assert rig.log.head().last_seq == 1
        assert rig.turns.feeds.head_seq == 1
        assert rig.turns.figures()["cursor"] == 1

    with_rig(test)


def test_fault_08_a_full_disk_refuses_what_writes_and_answers_what_reads() -> None:
    """Reliability row 8: 507, nothing half-written, reads go on, and space heals it."""

    async def test(rig: Rig) -> None:
        held = rig.asked("claim")
        await settled(rig)
        rig.log.failures = [StorageFull("The disk is full")]
        write, read = rig.asked("ingest"), rig.asked("jobs")

        assert ((await write).status, code(await write)) == (507, "storage_full")
        assert ((await read).status, (await read).body) == (200, b"0")
        # The rebuilt engine does not know the claim; its relay asks again.
        assert (await held).status == 507
        assert len(rig.engines) == 2
        assert rig.log.head().last_seq == 0

        # For a while no further append is tried, since each failure costs a replay.
        assert (await rig.asked("ingest")).status == 507
        assert len(rig.engines) == 2
        rig.clock.now_ms += PAUSE_MS_MIN
        assert (await rig.asked("ingest")).body == b"1"
        assert rig.log.head().last_seq == 1

    with_rig(test)


def test_time_stands_still_for_the_engine_while_claims_are_refused() -> None:
    """R25: nodes that cannot renew their leases are not declared lost meanwhile."""

    async def test(rig: Rig) -> None:
        rig.log.failures = [StorageFull("The disk is full")]
        assert (await rig.asked("ingest")).status == 507
        await settled(rig)

        rig.clock.now_ms += PAUSE_MS_MIN - 1
        await settled(rig)
        assert rig.engine.steps == []
        rig.clock.now_ms += 1
        await settled(rig)
        assert rig.engine.steps == [[]]

    with_rig(test)


@pytest.mark.parametrize(
    ("replay_ms", "pause_ms"),
    [(1, PAUSE_MS_MIN), (200, 2000), (60_000, LEASE_MS // 4)],
)
def test_a_pause_is_short_beside_a_lease(replay_ms: int, pause_ms: int) -> None:
    """However long a replay takes, claims come through before leases end."""
    space = Space()
    refusal = Answer(507, b"{}")
    space.pause(refusal, mono_ms=5, replay_ms=replay_ms, lease_ms=LEASE_MS)
    for mono_ms, expected in ((4 + pause_ms, refusal), (5 + pause_ms, None)):
        assert space.refusal("claim", b"", free_bytes=1 << 40, mono_ms=mono_ms) == expected


def test_fault_09_near_the_end_of_the_disk_results_are_taken_and_submits_are_not() -> None:
    """Reliability row 9: the last bytes belong to what already runs."""

    async def test(rig: Rig) -> None:
        rig.log.free = 999

        assert (await rig.asked("ingest", SUBMIT)).status == 507
        assert (await rig.asked("control", b"{}")).status == 507
        assert (await rig.asked("ingest", REPORT)).status == 200
        assert (await rig.asked("jobs")).status == 200
        rig.log.free = 1000
        assert (await rig.asked("ingest", SUBMIT)).status == 200

    with_rig(test)


def test_fault_11_a_failed_fsync_ends_the_hub_and_acknowledges_nothing() -> None:
    """Reliability row 11: the outcome is unknown; everybody is told so, nobody is told yes."""

    async def test(rig: Rig) -> None:
        held = rig.asked("claim")
        await settled(rig)
        rig.log.failures = [StorageError("Log cannot be written: input/output error")]

        answers = await asyncio.gather(rig.asked("ingest"), rig.asked("jobs"), held)

        assert {(answer.status, code(answer)) for answer in answers} == {(503, "storage_failed")}
        assert [type(error) for error in rig.fatal] == [StorageError]
        assert (await rig.asked("ingest")).status == 503
        assert await rig.turns.feeds.grown(0) is None

    with_rig(test)


def test_a_fault_of_the_engine_costs_its_turn_and_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One request that the engine cannot bear must not end the others' work."""

    async def test(rig: Rig) -> None:
        await rig.asked("ingest")
        held = rig.asked("claim")
        await settled(rig)

        def fail(inputs: list[Input]) -> None:
            if any(one[3] == b"bad" for one in inputs):
                raise HpcError("A mistake of ours")

        rig.engine.before_step = fail
        assert code(await rig.asked("ingest", b"bad")) == "engine_failed"

        assert (await held).status == 503
        assert not rig.fatal
        assert (await rig.asked("ingest")).body == b"2"

    with_rig(test)
    assert "A mistake of ours" in capsys.readouterr().err


def test_a_client_that_leaves_is_told_to_the_engine() -> None:
    """Else it would grant work to a claim that nobody waits for."""

    async def test(rig: Rig) -> None:
        held = rig.asked("claim")
        await settled(rig)

        held.cancel()
        await asyncio.gather(held, return_exceptions=True)
        await settled(rig)

        assert [verb for step in rig.engine.steps for verb in step] == ["claim", "gone"]

    with_rig(test)


def test_fault_46_a_clock_that_has_jumped_is_said_once_and_makes_no_output_old(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It may be wrong: whoever reads the sentence has a day to set it right."""

    async def test(rig: Rig) -> None:
        rig.engine.jumped_ms = 100 * 86_400_000
        await stored(rig.turns, b"one")
        await rig.asked("jobs")
        assert rig.outputs.ahead_seen == [rig.engine.jumped_ms], "known before it is stored"
        rig.engine.jumped_ms = 0
        await rig.asked("jobs")
        assert rig.outputs.ahead_ms == 0

    with_rig(test)
    said = capsys.readouterr().err
    assert said.count("the clock has gone ahead by 100.0 days; nothing is forgotten") == 1


def test_the_thread_wakes_when_the_engine_says_and_not_before() -> None:
    """Leases expire on time in a Hub to which nobody speaks; an idle Hub does not wake at all."""

    async def test(rig: Rig) -> None:
        rig.engine.wake_ms = rig.clock.now_ms + 5
        await rig.asked("jobs")
        steps = len(rig.engine.steps)
        woken = asyncio.Event()
        loop = asyncio.get_running_loop()

        def note(_: list[Input]) -> None:
            rig.engine.wake_ms = None
            loop.call_soon_threadsafe(woken.set)

        rig.engine.before_step = note
        rig.clock.now_ms += 5
        await woken.wait()
        await settled(rig)

        assert rig.engine.steps[steps:] == [[]]

    with_rig(test)


def test_a_late_generator_is_built_turn_by_turn() -> None:
    """Registration over a long log goes on in chunks, beside everything else."""

    async def test(rig: Rig) -> None:
        for _ in range(3):
            await rig.asked("ingest")
        rig.engine.build_from = 1
        await rig.asked("jobs")
        await settled(rig)

        assert rig.engine.builds[-1] == 3

    with_rig(test)


def test_outputs_are_stored_in_the_turn_and_wake_their_readers() -> None:
    """A full disk drops a pack without touching the rest of its turn."""

    async def test(rig: Rig) -> None:
        watch = rig.turns.feeds.watch("job-of-pack")

        assert await stored(rig.turns, b"one") == Answer(200, b"stored")
        assert await watch.changed()
        rig.outputs.failures = [StorageFull("The disk is full")]
        pack = asyncio.ensure_future(stored(rig.turns, b"two"))
        write = rig.asked("ingest")
        assert (await pack, (await write).status) == (DROPPED, 200)
        assert rig.outputs.packs == [b"one"]

    with_rig(test)


def test_output_does_not_take_the_last_bytes_and_holds_no_report_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Relays deliver output ahead of its reports: it is dropped, since they would wait for it."""

    async def test(rig: Rig) -> None:
        rig.log.free = 999
        for _ in range(3):
            assert await stored(rig.turns, b"low") == DROPPED
        assert (await rig.asked("ingest", REPORT)).status == 200
        rig.log.free = 1000
        assert await stored(rig.turns, b"kept") == Answer(200, b"stored")
        assert rig.outputs.packs == [b"kept"]
        assert rig.turns.figures()["output_syncs"] == 1

    with_rig(test)
    assert capsys.readouterr().err.count("output of tasks is dropped") == 1


def test_a_job_wakes_its_watchers_and_a_generator_its_subscribers() -> None:
    """News go to whom they concern, and to nobody else."""

    async def test(rig: Rig) -> None:
        watch, other = rig.turns.feeds.watch("job-1"), rig.turns.feeds.watch("job-9")
        feed = rig.turns.feeds.subscribe(frozenset({"g"}))
        deaf = rig.turns.feeds.subscribe(frozenset({"h"}))

        await rig.asked("ingest")

        assert await watch.changed()
        assert await feed.take() == [("g", 1)]
        assert await rig.turns.feeds.grown(0) == 1
        for silent in (other.changed(), deaf.take()):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(silent, 0.02)

    with_rig(test)


def test_fault_58_a_slow_subscriber_holds_one_poke_for_each_generator() -> None:
    """Reliability row 58: ingest never waits for it, and what it has not read is bounded."""

    async def test(rig: Rig) -> None:
        feed = rig.turns.feeds.subscribe(frozenset())

        for _ in range(50):
            await rig.asked("ingest")

        assert await feed.take() == [("g", 50)]

    with_rig(test)


def test_an_end_answers_everything_that_is_held() -> None:
    """SIGTERM: whoever waits learns that the Hub ends, and asks again."""

    async def test(rig: Rig) -> None:
        held = rig.asked("claim")
        grown = asyncio.ensure_future(rig.turns.feeds.grown(0))
        await settled(rig)

        await rig.turns.close()

        assert ((await held).status, code(await held)) == (503, "stopping")
        assert await grown is None
        assert (await rig.asked("jobs")).status == 503

    with_rig(test)


def test_a_call_on_the_log_raises_to_whoever_made_it() -> None:
    """A page that cannot be read is that reader's trouble, not the Hub's."""

    async def test(rig: Rig) -> None:
        def fails(_: EventLog) -> None:
            raise StorageError("A page cannot be read")

        with pytest.raises(StorageError):
            await rig.turns.on_log(fails)
        assert (await rig.asked("jobs")).status == 200

    with_rig(test)


def test_an_answer_that_cannot_be_told_does_not_keep_others_from_theirs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A fault of whoever is told is said on stderr; the turn is told to everybody else."""

    async def test(rig: Rig) -> None:
        def fail(_: Answer) -> None:
            raise RuntimeError("cannot be told")

        rig.log.gate.clear()
        first = rig.asked("ingest")
        await in_thread(rig.log.appending)
        others = [rig.asked("ingest")]
        await asyncio.sleep(0)
        rig.turns.put("ingest", "", b"", fail)
        others.append(rig.asked("ingest"))
        await asyncio.sleep(0)
        rig.log.gate.set()

        answers = await asyncio.gather(first, *others)

        assert [answer.body for answer in answers] == [b"1", b"2", b"4"]
        assert rig.turns.feeds.head_seq == 4
        assert rig.turns.figures()["open"] == 0
        assert "cannot be told" in capsys.readouterr().err

    with_rig(test)
