"""Output packs, put to a Hub's turns and awaited."""

from __future__ import annotations

import asyncio

from hpc.hub.turn import Turns
from hpc.protocols import Answer


async def stored(turns: Turns, pack: bytes) -> Answer:
    """Return the answer to a pack."""
    answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    turns.put_outputs(pack, answered.set_result)
    return await answered
