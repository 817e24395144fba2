"""Arrays: which tasks a job has and what each is given, read from what was typed, cut for the wire.

`0-99:2` and `0-9,20-29` are numbers; a file of lines, a JSON list and lists behind `:::` are
entries, one for each task from 0 on. What does not fit into one event goes as several of the same
job, which the Hub joins; all that fits into one batch is recorded at once or not at all.

It reads no file; the command line and the Python client both go through here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import compress, product
from math import prod
from typing import Any, Final, NamedTuple

from hpc.errors import UsageError
from hpc.placeholders import Sign, signs_of

TASK_MAX: Final = 9_999_999
"""The greatest number of a task."""

TASKS_MAX: Final = TASK_MAX + 1

ENTRY_BYTES_MAX: Final = 131_072 - len("HPC_ENTRY=") - 1
"""What Linux takes in one variable or argument, less its name and the end."""

PIECE_BYTES: Final = 640 * 1024
"""So much of entries or ranges goes into one event, which may have 1 MiB with its spec."""

_PART: Final = r"(\d{1,10})(?:-(\d{1,10})(?::(\d{1,10}))?)?"
_SEPARATOR: Final = ":::"
_LIST_HINT: Final = "hpc submit -- gzip {} ::: a.txt b.txt"


class Piece(NamedTuple):
    """Tasks of a job that one event names.

    Attributes:
        tasks: Range list; empty where nothing is said about tasks.
        entries: One value for each, in order, or None.
        size: Bytes of both on the wire, about.
    """

    tasks: str
    entries: Sequence[Any] | None
    size: int


class Numbers(NamedTuple):
    """Tasks by number.

    Attributes:
        parts: Ranges such as `0-99`, and single numbers; several may name the same task. Where
            there is none, nothing is said about tasks, and it is one.
        total: How many tasks they are.
    """

    parts: Sequence[str]
    total: int

    def pieces(self) -> Iterator[Piece]:
        """Yield what fits into one event each."""
        if not self.parts:
            yield Piece("", None, 0)
        per_piece = PIECE_BYTES // (2 * len(str(TASK_MAX)) + 2)
        for first in range(0, len(self.parts), per_piece):
            text = ",".join(self.parts[first : first + per_piece])
            yield Piece(text, None, len(text))


ONE: Final = Numbers((), 1)
"""A job of one task."""


def split_throttle(text: str) -> tuple[str, int | None]:
    """Take `%5`, five tasks at a time, from the end of an `--array`.

    Raises:
        UsageError: What stands there is no number from 1.
    """
    tasks, sign, limit = text.replace(" ", "").partition("%")
    if not sign:
        return text, None
    if not limit.isdecimal() or int(limit) == 0:
        raise _no_array(text, "behind % stands how many tasks run at a time: --array 0-99%5")
    return tasks, int(limit)


def numbers(text: str) -> Numbers:
    """Read `--array`: numbers and ranges, separated by commas, a range with a step after `:`.

    Raises:
        UsageError: It is none of these, or a number is too great.
    """
    plain = text.replace(" ", "")
    ranges = [_range(part, text) for part in plain.split(",")]
    parts: list[str] = []
    # A byte for each number: ranges may overlap, and steps may meet.
    is_task = bytearray(max(one.stop for one in ranges))
    for one in ranges:
        if one.step == 1:
            parts.append(f"{one[0]}-{one[-1]}" if len(one) > 1 else str(one[0]))
        else:
            parts += map(str, one)
        is_task[one.start : one.stop : one.step] = b"\1" * len(one)
    count = is_task.count(1)
    if len(parts) > 2 * count:  # the same numbers again and again
        parts = list(map(str, compress(range(len(is_task)), is_task)))
    return Numbers(parts, count)


def range_list(text: str) -> str:
    """Return what `numbers` reads as the wire has it, for one event: steps are written out.

    Raises:
        UsageError: As `numbers`; or these are too many ranges for one event.
    """
    pieces = [piece.tasks for piece in numbers(text).pieces()]
    if len(pieces) > 1:
        raise UsageError(
            f"Tasks must fit into one event, got more than {PIECE_BYTES} bytes of numbers: {text}",
            field="array",
            hint="ask for fewer of them at a time",
        )
    return pieces[0]


def _range(part: str, text: str) -> range:
    match = re.fullmatch(_PART, part)
    if match is None:
        raise _no_array(text, "numbers and ranges of them, separated by commas: --array 0-99:2,120")
    first, last = int(match[1]), int(match[2] or match[1])
    step = int(match[3] or 1)
    if first > last:
        raise _no_array(text, "the first number of a range is the lesser one")
    if step == 0:
        raise _no_array(text, "a step is 1 or more: --array 0-99:2 is every second task")
    if last > TASK_MAX:
        raise _no_array(text, f"the greatest number is {TASK_MAX}")
    return range(first, last + 1, step)


def _no_array(text: str, hint: str) -> UsageError:
    return UsageError(
        f"Tasks must be ranges such as 0-99, 0-99:2 or 1,4-7, got {text!r}",
        field="array",
        hint=hint,
    )


class Entries(NamedTuple):
    """Tasks from 0 on, by what each is given.

    Attributes:
        values: One for each.
    """

    values: Sequence[Any]

    @property
    def total(self) -> int:
        """How many tasks they are."""
        return len(self.values)

    def pieces(self) -> Iterator[Piece]:
        """Yield what fits into one event each."""
        todo = [(0, len(self.values))]
        while todo:
            first, end = todo.pop()
            size = _size(self.values[first:end])
            if size > PIECE_BYTES and end - first > 1:
                # As many parts as it takes if all are alike; those that are not are cut again.
                step = max((end - first) * PIECE_BYTES // (size + size // 8), 1)
                cuts = [(at, min(at + step, end)) for at in range(first, end, step)]
                todo += reversed(cuts)
            else:
                tasks = f"{first}-{end - 1}" if end - first > 1 else str(first)
                yield Piece(tasks, self.values[first:end], size)


def _size(values: Sequence[Any]) -> int:
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    return len(text.encode("utf-8", "surrogatepass"))


def checked_entries(values: Sequence[Any], flag: str) -> Entries:
    """Return entries that tasks can be given.

    Args:
        values: One for each task.
        flag: By what they were given, for messages; the first is number 1 there.

    Raises:
        UsageError: There are none, or too many; or one is too long, or no JSON value.
    """
    if not values:
        raise UsageError(
            f"{flag} has no entry, and a job needs a task",
            field="entries",
            hint="give at least one",
        )
    if len(values) > TASKS_MAX:
        raise _too_many(flag, len(values))
    for number, value in enumerate(values, 1):
        why = _why_no_value(value)
        if why is not None:
            raise UsageError(
                f"Entry {number} of {flag} cannot be given to a task: {why}",
                field="entries",
                hint="texts, numbers, true, false, null, and lists and objects of them; "
                "put what is longer into a file, and give its name",
            )
    return Entries(values)


def named(tasks: str | None, entries: Sequence[Any] | None) -> Numbers | Entries:
    """Return the tasks that are given by number, or by their entries, or the one of neither.

    Raises:
        UsageError: Both are given; or as `numbers` and `checked_entries`.
    """
    if entries is None:
        return ONE if tasks is None else numbers(tasks)
    if tasks is not None:
        raise UsageError("`tasks` and `entries` both say which tasks there are", field="entries")
    return checked_entries(entries, "`entries`")


def _why_no_value(value: object) -> str | None:
    if isinstance(value, str):
        return _why_no_entry(value)
    if isinstance(value, int | None):
        return None
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        return f"it is no JSON value: {error}"
    words = [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
    return next((why for one in (text, *words) if (why := _why_no_entry(one))), None)


def _why_no_entry(text: str) -> str | None:
    if "\0" in text:
        return "it holds a NUL byte, which no variable can"
    # A character has 4 bytes at most; what is short enough by that need not be encoded.
    if len(text) * 4 <= ENTRY_BYTES_MAX and text.isascii():
        return None
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return f"it must be UTF-8, got {text[:40]!a}"
    if size > ENTRY_BYTES_MAX:
        return f"it has {size} bytes, a variable takes {ENTRY_BYTES_MAX}"
    return None


def _too_many(flag: str, count: int) -> UsageError:
    return UsageError(
        f"{flag} makes {count} tasks, a job has at most {TASKS_MAX}",
        field="entries",
        hint="make several jobs of it",
    )


def lines(text: str, flag: str) -> Entries:
    """Read `--each-line`: the lines of a text, without their ends.

    Raises:
        UsageError: As `checked_entries`.
    """
    found = text.split("\n")
    if found[-1] == "":
        found.pop()
    return checked_entries([line.removesuffix("\r") for line in found], flag)


def json_list(text: str, flag: str) -> Entries:
    """Read `--from-json`: the elements of a JSON list.

    Raises:
        UsageError: It is no JSON list; or as `checked_entries`.
    """
    hint = 'one task for each element: ["a", "b"] or [{"lr": 0.1}, {"lr": 0.2}]'
    try:
        found = json.loads(text, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{flag} must hold a JSON list: {error}", field="from_json", hint=hint
        ) from error
    if isinstance(found, dict):
        raise UsageError(
            f"{flag} must hold a JSON list, got an object: a graph of jobs has its commands in it",
            field="from_json",
            hint="leave the command away for a graph; " + hint,
        )
    if not isinstance(found, list):
        raise UsageError(
            f"{flag} must hold a JSON list, got {text.strip()[:60]}", field="from_json", hint=hint
        )
    return checked_entries(found, flag)


def no_constant(name: str) -> object:
    """Refuse what Python reads as a number and JSON has not: `NaN`, `Infinity`."""
    raise ValueError(f"{name} is no JSON number")


def split_lists(words: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Return a command, and the lists behind each `:::` after it.

    Raises:
        UsageError: There is no command, or a list is empty; or a sign that GNU parallel has and we
            have not.
    """
    for word in words:
        if word in ("::::", ":::+", "::::+"):
            raise UsageError(
                f"`{word}` is not built: lists stand behind `:::`, each with every other",
                field="command",
                hint="a file of values: hpc submit --each-line FILE -- CMD {}",
            )
    lists: list[list[str]] = [[]]
    for word in words:
        if word == _SEPARATOR:
            lists.append([])
        else:
            lists[-1].append(word)
    command, *values = lists
    if values and not command:
        raise UsageError(
            "`:::` must stand behind a command, got none", field="command", hint=_LIST_HINT
        )
    for number, one in enumerate(values, 1):
        if not one:
            which = "" if len(values) == 1 else f" number {number}"
            raise UsageError(
                f"`:::`{which} must have values behind it, got none",
                field="command",
                hint=_LIST_HINT,
            )
    return command, values


def combinations(lists: Sequence[Sequence[str]]) -> Entries:
    """Return each value of one list, or each combination of several, the last list varying first.

    Raises:
        UsageError: As `checked_entries`.
    """
    count = prod(map(len, lists))
    if count > TASKS_MAX:
        raise _too_many("`:::`", count)
    if len(lists) == 1:
        return checked_entries(lists[0], "`:::`")
    return checked_entries([list(each) for each in product(*lists)], "`:::`")


def check_signs(words: Sequence[str], entries: Entries) -> None:
    """Check that each placeholder in a command has a value in each entry.

    Raises:
        UsageError: One has none.
    """
    greatest = max(signs_of(words), default=Sign(0, ""))
    if greatest.n <= 1:
        return
    for number, value in enumerate(entries.values, 1):
        count = len(value) if isinstance(value, list) else 1
        if greatest.n > count:
            have = "1 value" if count == 1 else f"{count} values"
            raise UsageError(
                f"`{greatest}` has no value: entry {number} has {have}",
                field="command",
                hint=f"as many lists as that, or `\\{greatest}` for these signs as they stand",
            )


def no_entries(words: Sequence[str]) -> str | None:
    """Return the placeholder of a command without entries that looks as if a value was meant."""
    for at, word in enumerate(words):
        signs = signs_of([word])
        # `find -exec CMD {} ;` and `{} +` have it for themselves.
        is_of_find = any(later in (";", "+") for later in words[at + 1 :])
        if len(signs) == 1 and str(signs[0]) == word and not is_of_find:
            return word
    return None
