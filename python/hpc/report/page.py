"""The page of a report: one HTML file that needs nothing else, and lets nothing else be had.

No script, no link to anything; the policy in its head forbids all but its own style, whose digest
it names. Whatever came from jobs goes through `charts.text_of`. Light or dark as the reader has it,
and made to be printed. Each chart has a table beside it that says the same in numbers.
"""

from __future__ import annotations

import base64
import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from hpc.efficiency import FLAGS
from hpc.report import charts
from hpc.report.charts import text_of
from hpc.report.figures import Figures, Ran, Waits, is_failed, waits_of
from hpc.report.style import HATCH, STYLE
from hpc.states import STATES
from hpc.units import show_duration, show_memory

JOBS_MAX: Final = 200
"""Jobs of the table: those that took the most."""

SOME_MAX: Final = 12
"""Rows of the tables beside charts."""

NODES_MAX: Final = 64

COMMAND_CHARS_MAX: Final = 200
"""Of a command that is to be copied: a job's id has 128 at most."""

_BUCKETS_S: Final = (0.1, 1, 10, 60, 600, 3600, 21_600, 86_400)


class About(NamedTuple):
    """Where a report comes from.

    Attributes:
        of: Which jobs were asked for, in words.
        hub: Where they were.
        cursor: Up to where the log was read.
        floor: From where on it is whole, if that is not its beginning.
        version: Of hpc.
        made_at: When, in UTC.
        began_at: When the first of it was submitted, or ran.
    """

    of: str
    hub: str
    cursor: int
    floor: int | None
    version: str
    made_at: str
    began_at: str


def page(figures: Figures, about: About) -> str:
    """Return the HTML."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    body = [_head(figures, about), _totals(figures)]
    if figures.attempts:
        body += [_gantt(figures), _cores(figures), _waits(figures), _failures(figures)]
    else:
        body.append('<section><p class="none">Nothing of this has run yet.</p></section>')
    body += [_jobs(figures), _foot(about)]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>hpc report: {text_of(about.of)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"{HATCH}<main>\n{''.join(body)}</main>\n</body>\n</html>\n"
    )


def _head(figures: Figures, about: About) -> str:
    span = ""
    if figures.attempts:
        span = f"{show_duration(round(figures.span_s, 3))} from {text_of(about.began_at)} · "
    return f"<header><h1>{text_of(about.of)}</h1><p>{span}Hub {text_of(about.hub)}</p></header>"


def _foot(about: About) -> str:
    whole = (
        "the whole log"
        if about.floor is None
        else f"the log from seq {about.floor:,} on, which is all that it has"
    )
    return (
        f"<footer>Made {text_of(about.made_at)} by hpc {text_of(about.version)} of {whole}, up to "
        f"seq {about.cursor:,}. Times are UTC; whoever reads this file sends nothing to "
        "anybody.</footer>\n"
    )


def _totals(figures: Figures) -> str:
    core_s = figures.core_s(figures.attempts)
    lost_s = figures.core_s(one for one in figures.attempts if is_failed(one))
    cards = [
        ("jobs", f"{len(figures.jobs):,}", ""),
        ("tasks", f"{figures.states.total():,}", _counted(figures.states)),
        ("attempts", f"{len(figures.attempts):,}", f"on {_many(len(figures.nodes), 'node')}"),
        ("core time", _core_time(core_s), f"{_core_time(lost_s)} of it in what failed"),
    ]
    if figures.cpu_s is not None and core_s:
        share = f"{100 * figures.cpu_s / core_s:.0f} %"
        cards.append(("of that used", share, f"{_core_time(figures.cpu_s)} of CPU time"))
    if figures.waits_s:
        waits = waits_of(figures.waits_s)
        cards.append(("wait, median", _time(waits.p50), f"{_time(waits.p95)} at p95"))
    told = "".join(
        f"<div><dt>{name}</dt><dd>{text_of(value)}<small>{text_of(more)}</small></dd></div>"
        for name, value, more in cards
    )
    return f'<dl class="totals">{told}</dl>\n'


def _gantt(figures: Figures) -> str:
    chart = charts.gantt(figures)
    legend = "".join(
        f'<span><svg viewBox="0 0 24 12" aria-hidden="true"><rect class="{kind}" x="1" y="1" '
        f'width="22" height="10"/></svg>{meaning}</span>'
        for kind, meaning in chart.marks
    )
    busiest = sorted(figures.nodes, key=lambda node: -node.attempts)[:NODES_MAX]
    rows = [
        (n.node_id, n.slots, f"{n.attempts:,}", f"{n.failed:,}", f"{100 * n.busy:.0f} %")
        for n in sorted(busiest, key=lambda node: node.node_id)
    ]
    table = _table(
        "The same by node", ("node", "slots", "attempts", "failed or lost", "busy"), rows
    )
    note = f'<p class="note">{chart.note}</p>' if chart.note else ""
    return _section(
        "What ran where",
        "Attempts of tasks by node and slot. A slot is counted by what ran there at once.",
        f'<p class="legend">{legend}</p>{chart.svg}{note}{table}',
    )


def _cores(figures: Figures) -> str:
    chart = charts.cores(figures)
    busy, offered = figures.busy(SOME_MAX), figures.offered(SOME_MAX)
    ended = figures.ended(SOME_MAX)
    each_s = figures.span_s / SOME_MAX
    rows = [
        (
            f"{_time(number * each_s)} to {_time((number + 1) * each_s)}",
            f"{busy[number]:.1f}",
            f"{offered[number]:.1f}" if offered[number] else "",
            f"{100 * busy[number] / offered[number]:.0f} %" if offered[number] else "",
            f"{ended[number][0]:,}",
            f"{ended[number][1]:,}",
        )
        for number in range(SOME_MAX)
    ]
    heads = ("time", "cores taken", "of cores", "share", "attempts ended", "failed or lost")
    return _section(
        "Cores over time",
        "The area is what these jobs had taken; the dashed line, what the nodes had.",
        chart.svg + _table("The same in numbers, on average of each time", heads, rows),
    )


def _waits(figures: Figures) -> str:
    if not figures.waits_s:
        return ""
    rows = _buckets(figures.waits_s)
    by_job = figures.waits_by_job()
    told: list[tuple[str, ...]] = [("all", *_wait_cells(waits_of(figures.waits_s)))]
    told += [(_named(figures, job_id), *_wait_cells(waits)) for job_id, waits in by_job[:SOME_MAX]]
    caption = (
        "Waits by job"
        if len(by_job) <= SOME_MAX
        else (f"Waits of the {SOME_MAX} of {len(by_job):,} jobs that waited longest")
    )
    return _section(
        "How long tasks waited",
        "From when a task could have begun (submitted, released, all before it ended) to its first "
        "start.",
        charts.bars("tasks by how long they waited", rows, "succeeded")
        + _table(caption, ("job", "tasks", "p50", "p95", "longest"), told),
    )


def _failures(figures: Figures) -> str:
    causes = figures.causes()
    if not causes:
        return _section("What failed", "Nothing.", "")
    rows = [
        (
            one.text,
            f"{one.attempts:,}",
            f"{one.tasks:,}",
            f"{one.jobs:,}",
            f"hpc job log {one.example.key.job_id} --task {one.example.key.task}",
        )
        for one in causes[:SOME_MAX]
    ]
    heads = ("cause", "attempts", "tasks", "jobs", "look at one")
    more = f", the first {SOME_MAX} of {len(causes)}" if len(causes) > SOME_MAX else ""
    shown = [(one.text, one.attempts) for one in causes[:SOME_MAX]]
    return _section(
        "What failed",
        "Attempts that failed or were lost, by cause; some were tried again and succeeded.",
        charts.bars("attempts that failed, by cause", shown, "failed")
        + _table(f"The same in numbers{more}", heads, rows, code=len(heads) - 1),
    )


def _jobs(figures: Figures) -> str:
    ran = figures.ran(JOBS_MAX)
    heads = (
        *("job", "name", "state", "tasks", "attempts", "from first to last", "core time"),
        *("cores asked", "used", "memory asked", "most used", "next time"),
    )
    left_out = len(figures.jobs) - len(ran)
    about = "What tasks that succeeded used of what they had asked for: cores and memory of each."
    if left_out:
        about += f" The {JOBS_MAX} jobs that took the most; {left_out:,} others are left out."
    return _section(
        "Jobs", about, _table("", heads, map(_job_cells, ran), code=len(heads) - 1, wide=True)
    )


def _job_cells(ran: Ran) -> tuple[object, ...]:
    job, used = ran.job, ran.used
    cpus, memory = used.cpus, used.memory
    mib = (job.info["resources"] or {}).get("memory_mib")
    advice = used.advice()
    return (
        job.job_id,
        job.name,
        _counted(job.counts) if len(job.counts) > 1 else job.state,
        f"{sum(job.counts.values()):,}",
        f"{ran.attempts:,}",
        _time(ran.span_s) if ran.attempts else "",
        _core_time(ran.core_s) if ran.attempts else "",
        str(job.cpus),
        f"{cpus.median:.2f}" if cpus else "",
        "" if mib is None else show_memory(mib << 20),
        show_memory(memory.most) if memory else "",
        [FLAGS[name].format(value) for name, value in advice.items()],
    )


def _section(title: str, about: str, body: str) -> str:
    return f"<section><h2>{title}</h2><p>{about}</p>{body}</section>\n"


def _table(
    caption: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    code: int | None = None,
    wide: bool = False,
) -> str:
    """Return a table; every cell is escaped, and the first of each row is its head.

    A cell that is a list has pieces to type, of which none is broken.
    """
    top = "".join(f'<th scope="col">{head}</th>' for head in heads)
    lines = []
    for first, *rest in rows:
        cells = "".join(
            f"<td>{_typed(cell if isinstance(cell, list) else [cell])}</td>"
            if number == code
            else f"<td>{text_of(cell)}</td>"
            for number, cell in enumerate(rest, 1)
        )
        lines.append(f'<tr><th scope="row">{text_of(first)}</th>{cells}</tr>')
    said = f"<caption>{caption}</caption>" if caption else ""
    kind = ' class="wide"' if wide else ""
    return (
        f'<div class="table"><table{kind}>{said}<thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _typed(pieces: Sequence[object]) -> str:
    return " ".join(f"<code>{text_of(piece, COMMAND_CHARS_MAX)}</code>" for piece in pieces)


def _buckets(waits_s: Sequence[float]) -> list[tuple[str, int]]:
    """Return how many of sorted waits lie between round times, from the first that has any."""
    edges = [0, *(bisect_left(waits_s, edge) for edge in _BUCKETS_S), len(waits_s)]
    names = [f"below {_time(_BUCKETS_S[0])}"]
    names += [f"{_time(a)} to {_time(b)}" for a, b in pairwise(_BUCKETS_S)]
    names.append(f"{_time(_BUCKETS_S[-1])} and more")
    rows = [
        (name, after - before) for name, (before, after) in zip(names, pairwise(edges), strict=True)
    ]
    while not rows[-1][1]:
        rows.pop()
    return rows


def _wait_cells(waits: Waits) -> tuple[str, ...]:
    return f"{waits.tasks:,}", _time(waits.p50), _time(waits.p95), _time(waits.most)


def _named(figures: Figures, job_id: str) -> str:
    job = figures.jobs.get(job_id)
    return f"{job_id} {job.name}" if job and job.name not in ("", job_id) else job_id


def _counted(counts: Mapping[str, int]) -> str:
    """Return `97 succeeded, 3 failed`: what has ended first."""
    return ", ".join(
        f"{counts[state]:,} {state}" for state in reversed(STATES) if counts.get(state)
    )


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _time(seconds: float) -> str:
    if not seconds:
        return "0 s"
    return show_duration(round(seconds, 1 if seconds >= 10 else 3))  # noqa: PLR2004 - seconds


def _core_time(core_s: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if core_s >= size:
            return f"{core_s / size:,.1f} core {unit}"
    return f"{core_s:,.1f} core s"
