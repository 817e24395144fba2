"""Range lists, read as the Hub writes them."""

from __future__ import annotations

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from hpc import ranges


def written(tasks: set[int]) -> str:
    """A range list of tasks, as the Hub writes it."""
    runs = groupby(enumerate(sorted(tasks)), lambda pair: pair[1] - pair[0])
    ends = [[task for _, task in run] for _, run in runs]
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in ends)


@given(st.sets(st.integers(0, 60)))
def test_a_range_list_names_what_was_written(tasks: set[int]) -> None:
    """Also the empty one, which an outcome that no task has had is told by."""
    text = written(tasks)
    assert list(ranges.numbers(text)) == sorted(tasks)
    assert ranges.count(text) == len(tasks)
    assert sum(1 for _ in ranges.spans(text)) == len(list(filter(None, text.split(","))))


@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)))
def test_one_list_without_another_is_what_only_it_names(one: set[int], other: set[int]) -> None:
    """Written as the Hub writes it."""
    assert ranges.without(written(one), written(other)) == written(one - other)
