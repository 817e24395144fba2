"""How things look: data on stdout, messages on stderr, one JSON object with `--json`.

What came from the Hub may hold anything; nothing that steers a terminal reaches one
(`hpc/terminal.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, BinaryIO, Final

from hpc.errors import HpcError
from hpc.terminal import clean, json_text

_IN_A_CELL: Final = {ord("\n"): " ", ord("\t"): " "}
_CELL_CHARS_MAX: Final = 60

_bars: Final[list[AbstractContextManager[object]]] = []
"""What is hidden while a line is printed; one at most."""


def say(text: str) -> None:
    """Print a message to stderr."""
    with _bars[0] if _bars else nullcontext():
        print(clean(text), file=sys.stderr, flush=True)


def say_hint(hint: str | None) -> None:
    """Print what to do next to stderr, behind what it is about; nothing where it is None."""
    if hint is not None:
        say(f"\nhint: {hint}")


def put(text: str) -> None:
    """Print data to stdout."""
    with _bars[0] if _bars else nullcontext():
        print(clean(text), flush=True)


def hide(bar: AbstractContextManager[object] | None) -> None:
    """Have something be hidden whenever a line is printed: it is entered before; None: nothing."""
    _bars[:] = [] if bar is None else [bar]


def put_json(schema: str, data: object, *, cursor: int) -> None:
    """Print the one object of `--json`.

    Args:
        schema: What `data` is, such as `job.list`.
        data: As the schema says.
        cursor: The seq up to which it is true.
    """
    document: dict[str, Any] = {"schema": f"hpc.{schema}/1", "cursor": cursor, "data": data}
    print(json_text(document), flush=True)


def put_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under heads, in columns that are as wide as what stands in them."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    for row in [list(heads), *cells]:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(padded).rstrip())
    sys.stdout.flush()


def put_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Print names and values below one another; a value that is None is left out."""
    shown = [(name, clean(str(value))) for name, value in fields if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        indented = value.replace("\n", "\n" + " " * (width + 2))
        print(f"{name.ljust(width)}  {indented}")
    sys.stdout.flush()


def fail(error: HpcError, *, as_json: bool) -> int:
    """Print an error to stderr and return the exit code."""
    if as_json:
        fields = {
            "code": error.code,
            "message": error.message,
            "field": error.field,
            "hint": error.hint,
        }
        print(json_text({"error": fields}), file=sys.stderr, flush=True)
    else:
        say(f"error: {error.message}" + (f"\n\nhint: {error.hint}" if error.hint else ""))
    return error.exit_code


def when(at_ms: int | None) -> str | None:
    """Return a time in ms since 1970 as RFC 3339, UTC."""
    if at_ms is None:
        return None
    # Imported here: most commands print no time.
    from datetime import UTC, datetime  # noqa: PLC0415

    try:
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
    except (OverflowError, OSError, ValueError):
        return f"{at_ms} ms"
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def with_times(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as `--json` shows it: every field `..._at` in RFC 3339."""
    return {
        key: when(value) if key.endswith("_at") and isinstance(value, int) else value
        for key, value in row.items()
    }


class Screen:
    """A stream of bytes from a job, on its way to stdout or stderr.

    On a terminal it is cleaned; into a file or a pipe it goes as it is.
    """

    def __init__(self, out: BinaryIO, *, is_terminal: bool) -> None:
        self._out = out
        self._decoder = None
        if is_terminal:
            import codecs  # noqa: PLC0415 - most output goes into a pipe

            self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, piece: bytes) -> None:
        """Write what has come, at once."""
        if self._decoder is not None:
            piece = clean(self._decoder.decode(piece)).encode("utf-8", "replace")
        self._out.write(piece)
        self._out.flush()


def screen(stream: str) -> Screen:
    """Return where a job's `stdout` or `stderr` goes."""
    out = sys.stderr if stream == "stderr" else sys.stdout
    return Screen(out.buffer, is_terminal=out.isatty())


def _cell(value: object) -> str:
    text = "-" if value is None or value == "" else clean(str(value).translate(_IN_A_CELL))
    return text if len(text) <= _CELL_CHARS_MAX else text[: _CELL_CHARS_MAX - 1] + "…"
