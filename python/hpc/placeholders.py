r"""Placeholders: `{}` and its kin in the words of a command, each replaced by a task's own value.

The spec of a job is one for all its tasks, with the placeholders in it and `expand: true`; what
goes into them is the task's entry. A relay puts it in when it starts the task
(handlers/process.py); the command line only looks whether each placeholder has a value. Names are
GNU parallel's:

| placeholder | is |
|---|---|
| `{}` | the entry; of a list of values all of them, each a word |
| `{1}`, `{2}`, ... | one value of the list; `{1}` of an entry that is no list is the entry |
| `{.}` `{/}` `{//}` `{/.}` | without its extension; the last part of a path; its folder; both |
| `{1.}` `{1/}` `{1//}` `{1/.}` | likewise, of one value |
| `{#}` | the task's number and one |

A text is put in as it is, anything else as its JSON. A backslash before a placeholder keeps it as
it is typed, and so does `$`, since `${1}` is the shell's.

In words that are executed directly a value goes in as it is. In a line for the shell no value ever
becomes part of the program: the line is given `"${1}"` in the placeholder's stead, and the values
follow it as arguments. So a file called `; rm -rf ~` is a name, and nothing needs to be quoted.
(GNU parallel quotes values into the text, which a line with quotes of its own can undo.)

It does no I/O; it is imported by the command line and by relays.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

# Compiled when it is first used: most commands have none.
_SIGN: Final = r"(?P<kept>\\|\$)?\{(?:(?P<n>[1-9]\d{0,5})?(?P<op>//|/\.|/|\.)?|(?P<seq>#))\}"
_SHELL: Final = "/bin/sh"


class Sign(NamedTuple):
    """A placeholder.

    Attributes:
        n: Of which value, from 1; 0 is all of them.
        op: What is done to it: nothing, `.`, `/`, `//`, `/.`; `#` is the task's number and one.
    """

    n: int
    op: str

    def __str__(self) -> str:
        return f"{{{self.n or ''}{self.op}}}"


def signs_of(words: Iterable[str]) -> list[Sign]:
    """Return the placeholders in some words, in the order in which they stand there."""
    return [
        _sign(match)
        for word in words
        for match in re.finditer(_SIGN, word)
        if match["kept"] is None
    ]


class Template:
    """A command with placeholders, prepared once for many tasks.

    Args:
        words: The program and its arguments, or one line.
        is_line: Whether `/bin/sh -c` runs it.
    """

    def __init__(self, words: Sequence[str], *, is_line: bool) -> None:
        self._words = None if is_line else [_parts(word) for word in words]
        self._line = words[0] if is_line else ""
        self._lines: dict[int, tuple[str, list[Sign]]] = {}

    def argv(self, entry: object, task: int) -> list[str]:
        """Return what to execute for a task.

        Args:
            entry: Its entry; a list has several values.
            task: Its number.
        """
        values = [_text(value) for value in entry] if isinstance(entry, list) else [_text(entry)]
        if self._words is None:
            line, signs = self._line_for(len(values))
            return [_SHELL, "-c", line, _SHELL, *(_value(sign, values, task) for sign in signs)]
        words: list[str] = []
        for parts in self._words:
            if isinstance(parts, str):
                words.append(parts)
            else:
                words += _filled(parts, values, task)
        return words

    def _line_for(self, count: int) -> tuple[str, list[Sign]]:
        """Return the line for entries of so many values, and what its `${1}`, `${2}`, ... are."""
        found = self._lines.get(count)
        if found is None:
            found = self._lines[count] = _shell_line(self._line, count)
        return found


def _sign(match: re.Match[str]) -> Sign:
    return Sign(int(match["n"] or 0), match["seq"] or match["op"] or "")


def _parts(word: str) -> str | list[str | Sign]:
    """Return a word as texts and placeholders; as a text where it has none."""
    parts: list[str | Sign] = []
    at = 0
    for match in re.finditer(_SIGN, word):
        parts.append(word[at : match.start()])
        at = match.end()
        if match["kept"] is None:
            parts.append(_sign(match))
        else:
            parts.append(match[0].removeprefix("\\"))
    parts.append(word[at:])
    if any(isinstance(part, Sign) for part in parts):
        return [part for part in parts if part != ""]
    return "".join(str(part) for part in parts)


def _filled(parts: Sequence[str | Sign], values: Sequence[str], task: int) -> list[str]:
    """Return the words that a word becomes: one, but for `{}` where there are several values."""
    words = [""]
    for part in parts:
        if isinstance(part, str):
            words[-1] += part
        elif part.n or part.op == "#" or len(values) == 1:
            words[-1] += _value(part, values, task)
        else:
            first, *rest = [_OPS[part.op](value) for value in values] or [""]
            words[-1] += first
            words += rest
    return words


def _value(sign: Sign, values: Sequence[str], task: int) -> str:
    if sign.op == "#":
        return str(task + 1)
    n = sign.n or 1
    return _OPS[sign.op](values[n - 1]) if n <= len(values) else ""


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _without_extension(path: str) -> str:
    head, dot, tail = path.rpartition(".")
    return head if dot and "/" not in tail else path


def _last_part(path: str) -> str:
    return path.rpartition("/")[2]


def _folder(path: str) -> str:
    """Return the folder of a path as dirname(1) does: `.` of a bare name."""
    stripped = path.rstrip("/")
    if not stripped:
        return "/" if path else "."
    return posixpath.dirname(stripped).rstrip("/") or ("/" if stripped.startswith("/") else ".")


_OPS: Final[dict[str, Callable[[str], str]]] = {
    "": lambda path: path,
    ".": _without_extension,
    "/": _last_part,
    "//": _folder,
    "/.": lambda path: _without_extension(_last_part(path)),
}


def _shell_line(line: str, count: int) -> tuple[str, list[Sign]]:
    """Return a line whose placeholders are the shell's parameters, and what these shall be."""
    places: dict[Sign, int] = {}
    out: list[str] = []
    quotes = _Quotes()
    at = 0
    for match in re.finditer(_SIGN, line):
        quotes.read(line, at, match.start())
        out.append(line[at : match.start()])
        at = match.end()
        sign = _sign(match)
        if match["kept"] is not None:
            quotes.read(line, match.start(), at)
            out.append(match[0])  # the shell takes the backslash away by itself
            continue
        is_all = sign.n == 0 and sign.op != "#" and count != 1
        signs = [Sign(n + 1, sign.op) for n in range(count)] if is_all else [sign]
        numbers = [places.setdefault(one, len(places) + 1) for one in signs]
        out.append(quotes.around(numbers))
    out.append(line[at:])
    return "".join(out), list(places)


class _Quotes:
    """How a shell reads the place up to which it has read a line: bare, or within which quotes."""

    def __init__(self) -> None:
        # `"` and `'` are quotes, `(` a command of its own, `#` a comment, `+` arithmetic.
        self._within: list[str] = []
        self._is_word = False

    def around(self, numbers: Sequence[int]) -> str:
        """Return what stands for some parameters here, each a word where it can be."""
        self._is_word = True
        within = self._within[-1] if self._within else ""
        if within in ('"', "+"):
            return " ".join(f"${{{n}}}" for n in numbers)
        if within == "'":
            return "'" + " ".join(f'"${{{n}}}"' for n in numbers) + "'"
        return " ".join(f'"${{{n}}}"' for n in numbers)

    def read(self, line: str, start: int, end: int) -> None:
        """Read on from one place of the line to another."""
        at = start
        while at < end:
            at += self._step(line, at)

    def _step(self, line: str, at: int) -> int:
        """Read one sign; returns how many characters it has."""
        sign, within = line[at], self._within[-1] if self._within else ""
        was_word, self._is_word = self._is_word, not (sign.isspace() or sign in ";|&()")
        if within in ("'", "#"):
            if sign == ("'" if within == "'" else "\n"):
                self._within.pop()
            return 1
        if sign == "\\":
            return 2
        if line.startswith("$((", at):
            self._within += ["+", "+"]  # one for each parenthesis
            return 3
        if line.startswith("$(", at):
            self._within.append("(")
            return 2
        if sign == '"':
            self._within.pop() if within == '"' else self._within.append('"')
        elif within == '"':
            pass
        elif sign == "'" or (sign == "#" and not was_word and within != "+"):
            self._within.append(sign)
        elif sign == "(":
            self._within.append("+" if within == "+" else "(")
        elif sign == ")" and within:
            self._within.pop()
        return 1
