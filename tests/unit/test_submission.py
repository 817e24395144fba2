"""What was typed is what is sent."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc import submission
from hpc.cli import placement
from hpc.cli.submit import command_spec, job_env
from hpc.errors import UsageError
from hpc.namespaces.batch import BATCH
from hpc.testing.small_hub import SmallHub


def spec_of(*words: str) -> dict[str, object]:
    return command_spec(
        list(words), memory=None, env=[], env_all=False, cwd="/somewhere", stdin=None
    )


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), min_size=2)
)
def test_several_words_are_executed_as_they_are(words: list[str]) -> None:
    """No shell reads an argument that was quoted once already."""
    if words[0].strip():
        spec = spec_of(*words)
        assert [spec["command"], *spec["args"]] == words  # type: ignore[misc]


@pytest.mark.parametrize(
    ("words", "field"), [(["\udcff"], "command"), (["ls", "a", "\udcff"], "args[1]")]
)
def test_an_argument_that_is_no_text_is_named(words: list[str], field: str) -> None:
    """JSON cannot carry it, and a byte offset into a body says nothing to whoever typed it."""
    with pytest.raises(UsageError) as refused:
        spec_of(*words)
    assert refused.value.field == field


@pytest.mark.parametrize("line", ["echo hi", "a|b", "echo $HOME", "x>y", "a;b", "ls *", "a&&b"])
def test_one_word_with_a_blank_or_a_sign_is_a_line_for_the_shell(line: str) -> None:
    """`hpc run 'make && make test'` does what it says."""
    spec = spec_of(line)
    assert spec["command"] == line
    assert "args" not in spec


@pytest.mark.parametrize("word", ["true", "./fit.py", "/bin/echo", "a-b_c.d", "naïve"])
def test_one_plain_word_is_a_program(word: str) -> None:
    """It is executed directly, so that a missing one is told as such."""
    spec = spec_of(word)
    assert (spec["command"], spec["args"]) == (word, [])


def test_what_tasks_take_and_where_they_run_is_sent_where_it_was_said() -> None:
    """A field that an older Hub does not know is left out unless it is meant."""
    plain = submission.batch_spec("x")
    assert not {
        "gpus",
        "resources",
        "require",
        "nodes",
        "exclude",
        "exclusive",
        "max_per_node",
        "min_time",
    } & (plain.keys())
    said = {
        "gpus": 0,
        "resources": {"fpgas": 2},
        "require": {"zone": "b"},
        "nodes": ["n1"],
        "exclude": ["n2", "n3"],
        "exclusive": True,
        "max_per_node": 3,
        "min_time": 90.0,
    }
    assert submission.batch_spec("x", **said) == {**plain, **said}
    assert submission.batch_spec("x", min_time="30m") == {**plain, "min_time": 1800.0}


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"gpus": -1}, "gpus"),
        ({"resources": {"gpus": 1}}, "resource"),
        ({"resources": {"fpgas": 0}}, "resource"),
        ({"resources": {"a b": 1}}, "resource"),
        ({"require": {"zone": "é" * 200}}, "require"),
        ({"require": {"zone": 3}}, "require"),
        ({"nodes": "n1"}, "nodes"),
        ({"exclude": ["a/b"]}, "exclude"),
        ({"max_per_node": 0}, "max_per_node"),
    ],
)
def test_what_no_task_can_ask_for_is_refused(said: dict[str, Any], field: str) -> None:
    """Before it is sent, by the name that was typed."""
    with pytest.raises(UsageError) as refused:
        submission.batch_spec("x", **said)
    assert refused.value.field == field


def test_flags_of_placement_become_fields() -> None:
    """Nodes may be given one by one or with commas, as jobs may in `--after`."""
    typed = placement.fields(
        gpus=2,
        resource=["fpgas=1", "licences=3"],
        require=["zone=b"],
        node=["n1,n2", "n3"],
        exclude=None,
        exclusive=False,
        max_per_node=None,
        min_time=None,
    )
    spec = submission.batch_spec("x", **typed)
    assert spec["gpus"] == 2
    assert spec["resources"] == {"fpgas": 1, "licences": 3}
    assert spec["require"] == {"zone": "b"}
    assert spec["nodes"] == ["n1", "n2", "n3"]
    assert not {"exclude", "exclusive", "max_per_node"} & spec.keys()


def test_a_list_is_never_a_line_in_python() -> None:
    """`Client.submit(["a b"])` starts a program whose name has a blank."""
    assert submission.command_of(["a b"]) == {"command": "a b", "args": []}
    assert submission.command_of("a b") == {"command": "a b"}


@pytest.mark.parametrize("command", ["", "  ", [], [""]])
def test_no_command_is_refused_here(command: str | list[str]) -> None:
    """It would fail on a relay, minutes later."""
    with pytest.raises(UsageError):
        submission.command_of(command)


def test_memory_is_enforced_only_where_it_was_said() -> None:
    """Without it 1 GiB is reserved, and a job that takes more goes on."""
    assert submission.batch_spec("x")["memory"] == 1024
    assert submission.batch_spec("x")["enforce_memory"] is False
    assert submission.batch_spec("x", memory="2G") | {"memory": 2048, "enforce_memory": True} == (
        submission.batch_spec("x", memory=2048)
    )


def test_a_job_gets_this_path_and_nothing_secret() -> None:
    """What a shell needs to find programs comes along; a token never does."""
    here = {"PATH": "/bin", "LANG": "C", "SECRET": "s", "HPC_TOKEN": "t", "HPC_JOB_ID": "parent"}
    few = job_env(["A=1", "SECRET"], env_all=False, environ=here)
    assert few == {
        "PATH": "/bin", "LANG": "C", "A": "1", "SECRET": "s", "HPC_PARENT_JOB_ID": "parent",
    }  # fmt: skip
    assert "HPC_TOKEN" not in job_env([], env_all=True, environ=here)
    assert job_env([], env_all=True, environ=here)["SECRET"] == "s"


@pytest.mark.parametrize("word", ["", "=x", "NOT_SET"])
def test_a_variable_without_a_value_is_refused(word: str) -> None:
    """An empty variable would be found out by the job, if at all."""
    with pytest.raises(UsageError):
        job_env([word], env_all=False, environ={})


def tasks_asked(tasks: str) -> str:
    event = submission.request_event("CancelJob", "batch", "j", tasks=tasks)
    return str(event["payload"]["ctx"]["tasks"])


@pytest.mark.parametrize(
    ("tasks", "told"),
    [("0-99", "0-99"), ("1, 4-7", "1,4-7"), ("5-5", "5"), ("0-9:4,20", "0,4,8,20")],
)
def test_a_request_takes_tasks_as_a_submit_does(tasks: str, told: str) -> None:
    """What was submitted by `--array 0-99:2` is cancelled by the same words."""
    assert tasks_asked(tasks) == told


@pytest.mark.parametrize("tasks", ["", "9-1", "a", "0-", "-3", "1..3", "0-10000000", "0-999999:2"])
def test_what_is_no_range_is_refused(tasks: str) -> None:
    """An array that was read otherwise than it was meant costs a day."""
    with pytest.raises(UsageError) as refused:
        tasks_asked(tasks)
    assert refused.value.field == "array"


@pytest.mark.parametrize("key", ["", "7", "a b", "-x", "x" * 129, "../x"])
def test_a_key_that_cannot_be_a_job_id_is_refused(key: str) -> None:
    """Ids of digits only are the Hub's."""
    with pytest.raises(UsageError) as refused:
        submission.checked_key(key)
    assert refused.value.field == "key"


def test_ids_are_ids_and_never_the_same() -> None:
    """A job's id is known before anything is sent."""
    ids = [submission.new_job_id() for _ in range(1000)]
    assert len(set(ids)) == len(ids)
    assert all(submission.checked_key(one) == one for one in ids)
    assert uuid.UUID(submission.new_batch_id()).version == 4


@pytest.mark.parametrize("field", ["nodes", "exclude"])
def test_as_many_nodes_are_taken_as_the_schema_says(field: str) -> None:
    """`/schema` tells the bound of `batch`, the Hub has one of its own for all namespaces."""
    hub = SmallHub()
    hub.register(BATCH.namespace)
    fields = BATCH.namespace.schema["SubmitJob"]
    (most,) = (one.max for one in fields if one.key == field)
    assert isinstance(most, int)
    for count, status in ((most + 1, 422), (most, 200)):
        spec = submission.batch_spec(["true"]) | {field: [f"n{n}" for n in range(count)]}
        ctx = {"ns_id": "batch", "job_id": "j", "tasks": "0"}
        event = {"kind": "SubmitJob", "payload": {"ctx": ctx, "spec": spec}}
        assert hub.offer(f"b{count}", [event]).status == status
