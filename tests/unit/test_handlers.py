"""Handlers: what a submit becomes, and what is refused before anything starts."""

from __future__ import annotations

import signal
import sys
from typing import Any

import msgspec
import pytest

from hpc.domain import Grant, NodeOffer, Work
from hpc.errors import Refused
from hpc.handlers.calls import CallsHandler
from hpc.handlers.none import NoneHandler
from hpc.handlers.process import ProcessHandler
from hpc.protocols import Handler

OFFER = NodeOffer(node_id="n1", host="h", epoch=4, resources={"cpus": 2, "memory_mib": 100})
RELAY_ENV = {
    "PATH": "/bin",
    "HPC_TOKEN": "secret",
    "HPC_HOME": "/state",
    "HPC_JOB_ID": "outer",
    "HPC_DEMO_TEXT": "hi",
}


def grant(spec: dict[str, Any], **fields: Any) -> Grant:
    given: dict[str, Any] = {
        "job_id": "j1",
        "ns_id": "batch",
        "handler_type": "process",
        "attempt": 2,
        "tasks": "0-2",
        "resources": {"cpus": 2, "memory_mib": 64},
    }
    return Grant(spec=spec, **{**given, **fields})


def planned(spec: dict[str, Any], **fields: Any) -> Work:
    return ProcessHandler(RELAY_ENV).work(grant(spec, **fields), OFFER)


def test_a_command_alone_runs_by_the_shell() -> None:
    """Pipes and variables mean what they say."""
    work = planned({"command": "echo $X | tr a b"})
    assert work.argv == ["/bin/sh", "-c", "echo $X | tr a b"]
    assert (work.job_id, work.ns_id, work.attempt, work.epoch) == ("j1", "batch", 2, 4)
    assert (work.tasks, work.kind, work.cpus, work.cwd) == ("0-2", "process", 2, None)
    assert (work.time_limit_s, work.grace_s, work.on_cut_off) == (None, 5.0, "finish")


@pytest.mark.parametrize(("args", "tail"), [([], []), (["a b", "$X", 3], ["a b", "$X", "3"])])
def test_a_command_with_arguments_runs_as_typed(args: list[Any], tail: list[str]) -> None:
    """No shell looks at it, also where the list is empty."""
    assert planned({"command": "./sim", "args": args}).argv == ["./sim", *tail]


def test_the_environment_is_the_relays_without_what_is_ours() -> None:
    """No job sees the token; `hpc submit` inside a task still finds its Hub by HPC_HOME."""
    work = planned({"command": "env", "env": {"PATH": "/opt", "N": 3, "HPC_TOKEN": "x"}})
    assert work.env == {"PATH": "/opt", "HPC_HOME": "/state", "HPC_DEMO_TEXT": "hi", "N": "3"}


def test_a_variable_that_is_no_text_is_left_out() -> None:
    """One odd byte in the relay's own environment must not keep its jobs from running."""
    handler = ProcessHandler({"GOOD": "ü", "BAD": "\udcff", "\udcfe": "x"})
    assert handler.work(grant({"command": "true"}), OFFER).env == {"GOOD": "ü"}


@pytest.mark.parametrize(
    ("enforce", "limit"),
    [({}, 64), ({"enforce_memory": True}, 64), ({"enforce_memory": False}, None)],
)
def test_memory_is_reserved_and_enforced_unless_told_otherwise(
    enforce: dict[str, Any], limit: int | None
) -> None:
    """A user who gave no --memory must not be killed for a default."""
    work = planned({"command": "x", "memory": 64, **enforce})
    assert (work.memory_mib, work.reserve_mib) == (limit, 64)


def test_files_limits_and_the_fence_are_passed_on() -> None:
    """The supervisor applies them; the handler only says so."""
    work = planned(
        {
            "command": "x",
            "cwd": "/tmp",
            "stdin": "in",
            "stdout": "%j.%a.out",
            "stderr": "/err",
            "time_limit": 60,
            "grace": 1.5,
            "on_cut_off": "stop",
            "field_of_another_namespace": 1,
        }
    )
    assert (work.cwd, work.stdin, work.stdout, work.stderr) == ("/tmp", "in", "%j.%a.out", "/err")
    assert (work.time_limit_s, work.grace_s, work.on_cut_off) == (60.0, 1.5, "stop")


def test_what_a_task_has_beside_cores_and_memory_is_passed_on() -> None:
    """By the names of the grant; of an exclusive job these are the whole node."""
    taken = {"cpus": 8, "memory_mib": 900, "gpus": 2, "fpgas": 1}
    work = planned({"command": "x", "memory": 64, "exclusive": True}, resources=taken)
    assert (work.cpus, work.reserve_mib, work.resources) == (8, 900, {"gpus": 2, "fpgas": 1})
    assert work.memory_mib == 64  # what was said of it is still a limit
    asked = {"command": "x", "memory": 64, "exclusive": True}
    work = planned(asked, resources=taken, needs={"cpus": 1, "memory_mib": 128})
    assert (work.memory_mib, work.reserve_mib) == (128, 900)  # a retry has asked for more
    # What a retry gave is the limit where there is one, and no limit where there was none.
    now = {"cpus": 1, "memory_mib": 256}
    assert planned({"command": "x", "memory": 64}, resources=now).memory_mib == 256
    free = planned({"command": "x", "memory": 64, "enforce_memory": False}, resources=now)
    assert (free.memory_mib, free.reserve_mib) == (None, 256)
    assert planned({"command": "x"}).resources == {}
    calls = CallsHandler({}).work(grant({"memory": 64}, resources=taken), OFFER)
    assert calls.resources == {"gpus": 2, "fpgas": 1}


@pytest.mark.parametrize("kind", [ProcessHandler, CallsHandler])
def test_which_gpus_the_relay_may_use_is_told_no_task(
    kind: type[ProcessHandler] | type[CallsHandler],
) -> None:
    """Each is told its own by the supervisor; without GPUs on offer nothing is touched."""
    handler = kind({"CUDA_VISIBLE_DEVICES": "2,3", "HPC_GPUS": "9"})
    with_gpus = msgspec.structs.replace(OFFER, resources={**OFFER.resources, "gpus": 2})
    own = {"CUDA_VISIBLE_DEVICES": "7"}
    spec = {"command": "x", "memory": 64}
    assert handler.work(grant(spec), OFFER).env["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert "CUDA_VISIBLE_DEVICES" not in handler.work(grant(spec), with_gpus).env
    env = handler.work(grant({**spec, "env": own}), with_gpus).env
    assert env["CUDA_VISIBLE_DEVICES"] == "7"


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"command": 7},
        {"command": "a\0b"},
        {"command": "x", "args": ["a\0b"]},
        {"command": "x", "args": [["nested"]]},
        {"command": "x", "cwd": "relative"},
        {"command": "x", "env": {"A=B": "1"}},
        {"command": "x", "env": {"": "1"}},
        {"command": "x", "env": {"A": "\0"}},
        {"command": "x", "on_cut_off": "maybe"},
    ],
)
def test_what_no_process_can_be_made_of_is_refused(spec: dict[str, Any]) -> None:
    """The job ends with the reason instead of an error of the kernel's."""
    with pytest.raises(Refused):
        planned(spec)


def test_each_task_gets_the_entry_of_its_number() -> None:
    """A grant as the Hub sends it: entries by task number, and none left in `ctx`."""
    entries = {"2": "c", "7": 7, "10": {"x": 1}}
    answered = {
        "job_id": "j1",
        "ns_id": "batch",
        "handler_type": "process",
        "attempt": 1,
        "tasks": "2,7,10",
        "ctx": {"ns_id": "batch", "job_id": "j1"},
        "spec": {"command": "x"},
        "resources": {"cpus": 1, "memory_mib": 64},
        "entries": entries,
    }
    decoded = msgspec.json.decode(msgspec.json.encode(answered), type=Grant)
    assert ProcessHandler({}).work(decoded, OFFER).entries == entries
    assert planned({"command": "x"}).entries is None


def test_none_holds_its_resources_and_runs_nothing() -> None:
    """It measures everything but processes."""
    work = NoneHandler().work(grant({}), OFFER)
    assert (work.kind, work.argv, work.cpus, work.reserve_mib, work.epoch) == ("none", [], 2, 64, 4)


def test_both_are_handlers() -> None:
    """The seam as the relay sees it."""
    handlers: list[Handler] = [NoneHandler(), ProcessHandler({})]
    assert len(handlers) == 2


def test_one_spec_runs_with_each_tasks_own_entry() -> None:
    """What tasks share is told once; the program itself may be what differs."""
    spec = {"command": "cp", "args": ["-v", "{}", "{.}.bak"], "expand": True}
    work = planned(spec, tasks="1,4-5", entries={"1": "a.x", "4": "b y", "5": "a.x"})
    assert work.argv == ["cp", "-v"]
    assert work.args == {"1": ["a.x", "a.bak"], "4": ["b y", "b y.bak"], "5": ["a.x", "a.bak"]}

    work = planned({"command": "{}", "args": ["x"], "expand": True}, entries={"0": "/a", "1": "/b"})
    assert work.argv == []
    assert work.args == {"0": ["/a", "x"], "1": ["/b", "x"], "2": ["", "x"]}


def test_a_line_is_one_for_all_tasks() -> None:
    """The values follow it, so that none is ever read as a part of it."""
    spec = {"command": "gzip -c {} > {/}.gz", "expand": True}
    work = planned(spec, tasks="0-1", entries={"0": "d/a", "1": "; reboot"})
    assert work.argv == ["/bin/sh", "-c", 'gzip -c "${1}" > "${2}".gz', "/bin/sh"]
    assert work.args == {"0": ["d/a", "a"], "1": ["; reboot", "; reboot"]}


def test_only_a_job_that_says_so_is_expanded() -> None:
    """`find -exec rm {} +` with entries runs as it was typed."""
    spec = {"command": "find", "args": [".", "-exec", "rm", "{}", "+"]}
    work = planned(spec, entries={"0": "a", "1": "b", "2": "c"})
    assert (work.argv[-2:], work.args) == (["{}", "+"], None)
    assert planned({**spec, "expand": True}).args is None


def test_a_value_that_no_program_takes_is_refused() -> None:
    """The message names the task."""
    spec = {"command": "echo", "args": ["{1}"], "expand": True}
    with pytest.raises(Refused, match="command of task 1"):
        planned(spec, tasks="0-1", entries={"0": ["a"], "1": ["a\0b"]})


def worker(spec: dict[str, Any], **fields: Any) -> Work:
    return CallsHandler(RELAY_ENV).work(grant(spec, ns_id="calls", **fields), OFFER)


def test_a_worker_is_a_process_of_the_relays_python() -> None:
    """Whoever can run the relay can run its workers: nothing else has to be installed."""
    work = worker({"memory": 64, "cwd": "/data", "env": {"N": 3, "HPC_TOKEN": "x"}, "path": ["/a"]})
    assert work.argv == [sys.executable, "-P", "-m", "hpc.calls.worker"]
    assert (work.kind, work.cwd, work.cpus, work.memory_mib) == ("process", "/data", 2, 64)
    assert work.env["N"] == "3"
    assert work.env["HPC_HOME"] == "/state"
    assert not {"HPC_TOKEN", "HPC_TASK_ID"} & work.env.keys()


def test_a_worker_runs_in_another_python_where_its_executor_says_so() -> None:
    """Its modules may be in an environment of their own."""
    work = worker({"memory": 64, "python": "/env/bin/python", "enforce_memory": False})
    assert (work.argv[0], work.memory_mib, work.reserve_mib) == ("/env/bin/python", None, 64)


def test_a_spec_of_no_worker_is_refused_by_its_field() -> None:
    """Another Hub's namespace of the same name may look different."""
    with pytest.raises(Refused, match="memory"):
        worker({"python": "/env/bin/python"})


def test_a_worker_is_told_nothing_about_a_task_around_its_relay() -> None:
    """A relay may be a job's task itself; the supervisor says what is the worker's."""
    ours = {"HPC_JOB_ID", "HPC_TASK_ID", "HPC_ATTEMPT", "HPC_NODE_ID", "HPC_CPUS"}
    ours |= {"HPC_TOKEN", "HPC_MEMORY_MIB", "HPC_ENTRY"}
    handler = CallsHandler(dict.fromkeys(ours, "outer") | {"PATH": "/bin"})
    assert handler.work(grant({"memory": 64}, ns_id="calls"), OFFER).env == {"PATH": "/bin"}


@pytest.mark.parametrize(
    "odd",
    [
        {"cwd": "relative"},
        {"cwd": "/a\0b"},
        {"python": "/a\0b"},
        {"env": {"A": "a\0b"}},
        {"env": {"A=B": "1"}},
    ],
    ids=str,
)
def test_what_no_worker_can_be_made_of_is_refused(odd: dict[str, Any]) -> None:
    """As for any process: with the reason, before the supervisor is asked."""
    with pytest.raises(Refused):
        worker({"memory": 64, **odd})


def test_limits_become_what_the_kernel_takes() -> None:
    """Numbers of signals and masks are those of the machine that executes."""
    spec = {
        "command": "true",
        "time_limit": 600.0,
        "warn_signal": "USR1@60",
        "output_limit": 4096,
        "umask": "027",
        "ulimits": {"nofile": 64, "core": "unlimited"},
    }
    work = planned(spec)
    assert (work.warn_signal, work.warn_s) == (signal.SIGUSR1, 60.0)
    assert (work.output_limit, work.umask) == (4096, 0o27)
    assert work.ulimits == {"nofile": 64, "core": None}
    bare = planned({"command": "true"})
    assert (bare.warn_signal, bare.output_limit, bare.umask, bare.ulimits) == (None, None, None, {})


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"warn_signal": "USR1@60"}, "warn_signal"),
        ({"warn_signal": "KILL@6", "time_limit": 9.0}, "warn_signal"),
        ({"umask": "9"}, "umask"),
        ({"ulimits": {"rss": 1}}, "ulimits.rss"),
    ],
)
def test_limits_that_are_none_are_refused_by_their_field(
    fields: dict[str, Any], field: str
) -> None:
    """Whoever speaks HTTP has no command line that would have said so."""
    with pytest.raises(Refused) as refused:
        planned({"command": "true", **fields})
    assert refused.value.field == field
