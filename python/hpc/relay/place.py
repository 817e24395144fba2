"""A node's folder `$HPC_HOME/relays/<node-id>/`: who this relay is, across restarts.

| file       | holds                                                                          |
|------------|--------------------------------------------------------------------------------|
| `lock`     | flock of the one process that is this node here; its pid as text                |
| `id.json`  | the folder's id with its device and inode; made anew where they differ          |
| `epoch`    | a counter, raised and fsynced before each join (protocol.md R22)                |
| `hubs.json`| to which Hub each session's reports belong                                      |
| `outbox/`  | the supervisor's                                                                |

The *place* is the folder's id with the boot id: a copied folder, a copied machine and a reboot are
other places, a restarted process is the same one (R23). A relay that dies by kill -9 leaves nothing
behind that stands in the way of the next.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import msgspec

from hpc.errors import Conflict, StorageDamaged

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
LOCKS = Path("/proc/locks")


class _Identity(msgspec.Struct, frozen=True):
    folder_id: str
    device: int
    inode: int


class NodeFolder:
    """The folder of one node, locked by this process until it ends or `close` is called.

    Attributes:
        path: The folder.
        place: Folder id and boot id.
    """

    def __init__(self, path: Path, lock: int, *, boot_id: str) -> None:
        self.path = path
        self._lock = lock
        self.place = f"{self._folder_id()}.{boot_id}"

    @classmethod
    def open(
        cls,
        home: Path,
        node_id: str,
        *,
        on_wait: Callable[[str], None] | None,
        boot_id: str | None = None,
    ) -> NodeFolder:
        """Lock the folder of a node, making it where it is missing.

        Args:
            home: `$HPC_HOME`.
            node_id: A well-formed id.
            on_wait: Called once with the holder's pid (or "") where another process is this node
                here; then this call waits, without polling, until it has ended. None: do not wait.
            boot_id: Instead of the machine's.

        Raises:
            Conflict: Another process is this node here, and `on_wait` is None.
        """
        path = home / "relays" / node_id
        _make(path)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _take(lock, path, node_id, on_wait)
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            return cls(path, lock, boot_id=boot_id or BOOT_ID.read_text(encoding="ascii").strip())
        except BaseException:
            os.close(lock)
            raise

    def close(self) -> None:
        """Let the next process be this node; a second call does nothing."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @property
    def epoch(self) -> int:
        """The epoch on disk, 0 if there was none."""
        path = self.path / "epoch"
        try:
            return int(path.read_text(encoding="ascii"))
        except FileNotFoundError:
            return 0
        except ValueError as error:
            # Starting at 1 again could run a task twice; a person must look.
            raise StorageDamaged(
                f"Epoch of this node cannot be read: expected a number in {path}, got {error}",
                hint="write a number above the node's epoch of `hpc node info` into it",
            ) from error

    def raise_epoch(self, *, above: int = 0) -> int:
        """Raise the epoch by one, or to `above` + 1 where that is more; on disk when this returns.

        Args:
            above: The last epoch that the Hub knows.
        """
        return self._write_epoch(max(self.epoch, above) + 1)

    def reach_epoch(self, least: int) -> int:
        """Raise the epoch to `least` where it is lower; on disk when this returns."""
        epoch = self.epoch
        return epoch if epoch >= least else self._write_epoch(least)

    def hub_of(self, session: str) -> str | None:
        """Return the Hub that a session's reports belong to, or None if it never joined one."""
        return self._hubs().get(session)

    def remember_hub(self, session: str, hub_id: str) -> None:
        """Note that a session's reports belong to a Hub; sessions without an outbox are dropped."""
        hubs = {
            known: hub
            for known, hub in self._hubs().items()
            if (self.path / "outbox" / f"{known}.log").exists()
        }
        hubs[session] = hub_id
        _replace(self.path / "hubs.json", msgspec.json.encode(hubs))

    def _hubs(self) -> dict[str, str]:
        try:
            body = (self.path / "hubs.json").read_bytes()
            return msgspec.json.decode(body, type=dict[str, str])
        except (FileNotFoundError, msgspec.DecodeError):
            return {}

    def _write_epoch(self, epoch: int) -> int:
        _replace(self.path / "epoch", f"{epoch}\n".encode())
        return epoch

    def _folder_id(self) -> str:
        path, stat = self.path / "id.json", self.path.stat()
        try:
            known = msgspec.json.decode(path.read_bytes(), type=_Identity)
            if (known.device, known.inode) == (stat.st_dev, stat.st_ino):
                return known.folder_id
        except (FileNotFoundError, msgspec.DecodeError):
            pass
        made = _Identity(secrets.token_hex(8), stat.st_dev, stat.st_ino)
        _replace(path, msgspec.json.encode(made))
        return made.folder_id


def _take(lock: int, path: Path, node_id: str, on_wait: Callable[[str], None] | None) -> None:
    """Take the lock of a node's folder, or wait until its holder has ended."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(lock)
        if on_wait is None:
            raise Conflict(
                f"Node `{node_id}` is held by process {holder} with the folder {path}",
                code="taken",
                hint="end that relay, or give this one another --node-id",
            ) from None
        on_wait(holder)
        fcntl.flock(lock, fcntl.LOCK_EX)


def _replace(path: Path, content: bytes) -> None:
    """Replace a file, all or nothing, on disk when this returns."""
    draft = path.with_suffix(".new")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    _sync_folder(path.parent)


def _make(folder: Path) -> None:
    """Make a folder and those above it, on disk when this returns: it will hold the epoch."""
    for missing in reversed([p for p in (folder, *folder.parents) if not p.exists()]):
        missing.mkdir(exist_ok=True, mode=0o700)
        _sync_folder(missing.parent)


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _holder(lock: int) -> str:
    """Return the pid of whoever holds a flock, as far as can be said.

    By the kernel where it tells: the text is written after the lock is taken.
    """
    inode = f":{os.fstat(lock).st_ino}"
    with contextlib.suppress(OSError):
        for line in LOCKS.read_text(encoding="ascii").splitlines():
            match line.split():
                case [_, "FLOCK", _, "WRITE", pid, file, *_] if file.endswith(inode) and pid > "0":
                    return pid
    return os.pread(lock, 20, 0).decode("ascii", "replace").strip()
