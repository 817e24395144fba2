"""frames: how a worker and its interpreter talk.

Calls go over a socket that keeps messages apart (SOCK_SEQPACKET): `u64 number | u32 bytes | bytes`,
one call to a message, so that a message which nobody has received yet can be taken back whole. A
call that is longer than a message goes on in messages of bytes alone. What came of a call is told
over a pipe: `u32 length | u64 number | u64 ns that it ran | one letter | bytes`. All is
little-endian. Number 0 is the initializer. Neither end looks into the bytes here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

MESSAGE_BYTES: Final = 64 * 1024
"""Of a message at most; sockets of this kind take what fits into their buffer, 208 KiB or more."""

READ_BYTES: Final = 1 << 20

RETURNED: Final = b"r"
RAISED: Final = b"e"

_CALL: Final = struct.Struct("<QI")
_TOLD: Final = struct.Struct("<IQQc")


class Call(NamedTuple):
    """A call with its number."""

    number: int
    packed: bytes

    @property
    def is_long(self) -> bool:
        """Whether it takes more than one message."""
        return _CALL.size + len(self.packed) > MESSAGE_BYTES


class Told(NamedTuple):
    """What came of a call.

    Attributes:
        number: Of the call.
        ran_ns: How long it ran.
        how: `RETURNED` or `RAISED`.
        packed: Its result or what it raised.
    """

    number: int
    ran_ns: int
    how: bytes
    packed: bytes


def call_messages(call: Call) -> list[bytes]:
    """Return the messages of a call.

    >>> [len(one) for one in call_messages(Call(7, bytes(100_000)))]
    [65536, 34476]
    """
    whole = _CALL.pack(call.number, len(call.packed)) + call.packed
    return [whole[at : at + MESSAGE_BYTES] for at in range(0, len(whole), MESSAGE_BYTES)]


def first_message(message: bytes) -> tuple[int, int, bytes]:
    """Return what the first message of a call says: its number, its length, its first bytes."""
    number, length = _CALL.unpack_from(message)
    return number, length, message[_CALL.size :]


def told_frame(told: Told) -> bytes:
    """Return the bytes of what came of a call."""
    return _TOLD.pack(len(told.packed), told.number, told.ran_ns, told.how) + told.packed


class ToldFrames:
    """Cuts what the pipe brings into frames; what is not whole yet waits for its rest."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def put(self, data: bytes) -> Iterator[Told]:
        """Add bytes; yield what is whole."""
        self._bytes += data
        start = 0
        while start + _TOLD.size <= len(self._bytes):
            length, number, ran_ns, how = _TOLD.unpack_from(self._bytes, start)
            begin = start + _TOLD.size
            if begin + length > len(self._bytes):
                break
            start = begin + length
            yield Told(number, ran_ns, how, bytes(self._bytes[begin:start]))
        del self._bytes[:start]
