"""Exit codes, messages and `--json`, against a Hub whose answers are scripted."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from canned_hub import TOKEN, Canned, CannedHub, Request, answer, ended, job, problem

from hpc.cli import selectors, tree
from hpc.cli.submit import own_umask

RECEIPT = answer({"id": "b", "first_seq": 4, "count": 1, "duplicate": False, "jobs": ["7"]})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[CannedHub]:
    """A Hub that this user's commands find."""
    with CannedHub() as serving:
        monkeypatch.setenv("HPC_HOME", str(tmp_path))
        monkeypatch.setenv("HPC_HUB_URL", serving.url)
        monkeypatch.setenv("HPC_TOKEN", TOKEN)
        serving.routes["POST", "/ingest"] = RECEIPT
        serving.routes["GET", "/jobs"] = answer({"cursor": 4, "data": [], "next": None})
        serving.routes["GET", "/jobs/7/log"] = Canned()
        knows(serving, job())
        yield serving


def knows(hub: CannedHub, row: dict[str, Any]) -> None:
    """Let the Hub know a job."""
    hub.routes["GET", f"/jobs/{row['job_id']}"] = answer({"cursor": 4, "data": row})
    hub.routes["GET", "/pull"] = answer(
        {"gid": "kernel", "cursor": 5, "facts": {"jobs": {row["job_id"]: {"phase": row["phase"]}}}}
    )


def sent(hub: CannedHub) -> dict[str, Any]:
    """The payload of the first event that was sent."""
    bodies = [request.body for request in hub.asked if request.path == "/ingest"]
    payload: dict[str, Any] = bodies[0]["events"][0]["payload"]
    return payload


def test_the_last_line_of_submit_is_the_job_id_alone(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """`job=$(hpc submit ...)` works."""
    words = ["submit", "--name", "fit", "--cpu", "2", "--memory", "512M", "--", "python", "fit.py"]
    assert tree.main(words) == 0
    shown = capsys.readouterr()
    assert shown.out == "7\n"
    assert "memory 512 MiB" in shown.err
    payload = sent(hub)
    assert payload["ctx"] == {"ns_id": "batch", "name": "fit"}
    spec = payload["spec"]
    assert (spec["command"], spec["args"], spec["cpu"]) == ("python", ["fit.py"], 2)
    assert (spec["memory"], spec["enforce_memory"]) == (512, True)


@pytest.mark.parametrize("command", ["submit", "run"])
def test_what_a_task_takes_and_where_it_runs_reach_their_fields(
    hub: CannedHub, command: str
) -> None:
    """The same words for both."""
    words = [
        command, "--gpus", "1", "--resource", "fpgas=2", "--require", "zone=b", "--node", "n1,n2",
        "--exclude", "n3", "--exclusive", "--max-per-node", "4", "--min-time", "30m", "--", "true",
    ]  # fmt: skip
    assert tree.main(words) == 0
    spec = sent(hub)["spec"]
    assert (spec["gpus"], spec["resources"], spec["require"]) == (1, {"fpgas": 2}, {"zone": "b"})
    assert (spec["nodes"], spec["exclude"]) == (["n1", "n2"], ["n3"])
    assert (spec["exclusive"], spec["max_per_node"], spec["min_time"]) == (True, 4, 1800)


def test_a_node_is_shown_with_what_it_offers_and_its_labels(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it has nothing of is not spoken of, nor are labels by a Hub that knows none."""
    plain = {
        "node_id": "n0", "state": "up", "resources": {"cpus": 4, "memory_mib": 1024}, "used": {},
    }  # fmt: skip
    rich = {
        **plain,
        "node_id": "n1",
        "resources": {"cpus": 4, "memory_mib": 1024, "gpus": 2, "ports": 3, "fpgas": 4},
        "used": {"gpus": 1, "fpgas": 4},
        "labels": {"zone": "b", "disk": "nvme"},
    }
    hub.routes["GET", "/nodes"] = answer({"cursor": 4, "data": [plain, rich], "next": None})
    hub.routes["GET", "/pull"] = answer({"gid": "monitor", "cursor": 5, "facts": {}})
    assert tree.main(["node", "info", "n1"]) == 0
    shown = capsys.readouterr().out.splitlines()
    lines = {line.split()[0]: line.partition(" ")[2].strip() for line in shown}
    assert lines["gpus"] == "1/2"
    assert lines["resources"] == "fpgas 4/4, ports 0/3"
    assert lines["labels"] == "disk=nvme, zone=b"
    assert tree.main(["node", "info", "n0"]) == 0
    assert not re.search("gpus|resources|labels", capsys.readouterr().out)


def test_flags_after_the_command_are_the_commands(hub: CannedHub) -> None:
    """`hpc submit python fit.py --cpu 3` gives --cpu to fit.py."""
    assert tree.main(["submit", "--cpu", "2", "python", "fit.py", "--cpu", "3", "--json"]) == 0
    assert sent(hub)["spec"]["args"] == ["fit.py", "--cpu", "3", "--json"]
    assert sent(hub)["spec"]["cpu"] == 2


def test_every_flag_of_submit_reaches_its_field(
    hub: CannedHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was typed is what is sent."""
    words = [
        "submit", "--key", "k", "--priority", "-3", "--array", "0-9", "--time-limit", "10m",
        "--grace", "2", "--env", "A=b=c", "--cwd", str(tmp_path), "--stdin", "in.txt",
        "--stdout", "o/%j.%a", "--stderr", "e", "--on-cut-off", "stop", "--batch-id", "mine",
        "--warn-signal", "SIGUSR1@1m", "--output-limit", "10M", "--ulimit", "nofile=64",
        "--ulimit", "core=unlimited", "--", "make all && make check",
    ]  # fmt: skip
    assert tree.main(words) == 0
    assert "at most 10 min, USR1 1 min before, output 10 MiB" in capsys.readouterr().err
    ctx, spec = sent(hub)["ctx"], sent(hub)["spec"]
    assert ctx == {"ns_id": "batch", "job_id": "k", "tasks": "0-9", "priority": -3}
    assert spec["env"]["A"] == "b=c"
    assert hub.asked[0].body["id"] == "mine"
    del spec["env"]
    assert int(spec.pop("umask"), 8) == own_umask()
    assert spec == {
        "command": "make all && make check", "cpu": 1, "memory": 1024, "enforce_memory": False,
        "time_limit": 600.0, "grace": 2.0, "cwd": str(tmp_path),
        "stdin": str(tmp_path / "in.txt"), "stdout": "o/%j.%a", "stderr": "e", "on_cut_off": "stop",
        "warn_signal": "USR1@60", "output_limit": 10 << 20,
        "ulimits": {"nofile": 64, "core": "unlimited"},
    }  # fmt: skip


def test_another_namespace_takes_its_spec_as_json(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """A namespace that this command line has never heard of can be used."""
    hub.routes["POST", "/ingest"] = answer({"id": "b", "first_seq": 9, "count": 1, "jobs": []})
    words = ["submit", "--ns", "hello", "--kind", "Greet", "--spec", '{"who": "x"}']
    assert tree.main(words) == 0
    assert sent(hub) == {"ctx": {"ns_id": "hello"}, "spec": {"who": "x"}}
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("answered", "code"),
    [
        (problem(422, "not_well_formed", "x", errors=[]), 5),
        (problem(409, "job_conflict", "x"), 6),
        (problem(403, "forbidden", "x"), 7),
        (problem(404, "unknown_namespace", "x"), 4),
    ],
)
def test_each_refusal_has_its_exit_code(hub: CannedHub, answered: Canned, code: int) -> None:
    """Scripts branch on it."""
    hub.routes["POST", "/ingest"] = answered
    assert tree.main(["submit", "--", "true"]) == code
    assert tree.main(["run", "--", "true"]) == 125


def test_an_error_is_told_with_a_hint_after_a_blank_line(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """People read it; stdout stays clean."""
    hub.routes["POST", "/ingest"] = problem(404, "x", "Event 0: Namespace `b`", hint="try `a`")
    tree.main(["submit", "--", "true"])
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "error: Namespace `b`\n\nhint: try `a`\n")


def test_with_json_an_error_is_one_object_on_stderr(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Programs read it."""
    knows(hub, job())
    assert tree.main(["job", "info", "nope", "--json"]) == 4
    error = json.loads(capsys.readouterr().err)["error"]
    assert set(error) == {"code", "message", "field", "hint"}
    assert error["code"] == "not_found"


@pytest.mark.parametrize(
    "words",
    [
        ["submit"],
        ["submit", "--memory", "4X", "--", "true"],
        ["submit", "--cpu", "0", "--", "true"],
        ["submit", "--array", "9-1", "--", "true"],
        ["submit", "--key", "12", "--", "true"],
        ["submit", "--spec", "[]"],
        ["submit", "--spec", "{}", "--", "true"],
        ["submit", "--no-such-flag"],
        ["job", "list", "--state", "sleeping"],
        ["job", "log", "--stream", "x"],
        ["job", "cancel"],
        ["hub", "--host", "0.0.0.0"],
        ["hub", "--lease", "0"],
        ["hub", "--port", "70000"],
        ["relay", "--node-id", "a b"],
        ["relay", "--memory", "none"],
        ["monitor", "--interval", "0"],
        ["nonsense"],
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("hub")
def test_a_mistake_in_the_command_line_is_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing was sent, and the message says what is wrong."""
    assert tree.main(words) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_no_hub_is_3(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The likeliest mistake of the first five minutes."""
    monkeypatch.setenv("HPC_HOME", str(tmp_path))
    for name in ("HPC_HUB_URL", "HPC_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    assert tree.main(["job", "list"]) == 3
    assert "hint: start one: hpc hub" in capsys.readouterr().err
    assert tree.main(["run", "--", "true"]) == 125


@pytest.mark.parametrize(("state", "code"), [("succeeded", 0), ("failed", 1), ("cancelled", 1)])
def test_wait_is_1_if_a_job_did_not_succeed(hub: CannedHub, state: str, code: int) -> None:
    """Failed and cancelled alike."""
    knows(hub, job(state=state))
    assert tree.main(["job", "wait", "7"]) == code
    assert tree.main(["submit", "--wait", "--", "true"]) == code


def test_a_wait_that_ends_early_is_124(hub: CannedHub) -> None:
    """As `timeout` has it."""
    knows(hub, job(state="running"))
    assert tree.main(["job", "wait", "7", "--timeout", "50ms"]) == 124


@pytest.mark.parametrize(
    ("row", "code", "words"),
    [
        (ended("succeeded", exit_code=0), 0, None),
        (ended(cause="exit", exit_code=7), 7, "exit code 7"),
        (ended(cause="signal", signal=9), 137, "ended by signal 9 (SIGKILL)"),
        (ended(cause="oom", signal=9), 137, "over its memory limit of 64 MiB"),
        (ended(cause="oom"), 137, "over its memory limit of 64 MiB"),
        (ended(cause="time limit", signal=15), 143, "over its time limit of 1 s"),
        (ended(cause="time limit"), 124, "over its time limit of 1 s"),
        (ended(cause="not found"), 127, "command `x` was not found on n1"),
        (ended(cause="cwd not found"), 125, "does not exist on n1"),
        (ended(cause="refused", detail="no"), 125, "refused by n1 (no)"),
        (ended(cause="lost"), 125, "lost with its relay"),
        (ended("cancelled"), 143, None),
    ],
)
def test_run_exits_with_the_tasks_own_code(
    hub: CannedHub, capsys: pytest.CaptureFixture[str], row: dict[str, Any], code: int, words: str
) -> None:
    """`hpc run` stands where the command stood; 125 is hpc's own."""
    knows(hub, row)
    assert tree.main(["run", "--", "true"]) == code
    assert (words or "") in capsys.readouterr().err
    tree.main(["job", "info", "7"])
    assert (words or "state") in capsys.readouterr().out


def test_a_task_that_was_lost_names_the_relays_of_its_losses(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each once, in order; what was lost before it began is not among them."""
    lost = {**job()["attempts"][0], "state": "lost", "exit_code": None, "cause": "lost"}
    nodes = [("n0", None), ("n2", 5), ("n1", 6), ("n2", 7)]
    attempts = [
        {**lost, "attempt": number, "node_id": node, "started_at": at, "finished_at": None}
        for number, (node, at) in enumerate(nodes, 1)
    ]
    settled = [{"tasks": "0", "state": "failed", "cause": "lost"}]
    knows(hub, job(state="failed", attempts=attempts, settled=settled))
    assert tree.main(["job", "info", "7"]) == 0
    shown = capsys.readouterr().out
    assert "failed: lost with its relay three times while it ran: n2, n1\n" in shown


def test_a_limit_is_named_while_it_is_known(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """A retry with another memory leaves open which of the two an attempt had."""
    row = ended(cause="oom")
    for resources, words in (
        ({"cpus": 1, "memory_mib": 64}, "over its memory limit of 64 MiB"),
        ({"cpus": 1, "memory_mib": 128}, "failed: over its memory limit\n"),
    ):
        knows(hub, {**row, "resources": resources})
        assert tree.main(["job", "info", "7"]) == 0
        shown = capsys.readouterr().out
        assert words in shown
        assert f"1 cpu, {resources['memory_mib']} MiB" in shown


def test_retry_with_memory_says_so(hub: CannedHub) -> None:
    """In MiB, as the Hub books it; without it nothing of it is sent."""
    assert tree.main(["job", "retry", "7", "--memory", "2G"]) == 0
    assert sent(hub)["spec"] == {"resources": {"memory_mib": 2048}}
    assert tree.main(["job", "retry", "7"]) == 0
    assert hub.asked[-2].body["events"][0]["payload"]["spec"] == {}


def test_why_tells_each_node_and_who_is_ahead(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line each; of a job that does not wait only how it is."""
    told = {
        "job_id": "7",
        "why": "behind 3 tasks",
        "ahead": {"higher": 1, "earlier": 2, "more": True},
        "nodes": [{"node_id": "n1", "fits": False, "why": "is drained: hpc node undrain n1"}],
    }
    knows(hub, job(state="queued"))
    hub.routes["GET", "/jobs/7/why"] = answer({"cursor": 4, "data": told})
    assert tree.main(["job", "why", "7"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "job 7: behind 3 tasks",
        "n1: is drained: hpc node undrain n1",
        "ahead: at least 1 task of higher priority, 2 submitted earlier",
    ]
    assert tree.main(["job", "why", "7", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["schema"], shown["data"]) == ("hpc.job.why/1", {**told, "state": "queued"})
    knows(hub, job())
    hub.routes["GET", "/jobs/7/why"] = answer({"cursor": 4, "data": {**told, "why": None}})
    assert tree.main(["job", "why", "7"]) == 0
    assert capsys.readouterr().out == "job 7: succeeded\n"


@pytest.mark.parametrize("verb", ["drain", "undrain", "lost"])
def test_what_is_said_of_nodes_is_one_batch_and_their_state_is_told(
    hub: CannedHub, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    """A node that nobody knows is told before anything is sent."""
    row = {"node_id": "n1", "state": "up", "drained": False, "leases": [{"tasks": "0-2,5"}]}
    left = {**row, "node_id": "n2", "drained": True, "drain_deadline": 0}
    idle = {**row, "node_id": "n3", "state": "left", "leases": []}
    hub.routes["GET", "/nodes"] = answer({"cursor": 4, "data": [row, left, idle], "next": None})
    assert tree.main(["node", verb, "n9"]) == 4
    assert not [request for request in hub.asked if request.path == "/ingest"]
    assert "known: n1, n2, n3" in capsys.readouterr().err

    assert tree.main(["node", verb, "n1", "n2", "n3", "n1", "--reason", "disk"]) == 0
    (body,) = [request.body for request in hub.asked if request.path == "/ingest"]
    kind = {"drain": "NodeDrained", "undrain": "NodeUndrained", "lost": "NodeLost"}[verb]
    payloads = [(event["kind"], event["payload"]) for event in body["events"]]
    spec = {"reason": "disk"}
    assert payloads == [
        (kind, {"ctx": {"node_id": node}, "spec": spec}) for node in ("n1", "n2", "n3")
    ]
    assert capsys.readouterr().err.splitlines() == [
        "node n1 up; runs 4 tasks",
        "node n2 up, drained; runs 4 tasks until 1970-01-01T00:00:00.000Z",
        "node n3 left; runs nothing",
    ]


def test_a_deadline_is_counted_from_now(hub: CannedHub) -> None:
    """And told as a time of day, in ms."""
    row = {"node_id": "n1", "state": "up", "drained": True}
    hub.routes["GET", "/nodes"] = answer({"cursor": 4, "data": [row], "next": None})
    before = time.time_ns() // 1_000_000
    assert tree.main(["node", "drain", "n1", "--deadline", "10m"]) == 0
    deadline = sent(hub)["spec"]["deadline"]
    assert before <= deadline - 600_000 <= time.time_ns() // 1_000_000


def test_run_prints_both_streams_where_they_belong(
    hub: CannedHub, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """A pipe behind `hpc run` gets stdout and nothing else."""
    hub.routes["GET", "/jobs/7/log"] = lambda request: Canned(
        body=b"\x1b[1mout\xff" if request.query["stream"] == "stdout" else b"err\n"
    )
    assert tree.main(["run", "--", "true"]) == 0
    shown = capfdbinary.readouterr()
    assert (shown.out, shown.err) == (b"\x1b[1mout\xff", b"err\n")


def test_a_waiting_job_says_why(hub: CannedHub, capsys: pytest.CaptureFixture[str]) -> None:
    """In a sentence, at once and later."""
    knows(hub, job(state="queued", why="needs 64 cpus, the largest relay has 2"))
    assert tree.main(["submit", "--", "true"]) == 0
    assert "needs 64 cpus" in capsys.readouterr().err
    assert tree.main(["job", "info", "7"]) == 0
    assert "queued: needs 64 cpus, the largest relay has 2" in capsys.readouterr().out


def test_json_has_times_in_rfc_3339_and_memory_in_bytes(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """One envelope everywhere."""
    assert tree.main(["job", "info", "7", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "hpc.job.info/1"
    assert document["data"]["submitted_at"] == "2023-11-14T22:13:20.000Z"
    assert document["data"]["attempts"][0]["finished_at"] == "1970-01-01T00:00:01.250Z"
    assert document["data"]["memory_bytes"] == 64 << 20


def test_events_are_one_object_in_json_up_to_the_last_one_shown(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """What does not follow has the envelope, and its cursor goes on after what was shown."""
    rows = [{"seq": seq, "at": 0, "kind": "Said", "payload": {}} for seq in (4, 5, 6)]

    def served(request: Request) -> Canned:
        after = int(request.query["cursor"])
        return answer({"cursor": 6, "data": [row for row in rows if row["seq"] > after]})

    hub.routes["GET", "/events"] = served
    assert tree.main(["events", "--cursor", "3", "--limit", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "hpc.events/1"
    assert document["cursor"] == 5
    assert [row["seq"] for row in document["data"]] == [4, 5]
    assert document["data"][0]["at"] == "1970-01-01T00:00:00.000Z"
    assert tree.main(["events", "--cursor", "6", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cursor"] == 6


def test_a_wait_that_ran_out_says_the_time_that_was_typed(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not what was left of it for the last job."""
    knows(hub, job(state="running", phase=2))
    assert tree.main(["job", "wait", "7", "--timeout", "0.01"]) == 124
    assert "is not finished after 10 ms" in capsys.readouterr().err


def test_what_comes_from_the_hub_cannot_steer_the_terminal(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job's name is somebody else's text."""
    knows(hub, job(name="\x1b]0;owned\x07\x9b31m evil\r\n\tname"))
    assert tree.main(["job", "info", "7"]) == 0
    out = capsys.readouterr().out
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", out)
    assert "evil" in out


def test_last_is_the_job_that_this_user_submitted_last(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the Hub's newest where that is not known any more."""
    tree.main(["submit", "--", "true"])
    capsys.readouterr()
    assert tree.main(["job", "info", "last", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["job_id"] == "7"
    selectors.remember("gone")
    newest = answer({"cursor": 9, "data": [job("9")], "next": None})
    hub.routes["GET", "/jobs"] = newest
    assert tree.main(["job", "info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["job_id"] == "9"
    assert hub.asked[-1].query == {"order": "desc", "limit": "1"}


def listed(request: Request) -> Canned:
    """Four jobs, chosen by name and state as the Hub does."""
    rows = [job("3", "failed", name="fit"), job("4"), job("5", "failed"), job("abc-1", "running")]
    for field in ("state", "name"):
        wanted = request.query.get(field)
        rows = [row for row in rows if wanted in (None, row[field])]
    return answer({"cursor": 9, "data": rows, "next": None})


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("all", ["3", "4", "5", "abc-1"]),
        ("failed", ["3", "5"]),
        ("running", ["abc-1"]),
        ("3-4", ["3", "4"]),
        ("1-2000", ["3", "4", "5"]),
        ("fit", ["3"]),
        ("ab", ["abc-1"]),
        ("7", ["7"]),
    ],
)
def test_a_selector_means_these_jobs(
    hub: CannedHub, capsys: pytest.CaptureFixture[str], selector: str, found: list[str]
) -> None:
    """States, ranges, names, unique prefixes and ids."""
    hub.routes["GET", "/jobs"] = listed
    for number in ("3", "4"):
        hub.routes["GET", f"/jobs/{number}"] = answer({"cursor": 4, "data": job(number)})
    assert tree.main(["job", "list", selector, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert [row["job_id"] for row in data] == found


def test_what_means_several_jobs_is_refused_where_one_is_wanted(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Never guess which log was meant."""
    hub.routes["GET", "/jobs"] = listed
    assert tree.main(["job", "log", "failed"]) == 2
    assert "matches 2 jobs: 3, 5" in capsys.readouterr().err


def test_a_prefix_of_several_jobs_cancels_none(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """A prefix stands for the one job that it begins; a name or a state may stand for several."""
    rows = [job("fit-1"), job("fit-2")]

    def named(request: Request) -> Canned:
        found = [] if "name" in request.query else rows
        return answer({"cursor": 4, "data": found, "next": None})

    hub.routes["GET", "/jobs"] = named
    assert tree.main(["job", "cancel", "fit"]) == 2
    assert "`fit` matches several jobs: fit-1, fit-2" in capsys.readouterr().err
    assert not [request for request in hub.asked if request.path == "/ingest"]


def test_jobs_are_cancelled_in_one_batch(hub: CannedHub) -> None:
    """All of them or none."""
    hub.routes["GET", "/jobs"] = listed
    for number in ("3", "5"):
        hub.routes["GET", f"/jobs/{number}"] = answer({"cursor": 4, "data": job(number)})
    assert tree.main(["job", "cancel", "failed", "--task", "1-2", "--reason", "why not"]) == 0
    (body,) = [request.body for request in hub.asked if request.path == "/ingest"]
    assert [event["payload"]["ctx"]["job_id"] for event in body["events"]] == ["3", "5"]
    assert body["events"][0] == {
        "kind": "CancelJob",
        "payload": {
            "ctx": {"ns_id": "batch", "job_id": "3", "tasks": "1-2"},
            "spec": {"reason": "why not"},
        },
    }


@pytest.mark.parametrize(
    ("noun", "document", "request_sent"),
    [
        (
            "ns",
            {"ns_id": "h", "spec": {"schema": {}}},
            {"type": "RegisterNamespace", "ns_id": "h", "spec": {"schema": {}}},
        ),
        (
            "ns",
            {"ns_id": "h", "schema": {}, "revision": 2},
            {"type": "RegisterNamespace", "ns_id": "h", "spec": {"schema": {}, "revision": 2}},
        ),
        (
            "generator",
            {"gid": "g", "namespaces": ["h"], "rules": []},
            {"type": "RegisterGenerator", "gid": "g", "spec": {"namespaces": ["h"], "rules": []}},
        ),
    ],
)
def test_a_registration_comes_from_a_file(
    hub: CannedHub, tmp_path: Path, noun: str, document: object, request_sent: dict[str, Any]
) -> None:
    """In whichever of its forms it was written."""
    hub.routes["POST", "/control"] = answer({"ns_id": "h", "version": 1, "duplicate": False})
    path = tmp_path / "file.json"
    path.write_text(json.dumps(document))
    assert tree.main([noun, "register", str(path)]) == 0
    assert tree.main([noun, "register", str(path), "--replace", "1"]) == 0
    assert hub.asked[0].body == request_sent
    assert hub.asked[1].body == request_sent | {"replace": 1}
    path.write_text('{"id": 1}')
    assert tree.main([noun, "register", str(path)]) == 2


def test_a_registration_without_its_file_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And not that it is no JSON."""
    path = tmp_path / "absent.json"
    assert tree.main(["ns", "register", str(path)]) == 2
    assert capsys.readouterr().err.startswith(
        f"error: {path} cannot be read: No such file or directory\n"
    )


def events_sent(hub: CannedHub) -> list[dict[str, Any]]:
    """The payloads of all events of the one batch that was sent."""
    (body,) = (request.body for request in hub.asked if request.path == "/ingest")
    return [event["payload"] for event in body["events"]]


AB = [":::", "a", "b"]
TWO = {"tasks": "0-1", "entries": [["a", "c"], ["b", "c"]]}
LINES = {"tasks": "0-1", "entries": ["a b", ""]}
LIST = {"tasks": "0-1", "entries": [1, {"a": 2}]}


@pytest.mark.parametrize(
    ("words", "ctx", "command"),
    [
        (["--array", "0-9:4", "--", "x"], {"tasks": "0,4,8"}, ("x", [], None)),
        (["--", "x", "{}", *AB], {"tasks": "0-1", "entries": ["a", "b"]}, ("x", ["{}"], True)),
        (["--", "x", ":::", "a"], {"tasks": "0", "entries": ["a"]}, ("x", ["{}"], True)),
        (["--", "x -v", ":::", "a"], {"tasks": "0", "entries": ["a"]}, ("x -v {}", None, True)),
        (["--", "x", "{2}", *AB, ":::", "c"], TWO, ("x", ["{2}"], True)),
        (["--each-line", "lines", "--", "x"], LINES, ("x", [], None)),
        (["--each-line", "lines", "--", "x {}"], LINES, ("x {}", None, True)),
        (["--from-json", "list", "--", "x"], LIST, ("x", [], None)),
    ],
)
def test_tasks_are_sent_as_one_job(
    hub: CannedHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    ctx: dict[str, Any],
    command: tuple[str, list[str] | None, bool | None],
) -> None:
    """However they were named; the spec is one, and the number of tasks is told."""
    monkeypatch.chdir(tmp_path)
    Path("lines").write_text("a b\n\n")
    Path("list").write_text('[1, {"a": 2}]')
    assert tree.main(["submit", *words]) == 0
    (payload,) = events_sent(hub)
    assert payload["ctx"] == {"ns_id": "batch", **ctx}
    spec = payload["spec"]
    assert (spec["command"], spec.get("args"), spec.get("expand")) == command
    count = len(ctx.get("entries") or ctx["tasks"].split(","))
    assert f"job 7 submitted ({count} task{'s' if count > 1 else ''}); " in capsys.readouterr().err


def test_lines_can_come_from_stdin(hub: CannedHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ls | hpc submit --each-line - -- gzip {}`."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("ä\nb".encode())))
    assert tree.main(["submit", "--each-line", "-", "--", "gzip", "{}"]) == 0
    assert sent(hub)["ctx"]["entries"] == ["ä", "b"]


def test_a_list_that_needs_several_events_has_an_id_of_its_own(
    hub: CannedHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of it is one batch, and where no answer comes the repeat is safe by its key."""
    (tmp_path / "lines").write_text("".join(f"{n}{'x' * 100}\n" for n in range(20_000)))
    words = ["submit", "--each-line", str(tmp_path / "lines"), "--", "x", "{}"]
    assert tree.main([*words]) == 0
    payloads = events_sent(hub)
    assert len(payloads) > 1
    (job_id,) = {payload["ctx"]["job_id"] for payload in payloads}
    assert sum(len(payload["ctx"]["entries"]) for payload in payloads) == 20_000
    assert "(20,000 tasks)" in capsys.readouterr().err

    hub.routes["POST", "/ingest"] = [None]
    assert tree.main([*words[:1], "--key", "mine", *words[1:]]) == 3
    assert "the same again is safe with --key mine" in capsys.readouterr().err
    assert job_id != "mine"
    assert tree.main([*words[:1], "--batch-id", "b/1", *words[1:]]) == 2


MISTAKES = [
    (
        ["--each-line", "empty", "--", "x", "{}"],
        "error: --each-line empty has no entry, and a job needs a task\n\n"
        "hint: give at least one\n",
    ),
    (
        ["--each-line", "nowhere", "--", "x", "{}"],
        "error: --each-line nowhere cannot be read: No such file or directory\n",
    ),
    (
        ["--each-line", "latin", "--", "x", "{}"],
        "error: --each-line latin must be UTF-8, got byte 0xfc in line 2\n\n"
        "hint: bring it to UTF-8 first: iconv -f latin1 -t utf-8\n",
    ),
    (
        ["--array", "9-0", "--", "x"],
        "error: Tasks must be ranges such as 0-99, 0-99:2 or 1,4-7, got '9-0'\n\n"
        "hint: the first number of a range is the lesser one\n",
    ),
    (
        ["--array", "0-99%0", "--", "x"],
        "error: Tasks must be ranges such as 0-99, 0-99:2 or 1,4-7, got '0-99%0'\n\n"
        "hint: behind % stands how many tasks run at a time: --array 0-99%5\n",
    ),
    (
        ["--", "x", "{}", ":::"],
        "error: `:::` must have values behind it, got none\n\n"
        "hint: hpc submit -- gzip {} ::: a.txt b.txt\n",
    ),
    (
        ["--", "x", "{2}", ":::", "a", "b"],
        "error: `{2}` has no value: entry 1 has 1 value\n\n"
        "hint: as many lists as that, or `\\{2}` for these signs as they stand\n",
    ),
    (
        ["--array", "0-9", "--", "echo", "{}"],
        "error: `{}` stands for a task's entry, and --array gives its tasks none\n\n"
        "hint: the number is $HPC_TASK_ID; `\\{}` is these signs as they stand; "
        "entries: hpc submit --each-line FILE -- CMD {}\n",
    ),
    (
        ["--array", "0-20000000", "--", "x"],
        "error: Tasks must be ranges such as 0-99, 0-99:2 or 1,4-7, got '0-20000000'\n\n"
        "hint: the greatest number is 9999999\n",
    ),
    (
        ["--", "x", *(":::", *map(str, range(60))) * 4],
        "error: `:::` makes 12960000 tasks, a job has at most 10000000\n\n"
        "hint: make several jobs of it\n",
    ),
    (
        ["--from-json", "graph", "--", "x"],
        "error: --from-json graph must hold a JSON list, got an object: "
        "a graph of jobs has its commands in it\n\n"
        "hint: leave the command away for a graph; "
        'one task for each element: ["a", "b"] or [{"lr": 0.1}, {"lr": 0.2}]\n',
    ),
    (
        ["--from-json", "list"],
        "error: --from-json list holds no graph of jobs but [1]: "
        "the elements of a list are tasks of a command\n\n"
        "hint: hpc submit --from-json FILE -- CMD {}\n",
    ),
    (
        ["--from-json", "graph", "--array", "0-9"],
        "error: --array makes no sense beside a graph of jobs, which is --from-json without a "
        "command\n\nhint: say it in the file, job by job\n",
    ),
    (
        ["--from-json", "graph", "--batch-id", "x"],
        "error: --batch-id makes no sense beside a graph of jobs, which is --from-json without a "
        "command\n\nhint: the same graph again is safe with the same --key\n",
    ),
    (
        ["--array", "0-1", "--", "x", ":::", "a"],
        "error: --array and `:::` both say which tasks there are\n\n"
        "hint: give one of them; several lists: hpc submit -- CMD {1} {2} ::: a b ::: c d\n",
    ),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=lambda each: str(each)[:40])
def test_mistakes_about_tasks_say_what_to_type(
    hub: CannedHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    """To the letter: what failed, what came, what to do; and nothing was sent."""
    monkeypatch.chdir(tmp_path)
    Path("empty").write_text("")
    Path("latin").write_bytes("a\nü\n".encode("latin1"))
    Path("graph").write_text('{"jobs": []}')
    Path("list").write_text("[1]")
    assert tree.main(["submit", *words]) == 2
    assert capsys.readouterr().err == message
    assert hub.asked == []


def test_options_are_what_the_jobs_of_a_graph_fall_back_on(
    hub: CannedHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was typed is for all of them, but for those that say otherwise."""
    jobs = [{"id": "a", "command": "a"}, {"id": "b", "command": ["b"], "cpu": 1, "after": ["a"]}]
    (tmp_path / "g.json").write_text(json.dumps({"jobs": jobs}))
    words = [
        "submit", "--from-json", str(tmp_path / "g.json"), "--key", "k", "--cpu", "3", "--name",
        "n", "--memory", "1G", "--time-limit", "1m", "--retries", "2", "--retry-on", "oom,3",
        "--cwd", str(tmp_path), "--stdin", "in", "--env", "A=1", "--hold", "--priority", "7",
    ]  # fmt: skip
    assert tree.main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["data"]
    assert told == {"batch_id": "b", "tasks": 2, "jobs": {"a": "k.a", "b": "k.b"}}
    a, b = [event["payload"] for event in hub.asked[0].body["events"]]
    assert a["ctx"] == {
        "ns_id": "batch", "job_id": "k.a", "name": "n", "hold": True, "priority": 7,
    }  # fmt: skip
    assert b["ctx"] == {**a["ctx"], "job_id": "k.b", "after": ["k.a"]}
    assert a["spec"].pop("env")["A"] == "1"
    assert a["spec"] == {
        "command": "a", "cpu": 3, "memory": 1024, "enforce_memory": True, "time_limit": 60.0,
        "retries": 2, "retry_on": ["oom", 3], "cwd": str(tmp_path), "stdin": str(tmp_path / "in"),
        "umask": f"{own_umask():03o}",
    }  # fmt: skip
    assert (b["spec"]["cpu"], b["spec"]["args"]) == (1, [])


def test_the_ids_of_a_graph_are_the_lines_of_stdout(
    hub: CannedHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`hpc job wait $(hpc submit --from-json f)` works, and `last` is the last."""
    text = '{"jobs": [{"id": "b", "command": "b", "after": ["a"]}, {"id": "a", "command": "a"}]}'
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert tree.main(["submit", "--from-json", "-", "--key", "k"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "k.b\nk.a\n"
    assert shown.err == "graph k submitted: 2 jobs, 2 tasks; look at it: hpc job list\n"
    assert json.loads((tmp_path / "last-job.json").read_text()) == {"job_id": "k.a"}


TASK = {
    "task": 4, "state": "failed", "attempt": 2, "node_id": "n1", "exit_code": 7, "signal": None,
    "cause": "exit", "started_at": 1_700_000_000_000, "finished_at": 1_700_000_001_500,
    "duration_s": 1.5, "peak_memory_bytes": 1 << 20, "cpu_seconds": 0.25, "entry": {"lr": 1},
}  # fmt: skip


def test_job_tasks_shows_a_line_for_each(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """What became of each, where, what it used and what it was given; and how to go on."""
    other = {**TASK, "task": 9, "signal": 9, "cause": "signal", "entry": None, "cpu_seconds": None}
    hub.routes["GET", "/jobs/7/tasks"] = answer({"cursor": 4, "data": [TASK, other], "next": None})
    assert tree.main(["job", "tasks", "7", "--state", "failed", "--after", "3"]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == [
        "TASK", "STATE", "ATTEMPT", "NODE", "EXIT", "CAUSE", "STARTED", "TOOK", "MEMORY", "CPU",
        "ENTRY",
    ]  # fmt: skip
    assert re.split(r"  +", first) == [
        "4", "failed", "2", "n1", "7", "exit", "2023-11-14T22:13:20.000Z", "1.5 s", "1 MiB",
        "250 ms", '{"lr": 1}',
    ]  # fmt: skip
    assert "signal 9 (SIGKILL)" in second
    assert hub.asked[-1].query == {"limit": "101", "state": "failed", "after": "3"}

    assert tree.main(["job", "tasks", "7", "--limit", "1", "--state", "failed"]) == 0
    said = capsys.readouterr().err
    assert said == "there are more: hpc job tasks 7 --state failed --after 4 --limit 1\n"

    assert tree.main(["job", "tasks", "7", "--json", "--limit", "0"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["schema"] == "hpc.job.tasks/1"
    assert [row["task"] for row in shown["data"]] == [4, 9]
    assert shown["data"][0]["finished_at"] == "2023-11-14T22:13:21.500Z"
    assert tree.main(["job", "tasks", "7", "--state", "done"]) == 2


def test_a_placeholder_without_a_value_is_pointed_out(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is typed is what runs; but a list was probably forgotten."""
    assert tree.main(["submit", "--", "echo", "{}"]) == 0
    assert sent(hub)["spec"]["args"] == ["{}"]
    assert "expand" not in sent(hub)["spec"]
    assert capsys.readouterr().err.startswith(
        "note: `{}` runs as it is typed, since nothing gives it a value: "
        "hpc submit -- CMD {} ::: a b c\n"
    )
    assert tree.main(["submit", "--", "find", "-exec", "rm", "{}", ";"]) == 0
    assert "note" not in capsys.readouterr().err


def test_each_way_to_fail_counts_its_own_tasks(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tasks that failed for one cause may have left several exit codes."""
    attempts = [
        {"tasks": tasks, "attempt": 1, "node_id": "n1", "state": "failed", "exit_code": code,
         "signal": None, "cause": "exit"}
        for tasks, code in (("1,3-4,9", 1), ("2", 2))
    ]  # fmt: skip
    settled = [{"tasks": "1-4,9", "state": "failed", "cause": "exit"}]
    knows(hub, {**job(), "state": "failed", "phase": 3, "tasks": "0-9", "settled": settled,
                "attempts": attempts})  # fmt: skip
    assert tree.main(["job", "wait", "7"]) == 1
    said = capsys.readouterr()
    assert "4 tasks: exit code 1; 1 task: exit code 2" in said.out
