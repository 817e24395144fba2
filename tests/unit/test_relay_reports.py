"""Delivery of reports and output against a scripted Hub."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest
from relay_scripted import Book, Reported, Request, Response, ScriptedHub, ScriptedLink, run

from hpc.relay.membership import Membership
from hpc.relay.reports import Fate, Reports, judge
from hpc.transport.http_async import Reply

OWN = "session1"
BODY = b'{"id": "session1/1", "events": [{}, {}, {}]}'


class Delivery:
    """The delivery loops with everything around them scripted."""

    def __init__(self, *answers: Response) -> None:
        self.answers = list(answers)
        self.link = ScriptedLink()
        self.book = Book()
        self.membership = Membership()
        self.said: list[str] = []
        self.hub = ScriptedHub(self._script)
        self.reports: Reports

    async def _script(self, request: Request) -> Response:
        return self.answers.pop(0) if self.answers else Response(200, {})

    @contextlib.asynccontextmanager
    async def running(self, *, joined: bool = True) -> AsyncIterator[None]:
        async with self.hub:
            lanes = [self.hub.lane(self.membership.check) for _ in range(3)]
            self.reports = Reports(
                link=self.link,
                own=lanes[0],
                old=lanes[1],
                chunks=lanes[2],
                session=OWN,
                membership=self.membership,
                book=self.book,
                random=Random(7),
                say=self.said.append,
            )
            if joined:
                self.membership.join("hub-a")
            tasks = [
                asyncio.create_task(self.reports.run()),
                asyncio.create_task(self.reports.run_old()),
                asyncio.create_task(self.reports.follow()),
            ]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def paths(self) -> list[str]:
        return [request.path for request in self.hub.requests]


def refusal(status: int, code: str, **fields: Any) -> Response:
    return Response(status, {"status": status, "code": code, "detail": code, **fields})


def test_outputs_are_at_the_hub_before_the_reports() -> None:
    """Who sees a task finished can read its output."""

    async def scenario() -> None:
        delivery = Delivery()
        delivery.link.batches.put_nowait(Reported(OWN, 1, BODY, b"frames"))
        async with delivery.running():
            assert await delivery.link.until("acked") == [(OWN, 1)]
        outputs, ingest = delivery.hub.requests
        assert (outputs.path, outputs.body) == ("/outputs", b"frames")
        assert outputs.headers["content-type"] == "application/octet-stream"
        assert (ingest.path, ingest.body) == ("/ingest", BODY)

    run(scenario())


def test_a_batch_is_sent_again_as_it_was_until_it_is_acknowledged() -> None:
    """R12: a lost reply, a busy Hub and one that cannot record now forget nothing."""

    async def scenario() -> None:
        delivery = Delivery(
            Response(0),
            Response(503, {"status": 503, "code": "stopping"}, {"retry-after": "0"}),
            Response(429, {"status": 429, "code": "busy"}),
            Response(401, {"status": 401, "code": "unauthorized"}),
        )
        delivery.link.batches.put_nowait(Reported(OWN, 1, BODY))
        async with delivery.running():
            assert await delivery.link.until("acked") == [(OWN, 1)]
        assert [request.body for request in delivery.hub.requests] == [BODY] * 5
        assert [text.split(":")[0] for text in delivery.said] == ["reports are not taken"] * 2

    run(scenario())


def test_nothing_is_delivered_before_a_hub_was_joined() -> None:
    """Until then nobody knows whether it is the Hub that the reports are for."""

    async def scenario() -> None:
        delivery = Delivery()
        delivery.link.old_batches.put_nowait(Reported("before", 3, b"old"))
        async with delivery.running(joined=False):
            lane = delivery.hub.lane()
            await lane.get("/nothing", deadline_s=5)
            lane.close()
            assert delivery.paths() == ["/nothing"]
            delivery.membership.join("hub-a")
            assert await delivery.link.until("acked") == [("before", 3)]

    run(scenario())


def test_reports_of_an_earlier_session_go_only_to_its_hub() -> None:
    """An outbox outlives a Hub that was thrown away; its reports mean nothing to the next."""

    async def scenario() -> None:
        delivery = Delivery()
        delivery.book.hubs = {"before": "hub-z", "older": "hub-a"}
        delivery.link.old_batches.put_nowait(Reported("before", 3, b"for z"))
        delivery.link.old_batches.put_nowait(Reported("older", 1, b"for a"))
        async with delivery.running():
            assert await delivery.link.until("acked") == [("older", 1)]
        assert [request.body for request in delivery.hub.requests] == [b"for a"]
        assert "hub-z" in delivery.said[0]

    run(scenario())


def test_a_gap_stops_that_origin_and_no_other() -> None:
    """The Hub has lost what it acknowledged: nothing is renumbered, nothing is thrown away."""

    async def scenario() -> None:
        delivery = Delivery(refusal(409, "gap", expected=1))
        delivery.link.batches.put_nowait(Reported(OWN, 2, b"own"))
        async with delivery.running():
            await delivery.reports.stuck.wait()
            delivery.link.old_batches.put_nowait(Reported("before", 1, b"old"))
            assert await delivery.link.until("acked") == [("before", 1)]
        assert [request.body for request in delivery.hub.requests] == [b"own", b"old"]
        assert "the outbox is kept" in delivery.said[0]

    run(scenario())


def test_refused_reports_are_set_aside_and_the_rest_goes_on() -> None:
    """The outbox never blocks: what the answer names is put away, all of it where it names none."""

    async def scenario() -> None:
        named = refusal(422, "not_well_formed", errors=[{"event": 2}, {"event": 0}, {"event": 2}])
        delivery = Delivery(named, refusal(400, "bad_json"))
        async with delivery.running():
            delivery.link.batches.put_nowait(Reported(OWN, 1, BODY))
            assert await delivery.link.until("refused") == [(OWN, 1, (0, 2))]
            delivery.link.batches.put_nowait(Reported(OWN, 1, BODY))
            assert (await delivery.link.until("refused", 2))[1] == (OWN, 1, (0, 1, 2))
        assert delivery.link.named("acked") == []

    run(scenario())


def test_output_that_the_hub_will_not_have_does_not_hold_reports_up() -> None:
    """A result is worth more than its output."""

    async def scenario() -> None:
        delivery = Delivery(refusal(413, "too_large"))
        delivery.link.batches.put_nowait(Reported(OWN, 1, BODY, b"frames"))
        async with delivery.running():
            assert await delivery.link.until("acked") == [(OWN, 1)]
        assert delivery.paths() == ["/outputs", "/ingest"]

    run(scenario())


def test_followed_output_is_sent_beside_reports() -> None:
    """A reader of a running task waits for no batch."""

    async def scenario() -> None:
        delivery = Delivery(Response(0))
        delivery.link.chunks.put_nowait(b"chunk")
        async with delivery.running():
            while len(delivery.hub.requests) < 2:
                await asyncio.sleep(0.002)
        assert [(r.path, r.body) for r in delivery.hub.requests] == [("/outputs", b"chunk")] * 2

    run(scenario())


@pytest.mark.parametrize(
    ("status", "code", "hub", "fate"),
    [
        (200, "", "h", Fate.RECORDED),
        (409, "gap", "h", Fate.GAP),
        (409, "id_conflict", "h", Fate.GAP),
        (409, "job_conflict", "h", Fate.REFUSED),
        (422, "not_well_formed", "h", Fate.REFUSED),
        (413, "too_large", "h", Fate.REFUSED),
        (404, "unknown_namespace", "h", Fate.REFUSED),
        (200, "", None, Fate.UNKNOWN),
        (404, "", None, Fate.UNKNOWN),
        (401, "", "h", Fate.UNKNOWN),
        (403, "", "h", Fate.UNKNOWN),
        (408, "", "h", Fate.UNKNOWN),
        (426, "", "h", Fate.UNKNOWN),
        (429, "", "h", Fate.UNKNOWN),
        (500, "", "h", Fate.UNKNOWN),
        (507, "storage_full", "h", Fate.UNKNOWN),
    ],
)
def test_what_an_answer_means_for_a_batch(
    status: int, code: str, hub: str | None, fate: Fate
) -> None:
    """Only what no retry can mend counts as a refusal; a proxy's words count for nothing."""
    reply = Reply(status, hub, b'{"code": "%s"}' % code.encode())
    assert judge(reply).fate is fate
