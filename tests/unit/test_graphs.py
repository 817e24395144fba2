"""Graphs: what a file or a program says of jobs that name each other, as one batch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from canned_hub import TOKEN, CannedHub, answer, problem
from hypothesis import given
from hypothesis import strategies as st

from hpc import Client, arrays, submission
from hpc.errors import Conflict, NoHub, Refused, UsageError
from hpc.graphs import plan as plans
from hpc.graphs.document import SPEC, parse, plan_of
from hpc.graphs.plan import Plan

RECEIPT = {"id": "b", "first_seq": 4, "count": 1, "duplicate": False, "jobs": []}


@pytest.fixture
def hub() -> Iterator[CannedHub]:
    with CannedHub() as serving:
        serving.routes["POST", "/ingest"] = answer(RECEIPT)
        yield serving


@pytest.fixture
def client(hub: CannedHub) -> Iterator[Client]:
    with Client(hub.url, token=TOKEN) as client:
        yield client


def planned(*jobs: Any, key: str | None = "k", base: Any = None, **more: Any) -> Plan:
    """The plan of a file with these jobs."""
    document = parse(json.dumps({"jobs": list(jobs), **more}), "--from-json f")
    return plan_of(document, "--from-json f", key=key, base=base or {"cwd": "/here"})


def ctxs(plan: Plan) -> dict[str, Any]:
    """The ctx of each event, by job id, without the namespace."""
    found = {}
    for event in plan.events():
        ctx = {**event["payload"]["ctx"]}
        assert ctx.pop("ns_id") == "batch"
        found[ctx.pop("job_id")] = ctx
    return found


def specs(plan: Plan) -> list[Any]:
    return [event["payload"]["spec"] for event in plan.events()]


def test_names_become_ids_and_ids_stay() -> None:
    """In any order; what no job of the file is called is somebody else's job."""
    plan = planned(
        {"id": "d", "command": "d", "after": ["b", "c", "elsewhere"]},
        {"id": "b", "command": "b", "after": ["a"], "after_any": ["7"], "name": "B"},
        {"id": "c", "command": "c", "after_fail": ["a"], "after_task": True, "tasks": "0-9:4"},
        {"id": "a", "command": ["a"], "hold": True, "priority": -1, "entries": ["x", 1]},
    )
    assert ctxs(plan) == {
        "k.d": {"after": ["k.b", "k.c", "elsewhere"]},
        "k.b": {"after": ["k.a"], "after_any": ["7"], "name": "B"},
        "k.c": {"after_fail": ["k.a"], "after_task": True, "tasks": "0,4,8"},
        "k.a": {"hold": True, "priority": -1, "tasks": "0-1", "entries": ["x", 1]},
    }
    assert plan.tasks == 7


def test_the_same_key_is_the_same_graph_and_none_is_another() -> None:
    """A file that is sent again under its key changes nothing; without one it is run again."""
    job = {"id": "a", "command": "a"}
    assert planned(job).events() == planned(job).events()
    assert planned(job, key=None).ids != planned(job, key=None).ids
    assert planned(job, key=None).ids["a"].endswith(".a")


def test_a_job_falls_back_on_defaults_and_these_on_options() -> None:
    """Each says only what is its own; variables are joined, null takes a default away."""
    plan = planned(
        {"id": "a", "command": "a"},
        {"id": "b", "command": ["b"], "cpu": 4, "cwd": "sub", "stdin": "in", "env": {"X": "b"}},
        {"id": "c", "command": "c", "time_limit": None, "memory": 64, "retry_on": ["oom", 3]},
        defaults={"cpu": 2, "time_limit": "1m", "env": {"X": "d", "Y": "d"}, "retries": 3},
        base={"cpu": 1, "cwd": "/here", "memory": "1G", "env": {"Y": "o", "Z": "o"}, "name": None},
    )
    a, b, c = specs(plan)
    assert a == {
        "command": "a", "cpu": 2, "memory": 1024, "enforce_memory": True, "cwd": "/here",
        "time_limit": 60.0, "env": {"X": "d", "Y": "d", "Z": "o"}, "retries": 3,
    }  # fmt: skip
    assert (b["command"], b["args"], b["cpu"], b["env"]["X"]) == ("b", [], 4, "b")
    assert (b["cwd"], b["stdin"]) == ("/here/sub", "/here/sub/in")
    assert (c["memory"], c["retry_on"], "time_limit" in c) == (64, ["oom", 3], False)


def test_entries_go_into_the_placeholders_of_a_command() -> None:
    """As behind --from-json with a command; `expand` says otherwise."""
    a, b, c = specs(
        planned(
            {"id": "a", "command": "gzip {}", "entries": ["x"]},
            {"id": "b", "command": ["echo", "$HPC_ENTRY"], "entries": ["x"]},
            {"id": "c", "command": ["find", "{}"], "entries": ["x"], "expand": False},
        )
    )
    assert [one.get("expand", False) for one in (a, b, c)] == [True, False, False]


def test_what_is_for_those_that_come_after_is_no_default_of_the_first() -> None:
    """`after_task` among the defaults would otherwise refuse every graph."""
    plan = planned(
        {"id": "a", "command": "a", "tasks": "0-1"},
        {"id": "b", "command": "b", "tasks": "0-1", "after": ["a"]},
        defaults={"after_task": True},
    )
    assert [ctx.get("after_task") for ctx in ctxs(plan).values()] == [None, True]


A = {"id": "a", "command": "a"}


@pytest.mark.parametrize(
    ("jobs", "message", "field"),
    [
        ([{"command": "a"}], "job number 1 must have an `id`", "id"),
        ([A, 7], "job number 2 must be an object, got 7", "jobs"),
        ([A, A], "Two jobs of a graph are called `a`", "id"),
        ([A | {"id": "a/b"}], "Job `a/b` of a graph would have the id 'k.a/b'", "id"),
        ([{"id": "a"}], "Job `a`: it has no `command`", "command"),
        ([A | {"command": []}], "Job `a`: A job needs a command", "command"),
        ([A | {"command": ["a", 5]}], "`command` must be a String for the shell", "command"),
        ([A | {"comand": "a"}], "Job `a` has a field that nobody knows: `comand`", "comand"),
        ([A | {"key": "a"}], "Job `a` has a field that nobody knows: `key`", "key"),
        ([A | {"cpu": "two"}], 'Job `a`: `cpu` must be an Int, got "two"', "cpu"),
        ([A | {"cpu": True}], "Job `a`: `cpu` must be an Int, got true", "cpu"),
        ([A | {"hold": 1}], "Job `a`: `hold` must be true or false, got 1", "hold"),
        ([A | {"after": "b"}], '`after` must be a List of names and job ids, got "b"', "after"),
        ([A | {"after": [["b"]]}], "each a String, got [\"b\"]", "after"),
        ([A | {"env": ["X"]}], 'Job `a`: `env` must be an object, got ["X"]', "env"),
        ([A | {"memory": "much"}], "Job `a`: `memory` must be memory", "memory"),
        ([A | {"time_limit": "soon"}], "Job `a`: `time_limit` must be a time", "time_limit"),
        ([A | {"umask": 22}], "`umask` must be an octal text such as 027, got 22", "umask"),
        ([A | {"tasks": "9-1"}], "Job `a`: Tasks must be ranges", "array"),
        ([A | {"tasks": "0", "entries": [1]}], "Job `a`: `tasks` and `entries` both", "entries"),
        ([A | {"entries": []}], "Job `a`: `entries` has no entry", "entries"),
        ([A | {"command": "a {2}", "entries": [1]}], "Job `a`: `{2}` has no value", "command"),
        ([A | {"after_task": True}], "Job `a`: `after_task` needs the jobs", "after_task"),
        ([], "--from-json f: `jobs` must be a List with a job in it", "jobs"),
    ],
    ids=str,
)  # fmt: skip
def test_a_slip_is_told_by_job_and_field(jobs: list[Any], message: str, field: str) -> None:
    """Before anything is sent, and with what to do next."""
    with pytest.raises(UsageError) as refused:
        planned(*jobs)
    assert message in refused.value.message
    assert refused.value.field == field
    assert refused.value.hint or field == "entries"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "holds no graph of jobs but [1]"),
        ('"x"', 'holds no graph of jobs but "x"'),
        ('{"jobs": [], "default": {}}', "has a field that nobody knows: `default`"),
        ('{"jobs": [{"id": "a", "command": "a"}], "defaults": {"id": "b"}}', "nobody knows: `id`"),
        ('{"jobs": [{"id": "a", "command": "a"}], "defaults": []}', "must be an object, got []"),
        ('{"jobs": [{"id": "a", "id": "b", "command": "a"}]}', "an object has `id` twice"),
        ('{"jobs": [', "must hold a JSON list or a graph of jobs"),
        ('{"jobs": [{"id": "a", "command": "a", "cpu": NaN}]}', "NaN is no JSON number"),
    ],
)
def test_what_is_no_graph_is_refused(text: str, message: str) -> None:
    """Whatever was meant, nothing runs by it."""
    with pytest.raises(UsageError) as refused:
        plan_of(parse(text, "--from-json f"), "--from-json f", key=None, base={})
    assert message in refused.value.message
    assert refused.value.hint or "defaults" in refused.value.message


NAMES = st.sampled_from("abcdef")


@given(st.dictionaries(NAMES, st.sets(NAMES, max_size=3), min_size=1))
def test_a_circle_is_refused_and_nothing_else(graph: dict[str, set[str]]) -> None:
    """The circle that is told is one; where none is told the jobs have an order."""
    jobs = [{"id": name, "command": "x", "after": sorted(after)} for name, after in graph.items()]
    plan = planned(*jobs)
    try:
        plan.events()
    except UsageError as error:
        told = error.message.partition("circle: ")[2].replace("`", "").split(" after ")
        assert told[0] == told[-1]
        assert len(told) > 1
        assert all(second in graph[first] for first, second in pairwise(told))
    else:
        left = {name: after & graph.keys() for name, after in graph.items()}
        while left:
            free = [name for name, after in left.items() if not after & left.keys()]
            assert free
            left = {name: after for name, after in left.items() if name not in free}


def test_a_circle_by_ids_is_one_too(client: Client, hub: CannedHub) -> None:
    """A job may be named by its id, also within its own graph."""
    with pytest.raises(UsageError, match="circle: `a` after `a`"), client.graph("k") as graph:
        graph.submit("a", key="a", after=["k.a"])
    assert hub.asked == []


def test_a_graph_that_no_batch_takes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a graph is none: it is not sent in parts."""
    spec = submission.batch_spec("x")
    plan = Plan("k")
    for _ in range(3):
        plan.add(None, spec, arrays.ONE, gate={})
    assert len(plan.events()) == 3
    monkeypatch.setattr(plans, "EVENTS_MAX", 2)
    with pytest.raises(UsageError, match="must fit into one batch, 2 events and 64 MiB, got 3"):
        plan.events()
    monkeypatch.setattr(plans, "EVENTS_MAX", 3)
    monkeypatch.setattr(plans, "BYTES_MAX", 100)
    with pytest.raises(UsageError, match="must fit into one batch"):
        plan.events()


def test_every_field_of_a_spec_can_stand_in_a_file() -> None:
    """A parameter of batch_spec that comes later is a field at once."""
    assert {"cpu", "memory", "env", "retry_on", "expand", "throttle"} <= SPEC


def test_a_program_submits_a_graph_by_one_request(client: Client, hub: CannedHub) -> None:
    """Nothing is sent before the end of the block; jobs know their ids at once."""
    with client.graph("k") as graph:
        a = graph.submit(["a"], key="a", cpu=2, memory="1G")
        b = graph.submit("b", after=[a, "elsewhere"], tasks="0-9", name="B")
        graph.submit("c", key="c", after_any=[b], after_fail=["a"], entries=["x"], expand=True)
        graph.submit("d", after=["1", "k.1"])
        assert [job.id for job in graph.jobs.values()] == ["k.a", "k.1", "k.c", "k.3"]
        assert hub.asked == []
    (request,) = hub.asked
    payloads = [event["payload"] for event in request.body["events"]]
    assert [payload["ctx"] for payload in payloads] == [
        {"ns_id": "batch", "job_id": "k.a"},
        {"ns_id": "batch", "job_id": "k.1", "name": "B", "tasks": "0-9",
         "after": ["k.a", "elsewhere"]},
        {"ns_id": "batch", "job_id": "k.c", "tasks": "0", "entries": ["x"],
         "after_any": ["k.1"], "after_fail": ["k.a"]},
        # A job without a name takes nothing from the Hub's job 1.
        {"ns_id": "batch", "job_id": "k.3", "after": ["1", "k.1"]},
    ]  # fmt: skip
    assert (payloads[0]["spec"]["cpu"], payloads[0]["spec"]["memory"]) == (2, 1024)
    assert list(graph.jobs) == ["a", "1", "c", "3"]


def test_a_number_is_taken_once(client: Client) -> None:
    """Whoever calls a job `1` keeps that name."""
    with client.graph("k") as graph:
        graph.submit("a", key="1")
        graph.submit("b")
        graph.submit("c")
    assert [job.id for job in graph.jobs.values()] == ["k.1", "k.2", "k.3"]


def test_a_text_that_is_no_text_is_refused_by_whoever_reads_it(client: Client) -> None:
    """It must not end the measuring of the batch."""
    plan = planned({"id": "a", "command": "a", "name": "\ud800"})
    assert len(plan.events()) == 1


def test_a_block_that_raises_sends_nothing(client: Client, hub: CannedHub) -> None:
    """Half of what a program meant must not run; nor does an empty graph ask for anything."""
    with pytest.raises(KeyError), client.graph() as graph:
        graph.submit("a")
        raise KeyError
    with client.graph():
        pass
    assert hub.asked == []
    with pytest.raises(UsageError, match="its block has ended"):
        graph.submit("b")


def test_a_refusal_names_the_job(client: Client, hub: CannedHub) -> None:
    """The number of an event means nothing to whoever wrote the graph."""
    for refusal, kind in (
        (problem(422, "not_well_formed", "event 1: `spec.cpu` must be Int"), Refused),
        (problem(409, "job_conflict", "event 1: job `k.b` exists"), Conflict),
    ):
        hub.routes["POST", "/ingest"] = refusal
        with pytest.raises(kind, match="Job `b`: "), client.graph("k") as graph:
            graph.submit("a", key="a")
            graph.submit("b", key="b")


def test_a_graph_whose_answer_was_lost_can_be_sent_again(client: Client, hub: CannedHub) -> None:
    """The hint has the key that was made for it."""
    hub.routes["GET", "/jobs/7"] = answer({"cursor": 1, "data": {}})
    client.info("7")
    hub.routes["POST", "/ingest"] = problem(507, "storage_full", "no space")
    impatient = client.again(patience_s=0.0)
    graph = impatient.graph()
    with pytest.raises(NoHub, match="No space") as lost, graph:
        graph.submit("a")
    assert lost.value.hint == (
        f"it may have been recorded; the same graph again is safe with the key {graph.key}"
    )
