"""Slurm of Debian: munged, slurmctld and one slurmd, all on loopback, started by hand, as root.

The node claims 200 cores: with two a scheduler starts some two tasks a second. No accounting
database; the scheduler looks as often as it can be told to.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import ClassVar

from bench.peers.driver import TRUE, Driver, Figures, NotDone, check, latencies, serve, until
from bench.peers.killing import Marks, kill_midway

SLOTS = 200
CONF = """\
ClusterName=peer
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
SlurmdParameters=config_overrides
MaxArraySize=200001
MaxJobCount=250000
MpiDefault=none
EpilogMsgTime=1
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1,default_queue_depth=1000,partition_job_depth=1000
{plugins}
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs={slots} RealMemory=1000 State=UNKNOWN
PartitionName=all Nodes=n1 Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""  # noqa: E501 - lines of a file


class Slurm(Driver):
    """One node."""

    lacks: ClassVar[dict[str, str]] = {
        "true": "with two slots it starts some two tasks a second: too long for a measurement"
    }

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        if os.geteuid() != 0:
            raise NotDone("slurmd wants root")
        folder.chmod(0o755)
        for name in ("munge", "state", "spool"):
            (folder / name).mkdir(0o755)
        key, conf = folder / "munge" / "key", folder / "slurm.conf"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        conf.write_text(
            CONF.format(
                folder=folder,
                host=socket.gethostname(),
                ports=_free_ports(2),
                plugins=_plugins(),
                slots=SLOTS,
            )
        )
        self.env = {**os.environ, "SLURM_CONF": str(conf)}
        self.processes: list[subprocess.Popen[bytes]] = []
        files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log"}
        places = [f"--{word}={folder}/munge/{name}" for word, name in files.items()]
        self._start("munged", "--foreground", "--force", *places, f"--seed-file={key}.seed")
        until((folder / "munge" / "socket").exists, 20)
        self.controller = self._start_controller()
        stepd = shutil.which(_command("slurmstepd")) or ""
        self.node = self._start(_command("slurmd"), "-D", "-N", "n1", "-f", str(conf), "-d", stepd)
        until(lambda: self._run("sinfo", "-h", "-t", "idle", "-o", "%D").strip() == "1", 60)

    def version(self) -> str:
        return self._run("sinfo", "--version").strip()

    def pids(self) -> list[int]:
        return [process.pid for process in self.processes if process.poll() is None]

    def close(self) -> None:
        self._run("scancel", "-u", "root")
        # First those who would start more.
        for process in reversed(self.processes):
            process.kill()
            process.wait(10)
        # Those of steps are nobody's children, and try for minutes to tell how they ended.
        for pid in _of_environment(f"SLURM_CONF={self.env['SLURM_CONF']}"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def latency(self, times: int) -> Figures:
        return latencies(times, lambda: check(self._run("srun", "-n1", TRUE), ""))

    def command(self, times: int) -> Figures:
        return self.latency(times)

    def kill(self, tasks: int) -> Figures:
        """Kill slurmctld."""
        marks = Marks(self.folder)
        script = self.folder / "task.sh"
        script.write_text(f"#!/bin/bash\n{marks.command[-1]}\n")
        array = ["-n1", "-o", "/dev/null", "-D", str(self.folder), f"--array=0-{tasks - 1}"]

        def kill() -> None:
            self.controller.kill()
            self.controller.wait(10)

        def start() -> None:
            self.controller = self._start_controller()

        figures = kill_midway(
            tasks,
            marks,
            submit=lambda: self._run("sbatch", *array, str(script)),
            kill=kill,
            start=start,
            workers=[self.node.pid],
        )
        state = self._run("sinfo", "-h", "-o", "%T %E").split("\n")[0].strip()
        return {**figures, "said": f"node {state}"} if figures["lost"] else figures

    def _start_controller(self) -> subprocess.Popen[bytes]:
        return self._start(_command("slurmctld"), "-D", "-f", str(self.folder / "slurm.conf"))

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, env=self.env, cwd=self.folder)
        self.processes.append(process)
        return process

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self.env, cwd=self.folder, capture_output=True, check=False, text=True,
            timeout=60,
        )  # fmt: skip
        if done.returncode and command[0] in ("sbatch", "srun"):
            raise NotDone(f"{command[0]}: {done.stderr.strip()}")
        return done.stdout


def _command(name: str) -> str:
    """Return the name of a daemon: Debian's own, where its installer has not linked the other."""
    return name if shutil.which(name) else f"{name}-wlm"


def _plugins() -> str:
    """Return where the plugins are, if they are not where the daemons look."""
    unpacked = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    found = [path for path in unpacked if path.endswith("/slurm-wlm")]
    return f"PluginDir={found[0]}" if found else ""


def _of_environment(word: str) -> list[int]:
    """Return the processes that have something in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if word.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


if __name__ == "__main__":
    serve(Slurm)
