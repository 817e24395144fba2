"""What `hpc doctor` looks at: each check returns what it found, and what is to be done about it.

A check looks and changes nothing, and never raises for what it looks for. The one that needs a
relay's machinery runs it in a process of its own (relay/self_check.py), so that this command stays
as light as the others.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

from hpc import machine
from hpc._core import __version__, memory_cgroup, process_limit
from hpc.access import ACCESS_FILE, read_access
from hpc.errors import HpcError, NoHub, NotAllowed, UsageError
from hpc.file_systems import file_system, is_network
from hpc.transport.http_client import HUB_HEADER, HttpClient
from hpc.units import show_duration, show_memory

LOW_BYTES: Final = 1 << 30
"""Below it a disk may fill up within a day of jobs."""

FULL_BYTES: Final = 64 << 20
"""Below it a Hub takes no submit."""

SQLITE_MIN: Final = (3, 51, 3)
"""The storage refuses a library that is older."""

SELF_CHECK_S_MAX: Final = 60.0
ASK_S_MAX: Final = 5.0

SHOWN_MAX: Final = 5
"""Damaged batches that are named."""

AHEAD_S_MAX: Final = 5.0
"""An event that is dated further ahead of the Hub's clock is brought back to it."""

SET_S_MIN: Final = 1_735_689_600.0
"""2025: no clock that was set is behind it."""

_SYSTEMD: Final = Path("/run/systemd/system")
_DELEGATED: Final = "systemd-run --user --scope -p Delegate=yes hpc relay"


class Finding(NamedTuple):
    """What one check has found.

    Attributes:
        name: What was looked at.
        level: How bad it is.
        found: What there is.
        todo: What to do about it; None where nothing is to be done.
    """

    name: str
    level: Literal["ok", "warning", "problem"]
    found: str
    todo: str | None = None


def machine_findings(home: Path, node: str) -> Iterator[Finding]:
    """Yield what was found of this machine.

    Args:
        home: `$HPC_HOME`; it need not exist.
        node: The name that a relay has here without a flag.
    """
    checks: dict[str, Callable[[], Finding]] = {
        "memory limits": lambda: memory_limits(home, node),
        "clean-up": clean_up,
        "processes": processes,
        "pidfd": pidfd,
        "cpus": cpus,
        "memory": memory,
        "gpus": gpus,
        "state folder": lambda: state_folder(home),
        "free space": lambda: free_space(home),
        "reports": lambda: reports(home),
        "sqlite": sqlite,
    }
    for name, check in checks.items():
        try:
            yield check()
        except OSError as error:
            yield Finding(name, "problem", f"cannot be looked at: {error}")


def memory_limits(home: Path, node: str) -> Finding:
    """Look for who would keep the memory limits of tasks: the kernel, or a watchdog."""
    version, where = memory_cgroup(root="/", pids=[os.getpid()])
    if version:
        found, todo = f"kept by the kernel: cgroup {version} at {where}", None
    else:
        found = f"kept by a watchdog over each task's processes; no cgroup: {where}"
        todo = f"for the kernel's: {_DELEGATED}" if _SYSTEMD.is_dir() else None
    try:
        had = (home / "relays" / node / "cgroup").read_text(encoding="utf-8").split(" ", 1)[0]
    except OSError:
        return Finding("memory limits", "ok", found, todo)
    its = "a watchdog" if had == "none" else f"cgroup {had}"
    return Finding(
        "memory limits", "ok", f"{found}; relay {node} had {its} at its last start", todo
    )


def clean_up() -> Finding:
    """Run a task that leaves a process behind, and look whether it is ended."""
    with tempfile.TemporaryDirectory(prefix="hpc-doctor-") as folder:
        command = [sys.executable, "-P", "-m", "hpc.relay.self_check", folder]
        try:
            ran = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=SELF_CHECK_S_MAX
            )
        except subprocess.TimeoutExpired:
            return Finding(
                "clean-up", "problem", f"a task has not ended within {SELF_CHECK_S_MAX:g} s"
            )
    if ran.returncode == 0:
        return Finding(
            "clean-up",
            "ok",
            "nothing outlives its task, nor the kill of any two of relay, supervisor and guard",
        )
    said = ran.stderr.strip().splitlines()
    return Finding(
        "clean-up",
        "problem",
        said[-1] if said else f"the supervisor has ended with exit code {ran.returncode}",
        "no relay can run here: see its stderr, or tell us",
    )


def processes() -> Finding:
    """Look for what holds the number of processes that tasks make."""
    keeper, is_held = process_limit(root="/", pids=[os.getpid()])
    if is_held:
        return Finding("processes", "ok", f"their number is kept by {keeper}")
    return Finding(
        "processes",
        "warning",
        f"a fork bomb can fill the machine: {keeper}",
        "run no relay as root",
    )


def pidfd() -> Finding:
    """Look whether processes can be held by a descriptor."""
    try:
        held = os.pidfd_open(os.getpid())
        try:
            signal.pidfd_send_signal(held, 0)  # asks only whether it could be sent
        finally:
            os.close(held)
    except OSError as error:
        return Finding(
            "pidfd", "problem", f"the kernel has none: {error.strerror}", "Linux 5.3 or later"
        )
    return Finding("pidfd", "ok", f"Linux {os.uname().release}")


def cpus() -> Finding:
    """Look at the cores that a relay would offer."""
    allowed, quota = machine.allowed_cpus(), machine.cpu_quota()
    found = f"{len(allowed)} of {os.cpu_count()} cores may be used"
    if quota is not None and quota < len(allowed):
        return Finding("cpus", "ok", f"{found}, the time of {quota:g} by cgroup")
    return Finding("cpus", "ok", found)


def memory() -> Finding:
    """Look at the memory that a relay would offer."""
    have = machine.memory()
    found = f"{show_memory(have.total_bytes)}, of which {show_memory(have.used_bytes)} are in use"
    if have.used_bytes > have.total_bytes * 0.9:
        todo = "a relay offers all of it: hpc relay --memory 1G"
        return Finding("memory", "warning", found, todo)
    return Finding("memory", "ok", found)


def gpus(root: Path = Path("/")) -> Finding:
    """Look for the device files of GPUs."""
    nvidia = len(list((root / "dev").glob("nvidia[0-9]*")))
    kfd = root / "sys/class/kfd/kfd/topology/nodes"
    # Of the nodes there, those without a GPU have the id 0.
    ids = [_first_line(node / "gpu_id") for node in kfd.glob("*")] if kfd.is_dir() else []
    amd = sum(text not in ("", "0") for text in ids)
    seen = [f"{count} of {maker}" for maker, count in (("NVIDIA", nvidia), ("AMD", amd)) if count]
    return Finding("gpus", "ok", ", ".join(seen) or "none")


def state_folder(home: Path) -> Finding:
    """Look at `$HPC_HOME`: who may use it, and what it lies on."""
    there = _nearest(home)
    kind = file_system(there) or "an unknown file system"
    if not os.access(there, os.W_OK | os.X_OK):
        return Finding(
            "state folder",
            "problem",
            f"{there} cannot be written",
            "set HPC_HOME to a folder of yours",
        )
    if there == home and home.stat().st_mode & 0o002:
        return Finding(
            "state folder", "problem", f"{home} can be written by everybody", f"chmod 700 {home}"
        )
    found = f"{home} on {kind}" + ("" if there == home else ", not made yet")
    if is_network(kind):
        todo = "a Hub needs a local folder for its log: hpc hub --data /var/tmp/hpc-log"
        return Finding("state folder", "warning", f"{found}, a network file system", todo)
    return Finding("state folder", "ok", found)


def free_space(home: Path) -> Finding:
    """Look at the room where state is kept."""
    there = _nearest(home)
    free = os.statvfs(there)
    free_bytes = free.f_bavail * free.f_frsize
    found = f"{show_memory(free_bytes)} at {there}"
    if free_bytes < FULL_BYTES:
        return Finding("free space", "problem", found, "a Hub takes no job here: make room")
    if free_bytes < LOW_BYTES:
        return Finding("free space", "warning", found, "make room before long")
    return Finding("free space", "ok", found)


def reports(home: Path) -> Finding:
    """Look for what relays had to tell and no Hub has taken."""
    refused = [file for file in home.glob("relays/*/refused/*") if file.is_file()]
    if refused:
        nodes = sorted({file.parents[1].name for file in refused})
        return Finding(
            "reports",
            "warning",
            f"{len(refused)} files of events that the Hub refused, of {', '.join(nodes)}",
            f"look at them: {home / 'relays' / nodes[0] / 'refused'}",
        )
    return Finding("reports", "ok", "none was refused by a Hub")


def sqlite() -> Finding:
    """Look at the library that a Hub keeps its log with."""
    try:
        import apsw  # noqa: PLC0415 - heavy, for this check alone
    except ImportError as error:
        return Finding("sqlite", "problem", f"a Hub has no log here: {error}", "install hpc anew")
    version = apsw.sqlite_lib_version()
    least = ".".join(map(str, SQLITE_MIN))
    if tuple(int(part) for part in version.split(".")[:3]) < SQLITE_MIN:
        return Finding("sqlite", "problem", f"{version}, older than {least}", "pip install -U apsw")
    return Finding("sqlite", "ok", version)


class Hub:
    """The Hub that is found from here, if one is.

    Attributes:
        cursor: How far its log goes; 0 where that is not known.
    """

    def __init__(self, home: Path, url: str | None) -> None:
        self.cursor = 0
        self._home = home
        self._url = url

    def findings(self) -> Iterator[Finding]:
        """Yield what was found: the access file, the Hub behind it, and both clocks."""
        file = self._home / ACCESS_FILE
        try:
            access = read_access(self._home, url=self._url)
        except NoHub as error:
            yield Finding("access", "warning", error.message, error.hint)
            yield Finding("hub", "warning", "not looked for", "start one: hpc up")
            yield clock(None)
            return
        except (NotAllowed, UsageError) as error:
            yield Finding("access", "problem", error.message, error.hint)
            yield clock(None)
            return
        mode = f", mode {file.stat().st_mode & 0o777:o}" if file.exists() else ""
        token = "with a token" if access.token else "without a token"
        yield Finding("access", "ok", f"{access.url} {token}{mode}")
        with contextlib.closing(HttpClient(lambda: access, timeout_s=ASK_S_MAX)) as http:
            found, date = self._ask(http, access.url)
            damaged = self._damaged(http) if found.level == "ok" else None
        yield found
        if damaged is not None:
            yield damaged
        yield clock(date)

    def _ask(self, http: HttpClient, url: str) -> tuple[Finding, str | None]:
        """Return what answers, and its `Date`."""
        try:
            health = http.get("/healthz")
            date = health.headers.get("date")
            http.get("/readyz")
            version = str(http.get("/schema").json()["info"]["version"])
            self.cursor = int(http.get("/jobs", [("limit", 1)]).json()["cursor"])
        except NoHub as error:
            return Finding("hub", "warning", error.message, error.hint), None
        except HpcError as error:
            return Finding("hub", "problem", f"{url}: {error.message}", error.hint), None
        except (KeyError, ValueError, TypeError):
            return Finding("hub", "problem", f"what answers at {url} is no Hub"), None
        found = f"{health.headers.get(HUB_HEADER)} at {url}, version {version}"
        if version != __version__:
            return Finding(
                "hub", "warning", f"{found}; this is {__version__}", "use one version"
            ), date
        return Finding("hub", "ok", found), date

    def _damaged(self, http: HttpClient) -> Finding | None:
        """Return what the Hub has found damaged in its log, if it has."""
        try:
            found = http.get("/healthz", [("full", "true")]).json().get("damaged", [])
            seqs = ", ".join(str(int(one["seq"])) for one in found[:SHOWN_MAX])
        except (HpcError, KeyError, ValueError, TypeError, AttributeError):
            return None
        if not found:
            return None
        more = f" and {len(found) - SHOWN_MAX} more" if len(found) > SHOWN_MAX else ""
        return Finding(
            "log",
            "problem",
            f"degraded: {len(found)} damaged batches are set aside, at seq {seqs}{more}",
            "see `hpc log verify`; stop the Hub and restore an exported log: hpc log restore FILE",
        )


def clock(date: str | None) -> Finding:
    """Look at this machine's clock, beside the Hub's where that said what it has."""
    now_s = time.time()
    shown = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_s))
    if now_s < SET_S_MIN:
        return Finding("clock", "problem", f"{shown}: it was never set", "set it, best by NTP")
    if date is None:
        return Finding("clock", "ok", shown)
    ahead_s = now_s - _seconds_of(date)
    if abs(ahead_s) > AHEAD_S_MAX:
        which = "ahead of" if ahead_s > 0 else "behind"
        off = f"{show_duration(abs(ahead_s))} {which} the Hub's"
        return Finding("clock", "warning", f"{shown}, {off}", "set both by NTP")
    return Finding("clock", "ok", f"{shown}, as the Hub's")


def _seconds_of(date: str) -> float:
    """Return the time of an HTTP date; now where it is none."""
    import calendar  # noqa: PLC0415 - for this alone

    try:
        return float(calendar.timegm(time.strptime(date, "%a, %d %b %Y %H:%M:%S GMT")))
    except ValueError:
        return time.time()


def _nearest(folder: Path) -> Path:
    """Return a folder, or what is there of the way to it."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _first_line(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
