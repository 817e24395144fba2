"""`as_completed` over a Hub of canned answers: what it asks for, and how often."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from canned_hub import TOKEN, CannedHub, Request, answer, job

from hpc import Client, as_completed

SOON_S = 20.0


@pytest.fixture
def hub() -> Iterator[CannedHub]:
    with CannedHub() as running:
        yield running


def test_what_was_just_submitted_is_not_asked_about_first(hub: CannedHub) -> None:
    """The receipt says where it had not ended; a thousand jobs would be a thousand questions."""
    cursors = iter(range(4, 100))

    def ingest(request: Request) -> object:
        seq = next(cursors)
        job_id = request.body["events"][0]["payload"]["ctx"]["job_id"]
        return answer({"id": request.body["id"], "first_seq": seq, "count": 1, "jobs": [job_id]})

    hub.routes["POST", "/ingest"] = ingest  # type: ignore[assignment]
    with Client(hub.url, token=TOKEN) as client:
        jobs = [client.submit(["true"]) for _ in range(10)]
        facts = {"jobs": {one.id: {"phase": 3} for one in jobs[:1]}}
        page = {"gid": "kernel", "hub": "h", "cursor": 20, "more": False}
        hub.routes["GET", "/pull"] = answer({**page, "facts": facts})
        hub.routes["GET", f"/jobs/{jobs[0].id}"] = answer({"cursor": 20, "data": job(jobs[0].id)})
        hub.asked.clear()

        assert next(as_completed(jobs, timeout=SOON_S)) is jobs[0]

    pulls = [request for request in hub.asked if request.path == "/pull"]
    assert pulls[0].query["cursor"] == "4"
    assert [request.query for request in hub.asked if "/jobs" in request.path] == [
        {"ids": jobs[0].id}
    ]
