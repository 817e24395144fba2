"""Explaining a cell: the events of the log that it comes from.

The engine says what to look for, since it has the facts; the log is searched here, in pieces that
each take one short call on the turn thread, so that nobody's turn waits for a long log. An answer
that has not come to the log's end says so (`more`), and where to go on (`after` its last seq).

Where compaction has dropped a body that may have held one of the events, the answer is 410. The
kernel's events are never dropped.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs

import msgspec

from hpc._core import search_log
from hpc.errors import StorageError
from hpc.hub.turn import Turns
from hpc.problems import compacted, problem
from hpc.protocols import Answer, EventLog

EVENTS_DEFAULT: Final = 100

KERNEL: Final = "kernel"
"""The generator whose events have no retention."""

PIECE_EVENTS: Final = 5_000
"""Events that one call on the turn thread looks at."""

PIECES_MAX: Final = 200
"""Pieces that one answer looks through."""


class _Plan(msgspec.Struct):
    cursor: int
    only: int | None = None


_plan = msgspec.json.Decoder(_Plan)


async def explain(turns: Turns, hub_id: str, query: str) -> Answer:
    """Answer `GET /explain`: `{"cursor", "events": [...], "more"}`.

    Args:
        turns: Of the Hub.
        hub_id: Of the Hub: tallies are kept by it.
        query: As it came: gid, table, key, column, after, limit.
    """
    planned = await turns.ask("explain", query)
    if planned.status != 200:  # noqa: PLR2004 - OK
        return planned
    plan = _plan.decode(planned.body)
    # The engine has parsed the query, so that it can be read with ease.
    given = {name: values[0] for name, values in parse_qs(query).items()}
    place = (given["table"], given["key"], given["column"])
    limit, after = int(given.get("limit", EVENTS_DEFAULT)), int(given.get("after", 0))
    if plan.only is not None:
        after, limit = max(after, plan.only - 1), 1
    is_kernel = given["gid"] == KERNEL
    parts: list[bytes] = []
    count = 0
    last = min(plan.only or plan.cursor, plan.cursor)
    try:
        for _ in range(PIECES_MAX):
            if count == limit or after >= last:
                break

            def search(
                log: EventLog, after: int = after, left: int = limit - count
            ) -> tuple[bytes, int, int] | Answer:
                rows = log.read(after + 1, PIECE_EVENTS)
                if any(not row.body and row.first_seq <= last for row in rows) and not is_kernel:
                    return compacted(log.floor())
                return search_log(rows, planned.body, place, hub_id, after, left)

            found = await turns.on_log(search)
            if isinstance(found, Answer):
                return found
            parts.append(found[0])
            count += found[1]
            after = found[2]
    except StorageError as error:
        return problem(503, error.code, "The log cannot be read", error.message, error.hint or "")
    more = after < last
    told = (plan.cursor, b"".join(parts)[:-1], b"true" if more else b"false")
    body = b'{"cursor":%d,"events":[%s],"more":%s' % told
    return Answer(200, body + (b',"after":%d}' % after if more else b"}"))
