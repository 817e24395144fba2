"""Which jobs a command means: by id, range, name, state or prefix, and `last`."""

from __future__ import annotations

import json

import pytest
from canned_hub import Canned, CannedHub, Request, answer, job

from hpc.cli import selectors, tree


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


@pytest.mark.parametrize("nothing", ["", " ", "id:", "name:"])
def test_a_variable_that_is_not_set_means_no_job(
    nothing: str, hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every id begins with it, and what was meant for one must not end all."""
    for words in (["info", nothing], ["cancel", nothing, "7"]):
        assert tree.main(["job", *words]) == 2
        assert "got '" in capsys.readouterr().err
    assert all(request.method == "GET" for request in hub.asked)


def listed(request: Request) -> Canned:
    """Jobs, chosen by name and state as the Hub does."""
    rows = [
        job("3", "failed", name="fit"),
        job("4"),
        job("5", "failed"),
        job("abc-1", "running"),
        job("6", "queued"),
        job("9", name="queued"),
        job("10", name="3-4"),
    ]
    if (ids := request.query.get("ids")) is not None:
        rows = [row for row in rows if row["job_id"] in ids.split(",")]
    for field in ("state", "name"):
        wanted = request.query.get(field)
        rows = [row for row in rows if wanted in (None, row[field])]
    return answer({"cursor": 9, "data": rows, "next": None})


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("all", ["3", "4", "5", "abc-1", "6", "9", "10"]),
        ("failed", ["3", "5"]),
        ("running", ["abc-1"]),
        ("3-4", ["3", "4"]),
        ("1-2000", ["3", "4", "5", "6", "9", "10"]),
        ("fit", ["3"]),
        ("ab", ["abc-1"]),
        ("7", ["7"]),
        ("queued", ["6"]),
        ("name:queued", ["9"]),
        ("name:3-4", ["10"]),
        ("id:3", ["3"]),
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
    assert [row["job_id"] for row in data] == found[::-1], "the newest first"


@pytest.mark.parametrize("selector", ["", "/", "id:", "id:/", "name:", "a/b", "é"])
@pytest.mark.parametrize("words", ["job info", "job cancel", "job log", "submit --hold --after"])
def test_what_can_be_no_id_is_no_job(
    hub: CannedHub, capsys: pytest.CaptureFixture[str], words: str, selector: str
) -> None:
    """A variable of a script that is empty means no job, and not the last one."""
    hub.routes["GET", "/jobs"] = listed
    hub.routes["GET", "/jobs/"] = hub.routes["GET", "/jobs//"] = answer({"data": [job("3")]})
    command = ["--", "true"] if words.startswith("submit") else []
    is_empty = selector in ("", "id:", "name:")
    assert tree.main([*words.split(), selector, *command]) == (2 if is_empty else 4)
    said = "A job must be an id" if is_empty else f"No job matches `{selector}`\n"
    assert f"error: {said}" in capsys.readouterr().err
    assert not [path for path in hub.paths() if path.startswith("POST")]


@pytest.mark.parametrize("verb", ["wait", "cancel", "list"])
def test_a_state_that_no_job_is_in_is_told(
    hub: CannedHub, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    """It is no error: to cancel all that is queued is done where nothing is."""
    hub.routes["GET", "/jobs"] = listed
    assert tree.main(["job", verb, "held"]) == 0
    assert capsys.readouterr().err == "no job is held\n"


def test_one_job_by_a_state_says_how_one_of_that_name_is_meant(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no job is in that state, and where several are."""
    hub.routes["GET", "/jobs"] = listed
    for state, code, text in (
        ("held", 4, "No job is held"),
        ("failed", 2, "`failed` matches 2 jobs: 3, 5"),
    ):
        assert tree.main(["job", "tasks", state]) == code
        said = capsys.readouterr().err
        assert said == f"error: {text}\n\nhint: one of that name is name:{state}\n"


def test_a_name_that_is_another_selector_is_told_at_submit(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any text is a name: it is taken, and how it is reached is said."""
    for flags, said in (
        (
            ["--name", "queued"],
            "`queued` alone means other jobs to hpc; this one by its name: name:queued",
        ),
        (["--key", "3-7"], "`3-7` alone means other jobs to hpc; this one by its key: id:3-7"),
        (["--name", "fit"], None),
    ):
        assert tree.main(["submit", *flags, "--", "true"]) == 0
        notes = [line for line in capsys.readouterr().err.splitlines() if "note" in line]
        assert notes == ([] if said is None else [f"note: {said}"])


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
