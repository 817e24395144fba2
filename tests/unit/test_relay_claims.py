"""The claim loop against a scripted Hub: the relay's half of protocol.md, rule by rule."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any

import msgspec
import pytest
from relay_scripted import Book, Request, Response, ScriptedHub, ScriptedLink, SetClock, run

from hpc.domain import Grant, NodeOffer, Work
from hpc.errors import NotAllowed, NotFound, Refused
from hpc.handlers.none import NoneHandler
from hpc.relay.claims import Claims, Identity, Replaced
from hpc.relay.lifetime import Idleness, TimeLimit
from hpc.relay.membership import Membership
from hpc.transport.http_async import Problem

LEASE_S = 2.0
GRANT = {
    "job_id": "j1",
    "ns_id": "measure",
    "handler_type": "none",
    "attempt": 1,
    "tasks": "0-3",
    "ctx": {},
    "spec": {},
    "resources": {"cpus": 1, "memory_mib": 10},
}


class Relay:
    """A claim loop with everything around it scripted.

    `answers` are given in turn; after the last one claims are held open.
    """

    def __init__(self, *answers: Any, takeover: bool = False, epoch: int = 0) -> None:
        self.answers = list(answers)
        self.link = ScriptedLink()
        self.book = Book(epoch)
        self.clock = SetClock()
        self.membership = Membership()
        self.said: list[str] = []
        self.registered = 0
        self.hub = ScriptedHub(self._script)
        self._takeover = takeover
        self.labels: dict[str, str] = {}
        self.time_left_s: Callable[[], float] | None = None
        self.idleness = Idleness(self.clock)
        self.claims: Claims

    async def _script(self, request: Request) -> Response:
        if not self.answers:
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        if callable(answer):
            answer = answer(request)
        return answer if isinstance(answer, Response) else Response(200, answer)

    async def identify(self) -> str:
        return self.hub.hub_id

    async def register(self) -> Problem | None:
        self.registered += 1
        return None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[Any]]:
        async with self.hub:
            self.claims = Claims(
                rpc=self.hub.lane(self.membership.check),
                link=self.link,
                book=self.book,
                identity=Identity("n1", "host-1", "place-1", "session-1"),
                membership=self.membership,
                namespaces=["measure"],
                resources={"cpus": 2, "memory_mib": 100},
                labels=self.labels,
                handlers={"none": NoneHandler(), "picky": Picky(), "faulty": Faulty()},
                identify=self.identify,
                register=self.register,
                clock=self.clock,
                random=Random(7),
                say=self.said.append,
                idleness=self.idleness,
                time_left_s=self.time_left_s,
                takeover=self._takeover,
            )
            task = asyncio.create_task(self.claims.run())
            try:
                yield task
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def claimed(self, count: int) -> list[dict[str, Any]]:
        """Wait until so many claims have arrived; returns their bodies."""
        while len(self.hub.seen("/claim")) < count:
            await asyncio.sleep(0.002)
        return [request.json() for request in self.hub.seen("/claim")]


class Noted(Idleness):
    """Notes what it is told."""

    def __init__(self, clock: SetClock) -> None:
        super().__init__(clock)
        self.notes: list[bool] = []

    def note(self, *, is_busy: bool) -> None:
        self.notes.append(is_busy)
        super().note(is_busy=is_busy)


class Picky:
    """A handler that plans nothing."""

    def work(self, grant: Grant, offer: NodeOffer) -> Work:
        raise Refused("not here")


class Faulty:
    """A handler with faults of its own, chosen by the job's id."""

    def work(self, grant: Grant, offer: NodeOffer) -> Work:
        plan = NoneHandler().work(grant, offer)
        match grant.job_id:
            case "raises":
                raise TypeError("a fault")
            case "negative":
                return msgspec.structs.replace(plan, cpus=-1)
            case "negative-gpus":
                return msgspec.structs.replace(plan, resources={"gpus": -1})
            case _:
                return msgspec.structs.replace(plan, argv=["\udcff"])


def answer(n: int, **fields: Any) -> dict[str, Any]:
    return {"n": n, "lease_s": LEASE_S, **fields}


def problem(status: int, code: str, **fields: Any) -> Response:
    return Response(status, {"status": status, "code": code, "detail": code, **fields})


def test_the_first_claim_is_the_join_and_asks_for_an_answer_at_once() -> None:
    """Nothing is known of the lease before the first answer; the epoch is on disk before it."""

    async def scenario() -> None:
        relay = Relay(answer(1), epoch=4)
        async with relay.running():
            first, second = await relay.claimed(2)
        assert first == {
            "node_id": "n1",
            "host": "host-1",
            "place": "place-1",
            "session": "session-1",
            "epoch": 5,
            "n": 1,
            "ns": ["measure"],
            "resources": {"cpus": 2, "memory_mib": 100},
            "max": 1024,
            "wait": 0.0,
            "holds": [],
        }
        assert (second["n"], second["wait"]) == (2, LEASE_S / 4)
        assert relay.membership.joined.is_set()
        assert relay.book.hubs == {"session-1": "hub-a"}

    run(scenario())


def test_labels_are_said_where_there_are_any() -> None:
    """A Hub of before them refuses a field that it does not know: see the test above."""

    async def scenario() -> None:
        relay = Relay(answer(1))
        relay.labels = {"zone": "b"}
        async with relay.running():
            first, second = await relay.claimed(2)
        assert first["labels"] == second["labels"] == {"zone": "b"}

    run(scenario())


def test_how_long_it_stays_is_said_where_that_is_known() -> None:
    """Anew in each claim: until the moment when tasks would be ended."""

    async def scenario() -> None:
        relay = Relay(answer(1))
        limit = TimeLimit(relay.clock, 60.0, 10.0)
        relay.time_left_s = limit.left_s
        relay.clock.advance(1500)
        async with relay.running():
            first, second = await relay.claimed(2)
        assert first["time_left"] == second["time_left"] == 58.5
        relay.clock.advance(90_000)
        assert limit.left_s() == 0

    run(scenario())


def test_that_it_leaves_is_said_from_then_on() -> None:
    """At once, and only then: an older Hub refuses what it does not know."""

    async def scenario() -> None:
        relay = Relay(answer(1), answer(2), answer(3))
        async with relay.running():
            (first, *_) = await relay.claimed(1)
            relay.claims.drain()
            claims = await relay.claimed(len(relay.hub.seen("/claim")) + 1)
        assert "leaving" not in first
        assert (claims[-1]["leaving"], claims[-1]["max"]) == (True, 0)

    run(scenario())


def test_a_relay_is_busy_from_a_grant_until_it_holds_nothing() -> None:
    """A task that has ended is held until its report is acknowledged."""

    async def scenario() -> None:
        def granting(_: Request) -> dict[str, Any]:
            relay.link.held = [{"job_id": "j1", "attempt": 1, "tasks": "0-3"}]
            return answer(1, grants=[GRANT])

        def over(_: Request) -> dict[str, Any]:
            relay.link.held = []
            return answer(2)

        relay = Relay(granting, over)
        noted = relay.idleness = Noted(relay.clock)
        async with relay.running():
            await relay.claimed(3)
        assert noted.notes == [False, True, True, False]

    run(scenario())


def test_the_fence_counts_from_when_the_answered_claim_was_sent() -> None:
    """R15: an answer that was long on its way must not lengthen the lease."""

    async def scenario() -> None:
        relay = Relay()

        def late(_: Request) -> dict[str, Any]:
            relay.clock.advance(700)
            return answer(1, grants=[GRANT])

        relay.answers = [late]
        sent_ms = relay.clock.boottime_ms()
        async with relay.running():
            await relay.claimed(2)
        assert relay.link.named("fence") == [(sent_ms + 1600,)]
        [[work]] = (works for (works,) in relay.link.named("run"))
        assert (work.job_id, work.tasks, work.epoch, work.kind) == ("j1", "0-3", 1, "none")
        names = [order[0] for order in relay.link.orders]
        assert names.index("fence") < names.index("run")

    run(scenario())


def test_nothing_of_an_answer_that_comes_after_the_fence_is_started() -> None:
    """R16: the Hub may have leased the task elsewhere; the next answer grants it again."""

    async def scenario() -> None:
        relay = Relay()

        def too_late(_: Request) -> dict[str, Any]:
            relay.clock.advance(1600)
            return answer(1, grants=[GRANT], cancels=[{"job_id": "k", "attempt": 2, "tasks": "0"}])

        relay.answers = [too_late, lambda _: answer(2, grants=[GRANT])]
        async with relay.running():
            await relay.claimed(3)
        assert len(relay.link.named("run")) == 1
        assert relay.link.named("cancel") == [("k", 2, "0", "cancelled")]

    run(scenario())


def test_a_claim_whose_reply_is_lost_is_sent_again_under_a_new_number() -> None:
    """R14: each send has its own number, also a repeated one."""

    async def scenario() -> None:
        relay = Relay(Response(0), Response(0), lambda _: answer(3, grants=[GRANT]))
        async with relay.running():
            claims = await relay.claimed(4)
        assert [claim["n"] for claim in claims] == [1, 2, 3, 4]
        assert len(relay.link.named("run")) == 1
        assert len(relay.said) == 2
        assert "ended the connection" in relay.said[0]
        assert relay.said[1] == "the Hub answers again"

    run(scenario())


def test_a_token_that_opens_nothing_any_more_is_said_once_with_what_to_do() -> None:
    """For as long as it is so, also where the Hub has had enough of it; then that it is over."""

    async def scenario() -> None:
        refused = problem(401, "unauthorized")
        enough = Response(429, {"status": 429, "code": "too_many_failures"}, {"retry-after": "0"})
        later = [refused, refused, enough, refused, lambda _: answer(6, grants=[GRANT])]
        relay = Relay(answer(1), *later)
        async with relay.running():
            await relay.claimed(7)
        told, over = relay.said
        assert "revoked" in told
        assert "hint: make one (hpc token create --role relay)" in told
        assert over == "the Hub takes the token again"
        assert len(relay.link.named("run")) == 1

    run(scenario())


def test_an_answer_to_an_older_claim_changes_nothing() -> None:
    """R14: an old or repeated answer could start a task that was given to another node since."""

    async def scenario() -> None:
        relay = Relay(answer(1), answer(1, grants=[GRANT], cancels=[]), lambda _: answer(3))
        async with relay.running():
            await relay.claimed(4)
        assert relay.link.named("run") == []
        assert len(relay.link.named("fence")) == 2

    run(scenario())


def test_what_is_held_stands_in_the_claim_as_the_supervisor_says_it() -> None:
    """R13: the list is made when the claim is sent and passed on unread."""

    async def scenario() -> None:
        relay = Relay(answer(1))
        relay.link.held = [{"job_id": "j1", "attempt": 1, "tasks": "0-3"}]
        async with relay.running():
            claims = await relay.claimed(2)
        assert claims[1]["holds"] == relay.link.held

    run(scenario())


def test_what_no_handler_can_plan_is_reported_refused() -> None:
    """A task that cannot be planned must end with a reason, not wait for ever."""

    async def scenario() -> None:
        relay = Relay(
            answer(
                1,
                grants=[
                    GRANT,
                    {**GRANT, "job_id": "j2", "handler_type": "picky"},
                    {**GRANT, "job_id": "j3", "handler_type": "quantum"},
                ],
            )
        )
        async with relay.running():
            await relay.claimed(2)
        refusals = {work.job_id: detail for work, detail in relay.link.named("refuse")}
        assert refusals["j2"] == "not here"
        assert "no handler `quantum`" in refusals["j3"]
        assert [work.job_id for (works,) in relay.link.named("run") for work in works] == ["j1"]

    run(scenario())


def test_a_faulty_handler_ends_its_own_tasks_only() -> None:
    """What other jobs run must not die of a plugin; each of its own tasks ends with the reason."""

    async def scenario() -> None:
        bad = ("raises", "negative", "negative-gpus", "unspeakable")
        faulty = [{**GRANT, "job_id": job_id, "handler_type": "faulty"} for job_id in bad]
        relay = Relay(answer(1, grants=[*faulty, GRANT]))
        async with relay.running() as task:
            await relay.claimed(2)
            assert not task.done()
        refusals = {work.job_id: detail for work, detail in relay.link.named("refuse")}
        assert set(refusals) == set(bad)
        assert "TypeError('a fault')" in refusals["raises"]
        assert "`cpus` = -1" in refusals["negative"]
        assert "-1 of `gpus`" in refusals["negative-gpus"]
        assert [work.job_id for (works,) in relay.link.named("run") for work in works] == ["j1"]

    run(scenario())


def test_a_folder_that_cannot_be_written_is_tried_again() -> None:
    """What runs goes on; no claim leaves under an epoch that is not on disk."""

    async def scenario() -> None:
        relay = Relay(answer(1), problem(409, "lost", last_epoch=7), lambda _: answer(4))
        relay.answers.insert(2, problem(409, "lost", last_epoch=7))
        relay.book.fails_above = 1
        async with relay.running() as task:
            while not any("cannot be written" in line for line in relay.said):
                await asyncio.sleep(0.002)
            relay.book.fails_above = None
            claims = await relay.claimed(4)
            assert not task.done()
        assert [claim["epoch"] for claim in claims][:4] == [1, 1, 1, 8]

    run(scenario())


def test_cancels_returns_and_followed_streams_are_passed_on() -> None:
    """The answer names what to end, what to hand back, and what readers follow now."""

    async def scenario() -> None:
        stream = {"job_id": "j1", "task": 0, "stream": "stdout", "offset": 5}
        relay = Relay(
            answer(
                1,
                cancels=[{"job_id": "j1", "attempt": 1, "tasks": "0", "reason": "time"}],
                give_back=[{"job_id": "j1", "attempt": 1, "tasks": "1-3"}],
                tail=[stream],
            ),
            answer(2),
        )
        async with relay.running():
            await relay.claimed(3)
        assert relay.link.named("cancel") == [("j1", 1, "0", "time")]
        assert relay.link.named("give_back") == [("j1", 1, "1-3")]
        assert relay.link.named("tail") == [([stream],), ([],)]

    run(scenario())


def test_a_lost_lease_ends_stop_tasks_and_joins_with_a_higher_epoch() -> None:
    """R22: the epoch rises above both the own and the Hub's last one before the next claim."""

    async def scenario() -> None:
        relay = Relay(answer(1), problem(409, "lost", last_epoch=7), lambda _: answer(3))
        async with relay.running():
            claims = await relay.claimed(4)
        assert [claim["epoch"] for claim in claims] == [1, 1, 8, 8]
        assert relay.link.named("lost") == [()]
        assert relay.book.epoch == 8

    run(scenario())


def test_fault_25_a_taken_name_is_waited_for_before_any_answer() -> None:
    """R23: a second relay under a live name waits, says whose it is, and is served later."""

    async def scenario() -> None:
        taken = problem(409, "taken", last_epoch=3, host="other", place="p9")
        relay = Relay(taken, taken, lambda _: answer(3))
        async with relay.running():
            claims = await relay.claimed(4)
        assert [claim["epoch"] for claim in claims] == [1, 4, 4, 4]
        assert len([line for line in relay.said if "node n1" in line]) == 1
        assert "host other, place p9" in relay.said[0]

    run(scenario())


def test_fault_25_a_relay_whose_name_is_taken_after_an_answer_ends() -> None:
    """R23: who had the name and is replaced never comes back by itself."""

    async def scenario() -> None:
        relay = Relay(answer(1), problem(409, "taken", last_epoch=9, host="other", place="p9"))
        async with relay.running() as task:
            with pytest.raises(Replaced, match="host other"):
                await task
        assert relay.book.epoch == 1

    run(scenario())


def test_takeover_is_said_until_the_first_answer() -> None:
    """A relay that has the name asks for nobody else's."""

    async def scenario() -> None:
        relay = Relay(Response(0), lambda _: answer(2), takeover=True)
        async with relay.running():
            claims = await relay.claimed(3)
        assert [claim.get("takeover") for claim in claims] == [True, True, None]

    run(scenario())


def test_another_hub_behind_the_url_gets_no_claim() -> None:
    """A test Hub on the same port must not be told of tasks that another Hub leased."""

    async def scenario() -> None:
        relay = Relay(answer(1))
        async with relay.running():
            await relay.claimed(2)
            await relay.hub.stop()
            relay.hub.hub_id = "hub-b"
            await relay.hub.start()
            while not any("another Hub" in line for line in relay.said):
                await asyncio.sleep(0.002)
            assert len(relay.hub.seen("/claim")) == 2
            await relay.hub.stop()
            relay.hub.hub_id = "hub-a"
            relay.answers = [lambda r: answer(r.json()["n"], grants=[GRANT])]
            await relay.hub.start()
            await relay.link.until("run")
        assert relay.link.named("lost") == []

    run(scenario())


def test_missing_namespaces_are_registered_once() -> None:
    """Who starts a relay for a namespace brings it; a second 404 is an answer."""

    async def scenario() -> None:
        relay = Relay(problem(404, "unknown_namespace"), lambda _: answer(2))
        async with relay.running():
            await relay.claimed(3)
        assert relay.registered == 1

        relay = Relay(problem(404, "unknown_namespace"), problem(404, "unknown_namespace"))
        async with relay.running() as task:
            with pytest.raises(NotFound, match="unknown_namespace"):
                await task

    run(scenario())


def test_a_relay_that_was_never_served_ends_with_the_refusal() -> None:
    """A wrong token or a claim that is not well-formed is not mended by waiting."""

    async def scenario() -> None:
        relay = Relay()
        relay.hub.token = "another"
        async with relay.running() as task:
            with pytest.raises(NotAllowed):
                await task

        relay = Relay(problem(422, "not_well_formed"))
        async with relay.running() as task:
            with pytest.raises(Refused, match="not_well_formed"):
                await task

    run(scenario())


def test_a_relay_that_was_served_tries_again_whatever_the_hub_says() -> None:
    """Tasks run; no answer but a decided one may end them."""

    async def scenario() -> None:
        relay = Relay(
            answer(1),
            problem(500, "internal"),
            Response(200, b"{"),
            problem(422, "not_well_formed"),
            problem(503, "stopping"),
            lambda _: answer(6),
        )
        async with relay.running():
            claims = await relay.claimed(7)
        assert [claim["n"] for claim in claims] == list(range(1, 8))

    run(scenario())


def test_drain_gives_up_the_open_claim_and_asks_for_nothing_more() -> None:
    """The node stays a member while it drains; a held claim could still grant."""

    async def scenario() -> None:
        relay = Relay(answer(1))
        async with relay.running():
            await relay.claimed(2)
            relay.claims.drain()
            relay.answers = [lambda r: answer(r.json()["n"])]
            claims = await relay.claimed(4)
        assert [claim["max"] for claim in claims] == [1024, 1024, 0, 0]
        assert [claim["n"] for claim in claims] == [1, 2, 3, 4]

    run(scenario())


def test_a_long_lease_is_waited_for_in_pieces() -> None:
    """The Hub holds a claim for 60 s at most, however long the lease is."""

    async def scenario() -> None:
        relay = Relay({"n": 1, "lease_s": 600.0})
        async with relay.running():
            claims = await relay.claimed(2)
        assert claims[1]["wait"] == 60.0

    run(scenario())


def test_what_earlier_sessions_ended_is_held_for_their_own_hub_only() -> None:
    """R13 after a restart; another Hub's task of the same name would be held for ever."""

    async def scenario() -> None:
        relay = Relay(answer(1))
        relay.link.old = ["mine", "foreign", "unknown"]
        relay.book.hubs = {"mine": "hub-a", "foreign": "hub-b"}
        async with relay.running():
            await relay.claimed(2)
        # Once, and before the first claim asks what is held.
        assert relay.link.orders[0] == ("adopt", "mine", "unknown")
        assert len(relay.link.named("adopt")) == 1

    run(scenario())


def test_the_hub_is_asked_again_until_one_has_answered_a_claim() -> None:
    """Another Hub that comes up in between gets no claim with holds that are not its own."""

    async def scenario() -> None:
        relay = Relay()
        relay.link.old = ["at-a", "at-b"]
        relay.book.hubs = {"at-a": "hub-a", "at-b": "hub-b"}

        def busy(_: Request) -> Response:
            relay.hub.hub_id = "hub-b"
            return problem(503, "busy")

        relay.answers = [busy, lambda r: answer(r.json()["n"])]
        async with relay.running():
            await relay.membership.joined.wait()
        assert relay.link.named("adopt") == [("at-a",), ("at-b",)]
        assert relay.book.hubs["session-1"] == "hub-b"

    run(scenario())
