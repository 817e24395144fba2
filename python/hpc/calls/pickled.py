"""Calls and what comes of them as bytes, by pickle (protocol 5): the only place that opens any.

Whoever unpickles runs what the bytes say. The interpreter of a worker does so with calls, as the
relay's user, for whoever may submit; the executor does so with results of the workers it asked.
The Hub, the relay and the worker itself never import this file (tests/unit/test_architecture.py).
"""

from __future__ import annotations

import io
import pickle
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from hpc.errors import HpcError, UsageError

PROTOCOL: Final = 5

BYTES_MAX: Final = 720 * 1024
"""Of a call or a result, pickled. It lies in an event, in base64, and an event has 1 MiB."""

MAIN: Final = b"__main__"

Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]


class NotPickled(UsageError, pickle.PicklingError):
    """A call that cannot be sent, or a result that cannot be returned, as bytes."""

    default_code = "not_pickled"


class TooLarge(UsageError, ValueError):
    """A call or a result with more bytes than one may have; nothing was sent."""

    default_code = "too_large"


class RemoteTraceback(Exception):
    """Where a call failed, as the worker's interpreter told it: the cause of what it raised."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class Failure(NamedTuple):
    """What a call raised.

    Attributes:
        error: The exception, or None where it cannot be pickled.
        shown: Its class and message.
        trace: Its traceback as text.
    """

    error: BaseException | None
    shown: str
    trace: str


def pack_call(fn: Callable[..., Any], arguments: Arguments) -> bytes:
    """Return a call as bytes.

    Raises:
        NotPickled: Its function or an argument cannot be sent; the message says what to do.
        TooLarge: It has more than `BYTES_MAX`.
    """
    args, kwargs = arguments
    try:
        packed = pickle.dumps((fn, args, dict(kwargs)), PROTOCOL)
    except Exception as error:
        raise NotPickled(
            f"Call of `{_name(fn)}` cannot be sent: {error}", hint=_hint(fn)
        ) from error
    if MAIN in packed and (name := _main_name(packed)) is not None:
        raise NotPickled(
            f"Call of `{_name(fn)}` cannot be sent: `{name}` is defined in `__main__`, the program "
            "that was started, which a worker does not have",
            hint=f"move `{name}` into a module beside it, such as tasks.py, and import it: "
            f"from tasks import {name}",
        )
    if len(packed) > BYTES_MAX:
        raise TooLarge(
            f"Call of `{_name(fn)}` has {len(packed)} bytes pickled, expected at most {BYTES_MAX}",
            hint="write what is large to a file that the workers can read, and send its path",
        )
    return packed


def open_call(packed: bytes) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Return function and arguments of a call; raises whatever importing them raises."""
    call: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]] = pickle.loads(packed)  # noqa: S301 - a call: see above
    return call


def pack_result(value: object) -> bytes:
    """Return what a call returned as bytes.

    Raises:
        NotPickled: It cannot be.
        TooLarge: It has more than `BYTES_MAX`.
    """
    try:
        packed = pickle.dumps(value, PROTOCOL)
    except Exception as error:
        raise NotPickled(
            f"Result of type `{type(value).__name__}` cannot be returned: {error}",
            hint="return what pickle takes: numbers, texts, lists, dicts, arrays, "
            "instances of classes that a module defines",
        ) from error
    if len(packed) > BYTES_MAX:
        raise TooLarge(
            f"Result has {len(packed)} bytes pickled, expected at most {BYTES_MAX}",
            hint="write it to a file, and return its path",
        )
    return packed


def pack_failure(error: BaseException) -> bytes:
    """Return what a call raised as bytes; what cannot be pickled of it is told in words."""
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    shown = "".join(traceback.format_exception_only(type(error), error)).strip()
    trace, shown = trace[-BYTES_MAX // 8 :], shown[: BYTES_MAX // 8]
    bare: BaseException | None = error
    try:
        # An exception may be pickled and not come back: its __init__ may want other arguments.
        pickle.loads(pickle.dumps(error, PROTOCOL))  # noqa: S301 - what was pickled just now
    except Exception:
        bare = None
    packed = pickle.dumps(Failure(bare, shown, trace), PROTOCOL)
    if len(packed) > BYTES_MAX:
        packed = pickle.dumps(Failure(None, shown, trace), PROTOCOL)
    return packed


def open_result(packed: bytes) -> Any:  # noqa: ANN401 - whatever the call returned
    """Return what a call returned; raises whatever importing its class raises."""
    return pickle.loads(packed)  # noqa: S301 - a result of a worker: see above


def open_failure(packed: bytes) -> BaseException:
    """Return what a call raised, its traceback on the worker as the cause."""
    failure: Failure = pickle.loads(packed)  # noqa: S301 - a result of a worker: see above
    error = failure.error
    if error is None:
        error = HpcError(
            f"Call failed with what cannot be sent back: {failure.shown}", code="call_failed"
        )
    error.__cause__ = RemoteTraceback(failure.trace)
    return error


class _MainFinder(pickle.Unpickler):
    """Reads which names a pickle refers to, without importing or calling any."""

    def __init__(self, packed: bytes) -> None:
        super().__init__(io.BytesIO(packed))
        self.found: str | None = None

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - a stand-in
        if module == "__main__" and self.found is None:
            self.found = name
        return _Anything


class _Anything(dict[Any, Any]):
    """Stands for whatever a pickle makes: it can be called, filled and set up, and does nothing."""

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        super().__init__()

    def __new__(cls, *_args: object, **_kwargs: object) -> _Anything:
        return super().__new__(cls)

    def __call__(self, *_args: object, **_kwargs: object) -> _Anything:
        return self

    def __setstate__(self, _state: object) -> None:
        pass

    def append(self, _value: object) -> None:
        """Take an item."""

    def extend(self, _values: object) -> None:
        """Take items."""

    def add(self, _value: object) -> None:
        """Take an item."""

    def __hash__(self) -> int:  # type: ignore[override]  # keys of dicts are made of these too
        return id(self)


def _main_name(packed: bytes) -> str | None:
    """Return a name of `__main__` that a pickle needs; that it has the text alone means nothing."""
    finder = _MainFinder(packed)
    try:
        finder.load()
    except Exception:  # a stand-in does not do what the real thing would: what was found counts
        return finder.found
    return finder.found


def _name(fn: object) -> str:
    return getattr(fn, "__qualname__", None) or type(fn).__name__


def _hint(fn: object) -> str:
    name = _name(fn)
    if "<lambda>" in name:
        return "a lambda has no name to be found by: give it one with `def`, in a module"
    if "<locals>" in name:
        return "a function within a function cannot be found by a worker: move it to its module"
    return (
        "functions are sent by name and arguments by pickle: give functions of modules, and "
        "arguments that pickle takes"
    )
