"""gridworld: an environment. A walker on a windy grid is to be led to a goal, again and again.

It listens on HPC_SIM_PORT of the loopback interface for one policy, and speaks lines of JSON:

| from the environment                     | from the policy                      |
|------------------------------------------|--------------------------------------|
| `{"at": [0, 3], "goal": [5, 1]}`         | `{"move": "north"}`, or south, …     |
| `{"over": true}` after HPC_SIM_STEPS     |                                      |

A step costs 0.1, a goal is worth 1. What it came to stands in the file HPC_SIM_RESULT. A policy
that goes away early is no fault of this program: it ends with 0 and writes no result.
"""

from __future__ import annotations

import json
import os
import random
import socket
import sys
from pathlib import Path
from typing import IO

SIZE = 8
WIND = 0.1
"""So often a step goes astray."""

MOVES = {"north": (0, -1), "south": (0, 1), "west": (-1, 0), "east": (1, 0)}

Field = tuple[int, int]


def moved(at: Field, move: str) -> Field:
    """Return where a step leads; the edge stops it."""
    dx, dy = MOVES[move]
    return min(max(at[0] + dx, 0), SIZE - 1), min(max(at[1] + dy, 0), SIZE - 1)


def play(connection: socket.socket, steps: int, chance: random.Random) -> float | None:
    """Play so many steps; returns the reward, or None if the policy went away."""
    try:
        with connection, connection.makefile("rw", encoding="utf-8") as lines:
            return _played(lines, steps, chance)
    except ConnectionError:  # also where what was said last finds nobody
        return None


def _played(lines: IO[str], steps: int, chance: random.Random) -> float | None:
    def field() -> Field:
        return chance.randrange(SIZE), chance.randrange(SIZE)

    at, goal, reward = field(), field(), 0.0
    for _ in range(steps):
        print(json.dumps({"at": at, "goal": goal}), file=lines, flush=True)
        answer = lines.readline()
        if not answer:
            return None
        strays = chance.random() < WIND
        at = moved(at, chance.choice(list(MOVES)) if strays else json.loads(answer)["move"])
        reward -= 0.1
        if at == goal:
            reward += 1.0
            goal = field()
    print(json.dumps({"over": True}), file=lines, flush=True)
    return round(reward, 6)


def main() -> int:
    """Serve one policy; returns the exit code."""
    steps, seed = int(os.environ["HPC_SIM_STEPS"]), int(os.environ["HPC_SIM_SEED"])
    # It sets SO_REUSEADDR: the next task that is leased the port can have it at once.
    with socket.create_server(("127.0.0.1", int(os.environ["HPC_SIM_PORT"]))) as server:
        connection, _ = server.accept()
    reward = play(connection, steps, random.Random(seed))  # noqa: S311 - a game
    if reward is None:
        print("gridworld: the policy went away", file=sys.stderr)
        return 0
    result = {"reward": reward, "steps": steps}
    Path(os.environ["HPC_SIM_RESULT"]).write_text(json.dumps(result), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
