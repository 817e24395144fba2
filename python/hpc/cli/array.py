"""What a command line says about tasks: `--array`, `--each-line`, `--from-json`, and `:::`.

It reads the files; what their text means is arrays.py's.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from hpc import arrays, submission
from hpc.cli import output
from hpc.errors import UsageError
from hpc.placeholders import signs_of

Array = Annotated[
    str | None,
    typer.Option(
        "--array",
        metavar="0-99",
        help="One task for each number: 0-99, 0-99:2, 0-9,20-29; 0-99%5 is five at a time.",
    ),
]
EachLine = Annotated[
    str | None,
    typer.Option(
        "--each-line",
        metavar="FILE",
        help="One task for each line, which is HPC_ENTRY and {} in the command; - is stdin.",
    ),
]
FromJson = Annotated[
    str | None,
    typer.Option(
        "--from-json",
        metavar="FILE",
        help="Likewise, for each element of a JSON list. Without a command: a graph of jobs.",
    ),
]


class Asked(NamedTuple):
    """What was typed, taken apart.

    Attributes:
        words: The command without its lists.
        tasks: Which tasks; None is one.
        expands: Whether the command has placeholders for the tasks' entries.
        throttle: How many tasks may be leased at a time.
    """

    words: list[str]
    tasks: arrays.Numbers | arrays.Entries | None
    expands: bool
    throttle: int | None = None


def asked(
    typed: list[str], *, array: str | None, each_line: str | None, from_json: str | None
) -> Asked:
    """Return which tasks a job shall have, and its command.

    Raises:
        UsageError: Two of these say which tasks there are, or one makes no sense.
    """
    words, lists = arrays.split_lists(typed)
    given = {
        "--array": array is not None,
        "--each-line": each_line is not None,
        "--from-json": from_json is not None,
        "`:::`": bool(lists),
    }
    named = [name for name, is_given in given.items() if is_given]
    if len(named) > 1:
        raise UsageError(
            f"{named[0]} and {named[1]} both say which tasks there are",
            field="array",
            hint="give one of them; several lists: hpc submit -- CMD {1} {2} ::: a b ::: c d",
        )
    if each_line is not None:
        tasks = arrays.lines(read_file(each_line, "--each-line"), shown("--each-line", each_line))
    elif from_json is not None:
        tasks = arrays.json_list(
            read_file(from_json, "--from-json"), shown("--from-json", from_json)
        )
    elif lists:
        tasks = arrays.combinations(lists)
        if not signs_of(words):
            is_line = submission.is_line(words)
            words = [f"{words[0]} {{}}"] if is_line else [*words, "{}"]
    else:
        return _without_entries(words, array)
    arrays.check_signs(words, tasks)
    return Asked(words, tasks, bool(signs_of(words)))


def _without_entries(words: list[str], array: str | None) -> Asked:
    array, throttle = (None, None) if array is None else arrays.split_throttle(array)
    tasks = None if array is None else arrays.numbers(array)
    word = arrays.no_entries(words)
    if word is not None and tasks is None:
        output.say(
            f"note: `{word}` runs as it is typed, since nothing gives it a value: "
            "hpc submit -- CMD {} ::: a b c"
        )
    elif word is not None:
        raise UsageError(
            f"`{word}` stands for a task's entry, and --array gives its tasks none",
            field="command",
            hint=f"the number is $HPC_TASK_ID; `\\{word}` is these signs as they stand; "
            "entries: hpc submit --each-line FILE -- CMD {}",
        )
    return Asked(words, tasks, expands=False, throttle=throttle)


def shown(flag: str, path: str) -> str:
    """Return how messages name a file that a flag gives."""
    return f"{flag} {'-' if path == '-' else path}"


def read_file(path: str, flag: str) -> str:
    """Return the text of a file that a flag gives; `-` is stdin.

    Raises:
        UsageError: It cannot be read, or is no UTF-8.
    """
    field = flag.removeprefix("--").replace("-", "_")
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        why = error.strerror or error
        raise UsageError(f"{flag} {path} cannot be read: {why}", field=field) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{flag} {path} must be UTF-8, got byte 0x{data[error.start]:02x} in line {line}",
            field=field,
            hint="bring it to UTF-8 first: iconv -f latin1 -t utf-8",
        ) from error
