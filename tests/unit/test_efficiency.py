"""What tasks used of what they asked for, and what would have done."""

from __future__ import annotations

from typing import Any

from hpc.efficiency import of_job

MIB = 1 << 20


def task(took_s: float, cpu_s: float, mib: int | None = None, state: str = "succeeded") -> Any:
    peak = None if mib is None else mib * MIB
    return {"state": state, "duration_s": took_s, "cpu_seconds": cpu_s, "peak_memory_bytes": peak}


def job(cpus: int, mib: int, time_limit: float | None = None) -> Any:
    spec = {} if time_limit is None else {"time_limit": time_limit}
    return {"job_id": "1", "resources": {"cpus": cpus, "memory_mib": mib}, "spec": spec}


def test_the_median_and_the_most_of_what_succeeded() -> None:
    """What failed may have been cut short."""
    tasks = [task(10, 9, 100), task(10, 5, 300), task(10, 7, 200), task(1, 9, 999, "failed")]
    found = of_job(job(1, 1024), tasks)
    assert found.tasks == 3
    assert found.cpus is not None
    assert (found.cpus.asked, found.cpus.median, found.cpus.most) == (1, 0.7, 0.9)
    assert found.memory is not None
    assert (found.memory.median, found.memory.most) == (200 * MIB, 300 * MIB)
    assert found.seconds is not None
    assert found.seconds.share is None  # there was no limit


def test_little_use_is_told_what_would_do_with_something_to_spare() -> None:
    """Whole cores, memory by steps, a time that is easily typed."""
    found = of_job(job(8, 8192, 3600.0), [task(40, 60, 500), task(30, 40, 300)])
    assert found.advice() == {"cpu": 2, "memory": 640, "time_limit": 50}


def test_what_was_needed_is_not_talked_down() -> None:
    """The most that one task used counts, and a core is the least."""
    tasks = [task(10, 1, 10), task(10, 19, 900)]
    assert of_job(job(2, 1024, 12.0), tasks).advice() == {}
    assert of_job(job(1, 64), [task(10, 0.1, 60)]).advice() == {}
    assert of_job(job(2, 64), [task(10, 13.5, 60)]).advice() == {}
    # Nor is what was asked for advised again: steps end above it.
    assert of_job(job(1, 64, 8.0), [task(1, 1, 10)]).advice() == {}


def test_what_was_not_measured_is_nothing() -> None:
    """And no task at all is none."""
    found = of_job(job(1, 64), [task(0, 0)])
    assert (found.tasks, found.cpus, found.memory, found.seconds) == (1, None, None, None)
    assert of_job(job(1, 64), []).tasks == 0
