"""Pages of one job's events: how they are read beside the turns, and what they hold."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from service_rig import ServiceRig, run_with, told

from hpc.hub import service
from hpc.protocols import LogRow
from hpc.storage.memory import MemoryDisk, MemoryLog

LONG = 600_000


class WatchedLog(MemoryLog):
    """A log that notes how many rows of a job are asked for at a time."""

    def __init__(self) -> None:
        super().__init__(MemoryDisk("h"))
        self.asked: list[int] = []

    def read_job(self, job_id: str, after_seq: int, limit: int) -> list[LogRow]:
        self.asked.append(limit)
        return super().read_job(job_id, after_seq, limit)


class Rig(ServiceRig[WatchedLog]):
    """A Hub on which things are said of the job `j`, among others."""

    def __init__(self) -> None:
        super().__init__(WatchedLog())

    async def say(self, batches: int, size: int) -> int:
        """Say something long in each batch; returns the seq of the last event."""
        schema = {"Said": [{"key": "text", "expected_type": "String"}]}
        spec = {"schema": schema}
        await self.ask("control", {"type": "RegisterNamespace", "ns_id": "lab", "spec": spec})
        for _ in range(batches):
            events = [
                {
                    "kind": "Said",
                    "payload": {
                        "ctx": {"ns_id": "lab", "job_id": job_id, "node_id": "n"},
                        "spec": {"text": "x" * size},
                    },
                }
                for job_id in ("j", "other")
            ]
            await self.ask("ingest", {"events": events})
        return self.turns.head_seq

    async def page(self, cursor: int = 0, limit: int = 1000) -> Any:
        return told(await self.service.events(cursor, limit, "j"))


def test_long_rows_are_read_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch may have 64 MiB: sixteen of them at once held up every turn, and the memory."""
    writers: list[str] = []

    def written(*page: Any) -> bytes:
        writers.append(threading.current_thread().name)
        return job_events_page(*page)

    job_events_page = service.job_events_page
    monkeypatch.setattr(service, "job_events_page", written)

    async def test(rig: Rig) -> None:
        end = await rig.say(5, LONG)
        page = await rig.page()
        assert rig.log.asked == [2, 1, 1, 1, 1], "each row is some megabyte"
        assert [event["payload"]["ctx"]["job_id"] for event in page["data"]] == ["j"] * 5
        assert (page["cursor"], page["next"]) == (end, None)
        assert writers
        assert not any(name == "hpc-turns" for name in writers)

    run_with(Rig, test)


def test_turns_go_on_while_a_page_is_read() -> None:
    """Who asks something meanwhile is answered before the page is whole."""

    async def test(rig: Rig) -> None:
        await rig.say(6, LONG)
        page = asyncio.ensure_future(rig.page())
        told(await rig.service.ask("jobs", ""))
        assert not page.done()
        assert len((await page)["data"]) == 6

    run_with(Rig, test)


def test_short_rows_are_read_many_at_a_time() -> None:
    """A turn for each would cost more than reading them."""

    async def test(rig: Rig) -> None:
        end = await rig.say(40, 10)
        page = await rig.page()
        assert rig.log.asked == [2, 16, 16, 16]
        assert len(page["data"]) == 40
        first = await rig.page(limit=3)
        rest = await rig.page(first["next"])
        assert 1 <= len(first["data"]) <= 3
        assert first["data"] + rest["data"] == page["data"]
        assert rest["cursor"] == end
        beyond = await rig.page(end + 1)
        assert beyond["snapshot"] is True
        assert beyond["data"] == page["data"]

    run_with(Rig, test)
