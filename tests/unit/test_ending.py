"""Whether a job is over, read off the changes of its facts, as the engine that ships tells them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hpc.client import PHASE_FINISHED, SETTLED
from hpc.client.ending import may_be_over
from hpc.domain import NamespaceSpec
from hpc.testing.small_hub import SmallHub

TASKS = 5


class Waiter:
    """Who waits for the job `j`, as `as_completed` does."""

    def __init__(self) -> None:
        self.hub = SmallHub()
        self.hub.register(NamespaceSpec(ns_id="lab", revision=1, schema={"SubmitJob": []}))
        self.batches = 0
        self.looks = 0
        self.was_finished = False
        self.is_told = False
        self.say("SubmitJob", f"0-{TASKS - 1}")
        self.cursor = self.hub.head

    def say(self, kind: str, tasks: str) -> None:
        """A request about some tasks; a retry of what nobody has settled changes nothing."""
        self.batches += 1
        ctx = {"ns_id": "lab", "job_id": "j", "tasks": tasks}
        self.hub.offer(f"b{self.batches}", [{"kind": kind, "payload": {"ctx": ctx, "spec": {}}}])

    def is_over(self) -> bool:
        return self.hub.ask("job", "job_id=j")["data"]["state"] in SETTLED

    def look(self) -> None:
        """Take what has changed, and ask for the job where it may be over."""
        page = self.hub.pull("kernel", self.cursor)
        self.cursor = page["cursor"]
        row: dict[str, Any] = page["facts"].get("jobs", {}).get("j", {})
        if may_be_over(row, was_finished=self.was_finished):
            self.looks += 1
            info = self.hub.ask("job", "job_id=j")["data"]
            self.is_told = info["state"] in SETTLED
            self.was_finished = info["phase"] == PHASE_FINISHED


RANGES = st.sampled_from(["0-4", "0-4", "0-2", "3-4", "2", "5"])
STEPS = st.lists(
    st.tuples(st.sampled_from(["CancelJob", "CancelJob", "RetryJob", "SubmitJob", ""]), RANGES),
    max_size=20,
)


@given(STEPS)
def test_no_end_is_missed_over_rounds_and_further_tasks(steps: list[tuple[str, str]]) -> None:
    """`as_completed` waited for ever once a job had been retried."""
    waiter = Waiter()
    for kind, task in steps:
        if kind:
            waiter.say(kind, task)
        else:
            waiter.look()
            if waiter.is_told:
                break
    waiter.look()
    assert waiter.is_told == waiter.is_over()


def test_a_round_is_asked_about_once() -> None:
    """Each question costs the Hub an answer, and an array has many ends that are not the last."""
    waiter = Waiter()
    waiter.say("CancelJob", f"0-{TASKS - 1}")
    waiter.look()
    assert (waiter.is_told, waiter.looks) == (True, 1)
    waiter.say("RetryJob", f"0-{TASKS - 1}")
    waiter.look()
    for task in range(TASKS):
        assert waiter.looks == 1
        waiter.say("CancelJob", str(task))
        waiter.look()
    assert (waiter.is_told, waiter.looks) == (True, 2)
