"""The command line in a process of its own, against the Hub of a cluster."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hpc.testing.processes import Cluster

COMMAND_S_MAX = 60

HEEDING = ("env", "--default-signal=INT,HUP", sys.executable, "-m", "hpc")
"""A command that heeds SIGINT and SIGHUP also where the tests run in the background of a shell."""


def run(
    cluster: Cluster,
    *words: str,
    folder: Path | None = None,
    stdin: str = "",
    umask: int = -1,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever comes of it.

    Args:
        cluster: Whose Hub it finds.
        words: What is typed behind `hpc`.
        folder: Where it is typed; None is this process's folder.
        stdin: What it reads.
        umask: The shell's; below 0 this process's.
    """
    moved = {} if folder is None else {"PWD": str(folder)}
    return subprocess.run(
        [sys.executable, "-m", "hpc", *words],
        cwd=folder,
        env={**cluster.env, **moved},
        input=stdin,
        umask=umask,
        capture_output=True,
        text=True,
        timeout=COMMAND_S_MAX,
        check=False,
    )


def succeed(
    cluster: Cluster, *words: str, folder: Path | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command that must succeed; else what it said is told."""
    done = run(cluster, *words, folder=folder, stdin=stdin)
    assert done.returncode == 0, done.stdout + done.stderr
    return done
