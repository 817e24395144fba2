"""A Hub's turns over a log, without network or threads, and a clock that the test sets."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hpc._core import Hub
from hpc.hub.commit import Committer
from hpc.hub.outputs import Stored
from hpc.hub.recovery import recover
from hpc.hub.turn_parts import Arrived
from hpc.hub.upkeep import Upkeep
from hpc.protocols import EventLog

Json = Any
DAY_MS = 86_400_000
HOUR_MS = 3_600_000


class HandClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.wall = 1_700_000_000_000
        self.mono = 1_000_000

    def wall_ms(self) -> int:
        return self.wall

    def mono_ms(self) -> int:
        return self.mono

    def move(self, ms: int) -> None:
        self.wall += ms
        self.mono += ms


class NoOutputs:
    """Stores nothing."""

    ahead_ms = 0

    def append(self, packs: Sequence[bytes]) -> list[Stored]:
        raise AssertionError("no output is sent here")


class KeptHub:
    """One Hub; `close` leaves as a clean stop does."""

    def __init__(
        self,
        log: EventLog,
        clock: HandClock | None = None,
        *,
        snapshot_events: int = 250_000,
        keep_jobs_ms: int | None = None,
    ) -> None:
        self.log = log
        self._keep_jobs_ms = keep_jobs_ms
        self.clock = clock or HandClock()
        self.upkeep = Upkeep(log, self.clock, snapshot_events=snapshot_events)
        self.engines: list[Hub] = []
        self.committer = Committer(
            log=log,
            outputs=NoOutputs(),
            build_engine=self._recovered,
            lease_ms=30_000,
            clock=self.clock,
            upkeep=self.upkeep,
        )
        self._numbers = itertools.count(1)

    def _recovered(self) -> Hub:
        engine = recover(
            self.log,
            lease_ms=30_000,
            reclaim_ms=300_000,
            clock=self.clock,
            keep_jobs_ms=self._keep_jobs_ms,
        )
        self.engines.append(engine)
        return engine

    def ask(self, verb: str, query: str = "", body: Json = None) -> tuple[int, Json]:
        """Run turns until one request is answered."""
        token = next(self._numbers)
        arrived = Arrived(inputs=[(token, verb, query, json.dumps(body).encode(), "")])
        for _ in range(100):
            outcome = self.committer.run(arrived)
            assert outcome.fatal is None, outcome.fatal
            for answered, answer in outcome.answers:
                if answered == token:
                    return answer.status, json.loads(answer.body)
            arrived = Arrived()
        raise AssertionError(f"{verb} {query} is not answered")

    def idle(self) -> int:
        """Run turns as long as there is something to do; how many."""
        for number in range(10_000):
            if not self.committer.run(Arrived()).again:
                return number + 1
        raise AssertionError("there is always something to do")

    def register(self, ns_id: str, **spec: Json) -> None:
        fields = [{"key": "i", "expected_type": "Int"}, {"key": "s", "expected_type": "String"}]
        body = {"schema": {"Said": fields, "SubmitJob": fields}} | spec
        status, told = self.ask(
            "control", body={"type": "RegisterNamespace", "ns_id": ns_id, "spec": body}
        )
        assert status == 200, told

    def generator(self, gid: str, *namespaces: str) -> None:
        join = {"n": {"count": 1}, "last": {"last": "$spec.i"}, "all": {"set": "$spec.s"}}
        rules = [{"on": "Said", "table": "t", "key": "$ctx.node_id", "join": join}]
        spec = {"namespaces": list(namespaces), "rules": rules}
        status, told = self.ask(
            "control", body={"type": "RegisterGenerator", "gid": gid, "spec": spec}
        )
        assert status == 200, told
        self.idle()

    def say(self, ns_id: str, i: int, batch_id: str | None = None, *, text: str = "s") -> Json:
        """One event of a namespace; its receipt."""
        ctx = {"ns_id": ns_id, "node_id": f"n{i % 3}"}
        event = {"kind": "Said", "payload": {"ctx": ctx, "spec": {"i": i, "s": f"{text}{i}"}}}
        batch: Json = {"events": [event]} | ({"id": batch_id} if batch_id else {})
        status, told = self.ask("ingest", body=batch)
        assert status == 200, told
        return told

    def submit(self, job_id: str) -> Json:
        ctx = {"ns_id": "keep", "job_id": job_id, "tasks": "0-9"}
        event = {"kind": "SubmitJob", "payload": {"ctx": ctx, "spec": {"i": 1}}}
        status, told = self.ask("ingest", body={"id": f"submit-{job_id}", "events": [event]})
        assert status == 200, told
        return told

    def request(self, kind: str, job_id: str) -> tuple[int, Json]:
        """A request about a job of `keep`, such as `CancelJob`."""
        event = {"kind": kind, "payload": {"ctx": {"job_id": job_id}, "spec": {}}}
        return self.ask("ingest", body={"events": [event]})

    def pulls(self) -> Json:
        """Every answer to every cursor of every generator, and what else can be read."""
        gids = [gid for gid in ("kernel", "g", "k") if self.ask("pull", f"gid={gid}")[0] == 200]
        head = self.engines[-1].last_seq
        cursors = itertools.product(gids, range(head + 1), (1, 1000))
        pulls = [self.ask("pull", f"gid={g}&cursor={c}&limit={n}") for g, c, n in cursors]
        return [pulls, self.ask("jobs"), self.ask("nodes"), self.ask("namespaces")]

    def close(self) -> None:
        self.committer.close()


@contextmanager
def kept(
    open_log: Callable[[], EventLog],
    clock: HandClock | None = None,
    *,
    snapshot_events: int = 250_000,
    keep_jobs_ms: int | None = None,
) -> Iterator[KeptHub]:
    """A Hub over a log that is opened for it; killed at the end, unless it was closed."""
    log = open_log()
    try:
        yield KeptHub(log, clock, snapshot_events=snapshot_events, keep_jobs_ms=keep_jobs_ms)
    finally:
        log.close()


def filled(hub: KeptHub, count: int = 12) -> None:
    """Give a Hub two namespaces, one of which keeps its events for a day, and some of both."""
    hub.register("keep")
    hub.register("lose", retention=86_400)
    hub.generator("g", "lose")
    hub.generator("k", "keep")
    for i in range(count):
        hub.say("keep" if i % 3 == 0 else "lose", i)
    hub.submit("j1")
