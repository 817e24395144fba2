"""The relay's end of its supervisor: messages in pieces, answers to questions, and the end."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc.domain import Work
from hpc.errors import Refused
from hpc.relay.supervisor_link import Batch, SupervisorLink, _Wire


class _Heard(SupervisorLink):
    """Keeps what the wire delivers; has no supervisor."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    def received(self, message: memoryview) -> None:
        self.messages.append(bytes(message))


@given(st.lists(st.binary(min_size=1, max_size=40)), st.lists(st.integers(1, 50)))
def test_messages_arrive_whole_however_the_socket_cuts_them(
    messages: list[bytes], cuts: list[int]
) -> None:
    """A read ends anywhere: inside a length, inside a message, or after several."""
    stream = b"".join(len(m).to_bytes(4, "little") + m for m in messages)
    heard = _Heard()
    wire = _Wire(heard)
    for size in [*cuts, len(stream)]:
        piece, stream = stream[:size], stream[size:]
        wire.data_received(piece)
    wire.data_received(stream)
    assert heard.messages == messages


async def _start(folder: Path, session: str = "s1") -> SupervisorLink:
    return await SupervisorLink.start(
        folder=folder, session=session, node_id="n1", cpus=[0], memory_mib=64
    )


def _none(tasks: str) -> Work:
    return Work(job_id="j", ns_id="batch", attempt=1, epoch=1, tasks=tasks, kind="none")


def test_a_batch_is_handed_out_once_and_the_next_after_its_acknowledgement(tmp_path: Path) -> None:
    """Two senders of one batch would be harmless; a sender that skips one would not."""

    async def scenario() -> None:
        link = await _start(tmp_path)
        link.run([_none("0-4")])
        first = await link.next_batch()
        assert isinstance(first, Batch)
        assert (first.origin, first.n) == ("s1", 1)
        assert json.loads(first.body)["id"] == "s1/1"
        link.run([_none("5-9")])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(link.next_batch(), 0.1)
        link.acked("s1", 1)
        assert (await link.next_batch()).n == 2
        await link.stop()

    asyncio.run(scenario())


def test_what_a_former_session_has_left_comes_beside_what_is_new(tmp_path: Path) -> None:
    """A Hub that does not take the one must not keep the other waiting."""

    async def scenario() -> None:
        link = await _start(tmp_path, "s1")
        link.run([_none("0")])
        assert (await link.next_batch()).origin == "s1"
        await link.stop()
        link = await _start(tmp_path, "s2")
        assert link.old == ["s1"]
        link.run([msgspec.structs.replace(_none("1"), job_id="k")])
        own, old = await link.next_batch(), await link.next_old_batch()
        assert (own.origin, old.origin) == ("s2", "s1")
        link.acked("s1", old.n)
        link.acked("s2", own.n)
        await link.stop()
        link = await _start(tmp_path, "s3")
        assert link.old == []
        await link.stop()

    asyncio.run(scenario())


def test_work_that_cannot_be_told_is_refused_and_other_work_is_taken(tmp_path: Path) -> None:
    """A plugin's mistake must not end the link."""

    async def scenario() -> None:
        link = await _start(tmp_path)
        with pytest.raises(Refused, match="cannot be told"):
            link.run([msgspec.structs.replace(_none("0"), argv=["\ud800"])])
        link.run([_none("1")])
        batch = await link.next_batch()
        tasks = [event["payload"]["ctx"]["tasks"] for event in json.loads(batch.body)["events"]]
        assert set(tasks) == {"1"}
        link.acked(batch.origin, batch.n)
        link.refuse(_none("2"), "no such file: \ud800")
        assert b"no such file: ?" in (await link.next_batch()).body
        await link.stop()

    asyncio.run(scenario())


def test_questions_get_their_own_answers(tmp_path: Path) -> None:
    """`idle` may wait for hours while `holds` is asked with every claim."""

    async def scenario() -> None:
        link = await _start(tmp_path)
        link.run([_none("0")])
        idle = asyncio.create_task(link.idle())
        held = await asyncio.gather(*(link.holds() for _ in range(5)))
        assert [json.loads(h) for h in held] == [
            [{"job_id": "j", "attempt": 1, "tasks": "0"}] for _ in range(5)
        ]
        assert not idle.done()
        batch = await link.next_batch()
        link.acked(batch.origin, batch.n)
        await asyncio.wait_for(idle, 10)
        assert await link.holds() == b"[]"
        await link.stop()
        await link.stop()

    asyncio.run(scenario())


def test_whoever_waits_is_told_of_the_end(tmp_path: Path) -> None:
    """A relay whose supervisor is gone must not wait for ever."""

    async def scenario() -> None:
        link = await _start(tmp_path)
        waiting = [
            asyncio.create_task(link.next_batch()),
            asyncio.create_task(link.next_old_batch()),
            asyncio.create_task(link.next_chunks()),
            asyncio.create_task(link.idle()),
        ]
        link.run([msgspec.structs.replace(_none("0"), kind="process", argv=["sleep", "600"])])
        await asyncio.wait_for(waiting[0], 10)
        await link.stop()
        for task in waiting[1:]:
            with pytest.raises(ConnectionResetError, match="has ended"):
                await task
        for _ in range(2):  # who asks again is told again
            with pytest.raises(ConnectionResetError, match="has ended"):
                await link.next_chunks()
        link.fence(0)  # an order to nobody is none

    asyncio.run(scenario())


def test_a_supervisor_that_cannot_start_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A relay on a folder that cannot be used ends with the reason, not with silence."""
    (tmp_path / "file").write_text("")

    async def scenario() -> None:
        with pytest.raises(ConnectionResetError):
            await _start(tmp_path / "file")

    asyncio.run(scenario())
    assert "supervisor of node n1: " in capfd.readouterr().err
