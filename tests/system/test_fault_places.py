"""Machines that start again and machines that are copied, as far as one machine can be several.

The relays are real. One has a boot id of its own: a file over the kernel's, in a mount namespace.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from hpc.client import Job
from hpc.testing.processes import Cluster, until

BOOT_ID = "/proc/sys/kernel/random/boot_id"
RELAY = ("relay", "--ns", "batch", "--node-id", "n1", "--cpus", "2")
HELD = "node n1 is held by another relay"


def _booted(folder: Path) -> list[str]:
    """Words before a command that is to see another boot id than this machine's."""
    boot_id = folder / "boot_id"
    boot_id.write_text("11111111-2222-4333-8444-555555555555\n")
    script = f'mount --bind {boot_id} {BOOT_ID} && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh"]


def _missing() -> str | None:
    """Why no relay can have a boot id of its own here, or None."""
    tried = ["unshare", "--mount", "mount", "--bind", "/dev/null", BOOT_ID]
    try:
        done = subprocess.run(tried, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return done.stderr.strip() or None if done.returncode else None


MISSING = _missing()
pytestmark = pytest.mark.skipif(MISSING is not None, reason=f"no mount namespace: {MISSING}")


@contextmanager
def _another(cluster: Cluster, folder: Path, home: Path) -> Iterator[Path]:
    """A relay of the same name on what it takes for another boot; yields where it says things."""
    log = folder / "another.log"
    with log.open("ab") as stderr:
        command = [*_booted(folder), cluster.python, "-m", "hpc", *RELAY]
        env = {**cluster.env, "HPC_HOME": str(home)}
        relay = psutil.Popen(command, env=env, stdout=stderr, stderr=stderr)
    try:
        yield log
    finally:
        relay.terminate()
        relay.wait()


def _lose_power(pid: int) -> None:
    """End a relay and all that is below it at once; nobody is told."""
    relay = psutil.Process(pid)
    for process in [relay, *relay.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _until_told(folder: Path) -> str:
    """A command that notes its attempt, and ends once it may."""
    return f"echo $HPC_ATTEMPT >> {folder}/ran; while ! test -e {folder}/end; do sleep 0.02; done"


def _ran(folder: Path) -> list[str]:
    file = folder / "ran"
    return file.read_text().split() if file.exists() else []


def _places(cluster: Cluster) -> list[list[str]]:
    """Folder and boot of each place that was the node, in order."""
    joined = [e for e in cluster.client().events() if e["kind"] == "NodeJoined"]
    return [event["payload"]["spec"]["place"].split(".") for event in joined]


def _attempts(job: Job) -> list[str]:
    return [attempt["state"] for attempt in job.info()["attempts"]]


def test_fault_20_a_machine_that_starts_again_is_served_once_its_lease_is_over(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Another place under its name: what had started runs again, as the next attempt."""
    first = cluster.start(*RELAY)
    job = cluster.client().submit(_until_told(tmp_path), memory=16)
    until(lambda: job.info()["state"] == "running" and _ran(tmp_path))
    _lose_power(first.pid)
    with _another(cluster, tmp_path, cluster.home) as log:
        until(lambda: HELD in log.read_text())
        until(lambda: _ran(tmp_path) == ["1", "2"])
        (tmp_path / "end").touch()
        assert job.wait(30)["state"] == "succeeded"
    assert _attempts(job) == ["lost", "succeeded"]
    (folder, boot), (again, other) = _places(cluster)
    assert (again, other != boot) == (folder, True)


def test_fault_26_a_machine_that_was_copied_waits_and_runs_nothing_of_the_first(
    cluster: Cluster, tmp_path: Path
) -> None:
    """With its relay's folder, epoch and outbox, and booted; then the first is gone for good."""
    first = cluster.start(*RELAY)
    client = cluster.client()
    done = client.submit("true", memory=16)
    assert done.wait(30)["state"] == "succeeded"
    job = client.submit(_until_told(tmp_path), memory=16)
    until(lambda: job.info()["state"] == "running" and _ran(tmp_path))
    home = tmp_path / "copied"
    home.mkdir(0o700)
    shutil.copy2(cluster.home / "access.json", home)
    shutil.copytree(cluster.home / "relays", home / "relays")
    with _another(cluster, tmp_path, home) as log:
        until(lambda: HELD in log.read_text())
        (tmp_path / "end").touch()
        assert job.wait(30)["state"] == "succeeded"
        assert (_ran(tmp_path), _attempts(job)) == (["1"], ["succeeded"])
        assert len(_places(cluster)) == 1
        _lose_power(first.pid)
        assert client.submit("true", memory=16).wait(30)["state"] == "succeeded"
    assert (_ran(tmp_path), _attempts(done)) == (["1"], ["succeeded"])
    (folder, boot), (copied, other) = _places(cluster)
    assert copied != folder
    assert other != boot
