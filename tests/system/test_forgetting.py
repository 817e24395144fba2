"""Jobs that are forgotten, by request and by age: nothing of them runs again, whoever asks."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from commands import run as hpc
from commands import succeed
from marks import marking, starts

from hpc import as_completed
from hpc.client import Client, Job
from hpc.errors import Conflict, NotFound, Refused
from hpc.testing.processes import Cluster, until


def submit(
    cluster: Cluster, key: str, command: str, *more: str
) -> subprocess.CompletedProcess[str]:
    """Submit a command under a key, each time from the same folder and environment."""
    words = ["submit", "--key", key, "--memory", "64", *more, "--", command]
    return hpc(cluster, *words)


def is_forgotten(job: Job) -> bool:
    """Whether the Hub has forgotten a job."""
    try:
        job.info()
    except NotFound as error:
        assert error.code == "forgotten"
        return True
    return False


def check_forgotten(cluster: Cluster, client: Client, key: str, command: str) -> None:
    """Who asks for a job that succeeded and was forgotten is told so, and nothing runs."""
    with pytest.raises(NotFound) as caught:
        client.job(key).wait(30)
    assert (caught.value.code, caught.value.outcome) == ("forgotten", "succeeded")
    job = client.job(key)
    assert list(as_completed([job], timeout=30)) == [job], "it was over"
    with pytest.raises(Conflict) as conflict:
        client.submit("true", memory=64, key=key)
    assert (conflict.value.code, conflict.value.field) == ("job_conflict", "spec")
    for words in (["info", key], ["log", key], ["wait", key], ["forget", key]):
        done = hpc(cluster, "job", *words)
        assert done.returncode == 4
        assert f"Job `{key}` succeeded, and was forgotten" in done.stderr
    done = submit(cluster, key, command, "--wait")
    assert done.returncode == 0, done.stderr
    assert f"job {key} succeeded" in done.stderr
    assert key not in {row["job_id"] for row in client.jobs()}


def test_jobs_are_forgotten_by_request(cluster: Cluster, tmp_path: Path) -> None:
    """Those that are over, whole, and all that are named or none."""
    cluster.relay()
    client = cluster.client()
    command = marking(tmp_path)
    submit(cluster, "once", command)
    job = client.job("once")
    bad = client.submit("exit 3", memory=64)
    assert (job.wait(30)["state"], bad.wait(30)["state"]) == ("succeeded", "failed")
    held = client.submit("true", memory=64, hold=True)

    done = hpc(cluster, "job", "forget", "once", held.id)
    assert done.returncode == 5
    assert f'got "{held.id}", held' in done.stderr
    assert f"hpc job cancel {held.id}" in done.stderr
    with pytest.raises(Refused):
        held.forget()
    done = hpc(cluster, "job", "forget", "once", "failed", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["schema"] == "hpc.job.forget/1"
    assert {row["job_id"]: row["state"] for row in told["data"]} == {
        "once": "succeeded",
        bad.id: "failed",
    }

    check_forgotten(cluster, client, "once", command)
    after = client.submit(marking(tmp_path), memory=64, after=["once"], after_any=[bad.id])
    vain = client.submit("true", memory=64, after=[bad])
    assert (after.wait(30)["state"], vain.wait(30)["state"]) == ("succeeded", "cancelled")
    assert starts(tmp_path) == {0: 2}
    done = hpc(cluster, "job", "forget", after.id)
    assert (done.returncode, done.stderr.strip()) == (0, "1 job is forgotten")


def test_jobs_are_forgotten_for_their_age_also_over_a_restart(
    cluster: Cluster, tmp_path: Path
) -> None:
    """What ended before the Hub was told to forget goes too, and stays forgotten after a kill."""
    cluster.relay()
    client = cluster.client()
    command = marking(tmp_path)
    submit(cluster, "once", command)
    job = client.job("once")
    assert job.wait(30)["state"] == "succeeded"
    held = client.submit("true", memory=64, hold=True)
    assert cluster.hub is not None
    cluster.hub.terminate()

    cluster.start_hub("--keep-jobs", "1s")
    until(lambda: is_forgotten(job))
    check_forgotten(cluster, client, "once", command)
    cluster.hub.kill()
    cluster.start_hub("--keep-jobs", "1s")
    check_forgotten(cluster, client, "once", command)

    held.release()
    until(lambda: is_forgotten(held))
    # Who was away when it ended is told what became of it.
    with pytest.raises(NotFound) as caught:
        cluster.client().wait(held.id, timeout_s=30)
    assert caught.value.outcome == "succeeded"
    assert starts(tmp_path) == {0: 1}


def test_a_key_and_a_dependency_may_name_what_was_forgotten(cluster: Cluster) -> None:
    """Scripts name old jobs; what became of those is known still."""
    cluster.relay()
    succeed(cluster, "submit", "--key", "old", "--wait", "--", "true")
    succeed(cluster, "job", "forget", "old")
    assert "forgotten" in succeed(cluster, "submit", "--key", "old", "--", "true").stderr
    after = succeed(cluster, "submit", "--after", "old", "--wait", "--", "true")
    assert "succeeded" in after.stderr
