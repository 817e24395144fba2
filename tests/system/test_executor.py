"""The supervisor runs real commands: results, folders, environment, output, slots."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path

import pytest
from executor_kit import frames, relay, shell, until, work


def test_exit_codes_and_signals_are_told_apart(tmp_path: Path) -> None:
    """A death by signal 9 and an exit with 137 are not the same to who looks for the reason."""

    async def scenario() -> None:
        async with relay(tmp_path) as taken:
            taken.link.run(
                [
                    shell("exit 0", tasks="0"),
                    shell("exit 7", tasks="1"),
                    shell("kill -KILL $$", tasks="2"),
                    shell("exit 137", tasks="3"),
                ]
            )
            ok = await taken.end(0)
            assert ok["exit_code"] == 0
            assert "cause" not in ok
            assert ok["started_at"] <= ok["finished_at"]
            assert ok["cpu_seconds"] >= 0
            seven = await taken.end(1)
            assert (seven["exit_code"], seven["cause"]) == (7, "exit")
            killed = await taken.end(2)
            assert (killed["signal"], killed["cause"]) == (9, "signal")
            assert "exit_code" not in killed
            assert (await taken.end(3))["exit_code"] == 137

    asyncio.run(scenario())


def test_a_peak_is_the_task_s_own(tmp_path: Path) -> None:
    """A process started by vfork inherits its parent's peak: what is not above it is not told."""
    half = "head -c 50000000 /dev/zero | tail -c 40000000 > /dev/null"

    async def scenario() -> None:
        async with relay(tmp_path) as taken:
            taken.link.run([shell(half, tasks="0"), shell("exit 0", tasks="1")])
            assert 35_000_000 < (await taken.end(0))["peak_memory_bytes"] < 80_000_000
            assert (await taken.end(1)).get("peak_memory_bytes", 0) < 8_000_000

    asyncio.run(scenario())


def test_what_cannot_start_says_why(tmp_path: Path) -> None:
    """`not found` for a missing folder would send the user to look for the wrong thing."""
    (tmp_path / "plain").write_text("no program")

    async def scenario() -> None:
        async with relay(tmp_path / "n1") as taken:
            taken.link.run(
                [
                    work("no-such-program", tasks="0"),
                    work("true", tasks="1", cwd=str(tmp_path / "missing")),
                    work(str(tmp_path / "plain"), tasks="2"),
                    work("true", tasks="3", stdout=str(tmp_path / "missing" / "out")),
                    work("true", tasks="4", cpus=10_000),
                ]
            )
            missing = await taken.end(0)
            assert (missing["cause"], missing["exit_code"]) == ("not found", 127)
            assert "no-such-program" in missing["detail"]
            folder = await taken.end(1)
            assert folder["cause"] == "cwd not found"
            assert str(tmp_path / "missing") in folder["detail"]
            plain = await taken.end(2)
            assert (plain["cause"], plain["exit_code"]) == ("exit", 126)
            assert (await taken.end(3))["cause"] == "refused"
            assert "10000 cpus" in (await taken.end(4))["detail"]
            taken.link.refuse(work("x", tasks="5-6"), "not planned here")
            assert await taken.end(6) == {
                **(await taken.end(5)),
                "cause": "refused",
                "detail": "not planned here",
            }

    asyncio.run(scenario())


def test_a_task_knows_who_it_is_and_not_our_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever can read a job's environment must not be able to act as the relay."""
    monkeypatch.setenv("HPC_TOKEN", "secret-of-the-relay")

    async def scenario() -> None:
        async with relay(tmp_path) as taken:
            env = {"PATH": os.environ["PATH"], "HPC_TOKEN": "secret-of-the-relay", "OWN": "x y"}
            entries = {"4": "a line", "5": {"lr": 0.1}}
            taken.link.run(
                [work("env", "-0", tasks="4-5", attempt=2, env=env, entries=entries, cpus=1)]
            )
            await taken.end(4, attempt=2)
            await taken.end(5, attempt=2)
            seen = dict(line.split("=", 1) for line in taken.text(4).split("\0") if line)
            place = seen.pop("HPC_RELAY_PLACE")
            assert place
            assert seen == {
                "PATH": os.environ["PATH"],
                "OWN": "x y",
                "HPC_JOB_ID": "job",
                "HPC_TASK_ID": "4",
                "HPC_ATTEMPT": "2",
                "HPC_NODE_ID": "n1",
                "HPC_CPUS": "1",
                "HPC_MEMORY_MIB": "0",
                "HPC_ENTRY": "a line",
            }
            assert 'HPC_ENTRY={"lr":0.1}' in taken.text(5)
            environ = Path(f"/proc/{taken.link.pid}/environ").read_bytes()
            assert b"secret-of-the-relay" not in environ

    asyncio.run(scenario())


def test_a_child_starts_clean(tmp_path: Path) -> None:
    """A server's ignored signals, descriptors or session must not show in the user's program."""
    script = (
        "import json, os, signal\n"
        "ignored = [s.name for s in signal.Signals if s != signal.SIGPIPE and s != signal.SIGXFSZ"
        " and signal.getsignal(s) == signal.SIG_IGN]\n"
        "mask = list(signal.pthread_sigmask(signal.SIG_BLOCK, []))\n"
        "status = open('/proc/self/status').read()\n"
        "sig_ign = [line for line in status.splitlines() if line.startswith('SigIgn')]\n"
        "print(json.dumps({'ignored': ignored, 'mask': mask, 'fds': os.listdir('/proc/self/fd'),"
        " 'leads': os.getsid(0) == os.getpid() == os.getpgid(0), 'stdin': os.read(0, 9).decode(),"
        " 'umask': os.umask(0)}))\n"
    )
    old = os.umask(0o027)

    async def scenario() -> None:
        async with relay(tmp_path) as taken:
            taken.link.run([work("python3", "-c", script)])
            await taken.end()
            seen = json.loads(taken.text())
            assert seen["ignored"] == []
            assert seen["mask"] == []
            assert len(seen["fds"]) == 4  # 0, 1, 2 and the one that lists them
            assert seen["leads"]
            assert seen["stdin"] == ""
            assert seen["umask"] == 0o027

    try:
        asyncio.run(scenario())
    finally:
        os.umask(old)


def test_a_folder_of_its_own_is_gone_afterwards(tmp_path: Path) -> None:
    """A million tasks must not leave a million folders, nor see each other's files."""

    async def scenario() -> None:
        async with relay(tmp_path) as taken:
            taken.link.run(
                [shell("pwd; ls -A; touch left .hidden; mkdir d", cwd=None, tasks="0-3")]
            )
            folders = []
            for task in range(4):
                await taken.end(task)
                folder, *seen = taken.text(task).splitlines()
                assert seen == []
                assert folder.startswith(str(tmp_path))
                folders.append(Path(folder))
            taken.link.run([shell("pwd; stat -c %a .", cwd=None, tasks="4")])
            await taken.end(4)
            folder, mode = taken.text(4).splitlines()
            assert mode == "700"
            folders.append(Path(folder))
            await until(lambda: not any(f.exists() for f in folders), "the folders are removed")

    asyncio.run(scenario())


def test_the_folder_of_the_last_task_is_gone_too(tmp_path: Path) -> None:
    """Unused folders are looked for while this task runs, and must be looked for again after it."""

    async def scenario() -> None:
        async with relay(tmp_path) as taken:
            taken.link.run(
                [shell("pwd; test $HPC_TASK_ID = 0 || sleep 0.6", cwd=None, tasks="0-1")]
            )
            for task in range(2):
                await taken.end(task)
            folders = [Path(taken.text(task).strip()) for task in range(2)]
            await until(lambda: not any(f.exists() for f in folders), "the folders are removed")

    asyncio.run(scenario())


def test_output_goes_where_the_user_says(tmp_path: Path) -> None:
    """%j, %a and %N are filled in, relative to the task's folder; two streams may share a file."""
    (tmp_path / "in").write_text("from a file")

    async def scenario() -> None:
        async with relay(tmp_path / "n1") as taken:
            there = str(tmp_path)
            taken.link.run(
                [
                    shell(
                        "cat; echo out; echo err >&2",
                        cwd=there,
                        tasks="0-1",
                        stdin="in",
                        stdout="%j.%a.%N.out",
                        stderr="%j.%a.%N.out",
                    )
                ]
            )
            for task in range(2):
                await taken.end(task)
                assert (tmp_path / f"job.{task}.n1.out").read_text() == "from a fileout\nerr\n"
            assert taken.output == {}

    asyncio.run(scenario())


def test_output_is_captured_whole_or_by_its_ends(tmp_path: Path) -> None:
    """64 KiB travel whole; of more, both ends travel and the rest stays for readers."""

    async def scenario() -> None:
        async with relay(tmp_path) as taken:
            long = "seq 1 40000"
            taken.link.run(
                [
                    shell("echo hello; echo oops >&2", tasks="0"),
                    shell("head -c 65536 /dev/zero | tr '\\0' x", tasks="1"),
                    shell(long, tasks="2"),
                    shell("exit 0", tasks="3"),
                ]
            )
            for task in range(4):
                await taken.end(task)
            assert taken.text(0) == "hello\n"
            assert taken.text(0, "stderr") == "oops\n"
            assert taken.text(1) == "x" * 65536
            whole = "".join(f"{n}\n" for n in range(1, 40001)).encode()
            assert taken.output["job", 2, "stdout"] == {
                0: whole[:32768],
                len(whole) - 32768: whole[-32768:],
            }
            assert ("job", 3, "stdout") not in taken.output
            kept = list(tmp_path.glob("outputs/job/2.1.stdout"))
            assert [k.read_bytes() for k in kept] == [whole]
            assert stat.S_IMODE(kept[0].stat().st_mode) == 0o600

    asyncio.run(scenario())


def test_output_can_be_followed_while_a_task_runs(tmp_path: Path) -> None:
    """A reader sees what is there at once, then what comes, without waiting for the end."""
    gate, last_gate = tmp_path / "gate", tmp_path / "last_gate"
    os.mkfifo(gate)
    os.mkfifo(last_gate)

    async def scenario() -> None:
        async with relay(tmp_path / "n1") as taken:
            taken.link.run(
                [shell(f"echo first; read go < {gate}; echo second; read go < {last_gate}")]
            )
            await taken.has_started()
            followed = {"job_id": "job", "task": 0, "stream": "stdout", "offset": 0}
            taken.link.tail([followed])
            seen = b""
            caught_up = False
            while seen != b"first\n" or not caught_up:
                for header, data in frames(await asyncio.wait_for(taken.link.next_chunks(), 10)):
                    assert header["offset"] == len(seen)
                    assert (header["attempt"], header["stream"]) == (1, "stdout")
                    seen += data
                    caught_up |= header.get("now", False)
            taken.link.tail([followed])
            gate.write_text("go\n")
            ((header, data),) = frames(await asyncio.wait_for(taken.link.next_chunks(), 10))
            assert (header["offset"], data) == (6, b"second\n")
            assert "now" not in header
            taken.link.tail([])
            last_gate.write_text("go\n")
            await taken.end()
            assert taken.text() == "first\nsecond\n"

    asyncio.run(scenario())


def test_long_output_can_be_read_after_the_end(tmp_path: Path) -> None:
    """The middle of a long stream is not at the Hub: whoever wants it gets it from the relay."""

    async def scenario() -> None:
        async with relay(tmp_path) as taken:
            taken.link.run([shell("seq 1 400000")])
            await taken.end()
            taken.link.tail([{"job_id": "job", "task": 0, "stream": "stdout", "offset": 32768}])
            seen, header = b"", {}
            while not header.get("end"):
                for header, data in frames(await asyncio.wait_for(taken.link.next_chunks(), 10)):
                    assert header["offset"] == 32768 + len(seen)
                    seen += data
            whole = "".join(f"{n}\n" for n in range(1, 400001)).encode()
            assert seen == whole[32768:]

    asyncio.run(scenario())


def test_tasks_have_cores_of_their_own(tmp_path: Path) -> None:
    """Two tasks of one core each never share one, and threads that a task starts stay there."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("needs two cores")
    # Each waits until both run, so that they hold their cores at the same time.
    script = (
        "mkdir here.$HPC_TASK_ID; until [ -d here.0 ] && [ -d here.1 ]; do sleep 0.01; done\n"
        "grep Cpus_allowed_list /proc/self/status"
    )

    async def scenario() -> None:
        async with relay(tmp_path / "n1", cpus=cores[:2]) as taken:
            there = str(tmp_path)
            taken.link.run(
                [shell(script, cwd=there, tasks="0-1"), work("nproc", tasks="2", cpus=2)]
            )
            for task in range(3):
                await taken.end(task)
            seen = {taken.text(task).split()[-1] for task in (0, 1)}
            assert seen == {str(core) for core in cores[:2]}
            assert taken.text(2).strip() == "2"

    asyncio.run(scenario())


def test_slots_are_never_over_committed(tmp_path: Path) -> None:
    """Memory and cores that a task reserves are not given to another while it runs."""

    async def scenario() -> None:
        async with relay(tmp_path, cpus=[0], memory_mib=1000) as taken:
            script = f"mkdir {tmp_path}/alone || exit 9; sleep 0.01; rmdir {tmp_path}/alone"
            taken.link.run([shell(script, tasks="0-19", reserve_mib=600)])
            for task in range(20):
                assert (await taken.end(task))["exit_code"] == 0

    asyncio.run(scenario())


def test_a_relay_may_offer_more_cpus_than_there_are_cores(tmp_path: Path) -> None:
    """What a claim offers must run here: the Hub counts the cpus, not the cores behind them."""

    async def scenario() -> None:
        async with relay(tmp_path, cpus=[0, 1, 0, 1]) as taken:
            taken.link.run([shell("echo $HPC_CPUS", tasks="0", cpus=4)])
            assert (await taken.end(0))["exit_code"] == 0
            assert taken.text(0) == "4\n"
            script = "touch {0}; until [ -e {1} ]; do sleep 0.01; done"
            one, other = tmp_path / "one", tmp_path / "other"
            taken.link.run([shell(script.format(one, other), tasks="1", cpus=2)])
            taken.link.run([shell(script.format(other, one), tasks="2", cpus=2)])
            assert (await taken.end(1))["exit_code"] == 0
            assert (await taken.end(2))["exit_code"] == 0
            taken.link.run([work("true", tasks="3", cpus=5)])
            assert "5 cpus" in (await taken.end(3))["detail"]

    asyncio.run(scenario())


def test_none_finishes_at_once(tmp_path: Path) -> None:
    """What measures everything else must cost nothing itself, a million tasks or one."""

    async def scenario() -> None:
        async with relay(tmp_path) as taken:
            taken.link.run([work(kind="none", tasks="0-9999")])
            await taken.end(9999)
            assert len(taken.ends) == len(taken.started) == 10_000
            assert [event["kind"] for event in taken.events] == ["JobStarted", "JobFinished"]
            assert taken.events[1]["payload"]["ctx"]["tasks"] == "0-9999"

    asyncio.run(scenario())


def test_a_range_runs_each_task_once_and_is_told_in_few_batches(tmp_path: Path) -> None:
    """What is told of short tasks goes together: a Hub that is asked once per task is lost."""
    count = 600

    async def scenario() -> None:
        async with relay(tmp_path) as taken:
            taken.link.run([work("true", tasks=f"0-{count - 1}", cwd=None)])
            for task in range(count):
                assert (await taken.end(task))["exit_code"] == 0
            assert sorted(taken.started) == [("job", 1, task) for task in range(count)]
            assert len(taken.batches) < count

    asyncio.run(scenario())
