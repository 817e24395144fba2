"""What only the SQLite log does: its folder, its file, and its errors."""

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from hpc import file_systems
from hpc.errors import (
    StorageDamaged,
    StorageError,
    StorageForeign,
    StorageFull,
    StorageLocked,
)
from hpc.protocols import LogRow
from hpc.storage import folder, log_file
from hpc.storage.sqlite import SqliteReader, open_log, open_reader
from hpc.testing.event_log import make_row, make_rows, store

BODY = (
    b'{"events":[{"at":1,"kind":"A","payload":{"x":"\xc3\xa9"}},'
    b'{"at":2,"kind":"B","payload":{},"settles":{"0":"ok"}}]}'
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def fill(data: Path, count: int = 3) -> list[LogRow]:
    """Leave a closed log of so many batches in the folder."""
    with closing(open_log(data)) as log:
        rows = make_rows(log.head(), [1] * count)
        log.append(rows)
    return rows


def edit(data: Path, *statements: str) -> None:
    """Change the file behind the log's back."""
    with closing(sqlite3.connect(data / "log.sqlite3")) as db, db:
        for sql in statements:
            db.execute(sql)


def test_any_sqlite_client_can_query_the_events(data: Path) -> None:
    """The log is its owner's, and the view is how they look into it while the Hub runs."""
    with closing(open_log(data)) as log:
        log.append([make_row(log.head(), count=2, batch_id="o/1", body=BODY)])
        uri = f"file:{data / 'log.sqlite3'}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as db:
            found = db.execute("SELECT seq, id, idx, at, kind, payload, settles FROM events")
            assert found.fetchall() == [
                (1, "o/1", 0, 1, "A", '{"x":"é"}', None),
                (2, "o/1", 1, 2, "B", "{}", '{"0":"ok"}'),
            ]


def test_a_reader_looks_while_the_hub_writes(data: Path) -> None:
    """`hpc log` must not need the Hub to be stopped, and must not get in its way."""
    with closing(open_log(data)) as log:
        rows = make_rows(log.head(), [1, 2])
        log.append(rows[:1])
        with closing(open_reader(data, SqliteReader)) as reader:
            assert reader.read(1, 10) == rows[:1]
            log.append(rows[1:])
            assert reader.read(1, 10) == rows
            assert reader.hub_id == log.hub_id


def make_former(data: Path) -> None:
    """Make a log what one of version 1 was."""
    edit(data, "DROP TABLE snapshots")
    edit(data, "DROP TABLE snapshot_parts")
    edit(data, "DROP VIEW events")
    edit(data, log_file.VIEW.replace("nullif(log.body, '')", "log.body"))
    edit(data, "PRAGMA user_version = 1")
    edit(data, "PRAGMA wal_checkpoint(TRUNCATE)")


def test_a_log_of_version_2_is_brought_up_with_its_snapshots(data: Path) -> None:
    """Its batches do not say who sent them; its view does not ask."""
    with closing(open_log(data)) as log:
        rows = make_rows(log.head(), [1, 2, 3])
        log.append(rows)
        store(log, 6)
    edit(data, "DROP VIEW events")
    edit(data, log_file.VIEW.replace(", '$.who')", ", '$.none')"))
    edit(data, "PRAGMA user_version = 2")
    with closing(open_log(data)) as log:
        assert log.read(1, 10) == rows
        assert [head.seq for head in log.snapshots()] == [6]
    with closing(sqlite3.connect(data / "log.sqlite3")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (3,)
        assert db.execute("SELECT count(*), max(who) FROM events").fetchone() == (6, None)


def test_fault_17_a_log_of_the_former_version_is_brought_up_in_place(data: Path) -> None:
    """Its rows stay as they are; looking at it changes nothing."""
    with closing(open_log(data)) as log:
        rows = make_rows(log.head(), [1, 2, 3])
        log.append(rows)
    make_former(data)
    before = (data / "log.sqlite3").read_bytes()
    with closing(open_reader(data, SqliteReader)) as reader:
        assert reader.read(1, 10) == rows
        assert (reader.snapshots(), reader.floor()) == ([], 1)
    assert (data / "log.sqlite3").read_bytes() == before
    with closing(open_log(data)) as log:
        assert log.read(1, 10) == rows
        assert log.snapshots() == []
        store(log, 6)
        store(log, 6)
        log.compact([1])
        assert log.floor() == 2
    with closing(sqlite3.connect(data / "log.sqlite3")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (3,)
        assert db.execute("SELECT min(seq), count(*) FROM events").fetchone() == (2, 5)


def test_fault_17_a_copy_of_the_former_version_is_kept(data: Path) -> None:
    """Who has to go back to the former program finds the log that it has written."""
    fill(data, 3)
    make_former(data)
    with closing(open_log(data)) as log:
        log.append([make_row(log.head())])
    with closing(sqlite3.connect(data / "log.sqlite3.v1")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT count(*) FROM events").fetchone() == (3,)
        tables = db.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'snapshot%'")
        assert tables.fetchall() == []
    assert not list(data.glob("*.part"))


def test_fault_17_without_room_for_the_copy_nothing_is_changed(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is read as it is until there is space."""
    fill(data, 3)
    make_former(data)

    def full(*_: object) -> None:
        raise StorageFull("planted")

    with monkeypatch.context() as patch:
        patch.setattr("hpc.storage.log_file.copy_to", full)
        with closing(open_log(data)) as log:
            assert len(log.read(1, 10)) == 3
            with pytest.raises(StorageFull):
                log.append([make_row(log.head())])
    with closing(sqlite3.connect(data / "log.sqlite3")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)


def test_fault_17_an_upgrade_that_is_cut_off_has_not_begun(data: Path) -> None:
    """It is one transaction: the log is of the one version or of the other."""
    fill(data, 3)
    make_former(data)
    broken = "CREATE TABLE one (n); CREATE TABLE one (n);"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(StorageError):
        patch.setattr("hpc.storage.sqlite_snapshots.SCHEMA", broken)
        open_log(data)
    with closing(sqlite3.connect(data / "log.sqlite3")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM events").fetchone() == (3,)
    open_log(data).close()


def test_folder_and_files_are_the_owners_alone(data: Path) -> None:
    """The log tells what everybody runs."""
    old = os.umask(0)
    try:
        with closing(open_log(data)) as log:
            log.append([make_row(log.head())])
            modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in data.iterdir()}
    finally:
        os.umask(old)
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert set(modes) == {"lock", "hub.json", "log.sqlite3", "log.sqlite3-wal", "log.sqlite3-shm"}
    assert set(modes.values()) == {0o600}


def test_a_folder_that_was_there_is_closed_to_others(data: Path) -> None:
    """An empty folder made with the usual umask is as good as one made here."""
    data.mkdir(mode=0o755)
    fill(data)
    assert stat.S_IMODE(data.stat().st_mode) == 0o700


def test_a_folder_that_all_may_write_to_is_refused(data: Path) -> None:
    """Whoever may rename the log may replace it."""
    data.mkdir()
    data.chmod(0o777)
    with pytest.raises(StorageForeign, match="everybody"):
        open_log(data)
    assert list(data.iterdir()) == []


def test_fault_12_a_second_process_is_told_the_pid_of_the_first(data: Path) -> None:
    """The message must say what to stop."""
    code = (
        "import sys; from pathlib import Path; from hpc.storage.sqlite import open_log\n"
        "log = open_log(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(StorageLocked, match=rf"process {holder.pid}\b"):
            open_log(data)
        holder.kill()  # kill -9 releases the lock and leaves the file
        holder.wait()
        open_log(data).close()


def test_fault_18_a_lost_log_is_never_replaced_by_an_empty_one(data: Path) -> None:
    """Every running job would be forgotten, and every relay would be told that it is lost."""
    fill(data)
    (data / "log.sqlite3").unlink()
    with pytest.raises(
        StorageForeign, match=r"missing, but the folder held Hub `[0-9a-f]{32}`"
    ) as e:
        open_log(data)
    assert e.value.hint is not None
    assert "--data" in e.value.hint
    assert not (data / "log.sqlite3").exists()


@pytest.mark.parametrize("rest", ["log.sqlite3-wal", "outputs"])
def test_fault_18_remains_of_a_hub_count_as_one(data: Path, rest: str) -> None:
    """A WAL left behind would even be replayed into the new file."""
    data.mkdir()
    (data / rest).touch()
    with pytest.raises(StorageForeign, match=rest):
        open_log(data)


def test_fault_18_a_log_of_zero_bytes_is_refused(data: Path) -> None:
    """A start that was cut off never leaves one; something else has emptied it."""
    fill(data)
    (data / "log.sqlite3").write_bytes(b"")
    with pytest.raises(StorageForeign, match="0 bytes"):
        open_log(data)
    assert (data / "log.sqlite3").read_bytes() == b""


def test_fault_18_the_log_of_another_hub_is_refused(data: Path, tmp_path: Path) -> None:
    """Its relays would be fenced by a Hub that has never heard of them."""
    fill(data)
    fill(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "log.sqlite3", data / "log.sqlite3")
    with pytest.raises(StorageForeign, match="but the folder held Hub"):
        open_log(data)


def test_a_missing_marker_is_written_again(data: Path) -> None:
    """A crash between the log and its marker must not need an operator."""
    rows = fill(data)
    marker = json.loads((data / "hub.json").read_text())
    (data / "hub.json").unlink()
    with closing(open_log(data)) as log:
        assert log.read(1, 10) == rows
        assert marker == {"hub_id": log.hub_id}
    assert json.loads((data / "hub.json").read_text()) == marker


def test_a_damaged_marker_is_refused(data: Path) -> None:
    """It cannot say that this is the right log."""
    fill(data)
    (data / "hub.json").write_bytes(b"\xff{")
    with pytest.raises(StorageForeign, match="Marker"):
        open_log(data)


def test_fault_06_a_start_that_was_cut_off_is_begun_anew(data: Path) -> None:
    """A draft is all that it leaves."""
    data.mkdir()
    (data / "log.sqlite3.new").write_bytes(b"half a log")
    (data / "log.sqlite3.new-wal").write_bytes(b"")
    fill(data)
    assert {p.name for p in data.iterdir()} == {"lock", "hub.json", "log.sqlite3"}


@pytest.mark.parametrize("version", [0, 4, 99])
def test_fault_16_another_version_is_refused_and_left_alone(data: Path, version: int) -> None:
    """Both versions are named, so that the user knows which hpc to start."""
    fill(data)
    edit(data, f"PRAGMA user_version = {version}")
    before = (data / "log.sqlite3").read_bytes()
    with pytest.raises(StorageForeign, match=rf"version {version}: this hpc reads versions 1 to 3"):
        open_log(data)
    assert (data / "log.sqlite3").read_bytes() == before


def _foreign_text(path: Path) -> None:
    path.write_text("my thesis, chapter one\n" * 20)


def _foreign_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE flowers (name TEXT)")


@pytest.mark.parametrize("make", [_foreign_text, _foreign_database])
def test_fault_18_a_file_that_is_not_ours_is_left_alone(
    data: Path, make: Callable[[Path], None]
) -> None:
    """A wrong --data must not cost anybody a file."""
    data.mkdir()
    make(data / "log.sqlite3")
    before = (data / "log.sqlite3").read_bytes()
    with pytest.raises(StorageForeign, match="not a log of hpc"):
        open_log(data)
    assert (data / "log.sqlite3").read_bytes() == before


def test_a_file_in_place_of_the_folder_is_refused(data: Path) -> None:
    """The message names it."""
    data.write_text("")
    with pytest.raises(StorageForeign, match="is not a folder"):
        open_log(data)
    with pytest.raises(StorageForeign, match="is not a folder"):
        open_log(data / "deeper")


def test_old_libraries_are_refused() -> None:
    """Before 3.51.3 a WAL that was reset at the wrong moment lost a commit."""
    log_file.check_library("3.51.3")
    log_file.check_library("3.60")
    with pytest.raises(StorageError, match=r"3\.51\.2: the log needs 3\.51\.3"):
        log_file.check_library("3.51.2")


def test_network_file_systems_are_refused_unless_forced(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locks and shared memory do not hold there."""
    monkeypatch.setattr(folder, "file_system", lambda _path: "nfs4")
    with pytest.raises(StorageForeign, match=r"network file system \(nfs4\)"):
        open_log(data)
    open_log(data, allow_network=True).close()


def test_the_innermost_and_latest_mount_decides() -> None:
    """Mounts nest, cover one another, and may have blanks in their names."""
    mounts = (
        "/dev/a / ext4 rw 0 0\nsrv:/h /home nfs4 rw 0 0\n/dev/b /home/me/my\\040disk xfs rw 0 0\n"
        "tmpfs /mnt tmpfs rw 0 0\nsrv:/m /mnt fuse.sshfs rw 0 0\n"
    )
    kinds = {"/": "ext4", "/homes": "ext4", "/home/me": "nfs4", "/home/me/my disk/x": "xfs"}
    for path, kind in kinds.items():
        assert file_systems.type_in_mounts(mounts, Path(path)) == kind
    assert file_systems.type_in_mounts(mounts, Path("/mnt/x")) == "fuse.sshfs"


def test_fault_13_a_missing_row_is_named(data: Path) -> None:
    """A gap is damage, not the end of the log."""
    fill(data, 5)
    edit(data, "DELETE FROM log WHERE first_seq = 3")
    with closing(open_log(data)) as log:
        assert len(log.read(1, 2)) == 2
        with pytest.raises(StorageDamaged, match="first seq 3 is missing"):
            log.read(1, 10)
        assert [row.first_seq for row in log.read(4, 10)] == [4, 5]


@pytest.mark.parametrize(
    "change",
    [
        "batch_id = CAST(x'ff41' AS TEXT)",  # APSW raises UnicodeDecodeError, none of its own
        "batch_id = x'41'",
        "digest = x'00'",
        "chain = 'text'",
        "count = 'many'",
        "count = 0",
    ],
)
def test_fault_14_a_row_of_the_wrong_shape_is_damage(data: Path, change: str) -> None:
    """What SQLite does not check is checked before the engine sees it."""
    fill(data)
    edit(data, f"UPDATE log SET {change} WHERE first_seq = 2")
    with closing(open_log(data)) as log:
        with pytest.raises(StorageDamaged):
            log.read(1, 10)
        assert log.read(3, 1)[0].first_seq == 3


def test_fault_13_a_page_of_rubbish_is_damage(data: Path) -> None:
    """A torn page in the middle must not look like an empty log."""
    fill(data, 200)
    with (data / "log.sqlite3").open("r+b") as file:
        for page in range(1, (data / "log.sqlite3").stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(b"\xa5" * 512)
    with pytest.raises(StorageDamaged):
        open_log(data)
    # The folder is free again: the error did not leak the lock.
    os.close(folder.take_lock(data))


def test_fault_12_a_writer_beside_the_hub_is_named(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is appended, and the log goes on once the lock is gone."""
    monkeypatch.setattr("hpc.storage.sqlite_connect.BUSY_MS", 20)
    with closing(open_log(data)) as log, closing(apsw.Connection(str(data / "log.sqlite3"))) as db:
        row = make_row(log.head())
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageLocked):
            log.append([row])
        db.execute("ROLLBACK")
        log.append([row])
        assert log.read(1, 10) == [row]
