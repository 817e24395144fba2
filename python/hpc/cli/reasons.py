"""Reasons: what whoever held tasks or drained a node said, as the log keeps it.

The facts say that something is held or drained; the event that they come from says when, and why.
It is asked for only where something is, since that is a request more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from hpc import ranges
from hpc.cli import advice, output, wording
from hpc.client import Client
from hpc.errors import NotFound

NODES_MAX: Final = 100
"""Of so many nodes a table tells why they are drained; each is a request."""

_WAITS: Final = frozenset({"queued", "waiting", "held"})
_SILENT: Final = "silent for its lease"
"""What the Hub gives as the reason of a loss that nobody asked for."""
_OUT_OF_REACH: Final = "unreachable"
_PAGES_MAX: Final = 10
_SHOWN_MAX: Final = 5


class Said(NamedTuple):
    """One word that still holds.

    Attributes:
        at: When it was said, ms since 1970.
        because: The reason that was given; None where there was none.
        tasks: The tasks that are held; None is all.
        by_relay: The node's own relay said it.
    """

    at: int
    because: str | None
    tasks: str | None = None
    by_relay: bool = False

    def text(self) -> str:
        """Return it as `job info` and `node info` show it."""
        one = "" if self.tasks is None or not self.tasks.isdecimal() else f"task {self.tasks} "
        tasks = one or ("" if self.tasks is None else f"tasks {self.tasks} ")
        by = " by its relay" if self.by_relay else ""
        why = "" if self.because is None else f": {self.because}"
        return f"{tasks}since {output.when(self.at)}{by}{why}"

    def as_data(self) -> dict[str, Any]:
        """Return it as `--json` shows it."""
        return {"at": output.when(self.at), "reason": self.because}


def of_holds(hub: Client, info: Mapping[str, Any]) -> list[Said]:
    """Return why tasks of a job are held, in the order in which it was said; none where none is."""
    if not (info.get("counts") or {}).get("held"):
        return []
    everything = str(info["tasks"])
    holding: list[tuple[str, Mapping[str, Any]]] = []
    for event in _behind(hub, "jobs", str(info["job_id"]), "held"):
        for tasks, is_held in (event.get("value") or {}).items():
            # What was said before of these tasks holds no more.
            named = everything if tasks == "*" else tasks
            left = [(ranges.without(held, named), said) for held, said in holding]
            holding = [(held, said) for held, said in left if held]
            if is_held:
                holding.append((named, event))
    return [
        Said(event["at"], event.get("because"), None if tasks == everything else tasks)
        for tasks, event in holding[-_SHOWN_MAX:]
    ]


def of_drain(hub: Client, row: Mapping[str, Any]) -> Said | None:
    """Return why a node is drained; None where it is not."""
    if not row.get("drained"):
        return None
    for event in _behind(hub, "nodes", str(row["node_id"]), "drained"):
        by_relay = event.get("origin") is not None and event["origin"] == row.get("session")
        return Said(event["at"], event.get("because"), by_relay=by_relay)
    return None


def of_losses(hub: Client, rows: Sequence[Mapping[str, Any]]) -> dict[str, Said]:
    """Return of nodes that are away, by id, which of them somebody has given up, and why."""
    given_up = {}
    away = [row for row in rows if row["state"] == "unreachable" and not row.get("leases")]
    for row in away[:NODES_MAX]:
        # Of one that was silent before, the word that gives it up changed no fact.
        place = (hub, "nodes", str(row["node_id"]), "down")
        for event in (*_behind(*place), *_behind(*place, why_not=True)):
            is_now = (event.get("value") or {}).get("at") == row["epoch"]
            if is_now and event["kind"] == "NodeLost" and event.get("because") != _SILENT:
                given_up[row["node_id"]] = Said(event["at"], event.get("because"))
    return given_up


def say_waiting(info: Mapping[str, Any], holds: Sequence[Said] = ()) -> None:
    """Say why a job has to wait, if it has to, and what was given as the reason of a hold."""
    if info.get("state") in _WAITS and info.get("why"):
        output.say(f"note: job {info['job_id']} is {wording.outcome(info)}{given(holds)}")
        output.say_hint(advice.of_waiting(str(info["why"]), str(info["job_id"])))


def silent(hub: Client, info: Mapping[str, Any]) -> dict[str, int | None]:
    """Return which nodes that run something of a job are silent, and since when, in ms."""
    attempts = info.get("attempts") or []
    running = {row.get("node_id") for row in attempts if row["state"] == "running"}
    rows = [row for row in hub.nodes() if row["node_id"] in running] if running else []
    return {row["node_id"]: row.get("gone_at") for row in rows if row["state"] == "unreachable"}


def out_of_reach(hub: Client, info: Mapping[str, Any]) -> list[str]:
    """Return of a job that runs on which nodes the Hub does not hear of it, in words."""
    away = silent(hub, info) if info["state"] == "running" else {}
    return [
        f"on {node_id}, which is unreachable since {output.when(since)}: it goes on there, or runs "
        f"elsewhere once that is given up (now: hpc node lost {node_id})"
        for node_id, since in away.items()
    ]


class Waiting:
    """Says why jobs wait to whoever waits for them: each reason once, until another is true."""

    def __init__(self, hub: Client) -> None:
        self._hub = hub
        self._said: dict[str, str] = {}

    def __call__(self, info: Mapping[str, Any]) -> None:
        """Look at a job; of its reason only the first sentence is said."""
        job_id, why = str(info["job_id"]), str(info.get("why") or "").partition(". ")[0]
        if info["state"] == "running" and self._said.get(job_id) != _OUT_OF_REACH:
            for text in out_of_reach(self._hub, info):
                self._said[job_id] = _OUT_OF_REACH
                output.say(f"note: job {job_id} is running {text}")
        # A number in it that falls is progress, and no other reason.
        reason = re.sub(r"\d+", "", why)
        if info["state"] not in _WAITS or self._said.get(job_id) == reason:
            return
        self._said[job_id] = reason
        say_waiting({**info, "why": why}, of_holds(self._hub, info))


def given(holds: Sequence[Said]) -> str:
    """Return the reasons that were given, to stand behind a sentence; empty without any."""
    reasons = dict.fromkeys(said.because for said in holds if said.because is not None)
    return f" ({'; '.join(reasons)})" if reasons else ""


def _behind(
    hub: Client, table: str, key: str, column: str, *, why_not: bool = False
) -> Iterator[Mapping[str, Any]]:
    """Yield the events that a cell of the kernel's comes from, oldest first.

    With `why_not` those that speak of it and that it does not come from.
    """
    query: list[tuple[str, str | int | float]] = [
        ("gid", "kernel"),
        ("table", table),
        ("key", key),
        ("column", column),
        *([("why_not", "true")] if why_not else []),
    ]
    after: list[tuple[str, str | int | float]] = []
    for _ in range(_PAGES_MAX):
        try:
            page = hub.read("/explain", [*query, *after])
        except NotFound:  # forgotten meanwhile
            return
        yield from page["events"]
        if not page["more"]:
            return
        after = [("after", page["after"])]
