"""Limits of tasks, by what the tasks and their files say: warnings, output, umask, ulimits."""

from __future__ import annotations

import asyncio
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import run, succeed
from executor_kit import Relay, frames, is_alive, relay, shell, work

from hpc.testing.processes import Cluster, until

MIB = 1 << 20

# Writes so many MiB of lines that are numbered, and waits wherever they take much of the disk.
FLOODS = """
import os, sys, time
for first in range(0, int(sys.argv[1]) << 14, 1 << 14):
    os.write(1, b"".join(b"%063d\\n" % n for n in range(first, first + (1 << 14))))
    while os.fstat(1).st_blocks * 512 > 64 << 20:
        time.sleep(0.001)
print("the last line")
print("an error", file=sys.stderr)
"""

# Tells when it is ready and when it was warned, then ends by itself.
SAVES = """
import signal, sys, time
def save(*_):
    open(sys.argv[1], "a").write("saved")
    sys.exit(0)
signal.signal(signal.SIGUSR1, save)
time.sleep(600)
"""


def test_a_warned_task_may_finish_by_itself(tmp_path: Path) -> None:
    """An hour's work is saved, and the job has not failed."""
    saved = tmp_path / "saved"

    async def scenario() -> None:
        async with relay(tmp_path / "n1") as taken:
            fields = {"time_limit_s": 60.0, "warn_signal": signal.SIGUSR1, "warn_s": 58.5}
            taken.link.run([work(sys.executable, "-c", SAVES, str(saved), **fields)])
            end = await taken.end()
            assert (end["exit_code"], end.get("cause")) == (0, None)
            assert saved.read_text() == "saved"
            assert end["finished_at"] - end["started_at"] >= 1500

    asyncio.run(scenario())


def test_a_warning_is_for_the_whole_group_and_moves_no_limit(tmp_path: Path) -> None:
    """A child hears it too; who goes on all the same is ended when the time is over."""
    heard = tmp_path / "heard"
    child = f"trap 'echo child >> {heard}' USR1; while :; do sleep 0.02; done"
    script = f"trap 'echo shell >> {heard}' USR1; sh -c \"{child}\" & while :; do wait; done"

    async def scenario() -> None:
        async with relay(tmp_path / "n1") as taken:
            fields = {"time_limit_s": 2.0, "warn_signal": signal.SIGUSR1, "warn_s": 1.0}
            taken.link.run([shell(script, grace_s=0.1, **fields)])
            end = await taken.end()
            assert end["cause"] == "time limit"
            assert sorted(heard.read_text().split()) == ["child", "shell"]
            assert 2000 <= end["finished_at"] - end["started_at"] < 10_000

    asyncio.run(scenario())


def test_a_warning_before_the_start_comes_at_once(tmp_path: Path) -> None:
    """A limit of half a second leaves no minute for a warning."""

    async def scenario() -> None:
        async with relay(tmp_path) as taken:
            fields = {"time_limit_s": 500.0, "warn_signal": signal.SIGUSR1, "warn_s": 600.0}
            taken.link.run([work("sleep", "600", **fields)])
            end = await taken.end()
            assert (end["cause"], end["signal"]) == ("signal", signal.SIGUSR1)

    asyncio.run(scenario())


def kept(folder: Path, stream: str = "stdout") -> Path:
    """The file that a long stream of task 0 was kept in."""
    return folder / "outputs" / "job" / f"0.1.{stream}"


def test_fault_50_a_flood_is_ended_and_its_first_part_is_kept(tmp_path: Path) -> None:
    """What a task says at its beginning tells why it went wrong; its millionth line does not."""

    async def scenario() -> None:
        async with relay(tmp_path) as taken:
            limit = 2 * MIB
            script = "echo first; echo error >&2; exec yes"
            taken.link.run([shell(script, output_limit=limit)])
            end = await taken.end()
            assert (end["cause"], end["signal"]) == ("output limit", signal.SIGKILL)
            text = kept(tmp_path).read_bytes()
            assert text.startswith(b"first\ny\ny\n")
            assert len(text) == limit - len("error\n")
            assert taken.text(stream="stderr") == "error\n"
            frames = taken.output["job", 0, "stdout"]
            assert frames[0].startswith(b"first\n")
            assert max(offset + len(part) for offset, part in frames.items()) == len(text)

    asyncio.run(scenario())


def test_fault_50_a_flood_from_a_process_that_left_is_ended_too(tmp_path: Path) -> None:
    """The limit is for all that a task has started, in whatever session."""
    script = f"setsid sh -c 'echo $$ > {tmp_path}/pid; exec yes' & exec sleep 600"

    async def scenario() -> None:
        async with relay(tmp_path / "n1") as taken:
            taken.link.run([shell(script, output_limit=MIB)])
            end = await taken.end()
            assert end["cause"] == "output limit"
            assert kept(tmp_path / "n1").stat().st_size == MIB
            assert not is_alive(int((tmp_path / "pid").read_text()))

    asyncio.run(scenario())


def test_fault_50_a_flood_does_not_get_far(tmp_path: Path) -> None:
    """A gigabyte a second is what one core writes; the disk must not find out for how long."""
    seen = 0

    async def watch(taken: Relay) -> None:
        nonlocal seen
        while ("job", 1, 0) not in taken.ends:
            sizes = [file.stat().st_size for file in tmp_path.glob("run/s1/capture/*")]
            seen = max(seen, *sizes, 0)
            await asyncio.sleep(0.002)

    async def scenario() -> None:
        async with relay(tmp_path) as taken:
            # Silent at first, so that it is looked at rarely when the flood begins.
            script = "sleep 0.7; exec cat /dev/zero"
            taken.link.run([shell(script, output_limit=8 * MIB)])
            await watch(taken)
            assert (await taken.end())["cause"] == "output limit"
            assert kept(tmp_path).stat().st_size == 8 * MIB

    asyncio.run(scenario())
    # 100 ms of 4 GiB/s, and as much again for a machine that is busy elsewhere.
    assert seen < 800 * MIB


def test_who_passes_the_limit_between_two_looks_has_passed_it(tmp_path: Path) -> None:
    """The end of a task must not depend on when somebody looked."""

    async def scenario() -> None:
        async with relay(tmp_path) as taken:
            over = f"head -c {200_001} /dev/zero"
            taken.link.run([shell(over, output_limit=200_000, tasks="0")])
            taken.link.run([shell(over, output_limit=200_001, tasks="1")])
            end = await taken.end(0)
            # On a machine that is busy the look may come first, and end it.
            assert (end["cause"], end.get("exit_code", 0)) == ("output limit", 0)
            assert kept(tmp_path).stat().st_size == 200_000
            assert "cause" not in await taken.end(1)

    asyncio.run(scenario())


def test_a_file_of_the_user_s_own_is_not_counted(tmp_path: Path) -> None:
    """Whoever names a file has chosen where the bytes go."""

    async def scenario() -> None:
        async with relay(tmp_path / "n1") as taken:
            script = f"head -c {3 * MIB} /dev/zero; head -c {3 * MIB} /dev/zero > other"
            out = str(tmp_path / "out")
            taken.link.run([shell(script, stdout=out, cwd=str(tmp_path), output_limit=MIB)])
            assert (await taken.end())["exit_code"] == 0
            assert (tmp_path / "out").stat().st_size == 3 * MIB

    asyncio.run(scenario())


def test_fault_50_a_flood_goes_on_and_its_middle_is_not_kept(cluster: Cluster) -> None:
    """An error after a day of chatter is read, the start too, and the disk has room for others."""
    cluster.relay("n1", "--output-limit", "8M")
    client = cluster.client()
    flood = f"exec {shlex.quote(sys.executable)} -c {shlex.quote(FLOODS)}"
    job, followed = client.submit(f"{flood} 200"), client.submit(f"{flood} 32")
    follower = succeed(cluster, "job", "log", "-f", followed.id)
    assert job.wait(60)["state"] == followed.wait(60)["state"] == "succeeded"
    outputs = cluster.home / "relays" / "n1" / "outputs"
    (kept,) = (outputs / job.id).iterdir()
    assert kept.stat().st_size == 200 * MIB + len("the last line\n")
    until(lambda: kept.stat().st_blocks * 512 <= 8 * MIB)

    reader = succeed(cluster, "job", "log", job.id)
    assert len(reader.stdout) <= 8 * MIB
    for shown, mib in (reader, 200), (follower, 32):
        noted = re.findall(r"(\d+) bytes in the middle of stdout were not kept", shown.stderr)
        assert noted or shown is follower, "of what was read while it was there nothing is missing"
        assert sum(map(int, noted)) + len(shown.stdout) == mib * MIB + len("the last line\n")
        *lines, last = shown.stdout.splitlines()
        assert (int(lines[0]), int(lines[-1]), last) == (0, (mib << 14) - 1, "the last line")
        assert all(line.isdigit() for line in lines)
        assert "an error\n" in shown.stderr
    assert succeed(cluster, "job", "log", job.id, "-n", "1").stdout == "the last line\n"


def test_fault_50_of_a_flood_a_relay_reports_both_ends_and_the_hole(tmp_path: Path) -> None:
    """Of a task that nobody follows; a short stream beside it stays whole."""

    async def scenario() -> None:
        async with relay(tmp_path, output_limit=2 * MIB) as taken:
            taken.link.run([shell("echo no >&2; head -c 9437184 /dev/zero | tr '\\0' x; echo end")])
            assert (await taken.end())["exit_code"] == 0
            (file,) = tmp_path.glob("outputs/job/*")
            start, end = map(int, file.name.removeprefix("0.1.stdout.").split("-"))
            assert 7 * MIB // 4 <= start + 9 * MIB + 4 - end <= 2 * MIB + 2 * 4096
            said = [header for pack in taken.batches for header, _ in frames(pack.outputs)]
            gone = [(h["offset"], h["gone"], h["length"]) for h in said if "gone" in h]
            assert gone == [(start, end - start, 0)]
            assert taken.text(stream="stderr") == "no\n"
            assert taken.text().endswith("xend\n")
            taken.link.tail([{"job_id": "job", "task": 0, "stream": "stdout", "offset": 0}])
            data, is_over = b"", False
            while not is_over:
                for header, part in frames(await taken.link.next_chunks()):
                    data += part
                    is_over = is_over or header.get("end", False)
            assert (len(data), set(data[:-4])) == (9 * MIB + 4 - (end - start), {ord("x")})

    asyncio.run(scenario())


@pytest.fixture
def rigid(tmp_path: Path) -> Iterator[Path]:
    """A file system that gives no part of a file back."""
    place = tmp_path / "rigid"
    place.mkdir()
    mount = ["mount", "-t", "ramfs", "hpc-test", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a ramfs cannot be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_fault_50_where_a_flood_cannot_go_on_it_is_ended_and_says_why(rigid: Path) -> None:
    """Not every file system can; the disk does not fill there either."""

    async def scenario() -> None:
        async with relay(rigid / "n1", output_limit=MIB) as taken:
            taken.link.run([shell("exec yes")])
            end = await taken.end()
            assert (end["cause"], end["signal"]) == ("output limit", signal.SIGKILL)
            assert f"more than {MIB} bytes of output end a task" in end["detail"]
            assert kept(rigid / "n1").stat().st_size == MIB

    asyncio.run(scenario())


def test_umask_and_ulimits_arrive(tmp_path: Path) -> None:
    """A task makes its files, and opens as many, as it would where it was submitted."""

    async def scenario() -> None:
        async with relay(tmp_path / "n1") as taken:
            script = "umask; ulimit -n; ulimit -c; ulimit -t; echo > made; mkdir folder"
            fields = {"umask": 0o027, "ulimits": {"nofile": 123, "core": 0, "cpu": 77}}
            taken.link.run([shell(script, cwd=str(tmp_path), stdout="out", **fields)])
            assert (await taken.end())["exit_code"] == 0
            assert (tmp_path / "out").read_text().split() == ["0027", "123", "0", "77"]
            modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("made", "folder", "out")]
            assert modes == [0o640, 0o750, 0o640]

    asyncio.run(scenario())


def test_a_limit_that_cannot_be_set_is_named(tmp_path: Path) -> None:
    """Running with less than was asked for would fail later, and say something else."""

    async def scenario() -> None:
        async with relay(tmp_path) as taken:
            taken.link.run([work("true", ulimits={"nofile": None}, tasks="0")])
            taken.link.run([work("true", ulimits={"rss": 5}, tasks="1")])
            end = await taken.end(0)
            assert end["cause"] == "refused"
            assert "`nofile` of unlimited is more than this relay may set" in end["detail"]
            end = await taken.end(1)
            assert (end["cause"], "`rss`" in end["detail"]) == ("refused", True)

    asyncio.run(scenario())


def hpc(cluster: Cluster, *words: str, umask: int, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command line against a cluster."""
    return run(cluster, *words, umask=umask, folder=cwd)


def test_from_the_command_line_to_the_task(cluster: Cluster, tmp_path: Path) -> None:
    """Flags, spec, lease and process agree; the umask is that of the shell that submits."""
    cluster.relay("n1")
    script = "trap 'umask; ulimit -n; exit 3' USR1; while :; do sleep 0.02; done"
    limits = ("--time-limit", "60s", "--warn-signal", "SIGUSR1@59s", "--ulimit", "nofile=77")

    ran = hpc(cluster, "run", *limits, "--", script, umask=0o037, cwd=tmp_path)
    assert (ran.returncode, ran.stdout.split()) == (3, ["0037", "77"]), ran.stderr

    ran = hpc(cluster, "run", "--output-limit", "100K", "--", "exec yes", umask=0o022, cwd=tmp_path)
    assert ran.returncode == 128 + signal.SIGKILL
    assert "over its output limit of 100 KiB" in ran.stderr

    refused = hpc(cluster, "submit", "--warn-signal", "USR1@5", "true", umask=0, cwd=tmp_path)
    assert refused.returncode == 2
    assert "time limit" in refused.stderr
