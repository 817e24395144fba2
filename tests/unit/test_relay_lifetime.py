"""How long a relay stays, by a clock that a test sets; the loop's own timers are real and short.

That it goes on waiting is looked for after some of these timers: a slow machine looks less often,
and then sees less, but never something else.
"""

from __future__ import annotations

import asyncio

import pytest
from relay_scripted import SetClock, run

from hpc.relay import lifetime
from hpc.relay.lifetime import Idleness, TimeLimit


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is looked at again soon after a test has moved it."""
    monkeypatch.setattr(lifetime, "LOOK_S", 0.01)


async def stays(waiting: asyncio.Task[None]) -> bool:
    """Whether it goes on waiting while its timer ends several times."""
    await asyncio.sleep(0.05)
    return not waiting.done()


def test_a_relay_is_idle_from_its_start_and_after_its_last_task() -> None:
    """Time with work counts for nothing, however often the claims say that there is some."""

    async def scenario() -> None:
        clock = SetClock()
        idleness = Idleness(clock)
        idleness.note(is_busy=True)
        waiting = asyncio.create_task(idleness.lasted(100.0))
        clock.advance(200_000)
        assert await stays(waiting)
        idleness.note(is_busy=False)
        clock.advance(99_999)
        idleness.note(is_busy=False)
        assert await stays(waiting)
        clock.advance(1)
        await waiting
        from_start = Idleness(clock)
        clock.advance(100_000)
        await from_start.lasted(100.0)

    run(scenario())


def test_work_that_comes_while_it_is_waited_for_begins_the_time_anew() -> None:
    """Short work between two looks counts as well."""

    async def scenario() -> None:
        clock = SetClock()
        idleness = Idleness(clock)
        waiting = asyncio.create_task(idleness.lasted(300.0))
        clock.advance(100_000)
        assert await stays(waiting)
        idleness.note(is_busy=True)
        idleness.note(is_busy=False)
        clock.advance(299_999)
        assert await stays(waiting)
        clock.advance(1)
        await waiting

    run(scenario())


def test_time_in_which_the_machine_sleeps_counts() -> None:
    """The loop's timers stand still meanwhile: it is looked at again."""

    async def scenario() -> None:
        clock = SetClock()
        limit = TimeLimit(clock, 3600.0, 30.0)
        waiting = asyncio.create_task(limit.near())
        assert await stays(waiting)
        clock.advance(3_569_999)
        assert await stays(waiting)
        assert limit.left_s() == 30.001
        clock.advance(1)
        await waiting

    run(scenario())
