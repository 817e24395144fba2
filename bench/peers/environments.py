"""Where a peer is installed: a folder of its own in a cache, by its packages' ordinary client.

A package of PyPI gets a virtual environment, one of Debian is unpacked by `dpkg -x`, which needs no
root and touches no system; a command that is on `PATH` already is taken as it is. Nothing is ever
installed into the environment of the project, and what could not be installed is said, not raised.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from bench.peers.works import INSTALL_S_MAX

ROOT = Path(__file__).resolve().parents[2]


class Peer(NamedTuple):
    """What a peer is made of.

    Attributes:
        driver: Module of its driver.
        command: That a Debian package brings; or empty.
        debian: That package; or several, which then come with what they need beside them.
        pypi: Requirements of its environment.
    """

    driver: str
    command: str = ""
    debian: str = ""
    pypi: tuple[str, ...] = ()


PEERS = {
    "xargs": Peer("drive_xargs", command="xargs", debian="findutils"),
    "parallel": Peer("drive_parallel", command="parallel", debian="parallel"),
    "slurm": Peer(
        "drive_slurm",
        command="slurmctld-wlm",
        debian="slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge",
    ),
    "spooler": Peer("drive_spooler", command="tsp", debian="task-spooler"),
    "hyperqueue": Peer("drive_hyperqueue", pypi=("hyperqueue",)),
    "dask": Peer("drive_dask", pypi=("dask[distributed]",)),
    "ray": Peer("drive_ray", pypi=("ray",)),
    "parsl": Peer("drive_parsl", pypi=("parsl",)),
}
OURS = Peer("drive_ours")


class NotThere(Exception):
    """A peer that cannot be measured here; the text says why."""


class Environment(NamedTuple):
    """How to start a driver.

    Attributes:
        python: Its interpreter.
        env: Its environment.
    """

    python: str
    env: dict[str, str]


def environment(name: str, cache: Path) -> Environment:
    """Return where a peer is, installed first if it is not.

    Raises:
        NotThere: It is not, and cannot be.
    """
    peer = OURS if name == "ours" else PEERS[name]
    if peer.pypi:
        python = _venv(name, peer, cache)
        # Some start commands of their own by name.
        return Environment(str(python), _environ([str(python.parent)]))
    more = _unpacked(name, peer, cache) if peer.command else []
    return Environment(sys.executable, _environ(more, _libraries(cache / name)))


def _environ(more: list[str] | None = None, libraries: list[str] | None = None) -> dict[str, str]:
    path = os.pathsep.join([*(more or []), os.environ.get("PATH", os.defpath)])
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    if libraries:
        env["LD_LIBRARY_PATH"] = os.pathsep.join(libraries)
    for ours in ("HPC_HOME", "HPC_TOKEN", "HPC_HUB_URL", "VIRTUAL_ENV"):
        env.pop(ours, None)
    return env


def _venv(name: str, peer: Peer, cache: Path) -> Path:
    folder = cache / name
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        base = getattr(sys, "_base_executable", sys.executable)
        _run([base, "-m", "venv", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", *peer.pypi])
        ready.touch()
    return python


def _unpacked(name: str, peer: Peer, cache: Path) -> list[str]:
    """Return folders to be put before `PATH`."""
    folder = cache / name
    bins = [str(folder / "usr" / part) for part in ("bin", "sbin")]
    if shutil.which(peer.command, path=os.pathsep.join([os.environ.get("PATH", ""), *bins])):
        return bins
    if shutil.which("apt-get") is None:
        raise NotThere(f"no `{peer.command}` on PATH; install it: {peer.debian} (Debian)")
    (folder / "partial").mkdir(parents=True, exist_ok=True)
    packages = peer.debian.split()
    get = ["apt-get", "download", "-q"]
    if len(packages) > 1:
        archives = [f"Dir::Cache::archives={folder}", "Debug::NoLocking=1"]
        options = [word for option in archives for word in ("-o", option)]
        get = ["apt-get", "install", "-qy", "--download-only", "--no-install-recommends", *options]
    _run([*get, *packages], cwd=folder)
    for package in folder.glob("*.deb"):
        _run(["dpkg", "-x", str(package), str(folder)])
    if not shutil.which(peer.command, path=os.pathsep.join(bins)):
        raise NotThere(f"the package {peer.debian} has no `{peer.command}`")
    return bins


def _libraries(folder: Path) -> list[str]:
    """Return where unpacked packages have shared libraries."""
    return sorted({str(path.parent) for path in (folder / "usr" / "lib").rglob("*.so*")})


def _run(command: list[str], cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, check=False, text=True, timeout=INSTALL_S_MAX
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotThere(f"`{' '.join(command[:4])}` does not work: {error}") from error
    if done.returncode:
        why = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no reason given"]
        raise NotThere(f"`{' '.join(command[:4])}` ended by {done.returncode}: {why[0][:120]}")
