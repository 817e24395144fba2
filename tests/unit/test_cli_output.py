"""How things look: both streams, the one envelope of `--json`, nothing that steers a terminal."""

from __future__ import annotations

import json
import re

import pytest
from canned_hub import Canned, CannedHub, Request, answer, job, knows

from hpc.cli import tree


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


def test_an_event_is_one_line_whatever_a_name_in_it_holds(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name with a newline could else look like an event that nobody has sent."""
    forged = "x\n       9  1970-01-01T00:00:00.000Z  JobFinished\u2028y"
    payload = {"ctx": {"job_id": "7", "name": forged}, "spec": {}}
    row = {"seq": 4, "at": 0, "kind": "SubmitJob", "payload": payload}
    hub.routes["GET", "/events"] = lambda request: answer(
        {"cursor": 4, "data": [row] if int(request.query["cursor"]) < 4 else []}
    )
    assert tree.main(["events", "--cursor", "3"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("       4  1970-01-01T00:00:00.000Z  SubmitJob")


def test_fault_63_what_comes_from_the_hub_cannot_steer_the_terminal(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job's name is somebody else's text."""
    knows(hub, job(name="\x1b]0;owned\x07\x9b31m evil\r\n\tna\u202eme\u2066\u2028"))
    for more in ([], ["--json"]):
        assert tree.main(["job", "info", "7", *more]) == 0
        out = capsys.readouterr().out
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", out)
        assert "evil" in out
    assert "\x9b31m evil" in json.loads(out)["data"]["name"], "escaped, and not left out"
