"""`hpc log`: what it says, what it exits with, and what it leaves alone."""

from __future__ import annotations

import json
import os
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from kept_hub import DAY_MS, HandClock, filled, kept

from hpc.cli import tree
from hpc.errors import StorageFull
from hpc.storage import folder, sqlite
from hpc.storage.sqlite_tools import SqliteTools


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a Hub that was stopped, where `hpc log` looks by itself."""
    monkeypatch.setenv("HPC_HOME", str(tmp_path / "home"))
    place = tmp_path / "home" / "hub"
    (tmp_path / "home").mkdir()
    with kept(lambda: sqlite.open_log(place)) as hub:
        filled(hub)
        hub.close()
    return place


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[str, str]:
    """Run a command; what it printed to stdout and stderr."""
    capsys.readouterr()
    assert tree.main(words) == code
    shown = capsys.readouterr()
    return shown.out, shown.err


def run_json(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, Any]:
    out, _ = run(capsys, *words, "--json", code=code)
    told: dict[str, Any] = json.loads(out)
    return told


def edit(data: Path, sql: str) -> None:
    with closing(apsw.Connection(str(data / "log.sqlite3"))) as db:
        db.execute(sql)


def test_a_log_that_is_whole_is_said_to_be(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And how much of it there is."""
    out, err = run(capsys, "log", "verify")
    with closing(SqliteTools().reader(data)) as log:
        hub_id = log.hub_id
    assert out == (
        f"log        {data}\n"
        f"hub        {hub_id}\n"
        "events     17 in 17 batches\n"
        "snapshots  at seq 17\n"
        "damaged    nothing\n"
    )
    assert err == ""
    told = run_json(capsys, "log", "verify", "--data", str(data))
    assert told == {
        "schema": "hpc.log.verify/1",
        "cursor": 17,
        "data": {
            "path": str(data), "hub_id": hub_id, "last_seq": 17, "batches": 17, "events": 17,
            "compacted": 0, "floor": 1, "snapshots": [17], "damaged": [],
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        (
            "UPDATE log SET body = replace(body, '\"i\":1', '\"i\":7') WHERE first_seq = 6",
            "damaged: batch `{id}` at seq 6: its checksum does not match\n",
        ),
        (
            "UPDATE log SET digest = randomblob(32) WHERE first_seq = 2",
            "damaged: batch `{id2}` at seq 2: its checksum does not match\n",
        ),
        (
            "DELETE FROM log WHERE first_seq = 9",
            "damaged: batch at seq 9: Log `{log}` is damaged: the batch with first seq 9 is "
            "missing, `{id10}` with first seq 10 comes next\n",
        ),
        (
            "UPDATE log SET digest = x'00' WHERE first_seq = 9",
            "damaged: batch at seq 9: Log `{log}` is damaged at the batch with first seq 9\n",
        ),
        (
            "UPDATE log SET body = '' WHERE first_seq = 7",
            "damaged: batch `{id7}` at seq 7: its body is gone, and compaction has not dropped "
            "it\n",
        ),
        (
            "UPDATE snapshot_parts SET state = x'00'",
            "damaged: snapshot at seq 17: Snapshot 1 of log `{log}` is not as it was stored\n",
        ),
        (
            "UPDATE snapshots SET chain = randomblob(32)",
            "damaged: snapshot at seq 17: it is not of this log at this seq\n",
        ),
    ],
)
def test_what_is_damaged_is_named_and_nothing_else(
    data: Path, capsys: pytest.CaptureFixture[str], sql: str, named: str
) -> None:
    """The code is 1, so that a script can look."""
    with closing(SqliteTools().reader(data)) as log:
        ids = {f"id{row.first_seq}": row.batch_id for row in log.read(1, 100)}
    edit(data, sql)
    out, err = run(capsys, "log", "verify", code=1)
    assert err == named.format(log=data / "log.sqlite3", id=ids["id6"], **ids)
    assert out.endswith("damaged    1\n")
    told = run_json(capsys, "log", "verify", code=1)["data"]
    assert len(told["damaged"]) == 1
    assert set(told["damaged"][0]) == {"what", "why", "seq", "id"}


def test_each_of_many_is_counted(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wide damage does not scroll its beginning away."""
    with kept(lambda: sqlite.open_log(data)) as hub:
        for i in range(30):
            hub.say("keep", i)
    edit(data, "UPDATE log SET digest = randomblob(32) WHERE first_seq > 17")
    _, err = run(capsys, "log", "verify", code=1)
    assert err.count("damaged: batch") == 20
    assert "and 10 more: hpc log verify --json" in err


def test_an_export_is_a_log_like_any_other(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It can be verified where it is, and a Hub on what is restored from it answers the same."""
    with kept(lambda: sqlite.open_log(data)) as hub:
        hub.say("keep", 50)
        expected = hub.pulls()
        file = tmp_path / "copy.sqlite3"
        out, _ = run(capsys, "log", "export", "-o", str(file))
        assert out == f"exported `{file}`, up to seq 18\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("copy")] == ["copy.sqlite3"]
    assert run_json(capsys, "log", "verify", str(file))["data"]["events"] == 18
    place = tmp_path / "other"
    out, _ = run(capsys, "log", "restore", str(file), "--data", str(place))
    assert out == f"restored `{place}`, up to seq 18\n"
    with kept(lambda: sqlite.open_log(place)) as hub:
        assert hub.log.lineage != hub.log.hub_id
        assert json.dumps(hub.pulls()).replace(hub.log.lineage, hub.log.hub_id) == json.dumps(
            expected
        )
        hub.say("keep", 51)
    assert run_json(capsys, "log", "verify", "--data", str(place))["cursor"] == 19


def test_a_reader_does_not_go_on_in_what_was_put_back(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What came after the copy is gone, and other events have its numbers: it begins anew."""
    file = tmp_path / "copy.sqlite3"
    with kept(lambda: sqlite.open_log(data)) as hub:
        run(capsys, "log", "export", "-o", str(file))
        hub.say("keep", 60)
        _, read = hub.ask("pull", "gid=k&cursor=0")
    place = tmp_path / "other"
    run(capsys, "log", "restore", str(file), "--data", str(place))
    asked = f"gid=k&cursor={read['cursor']}&hub={read['hub']}"
    with kept(lambda: sqlite.open_log(place)) as hub:
        hub.say("keep", 61)
        _, again = hub.ask("pull", asked)
        assert again["cursor"] >= read["cursor"]
        assert again["snapshot"] is True
        assert "60" not in json.dumps(again["facts"])
        assert "snapshot" not in hub.ask("pull", f"gid=k&cursor=3&hub={again['hub']}")[1]
    with kept(lambda: sqlite.open_log(place)) as hub:  # another start is no other history
        assert hub.ask("pull", "gid=k&cursor=0")[1]["hub"] == again["hub"]


def test_a_folder_that_lost_its_log_gets_it_back(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The marker says whose it was: another Hub's log is refused."""
    file = tmp_path / "copy"
    run(capsys, "log", "export", "-o", str(file), "--data", str(data))
    _, err = run(capsys, "log", "restore", str(file), code=1)
    assert err == (
        f"error: There is a log `{data}/log.sqlite3` already\n\n"
        "hint: give another folder with --data, or move that file away first\n"
    )
    (data / "log.sqlite3").unlink()
    with kept(lambda: sqlite.open_log(tmp_path / "third")) as hub:
        filled(hub)
    run(capsys, "log", "export", "-o", str(tmp_path / "c"), "--data", str(tmp_path / "third"))
    _, err = run(capsys, "log", "restore", str(tmp_path / "c"), code=1)
    assert re.search(r"is of Hub `\w+`, but the folder held Hub `\w+`", err)
    run(capsys, "log", "restore", str(file))
    assert run_json(capsys, "log", "verify")["data"]["damaged"] == []


def test_an_export_writes_over_nothing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip must not cost anybody a file."""
    file = tmp_path / "thesis"
    file.write_text("chapter one")
    _, err = run(capsys, "log", "export", "-o", str(file), code=2)
    assert err == f"error: `{file}` exists already\n\nhint: give another name\n"
    assert file.read_text() == "chapter one"
    told = json.loads(run(capsys, "log", "export", "-o", str(file), "--json", code=2)[1])
    assert told["error"]["field"] == "output"


def test_an_export_that_fails_leaves_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half a copy would be taken for one."""
    monkeypatch.setattr("hpc.storage.folder.sync_file", full)
    run(capsys, "log", "export", "-o", str(tmp_path / "copy"), code=1)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith("copy")]
    _, err = run(capsys, "log", "export", "-o", str(tmp_path / "no" / "copy"), code=1)
    assert "No such file or directory" in err


@pytest.mark.parametrize("verb", ["verify", "export", "compact"])
def test_a_folder_without_a_log_is_left_without(
    tmp_path: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong --data is told, and no empty Hub is made there."""
    words = ["-o", str(tmp_path / "copy")] if verb == "export" else []
    (tmp_path / "empty").mkdir()
    _, err = run(capsys, "log", verb, "--data", str(tmp_path / "empty"), *words, code=1)
    assert err == (
        f"error: There is no log `{tmp_path}/empty/log.sqlite3`\n\n"
        "hint: give the folder of a Hub with --data\n"
    )
    assert not list((tmp_path / "empty").iterdir())


def test_what_is_no_log_is_not_restored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is looked at before the folder is touched."""
    file = tmp_path / "thesis"
    file.write_text("chapter one\n" * 50)
    _, err = run(capsys, "log", "restore", str(file), "--data", str(tmp_path / "new"), code=1)
    assert err.startswith(f"error: `{file}` is not a log of hpc\n")
    assert not (tmp_path / "new").exists()


def test_compaction_of_a_stopped_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It writes what must be written first, drops, and the log still verifies."""
    monkeypatch.setenv("HPC_HOME", str(tmp_path))
    place = tmp_path / "hub"
    clock = HandClock()
    clock.move(-DAY_MS)  # long ago, by any clock
    with kept(lambda: sqlite.open_log(place), clock) as hub:
        filled(hub)
        expected = hub.pulls()
    out, err = run(capsys, "log", "compact")
    assert re.fullmatch(
        rf"dropped 8 batches of `{place}`; from seq 1\d on the log is whole; \d+ \w*B freed\n", out
    )
    assert err.startswith("hub: replayed 17 events")
    out, _ = run(capsys, "log", "compact")
    assert out == f"nothing of `{place}` is past its retention\n"
    told = run_json(capsys, "log", "compact")
    assert told["schema"] == "hpc.log.compact/1"
    assert (told["data"]["dropped"], told["data"]["snapshots"]) == (0, [17, 17])
    out, _ = run(capsys, "log", "verify")
    assert re.search(r"events +17 in 17 batches, 8 of them compacted below seq 1\d\n", out)
    assert re.search(r"snapshots +at seq 17 and at seq 17\n", out)
    with kept(lambda: sqlite.open_log(place), clock) as hub:
        assert hub.pulls() == expected
    edit(place, "UPDATE snapshot_parts SET state = x'00'")
    _, err = run(capsys, "log", "verify", code=1)
    assert "no snapshot can be used" in err


def test_a_compaction_gives_the_disk_back_what_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And where there is no room to write the file anew, the compaction is one all the same."""
    clock = HandClock()
    for name, has_room in (("roomy", True), ("full", False)):
        place = tmp_path / name
        with kept(lambda place=place: sqlite.open_log(place), clock) as hub:
            hub.register("lose", retention=0)
            for i in range(20):
                hub.say("lose", i, text="x" * 100_000)
        size = (place / "log.sqlite3").stat().st_size
        with monkeypatch.context() as patch:
            if not has_room:
                patch.setattr(SqliteTools, "shrink", full)
            told = run_json(capsys, "log", "compact", "--data", str(place))["data"]
        assert told["dropped"] == 20
        assert (told["freed_bytes"] > 1_900_000) == has_room
        assert ((place / "log.sqlite3").stat().st_size < size // 10) == has_room
        assert run_json(capsys, "log", "verify", "--data", str(place))["data"]["damaged"] == []


def full(*_: object) -> None:
    """Whatever is tried, the disk is full."""
    raise StorageFull("planted")


def test_a_hub_that_runs_is_not_compacted_from_outside(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has the folder, and does so by itself; looking is allowed."""
    lock = folder.take_lock(data)
    try:
        _, err = run(capsys, "log", "compact", code=1)
        assert err == (
            f"error: Log folder `{data}` is in use by process {os.getpid()}\n\n"
            "hint: a Hub that runs compacts by itself every hour; stop it to do so now\n"
        )
        run(capsys, "log", "verify")
    finally:
        os.close(lock)
