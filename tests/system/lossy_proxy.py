"""A TCP proxy that loses one answer: the Hub has acted, and whoever asked is not told."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

LEFT_S_MAX = 10.0


class LossyProxy:
    """Forwards connections to a port of this machine, but for one answer.

    The first answer that carries `sign` does not arrive: its connection is closed instead. From
    then on everything is forwarded.

    Attributes:
        lost: Set once the answer was lost.
    """

    def __init__(self, port: int, sign: bytes) -> None:
        self.lost = threading.Event()
        self._to = ("127.0.0.1", port)
        self._sign = sign
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _end(self._listener)
        for one in self._sockets:
            _end(one)
        for thread in self._threads:
            thread.join(LEFT_S_MAX)
            assert not thread.is_alive()

    def _spawn(self, function: Callable[..., None], *args: socket.socket) -> None:
        thread = threading.Thread(target=function, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                asker, _ = self._listener.accept()
                self._sockets.append(asker)
                hub = socket.create_connection(self._to)
                self._sockets.append(hub)
                self._spawn(self._forward, asker, hub)
                self._spawn(self._answer, hub, asker)

    def _forward(self, asker: socket.socket, hub: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := asker.recv(65536):
                hub.sendall(data)
        _end(hub)

    def _answer(self, hub: socket.socket, asker: socket.socket) -> None:
        seen = b""
        with contextlib.suppress(OSError):
            while data := hub.recv(65536):
                seen = seen[-len(self._sign) :] + data
                if self._is_to_be_lost(seen):
                    break
                asker.sendall(data)
        _end(asker)
        _end(hub)

    def _is_to_be_lost(self, data: bytes) -> bool:
        with self._lock:
            if self.lost.is_set() or self._sign not in data:
                return False
            self.lost.set()
            return True


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
