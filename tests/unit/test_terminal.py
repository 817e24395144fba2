"""What a terminal is given: lines that fit, and nothing that steers it."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from hpc.terminal import CONTROL, fit, last_line


def test_a_line_fits_its_columns() -> None:
    """Wide signs take two, marks that join none, and what turns the text around is not there."""
    assert fit("epoch 12/30", 5) == "epoch"
    assert fit("\u65e5\u672c\u8a9e", 5) == "\u65e5\u672c"
    assert fit("e\u0301a", 1) == "e\u0301"
    assert fit("a\u202eb\nc\td", 9) == "ab c d"
    assert fit("abc", 0) == ""


def test_the_last_line_is_that_with_something_in_it() -> None:
    """Without colours and titles; a bar that is written over counts as it is now."""
    assert last_line(b"") == ""
    assert last_line(b"one\ntwo\n\n  \n") == "two"
    assert last_line(b"10 %\r20 %\r30 %") == "30 %"
    assert last_line(b"\x1b]0;title\x07\x1b[1;31mred\x1b[0m\x1b(B\x1b[K\n") == "red"
    assert last_line(b"a\tb\x9b\xff") == "a b\ufffd\ufffd"


@given(st.binary(max_size=60), st.integers(0, 30))
def test_nothing_that_steers_a_terminal_is_left(output: bytes, columns: int) -> None:
    """Whatever a task writes."""
    line = fit(last_line(output), columns)
    assert not CONTROL & set(map(ord, line))
    assert not set(line) & set("\n\t")
    assert sum(1 for sign in line if not unicodedata.combining(sign)) <= columns
