"""What a terminal, or a log that is read on one, is given: text, and nothing that steers it.

What came from the Hub, from another relay or from a task may hold anything. Control characters
other than newline and tab are taken out of it before it is shown, and escaped where it is shown as
JSON.
"""

from __future__ import annotations

import json
from typing import Final

CONTROL: Final = frozenset({*range(0x20), *range(0x7F, 0xA0)} - {ord("\n"), ord("\t")})
"""C0, DEL and C1: what terminals take as commands."""

_LEFT_OUT: Final = dict.fromkeys(CONTROL)
_ESCAPED: Final = {code: f"\\u{code:04x}" for code in CONTROL}


def clean(text: str) -> str:
    """Return text without what a terminal takes as a command."""
    return text.translate(_LEFT_OUT)


def json_text(data: object, *, indent: int | None = None) -> str:
    """Return JSON with everything escaped that a terminal takes as a command.

    JSON escapes the first 32 characters by itself; DEL and C1 it may hold as they are.
    """
    return json.dumps(data, ensure_ascii=False, indent=indent).translate(_ESCAPED)
