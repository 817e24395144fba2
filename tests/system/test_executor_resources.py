"""What a task has of a relay's named resources: told in its environment, and its alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

from executor_kit import Relay, relay, shell, work

ALONE = """
for value in $(echo "$HPC_RESOURCE_PORTS" | tr , ' '); do
  mkdir "{0}/$value" || exit 9
done
sleep 0.02
for value in $(echo "$HPC_RESOURCE_PORTS" | tr , ' '); do rmdir "{0}/$value"; done
echo "$HPC_RESOURCE_PORTS $HPC_RESOURCE_LICENCES"
"""


def environ(taken: Relay, task: int) -> dict[str, str]:
    """What a task has seen of what is ours to tell."""
    lines = dict(line.split("=", 1) for line in taken.text(task).split("\0") if line)
    told = ("HPC_RESOURCE_", "HPC_GPUS", "CUDA_")
    return {name: value for name, value in lines.items() if name.startswith(told)}


def test_no_value_is_with_two_tasks_at_a_time(tmp_path: Path) -> None:
    """Tasks of one and of two values side by side; whoever comes too early waits."""

    async def scenario() -> None:
        stock = {"ports": ("8000", "8001", "8002"), "licences": 5}
        async with relay(tmp_path / "relay", cpus=[0] * 8, stock=stock) as taken:
            script = ALONE.format(tmp_path)
            taken.link.run(
                [
                    shell(script, tasks="0-9", resources={"ports": 1, "licences": 1}),
                    shell(script, tasks="10-14", resources={"ports": 2, "licences": 4}),
                ]
            )
            seen: set[str] = set()
            for task in range(15):
                assert (await taken.end(task))["exit_code"] == 0
                ports, amount = taken.text(task).split()
                assert (len(ports.split(",")), amount) == ((1, "1") if task < 10 else (2, "4"))
                seen |= set(ports.split(","))
            assert {"8000", "8001"} <= seen <= set(stock["ports"])

    asyncio.run(scenario())


def test_a_task_is_told_its_gpus_and_no_other(tmp_path: Path) -> None:
    """Also the one that asked for none, unless it says by itself what it uses."""

    async def scenario() -> None:
        stock = {"gpus": ("GPU-7f", "1"), "a-b.c": 3}
        lie = {"HPC_RESOURCE_X": "1", "HPC_GPUS": "9", "CUDA_VISIBLE_DEVICES": "5"}
        async with relay(tmp_path, stock=stock) as taken:
            taken.link.run(
                [
                    work("/usr/bin/env", "-0", tasks="0", resources={"gpus": 2, "a-b.c": 2}),
                    work("/usr/bin/env", "-0", tasks="1", env=lie, resources={"gpus": 1}),
                    work("/usr/bin/env", "-0", tasks="2"),
                    work("/usr/bin/env", "-0", tasks="3", env=lie, resources={"gpus": 0}),
                ]
            )
            for task in range(4):
                assert (await taken.end(task))["exit_code"] == 0
            assert environ(taken, 0) == {
                "CUDA_VISIBLE_DEVICES": "GPU-7f,1",
                "HPC_GPUS": "2",
                "HPC_RESOURCE_GPUS": "GPU-7f,1",
                "HPC_RESOURCE_A_B_C": "2",
            }
            one = environ(taken, 1)
            assert one.pop("CUDA_VISIBLE_DEVICES") == one.pop("HPC_RESOURCE_GPUS")
            assert one == {"HPC_GPUS": "1"}
            assert environ(taken, 2) == {"CUDA_VISIBLE_DEVICES": "", "HPC_GPUS": "0"}
            assert environ(taken, 3) == {"CUDA_VISIBLE_DEVICES": "5", "HPC_GPUS": "0"}

    asyncio.run(scenario())


def test_without_gpus_on_offer_a_task_sees_what_its_relay_sees(tmp_path: Path) -> None:
    """Nobody shares them out, so nobody takes them away."""

    async def scenario() -> None:
        async with relay(tmp_path) as taken:
            env = {"CUDA_VISIBLE_DEVICES": "3", "HPC_GPUS": "9", "HPC_RESOURCE_X": "1"}
            taken.link.run([work("/usr/bin/env", "-0", env=env)])
            await taken.end(0)
            assert environ(taken, 0) == {"CUDA_VISIBLE_DEVICES": "3"}

    asyncio.run(scenario())


def test_what_a_relay_does_not_have_is_refused_by_its_name(tmp_path: Path) -> None:
    """It may have offered it under an earlier start."""

    async def scenario() -> None:
        async with relay(tmp_path, stock={"gpus": ("0", "1")}) as taken:
            taken.link.run([work("true", tasks="0", resources={"fpgas": 1})])
            taken.link.run([work("true", tasks="1", resources={"gpus": 3})])
            ends = [await taken.end(task) for task in (0, 1)]
            assert [end["cause"] for end in ends] == ["refused", "refused"]
            assert "`fpgas`" in ends[0]["detail"]
            assert "3 of `gpus`: this relay offers 2" in ends[1]["detail"]

    asyncio.run(scenario())


def test_a_pool_of_thousands_is_taken_whole(tmp_path: Path) -> None:
    """Longer than an argument of a process may be, and as long as a variable: both are bounded."""

    async def scenario() -> None:
        ids = tuple(f"{n:023d}" for n in range(4096))
        stock = {"a": ids, "b": ids, "gpus": ids}
        async with relay(tmp_path, stock=stock) as taken:
            script = 'echo "$HPC_RESOURCE_A" | tr , "\\n" | wc -l'
            taken.link.run([shell(script, resources={"a": 4096, "gpus": 4096})])
            end = await taken.end(0)
            assert (end["exit_code"], taken.text(0).strip()) == (0, "4096")

    asyncio.run(scenario())
