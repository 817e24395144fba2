"""`hpc eff`: what a job that really ran used."""

from __future__ import annotations

import json

from commands import succeed as hpc

from hpc.testing.processes import Cluster

BURN = """
import time
block, began_s = b"x" * (40 << 20), time.process_time()
while time.process_time() < began_s + 0.3:
    pass
"""


def test_cores_memory_and_time_are_told_with_what_would_have_done(cluster: Cluster) -> None:
    """Of the last job; the one that asked for two cores burnt one."""
    cluster.relay("n1", cpus=2)
    words = ("--cpu", "2", "--memory", "2G", "--time-limit", "1h", "--progress", "--array", "0-1")
    hpc(cluster, "submit", *words, "--", "python3", "-c", BURN)
    told = hpc(cluster, "eff")
    lines = told.stdout.splitlines()
    assert lines[0] == "job 1: 2 tasks succeeded"
    assert lines[1].split() == ["ASKED", "MEDIAN", "MOST", "USED"]
    assert [line.split()[:2] for line in lines[2:]] == [
        ["cpus", "2"],
        ["memory", "2"],
        ["time", "1"],
    ]
    assert told.stderr.startswith("hint: the next time: hpc submit --cpu 1 --memory ")
    (data,) = json.loads(hpc(cluster, "eff", "1", "--json").stdout)["data"]
    assert data["memory_bytes"]["most"] > 40 << 20
    assert 0.2 < data["seconds"]["most"] < 60
    assert data["advice"]["cpu"] == 1


def test_a_job_of_which_nothing_ran_says_so(cluster: Cluster) -> None:
    """It is no error."""
    cluster.client().submit("true", hold=True, key="held")
    assert hpc(cluster, "eff", "held").stdout == "job held: no task has succeeded yet\n"
