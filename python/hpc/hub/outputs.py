"""Outputs: what tasks wrote, beside the log. Bytes, not facts: nothing here is an event.

    outputs/000001.pack     records of frames, append-only (packs.py)
    outputs/index.sqlite3   which bytes of which stream lie where; rebuilt from the packs at need

Packs are kept for a time and up to a quota; the oldest go as a whole, a little at a time, as new
output comes. Frames come again and overlap: a relay sends pieces while somebody reads, and whole
streams at a task's end. Each byte of a stream is kept once, as it was first told; that its relay
has not kept some is told, and known, as bytes are. An answer of 200 means that the bytes are on
disk. Used by the turn thread alone.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw
import msgspec

from hpc.clock import Clock, SystemClock
from hpc.errors import (
    NotFound,
    Refused,
    StorageDamaged,
    StorageError,
    StorageFull,
)
from hpc.hub.frames import NO_ATTEMPT, Frame, Header, Key, Stream, parse
from hpc.hub.outputs_blocks import Whole
from hpc.hub.outputs_index import OutputsIndex, Segment, lies, remove
from hpc.hub.packs import PACK_BYTES_MAX, Found, Packs, sync_folder
from hpc.problems import problem
from hpc.protocols import Answer

FOLDER: Final = "outputs"

NOW_MARKS_MAX: Final = 10_000
"""Streams of which it is remembered that a relay has sent all there was."""

SEGMENTS_MAX: Final = 1024

KEEP_MS: Final = 30 * 86_400_000
"""How long output is kept where nothing else is said."""

QUOTA_BYTES: Final = 10 << 30
"""How much of it, likewise."""

FORGET_STREAMS: Final = 2_000
"""Streams that are forgotten at a time, so that no turn waits for it long; more where more come."""

SCANNED: Final = 256
"""Records of a pack that are indexed together when a folder is opened."""

ROTATIONS: Final = 16
"""A pack is filled for this part of the time that output is kept, so that it can go as a whole."""


class Stored(NamedTuple):
    """What became of one pack: the answer, and the jobs of the frames in it."""

    answer: Answer
    job_ids: frozenset[str]


class StreamView(NamedTuple):
    """What is known of one stream from some offset on.

    Attributes:
        attempt: Of which attempt.
        segments: What is known, ascending, without overlaps; there may be gaps between them.
        total: The stream's length, once it is complete.
        now_bytes: How long it was when the relay last told that this was all there was.
        now_count: How often the relay has told so since the Hub's start; a reader that asks
            compares it with the count before.
    """

    attempt: int
    segments: list[Segment]
    total: int | None
    now_bytes: int | None
    now_count: int


class OutputStore:
    """The output of tasks in the folder `outputs` of a Hub's data folder.

    Attributes:
        ahead_ms: How far the wall clock is ahead of the time by which output gets old.
    """

    def __init__(
        self,
        data: Path,
        *,
        pack_bytes_max: int = PACK_BYTES_MAX,
        keep_ms: int = KEEP_MS,
        quota_bytes: int = QUOTA_BYTES,
        clock: Clock | None = None,
    ) -> None:
        """Open the store, finishing or cutting off what a crash has left.

        Args:
            data: The Hub's data folder, which this process has locked.
            pack_bytes_max: Size at which a new pack is begun.
            keep_ms: A pack that is older goes, when the next output comes.
            quota_bytes: The oldest packs go while all but the last have more.
            clock: Where time comes from; None is the machine's.

        Raises:
            StorageFull: There is no space to create or repair it.
            StorageError: It cannot be opened; the message gives the path and the reason.
        """
        self._folder = data / FOLDER
        self._failed: StorageError | None = None
        self._marks: dict[Key, tuple[int, int]] = {}
        self._keep_ms, self._quota_bytes = keep_ms, quota_bytes
        self._wall_ms = (clock or SystemClock()).wall_ms
        self.ahead_ms = 0
        with self._translated("opened"):
            if not self._folder.exists():
                self._folder.mkdir(mode=0o700)
                sync_folder(data)
            self._packs = Packs(self._folder, pack_bytes_max=pack_bytes_max)
            try:
                self._index = self._recovered()
            except (apsw.CorruptError, apsw.NotADBError, UnicodeDecodeError, _Ahead):
                remove(self._folder)
                self._index = self._recovered()
            self._begun_ms = self._index.begun_ms()
            self._sizes = {number: self._packs.size(number) for number in self._packs.numbers}

    @property
    def removed_before_ms(self) -> int | None:
        """Output that is older may have been removed, in ms since 1970; None: none was."""
        oldest = self._packs.oldest
        return self._begun_ms.get(oldest) if oldest > 1 else None

    def append(self, packs: Sequence[bytes]) -> list[Stored]:
        """Store the frames of some bodies and sync them once.

        Args:
            packs: Bodies of `POST /outputs`. Of one that is not well-formed nothing is stored;
                the others are.

        Returns:
            For each body, in order, its answer and its jobs: 200 `{"bytes": N}` with the bytes
            of its frames, or 422.

        Raises:
            StorageFull: Nothing was stored; the same bodies may be sent again.
            StorageError: Unknown outcome; the store must be reopened.
        """
        if self._failed:
            raise StorageError(self._failed.message, hint=self._failed.hint) from self._failed
        bodies = [_parsed(body) for body in packs]
        frames = [frame for body in bodies if isinstance(body, list) for frame in body]
        self._store(frames)
        for frame in frames:
            self._mark(frame)
        return [_stored(body) for body in bodies]

    def read(
        self,
        job_id: str,
        task: int,
        stream: Stream,
        *,
        attempt: int | None = None,
        offset: int = 0,
        limit: int = SEGMENTS_MAX,
    ) -> StreamView | None:
        """Return what is known of a stream, at most `limit` segments that end after `offset`.

        Args:
            job_id: The job.
            task: Its task.
            stream: Which of its streams.
            attempt: None is the newest of which there is any output.
            offset: Where to begin to read.
            limit: Read on from the last segment's end for more.

        Returns:
            None if there is no output of that task, or not of that attempt.
        """
        with self._translated("read"):
            number = self._index.newest_attempt(job_id, task) if attempt is None else attempt
            if number is None:
                return None
            now_bytes, now_count = self._marks.get((job_id, task, number, stream), (None, 0))
            stream_id = self._index.find(job_id, task, number, stream)
            if stream_id is None:
                whole = self._index.find_whole((job_id, task, number, stream))
                if whole is not None:
                    left = self._segments(whole, offset)
                    return StreamView(number, left, whole.length, now_bytes, now_count)
                if attempt is not None and now_count == 0:
                    return None
                return StreamView(number, [], None, now_bytes, now_count)
            segments = self._index.segments(stream_id, offset, limit, self._packs.oldest)
            total = self._index.total(stream_id)
            return StreamView(number, segments, total, now_bytes, now_count)

    def absences(self, job_id: str, task: int, stream: Stream) -> int:
        """Return how often a relay has said, since the Hub's start, that it has not a stream."""
        return self._marks.get((job_id, task, NO_ATTEMPT, stream), (0, 0))[1]

    def data(self, segment: Segment, *, offset: int = 0, limit: int = 1 << 20) -> bytes:
        """Return the bytes of a segment that is kept, at most `limit`, from an offset on.

        Raises:
            NotFound: The pack is gone.
        """
        skip = max(offset - segment.offset, 0)
        length = min(segment.length - skip, limit)
        place = segment.place._replace(position=segment.place.position + skip)
        with self._translated("read"):
            try:
                found = self._packs.read(place, max(length, 0))
            except FileNotFoundError as error:
                raise NotFound(f"Output in `{error.filename}` is gone") from error
        if len(found) < length:
            raise StorageDamaged(
                f"Pack {place.pack} of `{self._folder}` is shorter than its index says",
                hint="restart the Hub; the index is rebuilt",
            )
        return found

    def close(self) -> None:
        """Release the files; a second call does nothing."""
        self._failed = self._failed or StorageError(f"Outputs `{self._folder}` are closed")
        self._packs.close()
        self._index.close()

    def _store(self, frames: list[Frame]) -> None:
        if not any(frame.header.span or frame.header.end for frame in frames):
            return
        with self._translated("written"):
            now_ms = self._wall_ms()
            try:
                self._index.begin()
                self._rotate(now_ms)
                if not self._take_new(frames):
                    for frame in frames:
                        self._take(frame)
                for number, size in self._packs.write().items():
                    self._index.set_indexed(number, size, now_ms)
                    self._sizes[number] = size
                    self._begun_ms.setdefault(number, now_ms)
                gone = self._forget_some(now_ms, len(frames))
                self._index.commit()
            except BaseException:
                self._packs.drop()
                self._index.rollback()
                raise
            for number in gone:
                # After the commit: an index never speaks of bytes that are not there.
                self._packs.remove(number)
                del self._sizes[number], self._begun_ms[number]

    def _rotate(self, now_ms: int) -> None:
        """Begin another pack where the last was begun long ago: packs go as a whole."""
        last = self._packs.numbers[-1:]
        begun_ms = [self._begun_ms.get(number, now_ms) for number in last]
        if begun_ms and now_ms - begun_ms[0] > self._keep_ms / ROTATIONS:
            self._packs.begin_anew()

    def _forget_some(self, now_ms: int, brought: int) -> list[int]:
        """Forget some streams of the oldest packs that may go; returns the packs that are done.

        Args:
            now_ms: For the time that output is kept.
            brought: Frames of this append. Twice as many streams may be forgotten, so that what is
                due gets less, however much comes.
        """
        left = max(FORGET_STREAMS, 2 * brought)
        full = self._packs.numbers[:-1]
        full_bytes = sum(self._sizes[number] for number in full)
        gone: list[int] = []
        for number in full:
            is_old = now_ms - self.ahead_ms - self._packs.mtime_ms(number) > self._keep_ms
            if not (is_old or full_bytes > self._quota_bytes):
                break
            left -= self._index.forget_streams(number, left)
            if left == 0:
                break
            self._index.forget_pack(number)
            full_bytes -= self._sizes[number]
            gone.append(number)
        return gone

    def _take_new(self, frames: list[Frame]) -> bool:
        """Collect frames of which each is all that is known of its stream, or nothing at all.

        That is the ordinary case, small streams that come whole: a record each, a row for all.
        """
        told = [frame for frame in frames if frame.header.span or frame.header.end]
        places = [self._packs.add(_kept(header), data) for header, data in told]
        headers = [header for header, _ in told]
        if self._index.add_new(headers, places, self._packs.oldest):
            return True
        self._packs.forget()
        return False

    def _take(self, frame: Frame) -> None:
        """Collect what of a frame is not known yet."""
        header, data = frame
        if not (header.span or header.end):
            return
        oldest = self._packs.oldest
        if self._index.covers(header, oldest):
            return
        stream_id = self._index.number(header.key, oldest)
        if stream_id is None:
            place = self._packs.add(_kept(header), data)
            self._index.add_new([header], [place], oldest)
            return
        start, end = header.offset, header.offset + header.span
        size = "gone" if header.gone else "length"
        for low, high in self._index.gaps(stream_id, start, end, oldest):
            piece = _kept(header, offset=low, end=False, **{size: high - low})
            place = self._packs.add(piece, data[low - start : high - start])
            self._index.add(stream_id, low, high - low, lies(piece, place))
            self._index.reach(stream_id, place.pack)
        total = self._index.total(stream_id)
        if header.end and (total is None or total < end):
            place = self._packs.add(_kept(header, offset=end, length=0, end=True), b"")
            self._index.set_total(stream_id, end)
            self._index.reach(stream_id, place.pack)

    def _segments(self, whole: Whole, offset: int) -> list[Segment]:
        """Return what is left of a stream that came whole, if it ends after `offset`."""
        length, place = whole
        is_left = place.pack >= self._packs.oldest and length > offset
        return [Segment(0, length, place)] if length and is_left else []

    def _mark(self, frame: Frame) -> None:
        header = frame.header
        if not header.now:
            return
        key = header.key
        _, count = self._marks.pop(key, (0, 0))
        while len(self._marks) >= NOW_MARKS_MAX:
            del self._marks[next(iter(self._marks))]
        self._marks[key] = (header.offset + header.length, count + 1)

    def _recovered(self) -> OutputsIndex:
        index = OutputsIndex(self._folder)
        try:
            index.begin()
            self._reconcile(index)
            index.commit()
        except BaseException:
            index.close()
            raise
        return index

    def _reconcile(self, index: OutputsIndex) -> None:
        """Bring index and packs together: what was synced counts, what was torn is cut off."""
        indexed = index.indexed()
        sizes = {number: self._packs.size(number) for number in self._packs.numbers}
        for number, indexed_bytes in indexed.items():
            if number not in sizes:
                index.forget_pack(number)
            elif indexed_bytes > sizes[number]:
                raise _Ahead
        for number, size in sizes.items():
            if indexed.get(number) == size:
                continue
            written_ms = self._packs.mtime_ms(number)
            end = _index_rest(index, self._packs, number, indexed.get(number, 0))
            if number == self._packs.numbers[-1] and end < size:
                self._packs.cut(number, end)
            index.set_indexed(number, self._packs.size(number), written_ms)

    @contextlib.contextmanager
    def _translated(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (OSError, apsw.Error, UnicodeDecodeError) as error:
            translation = self._translation(verb, error)
            if verb == "written" and not isinstance(translation, StorageFull):
                self._failed = translation
            raise translation from error

    def _translation(self, verb: str, error: Exception) -> StorageError:
        is_full = isinstance(error, apsw.FullError) or (
            isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
        )
        if is_full:
            return StorageFull(
                f"Outputs `{self._folder}` cannot be {verb}: no space left on the disk",
                hint=f"free some space under {self._folder}",
            )
        if isinstance(error, apsw.CorruptError | apsw.NotADBError | UnicodeDecodeError):
            with contextlib.suppress(OSError):
                remove(self._folder)
            return StorageDamaged(
                f"The index of outputs `{self._folder}` is damaged: {error}",
                hint="restart the Hub; the index is rebuilt from the packs",
            )
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return StorageError(
            f"Outputs `{self._folder}` cannot be {verb}: {reason}",
            hint="see the system's log for the disk, then start the Hub again",
        )


class _Ahead(Exception):
    """The index speaks of bytes that the packs do not have."""


def _index_rest(index: OutputsIndex, packs: Packs, number: int, indexed: int) -> int:
    """Index the records of a pack from `indexed` on; returns the end of the last whole one."""
    end = indexed
    found = packs.scan(number, indexed)
    while records := list(itertools.islice(found, SCANNED)):
        headers = [record.header for record in records]
        if not index.add_new(headers, [record.place for record in records], packs.oldest):
            for record in records:
                _index_record(index, packs, record)
        end = records[-1].ends
    return end


def _index_record(index: OutputsIndex, packs: Packs, record: Found) -> None:
    header, place, _ = record
    start, stop = header.offset, header.offset + header.span
    stream_id = index.number(header.key, packs.oldest)
    if stream_id is None:
        index.add_new([header], [place], packs.oldest)
        return
    for low, high in index.gaps(stream_id, start, stop, packs.oldest):
        position = place.position + low - start
        index.add(stream_id, low, high - low, lies(header, place._replace(position=position)))
    index.reach(stream_id, place.pack)
    if header.end:
        index.set_total(stream_id, stop)


def _kept(header: Header, **changed: int) -> Header:
    """Return the header of a record: that somebody asked for its bytes is not kept."""
    if not (changed or header.now):
        return header
    return msgspec.structs.replace(header, now=False, **changed)


def _parsed(body: bytes) -> list[Frame] | Refused:
    try:
        return parse(body)
    except Refused as error:
        return error


def _stored(body: list[Frame] | Refused) -> Stored:
    if isinstance(body, Refused):
        more: dict[str, Any] = {"errors": body.errors}
        hint = "send the frames as the protocol describes them; nothing of this body was stored"
        title = "The output pack is not well-formed"
        return Stored(problem(422, body.code, title, body.message, hint, **more), frozenset())
    length = sum(frame.header.length for frame in body)
    job_ids = frozenset(frame.header.job_id for frame in body)
    return Stored(Answer(200, b'{"bytes":%d}' % length), job_ids)
