"""Pages of jobs: what chooses them, asked of a real engine; only the disk is memory."""

from __future__ import annotations

import json
from typing import Any

import pytest
from service_rig import ServiceRig, run_with, told

from hpc.storage.memory import MemoryLog


class Rig(ServiceRig[MemoryLog]):
    """A Hub without a transport."""

    def __init__(self) -> None:
        super().__init__(MemoryLog())

    async def submit(self, job_id: str) -> None:
        payload = {"ctx": {"ns_id": "lab", "job_id": job_id}, "spec": {}}
        await self.ask("ingest", {"events": [{"kind": "SubmitJob", "payload": payload}]})

    async def jobs(self, query: str) -> list[Any]:
        data: list[Any] = told(await self.service.ask("jobs", query))["data"]
        return data


def test_jobs_are_chosen_by_when_they_were_submitted() -> None:
    """From a time on and before one, whatever else is asked for."""

    async def test(rig: Rig) -> None:
        spec = {"schema": {"SubmitJob": []}, "resources": {"cpus": 1}}
        await rig.ask("control", {"type": "RegisterNamespace", "ns_id": "lab", "spec": spec})
        for name in "abcd":
            await rig.submit(name)
        every = [(row["job_id"], row["submitted_at"]) for row in await rig.jobs("")]
        assert [job_id for job_id, _ in every] == [*"abcd"]
        for at in {at + by for _, at in every for by in (0, 1)}:
            later = [job_id for job_id, its in every if its >= at]
            earlier = [job_id for job_id, its in every if its < at]
            assert [row["job_id"] for row in await rig.jobs(f"since={at}")] == later
            assert [row["job_id"] for row in await rig.jobs(f"until={at}&ids=d,a,b,c")] == [
                job_id for job_id in "dabc" if job_id in earlier
            ]
            both = await rig.jobs(f"since={every[1][1]}&until={at}&order=desc")
            assert [row["job_id"] for row in both] == [
                job_id for job_id in earlier[::-1] if dict(every)[job_id] >= every[1][1]
            ]
        assert await rig.jobs(f"since={2**63 - 1}") == []

    run_with(Rig, test)


@pytest.mark.parametrize("query", ["since=-1", "until=1.5", "since=yesterday", f"until={2**63}"])
def test_a_time_that_is_none_is_refused(query: str) -> None:
    """By the name of the parameter."""

    async def test(rig: Rig) -> None:
        answer = await rig.service.ask("jobs", query)
        assert answer.status == 400
        assert query.partition("=")[0] in json.loads(answer.body)["detail"]

    run_with(Rig, test)
