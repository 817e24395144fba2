"""Many jobs at once: what is asked of the Hub is bounded by the work, not by a request for each."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from canned_hub import TOKEN, Canned, CannedHub, Request, answer, job, problem

from hpc import Client, as_completed
from hpc.cli import tree
from hpc.client import ending
from hpc.client.ending import IDS_EACH, Over
from hpc.states import SETTLED

SOON_S = 20.0


class Book:
    """Jobs of a canned Hub, by id; those that are not over are over once they are waited for."""

    def __init__(self, hub: CannedHub, states: dict[str, str]) -> None:
        self.hub = hub
        self.states = states
        hub.routes["GET", "/jobs"] = self.listed
        hub.routes["POST", "/ingest"] = self.ingest
        for job_id in states:
            hub.routes["GET", f"/jobs/{job_id}"] = self.one

    def listed(self, request: Request) -> Canned:
        ids = request.query["ids"].split(",")
        rows = [job(job_id, self.states[job_id]) for job_id in ids if job_id in self.states]
        return answer({"cursor": 9, "data": rows, "next": None})

    def one(self, request: Request) -> Canned:
        job_id = request.path.rpartition("/")[2]
        if "wait" in request.query and self.states[job_id] not in SETTLED:
            self.states[job_id] = "succeeded"
        return answer({"cursor": 9, "data": job(job_id, self.states[job_id])})

    def ingest(self, request: Request) -> Canned:
        for event in request.body["events"]:
            job_id = event["payload"]["ctx"]["job_id"]
            if self.states[job_id] not in SETTLED:
                self.states[job_id] = "cancelled"
        return answer({"id": request.body["id"], "first_seq": 4, "count": len(self.states)})

    def requests(self) -> int:
        return len(self.hub.asked)


def many(count: int, state: str = "succeeded") -> dict[str, str]:
    return {f"j-{number}": state for number in range(count)}


def test_waiting_for_many_that_are_over_asks_some_hundreds_at_once(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first that did not succeed are told one by one, and of all how many came to what."""
    book = Book(hub, many(1000) | {f"j-{number}": "failed" for number in range(100, 150)})
    assert tree.main(["job", "wait", *book.states]) == 1
    assert book.requests() == 1000 / IDS_EACH
    *each, all_of_them = capsys.readouterr().out.splitlines()
    assert each == [f"job j-{number} failed: exit code 0" for number in range(100, 110)]
    assert all_of_them == "50 jobs failed, 950 succeeded"


def test_cancelling_many_is_one_batch_and_two_looks(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who they are, and what became of them."""
    book = Book(hub, many(1000, "queued") | {"j-7": "succeeded", "j-8": "succeeded"})
    assert tree.main(["job", "cancel", *book.states]) == 0
    assert book.requests() == 1 + 2 * 1000 / IDS_EACH
    assert [path for path in hub.paths() if "ingest" in path] == ["POST /ingest"]
    assert capsys.readouterr().err.splitlines() == [
        "998 jobs cancelled",
        "2 jobs succeeded: nothing to cancel, already over",
    ]


def test_one_of_many_that_nobody_knows_is_told(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is asked for alone, as it may be a name or the beginning of an id."""
    book = Book(hub, many(20))
    missing = problem(404, "not_found", "Job `nobody` is not known")
    hub.routes["GET", "/jobs/nobody"] = missing
    hub.routes["GET", "/jobs"] = lambda request: (
        book.listed(request)
        if "ids" in request.query
        else answer({"cursor": 9, "data": [], "next": None})
    )
    assert tree.main(["job", "wait", *book.states, "nobody"]) == 4
    assert "No job matches `nobody`" in capsys.readouterr().err


def test_few_are_one_request_too(hub: CannedHub) -> None:
    """Those that are not known are missing; for none nothing is asked."""
    book = Book(hub, many(3))
    with Client(hub.url, token=TOKEN) as client:
        assert list(client.infos([*book.states, "nobody"])) == list(book.states)
        assert client.infos([]) == {}
    assert [request.path for request in hub.asked] == ["/jobs"]


PATTERNS: dict[str, Callable[[int], bool]] = {
    "all are over": lambda _: True,
    "none is": lambda _: False,
    "the first is late": lambda number: number > 0,
    "every other is late": lambda number: number % 2 > 0,
    "few are late": lambda number: number % 20 > 0,
    "few are over": lambda number: number % 20 == 0,
}


@pytest.mark.parametrize("is_over", PATTERNS.values(), ids=PATTERNS)
def test_what_trickles_in_is_looked_at_no_more_often_than_it_ends(
    hub: CannedHub, monkeypatch: pytest.MonkeyPatch, is_over: Callable[[int], bool]
) -> None:
    """Whoever is over is found so; looks in vain are bounded by the waits beside them."""
    each, count = 16, 60
    monkeypatch.setattr(ending, "IDS_EACH", each)
    book = Book(hub, {f"j-{n}": "succeeded" if is_over(n) else "running" for n in range(count)})
    late = [job_id for job_id, state in book.states.items() if state == "running"]
    with Client(hub.url, token=TOKEN) as client:
        over = Over(client, list(book.states))
        waited = []
        for number, job_id in enumerate(list(book.states)):
            if over.find(number) is None:
                waited.append(job_id)
                assert client.wait(job_id)["state"] == "succeeded"
    assert waited == late
    looks = book.requests() - len(waited)
    assert looks <= 2 * len(waited) + math.ceil(count / each) + math.log2(each)
    looked_at = sum(len(request.query.get("ids", "").split(",")) for request in hub.asked)
    assert looked_at <= 4 * count


def test_jobs_that_are_over_are_yielded_without_a_request_for_each(hub: CannedHub) -> None:
    """`as_completed` over a thousand that have ended long ago."""
    book = Book(hub, many(1000, "failed"))
    with Client(hub.url, token=TOKEN) as client:
        jobs = [client.job(job_id) for job_id in book.states]
        assert set(as_completed(jobs, timeout=SOON_S)) == set(jobs)
    assert book.requests() == 1000 / IDS_EACH
