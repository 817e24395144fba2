"""What `hpc timeline` and `hpc report` share: the whole log as it still is, and a file to write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpc.cli import output
from hpc.client import Client
from hpc.errors import HpcError, Refused


class Log:
    """All events that the log still has, in their order.

    Attributes:
        floor: From which seq on it is whole, where that is not its beginning; known once read.
    """

    def __init__(self, hub: Client) -> None:
        self._hub = hub
        self.floor: int | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        try:
            yield from self._hub.events()
        except Refused as error:
            if error.floor is None:
                raise
            self.floor = error.floor
            output.say(
                f"note: the log is whole from seq {error.floor} on; what was before is left out"
            )
            yield from self._hub.events(error.floor - 1)


def write(file: str, text: str) -> None:
    """Write a text to a file anew, or to stdout where it is `-`.

    Raises:
        HpcError: It cannot be written.
    """
    if file == "-":
        output.put(text)
        return
    try:
        Path(file).write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise HpcError(
            f"`{file}` cannot be written: {error.strerror or error}", hint="give another with -o"
        ) from error
