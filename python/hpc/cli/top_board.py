"""What `hpc top` shows: what is read of a Hub for it, and how that is put into lines.

A look costs one request where the log has not grown since the last one, else five small ones. All
texts are plain, in as many columns as there are; the screen (`top_screen.py`) draws the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final

from hpc.cli import node_words, wording
from hpc.cli.events import line as event_line
from hpc.cli.progress import Course
from hpc.client import Client
from hpc.errors import NotFound
from hpc.terminal import fit
from hpc.units import show_memory

Row = Mapping[str, Any]

NODES_MAX: Final = 1000
"""Nodes that are looked at, and drawn if there is room."""

EVENTS_READ: Final = 100
"""The end of the log that is looked at; samples of monitors in it are left out: bars tell them."""

BAR: Final = 8
_NODE_COLUMNS: Final = 20
_KIB: Final = 1024
JOB_HEADS: Final = ("JOB", "NAME", "STATE", "TASKS")
_WIDTHS: Final = (21, 20, 10)
"""Columns of a job but the last, which has the rest; an id that is made has 21 letters."""


class Board:
    """What is known of a Hub, look after look.

    Args:
        hub: Asked for it.
        newest: So many jobs and events are kept.

    Attributes:
        nodes: As `GET /nodes` tells them.
        jobs: The newest, likewise.
        events: The last of the log, the newest last.
    """

    def __init__(self, hub: Client, *, newest: int) -> None:
        self._hub = hub
        self._newest = newest
        self._begin("")

    def _begin(self, hub_id: str) -> None:
        """Know nothing yet."""
        self.nodes: list[dict[str, Any]] = []
        self.jobs: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.totals: dict[str, dict[str, int]] = {}
        self.url = ""
        self._cursor = 0
        self._hub_id = hub_id
        self._course = Course()
        self._stats: dict[str, dict[str, Any]] = {}
        self._pulled = 0

    def look(self, at_s: float) -> None:
        """Read what has changed.

        Raises:
            HpcError: The Hub does not answer, or not so; what was read before stays.
        """
        figures = self._hub.figures()
        # Another log, or an older copy of it: nothing of the former one holds.
        if figures["hub"] != self._hub_id or figures["cursor"] < self._cursor:
            self._begin(figures["hub"])
        self.url = self._hub.url
        self.totals = figures.get("totals") or self.totals  # a Hub that ends just now tells none
        self._course.look(at_s, [{"counts": self.totals.get("tasks")}])
        if figures["cursor"] == self._cursor:
            return
        self.nodes = node_words.recent(list(islice(self._hub.nodes(), NODES_MAX)))
        newest = self._hub.jobs(order="desc", limit=self._newest)
        self.jobs = list(islice(newest, self._newest))
        self._read_stats()
        since = max(self._cursor, figures["cursor"] - EVENTS_READ)
        came = self._hub.read("/events", [("cursor", since), ("limit", EVENTS_READ)])["data"]
        told = [event for event in came if event["kind"] != "HardwareStats"]
        self.events = [*self.events, *told][-self._newest :]
        self._cursor = came[-1]["seq"] if came else figures["cursor"]

    def text(self, columns: int) -> list[str]:
        """Return all of it as lines."""
        return [
            *self.head(columns),
            "",
            *self.node_lines(columns),
            "",
            _job_line(JOB_HEADS, columns),
            *(_job_line(job_cells(job), columns) for job in self.jobs),
            "",
            *self.event_lines(columns),
        ]

    def head(self, columns: int) -> list[str]:
        """Return where it is and what there is to do, in three lines; before a look none."""
        if not self.url:
            return []
        rate = f"   {self._course.rate:.1f} tasks/s" if self._course.rate else ""
        return [
            fit(f"{self.url}   seq {self._cursor:,}{rate}", columns),
            fit(f"jobs   {_counted(self.totals.get('jobs', {}))}", columns),
            fit(f"tasks  {_counted(self.totals.get('tasks', {}))}", columns),
        ]

    def node_lines(self, columns: int) -> list[str]:
        """Return the nodes, a line each and one above."""
        if not self.nodes:
            return ["no node is here, nothing will run: hpc relay"] if self.url else []
        heads = ["NODE", "STATE", "TASKS", "CPU", "MEMORY", "GPU"]
        rows = [heads, *(self._node(node) for node in self.nodes)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return [
            fit(
                "  ".join(cell.ljust(wide) for cell, wide in zip(row, widths, strict=True)), columns
            )
            for row in rows
        ]

    def event_lines(self, columns: int) -> list[str]:
        """Return the last events, the newest last; of their times the time of day."""
        lines = []
        for event in self.events:
            seq, at, rest = event_line(event).split(maxsplit=2)
            lines.append(fit(f"{seq:>8}  {at[11:19]}  {rest}", columns))
        return lines

    def _node(self, node: Row) -> list[str]:
        stats = self._stats.get(str(node["node_id"]), {}) if node["state"] == "up" else {}
        gpus = stats.get("gpus")
        total = stats.get("mem_total_kb")
        of = f" of {show_memory(total * _KIB)}" if isinstance(total, int) else ""
        shares = [_per_cent(gpu.get("usage")) for gpu in gpus] if isinstance(gpus, list) else []
        return [
            fit(str(node["node_id"]), _NODE_COLUMNS),
            node_words.state(node),
            node_words.runs_now(node),
            _bar(_per_cent(stats.get("cpu_usage"))),
            _bar(_share(stats)) + of,
            " ".join(map(_bar, shares)),
        ]

    def _read_stats(self) -> None:
        """Pull what monitors have said since the last time."""
        more = True
        while more:
            try:
                page = self._hub.pull("monitor", self._pulled, table="nodes")
            except NotFound:  # no namespace of that name
                return
            for node_id, row in page["facts"].get("nodes", {}).items():
                self._stats.setdefault(node_id, {}).update(row)
            self._pulled, more = page["cursor"], bool(page.get("more"))


def job_cells(job: Row) -> tuple[str, str, str, str]:
    """Return a job as it stands below `JOB_HEADS`."""
    return str(job["job_id"]), wording.title(job) or "-", str(job["state"]), wording.tally(job)


def fitted(cells: Sequence[str]) -> list[str]:
    """Return cells of a job cut to what they may have."""
    return [fit(cell, wide) for cell, wide in zip(cells, (*_WIDTHS, 200), strict=True)]


def _job_line(cells: Sequence[str], columns: int) -> str:
    *named, last = fitted(cells)
    parts = [f"{cell:<{wide}}" for cell, wide in zip(named, _WIDTHS, strict=True)]
    return fit("  ".join([*parts, last]), columns)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {state}" for state, count in counts.items() if count) or "none"


def _bar(share: float | None) -> str:
    if share is None:
        return ""
    filled = round(BAR * min(max(share, 0.0), 1.0))
    return f"[{'#' * filled:-<{BAR}}]{100 * share:4.0f}%"


def _per_cent(text: object) -> float | None:
    try:
        return float(str(text).rstrip("%")) / 100
    except ValueError:
        return None


def _share(stats: Row) -> float | None:
    used, total = stats.get("mem_used_kb"), stats.get("mem_total_kb")
    return used / total if isinstance(used, int) and isinstance(total, int) and total else None
