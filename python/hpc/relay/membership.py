"""To which Hub this session belongs: asked before each claim until one is answered, then for good.

Reports of a session are for the Hub that leased the tasks. Another Hub behind the URL (a test Hub,
one whose data was wiped) gets nothing: no claim, no report.
"""

from __future__ import annotations

import asyncio

from hpc.transport.http_async import OtherHub


class Membership:
    """The Hub of this session.

    Attributes:
        hub_id: None until it is known; another may follow until `joined` is set.
        joined: Set by the first answered claim.
    """

    def __init__(self) -> None:
        self.hub_id: str | None = None
        self.joined = asyncio.Event()

    def expect(self, seen: str) -> None:
        """The next claim is for this Hub; nothing changes once one was answered."""
        if not self.joined.is_set():
            self.hub_id = seen

    def check(self, seen: str | None) -> None:
        """Compare the `Hpc-Hub` of an answer; None says nothing.

        Raises:
            OtherHub: It is another one than this session joined.
        """
        if seen is not None and self.hub_id is not None and seen != self.hub_id:
            raise OtherHub(self.hub_id, seen)

    def join(self, seen: str | None) -> None:
        """The first claim was answered."""
        if self.hub_id is None:
            self.hub_id = seen
        self.joined.set()
