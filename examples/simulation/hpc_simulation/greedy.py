"""greedy: a policy for `gridworld`, which says what is spoken. It goes where the goal is nearer."""

from __future__ import annotations

import json
import os
import socket
import sys


def move(at: list[int], goal: list[int]) -> str:
    """Return the next step, east or west first."""
    if at[0] != goal[0]:
        return "east" if at[0] < goal[0] else "west"
    return "south" if at[1] < goal[1] else "north"


def main() -> int:
    """Play until it is over; returns the exit code."""
    port = int(os.environ["HPC_SIM_PORT"])
    with (
        socket.create_connection(("127.0.0.1", port)) as connection,
        connection.makefile("rw", encoding="utf-8") as lines,
    ):
        for line in lines:
            seen = json.loads(line)
            if "over" in seen:
                break
            print(json.dumps({"move": move(seen["at"], seen["goal"])}), file=lines, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
