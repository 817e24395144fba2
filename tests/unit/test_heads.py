"""Heads of answers: what is remembered of one must not show in the next."""

from __future__ import annotations

import pytest

from hpc.transport.heads import Head, parsed

HUB = b"HTTP/1.1 200 OK\r\nhpc-hub: h"


def test_of_heads_that_differ_in_the_length_alone_each_has_its_own() -> None:
    """The rest is parsed once: lengths must not be remembered with it."""
    for length in (5, 0, 123456789, 5):
        head = parsed(b"%b\r\ncontent-length: %d" % (HUB, length))
        assert head == Head(200, {"hpc-hub": "h"}, True, False, length)
    assert parsed(HUB).length is None
    assert parsed(HUB + b"\r\nconnection: close\r\ncontent-length: 7").keeps_alive is False
    assert parsed(HUB + b"\r\ncontent-length: 7").keeps_alive


@pytest.mark.parametrize(
    ("lines", "length", "is_chunked"),
    [
        (b"Content-Length: 7", 7, False),
        (b"content-length:7", 7, False),
        (b"content-length: 7\r\nx: y", 7, False),
        (b"x: y\r\ncontent-length: 7", 7, False),
        (b"content-length: 9\r\nx: y\r\ncontent-length: 7", 7, False),
        (b"transfer-encoding: chunked\r\ncontent-length: 7", 7, True),
        (b"content-length: 7\r\ntransfer-encoding: Chunked", 7, True),
        (b"x: content-length: 9", None, False),
    ],
)
def test_a_length_is_found_wherever_it_stands(
    lines: bytes, length: int | None, is_chunked: bool
) -> None:
    """A proxy may spell and order them as it likes."""
    for _ in range(2):
        head = parsed(HUB + b"\r\n" + lines)
        assert (head.status, head.length, head.is_chunked) == (200, length, is_chunked)
        assert "content-length" not in head.headers


@pytest.mark.parametrize(
    "raw",
    [
        HUB + b"\r\ncontent-length: -1",
        HUB + b"\r\ncontent-length: 1_0",
        HUB + b"\r\ncontent-length: ",
        HUB + b"\r\ncontent-length: \xb2",
        HUB + b"\r\ncontent-length: " + b"1" * 19,
        b"HTTP/2 200\r\ncontent-length: 1",
        b"HTTP/1.1 2x0 OK\r\ncontent-length: 1",
        b"\r\ncontent-length: 1",
        b"",
    ],
)
def test_what_is_no_head_is_refused_each_time(raw: bytes) -> None:
    """A refusal is not remembered as anything else."""
    for _ in range(2):
        with pytest.raises(ValueError, match=r"not HTTP/1\.1|no length"):
            parsed(raw)
