"""How a job ended, in words."""

from __future__ import annotations

from typing import Any

from hpc.cli.wording import how_it_ended


def settled(tasks: str, state: str, **more: Any) -> dict[str, Any]:
    return {"tasks": tasks, "state": state, "cause": None} | more


def attempt(tasks: str, number: int, node_id: str, code: int) -> dict[str, Any]:
    row = {"tasks": tasks, "attempt": number, "node_id": node_id, "state": "failed"}
    return row | {"exit_code": code, "signal": None, "cause": "exit", "detail": None}


def test_each_reason_stands_once_with_the_number_of_its_tasks() -> None:
    """However many attempts, on however many nodes, a task of an array has had."""
    job = {
        "tasks": "0-9",
        "spec": {},
        "settled": [
            settled("0-5", "failed", cause="exit"),
            settled("6", "failed", cause="exit"),
            settled("7-8", "cancelled", cause="cancelled", reason="not those"),
        ],
        "attempts": [
            attempt("0-5", 1, "n1", 127),
            attempt("0-2,6", 2, "n1", 127),
            attempt("3-4", 2, "n2", 127),
            attempt("5", 2, "n2", 3),
        ],
    }
    told = how_it_ended(job)
    assert told == "7 tasks: exit code 127; 1 task: exit code 3; 2 tasks: not those"


def test_of_a_single_task_no_number_is_told() -> None:
    job = {
        "tasks": "0",
        "spec": {},
        "settled": [settled("0", "cancelled", cause="cancelled", reason="enough")],
    }
    assert how_it_ended(job) == "enough"


def test_who_was_lost_three_times_is_not_called_cancelled_for_a_late_report() -> None:
    """The relay of the last attempt comes back, ends what it still runs, and says so."""
    lost = [
        attempt("0", number, "n1", 0) | {"state": "lost", "cause": "lost", "started_at": 1}
        for number in (1, 2)
    ]
    late = attempt("0", 3, "n2", 0) | {"exit_code": None, "signal": 15, "cause": "cancelled"}
    job = {
        "tasks": "0",
        "spec": {},
        "settled": [settled("0", "failed", cause="lost")],
        "attempts": [*lost, late],
    }
    assert how_it_ended(job) == "lost with its relay three times while it ran: n1"
