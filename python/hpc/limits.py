"""Limits of a task beside cores, memory and time, as they are typed, sent and read.

| in a spec      | such as            | what it is                                              |
|----------------|--------------------|---------------------------------------------------------|
| `warn_signal`  | `"USR1@60"`        | a signal, so many seconds before the time limit          |
| `output_limit` | `10485760`         | bytes of captured output                                 |
| `umask`        | `"027"`            | octal                                                    |
| `ulimits`      | `{"nofile": 4096}` | soft limits of the process, by the names of `ulimit`      |

Whoever submits and whoever executes read them by the functions here, each of which names the field
in what it raises. Text and numbers only: nothing here sets a limit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from hpc.errors import UsageError
from hpc.units import parse_duration

OUTPUT_BYTES_DEFAULT: Final = 1 << 30
"""A relay keeps so much of a task's output where nobody says otherwise."""

KEEP_OUTPUT_S_DEFAULT: Final = 30 * 86_400.0
"""A Hub and a relay each keep output of tasks so long where nothing else is said."""

OUTPUT_QUOTA_BYTES_DEFAULT: Final = 10 << 30
"""And so much of it."""

HOOK_TIMEOUT_S_DEFAULT: Final = 60.0
"""A relay ends a hook of its owner after so long where nothing else is said."""

OUTPUT_BYTES_MAX: Final = 1 << 60
"""More than any disk; a number above it is a slip of the pen."""

UMASK_MAX: Final = 0o777

ULIMITS: Final = (
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
)
"""Names as in limits.conf(5). `rss` is none: Linux ignores it, and hpc keeps a mark in it."""

UNLIMITED: Final = "unlimited"

_SIGNAL_MAX: Final = 64
_VALUE_MAX: Final = (1 << 63) - 1
_BYTES_OF: Final = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE: Final = r"(?i)(\d+(?:\.\d+)?)\s*(?:([KMGT])(?:i?B)?)?"


class Warned(NamedTuple):
    """A signal before the time limit.

    Attributes:
        signal: Its number on this machine.
        name: As in `USR1`; a number where it has no name.
        before_s: How long before the limit.
    """

    signal: int
    name: str
    before_s: float

    @property
    def text(self) -> str:
        """As it stands in a spec: the same for each way to write it."""
        return f"{self.name}@{self.before_s:.15g}"


def parse_warn_signal(text: str) -> Warned:
    """Return what `USR1@60`, `SIGUSR1@1m` or `10@60` names.

    Raises:
        UsageError: It is no signal that a program can hear, or no time.
    """
    from signal import Signals  # noqa: PLC0415 - most submits name none

    word, at, time = text.strip().partition("@")
    name = word.upper().removeprefix("SIG")
    number = int(name) if re.fullmatch(r"\d{1,3}", name) else 0
    known = Signals.__members__.get(f"SIG{name}")
    if known is None and number in Signals.__members__.values():
        known = Signals(number)
    if known is not None:
        name, number = known.name.removeprefix("SIG"), known.value
    else:
        name = str(number)
    if not at or not 1 <= number <= _SIGNAL_MAX or name in {"KILL", "STOP"}:
        raise UsageError(
            f"`warn_signal` must be SIGNAL@SECONDS, of a signal that can be caught, got {text!r}",
            field="warn_signal",
            hint="such as USR1@60 for SIGUSR1, 60 s before the time limit",
        )
    before_s = parse_duration(time, field="warn_signal")
    return Warned(number, name, before_s)


def warned(text: str | None, time_limit_s: float | None) -> Warned | None:
    """Return what a job's `warn_signal` says, if it says anything.

    Raises:
        UsageError: As `parse_warn_signal`, or there is no time limit to be warned of.
    """
    if text is None:
        return None
    read = parse_warn_signal(text)
    if time_limit_s is None:
        raise UsageError(
            f"`warn_signal` {read.text} comes before a time limit, and this job has none",
            field="warn_signal",
            hint=f"hpc submit --time-limit 1h --warn-signal {read.text} -- ./sim",
        )
    return read


def parse_bytes(text: str, *, field: str) -> int:
    """Return bytes, rounded up: `10` and `10M` are 10 MiB, `4K` is 4096.

    Raises:
        UsageError: Not a positive number with K, M, G, T (binary) or nothing behind it.
    """
    match = re.fullmatch(_SIZE, text.strip())
    unit = (match[2] or "M").upper() if match else "M"
    wanted = float(match[1]) * _BYTES_OF[unit] if match else 0.0
    size = -int(-min(wanted, 1e30) // 1)  # of infinity there is no Int
    return checked_bytes(size, field=field, got=text)


def checked_bytes(size: int, *, field: str, got: object = None) -> int:
    """Return a number of bytes as it is.

    Raises:
        UsageError: Not from 1 to `OUTPUT_BYTES_MAX`.
    """
    if not 1 <= size <= OUTPUT_BYTES_MAX:
        raise UsageError(
            f"`{field}` must be a size such as 512K or 10M, got {size if got is None else got!r}",
            field=field,
            hint="a bare number is MiB on the command line; K, M, G and T are binary",
        )
    return size


def umask_text(umask: int | str) -> str:
    """Return a umask as it is sent: 0o27 and `"27"` are `"027"`.

    Raises:
        UsageError: It is none.
    """
    if isinstance(umask, str):
        is_octal = re.fullmatch(r"(0o)?[0-7]{1,4}", umask.strip())
        value = int(umask.strip().removeprefix("0o"), 8) if is_octal else -1
    else:
        value = umask
    if not 0 <= value <= UMASK_MAX:
        raise UsageError(
            f"`umask` must be octal, from 000 to 777, got {umask!r}",
            field="umask",
            hint="such as 027: the group reads, nobody else does",
        )
    return f"{value:03o}"


def checked_ulimits(ulimits: Mapping[str, Any]) -> dict[str, int | str]:
    """Return limits of a process as they are sent.

    Raises:
        UsageError: A name that no limit has, or a value that is neither a number nor `unlimited`.
    """
    read: dict[str, int | str] = {}
    for name, given in ulimits.items():
        if name not in ULIMITS:
            raise UsageError(
                f"`ulimits` has no limit `{name}`; there are {', '.join(ULIMITS)}",
                field=f"ulimits.{name}",
                hint="hpc submit --ulimit nofile=4096 -- ./sim",
            )
        is_digits = isinstance(given, str) and re.fullmatch(r"[0-9]{1,20}", given)
        value = int(given) if is_digits else given
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if not (value == UNLIMITED or (is_number and 0 <= value <= _VALUE_MAX)):
            raise UsageError(
                f"`ulimits.{name}` must be a number or `{UNLIMITED}`, got {given!r}",
                field=f"ulimits.{name}",
                hint="in the kernel's unit: bytes, files, processes or seconds",
            )
        read[name] = value
    return read


def parse_ulimits(given: Sequence[str]) -> dict[str, int | str]:
    """Return what `nofile=4096` and its like say.

    Raises:
        UsageError: As `checked_ulimits`, or no `=`.
    """
    limits: dict[str, Any] = {}
    for word in given:
        name, equals, value = word.partition("=")
        if not equals:
            raise UsageError(
                f"`--ulimit` must be NAME=VALUE, got {word!r}",
                field="ulimits",
                hint="hpc submit --ulimit nofile=4096 -- ./sim",
            )
        limits[name.strip()] = value.strip()
    return checked_ulimits(limits)


def kernel_ulimits(ulimits: Mapping[str, Any]) -> dict[str, int | None]:
    """Return limits of a process as the supervisor takes them; None is unlimited.

    Raises:
        UsageError: As `checked_ulimits`.
    """
    checked = checked_ulimits(ulimits)
    return {name: value if isinstance(value, int) else None for name, value in checked.items()}
