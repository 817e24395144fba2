"""Memory and time as people write them: `512`, `4G`, `90s`, `1h30m`, `2026-11-27T09:00`.

A bare number of memory is MiB, a bare number of time is seconds. Pure text to number and back; it
imports nothing that costs time at the start of a command.
"""

from __future__ import annotations

import re
from typing import Final

from hpc.errors import UsageError

_MIB_OF: Final = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024 * 1024}
_SECONDS_OF: Final = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
# Compiled when they are first used: most commands parse neither.
_MEMORY: Final = r"(?i)(\d+(?:\.\d+)?)\s*(?:([KMGT])(?:i?B)?)?"
_PART: Final = r"(?i)(\d+(?:\.\d+)?)(ms|[dhms])"
_NUMBER: Final = r"\d+(?:\.\d+)?"

MEMORY_MIB_MAX: Final = 1 << 40
"""An exbibyte; more is a slip of the pen."""

DURATION_S_MAX: Final = 10 * 365 * 86400.0
"""Ten years."""


def parse_memory(text: str, *, field: str = "memory") -> int:
    """Return MiB, rounded up: `512` is 512 MiB, `4G` is 4096, `100K` is 1.

    Raises:
        UsageError: Not a positive number with K, M, G, T (binary) or nothing behind it.
    """
    match = re.fullmatch(_MEMORY, text.strip())
    unit = (match[2] or "M").upper() if match else "M"
    size = float(match[1]) * _MIB_OF[unit] if match else 0.0
    mib = -int(-min(size, 2.0 * MEMORY_MIB_MAX) // 1)  # of infinity there is no Int
    if not 1 <= mib <= MEMORY_MIB_MAX:
        raise UsageError(
            f"`{field}` must be memory such as 512M or 4G, got {text!r}",
            field=field,
            hint="a bare number is MiB; K, M, G and T are binary",
        )
    return mib


def parse_duration(text: str, *, field: str = "duration") -> float:
    """Return seconds: `90` and `90s` are 90.0, `1h30m` is 5400.0, `250ms` is 0.25.

    Raises:
        UsageError: Not a number of seconds, nor numbers each with d, h, m, s or ms behind it.
    """
    plain = text.strip()
    if re.fullmatch(_NUMBER, plain):
        seconds = float(plain)
    else:
        parts = re.findall(_PART, plain)
        is_whole = parts and "".join(number + unit for number, unit in parts) == plain
        seconds = sum(float(n) * _SECONDS_OF[u.lower()] for n, u in parts) if is_whole else -1.0
    if not 0 <= seconds <= DURATION_S_MAX:
        raise UsageError(
            f"`{field}` must be a time such as 90s, 10m or 1h30m, got {text!r}",
            field=field,
            hint="a bare number is seconds; hours, minutes and seconds are 1h30m15s"
            if ":" in plain
            else "a bare number is seconds; d, h, m, s and ms are units",
        )
    return seconds


def parse_moment(text: str, *, field: str, now_ms: float) -> int:
    """Return ms since 1970: `2h` is two hours before now, `2026-11-27T09:00` is by ISO 8601.

    A date without a time is its midnight; without a zone it is this machine's.

    Raises:
        UsageError: It is neither.
    """
    if "-" not in text:
        return max(0, int(now_ms - 1000 * parse_duration(text, field=field)))
    from datetime import datetime  # noqa: PLC0415 - imported by who says a time of day only

    try:
        return max(0, int(datetime.fromisoformat(text.strip()).timestamp() * 1000))
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(
            f"`{field}` must be so long ago, such as 2h, or a time such as 2026-11-27T09:00, "
            f"got {text!r}",
            field=field,
            hint="a time of ISO 8601 without a zone is this machine's",
        ) from error


def show_memory(size: float) -> str:
    """Return bytes as people read them: 67108864 is `64 MiB`, 1610612736 is `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1024 or unit == "TiB":  # noqa: PLR2004 - the base of the units
            break
        size /= 1024
    return f"{size:.1f}".removesuffix(".0") + f" {unit}"


def show_duration(seconds: float) -> str:
    """Return seconds as people read them: 0.25 is `250 ms`, 1 is `1 s`, 5400 is `1 h 30 min`."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + " s"
    left = round(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
