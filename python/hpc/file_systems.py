"""File systems: what a folder lies on, and whether other machines may write to it too.

Reads /proc/mounts only. Whether that is good enough for a log is the storage's to decide.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

NETWORK_TYPES: Final = frozenset({
    "9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "glusterfs", "gpfs", "lustre",
    "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "wekafs",
})  # fmt: skip
NETWORK_FUSE: Final = frozenset({
    "beegfs", "ceph", "davfs", "gcsfuse", "glusterfs", "goofys", "juicefs", "lustre", "mfs",
    "quobyte", "rclone", "s3fs", "sshfs",
})  # fmt: skip


def file_system(path: Path) -> str:
    """Return the type of the file system under `path`, such as `ext4`; empty where unknown."""
    try:
        text = Path("/proc/self/mounts").read_text(errors="surrogateescape")
    except OSError:
        return ""
    return type_in_mounts(text, path.resolve())


def type_in_mounts(mounts: str, path: Path) -> str:
    """Return the type of the innermost mount over `path` in the text of /proc/mounts.

    Of two mounts at one point the later lies on top.
    """
    best, depth = "", -1
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:  # noqa: PLR2004 - device, mount point, type
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[1]))
        if len(point.parts) >= depth and path.is_relative_to(point):
            best, depth = fields[2], len(point.parts)
    return best


def is_network(kind: str) -> bool:
    """Return whether a type is one that several machines may write to."""
    if kind.startswith("fuse."):
        return kind.removeprefix("fuse.") in NETWORK_FUSE
    return kind in NETWORK_TYPES
