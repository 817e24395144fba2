"""`hpc timeline`: a trace of what really ran."""

from __future__ import annotations

import json
from pathlib import Path

from commands import run
from commands import succeed as hpc

from hpc.testing.processes import Cluster


def test_a_trace_has_each_attempt_of_what_was_asked_for(cluster: Cluster, tmp_path: Path) -> None:
    """Failures that were tried again are two; what came after is bound to it by an arrow."""
    cluster.relay("n1", cpus=2)
    client = cluster.client()
    first = client.submit("test $HPC_TASK_ID != 1", tasks="0-2", key="a", retries=1, memory=16)
    first.wait(60)
    client.submit("true", key="b", after_any=["a"], memory=16).wait(60)
    client.submit("true", key="c", memory=16).wait(60)
    file = tmp_path / "trace.json"
    told = hpc(cluster, "timeline", "-o", str(file), "a", "b")
    assert told.stderr == f"wrote {file}: open it in https://ui.perfetto.dev\n"
    events = json.loads(file.read_text())["traceEvents"]
    slices = [(one["name"], one["cat"]) for one in events if one["ph"] == "X"]
    ran = [("a.0", "succeeded"), ("a.1", "exit"), ("a.1", "exit"), ("a.2", "succeeded")]
    assert sorted(slices) == [*ran, ("b.0", "succeeded")]
    assert {one["id"] for one in events if one["ph"] in "sf"} == {"a>b"}
    whole = json.loads(hpc(cluster, "timeline", "-o", "-").stdout)
    assert sum(one["ph"] == "X" for one in whole["traceEvents"]) == len(slices) + 1


def test_what_cannot_be_written_is_said(cluster: Cluster, tmp_path: Path) -> None:
    """And where."""
    done = run(cluster, "timeline", "-o", str(tmp_path / "no" / "trace.json"))
    assert done.returncode == 1
    assert "trace.json` cannot be written: No such file or directory\n" in done.stderr
