"""Storage plugins: where the Hub's log lies, and what every one of them checks alike.

A plugin is a function `open_log(data) -> EventLog`, found by its entry point in `hpc.storage`; the
Hub imports none. Here stands only what does not depend on where the rows go: that they follow one
another. Checksums are the engine's, which computes and verifies them.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final

from hpc.protocols import LogHead, LogRow

NO_CHAIN: Final = bytes(32)
"""The chain value of an empty log."""

EMPTY: Final = LogHead(0, NO_CHAIN)
"""The head of an empty log."""


def next_lineage(hub_id: str) -> str:
    """Return a name for the history of a Hub's log that goes on otherwise than it did."""
    return f"{hub_id}-{uuid.uuid4().hex[:8]}"


def head_after(head: LogHead, rows: Sequence[LogRow]) -> LogHead:
    """Return where a log ends that ended at `head`, once `rows` are appended.

    Raises:
        AssertionError: The rows do not follow the head and one another without a gap. That is a
            mistake of the engine, never of a user, and nothing has been written yet.
    """
    last_seq, last_chain = head
    for first_seq, count, batch_id, _digest, chain, *_rest in rows:
        if first_seq != last_seq + 1 or count < 1:
            raise AssertionError(
                f"Batch `{batch_id}` of {count} events has first seq {first_seq} "
                f"where the log goes on with {last_seq + 1}"
            )
        last_seq += count
        last_chain = chain
    return LogHead(last_seq, last_chain)
