"""The past of jobs and nodes: told as they were, and events of a job by its own entries."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_hub import SmallHub, asked, past_of, reach

from hpc import _core

Json = Any

bounded = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])

FIELDS = [
    {"key": "command", "required": True, "expected_type": "String"},
    {"key": "cpu", "required": True, "expected_type": "Int"},
]
BATCH = {
    "handler_type": "process",
    "resources": {"cpus": "$spec.cpu"},
    "schema": {"SubmitJob": FIELDS, "Fit": FIELDS},
    "acts_as": {"Fit": "SubmitJob"},
}
SPEC = {"command": "x", "cpu": 1}
STEPS = st.lists(
    st.sampled_from(["submit", "again", "claim", "start", "finish", "fail", "foreign", "cancel"]),
    min_size=4,
    max_size=14,
)


class Jobs:
    """A Hub with jobs, a relay and one that was never given anything; all that is answered."""

    def __init__(self) -> None:
        self.hub = SmallHub()
        self.hub.namespace("batch", BATCH)
        self.grants: list[Json] = []
        self.submitted = 0
        self.claims = 0
        self.then: dict[int, dict[str, Json]] = {}
        self.note()

    def note(self) -> None:
        """What is answered now."""
        self.then[self.hub.head] = {
            f"{verb}?{query}": self.hub.ask(verb, query) for verb, query in self.questions()
        }

    def questions(self) -> list[tuple[str, str]]:
        found = [("jobs", ""), ("jobs", "state=failed"), ("nodes", ""), ("pull", "gid=kernel")]
        return found + [("job", f"job_id=j{n}") for n in range(self.submitted)]

    def say(self, kind: str, ctx: Json, spec: Json) -> None:
        ctx = {"ns_id": "batch", **ctx}
        event = {"kind": kind, "payload": {"ctx": ctx, "spec": spec}}
        self.hub.ingest(f"b{self.hub.head}", [event])

    def report(self, kind: str, spec: Json, *, node_id: str = "n1") -> None:
        if self.grants:
            grant = self.grants[0]
            ctx = {name: grant[name] for name in ("job_id", "tasks", "attempt")}
            self.say(kind, {**ctx, "node_id": node_id, "epoch": 1}, spec)

    def step(self, what: str) -> None:
        match what:
            case "submit":
                kind = "SubmitJob" if self.submitted % 2 else "Fit"
                ctx = {"job_id": f"j{self.submitted}", "tasks": "0-3"}
                self.submitted += 1
                self.say(kind, ctx, SPEC)
            case "again" if self.submitted:
                self.say("Fit", {"job_id": "j0", "tasks": "0-5"}, SPEC)
            case "claim":
                self.claims += 1
                claim = {
                    "node_id": "n1", "host": "h", "place": "p", "session": "s" * 26, "epoch": 1,
                    "n": self.claims, "ns": ["batch"], "resources": {"cpus": 2}, "max": 8,
                    "wait": 0, "holds": [],
                }  # fmt: skip
                self.grants = self.hub.ask("claim", "", claim)["grants"]
            case "start":
                self.report("JobStarted", {"started_at": 5})
            case "finish":
                self.report("JobFinished", {"exit_code": 0})
            case "fail":
                self.report("JobFinished", {"exit_code": 3})
            case "foreign":  # a report on what its node was never given is evidence, and no fact
                self.report("JobStarted", {"started_at": 7}, node_id="n2")
            case "cancel" if self.submitted:
                self.say("CancelJob", {"job_id": "j0"}, {})


@bounded
@given(STEPS)
def test_jobs_and_nodes_of_the_past_are_as_they_were(steps: list[str]) -> None:
    """Whatever jobs have gone through, each list is told as it was told then; but for why a job
    waits, which also tells of claims that are open."""
    jobs = Jobs()
    for what in ["claim", "submit", *steps]:
        jobs.step(what)
        jobs.note()
    past = past_of(jobs.hub)
    for at, answers in jobs.then.items():
        reach(past, jobs.hub, at, rows=1)
        for question, expected in answers.items():
            assert unwaited(asked(past, *question.split("?"))) == unwaited(expected)


def unwaited(answer: Json) -> Json:
    """An answer without what depends on who is connected."""
    if isinstance(answer, dict):
        return {key: unwaited(value) for key, value in answer.items() if key != "why"}
    return [unwaited(value) for value in answer] if isinstance(answer, list) else answer


@bounded
@given(STEPS)
def test_events_of_a_job_s_facts_are_told_from_its_own_entries(steps: list[str]) -> None:
    """The log knows which entries speak of a job; reading these alone tells what all of them do,
    and each entry that changed a fact of it is none that did not."""
    jobs = Jobs()
    grew: dict[str, set[int]] = {}
    for what in ["claim", "submit", *steps]:
        before = jobs.hub.head
        jobs.step(what)
        for seq in range(before + 1, jobs.hub.head + 1):
            past = past_of(jobs.hub)
            reach(past, jobs.hub, seq)
            page = asked(past, "pull", f"gid=kernel&cursor={seq - 1}&table=jobs")
            for column in page["facts"].get("jobs", {}).get("j0", {}):
                grew.setdefault(column, set()).add(seq)
    own = [row for row in jobs.hub.log if "j0" in row[7]]
    for column, seqs in grew.items():
        for why_not in (False, True):
            flag = "&why_not=true" if why_not else ""
            query = f"gid=kernel&table=jobs&key=j0&column={column}{flag}"
            (reply,) = jobs.hub.turn([(1, "explain", query, None)]).replies
            found = []
            for rows in (own, jobs.hub.log):
                search = _core.Search(reply[2], "hub", 0)
                events = search.run(rows, 0, jobs.hub.head, 1_000_000)[0]
                found.append([event["seq"] for event in json.loads(b"[%s]" % events[:-1])])
            plan = json.loads(reply[2])
            if plan["only"] is None:
                assert found[0] == found[1]
            assert found[1] == sorted(set(found[1]))
            if why_not:
                assert not set(found[1]) & seqs
            elif plan["only"] is not None:
                assert found[1] == [max(seqs)]
            else:
                assert seqs <= set(found[1])
