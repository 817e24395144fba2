"""`hpc selftest --faults`: what it says, when it fails, and that it leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import run

from hpc.testing.kills import living
from hpc.testing.processes import Cluster, until
from hpc.testing.selftest import Tier, complaints

ZEROS = ("lost", "run_twice_unseen", "orphans", "other")

ALONE = """
import sys
sys.modules["pytest"] = sys.modules["hypothesis"] = sys.modules["_pytest"] = None
from hpc.__main__ import main
main()
"""
"""`hpc` where neither pytest nor Hypothesis can be imported."""


def files(place: Path) -> dict[str, tuple[int, int]]:
    found = ((path, path.lstat()) for path in place.rglob("*") if path.is_file())
    return {
        str(path): (stat.st_size, stat.st_ino) for path, stat in found if "sqlite" not in str(path)
    }


@pytest.mark.timeout(300)
def test_it_tries_every_tier_and_touches_no_hub_that_is_there(
    cluster: Cluster, tmp_path: Path
) -> None:
    """From the package alone, with the Hub of a user in reach by its folder and by variables."""
    client = cluster.client()
    client.submit("true", key="mine")
    before = client.pull("kernel"), files(cluster.home), sorted(tmp_path.iterdir())
    access = json.loads((cluster.home / "access.json").read_text())
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", ALONE, "selftest", "--faults", "--seeds", "2", "--json"],
        env={
            **cluster.env,
            "HPC_HUB_URL": access["url"],
            "HPC_TOKEN": access["token"],
            "TMPDIR": str(temporary),
        },
        cwd=temporary, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout)["data"]
    assert told["ok"]
    assert [tier["name"] for tier in told["tiers"]] == ["simulation", "disks", "processes"]
    for tier in told["tiers"]:
        assert tier["acknowledged"] > 0 < tier["kills"] + tier["power_cuts"], tier
        assert [tier[zero] for zero in ZEROS] == [0, 0, 0, 0]
    assert told["tiers"][2]["kills"] >= 3
    assert told["not_run"]
    assert "selftest: processes" in ran.stderr
    temporary_left = list(temporary.iterdir())
    temporary.rmdir()
    assert temporary_left == []
    assert (client.pull("kernel"), files(cluster.home), sorted(tmp_path.iterdir())) == before


@pytest.mark.parametrize(("name", "seeds"), [("no-fence", 14), ("no-dedupe", 6), ("ack-early", 3)])
def test_a_rule_that_is_broken_makes_it_fail(cluster: Cluster, name: str, seeds: int) -> None:
    """And it is said how to see that seed again."""
    ran = run(cluster, "selftest", "--faults", "--seeds", str(seeds), "--mutant", name)
    assert ran.returncode == 1
    assert "something does not hold" in ran.stdout
    assert f"--seeds 1 --mutant {name}" in ran.stderr


def test_a_tier_that_tried_nothing_is_a_failure() -> None:
    """As is none at all; what was found is told, also where no sentence came with it."""
    good = Tier("disks", power_cuts=3, acknowledged=9)
    assert complaints([good]) == []
    assert complaints([]) == ["nothing ran"]
    for nothing in (Tier("disks"), Tier("disks", kills=1), Tier("disks", acknowledged=1)):
        assert "disks: nothing was tried" in complaints([good, nothing])[0]
    assert complaints([Tier("x", kills=1, acknowledged=1, orphans=2)]) == ["x: 2 that must be 0"]


def test_without_faults_it_says_what_to_type(cluster: Cluster) -> None:
    """Nothing is killed by a word."""
    ran = run(cluster, "selftest")
    assert ran.returncode == 2
    assert "hpc selftest --faults" in ran.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_that_it_started_survives_it(tmp_path: Path, number: int) -> None:
    """Also where it cannot clean up; then its folder stays, and no process."""
    program = (
        "from pathlib import Path; from hpc.testing import selftest; import hpc.cli.selftest as c\n"
        "selftest._simulation = selftest._disks = lambda *_: None\n"
        "c.selftest(faults=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as ran:
        until(lambda: any(tmp_path.glob("hpc-selftest-*/starts")))
        began = processes_of(tmp_path)
        assert len(began) > 2
        ran.send_signal(number)
    until(lambda: not processes_of(tmp_path) and not living(tmp_path))
    left = list(tmp_path.iterdir())
    assert left == [] or number == signal.SIGKILL


def processes_of(place: Path) -> set[int]:
    """Those that have a variable that names the folder; zombies have none."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environ = (entry / "environ").read_bytes()
            except OSError:
                continue
            if f"HPC_HOME={place}/hpc-selftest-".encode() in environ:
                found.add(int(entry.name))
    return found
