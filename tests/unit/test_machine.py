"""What a process may use, read from made-up /proc and cgroup trees of both versions."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpc.machine import Memory, allowed_cpus, cpu_quota, listener, memory

MIB = 1 << 20
MEMINFO = "MemTotal:       8192 kB\nMemFree:  10 kB\nMemAvailable:   6144 kB\n"
V2 = "30 1 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
V1 = (
    "31 1 0:1 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "32 1 0:2 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "33 1 0:3 / / rw - ext4 /dev/vda rw\n"
)


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_machine_without_limits_counts_whole(tmp_path: Path) -> None:
    """Used is MemTotal - MemAvailable."""
    tree(tmp_path, {"proc/meminfo": MEMINFO})
    assert memory(tmp_path) == Memory(8 * MIB, 2 * MIB)
    assert cpu_quota(tmp_path) is None


def test_version_2_limits_hold_from_any_level(tmp_path: Path) -> None:
    """A parent's limit is as hard as the own one."""
    top = "sys/fs/cgroup/a.slice"
    tree(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "0::/a.slice/b\n",
            "proc/self/mountinfo": V2,
            f"{top}/memory.max": f"{4 * MIB}\n",
            f"{top}/memory.current": f"{3 * MIB}\n",
            f"{top}/memory.stat": f"anon 1\ninactive_file {MIB}\n",
            f"{top}/cpu.max": "150000 100000\n",
            f"{top}/b/memory.max": "max\n",
            f"{top}/b/cpu.max": "max 100000\n",
        },
    )
    assert memory(tmp_path) == Memory(4 * MIB, 2 * MIB)
    assert cpu_quota(tmp_path) == 1.5


@pytest.mark.parametrize("path", ["/box", "/not/mounted/here"])
def test_version_1_limits_hold_also_in_a_container(tmp_path: Path, path: str) -> None:
    """In a container the process's path may lie outside of what is mounted: the root holds."""
    at = "/box" if path == "/box" else ""
    tree(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": f"4:memory:{path}\n3:cpu,cpuacct:{path}\n0::/\n",
            "proc/self/mountinfo": V1,
            f"sys/fs/cgroup/memory{at}/memory.limit_in_bytes": f"{2 * MIB}\n",
            f"sys/fs/cgroup/memory{at}/memory.usage_in_bytes": f"{MIB}\n",
            f"sys/fs/cgroup/memory{at}/memory.stat": "total_inactive_file 1024\n",
            f"sys/fs/cgroup/cpu,cpuacct{at}/cpu.cfs_quota_us": "50000\n",
            f"sys/fs/cgroup/cpu,cpuacct{at}/cpu.cfs_period_us": "100000\n",
        },
    )
    assert memory(tmp_path) == Memory(2 * MIB, MIB - 1024)
    assert cpu_quota(tmp_path) == 0.5


def test_no_limit_in_version_1_is_a_huge_number_or_minus_one(tmp_path: Path) -> None:
    """Both mean the machine's."""
    tree(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "4:memory:/\n3:cpu,cpuacct:/\n",
            "proc/self/mountinfo": V1,
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    )
    assert memory(tmp_path) == Memory(8 * MIB, 2 * MIB)
    assert cpu_quota(tmp_path) is None


def test_this_machine_has_cores_and_memory() -> None:
    """The real files are read."""
    assert allowed_cpus()
    assert memory().total_bytes > memory().used_bytes > 0


def test_who_listens_at_a_port_is_named() -> None:
    """A port that is taken is freed by whoever knows by whom."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = listener(port)
    assert found is not None
    assert found.startswith(f"pid {os.getpid()} (")
    assert listener(port) is None


def test_processes_that_end_while_they_are_looked_at_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine some always do, and the message must not become a traceback."""
    head = "  sl  local_address rem_address   st ...\n"
    line = "   0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 77 1 0 100 0 0 10 0\n"
    tree(tmp_path, {"proc/net/tcp": head + line, "proc/2/comm": "python3\n"})
    for pid in "12345678":
        (tmp_path / "proc" / pid / "fd").mkdir(parents=True)
    (tmp_path / "proc" / "2" / "fd" / "5").symlink_to("socket:[77]")

    def ended(real: Callable[..., Any]) -> Callable[..., Any]:
        def look(path: Any = ".") -> Any:
            if str(path).endswith("/fd") and not str(path).endswith("/2/fd"):
                raise FileNotFoundError(path)
            return real(path)

        return look

    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, ended(getattr(os, name)))
    assert listener(8080, tmp_path) == "pid 2 (python3)"
