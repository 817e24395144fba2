"""Feeds: who on the event loop is told that the log grew, and by what.

Three kinds: the end of the log (followers of events), pokes by generator, and one job (readers of
its output). Each holds a bounded amount however slow its reader is, because news are coalesced: a
reader that wakes late reads the state as it is then. Nothing here blocks or is called from the
turn thread; turn.py hands over what a turn brought.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable


class GeneratorPokes:
    """One subscriber of pokes: at most one entry for each generator."""

    def __init__(self, feeds: Feeds, gids: frozenset[str]) -> None:
        self._feeds = feeds
        self._gids = gids
        self._news: dict[str, int] = {}
        self._woken = asyncio.Event()

    async def take(self) -> list[tuple[str, int]]:
        """Wait for news and return them as (gid, seq), oldest first; empty once the Hub ends."""
        while not self._news and not self._feeds.is_closed:
            self._woken.clear()
            await self._woken.wait()
        news = sorted(self._news.items(), key=lambda item: item[1])
        self._news.clear()
        return news

    def close(self) -> None:
        """End the subscription; a second call does nothing."""
        self._feeds.pokes.discard(self)

    def put(self, pokes: Iterable[tuple[str, int]]) -> None:
        """Add pokes of one turn; a later seq of a generator replaces the earlier."""
        for gid, seq in pokes:
            if not self._gids or gid in self._gids:
                self._news[gid] = seq
        if self._news:
            self._woken.set()

    def wake(self) -> None:
        """Let a waiting `take` look again."""
        self._woken.set()


class JobWatch:
    """One reader's interest in a job: woken by its events and by its output."""

    def __init__(self, feeds: Feeds, job_id: str) -> None:
        self._feeds = feeds
        self._job_id = job_id
        self._woken = asyncio.Event()

    async def changed(self) -> bool:
        """Wait for news since the last call; False once the Hub ends."""
        if not self._feeds.is_closed:
            await self._woken.wait()
            self._woken.clear()
        return not self._feeds.is_closed

    def close(self) -> None:
        """End the watch; a second call does nothing."""
        watches = self._feeds.jobs.get(self._job_id, set())
        watches.discard(self)
        if not watches:
            self._feeds.jobs.pop(self._job_id, None)

    def wake(self) -> None:
        """Note news and let a waiting `changed` return."""
        self._woken.set()


class Feeds:
    """All that wait for news, on the event loop's thread.

    Attributes:
        head_seq: Seq of the last durable event.
        is_closed: Whether the Hub ends; every wait has returned or returns at once.
        pokes: Subscribers of pokes.
        jobs: Watches by job id; the turn thread reads its keys to skip what nobody watches.
    """

    def __init__(self, head_seq: int) -> None:
        self.head_seq = head_seq
        self.is_closed = False
        self.pokes: set[GeneratorPokes] = set()
        self.jobs: dict[str, set[JobWatch]] = {}
        self._grown = asyncio.Event()

    def subscribe(self, gids: frozenset[str]) -> GeneratorPokes:
        """Subscribe to the pokes of some generators, or of all where the set is empty."""
        feed = GeneratorPokes(self, gids)
        self.pokes.add(feed)
        return feed

    def watch(self, job_id: str) -> JobWatch:
        """Watch one job."""
        watch = JobWatch(self, job_id)
        self.jobs.setdefault(job_id, set()).add(watch)
        return watch

    async def grown(self, seq: int) -> int | None:
        """Wait until the log goes past `seq`; returns its last seq, or None once closed."""
        while self.head_seq <= seq and not self.is_closed:
            await self._grown.wait()
        return None if self.is_closed else self.head_seq

    def tell(self, *, head_seq: int, pokes: list[tuple[str, int]], jobs: Iterable[str]) -> None:
        """Hand over what one turn brought."""
        if head_seq != self.head_seq:
            self.head_seq = head_seq
            self._wake_grown()
        if pokes:
            for feed in self.pokes:
                feed.put(pokes)
        for job_id in jobs:
            for watch in self.jobs.get(job_id, ()):
                watch.wake()

    def close(self) -> None:
        """Let every wait return; nothing is told any more."""
        self.is_closed = True
        self._wake_grown()
        for feed in self.pokes:
            feed.wake()
        for watches in self.jobs.values():
            for watch in watches:
                watch.wake()

    def _wake_grown(self) -> None:
        # Whoever waits holds the old event, so that setting it wakes each of them exactly once.
        self._grown.set()
        self._grown = asyncio.Event()
