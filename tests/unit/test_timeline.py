"""The log as a trace: every attempt once, on a lane of its node where nothing overlaps."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hpc.timeline import Timeline


def event(kind: str, at: int, spec: dict[str, Any] | None = None, **ctx: Any) -> dict[str, Any]:
    return {"kind": kind, "at": at, "payload": {"ctx": ctx, "spec": spec or {}}}


def traced(*events: dict[str, Any], only: frozenset[str] | None = None) -> list[dict[str, Any]]:
    timeline = Timeline(only)
    for one in events:
        timeline.take(one)
    found: list[dict[str, Any]] = timeline.trace()["traceEvents"]
    return found


def slices(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in events if one["ph"] == "X"]


def report(kind: str, at: int, tasks: str, spec: dict[str, Any], attempt: int = 1) -> Any:
    return event(
        kind, at, spec, job_id="j", tasks=tasks, attempt=attempt, node_id="n1", ns_id="batch"
    )


def test_a_report_of_several_tasks_is_a_slice_each() -> None:
    """A list has one figure for each task, and what stands alone is of all."""
    found = traced(
        event("SubmitJob", 1000, job_id="j", name="fit", ns_id="batch", tasks="0-2"),
        report("JobStarted", 1010, "0-1", {"started_at": [1010, 1012]}),
        report(
            "JobFinished",
            1050,
            "0-2",
            {
                "started_at": [1010, 1012, 1030],
                "finished_at": [1020, 1032, 1050],
                "exit_code": [0, 3, 0],
                "cause": [None, "exit", None],
            },
        ),
    )
    assert [(s["name"], s["ts"], s["dur"], s["cat"]) for s in slices(found)] == [
        ("fit.0", 0, 10_000, "succeeded"),
        ("fit.1", 2_000, 20_000, "exit"),
        ("fit.2", 20_000, 20_000, "succeeded"),
    ]
    assert slices(found)[1]["args"]["exit_code"] == 3
    assert [s["tid"] for s in slices(found)] == [1, 2, 1]


def test_what_was_lost_ends_then_and_what_runs_goes_on_to_the_end() -> None:
    """Each attempt is a slice of its own."""
    found = traced(
        report("JobStarted", 1000, "0", {"started_at": 1000}),
        report("AttemptLost", 1500, "0", {}),
        report("JobStarted", 1600, "0", {"started_at": 1600}, attempt=2),
        event("NodeLeft", 2000, node_id="n9"),
    )
    assert [(s["args"]["attempt"], s["dur"], s["cat"]) for s in slices(found)] == [
        (1, 500_000, "lost"),
        (2, 400_000, "running"),
    ]


def test_an_arrow_leads_from_the_last_end_to_the_first_begin() -> None:
    """Of the jobs that were asked for."""
    course = [
        event("SubmitJob", 0, job_id="a", ns_id="batch"),
        event("SubmitJob", 0, job_id="b", ns_id="batch", after=["a"]),
    ]
    for job_id, begin in (("a", 100), ("b", 300)):
        course.append(
            event(
                "JobFinished",
                begin + 50,
                {"started_at": begin, "finished_at": begin + 50, "exit_code": 0},
                job_id=job_id,
                tasks="0",
                attempt=1,
                node_id="n1",
            )
        )
    arrows = [one for one in traced(*course) if one["ph"] in "sf"]
    assert [(one["ph"], one["id"], one["ts"]) for one in arrows] == [
        ("s", "a>b", 50_000),
        ("f", "a>b", 200_000),
    ]
    assert [s["name"] for s in slices(traced(*course, only=frozenset("b")))] == ["b.0"]


def test_samples_of_a_monitor_are_counters_of_its_node() -> None:
    """Of what they have."""
    stats = {"cpu_usage": "12.5%", "mem_used_kb": 2048, "mem_total_kb": 4096}
    found = traced(event("HardwareStats", 500, stats, node_id="n1", ns_id="monitor"))
    counters = [(one["name"], one["args"]) for one in found if one["ph"] == "C"]
    assert counters == [("cpu %", {"cpu %": 12.5}), ("memory MiB", {"memory MiB": 2.0})]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=40))
def test_nothing_overlaps_on_a_lane_and_none_is_wasted(spans: list[tuple[int, int]]) -> None:
    """There are as many lanes as ran at once."""
    course = [
        report(
            "JobFinished",
            begin + length,
            str(task),
            {"started_at": begin, "finished_at": begin + length, "exit_code": 0},
        )
        for task, (begin, length) in enumerate(spans)
    ]
    found = slices(traced(*course))
    assert len(found) == len(spans)
    lanes = defaultdict(list)
    for one in found:
        lanes[one["tid"]].append((one["ts"], one["ts"] + one["dur"]))
    for lane in lanes.values():
        assert all(before[1] <= after[0] for before, after in pairwise(lane))
    # One of no length at the end of another does not run beside it, but may have a lane of its own.
    most = max((sum(b <= at <= b + length for b, length in spans) for at, _ in spans), default=0)
    assert len(lanes) <= most
