"""The monitor: figures of this machine, which of them are told, and when."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import types
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from relay_scripted import Request, Response, ScriptedHub, SetClock, run

from hpc.clock import SystemClock
from hpc.errors import NotAllowed
from hpc.monitor.reporter import Reporter, moved
from hpc.monitor.sampler import Sampler
from hpc.namespaces.monitor import MONITOR
from hpc.transport.http_async import Problem
from hpc.transport.register import register

INTERVAL_S = 0.005


def figures(cpu: float = 10.0, used: int = 1000) -> dict[str, Any]:
    return {"cpu_usage": f"{cpu:.1f}%", "mem_used_kb": used, "mem_total_kb": 10_000}


class Monitor:
    """A reporter whose figures, clock and Hub are the test's."""

    def __init__(self, *answers: Response) -> None:
        self.answers = list(answers)
        self.now = figures()
        self.clock = SetClock()
        self.hub = ScriptedHub(self._script)
        self.said: list[str] = []
        self.recorded = 0
        self.origins = iter(["first", "second"])
        self.taken = 0

    async def _script(self, request: Request) -> Response:
        return self.answers.pop(0) if self.answers else Response(200, {})

    def sample(self) -> dict[str, Any]:
        self.taken += 1
        return self.now

    async def register(self) -> Problem | None:
        return await register(self.hub.lane(), MONITOR)

    def count(self) -> None:
        self.recorded += 1

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        async with self.hub:
            reporter = Reporter(
                rpc=self.hub.lane(),
                node_id="n1",
                interval_s=INTERVAL_S,
                sample=self.sample,
                origin=lambda: next(self.origins),
                register=self.register,
                clock=self.clock,
                random=Random(7),
                on_recorded=self.count,
                say=self.said.append,
            )
            task = asyncio.create_task(reporter.run())
            try:
                yield task
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def looked(self, more: int = 2) -> None:
        """Wait until so many more samples were taken."""
        until = self.taken + more
        while self.taken < until:
            await asyncio.sleep(INTERVAL_S)

    async def batches(self, count: int) -> list[dict[str, Any]]:
        while len(self.hub.seen("/ingest")) < count:
            await asyncio.sleep(INTERVAL_S)
        return [request.json() for request in self.hub.seen("/ingest")]


def test_the_first_sample_is_told_and_then_only_news() -> None:
    """An idle cluster must not fill the log; 60 s without news are news."""

    async def scenario() -> None:
        monitor = Monitor()
        async with monitor.running():
            [first] = await monitor.batches(1)
            monitor.now = figures(cpu=11.9, used=1199)
            await monitor.looked()
            assert len(await monitor.batches(1)) == 1
            monitor.now = figures(cpu=12.0)
            assert len(await monitor.batches(2)) == 2
            await monitor.looked()
            monitor.clock.advance(60_000)
            batches = await monitor.batches(3)
        assert [batch["id"] for batch in batches] == ["first/1", "first/2", "first/3"]
        assert monitor.recorded == 1
        assert first["events"] == [
            {
                "kind": "HardwareStats",
                "at": 1_700_000_000_000,
                "payload": {"ctx": {"ns_id": "monitor", "node_id": "n1"}, "spec": figures()},
            }
        ]

    run(scenario())


def test_samples_of_the_last_hour_are_told_later_in_order() -> None:
    """What happened while the Hub was away is seen afterwards, when it happened."""

    async def scenario() -> None:
        monitor = Monitor()
        async with monitor.running():
            await monitor.batches(1)
            await monitor.hub.stop()
            for step in range(70):
                monitor.clock.advance(60_000)
                monitor.now = figures(cpu=step)
                await monitor.looked()
            await monitor.hub.start()
            batches = await monitor.batches(3)
        events = [event for batch in batches[1:] for event in batch["events"]]
        times = [event["at"] for event in events]
        assert times == sorted(times)
        # One was on its way when the Hub went; the rest is the last hour.
        assert len(events) == 62
        assert events[-1]["payload"]["spec"]["cpu_usage"] == "69.0%"

    run(scenario())


def test_a_lost_reply_is_asked_for_again_under_the_same_id() -> None:
    """The Hub then answers `duplicate` and counts the report once."""

    async def scenario() -> None:
        monitor = Monitor(Response(0), Response(503, {"code": "stopping"}))
        async with monitor.running():
            batches = await monitor.batches(3)
        assert batches[0] == batches[1] == batches[2]

    run(scenario())


def test_a_hub_without_the_namespace_is_given_it() -> None:
    """A monitor can be started against any Hub."""

    async def scenario() -> None:
        monitor = Monitor(Response(404, {"code": "unknown_namespace", "detail": "no `monitor`"}))
        async with monitor.running():
            await monitor.batches(2)
        namespace, generator = [request.json() for request in monitor.hub.seen("/control")]
        assert (namespace["type"], namespace["ns_id"]) == ("RegisterNamespace", "monitor")
        assert "ns_id" not in namespace["spec"]
        assert "HardwareStats" in namespace["spec"]["schema"]
        assert (generator["type"], generator["gid"]) == ("RegisterGenerator", "monitor")

    run(scenario())


def test_a_gap_begins_a_new_origin() -> None:
    """Gauges may be told again; a monitor that stops for a restored Hub helps nobody."""

    async def scenario() -> None:
        monitor = Monitor(Response(409, {"code": "gap", "expected": 1}))
        async with monitor.running():
            batches = await monitor.batches(2)
        assert [batch["id"] for batch in batches] == ["first/1", "second/1"]
        assert batches[0]["events"] == batches[1]["events"]

    run(scenario())


def test_a_refused_batch_is_left_out_and_its_number_used_again() -> None:
    """Nothing was recorded under it, and a number that is skipped would be a gap."""

    async def scenario() -> None:
        monitor = Monitor(Response(422, {"code": "not_well_formed", "detail": "no"}))
        async with monitor.running():
            await monitor.batches(1)
            monitor.now = figures(cpu=50)
            batches = await monitor.batches(2)
        assert [batch["id"] for batch in batches] == ["first/1", "first/1"]
        assert batches[1]["events"][0]["payload"]["spec"]["cpu_usage"] == "50.0%"
        assert monitor.said == ["the Hub does not take samples: no"]

    run(scenario())


def test_a_monitor_with_a_wrong_token_ends() -> None:
    """It was never served, and waiting mends nothing."""

    async def scenario() -> None:
        monitor = Monitor()
        monitor.hub.token = "another"
        async with monitor.running() as task:
            with pytest.raises(NotAllowed):
                await task

    run(scenario())


def test_figures_without_a_whole_are_no_news() -> None:
    """The load and the uptime always move."""
    assert not moved({**figures(), "load1": 0.1}, {**figures(), "load1": 9.0})
    assert moved(figures(), {**figures(), "gpus": [{"usage": "0%", **figures()}]})


def test_a_sample_of_this_machine_fits_its_schema(tmp_path: Path) -> None:
    """The figures are real and of the types that the namespace asks for."""
    sampler = Sampler(SystemClock(), tmp_path)
    sample = sampler.sample()
    kinds = {"String": str, "Int": int, "Float": float, "List": list}
    for field in MONITOR.namespace.schema["HardwareStats"]:
        if field.required or field.key in sample:
            assert type(sample[field.key]) is kinds[field.expected_type], field.key
    assert sample.keys() <= {field.key for field in MONITOR.namespace.schema["HardwareStats"]}
    assert sample["mem_total_kb"] > sample["mem_used_kb"] > 0
    assert sample["cpus"] >= 1
    assert abs(sample["disk_free_kb"] - shutil.disk_usage(tmp_path).free // 1024) < 1 << 20


def test_a_disk_that_is_gone_leaves_its_figure_out(tmp_path: Path) -> None:
    """An optional figure must not end the report."""
    assert "disk_free_kb" not in Sampler(SystemClock(), tmp_path / "gone").sample()


class Nvml(types.ModuleType):
    """The part of nvidia-ml-py that the sampler calls, over one made-up device."""

    class NVMLError(Exception):
        """A driver that does not answer."""

    def __init__(self, *, is_gone: bool = False) -> None:
        super().__init__("pynvml")
        self.is_gone = is_gone

    def nvmlInit(self) -> None:  # noqa: N802 - its name there
        return

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        if self.is_gone:
            raise self.NVMLError
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetName(self, device: int) -> bytes:  # noqa: N802
        return b"GPU 1"

    def nvmlDeviceGetMemoryInfo(self, device: int) -> types.SimpleNamespace:  # noqa: N802
        return types.SimpleNamespace(used=2048, total=4096)

    def nvmlDeviceGetUtilizationRates(self, device: int) -> types.SimpleNamespace:  # noqa: N802
        return types.SimpleNamespace(gpu=40)


def test_gpus_are_reported_where_the_library_and_a_driver_are_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A driver that goes away takes its own figures with it and no others."""
    nvml = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert "gpus" not in Sampler(SystemClock(), tmp_path, root=tmp_path).sample()
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    sampler = Sampler(SystemClock(), tmp_path, root=tmp_path)
    gpu = {"name": "GPU 1", "usage": "40%", "mem_used_kb": 2, "mem_total_kb": 4}
    assert sampler.sample()["gpus"] == [gpu]
    nvml.is_gone = True
    assert "gpus" not in sampler.sample()
