"""How long a relay stays, by a clock that a test sets; the loop's own timers are real and short."""

from __future__ import annotations

import asyncio

import pytest
from relay_scripted import SetClock, run

from hpc.clock import SystemClock
from hpc.relay import lifetime
from hpc.relay.lifetime import Idleness, TimeLimit


def test_a_relay_is_idle_from_its_start_and_after_its_last_task() -> None:
    """Time with work counts for nothing, however often the claims say that there is some."""

    async def scenario() -> None:
        clock = SystemClock()
        idleness = Idleness(clock)
        idleness.note(is_busy=True)
        waiting = asyncio.create_task(idleness.lasted(0.1))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        idleness.note(is_busy=False)
        ended_ms = clock.boottime_ms()
        idleness.note(is_busy=False)
        await waiting
        assert clock.boottime_ms() - ended_ms >= 95
        await Idleness(clock).lasted(0.05)

    run(scenario())


def test_work_that_comes_while_it_is_waited_for_begins_the_time_anew() -> None:
    """Short work between two looks counts as well."""

    async def scenario() -> None:
        clock = SystemClock()
        idleness = Idleness(clock)
        waiting = asyncio.create_task(idleness.lasted(0.3))
        await asyncio.sleep(0.1)
        idleness.note(is_busy=True)
        idleness.note(is_busy=False)
        ended_ms = clock.boottime_ms()
        await waiting
        assert clock.boottime_ms() - ended_ms >= 295

    run(scenario())


def test_time_in_which_the_machine_sleeps_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's timers stand still meanwhile: it is looked at again."""
    monkeypatch.setattr(lifetime, "LOOK_S", 0.01)

    async def scenario() -> None:
        clock = SetClock()
        limit = TimeLimit(clock, 3600.0, 30.0)
        waiting = asyncio.create_task(limit.near())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        clock.advance(3_569_999)
        await asyncio.sleep(0.05)
        assert (waiting.done(), limit.left_s()) == (False, 30.001)
        clock.advance(1)
        await waiting

    run(scenario())
