"""The Hub's limits by name: the engine's and its process's, each taken from where it is kept.

What is a flag of `hpc hub` is no limit but a setting, and is not here. The transport has a table of
its own (`hpc.transport.limit_table`), since neither imports the other; both are shown together.
"""

from __future__ import annotations

from typing import Final

from hpc import _core
from hpc.hub.callbacks import CONNECTIONS_MAX, POKE_S, SUBSCRIBERS_MAX
from hpc.hub.explainer import SEARCHES_MAX
from hpc.hub.frames import DATA_BYTES_MAX, HEADER_BYTES_MAX
from hpc.hub.turn import OPEN_MAX
from hpc.ports import Limit

LIMITS: Final = (
    *(Limit(*row) for row in _core.limits()),
    Limit("requests_open", OPEN_MAX, "requests that are being answered, held ones among them"),
    Limit("searches", SEARCHES_MAX, "searches of the log that are kept to be gone on with"),
    Limit("output_frame_bytes", DATA_BYTES_MAX, "data of one frame of output"),
    Limit("output_header_bytes", HEADER_BYTES_MAX, "header of one frame of output"),
    Limit("callbacks", SUBSCRIBERS_MAX, "generators with a callback"),
    Limit("callback_connections", CONNECTIONS_MAX, "callbacks that are called at once"),
    Limit("callback_s", POKE_S, "for a callback to answer"),
)


def limits() -> dict[str, float]:
    """Return all by name."""
    return {limit.name: limit.most for limit in LIMITS}
