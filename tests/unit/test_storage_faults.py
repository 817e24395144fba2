"""The SQLite log on disks that are full, broken, read-only, or lose power."""

import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import apsw
import pytest

from hpc.errors import StorageError, StorageFull, StorageLocked
from hpc.protocols import EventLog, LogRow
from hpc.storage import sqlite_connect
from hpc.storage.sqlite import open_log
from hpc.testing.disk import FaultVfs, Op, PowerCut, fault_vfs
from hpc.testing.disk.power_cut import lay_out
from hpc.testing.event_log import head_of, make_row, make_rows, make_state

SEED = 7
WAL = "log.sqlite3-wal"
FILES = ("hub.json", "log.sqlite3", WAL)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def vfs() -> Iterator[FaultVfs]:
    with fault_vfs() as made:
        yield made


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: hundreds of logs are opened in it."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as made:
        yield Path(made)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB that can be filled and mounted anew; needs root."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "hpc-test", str(disk)]
    if os.getuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_fault_03_append_returns_after_a_sync_of_the_wal(data: Path, vfs: FaultVfs) -> None:
    """A 200 means recorded durably, so the last write to the WAL has been synced."""
    with closing(open_log(data, vfs=vfs.name)) as log:
        for _ in range(5):
            vfs.ops.clear()
            log.append([make_row(log.head())])
            touched = [op.kind for op in vfs.ops if op.name == WAL]
            assert touched.count("write") >= 2
            assert touched[-1] == "sync"


def test_one_append_costs_one_sync(data: Path, vfs: FaultVfs) -> None:
    """However many rows share a turn, they share its fsync."""
    with closing(open_log(data, vfs=vfs.name)) as log:
        log.append([make_row(log.head())])  # the first one also syncs the header of the WAL
        vfs.ops.clear()
        log.append(make_rows(log.head(), [1] * 100))
        assert [op.name for op in vfs.ops if op.kind == "sync"] == [WAL]


def test_fault_08_after_a_full_disk_the_same_rows_may_be_appended_again(
    data: Path, vfs: FaultVfs
) -> None:
    """A full disk answers 507, and the Hub goes on by itself when there is space."""
    with closing(open_log(data, vfs=vfs.name)) as log:
        rows = make_rows(log.head(), [1, 2])
        log.append(rows[:1])
        vfs.fail["write"] = apsw.FullError("planted")
        for _ in range(3):
            with pytest.raises(StorageFull, match="no space left"):
                log.append(rows[1:])
            assert log.head() == head_of(rows[:1])
            assert log.read(1, 10) == rows[:1]
        vfs.fail.clear()
        log.append(rows[1:])
        assert log.read(1, 10) == rows


def test_fault_11_after_a_failed_sync_the_log_must_be_reopened(data: Path, vfs: FaultVfs) -> None:
    """An fsync that failed is never tried again: the page cache may have dropped what it held."""
    with closing(open_log(data, vfs=vfs.name)) as log:
        rows = make_rows(log.head(), [1, 1])
        log.append(rows[:1])
        vfs.fail["sync"] = apsw.IOError("planted")
        with pytest.raises(StorageError, match="unknown"):
            log.append(rows[1:])
        vfs.fail.clear()
        vfs.ops.clear()
        with pytest.raises(StorageError, match="must be reopened"):
            log.append(rows[1:])
        assert log.read(1, 10) == rows[:1]
    assert not [op for op in vfs.ops if op.kind == "sync"]
    with closing(open_log(data)) as log:
        assert log.read(1, 10)[:1] == rows[:1]


def test_fault_11_a_failed_checkpoint_is_not_hidden(
    data: Path, vfs: FaultVfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's own checkpoints would swallow it and sync again later."""
    monkeypatch.setattr(sqlite_connect, "CHECKPOINT_PAGES", 1)
    with closing(open_log(data, vfs=vfs.name)) as log:
        row = make_row(log.head())

        def broken(op: Op) -> None:
            if op.kind == "sync" and op.name == "log.sqlite3":
                raise apsw.IOError("planted")

        monkeypatch.setattr(vfs, "note", broken)
        with pytest.raises(StorageError, match="unknown"):
            log.append([row])
        with pytest.raises(StorageError, match="must be reopened"):
            log.append([make_row(log.head())])
        monkeypatch.undo()
    with closing(open_log(data)) as log:
        assert log.read(1, 10) == [row]


def test_fault_08_a_full_disk_only_puts_a_checkpoint_off(
    data: Path, vfs: FaultVfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are durable in the WAL; there is nothing to refuse."""
    monkeypatch.setattr(sqlite_connect, "CHECKPOINT_PAGES", 1)
    with closing(open_log(data, vfs=vfs.name)) as log:

        def full(op: Op) -> None:
            if op.kind == "write" and op.name == "log.sqlite3":
                raise apsw.FullError("planted")

        monkeypatch.setattr(vfs, "note", full)
        rows = make_rows(log.head(), [1, 1, 1])
        for row in rows:
            log.append([row])
        assert log.read(1, 10) == rows
        monkeypatch.undo()


def test_the_wal_stays_short(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints are run here, so a missing one would fill the disk."""
    monkeypatch.setattr(sqlite_connect, "CHECKPOINT_PAGES", 50)
    with closing(open_log(data)) as log:
        for _ in range(300):
            log.append([make_row(log.head(), body=b'{"events":["' + b"x" * 3000 + b'"]}')])
        assert (data / WAL).stat().st_size < 100 * 4200
        assert (data / "log.sqlite3").stat().st_size > 800_000


def test_fault_08_a_disk_that_fills_up_loses_nothing(small_disk: Path) -> None:
    """What was acknowledged is there, reads go on, and writing resumes when there is space."""
    data = small_disk / "data"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(512 << 10))
    with closing(open_log(data)) as log:
        acked = 0
        with pytest.raises(StorageFull):
            while True:
                log.append([make_row(log.head(), body=b'{"events":["' + b"x" * 5000 + b'"]}')])
                acked += 1
        assert len(log.read(1, 10**6)) == acked > 0
        ballast.unlink()
        log.append([make_row(log.head())])
        assert len(log.read(1, 10**6)) == acked + 1


def test_fault_08_a_hub_starts_on_a_full_disk_and_writes_once_it_can(small_disk: Path) -> None:
    """A restart must not make a full disk worse: everything can still be read."""
    data = small_disk / "data"
    with closing(open_log(data)) as log:
        rows = make_rows(log.head(), [1, 1, 1])
        log.append(rows[:2])
    with (small_disk / "ballast").open("wb", buffering=0) as ballast, pytest.raises(OSError):
        while True:
            ballast.write(bytes(4096))
    with closing(open_log(data)) as log:
        assert log.read(1, 10) == rows[:2]
        with pytest.raises(StorageFull):
            log.append(rows[2:])
        with pytest.raises(StorageLocked):
            open_log(data)
        (small_disk / "ballast").unlink()
        log.append(rows[2:])
        assert log.read(1, 10) == rows


def test_fault_08_an_empty_folder_on_a_full_disk_says_so(small_disk: Path) -> None:
    """Not `unable to open database file`."""
    with (small_disk / "ballast").open("wb", buffering=0) as ballast, pytest.raises(OSError):
        while True:
            ballast.write(bytes(4096))
    with pytest.raises(StorageFull, match=r"(?i)no space left"):
        open_log(small_disk / "data")
    (small_disk / "ballast").unlink()
    open_log(small_disk / "data").close()


def test_fault_10_a_read_only_file_system_is_named(small_disk: Path) -> None:
    """The message has the path and the reason; SQLite alone says `unable to open`."""
    data = small_disk / "data"
    open_log(data).close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(
        StorageError, match=rf"`{data}/lock` cannot be opened: Read-only file system"
    ):
        open_log(data)
    with pytest.raises(StorageError, match="Read-only file system"):
        open_log(small_disk / "new")


def test_fault_15_a_wal_cut_at_any_length_leaves_what_was_whole(
    data: Path, quick: Path, vfs: FaultVfs
) -> None:
    """Its frames have checksums: rows up to the cut are there, no more and no less."""
    with closing(open_log(data, vfs=vfs.name)) as log:
        rows = make_rows(log.head(), [1, 40, 2, 3, 60, 1])
        lengths = []
        for row in rows:
            vfs.ops.clear()
            log.append([row])
            lengths.append(max(op.offset + len(op.data) for op in vfs.ops if op.name == WAL))
        files = {name: bytearray((data / name).read_bytes()) for name in FILES}
    whole = files[WAL][: lengths[-1]]
    rng = random.Random(SEED)
    cuts = {0, *range(1, 40), *lengths, *(n - 1 for n in lengths)}
    for length in sorted(cuts | {rng.randrange(len(whole)) for _ in range(60)}):
        lay_out({**files, WAL: whole[:length]}, quick / "cut")
        with closing(open_log(quick / "cut")) as log:
            found = log.read(1, 10**6)
        assert found == rows[: len(found)], f"cut at {length}"
        assert len(found) == sum(end <= length for end in lengths), f"cut at {length}"


def test_fault_04_06_a_power_cut_in_a_snapshot_or_a_compaction_leaves_the_one_or_the_other(
    data: Path, quick: Path, vfs: FaultVfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot is there whole or not at all, and bodies go with the floor or stay; what was
    done stays done, and two snapshots hold whatever is gone."""
    rng = random.Random(SEED)
    monkeypatch.setattr(sqlite_connect, "CHECKPOINT_PAGES", 12)
    monkeypatch.setattr("hpc.storage.sqlite_snapshots.PART_BYTES", 3000)
    states: dict[int, bytes] = {}
    with closing(open_log(data, vfs=vfs.name)) as log:
        disk = PowerCut({n: (data / n).read_bytes() for n in FILES})
        vfs.ops.clear()
        rows: list[LogRow] = []
        done: list[Done] = [Done(0, [], 1)]
        for round_ in range(5):
            rows += make_rows(log.head(), [rng.randrange(1, 60) for _ in range(3)])
            for row in rows[-3:]:
                log.append([row])
            seq = log.head().last_seq
            states[seq] = make_state(seq, 20_000)
            for _ in log.snapshot(states[seq], seq):
                pass
            vfs.ops.append(note(log, done))
            if round_ > 0:
                log.compact([row.first_seq for row in rows[3 * round_ - 3 : 3 * round_ - 1]])
                vfs.ops.append(note(log, done))
        ops = list(vfs.ops)
    number, cuts = 0, 0
    for op in ops:
        if op.kind == "ack":
            number += 1
            continue
        disk.do(op)
        for place in cut_places(disk, quick, rng):
            cuts += 1
            with closing(open_log(place)) as log:
                check_cut(log, rows, states, done[number], f"seed {SEED}, cut {cuts}")
    assert cuts > 100
    assert number == len(done) - 1
    assert done[-1].floor > 1


class Done(NamedTuple):
    """What a log held when something had been done for good."""

    rows: int
    snapshots: list[int]
    floor: int


def note(log: EventLog, done: list[Done]) -> Op:
    """Remember what a log holds now."""
    seqs = [head.seq for head in log.snapshots()]
    done.append(Done(len(log.read(1, 10**6)), seqs, log.floor()))
    return Op("ack", "")


def cut_places(disk: PowerCut, quick: Path, rng: random.Random) -> Iterator[Path]:
    """Folders as a power cut now may leave them."""
    for files in disk.states(rng):
        lay_out(files, quick / "cut")
        yield quick / "cut"


def check_cut(
    log: EventLog, rows: list[LogRow], states: dict[int, bytes], done: Done, seed: str
) -> None:
    """Hold a log after a cut against what had been done before."""
    found, heads, floor = log.read(1, 10**6), log.snapshots(), log.floor()
    assert len(found) >= done.rows, f"{seed}: acknowledged rows are lost"
    assert floor >= done.floor, f"{seed}: the floor has fallen"
    for row, whole in zip(found, rows, strict=False):
        assert row in (whole, whole._replace(body=b"")), seed
        if not row.body:
            assert row.first_seq + row.count <= floor, f"{seed}: a body is gone above the floor"
    seqs = [head.seq for head in heads]
    assert seqs == done.snapshots or seqs[:1] > done.snapshots[:1], f"{seed}: a snapshot is lost"
    for head in heads:
        assert log.read_snapshot(head.number) == states[head.seq], seed
    if floor > 1:
        assert len(heads) == 2, seed
        assert heads[1].seq >= floor - 1, f"{seed}: what is gone is in one snapshot only"
