"""Forgotten jobs over a log: what compaction may drop of them, and jobs forgotten for their age."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from kept_hub import DAY_MS, HOUR_MS, HandClock, KeptHub, filled, kept

from hpc.errors import StorageFull
from hpc.protocols import EventLog, LogRow
from hpc.storage import memory, sqlite
from hpc.storage.memory import MemoryDisk

OpenLog = Callable[[], EventLog]


@pytest.fixture(params=["sqlite", "memory"])
def open_log(request: pytest.FixtureRequest, tmp_path: Path) -> OpenLog:
    """Opens one log, of either kind."""
    if request.param == "sqlite":
        return lambda: sqlite.open_log(tmp_path / "data")
    disk = MemoryDisk()
    return lambda: memory.MemoryLog(disk)


def about(hub: KeptHub, job_id: str) -> list[bytes]:
    """The bodies of the batches that speak of a job, in order."""
    return [row.body for row in hub.log.read_job(job_id, 0, 10**6)]


def state(hub: KeptHub, job_id: str) -> str:
    """What the Hub says of a job: its state, or that it is forgotten and its outcome."""
    status, told = hub.ask("job", f"job_id={job_id}")
    if status == 200:
        return str(told["data"]["state"])
    assert (status, told["code"]) == (404, "forgotten")
    return f"forgotten: {told['outcome']}"


def test_compaction_drops_what_speaks_of_forgotten_jobs(open_log: OpenLog) -> None:
    """Only the event that says so is left; facts, receipts and answers are as before."""
    clock = HandClock()
    with kept(open_log, clock) as hub:
        filled(hub)
        hub.submit("j2")
        assert hub.request("ForgetJob", "j1")[0] == 422
        for kind in ("CancelJob", "ForgetJob"):
            assert hub.request(kind, "j1")[0] == 200
        hub.close()
    with kept(open_log, clock) as hub:
        clock.move(HOUR_MS)
        before = hub.pulls()
        hub.idle()
        assert hub.upkeep.dropped == 2
        assert hub.pulls() == before
        submit, cancel, forget = about(hub, "j1")
        assert (submit, cancel) == (b"", b"")
        assert b'"ForgetJob"' in forget
        assert all(about(hub, "j2"))
    with kept(open_log, clock) as hub:
        assert hub.pulls() == before
        assert state(hub, "j1") == "forgotten: cancelled"
        assert hub.submit("j1")["duplicate"]
        # Another round looks from the beginning, where another job was forgotten meanwhile.
        for kind in ("CancelJob", "ForgetJob"):
            assert hub.request(kind, "j2")[0] == 200
        hub.close()
    with kept(open_log, clock) as hub:
        clock.move(DAY_MS // 2)
        hub.idle()
        assert [bool(body) for body in about(hub, "j2")] == [False, False, True]


def test_what_a_snapshot_has_whole_is_kept(open_log: OpenLog) -> None:
    """Who asks how things were there must be answered: first every snapshot knows it forgotten."""
    clock = HandClock()
    with kept(open_log, clock) as hub:
        filled(hub)
        hub.request("CancelJob", "j1")
        hub.close()
    with kept(open_log, clock) as hub:
        hub.request("ForgetJob", "j1")
        clock.move(HOUR_MS)
        hub.idle()
        assert all(about(hub, "j1"))
        hub.close()
    with kept(open_log, clock) as hub:
        clock.move(HOUR_MS)
        hub.idle()
        assert not all(about(hub, "j1"))


def test_old_jobs_are_forgotten_also_after_a_restart(open_log: OpenLog) -> None:
    """By when they ended, whoever was running then; a Hub that keeps them reads the same log."""
    clock = HandClock()
    with kept(open_log, clock) as hub:
        filled(hub)
        hub.submit("open")
        hub.request("CancelJob", "j1")
        hub.close()
    with kept(open_log, clock, keep_jobs_ms=DAY_MS) as hub:
        clock.move(DAY_MS)
        hub.idle()
        assert state(hub, "j1") == "cancelled"
        clock.move(1)
        hub.idle()
        assert state(hub, "j1") == "forgotten: cancelled"
        assert state(hub, "open") == "queued"
        before = hub.pulls()
    with kept(open_log, clock) as hub:
        assert hub.pulls() == before
        clock.move(9 * DAY_MS)
        hub.request("CancelJob", "open")
        clock.move(9 * DAY_MS)
        hub.idle()
        assert state(hub, "open") == "cancelled", "this one keeps jobs for ever"


class FullLog(memory.MemoryLog):
    """Takes all but what forgets jobs, while it is full."""

    is_full = True

    def append(self, rows: list[LogRow]) -> None:
        """Refuse as a full disk does."""
        if self.is_full and any(b'"ForgetJob"' in row.body for row in rows):
            raise StorageFull("planted")
        super().append(rows)


def test_a_full_disk_leaves_a_hub_that_forgets_time_to_be_read() -> None:
    """Each failed append costs a replay, and no request has caused it: reads come in between."""
    clock = HandClock()
    log = FullLog(MemoryDisk())
    with kept(lambda: log, clock, keep_jobs_ms=HOUR_MS) as hub:
        hub.register("keep")
        hub.submit("j")
        hub.request("CancelJob", "j")
        clock.move(2 * HOUR_MS)
        assert state(hub, "j") == "cancelled"
        assert len(hub.engines) == 2, "it has tried"
        clock.move(59_000)
        assert state(hub, "j") == "cancelled"
        assert len(hub.engines) == 2
        log.is_full = False
        clock.move(2_000)
        hub.idle()
        assert state(hub, "j") == "forgotten: cancelled"
