"""The Hub that ships against a plain model of it, step by step, whatever is asked of it.

Hypothesis chooses what clients, two relays, a clock and a killer do to a Hub in memory; after each
step every task is in the state that `reference.py` says. `HPC_FUZZ=100` makes it a hundred times
as long. Bugs are planted in the reference, and each must be seen.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from reference import Attempt, Held, Job, Reference, Task

from hpc import ranges
from hpc.domain import FieldSpec, NamespaceSpec
from hpc.testing.small_hub import WALL_MS, SmallHub, Taken, overlay

Json = Any
TIMES = int(os.environ.get("HPC_FUZZ", "1"))
TICK_MS = 5_000
FROZEN_MS = 40_000
CPUS = {"n1": 2, "n2": 3}

NAMESPACE = NamespaceSpec(
    ns_id="lab",
    handler_type="lab",
    resources={"cpus": 1},
    schema={
        "SubmitJob": [
            FieldSpec(key="on_cut_off", expected_type="String", one_of=["finish", "stop"]),
            FieldSpec(key="retries", expected_type="Int", min=0),
        ]
    },
)

NODES = st.sampled_from(sorted(CPUS))
PICK = st.integers(0, 1_000)
SOME = st.integers(1, 7)
"""Which of at most three tasks, as bits."""


class Hub(SmallHub):
    """One whose wall clock goes with the other, and that can be looked at in no time."""

    def turn(self, inputs: Any, *, build: Any = (), ms: int = 1) -> Any:
        """Take one turn."""
        self.wall_ms = WALL_MS + self.now_ms + ms
        return super().turn(inputs, build=build, ms=ms)

    @property
    def now_ms(self) -> int:
        """What its clock shows, ms."""
        return self._mono_ms

    def look(self, verb: str, query: str) -> Json:
        """Ask for what it would tell now."""
        mono_ms, self._mono_ms = self._mono_ms, self._mono_ms - 1
        answer = self.ask(verb, query)
        assert self._mono_ms == mono_ms
        return answer


class Machine(RuleBasedStateMachine):
    """Everybody who speaks to one Hub."""

    reference: ClassVar[type[Reference]] = Reference

    def __init__(self) -> None:
        super().__init__()
        self.hub = Hub()
        self.hub.register(NAMESPACE)
        self.model = self.reference()
        self.taken: Taken | None = None
        self.batches: list[tuple[str, list[Json], Json]] = []
        self.claims = 0
        self.bags: dict[str, set[Held]] = {node: set() for node in CPUS}
        """What each relay has and has not reported the end of."""
        self.ever: list[tuple[str, Held]] = []
        self.seen: Json = {}
        self.cursor = 0

    # What is said

    def say(self, kind: str, ctx: Json, spec: Json) -> None:
        """Offer a batch of one event, which is taken."""
        events = [{"kind": kind, "payload": {"ctx": {"ns_id": "lab", **ctx}, "spec": spec}}]
        batch_id = f"b{len(self.batches)}"
        receipt = self.hub.ingest(batch_id, events)
        assert not receipt["duplicate"]
        self.batches.append((batch_id, events, receipt))
        self.model.tick(self.hub.now_ms)

    def ask(self, kind: str, pick: int, some: int) -> tuple[str, list[int]]:
        """Say something about some tasks of a job."""
        job_id, tasks = self.some_of(pick, some)
        self.say(kind, {"job_id": job_id, "tasks": ",".join(map(str, tasks))}, {})
        return job_id, tasks

    def some_of(self, pick: int, some: int) -> tuple[str, list[int]]:
        """A job, and some of its tasks."""
        job_id = f"j{pick % len(self.model.jobs)}"
        known = self.model.jobs[job_id].tasks
        return job_id, [task for task in known if some >> task & 1] or list(known)

    def report(self, what: str, node: str, held: Held) -> None:
        """A relay tells something of what it was granted."""
        job_id, attempt, task = held
        kind, spec = {
            "started": ("JobStarted", {"started_at": 5}),
            "ok": ("JobFinished", {"exit_code": 0}),
            "failed": ("JobFinished", {"exit_code": 3}),
            "returned": ("TasksReturned", {"reason": "given_back"}),
        }[what]
        ctx = {"job_id": job_id, "tasks": str(task), "attempt": attempt, "node_id": node}
        self.say(kind, {**ctx, "epoch": self.model.nodes[node].epoch}, spec)
        getattr(self.model, what)(node, job_id, attempt, [task])
        if what != "started":
            self.bags[node].discard(held)

    def claim(self, node: str, epoch: int, n: int) -> tuple[int, Json]:
        """One claim, and what the model says to it; new leases are the Hub's choice."""
        holds = [
            {"job_id": job_id, "attempt": attempt, "tasks": str(task)}
            for job_id, attempt, task in sorted(self.bags[node])
        ]
        body = {
            "node_id": node, "host": "h", "place": node, "session": f"{node}.{epoch}",
            "epoch": epoch,
            "n": n, "ns": ["lab"], "resources": {"cpus": CPUS[node]}, "max": 64, "wait": 0,
            "holds": merged(holds),
        }  # fmt: skip
        status, answer = self.hub.reply("claim", "", body)
        self.model.tick(self.hub.now_ms)
        expected = self.model.claim(node, epoch, n, CPUS[node], self.bags[node])
        assert status == expected.status, answer
        if status != 200:
            return status, None
        granted = executions(answer["grants"])
        assert executions(answer["cancels"]) == expected.cancels
        assert expected.again <= granted, "what was leased and is not held is granted again"
        new: dict[str, int] = {}
        for held in sorted(granted - expected.again):
            self.model.grant(node, held)
            new[held[0]] = new.get(held[0], 0) + 1
            self.ever.append((node, held))
        assert new == expected.new, "by rank, and no node idles with a task that is ready"
        return status, granted

    # Clients

    @initialize()
    def begin(self) -> None:
        """Two nodes, and a job."""
        self.submit(3, 0, 0, stops=False, after=None)
        for node in CPUS:
            self.claim_as(node, answer_is_lost=False)

    @rule(
        tasks=st.integers(1, 3),
        priority=st.integers(0, 1),
        retries=st.integers(0, 2),
        stops=st.booleans(),
        after=st.none() | PICK,
    )
    def submit(
        self, tasks: int, priority: int, retries: int, *, stops: bool, after: int | None
    ) -> None:
        """A job, perhaps after another."""
        place = len(self.model.jobs)
        ctx: Json = {"job_id": f"j{place}", "priority": priority, "tasks": f"0-{tasks - 1}"}
        spec = {"retries": retries, "on_cut_off": "stop" if stops else "finish"}
        before = [f"j{after % place}"] if after is not None and place else []
        if before:
            ctx["after"] = before
        self.say("SubmitJob", ctx, spec)
        made = {task: Task() for task in range(tasks)}
        job = Job(made, place, priority, before, retries, stops)
        self.model.submit(f"j{place}", job)

    @rule(pick=PICK, other=st.booleans())
    def submit_again(self, pick: int, other: bool) -> None:
        """The same job changes nothing; another of its id is refused."""
        submits = [events[0] for _, events, _ in self.batches if events[0]["kind"] == "SubmitJob"]
        event = submits[pick % len(submits)]
        payload = event["payload"]
        if other:
            spec = {**payload["spec"], "retries": 9}
            event = {**event, "payload": {**payload, "spec": spec}}
            answer = self.hub.offer("other", [event])
            assert (answer.status, answer.body["code"]) == (409, "job_conflict")
        else:
            self.say("SubmitJob", payload["ctx"], payload["spec"])

    @rule(pick=PICK, some=SOME)
    def cancel(self, pick: int, some: int) -> None:
        """Cancel tasks."""
        self.model.cancel(*self.ask("CancelJob", pick, some))

    @rule(pick=PICK, some=SOME, held=st.booleans())
    def hold(self, pick: int, some: int, held: bool) -> None:
        """Hold or release tasks."""
        said = self.ask("HoldJob" if held else "ReleaseJob", pick, some)
        self.model.hold(*said, held)

    @rule(pick=PICK, some=SOME)
    def retry(self, pick: int, some: int) -> None:
        """Another round for tasks; refused while one that must never overlap may be ending."""
        job_id, tasks = self.some_of(pick, some)
        if not self.model.may_overlap(job_id, tasks):
            self.model.retry(*self.ask("RetryJob", pick, some))
            return
        ctx = {"ns_id": "lab", "job_id": job_id, "tasks": ",".join(map(str, tasks))}
        answer = self.hub.offer(
            "early", [{"kind": "RetryJob", "payload": {"ctx": ctx, "spec": {}}}]
        )
        assert (answer.status, answer.body["errors"][0]["field"]) == (422, "ctx.job_id")
        self.model.tick(self.hub.now_ms)

    @rule(node=NODES)
    def lose(self, node: str) -> None:
        """Somebody says that a node will not come back."""
        self.say("NodeLost", {"node_id": node}, {})
        self.model.node_lost(node)

    @rule(pick=PICK, changed=st.booleans())
    def send_again(self, pick: int, changed: bool) -> None:
        """The same batch has the first receipt; other content under its id is refused."""
        batch_id, events, receipt = self.batches[pick % len(self.batches)]
        head = self.hub.head
        if changed:
            answer = self.hub.offer(batch_id, [*events, *events])
            assert (answer.status, answer.body["code"]) == (409, "id_conflict")
        else:
            assert self.hub.ingest(batch_id, events) == {**receipt, "duplicate": True}
        assert self.hub.head == head

    # Relays

    @rule(node=NODES, answer_is_lost=st.booleans())
    def claim_as(self, node: str, *, answer_is_lost: bool) -> None:
        """A relay claims under its epoch; the answer may be lost."""
        known = self.model.nodes.get(node)
        self.claims += 1
        status, granted = self.claim(node, known.epoch if known else 2, self.claims)
        if status == 200 and not answer_is_lost:
            self.bags[node] |= granted

    @rule(node=NODES, forgets=st.booleans())
    def join(self, node: str, *, forgets: bool) -> None:
        """A relay takes a new epoch; one that was killed holds nothing."""
        if forgets:
            self.bags[node].clear()
        self.claims += 1
        _, granted = self.claim(node, self.model.nodes[node].epoch + 1, self.claims)
        self.bags[node] |= granted

    @rule(node=NODES, older=st.booleans())
    def claim_late(self, node: str, *, older: bool) -> None:
        """A claim of an epoch that is over, or an old one of this."""
        known = self.model.nodes[node]
        if older or not known.up:
            assert self.claim(node, known.epoch - older, self.claims)[0] == 409
        elif known.n >= 0:
            assert self.claim(node, known.epoch, known.n) == (200, set())

    @precondition(lambda self: any(self.bags.values()))
    @rule(node=NODES, pick=PICK, what=st.sampled_from(["started", "ok", "failed", "returned"]))
    def tell(self, node: str, pick: int, what: str) -> None:
        """A relay reports on what it has."""
        if held := sorted(self.bags[node]):
            self.report(what, node, held[pick % len(held)])

    @precondition(lambda self: self.ever)
    @rule(pick=PICK, what=st.sampled_from(["started", "ok", "failed", "returned"]))
    def tell_late(self, pick: int, what: str) -> None:
        """A report on whatever was ever granted, also what has ended or was lost."""
        node, held = self.ever[pick % len(self.ever)]
        self.report(what, node, held)

    # Time, and ends of the Hub

    @rule(ms=st.sampled_from([1_000, 5_000, 35_000, 320_000]))
    def pass_time(self, ms: int) -> None:
        """The clock goes on, and the Hub looks often enough."""
        for tick_ms in [min(TICK_MS, ms - at) for at in range(0, ms, TICK_MS)]:
            self.hub.turn([], ms=tick_ms)
            self.model.tick(self.hub.now_ms)

    @precondition(lambda self: any(node.up for node in self.model.nodes.values()))
    @rule()
    def stand_still(self) -> None:
        """The Hub is frozen for longer than a lease: it blames nobody for it."""
        self.hub.turn([], ms=FROZEN_MS)
        self.model.renew_all(self.hub.now_ms)

    def started_anew(self) -> None:
        """Numbers of claims are not in the log."""
        self.model.renew_all(self.hub.now_ms)
        for node in self.model.nodes.values():
            node.n = -1

    @rule()
    def restart(self) -> None:
        """Killed, and started from its log."""
        self.hub.restart()
        self.started_anew()

    @rule()
    def snapshot(self) -> None:
        """A snapshot is kept."""
        self.taken = self.hub.snapshot()

    @precondition(lambda self: self.taken)
    @rule()
    def restore(self) -> None:
        """Killed, and started from its snapshot and the log after it."""
        assert self.taken is not None
        self.hub = self.hub.restored(self.taken)
        self.started_anew()

    @rule(pick=PICK)
    def crash_before_the_append(self, pick: int) -> None:
        """What was taken and not recorded never was: its id is free, and nobody was answered."""
        rows = list(self.hub.log)
        job_id = f"j{pick % len(self.model.jobs)}"
        event = {"kind": "CancelJob", "payload": {"ctx": {"job_id": job_id}, "spec": {}}}
        self.hub.ingest(f"b{len(self.batches)}", [event])
        self.hub.log = rows
        self.restart()

    # What is seen

    @rule(limit=st.integers(1, 3))
    def read(self, limit: int) -> None:
        """A reader takes a page; its cursor never falls."""
        page = self.hub.look("pull", f"gid=kernel&cursor={self.cursor}&limit={limit}")
        assert page["cursor"] >= self.cursor
        assert not page.get("snapshot")
        self.cursor, self.seen = page["cursor"], overlay(self.seen, page["facts"])

    @invariant()
    def tasks_are_as_in_the_model(self) -> None:
        """Each task's state, and the node that has it."""
        for job_id, job in self.model.jobs.items():
            page = self.hub.look("tasks", f"job_id={job_id}")["data"]
            states = {row["task"]: row["state"] for row in page}
            expected = {task: self.model.state(job_id, task) for task in job.tasks}
            assert states == expected, job_id
            leased = {row["task"]: (row["attempt"], row["node_id"]) for row in page}
            for task_id, task in job.tasks.items():
                if found := task.active():
                    assert leased[task_id] == (found[0], found[1].node)

    @invariant()
    def facts_are_as_in_the_model(self) -> None:
        """What became of each task in each round, and which nodes there are."""
        facts = self.hub.look("pull", "gid=kernel")["facts"]
        for job_id, job in self.model.jobs.items():
            row = facts["jobs"][job_id]
            for outcome in ("succeeded", "failed", "cancelled"):
                for number in range(job.rounds + 1):
                    rounds = row.get("rounds", {})
                    said = rounds.get(f"{number}/{outcome}") if number else row.get(outcome)
                    tasks = job.tasks.items()
                    became = {t for t, one in tasks if one.outcomes.get(number) == outcome}
                    assert set(ranges.numbers(said or "")) == became, (job_id, number, outcome)
            started = {t for t, one in job.tasks.items() if one.was_started}
            assert set(ranges.numbers(row.get("started") or "")) == started
        nodes = {row["node_id"]: row["state"] for row in self.hub.look("nodes", "")["data"]}
        up = {True: "up", False: "unreachable"}
        assert nodes == {name: up[node.up] for name, node in self.model.nodes.items()}

    def teardown(self) -> None:
        """A reader that goes on to the end holds the facts; another start has the same state."""
        if not self.model.jobs:
            return
        for _, facts in self.hub.pages("kernel", self.cursor):
            self.seen = overlay(self.seen, facts)
        assert self.seen == self.hub.facts("kernel")
        assert self.hub.replayed().snapshot().state == self.hub.snapshot().state


def executions(listed: Json) -> set[Held]:
    """Which tasks a claim's answer names."""
    return {
        (one["job_id"], one["attempt"], task)
        for one in listed
        for task in ranges.numbers(one["tasks"])
    }


def merged(holds: Json) -> Json:
    """One entry for each job and attempt."""
    found: dict[tuple[str, int], list[str]] = {}
    for hold in holds:
        found.setdefault((hold["job_id"], hold["attempt"]), []).append(hold["tasks"])
    return [{"job_id": j, "attempt": a, "tasks": ",".join(t)} for (j, a), t in found.items()]


BOUNDED = settings(
    max_examples=60 * TIMES,
    stateful_step_count=40,
    derandomize=TIMES == 1,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.timeout(0 if TIMES > 1 else 120)
def test_the_hub_does_what_the_model_says() -> None:
    """Whatever comes, in whatever order, every task is where the protocol has it."""
    run_state_machine_as_test(Machine, settings=BOUNDED)  # type: ignore[no-untyped-call]


def test_an_attempt_that_was_adopted_is_the_one_that_is_shown() -> None:
    """A task runs where its first attempt was taken up again, not where a later one was lost."""
    machine = Machine()
    machine.begin()
    machine.lose("n2")
    machine.cancel(0, 1)
    machine.join("n1", forgets=False)
    machine.lose("n1")
    machine.join("n2", forgets=False)
    machine.tasks_are_as_in_the_model()
    machine.teardown()


class LateFailuresCount(Reference):
    """R8 left out: a failure of an attempt that was given up uses up a try of its task."""

    def failure_counts(self, task: Task, attempt: Attempt) -> bool:
        """Any failure of a task that is undecided."""
        return attempt.state in {"active", "lost"} and task.outcome is None


class NumbersComeAgain(Reference):
    """R7 left out: what was given back is leased again under its number."""

    def next_number(self, task: Task) -> int:
        """As many as were lost or have ended."""
        return 1 + sum(attempt.state != "returned" for attempt in task.attempts.values())


class SilenceLosesAll(Reference):
    """The reclaim time left out: silence ends `finish` attempts as well."""

    def tick(self, now: int) -> None:
        """As if every job were a `stop` one."""
        kept = {job_id: job.stops for job_id, job in self.jobs.items()}
        for job in self.jobs.values():
            job.stops = True
        super().tick(now)
        for job_id, stops in kept.items():
            self.jobs[job_id].stops = stops


@pytest.mark.parametrize("broken", [LateFailuresCount, NumbersComeAgain, SilenceLosesAll])
def test_a_bug_that_is_planted_is_seen(broken: type[Reference]) -> None:
    """The comparison sees where the two differ; the smallest trace is not looked for."""
    machine = type(broken.__name__, (Machine,), {"reference": broken})
    quick = settings(BOUNDED, phases=[Phase.generate], max_examples=200)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=quick)  # type: ignore[no-untyped-call]
