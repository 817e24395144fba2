"""What `hpc job info` says that a job asks for."""

from __future__ import annotations

from typing import Any

from hpc.cli import asked
from hpc.submission import batch_spec


def told(info: dict[str, Any]) -> dict[str, object]:
    return {name: value for name, value in asked.fields(info) if value is not None}


def test_what_differs_from_the_default_is_told() -> None:
    """What somebody typed and what they see must be the same."""
    spec = batch_spec(
        "./sim",
        cpu=2,
        memory="4G",
        gpus=1,
        resources={"fpgas": 3},
        env={"PATH": "/bin", "LANG": "C", "LR": "0.1"},
        stdin="in.txt",
        stdout="out.%j",
        stderr="/tmp/err",
        time_limit="10m",
        warn_signal="USR1@60",
        output_limit="10M",
        ulimits={"nofile": 4096},
        umask="027",
        grace=30,
        on_cut_off="stop",
        retries=3,
        retry_on=["oom", 7],
        max_fails=1,
        throttle=5,
        require={"zone": "b", "gpu": "a100"},
        nodes=["n1", "n2", "n3"],
        exclude=["n4"],
        exclusive=True,
        max_per_node=1,
        min_time="30m",
    )
    needs = {"cpus": 2, "memory_mib": 4096, "gpus": 1, "fpgas": 3}
    after = {"after": ["a"], "after_any": ["b", "c"], "after_fail": ["d"], "after_task": True}
    assert told({"ns_id": "batch", "spec": spec, "resources": needs, **after}) == {
        "needs": "2 cpus, 4 GiB, 1 gpu, 3 fpgas, at most 10 min",
        "where": "on relays of gpu=a100, zone=b; on n1, n2 or n3; not on n4; each task has a node "
        "to itself; at most 1 task at a time on a node; where the relay stays 30 min",
        "after": "a has succeeded; b and c have ended; d has failed, task by task",
        "limits": "output 10 MiB, USR1@60 s before the time limit, 30 s of grace, nofile=4096",
        "retries": "3, after oom or exit code 7 only",
        "at a time": "at most 5 tasks",
        "max fails": "at most 1 failed task",
        "cut off": "stops when its relay loses the Hub",
        "variables": "LR",
        "stdin": "in.txt",
        "stdout": "out.%j",
        "stderr": "/tmp/err",
    }


def test_of_a_plain_job_nothing_more_is_told() -> None:
    """The Hub fills in defaults, and the command line passes on where it stands."""
    spec = batch_spec("./sim", env=dict.fromkeys(asked.PASSED_ON, "x"), umask=0o022)
    stored = {**spec, "grace": 5.0, "on_cut_off": "finish"}
    needs = {"cpus": 1, "memory_mib": 1024}
    assert told({"ns_id": "batch", "spec": stored, "resources": needs}) == {
        "needs": "1 cpu, 1 GiB (no limit)"
    }


def test_a_retry_with_more_memory_needs_that() -> None:
    spec = batch_spec("./sim", memory=64)
    info = {"ns_id": "batch", "spec": spec, "resources": {"cpus": 1, "memory_mib": 128}}
    assert told(info) == {"needs": "1 cpu, 128 MiB"}


def test_the_fields_of_another_namespace_mean_what_they_mean_there() -> None:
    """Only what the Hub has made of them is told: it is the same in every namespace."""
    spec = {"nodes": 4, "require": "yes", "retries": "no", "env": [1], "stdout": {"a": 1}}
    info = {"ns_id": "sim", "spec": spec, "resources": {"cpus": 2, "ports": 1}, "after": ["7"]}
    assert told(info) == {"needs": "2 cpus, 1 ports", "after": "7 has succeeded"}


def test_many_variables_are_counted() -> None:
    env = {f"V{number:02}": "x" for number in range(23)}
    shown = told({"ns_id": "batch", "spec": batch_spec("x", env=env)})["variables"]
    assert str(shown).startswith("V00, V01, ")
    assert str(shown).endswith(", V19, and 3 more")
