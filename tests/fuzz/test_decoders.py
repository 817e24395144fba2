"""Whatever Python reads from a network, a disk or a command line: noise, and good bytes that are
cut or altered, are taken or refused by the error that is documented, and by no other.

The decoders in Rust have the same in `rust/*/tests/`. `HPC_FUZZ=100` (`make fuzz`) draws a hundred
times as much.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from struct import pack
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hpc import arrays, limits, ranges, resources, units
from hpc.access import Access, check_url, read_access, write_private
from hpc.calls import frames as call_frames
from hpc.calls import messages
from hpc.errors import HpcError, NoHub, Refused, UsageError
from hpc.graphs import document
from hpc.hub import frames
from hpc.hub.packs import Packs
from hpc.transport.http_async import _Wire as AsyncWire
from hpc.transport.wire import Broken, Wire

TIMES = int(os.environ.get("HPC_FUZZ", "1"))

bounded = settings(
    max_examples=100 * TIMES,
    derandomize=TIMES == 1,
    database=None,
    suppress_health_check=list(HealthCheck),
)
pytestmark = pytest.mark.timeout(0 if TIMES > 1 else 60, method="thread")

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from(["1h", "4G", "0-9", "a", "USR1@9", "../x", "{2}", "\0", "\ud800", 10**400])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
DEEP = "[" * 100_000
HUGE = "9" * 5_000


@st.composite
def damaged(draw: st.DrawFn, good: st.SearchStrategy[bytes]) -> bytes:
    """Good bytes, cut at one place, altered there, or with others put in."""
    data = draw(good)
    at = draw(st.integers(0, len(data)))
    put = draw(st.binary(max_size=4))
    return data[:at] + put + data[at + draw(st.sampled_from([0, len(put), len(data)])) :]


# Output of tasks

HEADERS = st.builds(
    lambda job_id, task, attempt, stream, offset, marks, data: (
        frames.Header(
            job_id=job_id, task=task, attempt=attempt, stream=stream, offset=offset,
            length=len(data), **dict.fromkeys(marks, True),
        ),
        data,
    ),
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True),
    st.integers(0, frames.NUMBER_MAX),
    st.integers(0, frames.NUMBER_MAX),
    st.sampled_from(["stdout", "stderr"]),
    st.integers(0, frames.OFFSET_MAX),
    st.sets(st.sampled_from(["end", "now"])),
    st.binary(max_size=40),
)  # fmt: skip
BODIES = st.lists(HEADERS, max_size=3).map(lambda all_: b"".join(frames.encode(*f) for f in all_))


@bounded
@given(st.lists(HEADERS, max_size=4))
def test_frames_come_back(sent: list[tuple[frames.Header, bytes]]) -> None:
    body = b"".join(frames.encode(*one) for one in sent)
    assert [(one.header, bytes(one.data)) for one in frames.parse(body)] == sent


@bounded
@given(st.binary() | damaged(BODIES))
@example(pack("<I", 4096) + b"[" * 4096)
def test_any_body_is_frames_or_refused(body: bytes) -> None:
    try:
        found = frames.parse(body)
    except Refused as error:
        assert error.errors
    else:
        assert sum(len(one.data) for one in found) <= len(body)


def record(body: bytes) -> bytes:
    """A record of a pack whose sum is right."""
    return pack("<II", len(body), zlib.crc32(body)) + body


@bounded
@given(st.binary() | damaged(st.lists(BODIES.map(record)).map(b"".join)))
def test_any_pack_is_scanned_to_its_end(data: bytes) -> None:
    """A sum that is right says nothing about what is in the record."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "000001.pack").write_bytes(data)
        packs = Packs(Path(folder))
        for found in packs.scan(1, 0):
            assert found.ends <= len(data)
            assert len(packs.read(found.place, found.header.length)) == found.header.length
        packs.close()


# Calls

TOLD = st.builds(
    call_frames.Told,
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.sampled_from([call_frames.RETURNED, call_frames.RAISED]),
    st.binary(max_size=50),
)


@bounded
@given(st.lists(TOLD, max_size=4), st.integers(1, 30))
def test_what_came_of_calls_comes_back_in_any_pieces(told: list[Any], size: int) -> None:
    data = b"".join(map(call_frames.told_frame, told))
    cut = call_frames.ToldFrames()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert [one for piece in pieces for one in cut.put(piece)] == told


@bounded
@given(st.lists(st.binary(max_size=30)))
def test_any_bytes_of_a_pipe_are_frames_or_wait(pieces: list[bytes]) -> None:
    cut = call_frames.ToldFrames()
    found = [one for piece in pieces for one in cut.put(piece)]
    assert sum(21 + len(one.packed) for one in found) <= sum(map(len, pieces))


@bounded
@given(st.integers(0, 2**64 - 1), st.binary(max_size=200_000))
def test_a_call_comes_back(number: int, packed: bytes) -> None:
    first, *rest = call_frames.call_messages(call_frames.Call(number, packed))
    said, length, begins = call_frames.first_message(first)
    assert (said, length, begins + b"".join(rest)) == (number, len(packed), packed)


@bounded
@given(st.binary(max_size=60), st.text(max_size=12))
def test_bytes_come_back_from_their_text(data: bytes, text: str) -> None:
    assert messages.bytes_of(messages.text_of(data)) == data
    refused_or_taken(lambda: messages.bytes_of(text), ValueError)


@bounded
@given(st.lists(TOLD, max_size=5))
def test_events_of_results_hold_all_of_them(told: list[Any]) -> None:
    place = messages.Place("ex", 0, 1)
    events = list(messages.returned(place, "n1", told, recalls=[3]))
    results = [one for event in events for one in event["payload"]["spec"]["results"]]
    found = [(n, how.encode(), messages.bytes_of(text)) for n, how, text in results]
    assert found == [(one.number, one.how, one.packed) for one in told]
    assert [e for batch in messages.batches(events) for e in batch] == events


# Answers of a Hub

HEADS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 503 No\r\n", "HTTP/1.1 ²²² OK\r\n".encode("latin-1"),
        b"HTTP/1.1 \r\n", b"HTTP/1.1\r\n", b"HTTP/2 200\r\n", b"\r\n",
    ]
)  # fmt: skip
LINES = st.sampled_from(
    [
        b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 1_0\r\n",
        "Content-Length: ²\r\n".encode("latin-1"), b"Content-Length: %s\r\n" % HUGE.encode(),
        b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Retry-After: 1\r\n",
        "Retry-After: ²\r\n".encode("latin-1"), b"Hpc-Hub: h\r\n", b":\r\n", b"a\r\n",
    ]
)  # fmt: skip
PIECES = st.sampled_from(
    [
        b"5\r\nabcde\r\n",
        b"0\r\n\r\n",
        b"-5\r\n",
        b"a\r\n",
        b"5;x\r\n",
        b"\r\n",
        b"+1\r\nx\r\n",
        b"f",
    ]
) | st.binary(max_size=6)
ANSWERS = st.tuples(
    HEADS, st.lists(LINES, max_size=3), st.just(b"\r\n"), st.lists(PIECES, max_size=5)
).map(lambda a: a[0] + b"".join(a[1]) + a[2] + b"".join(a[3]))
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
NUMBERED = b"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n"


def evil(test: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Answers that were once taken for something else."""
    for answer in (
        CHUNKED + b"8\r\nabcdefgh\r\n-8\r\n" + b"x" * 40,
        CHUNKED + b"-5\r\nabc\r\n0\r\n\r\n",
        CHUNKED + b"1_0\r\n" + b"x" * 20,
        CHUNKED + b"%s\r\nx" % HUGE.encode(),
        "HTTP/1.1 ²²² OK\r\n\r\n".encode("latin-1"),
        NUMBERED % "²".encode("latin-1"),
        NUMBERED % HUGE.encode(),
        NUMBERED % b"-4",
    ):
        test = example(answer)(test)
    return test


@bounded
@given(ANSWERS | damaged(ANSWERS))
@evil
def test_any_answer_is_read_or_broken(answer: bytes) -> None:
    """By the client that blocks: what is no answer ends the connection, and nothing spins."""
    ours, theirs = socket.socketpair()
    wire = Wire.__new__(Wire)
    wire._buffer, wire._socket, wire.idle_s = bytearray(), ours, 5.0
    with ours, theirs:
        theirs.sendall(answer)
        theirs.shutdown(socket.SHUT_WR)
        try:
            head = wire.read_head(None)
            assert len(wire.read_body(head, None)) <= len(answer)
        except Broken:
            pass


@bounded
@given(ANSWERS | damaged(ANSWERS), st.integers(1, 60))
@example(CHUNKED + b"8\r\nabcdefgh\r\n-8\r\n" + b"x" * 40, 99)
@example(NUMBERED % HUGE.encode(), 99)
@example(CHUNKED + b"1_0\r\n" + b"x" * 20, 99)
def test_any_answer_is_read_or_no_hub(answer: bytes, size: int) -> None:
    """By the client that does not block, in whatever pieces it comes."""

    async def read() -> None:
        wire = AsyncWire(Access("http://h:1", ""), None)
        wire._answer = asyncio.get_running_loop().create_future()
        for at in range(0, len(answer), size):
            wire.data_received(answer[at : at + size])
        wire.connection_lost(None)
        if wire._answer.done():
            with contextlib.suppress(NoHub):
                assert len(wire._answer.result().body) <= len(answer)

    asyncio.run(read())


# What people write

RANGES = st.text("0123456789,-:x ٣", max_size=12) | st.sampled_from([HUGE, "0-9999999:3", ""])


def refused_or_taken(read: Callable[[], Any], error: type[Exception] = UsageError) -> Any:
    """What was read, or None where it was refused as it is to be."""
    try:
        return read()
    except error as refused:
        assert str(refused)
        return None


@bounded
@given(RANGES)
def test_any_ranges_are_taken_or_refused(text: str) -> None:
    """What is taken names as many tasks as it says, in the words of the wire."""
    found = refused_or_taken(lambda: arrays.numbers(text))
    if found is not None:
        listed = ",".join(piece.tasks for piece in found.pieces())
        assert len(set(ranges.numbers(listed))) == found.total
    refused_or_taken(lambda: arrays.split_throttle(text + "%" + text[:3]))


TASKS = st.sets(st.integers(0, 30)).map(lambda all_: ",".join(map(str, sorted(all_))))


@bounded
@given(TASKS, TASKS)
def test_tasks_without_others_are_their_difference(tasks: str, other: str) -> None:
    left = ranges.without(tasks, other)
    assert set(ranges.numbers(left)) == set(ranges.numbers(tasks)) - set(ranges.numbers(other))
    assert ranges.count(left) == len(set(ranges.numbers(left)))


TEXTS = st.text(max_size=12) | st.text("0123456789.eE+-kKmMgGtThdsin_²=,:/*", max_size=12)


@bounded
@given(TEXTS)
@example(HUGE)
@example(HUGE + "G")
@example("²")
@example("nan")
def test_any_text_of_an_option_is_taken_or_refused(text: str) -> None:
    """Amounts, times, resources, limits, URLs."""
    readers: list[Callable[[], Any]] = [
        lambda: units.parse_memory(text),
        lambda: units.parse_duration(text),
        lambda: limits.parse_bytes(text, field="x"),
        lambda: limits.parse_warn_signal(text),
        lambda: limits.umask_text(text),
        lambda: limits.parse_ulimits([text]),
        lambda: limits.parse_ulimits([f"nofile={text}"]),
        lambda: resources.parse_offers([text]),
        lambda: resources.parse_offers([f"x={text}"]),
        lambda: resources.parse_gpus(text),
        lambda: resources.parse_labels([text], "label"),
        lambda: resources.parse_amounts([f"x={text}"]),
        lambda: check_url(text),
        lambda: check_url(f"http://{text}"),
        lambda: arrays.lines(text, "-"),
    ]
    for read in readers:
        refused_or_taken(read)


@bounded
@given(
    st.text(max_size=30) | VALUES.map(json.dumps) | damaged(VALUES.map(json.dumps).map(str.encode))
)
@example(DEEP)
@example(HUGE)
@example('{"a": ' * 60_000)
def test_any_file_of_a_submit_is_taken_or_refused(text: str | bytes) -> None:
    """Lists of entries and graphs, from a file of somebody else's."""
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    refused_or_taken(lambda: arrays.json_list(text, "--from-json"))
    refused_or_taken(lambda: document.parse(text, "--from-json"))


JOBS = st.dictionaries(
    st.sampled_from(sorted(document._FIELDS)) | st.text(max_size=4), VALUES, max_size=4
)
GRAPHS = st.builds(
    lambda jobs, defaults: {
        "jobs": [{"id": f"j{n}", "command": "x", **job} for n, job in enumerate(jobs)],
        **({"defaults": defaults} if defaults is not None else {}),
    },
    st.lists(JOBS, max_size=3),
    st.none() | JOBS,
)


@bounded
@given(GRAPHS | VALUES)
def test_any_graph_is_a_plan_or_refused(graph: Any) -> None:
    base = {"cpu": 1, "memory": 64, "cwd": "/"}
    refused_or_taken(lambda: document.plan_of(graph, "f", key="k", base=base).events())


@bounded
@given(st.binary(max_size=30) | VALUES.map(json.dumps).map(str.encode))
@example(DEEP.encode())
@example(b'{"url": "http://h:1", "token": "t"}')
def test_any_access_file_is_read_or_refused(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "access.json")
        write_private(path, "")
        path.write_bytes(data)
        refused_or_taken(lambda: read_access(Path(folder)), HpcError)
