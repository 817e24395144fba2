"""What a terminal, or a log that is read on one, is given: text, and nothing that steers it.

What came from the Hub, from another relay or from a task may hold anything. Control characters
other than newline and tab are taken out of it before it is shown, and escaped where it is shown as
JSON; so are those that have a line read in another order than it is written.
"""

from __future__ import annotations

import json
from typing import Final

CONTROL: Final = frozenset({*range(0x20), *range(0x7F, 0xA0)} - {ord("\n"), ord("\t")})
"""C0, DEL and C1: what terminals take as commands."""

_SEQUENCE: Final = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z^_`a-~])"
"""What sets a colour, a title, or the cursor: without its first sign the rest would be shown."""

ORDER: Final = frozenset({0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)})
"""Marks, embeddings and overrides of writing direction, and Unicode's separators of lines."""

_LEFT_OUT: Final = dict.fromkeys(CONTROL | ORDER)
_ESCAPED: Final = {code: f"\\u{code:04x}" for code in CONTROL | ORDER}


def clean(text: str) -> str:
    """Return text without what a terminal takes as a command."""
    return text.translate(_LEFT_OUT)


def fit(text: str, columns: int) -> str:
    """Return as much of a text, in one line, as so many columns of a terminal hold.

    Wide characters take two columns, those that join the one before them none; what has no shape,
    or turns the direction of what follows, is left out.
    """
    import unicodedata  # noqa: PLC0415 - most commands fill no line

    kept, left = [], columns
    for sign in clean(text.replace("\n", " ").replace("\t", " ")):
        kind = unicodedata.category(sign)
        if kind == "Cf":
            continue
        wide = unicodedata.east_asian_width(sign) in "WF"
        left -= 0 if kind in ("Mn", "Me") else 1 + wide
        if left < 0:
            break
        kept.append(sign)
    return "".join(kept)


def last_line(output: bytes) -> str:
    """Return the last line of a task's output that has something in it, as plain text.

    A line that was written over (a bar of progress, by carriage returns) counts as it is now.
    """
    import re  # noqa: PLC0415 - for who shows such a line

    lines = re.split(r"[\r\n]+", re.sub(_SEQUENCE, "", output.decode(errors="replace")))
    found = (clean(line).replace("\t", " ").strip() for line in reversed(lines))
    return next(filter(None, found), "")


def json_text(data: object, *, indent: int | None = None) -> str:
    """Return JSON with everything escaped that a terminal takes as a command.

    JSON escapes the first 32 characters by itself; DEL and C1 it may hold as they are.
    """
    return json.dumps(data, ensure_ascii=False, indent=indent).translate(_ESCAPED)
