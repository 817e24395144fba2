"""What this process may use of its machine: cores and memory, within its cgroup's limits.

Reads /proc and the cgroup file systems, both versions. It never measures load (the monitor's
sampler does) and knows nothing of relays. Paths that cannot be read count as "no limit".
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# A v1 hierarchy without a limit shows a number near 2^63; no machine has 2^60 bytes.
_UNLIMITED_BYTES = 1 << 60


_LISTENS = "0A"
"""The state TCP_LISTEN in /proc/net/tcp."""

_PIDS_MAX = 1 << 15
"""What the kernel has where nobody has said more."""


class Memory(NamedTuple):
    """Memory in bytes: the whole and what is in use of it, page cache excluded."""

    total_bytes: int
    used_bytes: int


def listener(port: int, root: Path = Path("/")) -> str | None:
    """Return who listens at a TCP port, as `pid 4121 (python3)`.

    None where nobody does that this user may look into.
    """
    sockets = {f"socket:[{inode}]" for inode in _listening(port, root)}
    for process in (root / "proc").glob("[0-9]*") if sockets else ():
        if not sockets.isdisjoint(_open_files(process)):
            with contextlib.suppress(OSError):
                return f"pid {process.name} ({(process / 'comm').read_text().strip()})"
    return None


def _open_files(process: Path) -> Iterator[str]:
    """Yield what a process has open; it may end while it is looked at, or be somebody else's."""
    with contextlib.suppress(OSError):
        for handle in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                yield str(handle.readlink())


def _listening(port: int, root: Path) -> Iterator[str]:
    """Yield the inodes of the sockets that listen at a port."""
    for table in ("tcp", "tcp6"):
        for line in _words_of_lines(root / "proc" / "net" / table):
            # slot, local address:port in hexadecimal digits, remote, state, ..., inode
            if line[3] == _LISTENS and int(line[1].rpartition(":")[2], 16) == port:
                yield line[9]


def _words_of_lines(path: Path) -> list[list[str]]:
    try:
        return [line.split() for line in path.read_text().splitlines()[1:]]
    except OSError:
        return []


def allowed_cpus() -> list[int]:
    """Return the ids of the cores that this process may run on, ascending."""
    return sorted(os.sched_getaffinity(0))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return how many cores' time the cgroup grants, or None where nothing limits it."""
    quotas: list[float] = []
    for folder in _folders("cpu", root):
        v2 = _words(folder / "cpu.max")
        if len(v2) == 2 and v2[0].isdigit():  # noqa: PLR2004 - quota and period
            quotas.append(int(v2[0]) / int(v2[1]))
        v1 = _number(folder / "cpu.cfs_quota_us")
        period = _number(folder / "cpu.cfs_period_us")
        if v1 is not None and v1 > 0 and period:
            quotas.append(v1 / period)
    return min(quotas, default=None)


def memory(root: Path = Path("/")) -> Memory:
    """Return the memory of the machine, or of the cgroup where that is smaller.

    The machine's use is MemTotal - MemAvailable; a cgroup's is what it holds without inactive
    file pages, which it gives up under pressure.
    """
    machine = _machine_memory(root)
    smallest = machine
    for folder in _folders("memory", root):
        limit = _number(folder / "memory.max")
        held, inactive = folder / "memory.current", "inactive_file"
        if limit is None:
            limit = _number(folder / "memory.limit_in_bytes")
            held, inactive = folder / "memory.usage_in_bytes", "total_inactive_file"
        if limit is None or limit >= min(smallest.total_bytes, _UNLIMITED_BYTES):
            continue
        cache = _table(folder / "memory.stat").get(inactive, 0)
        smallest = Memory(limit, max((_number(held) or 0) - cache, 0))
    return smallest


def processes_max(root: Path = Path("/")) -> int:
    """Return how many processes and threads the machine can have at once."""
    kernel = root / "proc/sys/kernel"
    known = (_number(kernel / name) for name in ("pid_max", "threads-max"))
    return min((number for number in known if number), default=_PIDS_MAX)


def _machine_memory(root: Path) -> Memory:
    table = _table(root / "proc/meminfo")
    total = table.get("MemTotal", 0)
    return Memory(total * 1024, (total - table.get("MemAvailable", 0)) * 1024)


def _folders(controller: str, root: Path) -> list[Path]:
    """Return this process's cgroup folder of a controller and all above it, innermost first."""
    folders: list[Path] = []
    for mount in _mounts(controller, root):
        if not mount.point.is_dir():
            continue
        inner = mount.point
        # In a container the path may lie outside of what is mounted; the mount's root holds then.
        path = mount.path if (mount.point / mount.path).is_dir() else ""
        folders.append(inner)
        for part in Path(path).parts:
            inner = inner / part
            folders.append(inner)
    return folders[::-1]


class _Mount(NamedTuple):
    point: Path
    path: str


def _mounts(controller: str, root: Path) -> list[_Mount]:
    paths: dict[str, str] = {}
    for line in _lines(root / "proc/self/cgroup"):
        number, controllers, path = line.split(":", 2)
        for name in controllers.split(",") if number != "0" else ["cgroup2"]:
            paths[name] = path
    mounts: list[_Mount] = []
    for line in _lines(root / "proc/self/mountinfo"):
        left, _, right = line.partition(" - ")
        fields, (kind, _, options) = left.split(), right.split(" ", 2)
        is_ours = kind == "cgroup2" or (kind == "cgroup" and controller in options.split(","))
        mine = paths.get("cgroup2" if kind == "cgroup2" else controller)
        if not is_ours or mine is None:
            continue
        mounted = fields[3].rstrip("/")
        inside = mine.removeprefix(mounted) if mine.startswith(mounted) else ""
        mounts.append(_Mount(root / fields[4].lstrip("/"), inside.strip("/")))
    return mounts


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _number(path: Path) -> int | None:
    words = _words(path)
    try:
        return int(words[0])
    except (IndexError, ValueError):  # absent, or "max"
        return None


def _table(path: Path) -> dict[str, int]:
    """Read lines of `name value [unit]`, the name with or without a colon."""
    table: dict[str, int] = {}
    for line in _lines(path):
        name, _, rest = line.partition(" ")
        value = rest.split()[:1]
        if value and value[0].isdigit():
            table[name.rstrip(":")] = int(value[0])
    return table
