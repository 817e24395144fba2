"""Long output that stays at a relay: for how long, how much of it, and what readers are told."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from executor_kit import Relay, boottime_ms, frames, relay, shell, until

from hpc.testing import processes
from hpc.testing.processes import Cluster

KIB = 1 << 10
LONG = 100 * KIB


def kept(folder: Path) -> list[int]:
    """The tasks of which a stream is kept, by number."""
    return sorted(int(path.name.split(".")[0]) for path in folder.glob("outputs/*/*"))


async def write(taken: Relay, task: int) -> None:
    """Have a task write more than its report carries, and wait for its end."""
    taken.link.run([shell(f"head -c {LONG} /dev/zero", tasks=str(task))])
    await taken.end(task)


def test_of_more_than_the_quota_the_oldest_goes(tmp_path: Path) -> None:
    """As soon as more is kept, and what the Hub has not acknowledged is never touched."""

    async def scenario() -> None:
        async with relay(tmp_path, output_quota_bytes=3 * LONG) as taken:
            for task in range(5):
                await write(taken, task)
            await until(lambda: kept(tmp_path) == [2, 3, 4], "two are gone")
            taken.acknowledges = False
            for task in range(5, 10):
                # One batch is in flight: the later ends are in none yet.
                taken.link.run([shell(f"head -c {LONG} /dev/zero", tasks=str(task))])
                await until(lambda task=task: task in kept(tmp_path), f"task {task} is kept")
            await until(lambda: kept(tmp_path) == [5, 6, 7, 8, 9], "what was acknowledged is gone")
            taken.acknowledges = True
            last = taken.batches[-1]
            taken.link.acked(last.origin, last.n)
            await until(lambda: kept(tmp_path) == [7, 8, 9], "two more are gone")

    asyncio.run(scenario())


def test_what_is_too_old_goes_at_the_start(tmp_path: Path) -> None:
    """But not what an outbox still has to tell."""
    day_s = 86_400

    async def scenario() -> None:
        async with relay(tmp_path) as taken:
            for task in range(2):
                await write(taken, task)
            taken.acknowledges = False
            # Its start is told by itself, so that its end is in no batch of this session.
            taken.link.run([shell(f"sleep 0.3; head -c {LONG} /dev/zero", tasks="2")])
            await until(lambda: kept(tmp_path) == [0, 1, 2], "all are kept")
        then = time.time() - 31 * day_s
        for task in (0, 2):
            os.utime(tmp_path / "outputs" / "job" / f"{task}.1.stdout", (then, then))
        async with relay(tmp_path, session="s2") as taken:
            # As after an answer to a claim: what the first has told in no batch is told now.
            taken.link.adopt(taken.link.old)
            taken.link.fence(boottime_ms() + 60_000)
            # The second start acknowledges what is left, and only then may it go.
            await until(lambda: kept(tmp_path) == [1], "the old ones are gone")
            assert ("job", 1, 2) in taken.ends

    asyncio.run(scenario())


@pytest.mark.parametrize("task", [0, 7])
def test_of_what_is_not_here_the_relay_says_so(tmp_path: Path, task: int) -> None:
    """Of a stream that is kept no longer, and of one that never was."""

    async def scenario() -> None:
        async with relay(tmp_path, output_quota_bytes=LONG - 1) as taken:
            await write(taken, 0)
            await until(lambda: kept(tmp_path) == [], "it is gone")
            taken.link.tail([{"job_id": "job", "task": task, "stream": "stdout", "offset": 5}])
            chunks = await asyncio.wait_for(taken.link.next_chunks(), 10)
            ((header, data),) = frames(chunks)
            assert (header["task"], header["attempt"], header["now"]) == (task, 0, True)
            assert data == b""

    asyncio.run(scenario())


def test_of_a_task_that_waits_here_it_says_nothing_yet(tmp_path: Path) -> None:
    """It will write: a reader who asks early is answered when it does."""
    cores = sorted(os.sched_getaffinity(0))[:1]

    async def scenario() -> None:
        async with relay(tmp_path / "n1", cpus=cores) as taken:
            waits = f"until [ -e {tmp_path}/gate.$HPC_TASK_ID ]; do sleep 0.02; done"
            taken.link.run([shell(waits, tasks="0"), shell(waits, tasks="1")])
            await taken.has_started(0)
            taken.link.tail([{"job_id": "job", "task": 1, "stream": "stdout", "offset": 0}])
            (tmp_path / "gate.0").touch()
            ((header, data),) = frames(await asyncio.wait_for(taken.link.next_chunks(), 10))
            assert (header["task"], header["attempt"], header["now"], data) == (1, 1, True, b"")
            (tmp_path / "gate.1").touch()
            await taken.end(1)

    asyncio.run(scenario())


def timed(read: Callable[[], bytes]) -> tuple[bytes, float]:
    began = time.monotonic()
    return read(), time.monotonic() - began


def test_a_reader_of_what_is_gone_is_told_so_at_once(cluster: Cluster) -> None:
    """Both ends are at the Hub, and nobody waits for a middle that no relay has any more."""
    cluster.relay("n1", "--output-quota", "1M")
    client = cluster.client()
    jobs = [client.submit(f"head -c {700 * KIB} /dev/zero", memory=16) for _ in range(2)]
    for job in jobs:
        assert job.wait(30)["state"] == "succeeded"
    outputs = cluster.home / "relays" / "n1" / "outputs"
    processes.until(lambda: len(list(outputs.glob("*/*"))) == 1)

    gone = jobs[0] if (outputs / jobs[1].id).exists() else jobs[1]
    with client.log(gone.id, None) as pieces:
        data, took_s = timed(lambda: b"".join(pieces))
        note = pieces.headers["hpc-note"]
    assert note == f"bytes {32 * KIB} to {668 * KIB - 1} of stdout are not at the Hub; " + (
        "node n1 has not got them"
    )
    assert len(data) == 64 * KIB
    assert took_s < 4.0, "it waited for the node"
    (other,) = {job.id for job in jobs} - {gone.id}
    assert len(b"".join(client.job(other).log())) == 700 * KIB
