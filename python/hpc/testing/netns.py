"""A Hub and its relays with a network between them that can be cut, made deaf, slow or lossy.

Two network namespaces, joined by a pair of virtual interfaces. Both are loopback to whoever is in
them: a Hub that listens on 127.0.0.1 is reached under that address from the other side too, by
packets that cross the wire, without a proxy that would answer for a peer that is gone. It needs
root and the commands `ip`, `tc` and `nsenter`; `missing` says what is not there. Nothing of the
machine's own network is touched, and both namespaces go with the `with` block.
"""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

Side = Literal["hub", "relay"]

_ADDRESS: Final = {"hub": "127.0.0.1", "relay": "127.0.0.9"}
_OTHER: Final[dict[Side, Side]] = {"hub": "relay", "relay": "hub"}
_NOBODY: Final = "02:00:00:00:00:99"
_CLONE_NEWNET: Final = 0x40000000
_LOSS_S: Final = 0.02
"""Loss comes in bursts of so long, or several of them."""


def missing() -> str | None:
    """Return why no such network can be made here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for command in ("ip", "tc", "nsenter"):
        if shutil.which(command) is None:
            return f"there is no command `{command}`"
    name = f"hpc-try-{os.getpid()}"
    tried = subprocess.run(
        ["ip", "netns", "add", name], capture_output=True, text=True, check=False
    )
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return tried.stderr.strip() or None if tried.returncode else None


class Network:
    """The two namespaces; a context manager, and not for use by several threads."""

    def __init__(self) -> None:
        self._names: dict[Side, str] = {}
        self._macs: dict[Side, str] = {}

    def __enter__(self) -> Self:
        key = f"{os.getpid()}-{threading.get_native_id()}"
        self._names = {"hub": f"hpc-h{key}", "relay": f"hpc-r{key}"}
        for name in self._names.values():
            _run("ip", "netns", "add", name)
        hub, relay = self._names.values()
        wire = ["link", "add", "wire", "netns", hub, "type", "veth", "peer", "name", "wire"]
        _run("ip", *wire, "netns", relay)
        for side in self._names:
            self._prepare(side)
        for side in self._names:
            self._point(side, self._macs[_OTHER[side]])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in self._names.values():
            _run("ip", "netns", "del", name)

    def within(self, side: Side) -> list[str]:
        """Return the words before a command that is to run on a side."""
        return ["nsenter", f"--net=/run/netns/{self._names[side]}"]

    @contextmanager
    def entered(self, side: Side) -> Iterator[None]:
        """Have this thread open its sockets on a side."""
        with Path("/proc/thread-self/ns/net").open("rb") as home:
            with Path("/run/netns", self._names[side]).open("rb") as there:
                _set_namespace(there.fileno())
            try:
                yield
            finally:
                _set_namespace(home.fileno())

    def cut(self) -> None:
        """Let nothing through, in either direction, and tell neither end."""
        self.mute("hub")
        self.mute("relay")

    def mute(self, side: Side) -> None:
        """Lose all that a side sends; what it is sent arrives."""
        self._point(side, _NOBODY)

    def heal(self) -> None:
        """Let everything through again."""
        for side, other in _OTHER.items():
            self._point(side, self._macs[other])

    def slow(self, kbit: int) -> None:
        """Let each side send no more than so many kbit/s."""
        for side in self._names:
            shape = ["root", "tbf", "rate", f"{kbit}kbit", "burst", "4kb", "latency", "2s"]
            self._on(side, "tc", "qdisc", "replace", "dev", "wire", *shape)

    @contextmanager
    def losing(self, share: float, *, seed: int) -> Iterator[None]:
        """Lose such a share of what each side sends, in bursts, until the block ends."""
        over = threading.Event()
        flappers = [
            threading.Thread(target=self._flap, args=(side, share, seed + at, over))
            for at, side in enumerate(self._names)
        ]
        for flapper in flappers:
            flapper.start()
        try:
            yield
        finally:
            over.set()
            for flapper in flappers:
                flapper.join()
            self.heal()

    def _flap(self, side: Side, share: float, seed: int, over: threading.Event) -> None:
        rng = random.Random(seed)  # noqa: S311 - which packets are lost is no secret
        command = [*self.within(side), "ip", "-batch", "-"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as batch:
            assert batch.stdin is not None
            while not over.wait(_LOSS_S):
                mac = _NOBODY if rng.random() < share else self._macs[_OTHER[side]]
                batch.stdin.write(" ".join(_neighbour(side, mac)) + "\n")
                batch.stdin.flush()

    def _prepare(self, side: Side) -> None:
        ours, other = _ADDRESS[side], _ADDRESS[_OTHER[side]]
        with self.entered(side):
            for name in ("all", "wire"):
                Path("/proc/sys/net/ipv4/conf", name, "route_localnet").write_text("1")
        for device in ("lo", "wire"):
            self._on(side, "ip", "link", "set", device, "up")
        self._on(side, "ip", "addr", "flush", "dev", "lo")
        device = "lo" if side == "hub" else "wire"
        self._on(side, "ip", "addr", "add", f"{ours}/32", "dev", device)
        self._on(side, "ip", "route", "add", f"{other}/32", "dev", "wire", "src", ours)
        shown = [*self.within(side), "ip", "-o", "link", "show", "wire"]
        listed = subprocess.run(shown, capture_output=True, text=True, check=True).stdout
        self._macs[side] = listed.split("link/ether ")[1].split()[0]

    def _point(self, side: Side, mac: str) -> None:
        self._on(side, "ip", *_neighbour(side, mac))

    def _on(self, side: Side, *command: str) -> None:
        _run(*self.within(side), *command)


def _neighbour(side: Side, mac: str) -> Sequence[str]:
    """Where a side sends its packets: to the other, or to nobody, who says nothing."""
    other = _ADDRESS[_OTHER[side]]
    return ["neigh", "replace", other, "lladdr", mac, "dev", "wire", "nud", "permanent"]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def _set_namespace(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
