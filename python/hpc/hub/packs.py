"""Packs: append-only files of at most 64 MiB that hold the output of many tasks.

A record is `u32 LE length, u32 LE crc32` and then one frame (frames.py) of that length. Files are
numbered and filled one after the other, `000001.pack` first; only the last one grows. What a crash
leaves half written at its end fails its checksum and is cut off when the folder is opened: nothing
of it has been acknowledged.

Which output lies where is the index's (outputs_index.py), which can be rebuilt from these files.
All methods may raise OSError; what that means for a request is outputs.py's to say.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from hpc.errors import Refused
from hpc.hub.frames import Header, encode, parse

PACK_BYTES_MAX: Final = 64 << 20
OPEN_FILES_MAX: Final = 32

_RECORD: Final = struct.Struct("<II")


class Place(NamedTuple):
    """Where some bytes of output lie: in which pack, and from which byte of it on."""

    pack: int
    position: int


class Found(NamedTuple):
    """A record met by a scan; `ends` is the byte of the pack after it."""

    header: Header
    place: Place
    ends: int


class Packs:
    """The pack files of one folder: one writer, one thread.

    Records are collected by `add`, written and synced together by `write`, or given up by `drop`.

    Attributes:
        numbers: The packs that there are, ascending.
    """

    def __init__(self, folder: Path, *, pack_bytes_max: int = PACK_BYTES_MAX) -> None:
        self._folder = folder
        self._pack_bytes_max = pack_bytes_max
        self._files: dict[int, int] = {}
        stems = [path.stem for path in folder.glob("*.pack")]
        self.numbers = sorted(int(stem) for stem in stems if stem.isdigit())
        self._parts: dict[int, list[bytes]] = {}
        # Before the first pack stands a full one that is none.
        self._durable = Place(0, pack_bytes_max)
        if self.numbers:
            self._durable = Place(self.numbers[-1], self.size(self.numbers[-1]))
        self._end = self._begun = self._durable
        """Where the next record goes; where the first of those that are collected went."""

    @property
    def oldest(self) -> int:
        """The first pack that there is; 0 where there is none."""
        return next(iter(self.numbers), 0)

    def size(self, number: int) -> int:
        """Return the bytes of a pack."""
        return os.fstat(self._file(number)).st_size

    def mtime_ms(self, number: int) -> int:
        """Return when a pack was last written, in ms since 1970."""
        return os.fstat(self._file(number)).st_mtime_ns // 1_000_000

    def remove(self, number: int) -> None:
        """Remove a pack that is not the last."""
        if (fd := self._files.pop(number, None)) is not None:
            os.close(fd)
        self._path(number).unlink(missing_ok=True)
        self.numbers.remove(number)

    def begin_anew(self) -> None:
        """Have the next record begin another pack."""
        if self._end == self._durable and self._end.position:
            self._end = Place(self._end.pack, self._pack_bytes_max)

    def add(self, header: Header, data: bytes | memoryview) -> Place:
        """Collect one record; returns where its data will lie."""
        if not self._parts:
            self._begun = self._end
        frame = encode(header, data)
        record = _RECORD.pack(len(frame), zlib.crc32(frame)) + frame
        number, size = self._end
        if size + len(record) > self._pack_bytes_max:
            number, size = number + 1, 0
        self._parts.setdefault(number, []).append(record)
        self._end = Place(number, size + len(record))
        return Place(number, self._end.position - len(data))

    def write(self) -> dict[int, int]:
        """Write what was collected and sync it; returns the bytes of each pack that grew."""
        sizes = {}
        for number, parts in self._parts.items():
            is_new = number not in self.numbers
            fd = self._file(number, create=is_new)
            data = memoryview(b"".join(parts))
            at = self._durable.position if number == self._durable.pack else 0
            while data:
                written = os.pwrite(fd, data, at)
                data, at = data[written:], at + written
            os.fdatasync(fd)
            if is_new:
                sync_folder(self._folder)
            sizes[number] = at
        self.numbers += [number for number in sizes if number not in self.numbers]
        self._parts = {}
        self._durable = self._end
        return sizes

    def forget(self) -> None:
        """Give up what was collected, of which `write` has written nothing."""
        if self._parts:
            self._parts = {}
            self._end = self._begun

    def drop(self) -> None:
        """Give up what was collected, whether or not some of it reached a file."""
        for number in self._parts:
            # What cannot be taken back is written over by the next record, or cut at the start.
            with contextlib.suppress(OSError):
                if number == self._durable.pack:
                    self.cut(*self._durable)
                else:
                    self._path(number).unlink(missing_ok=True)
                    if (fd := self._files.pop(number, None)) is not None:
                        os.close(fd)
        self._parts = {}
        self._end = self._durable

    def read(self, place: Place, length: int) -> bytes:
        """Return bytes of a record's data."""
        return os.pread(self._file(place.pack), length, place.position)

    def scan(self, number: int, start: int) -> Iterator[Found]:
        """Yield the records of a pack that are whole, from a record's first byte on.

        One with a wrong checksum is stepped over, if its length can be believed.
        """
        view = memoryview(os.pread(self._file(number), self.size(number) - start, start))
        at = 0
        while at + _RECORD.size <= len(view):
            length, checksum = _RECORD.unpack_from(view, at)
            body = view[at + _RECORD.size : at + _RECORD.size + length]
            if length == 0 or len(body) < length:
                return
            at += _RECORD.size + length
            if zlib.crc32(body) != checksum:
                continue
            # A sum that is right says nothing about who wrote it.
            with contextlib.suppress(Refused, ValueError):
                ((header, data),) = parse(bytes(body))
                yield Found(header, Place(number, start + at - len(data)), start + at)

    def cut(self, number: int, size: int) -> None:
        """Shorten the last pack durably."""
        fd = self._file(number)
        os.ftruncate(fd, size)
        os.fdatasync(fd)
        self._durable = self._end = Place(number, size)

    def close(self) -> None:
        """Close the files; a second call does nothing."""
        while self._files:
            os.close(self._files.popitem()[1])

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06}.pack"

    def _file(self, number: int, *, create: bool = False) -> int:
        fd = self._files.pop(number, None)
        if fd is None:
            flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
            flags |= os.O_CREAT | os.O_TRUNC if create else 0
            fd = os.open(self._path(number), flags, 0o600)
            while len(self._files) >= OPEN_FILES_MAX:
                os.close(self._files.pop(next(iter(self._files))))
        self._files[number] = fd  # the newest used stands last
        return fd


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; without it a new file can vanish in a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
