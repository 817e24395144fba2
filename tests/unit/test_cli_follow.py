"""The last lines of what is written, however it comes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hpc.cli.follow import LastLines


@given(
    pieces=st.lists(st.text(alphabet="ab\n", max_size=12).map(str.encode), max_size=12),
    count=st.integers(0, 5),
)
def test_the_last_lines_are_those_of_the_whole(pieces: list[bytes], count: int) -> None:
    """As `tail -n` has them: a last line without its end is one."""
    last = LastLines(count)
    for piece in pieces:
        last.write(piece)
    lines = b"".join(pieces).splitlines(keepends=True)
    assert last.bytes() == b"".join(lines[max(len(lines) - count, 0) :])
