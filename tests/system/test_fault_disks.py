"""Disks that fail under a real Hub: full, broken, read-only, and a kill in the midst of an fsync.

A small disk is a tmpfs, and a failing call is strace's; both need root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import pytest
from commands import succeed
from marks import marking, starts

from hpc.errors import HpcError
from hpc.hub.verification import verify
from hpc.storage.sqlite_tools import SqliteTools
from hpc.testing.kills import Writer, events_of, not_as_told
from hpc.testing.processes import CONDITION_S_MAX, Cluster, Process, until

MIN_FREE_MIB = 8
DISK_MIB = 48

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can mount and trace")
needs_strace = pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("strace") is None, reason="strace, as root, makes calls fail"
)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of 48 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "hpc-test", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


class OnDisk(Cluster):
    """A cluster whose Hub has its data on another disk than everything else."""

    def __init__(self, folder: Path, disk: Path) -> None:
        super().__init__(folder)
        self._disk = disk

    def start_hub(self, *more: str) -> Process:
        return super().start_hub(
            "--data", str(self._disk / "hub"), "--min-free", f"{MIN_FREE_MIB}M", *more
        )


def fill(disk: Path, *, leave_mib: int) -> Path:
    """Take up room until only so much is left."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file:
        room = os.statvfs(disk)
        free = room.f_bavail * room.f_frsize - (leave_mib << 20)
        try:
            while free > 0:
                free -= file.write(bytes(min(1 << 16, free)))
        except OSError:
            assert leave_mib == 0
    return ballast


def submit_code(cluster: Cluster) -> str:
    """What a submit is answered: `ok`, or the code of the refusal."""
    try:
        cluster.client().submit("true")
    except HpcError as error:
        return error.code
    return "ok"


@needs_root
def test_fault_08_09_a_disk_that_fills_up_under_load_loses_nothing(
    tmp_path: Path, disk: Path
) -> None:
    """Nearly full, it is kept for results; full, it can be read; with space again, all goes on."""
    with OnDisk(tmp_path, disk) as cluster:
        cluster.relay(cpus=2)
        job = cluster.client().submit(marking(tmp_path, "sleep 0.1"), tasks="0-299")
        until(lambda: len(starts(tmp_path)) > 5)

        fill(disk, leave_mib=MIN_FREE_MIB - 2)
        until(lambda: submit_code(cluster) == "storage_full")
        assert "nearly full, submits are refused" in succeed(cluster, "status").stdout
        # Finishes and renewals are taken.
        seen = job.info()["counts"]["succeeded"]
        until(lambda: job.info()["counts"]["succeeded"] > seen + 10)

        ballast = fill(disk, leave_mib=0)
        assert submit_code(cluster) == "storage_full"
        assert len(starts(tmp_path)) < 300, "the work was over before the disk was full"
        assert len(cluster.client().pull("kernel")["facts"]) > 0
        assert cluster.hub is not None
        assert cluster.hub.popen.poll() is None

        ballast.unlink()
        until(lambda: submit_code(cluster) == "ok")
        until(lambda: job.info()["counts"]["succeeded"] == 300)
        assert set(starts(tmp_path).values()) == {1}


@contextmanager
def failing(pid: int, inject: str) -> Iterator[None]:
    """Have a system call of a process fail, or be its last."""
    command = ["strace", "-f", "-e", "trace=fdatasync,fsync", "-e", f"inject={inject}"]
    tracer = subprocess.Popen(
        [*command, "-o", os.devnull, "-p", str(pid)], stderr=subprocess.PIPE, text=True
    )
    assert tracer.stderr is not None
    try:
        said = tracer.stderr.readline()
        if "attached" not in said:
            pytest.skip(f"strace cannot attach here: {said.strip()}")
        yield
    finally:
        tracer.terminate()
        tracer.wait(CONDITION_S_MAX)
        tracer.stderr.close()


def write_through(cluster: Cluster, inject: str) -> int:
    """Write until an injected fault has ended the Hub, start it again; its exit code."""
    assert cluster.hub is not None
    hub = cluster.hub
    writers = [Writer(cluster.client(), n) for n in range(2)]
    with failing(hub.pid, inject):
        for writer in writers:
            writer.start()
        ended = hub.popen.wait(CONDITION_S_MAX)
    cluster.start_hub()
    before = [len(writer.acknowledged) for writer in writers]
    until(lambda: all(len(w.acknowledged) > n + 2 for w, n in zip(writers, before, strict=True)))
    for writer in writers:
        writer.enough.set()
    for writer in writers:
        writer.join(CONDITION_S_MAX)
    receipts = {id_: receipt for writer in writers for id_, receipt in writer.acknowledged.items()}
    assert not_as_told(receipts, events_of(cluster.http())) == []
    return ended


@needs_strace
@pytest.mark.parametrize("number", [1, 2, 5])
def test_fault_01_a_kill_in_the_midst_of_an_fsync_loses_and_doubles_nothing(
    cluster: Cluster, number: int
) -> None:
    """Nobody was told yet: the batch is sent again, and stands once."""
    ended = write_through(cluster, f"fdatasync,fsync:signal=SIGKILL:when={number}")
    assert ended == -9


@needs_strace
@pytest.mark.parametrize("number", [1, 4])
def test_fault_11_an_fsync_that_fails_ends_the_hub_and_loses_nothing(
    cluster: Cluster, number: int
) -> None:
    """It is not tried again, nothing more is acknowledged, and the next start looks."""
    assert cluster.hub is not None
    log = cluster.hub.log
    ended = write_through(cluster, f"fdatasync,fsync:error=EIO:when={number}")
    assert ended > 0
    said = log.read_text()
    assert "unknown" in said
    assert "Traceback" not in said
    with closing(SqliteTools().reader(cluster.home / "hub")) as reader:
        assert verify(reader).damaged == []


@needs_root
def test_fault_10_a_read_only_disk_is_named(tmp_path: Path, disk: Path) -> None:
    """With the path and the reason, not `unable to open database file`."""
    with OnDisk(tmp_path, disk) as cluster:
        cluster.client().submit("true")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    run = [sys.executable, "-m", "hpc", "hub", "--port", "0", "--data", str(disk / "hub")]
    ended = subprocess.run(
        run, env=cluster.env, capture_output=True, text=True, timeout=CONDITION_S_MAX, check=False
    )
    assert ended.returncode > 0
    assert f"{disk / 'hub'}" in ended.stderr
    assert "Read-only file system" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_fault_13_a_hub_starts_beside_damage_and_says_so(tmp_path: Path) -> None:
    """`hpc doctor` says it too; what the state rests on is set aside on request only."""
    with Cluster(tmp_path) as cluster:
        jobs = [cluster.client().submit(f"echo {n}") for n in range(5)]
        assert cluster.hub is not None
        cluster.hub.terminate()  # which writes a snapshot
        log = cluster.home / "hub" / "log.sqlite3"
        with closing(apsw.Connection(str(log))) as db:
            db.execute("UPDATE log SET body = replace(body, 'echo 2', 'echo 3')")
        cluster.start_hub()

        with closing(cluster.http()) as http:
            found = until(lambda: http.get("/healthz", [("full", "true")]).json()["damaged"])
            hub_id = http.get("/pull", [("gid", "kernel")]).json()["hub"]
        assert len(found) == 1
        assert [one["job_id"] for one in cluster.client().jobs()] == [job.id for job in jobs]
        doctor = subprocess.run(
            [sys.executable, "-m", "hpc", "doctor"],
            env=cluster.env,
            capture_output=True,
            text=True,
            timeout=CONDITION_S_MAX,
            check=False,
        )
        assert f"at seq {found[0]['seq']}" in doctor.stdout + doctor.stderr

        cluster.hub.terminate()
        with closing(apsw.Connection(str(log))) as db:
            db.execute("DELETE FROM snapshots")
        with pytest.raises(AssertionError, match="--set-aside-damaged"):
            cluster.start_hub()
        with closing(cluster.http()) as http:
            cluster.start_hub("--set-aside-damaged")
            assert len(list(cluster.client().jobs())) == len(jobs) - 1
            # A reader who was told of that job is told the whole, and who follows events is told.
            known = [("gid", "kernel"), ("cursor", found[0]["until"]), ("hub", hub_id)]
            assert http.get("/pull", known).json()["snapshot"]
            assert http.get("/healthz").headers["hpc-lineage"] not in (None, hub_id)
