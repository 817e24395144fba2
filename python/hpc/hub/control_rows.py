"""Control rows: what a row of the log that registers something says.

For those of the Hub that must know of a registration as it is appended: who holds a token
(tokens.py), whom to call back (callbacks.py). The engine decides what is registered; nothing here
checks a row.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from hpc.protocols import LogRow

CONTROL: Final = 1
"""Flag of rows that register something."""


class Control(NamedTuple):
    """A registration.

    Attributes:
        kind: Such as `RegisterToken`.
        at: When it was recorded, in ms since 1970.
        who: By whom, and from where; empty of what the Hub did itself.
        of: What it is about: a generator's or a token's id, or nothing.
        spec: Its spec as JSON.
    """

    kind: str
    at: int
    who: str
    of: str
    spec: bytes


class _Said(msgspec.Struct):
    gid: str = ""
    token_id: str = ""
    spec: msgspec.Raw = msgspec.Raw(b"{}")


class _Payload(msgspec.Struct):
    spec: _Said


class _Event(msgspec.Struct):
    at: int
    kind: str
    payload: _Payload


class _Body(msgspec.Struct):
    events: list[_Event]
    who: str = ""


def control_of(row: LogRow) -> list[Control]:
    """Return what a row of control registers, in its order.

    Raises:
        msgspec.MsgspecError: The row is damaged.
        UnicodeDecodeError: Likewise.
    """
    body = msgspec.json.decode(row.body, type=_Body)
    return [
        Control(
            event.kind,
            event.at,
            body.who,
            event.payload.spec.gid or event.payload.spec.token_id,
            bytes(event.payload.spec.spec),
        )
        for event in body.events
    ]
