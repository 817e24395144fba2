"""Turns that the event loop runs itself: when it does, and that nothing else changes by it."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest
from stored_outputs import stored
from turn_rig import Rig, code, settled, with_rig

from hpc.errors import StorageError, StorageFull
from hpc.hub.space import PAUSE_MS_MIN
from hpc.hub.turn import (
    HERE_BYTES_MAX,
    HERE_INPUTS_MAX,
    HERE_MS_MAX,
    HERE_SHARE,
    HERE_TURNS_MAX,
)


def here(rig: Rig) -> list[bool]:
    """Return of each step of the newest engine that took something whether the loop ran it."""
    mine = threading.get_ident()
    steps = zip(rig.engine.steps, rig.engine.threads, strict=True)
    return [thread == mine for verbs, thread in steps if verbs]


async def begun(rig: Rig) -> None:
    """Let the thread take its first turn, and forget it."""
    await settled(rig)
    rig.engine.steps.clear()
    rig.engine.threads.clear()


def test_what_comes_alone_is_done_on_the_loop() -> None:
    """Nobody wakes anybody: the answer is there when the loop looks next."""

    async def test(rig: Rig) -> None:
        await begun(rig)

        assert (await rig.asked("ingest")).body == b"1"

        assert here(rig) == [True]
        assert rig.turns.feeds.head_seq == 1
        assert rig.turns.figures()["commits"] == 1

    with_rig(test, here_turns_max=HERE_TURNS_MAX)


def test_what_comes_together_shares_a_turn() -> None:
    """One commit for all of it, on the loop or, where it is much, on the thread."""

    async def test(rig: Rig) -> None:
        await begun(rig)
        for count in (HERE_INPUTS_MAX, HERE_INPUTS_MAX + 1):
            await asyncio.gather(*(rig.asked("ingest") for _ in range(count)))
        await rig.asked("ingest", b" " * (HERE_BYTES_MAX + 1))

        assert [len(verbs) for verbs in rig.engine.steps] == [4, 5, 1]
        assert here(rig) == [True, False, False]

    with_rig(test, here_turns_max=HERE_TURNS_MAX)


@pytest.mark.parametrize("verb", ["jobs", "control"])
def test_what_may_take_long_is_for_the_thread(verb: str) -> None:
    """A long list, a registration: the loop goes on meanwhile."""

    async def test(rig: Rig) -> None:
        await begun(rig)
        await rig.asked(verb)
        assert here(rig) == [False]

    with_rig(test, here_turns_max=HERE_TURNS_MAX)


def test_a_slow_disk_is_waited_for_on_the_thread() -> None:
    """Once, and the loop waits for no other commit for a while."""

    async def test(rig: Rig) -> None:
        def is_slow() -> None:
            rig.clock.now_ms += HERE_MS_MAX + 1

        await begun(rig)
        rig.log.on_append = is_slow
        await rig.asked("ingest")
        rig.log.on_append = lambda: None
        await rig.asked("ingest")
        rig.clock.now_ms += HERE_SHARE * (HERE_MS_MAX + 1) - 1
        await rig.asked("ingest")
        rig.clock.now_ms += 1
        await rig.asked("ingest")

        assert here(rig) == [True, False, False, True]

    with_rig(test, here_turns_max=HERE_TURNS_MAX)


def test_the_thread_has_a_turn_after_some() -> None:
    """It looks after snapshots, which the loop leaves alone."""

    async def test(rig: Rig) -> None:
        await begun(rig)
        for _ in range(5):
            await rig.asked("ingest")
        assert here(rig) == [True, True, False, True, True]

    with_rig(test, here_turns_max=2)


def test_the_thread_wakes_when_the_engine_said_on_the_loop() -> None:
    """A lease that ends is noticed, whoever ran the turn that granted it."""

    async def test(rig: Rig) -> None:
        await begun(rig)
        rig.engine.wake_ms = rig.clock.now_ms + 20
        woken = threading.Event()
        rig.engine.before_step = lambda inputs: woken.set() if not inputs else None
        await rig.asked("ingest")
        rig.engine.wake_ms = None
        rig.clock.now_ms += 20

        assert await asyncio.to_thread(woken.wait, 10)

    with_rig(test, here_turns_max=HERE_TURNS_MAX)


def test_an_engine_is_rebuilt_on_the_thread() -> None:
    """A replay may take seconds; who asked is answered all the same, and reads are put again."""

    async def test(rig: Rig) -> None:
        held = rig.asked("claim")
        await begun(rig)
        rig.log.failures = [StorageFull("The disk is full")]
        builders = []
        build = rig.build_engine

        def note() -> object:
            builders.append(threading.get_ident())
            return build()

        rig.committer._build_engine = note  # type: ignore[assignment]

        write = await rig.asked("ingest")

        assert (write.status, code(write)) == (507, "storage_full")
        assert (await held).status == 507
        assert builders and threading.get_ident() not in builders
        rig.clock.now_ms += PAUSE_MS_MIN
        assert (await rig.asked("ingest")).body == b"1"
        assert rig.log.head().last_seq == 1

    with_rig(test, here_turns_max=HERE_TURNS_MAX)


def test_a_fault_of_the_engine_on_the_loop_refuses_that_request_alone() -> None:
    """The same as on the thread: it is rebuilt, and goes on."""

    async def test(rig: Rig) -> None:
        await begun(rig)

        def fail(inputs: object) -> None:
            raise RuntimeError("a fault")

        rig.engine.before_step = fail
        assert code(await rig.asked("ingest")) == "engine_failed"
        assert (await rig.asked("ingest")).body == b"1"

    with_rig(test, here_turns_max=HERE_TURNS_MAX)


def test_a_log_that_fails_on_the_loop_ends_the_hub() -> None:
    """Nothing is acknowledged, everybody is told, and the thread runs no further turn."""

    async def test(rig: Rig) -> None:
        held = rig.asked("claim")
        await begun(rig)
        rig.log.failures = [StorageError("The disk failed")]

        answers = [await rig.asked("ingest"), await held]

        assert {(answer.status, code(answer)) for answer in answers} == {(503, "storage_failed")}
        assert [error.message for error in rig.fatal] == ["The disk failed"]
        assert code(await rig.asked("ingest")) == "stopping"
        await rig.turns.close()
        assert len(rig.engine.steps) == 1

    with_rig(test, here_turns_max=HERE_TURNS_MAX)


@pytest.mark.parametrize("seed", range(5))
def test_loop_and_thread_take_turns_and_no_answer_is_lost(seed: int) -> None:
    """Whoever runs which turn: each is answered once, the log has no gap, news come in order."""

    async def test(rig: Rig) -> None:
        dice = random.Random(seed)
        heads = [0]
        answered: list[int] = []

        async def writer() -> None:
            for _ in range(100):
                answered.append(int((await rig.asked("ingest")).body))
                heads.append(rig.turns.feeds.head_seq)

        async def other() -> None:
            for _ in range(100):
                match dice.randrange(4):
                    case 0:
                        await rig.asked("jobs")
                    case 1:
                        await settled(rig)
                    case 2:
                        await stored(rig.turns, b"pack")
                    case _:
                        leaving = rig.asked("claim")
                        await asyncio.sleep(0)
                        leaving.cancel()

        await asyncio.gather(*(writer() for _ in range(5)), *(other() for _ in range(2)))

        assert sorted(answered) == list(range(1, 501))
        assert heads == sorted(heads)
        assert rig.log.head().last_seq == 500
        assert rig.turns.figures()["open"] == 0

    with_rig(test, here_turns_max=HERE_TURNS_MAX)
