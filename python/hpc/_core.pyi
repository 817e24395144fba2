"""Types of the extension `hpc._core`; a test holds this stub against the built module."""

from collections.abc import Sequence
from os import PathLike
from typing import final

__version__: str
PROTOCOL_VERSION: int

_Row = tuple[int, int, str, bytes, bytes, int, bytes, tuple[str, ...]]

@final
class Hub:
    """The Hub's state machine, sans-IO: see `rust/hpc-core/src/logic/hub.rs`."""

    def __new__(cls, *, hub_id: str, lease_ms: int, reclaim_ms: int) -> Hub: ...
    def preload(self, rows: Sequence[_Row]) -> None: ...
    def replay(self, rows: Sequence[_Row]) -> None: ...
    def start(self, *, wall_ms: int, mono_ms: int) -> None: ...
    def step(
        self,
        inputs: Sequence[tuple[int, str, str, bytes]],
        *,
        wall_ms: int,
        mono_ms: int,
        build: Sequence[_Row] = ...,
    ) -> Turn: ...
    @property
    def last_seq(self) -> int: ...

@final
class Turn:
    """What one turn leads to: rows to append before any reply leaves."""

    @property
    def rows(self) -> list[_Row]: ...
    @property
    def replies(self) -> list[tuple[int, int, bytes]]: ...
    @property
    def pokes(self) -> list[tuple[str, int]]: ...
    @property
    def wake_ms(self) -> int | None: ...
    @property
    def build_from(self) -> int | None: ...

def search_log(
    rows: Sequence[_Row],
    plan: bytes,
    place: tuple[str, str, str],
    hub_id: str,
    after: int,
    limit: int,
) -> tuple[bytes, int, int]: ...
def msgpack_of_json(text: bytes) -> bytes: ...
def events_page(rows: Sequence[_Row], cursor: int, limit: int, head: int) -> bytes: ...
def supervise(
    socket: int,
    *,
    folder: str | PathLike[str],
    session: str,
    node_id: str,
    cpus: list[int],
    memory_mib: int,
) -> None: ...
