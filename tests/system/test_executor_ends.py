"""The supervisor ends tasks: limits, cancel, the relay's death; and nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from executor_kit import Relay, boottime_ms, is_alive, relay, shell, until, work

# A daemon as daemons are made: forked twice, in a session of its own, with nothing in its
# environment that names its task; it writes its pid and stays.
DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        script = (
            'import os, sys, time\\n'
            'open(sys.argv[1], "w").write(str(os.getpid()))\\n'
            'time.sleep(600)'
        )
        os.execve(sys.executable, [sys.executable, '-c', script, sys.argv[1] + '.new'], {})
    os._exit(0)
os.wait()
while not os.path.exists(sys.argv[1] + '.new') or not open(sys.argv[1] + '.new').read():
    time.sleep(0.005)
os.rename(sys.argv[1] + '.new', sys.argv[1])
"""


def daemon(pid_file: Path, then: str) -> str:
    """Return a script that leaves a daemon behind, then goes on."""
    return f"{sys.executable} {pid_file.parent / 'daemon.py'} {pid_file}; {then}"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the program that makes a daemon."""
    (tmp_path / "daemon.py").write_text(DAEMON)
    return tmp_path


async def pid_in(file: Path) -> int:
    return int(await until(lambda: file.exists() and file.read_text(), f"a pid in {file}"))


async def dead(pid: int, *, within_s: float = 1.0) -> None:
    await until(lambda: not is_alive(pid), f"process {pid} is dead", deadline_s=within_s)


def test_time_limit_ends_a_task_and_names_itself(tmp_path: Path) -> None:
    """A user who reads `signal 15` would look for the fault in the program."""

    async def scenario() -> None:
        async with relay(tmp_path) as taken:
            taken.link.run([work("sleep", "600", time_limit_s=0.2)])
            end = await taken.end()
            assert (end["cause"], end["signal"]) == ("time limit", signal.SIGTERM)
            assert 200 <= end["finished_at"] - end["started_at"] < 5000

    asyncio.run(scenario())


def test_fault_53_a_task_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    """Grace is for saving work; it must not be a way to stay for ever."""

    async def scenario() -> None:
        async with relay(tmp_path) as taken:
            script = "trap 'echo heard' TERM; echo ready; while :; do sleep 0.05; done"
            taken.link.run([shell(script, grace_s=0.3)])
            await taken.has_started()
            await until(lambda: any(tmp_path.glob("run/s1/capture/*")), "it has its output file")
            await until(
                lambda: any(f.read_text() for f in tmp_path.glob("run/s1/capture/*")), "it is ready"
            )
            taken.link.cancel("job", 1, "0", "by the user")
            end = await taken.end()
            assert (end["cause"], end["signal"]) == ("cancelled", signal.SIGKILL)
            assert taken.text() == "ready\nheard\n"

    asyncio.run(scenario())


def test_grace_is_for_the_whole_group(place: Path) -> None:
    """A shell dies of SIGTERM at once; what it runs must still have time to save its work."""
    saver = (
        "import signal, sys, time\n"
        "def save(*_):\n"
        "    time.sleep(0.4); open(sys.argv[1], 'w').write('saved'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    (place / "saver.py").write_text(saver)

    async def scenario() -> None:
        async with relay(place / "n1") as taken:
            script = f"{sys.executable} saver.py saved; echo after"
            taken.link.run([shell(script, cwd=str(place), stdout="out", grace_s=20.0)])
            await until(lambda: "ready" in _read(place / "out"), "it is ready")
            taken.link.cancel("job", 1, "0", "by the user")
            assert (await taken.end())["cause"] == "cancelled"
            assert (place / "saved").read_text() == "saved"

    asyncio.run(scenario())


def _read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def test_fault_52_a_memory_hog_is_ended_over_its_whole_tree(tmp_path: Path) -> None:
    """The limit is for what a task's processes use together, and the reason is named."""
    hog = "import time; b = bytearray(45 << 20); b[::4096] = b'x' * len(b[::4096]); time.sleep(600)"

    async def scenario() -> None:
        async with relay(tmp_path) as taken:
            # No single process passes 64 MiB; the two children together do.
            script = f'{sys.executable} -c "{hog}" & {sys.executable} -c "{hog}" & wait'
            taken.link.run([shell(script, memory_mib=64)])
            end = await taken.end()
            assert end["cause"] == "oom"
            assert 64 << 20 < end["peak_memory_bytes"] < 256 << 20
            small = f"{sys.executable} -c \"b = bytearray(20 << 20); b[::4096] = b'x' * 5120\""
            taken.link.run([shell(small, memory_mib=64, tasks="1")])
            assert (await taken.end(1))["exit_code"] == 0

    asyncio.run(scenario())


def test_shared_memory_is_not_counted_twice(tmp_path: Path) -> None:
    """Forked workers that share an array are within the limit if the array is."""
    script = (
        "import os, time\n"
        "b = bytearray(60 << 20); b[::4096] = b'x' * len(b[::4096])\n"
        "children = [os.fork() for _ in range(2)]\n"
        "if 0 in children: time.sleep(0.5); os._exit(0)\n"
        "for pid in children: os.waitpid(pid, 0)\n"
    )

    async def scenario() -> None:
        async with relay(tmp_path) as taken:
            taken.link.run([work(sys.executable, "-c", script, memory_mib=120)])
            assert (await taken.end())["exit_code"] == 0

    asyncio.run(scenario())


def test_fault_54_a_daemon_dies_with_its_task(place: Path) -> None:
    """Whatever a task leaves behind would use cores that the next task was given."""

    async def scenario() -> None:
        async with relay(place / "n1") as taken:
            taken.link.run([shell(daemon(place / "a", "exit 3"), tasks="0")])
            assert (await taken.end(0))["exit_code"] == 3
            # The report comes after the death: nothing of a task outlives its end.
            assert not is_alive(int((place / "a").read_text()))

    asyncio.run(scenario())


def test_fault_54_a_daemon_dies_when_its_task_is_cancelled_and_others_live(place: Path) -> None:
    """Two tasks run side by side: the daemon of the one that goes on is left alone."""

    async def scenario() -> None:
        async with relay(place / "n1", cpus=[0, 1]) as taken:
            taken.link.run([shell(daemon(place / "a", "sleep 600"), tasks="0")])
            taken.link.run([shell(daemon(place / "b", "sleep 600"), tasks="1")])
            one, other = await pid_in(place / "a"), await pid_in(place / "b")
            taken.link.cancel("job", 1, "0", "by the user")
            await dead(one)
            assert (await taken.end(0))["cause"] == "cancelled"
            assert is_alive(other)
            taken.link.cancel("job", 1, "1", "by the user")
            await dead(other)

    asyncio.run(scenario())


def test_a_cancel_that_is_told_again_does_not_interrupt_again(tmp_path: Path) -> None:
    """A handler that saves what there is must be left to it; the Hub repeats what it has said."""
    told, beats = tmp_path / "told", tmp_path / "beats"
    script = f"trap 'echo term >> {told}' TERM; while :; do echo >> {beats}; sleep 0.01; done"

    async def beaten(count: int) -> None:
        """Wait for some more rounds of the script, before each of which it heeds its signals."""
        least = count + (beats.stat().st_size if beats.exists() else 0)
        await until(lambda: beats.exists() and beats.stat().st_size >= least, "it goes on")

    async def scenario() -> None:
        async with relay(tmp_path / "n1", cpus=[0]) as taken:
            taken.link.run([shell(script, tasks="0", grace_s=2.0)])
            await beaten(1)
            for _ in range(3):
                taken.link.cancel("job", 1, "0", "by the user")
                await taken.link.holds()  # it has taken the order
                await beaten(3)
            assert told.read_text() == "term\n"
            assert (await taken.end(0))["cause"] == "cancelled"

    asyncio.run(scenario())


def test_cancel_of_what_waits_gives_it_back(tmp_path: Path) -> None:
    """A task that never ran has no result, and its lease must not stay."""

    async def scenario() -> None:
        async with relay(tmp_path, cpus=[0]) as taken:
            taken.link.run([work("sleep", "600", tasks="0-9")])
            await taken.has_started(0)
            taken.link.cancel("job", 1, "5-9", "by the user")
            assert await taken.returned(7) == "given_back"
            taken.link.give_back("job", 1, "0-3")
            assert await taken.returned(3) == "given_back"
            assert ("job", 1, 0) not in taken.ends
            holds = json.loads(await taken.link.holds())
            assert holds == [{"job_id": "job", "attempt": 1, "tasks": "0,4"}]
            assert taken.started == [("job", 1, 0)]

    asyncio.run(scenario())


def test_fault_22_the_fence_ends_stop_tasks_and_starts_nothing(tmp_path: Path) -> None:
    """Past its fence a relay may be thought dead: what must not run twice has ended by then."""

    async def scenario() -> None:
        async with relay(tmp_path, cpus=[0, 1]) as taken:
            taken.link.fence(boottime_ms() + 60_000)
            sleep = ("sleep", "600")
            taken.link.run([work(*sleep, tasks="0", on_cut_off="stop")])
            taken.link.run([work(*sleep, tasks="1"), work(*sleep, tasks="2", on_cut_off="stop")])
            taken.link.run([work("true", tasks="3")])
            await taken.has_started(0)
            await taken.has_started(1)
            taken.link.fence(boottime_ms() + 100)
            assert await taken.returned(0) == "fence"
            assert await taken.returned(2) == "fence"
            assert [key[2] for key in taken.started] == [0, 1]
            taken.link.fence(boottime_ms() + 60_000)  # an answer came: what waits may start
            assert (await taken.end(3))["exit_code"] == 0
            taken.link.lost()
            holds = json.loads(await taken.link.holds())
            assert holds == [{"job_id": "job", "attempt": 1, "tasks": "1"}]

    asyncio.run(scenario())


def test_fault_21_a_drain_lets_finish_then_ends_and_returns(tmp_path: Path) -> None:
    """A node that goes down in order costs no result and no attempt."""

    async def scenario() -> None:
        async with relay(tmp_path, cpus=[0, 1]) as taken:
            taken.link.run(
                [shell("sleep 0.3; exit 0", tasks="0"), work("sleep", "600", tasks="1-2")]
            )
            await taken.has_started(1)
            taken.link.drain(1.0)
            assert await taken.returned(2) == "drain"
            assert (await taken.end(0))["exit_code"] == 0
            assert await taken.returned(1) == "drain"
            taken.link.run([work("true", tasks="9")])
            assert await taken.returned(9) == "drain"
            await asyncio.wait_for(taken.link.idle(), 10)

    asyncio.run(scenario())


def test_what_the_hub_drains_goes_back_and_the_rest_goes_on(tmp_path: Path) -> None:
    """The deadline of a drained node: ended as in a drain of its own, by name, and no failure."""

    async def scenario() -> None:
        async with relay(tmp_path, cpus=[0, 1]) as taken:
            taken.link.run([work("sleep", "600", tasks="1-3"), work("true", job_id="other")])
            await taken.has_started(2)
            taken.link.cancel("job", 1, "1,3", "drain")
            assert [await taken.returned(1), await taken.returned(3)] == ["drain", "drain"]
            assert (await taken.end(0, job="other"))["exit_code"] == 0
            taken.link.cancel("job", 1, "2", "cancelled")
            assert (await taken.end(2))["cause"] == "cancelled"

    asyncio.run(scenario())


@pytest.mark.parametrize("reason", ["fence", "drain"])
def test_fault_21_who_is_interrupted_and_exits_0_has_no_result(tmp_path: Path, reason: str) -> None:
    """A program that ends politely on SIGTERM has not done its work; it must run again."""
    script = f"trap 'exit 0' TERM; touch {tmp_path}/ready; while :; do sleep 0.02; done"

    async def scenario() -> None:
        async with relay(tmp_path / "n1") as taken:
            taken.link.run([shell(script, on_cut_off="stop", grace_s=20.0)])
            await until((tmp_path / "ready").exists, "it is ready")
            if reason == "drain":
                taken.link.drain(0.0)
            else:
                taken.link.fence(boottime_ms() + 20_000)  # its eighth is the grace
                taken.link.fence(boottime_ms() + 10)
            assert await taken.returned() == reason

    asyncio.run(scenario())


OWNER = """
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from executor_kit import relay, shell

async def main():
    async with relay(Path(sys.argv[1]) / "n1") as taken:
        taken.link.run([shell(sys.argv[3])])
        await taken.has_started()
        print(taken.link.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def _owner(place: Path, script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", OWNER, str(place), str(Path(__file__).parent), script],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_fault_19_nothing_outlives_a_relay_that_is_killed(place: Path) -> None:
    """kill -9 of the relay: its tasks, daemons among them, and its supervisor are gone in 1 s."""
    script = f"{daemon(place / 'a', '')} echo $$ > me; mv me b; trap '' TERM; sleep 600 & wait"

    async def scenario() -> None:
        owner = _owner(place, f"cd {place}; {script}")
        assert owner.stdout is not None
        supervisor = int(owner.stdout.readline())
        task, orphan = await pid_in(place / "b"), await pid_in(place / "a")
        owner.kill()
        killed_s = time.monotonic()
        for pid in (task, orphan, supervisor):
            await dead(pid, within_s=1.0 - (time.monotonic() - killed_s))
        owner.wait()
        owner.stdout.close()

    asyncio.run(scenario())


def test_a_dead_supervisor_is_noticed(tmp_path: Path) -> None:
    """A relay must not go on claiming work that nobody executes."""

    async def scenario() -> None:
        taken: Relay
        async with relay(tmp_path) as taken:
            waiting = asyncio.create_task(taken.link.idle())
            taken.link.run([work("sleep", "600")])
            await taken.has_started()
            os.kill(taken.link.pid, signal.SIGKILL)
            with pytest.raises(ConnectionResetError):
                await taken.link.next_chunks()
            with pytest.raises(ConnectionResetError):
                await taken.link.holds()
            with pytest.raises(ConnectionResetError):
                await waiting

    asyncio.run(scenario())
