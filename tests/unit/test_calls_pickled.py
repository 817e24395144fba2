"""Calls as bytes: what travels, what is refused and in which words."""

from __future__ import annotations

import datetime
import functools
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc.calls import pickled
from hpc.calls.pickled import (
    BYTES_MAX,
    NotPickled,
    RemoteTraceback,
    TooLarge,
    open_call,
    open_failure,
    open_result,
    pack_call,
    pack_failure,
    pack_result,
)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(st.lists(VALUES), st.dictionaries(st.text(min_size=1), VALUES))
def test_a_call_comes_back_as_it_was(args: list[Any], kwargs: dict[str, Any]) -> None:
    """What a function is given is what its caller wrote."""
    assert open_call(pack_call(max, (tuple(args), kwargs))) == (max, tuple(args), kwargs)


@given(VALUES)
def test_a_result_comes_back_as_it_was(value: Any) -> None:
    """And so does what it returns."""
    assert open_result(pack_result(value)) == value


def in_main(**names: object) -> None:
    """Define something as the program that was started would."""
    for name, value in names.items():
        value.__module__ = "__main__"
        value.__qualname__ = name  # type: ignore[attr-defined]
        setattr(sys.modules["__main__"], name, value)


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `__main__` of its own."""
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))


class Point:
    """A class whose instances are arguments."""

    def __init__(self) -> None:
        self.friends: list[Any] = [{1: {2}}]


def made() -> Callable[[], None]:
    def made() -> None:
        """A function."""

    return made


@pytest.mark.usefixtures("main")
def test_what_is_of_the_program_itself_is_found_wherever_it_is() -> None:
    """A worker has no such program: the call would fail there, far from its reason."""
    mine, theirs = made(), type("Theirs", (Point,), {})
    in_main(mine=mine, Theirs=theirs)
    for fn, args in (
        (mine, ()),
        (functools.partial(mine), ()),
        (len, ([1, {"x": theirs()}],)),
        (len, (theirs,)),
    ):
        with pytest.raises(NotPickled, match="is defined in `__main__`") as refused:
            pack_call(fn, (args, {}))
        assert "into a module beside it" in str(refused.value.hint)


def test_a_text_that_names_the_program_is_only_a_text() -> None:
    """The name alone must not keep a call from running."""
    args = ("__main__", datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC), Point(), {"a": {1}})
    assert pack_call(print, (args, {}))


def test_what_pickle_does_not_take_is_told_with_the_functions_name() -> None:
    """The user knows the call, not what pickle met within it."""
    with pytest.raises(NotPickled, match="Call of `print` cannot be sent") as refused:
        pack_call(print, ((threading.Lock(),), {}))
    assert refused.value.exit_code == 2
    with pytest.raises(NotPickled, match="Result of type `generator` cannot be returned"):
        pack_result(n for n in range(3))


def test_size_is_bounded_on_both_ways() -> None:
    """An event has a limit, and it must be told before anything is sent."""
    room = BYTES_MAX - len(pack_call(len, ((b"",), {}))) - 16
    assert len(pack_call(len, ((b"x" * room,), {}))) <= BYTES_MAX
    with pytest.raises(TooLarge, match=f"at most {BYTES_MAX}"):
        pack_call(len, ((b"x" * BYTES_MAX,), {}))
    with pytest.raises(TooLarge, match="Result has"):
        pack_result(b"x" * BYTES_MAX)


class Demanding(Exception):
    """Wants more than it keeps."""

    def __init__(self, what: str, how: str) -> None:
        super().__init__(f"{what} {how}")


class Huge(Exception):
    """Holds what no event holds."""


@pytest.mark.parametrize(
    ("error", "is_itself"),
    [(KeyError("k"), True), (Demanding("a", "b"), False), (Huge("x" * BYTES_MAX), False)],
)
def test_what_a_call_raises_always_comes_back(error: Exception, is_itself: bool) -> None:
    """As itself where it can, in words where it cannot, and small enough in any case."""

    def fail() -> None:
        raise error

    try:
        fail()
    except Exception as raised:
        packed = pack_failure(raised)
    assert len(packed) <= BYTES_MAX
    opened = open_failure(packed)
    assert (type(opened) is type(error)) == is_itself
    assert type(error).__name__ in repr(opened)
    cause = opened.__cause__
    assert isinstance(cause, RemoteTraceback)
    assert "raise error" in str(cause) or len(str(error)) > 1000


def test_a_finder_runs_nothing() -> None:
    """To look for a name must not do what the call would do."""
    assert pickled._main_name(pack_call(sys.exit, ((), {}))) is None


def test_a_function_of_hypothesis_is_no_name() -> None:
    """Whatever pickle refuses is told by our error."""
    with pytest.raises(NotPickled):
        pack_call(made(), ((), {}))
