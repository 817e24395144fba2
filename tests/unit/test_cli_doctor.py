"""`hpc doctor`: what it says of a machine and of a Hub, in words, in JSON and by its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from canned_hub import TOKEN, Canned, CannedHub, answer, problem

from hpc.access import Access, write_access
from hpc.cli import doctor, doctor_checks, tree
from hpc.cli.doctor_checks import Finding
from hpc.relay import self_check
from hpc.storage import log_file

NAMES = [
    "memory limits", "clean-up", "processes", "pidfd", "cpus", "memory", "gpus",
    "state folder", "free space", "reports", "sqlite", "access", "hub", "clock",
]  # fmt: skip


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CannedHub]:
    """A Hub of this version, found by the access file."""
    for name in ("HPC_HUB_URL", "HPC_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HPC_HOME", str(tmp_path / "home"))
    with CannedHub() as serving:
        serves(serving)
        write_access(tmp_path / "home", Access(serving.url, TOKEN))
        yield serving


def serves(hub: CannedHub, *, version: str = doctor_checks.__version__, ahead_s: int = 0) -> None:
    """Let the Hub answer all that is asked."""
    now = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + ahead_s))
    hub.routes["GET", "/healthz"] = Canned(body=b"ok\n", headers={"Date": now})
    hub.routes["GET", "/readyz"] = Canned(body=b"ok\n")
    hub.routes["GET", "/schema"] = answer({"info": {"version": version}})
    hub.routes["GET", "/jobs"] = answer({"cursor": 41, "data": [], "next": None})


def told(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code and findings by name."""
    code = tree.main(["doctor", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "hpc.doctor/1"
    assert [row["name"] for row in document["data"]] == NAMES
    return code, {row["name"]: row for row in document["data"]}


def test_where_all_is_well_it_says_what_there_is(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line each, and how far the Hub's log goes beside them."""
    code = tree.main(["doctor", "--json"])
    document = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in document["data"]}
    assert document["cursor"] == 41
    assert [row["name"] for row in document["data"]] == NAMES
    assert (rows["hub"]["level"], rows["hub"]["todo"]) == ("ok", None)
    assert hub.url in rows["hub"]["found"]
    assert doctor_checks.__version__ in rows["hub"]["found"]
    assert "mode 600" in rows["access"]["found"]
    assert "as the Hub's" in rows["clock"]["found"]
    assert rows["clean-up"]["level"] == "ok"
    assert code == int(any(row["level"] == "problem" for row in document["data"]))


def test_without_a_hub_it_still_looks_at_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is the first command of whom nothing else works for."""
    monkeypatch.setenv("HPC_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("HPC_HUB_URL", raising=False)
    code, rows = told(capsys)
    assert (rows["access"]["level"], rows["hub"]["level"]) == ("warning", "warning")
    assert rows["hub"]["todo"] == "start one: hpc up"
    assert "not made yet" in rows["state folder"]["found"]
    assert not (tmp_path / "none").exists()
    assert code == int(any(row["level"] == "problem" for row in rows.values()))


def test_a_hub_that_is_away_is_a_warning(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may come back, and nothing of this machine is wrong."""
    hub.stop_listening()
    _, rows = told(capsys)
    assert rows["access"]["level"] == "ok"
    assert rows["hub"]["level"] == "warning"
    assert rows["hub"]["todo"].startswith("start one: hpc up ")


def test_a_token_that_opens_nothing_is_a_problem(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every other command would fail too."""
    hub.routes["GET", "/jobs"] = problem(401, "unauthorized", "token not accepted", hint="ask")
    code, rows = told(capsys)
    assert (code, rows["hub"]["level"], rows["hub"]["todo"]) == (1, "problem", "ask")


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"info": {"version": 1}, "cursor": 0}'])
def test_a_hub_that_makes_no_sense_is_named(
    hub: CannedHub, capsys: pytest.CaptureFixture[str], body: bytes
) -> None:
    """Something else may listen where the Hub was."""
    hub.routes["GET", "/schema"] = hub.routes["GET", "/jobs"] = Canned(body=body)
    _, rows = told(capsys)
    assert rows["hub"]["level"] != "ok"
    assert hub.url in rows["hub"]["found"]


def test_other_versions_and_other_clocks_are_warned_of(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both show themselves later, as something else."""
    serves(hub, version="0.0.0", ahead_s=3600)
    _, rows = told(capsys)
    assert (rows["hub"]["level"], "0.0.0" in rows["hub"]["found"]) == ("warning", True)
    assert rows["clock"]["level"] == "warning"
    assert "behind the Hub's" in rows["clock"]["found"]


def test_an_access_file_that_others_read_is_a_problem(
    hub: CannedHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever reads it runs commands as you; the line says how to close it."""
    (tmp_path / "home" / "access.json").chmod(0o644)
    assert tree.main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("problem  access"))
    assert "mode 600" in lines[place]
    assert "chmod 600" in lines[place + 1]
    assert lines[-1].startswith("1 problem")


def test_the_text_is_in_columns_with_what_to_do_below() -> None:
    """One reads the left edge and stops where it does not say ok."""
    findings = [
        Finding("cpus", "ok", "2 cores"),
        Finding("free space", "warning", "1 MiB", "make room"),
        Finding("hub", "warning", "none"),
    ]
    assert doctor.text(findings).splitlines() == [
        "ok       cpus        2 cores",
        "warning  free space  1 MiB",
        "                     -> make room",
        "warning  hub         none",
        "2 warnings",
    ]
    assert doctor.text(findings[:1]).splitlines()[-1] == "all is well"


def test_a_network_folder_and_one_for_everybody_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """State may lie on NFS, a log may not; and nobody else may write an access file."""
    assert doctor_checks.state_folder(tmp_path).level == "ok"
    tmp_path.chmod(0o777)
    assert doctor_checks.state_folder(tmp_path).level == "problem"
    tmp_path.chmod(0o700)
    monkeypatch.setattr(doctor_checks, "file_system", lambda _path: "nfs4")
    found = doctor_checks.state_folder(tmp_path)
    assert (found.level, "nfs4" in found.found) == ("warning", True)
    assert "--data" in (found.todo or "")


@pytest.mark.parametrize(
    ("free", "level"), [(1 << 34, "ok"), (1 << 29, "warning"), (1 << 20, "problem")]
)
def test_a_disk_that_fills_up_is_told_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: str
) -> None:
    """Before the Hub takes no job any more."""
    real = os.statvfs(tmp_path)
    fields = list(real)
    fields[4] = free // real.f_frsize
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result(fields))
    assert doctor_checks.free_space(tmp_path / "not" / "made").level == level


def test_refused_reports_are_found(tmp_path: Path) -> None:
    """They are results that no Hub knows."""
    assert doctor_checks.reports(tmp_path).level == "ok"
    folder = tmp_path / "relays" / "n7" / "refused"
    folder.mkdir(parents=True)
    (folder / "1.json").write_text("{}")
    found = doctor_checks.reports(tmp_path)
    assert (found.level, "n7" in found.found) == ("warning", True)


def test_the_oldest_sqlite_is_the_one_that_a_log_is_kept_with() -> None:
    """Two places say it: a command line imports no plugin."""
    assert log_file.LIBRARY_MIN == doctor_checks.SQLITE_MIN
    assert doctor_checks.sqlite().level == "ok"


def test_gpus_are_counted_by_their_files(tmp_path: Path) -> None:
    """Without a library of theirs; a core of the CPU is a node there too."""
    assert doctor_checks.gpus(tmp_path).found == "none"
    (tmp_path / "dev").mkdir()
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / "dev" / name).touch()
    for node, text in (("0", "0\n"), ("1", "4711\n")):
        folder = tmp_path / "sys/class/kfd/kfd/topology/nodes" / node
        folder.mkdir(parents=True)
        (folder / "gpu_id").write_text(text)
    assert doctor_checks.gpus(tmp_path).found == "2 of NVIDIA, 1 of AMD"


@pytest.mark.parametrize(("version", "words"), [("v2", "cgroup v2 at"), ("", "watchdog")])
def test_it_says_who_keeps_memory_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, words: str
) -> None:
    """Neither is wrong; they are not the same."""
    monkeypatch.setattr(doctor_checks, "memory_cgroup", lambda **_: (version, "the place"))
    found = doctor_checks.memory_limits(tmp_path, "n1")
    assert (found.level, words in found.found, "the place" in found.found) == ("ok", True, True)
    record = tmp_path / "relays" / "n1" / "cgroup"
    record.parent.mkdir(parents=True)
    record.write_text("none --cgroup off\n")
    assert "relay n1 had a watchdog" in doctor_checks.memory_limits(tmp_path, "n1").found


def test_a_machine_on_which_no_task_can_run_is_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is wrong is said in the words of whoever found out."""
    monkeypatch.setattr(doctor_checks.sys, "executable", "/bin/false")
    found = doctor_checks.clean_up()
    assert (found.level, "exit code 1" in found.found) == ("problem", True)


def test_the_self_check_says_what_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A task that cannot leave its mark has not shown anything."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    assert self_check.main([str(first)]) == 0
    monkeypatch.setattr(self_check, "LEAVES", "exit 3")
    assert self_check.main([str(second)]) == 1
    assert "a task could not run: exit" in capsys.readouterr().err


def test_it_loads_neither_the_hub_nor_the_relay(tmp_path: Path) -> None:
    """APSW alone is heavy, and tells the version of SQLite."""
    listing = (
        "import json, sys\n"
        "from hpc.cli.tree import main\n"
        "main(['doctor'])\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", listing],
        env={**os.environ, "HPC_HOME": str(tmp_path / "none")},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    loaded = set(json.loads(ran.stdout.splitlines()[-1]))
    heavy = {"asyncio", "litestar", "psutil", "rich", "uvicorn", "uvloop", "hpc.hub", "hpc.relay"}
    heavy |= {"msgspec", "hpc.storage", "hpc.plugins"}
    assert loaded & heavy == set()
