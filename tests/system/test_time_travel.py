"""How it was: the past over HTTP, of a Hub that goes on and of one that was killed."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from hpc.access import read_access
from hpc.client import Client
from hpc.errors import NotFound, Refused
from hpc.testing.processes import Cluster

Query = list[tuple[str, str | int | float]]

ASKED: list[tuple[str, Query]] = [("/jobs", []), ("/nodes", []), ("/pull", [("gid", "kernel")])]


def unwaited(answer: Any) -> Any:
    """An answer without why a job waits, which depends on who is connected."""
    if isinstance(answer, dict):
        return {key: unwaited(value) for key, value in answer.items() if key != "why"}
    return [unwaited(value) for value in answer] if isinstance(answer, list) else answer


def noted(client: Client) -> dict[str, Any] | None:
    """What the Hub tells at one cursor, unless it went on between two questions."""
    told = {path: client.read(path, query) for path, query in ASKED}
    return told if len({answer["cursor"] for answer in told.values()}) == 1 else None


def test_the_past_is_as_it_was_told_also_after_a_kill(cluster: Cluster) -> None:
    """Jobs, nodes and facts at each cursor that a reader noted down while jobs ran."""
    cluster.relay()
    client = cluster.client()
    notes: dict[int, dict[str, Any]] = {}
    for command in ("true", "exit 3", "true"):
        job = client.submit(command, memory=16, tasks="0-3")
        job.wait(30)
        for told in (noted(client), noted(client)):
            if told is not None:
                notes[told["/jobs"]["cursor"]] = told
    assert len(notes) > 1
    assert cluster.hub is not None
    cluster.hub.kill()
    cluster.start_hub()
    client = cluster.client()
    for cursor in sorted(notes, reverse=True):
        for path, query in ASKED:
            at = client.read(path, [*query, ("at", cursor)])
            assert unwaited(at) == unwaited(notes[cursor][path])
        then = Client(home=cluster.home, at=cursor)
        assert [row["job_id"] for row in then.jobs()] == [
            row["job_id"] for row in notes[cursor]["/jobs"]["data"]
        ]
        for row in then.jobs():
            assert unwaited(then.info(row["job_id"]))["counts"] == row["counts"]


def test_a_fact_of_the_past_is_explained_by_the_past(cluster: Cluster) -> None:
    """What made it so then, and not what has made it so since."""
    cluster.relay()
    client = cluster.client()
    job = client.submit("true", memory=16)
    job.wait(30)
    place = [("gid", "kernel"), ("table", "jobs"), ("key", job.id), ("column", "phase")]
    now = client.read("/explain", place)
    (finished,) = now["events"]
    assert (finished["kind"], finished["value"], finished["node_id"]) == ("JobFinished", 3, "n1")
    assert finished["id"] == f"{finished['origin']}/{finished['id'].rpartition('/')[2]}"
    then = client.read("/explain", [*place, ("at", finished["seq"] - 1)])
    assert [event["kind"] for event in then["events"]] != ["JobFinished"]
    assert then["cursor"] == finished["seq"] - 1


def test_a_diff_tells_what_a_job_has_brought(cluster: Cluster) -> None:
    """Each cell as it was and as it became, by table and in pages, in either form."""
    cluster.relay()
    client = cluster.client()
    before = client.read("/jobs")["cursor"]
    job = client.submit("true", memory=16, tasks="0-2")
    job.wait(30)
    whole = client.read("/diff", [("from", before), ("table", "jobs")])
    assert (whole["gid"], whole["from"], whole["more"]) == ("kernel", before, False)
    cells = whole["data"]["jobs"][job.id]
    assert cells["succeeded"] == {"from": None, "to": "0-2"}
    assert cells["phase"] == {"from": None, "to": 3}
    query: Query = [("from", before), ("to", whole["to"]), ("limit", 1)]
    pages, cursor = [], before
    while True:
        page = client.read("/diff", [*query, ("cursor", cursor)])
        pages.append(page["data"])
        if not page["more"]:
            break
        cursor = page["cursor"]
    told = [(key, column) for page in pages for key, cells in page.get("jobs", {}).items()
            for column in cells]  # fmt: skip
    assert sorted(told) == sorted((job.id, column) for column in cells)
    last = client.read("/diff", [("from", whole["to"]), ("to", whole["to"])])
    assert last["data"] == {}
    packed = packed_answer(cluster, f"/diff?from={before}&table=jobs&to={whole['to']}")
    assert packed == whole
    assert packed_answer(cluster, "/conflicts")["data"] == []


def packed_answer(cluster: Cluster, target: str) -> Any:
    """An answer in MessagePack."""
    access = read_access(cluster.home)
    connection = http.client.HTTPConnection(urlsplit(access.url).netloc, timeout=30)
    headers = {"Authorization": f"Bearer {access.token}", "Accept": "application/msgpack"}
    connection.request("GET", target, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.headers["Content-Type"] == "application/msgpack"
    return msgspec.msgpack.decode(body)


def test_what_cannot_be_told_of_the_past_is_refused(cluster: Cluster) -> None:
    """With the bounds, and with near names as everywhere."""
    client = cluster.client()
    head = client.read("/jobs")["cursor"]
    for path, query in ASKED:
        with pytest.raises(Refused, match=f"`at` must be a cursor from 0 to {head}"):
            client.read(path, [*query, ("at", head + 1)])
        with pytest.raises(Refused, match="`at`"):
            client.read(path, [*query, ("at", "yesterday")])
    with pytest.raises(Refused, match="`wait` and query `at` exclude each other"):
        client.read("/pull", [("gid", "kernel"), ("at", 1), ("wait", 5)])
    with pytest.raises(Refused, match="`limt` is not known"):
        client.read("/jobs", [("limt", 5), ("at", 1)])
    with pytest.raises(NotFound) as unknown:
        client.read("/pull", [("gid", "kernl"), ("at", 1)])
    assert unknown.value.hint == "did you mean `kernel`?"
    with pytest.raises(NotFound) as unknown:
        client.read("/diff", [("gid", "kernl"), ("from", 1)])
    assert unknown.value.hint == "did you mean `kernel`?"
    with pytest.raises(Refused, match="`from` must be a cursor from 0 to 2"):
        client.read("/diff", [("from", 3), ("to", 2)])
    with pytest.raises(Refused, match="`form` is not known"):
        client.read("/diff", [("from", 1), ("form", 2)])
    with pytest.raises(NotFound, match="Job `7` is not known"):
        Client(home=cluster.home, at=0).info("7")


def test_the_command_line_asks_the_past(cluster: Cluster) -> None:
    """`hpc at`, `hpc diff` and `hpc conflicts` against a real Hub."""
    cluster.relay()
    client = cluster.client()
    first = client.submit("true", memory=16)
    first.wait(30)
    cursor = client.read("/jobs")["cursor"]
    second = client.submit("true", memory=16)
    second.wait(30)

    def hpc(*words: str) -> Any:
        ran = subprocess.run(
            [sys.executable, "-m", "hpc", *words, "--json"],
            env=cluster.env, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return json.loads(ran.stdout)

    now = hpc("job", "list")["data"]
    then = hpc("at", str(cursor), "job", "list")
    assert {row["job_id"] for row in now} == {first.id, second.id}
    assert [row["job_id"] for row in then["data"]] == [first.id]
    assert then["cursor"] == cursor
    assert hpc("at", str(cursor), "node", "list")["data"][0]["node_id"] == "n1"
    found = hpc("at", str(cursor), "explain", "kernel", "jobs", first.id)["data"]
    assert [event["kind"] for event in found["phase"]["events"]] == ["JobFinished"]
    changed = hpc("diff", str(cursor), "now", "--table", "jobs")["data"]["data"]
    assert list(changed["jobs"]) == [second.id]
    assert hpc("conflicts")["data"] == []
