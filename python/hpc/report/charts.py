"""The charts of a report as SVG: what ran on each slot, cores over time, and bars.

Sizes are bounded: where there are more attempts than can be told apart, a chart shows how busy each
piece of time was. Shapes say what colours say: what failed is hatched, what was lost is an outline.
Texts are escaped here; colours and lines are the page's (`page.py`), by class.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final, NamedTuple

from hpc.report.figures import Figures, is_failed, kind_of, means, took_s
from hpc.report.style import KINDS
from hpc.terminal import clean
from hpc.timeline import Attempt
from hpc.units import show_duration

WIDTH: Final = 1040
LEFT: Final = 156
"""Pixels before the first moment, for names."""
PLOT: Final = WIDTH - LEFT - 8

ROWS_MAX: Final = 64
"""Rows of the chart of attempts; with more slots a row is a node, of more nodes the busiest."""

EACH_MAX: Final = 1500
"""Of more attempts none is drawn by itself."""

CELLS_MAX: Final = 16_000
"""Pieces of rows where attempts are not drawn by themselves."""

COLUMNS: Final = 240
"""Points of time of the chart of cores."""

NAME_CHARS_MAX: Final = 60
_LABEL_CHARS: Final = 22
LEVELS: Final = 4
"""How many shades tell how busy it was."""
_SHADES: Final = ("up to a quarter busy", "half", "three quarters", "all of it")

_TICKS: Final = 8
_LINES: Final = 5
_STEPS_S: Final = (
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    14400,
    21600,
    43200,
)
_DAY_S: Final = 86_400


class Chart(NamedTuple):
    """A drawing, what was aggregated in it, in a sentence, and what its marks mean, by class."""

    svg: str
    note: str = ""
    marks: Sequence[tuple[str, str]] = ()


class _Row(NamedTuple):
    label: str
    is_first: bool
    slots: int
    attempts: list[Attempt]


def text_of(value: object, most: int = NAME_CHARS_MAX) -> str:
    """Return a text for HTML: nothing in it is markup, steers a terminal, or is very long."""
    text = clean(str(value)).replace("\n", " ")
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return escape(cut)


def gantt(figures: Figures) -> Chart:
    """Draw what ran where and when: a row for each slot, or for each node."""
    rows, note = _rows(figures)
    is_labelled = all(row.label for row in rows)
    high = 24 if len(rows) <= ROWS_MAX // 4 else 14 if is_labelled else 10
    by_itself = len(figures.attempts) <= EACH_MAX and all(row.slots == 1 for row in rows)
    draw = _each if by_itself else _cells
    body = [
        _label(row.label, number * high + high / 2) for number, row in enumerate(rows) if row.label
    ]
    body += [
        f'<path class="line" d="M0 {number * high}h{WIDTH}"/>'
        for number, row in enumerate(rows)
        if row.is_first
    ]
    body += draw(figures, rows, high)
    kinds = {kind_of(one) for one in figures.attempts}
    marks: list[tuple[str, str]] = [(kind, kind) for kind in KINDS if kind in kinds]
    if not by_itself:
        note = f"{note} Too many to draw each: shades tell how busy each piece of time was.".strip()
        marks = [(f"busy{level}", _SHADES[level - 1]) for level in range(1, LEVELS + 1)]
        marks.append(("failed", "something failed or was lost"))
    axis = _time_axis(figures.span_s, high * len(rows))
    title = f"{len(figures.attempts):,} attempts on {len(figures.nodes):,} nodes over time"
    return Chart(_svg(title, high * len(rows) + 22, axis + body), note, marks)


def cores(figures: Figures) -> Chart:
    """Draw how many cores were taken over time, and how many there were."""
    busy, offered = figures.busy(COLUMNS), figures.offered(COLUMNS)
    most = max(*busy, *offered, 1.0)
    high = 150
    body = [
        f'<path class="grid" d="M{LEFT} {_y(value, most, high):.1f}h{PLOT}"/>'
        f'<text class="end" x="{LEFT - 8}" y="{_y(value, most, high) + 4:.1f}">{value:g}</text>'
        for value in _scale(most)
    ]
    body.append(f'<path class="area" d="{_steps(busy, most, high)}V{high}H{LEFT}z"/>')
    body.append(f'<path class="edge" d="{_steps(busy, most, high)}"/>')
    if any(offered):
        body.append(f'<path class="offered" d="{_steps(offered, most, high)}"/>')
    title = "cores taken over time, and cores that there were"
    return Chart(_svg(title, high + 22, _time_axis(figures.span_s, high) + body))


def bars(title: str, rows: Sequence[tuple[str, int]], kind: str) -> str:
    """Draw a bar for each row, its name before and its number behind it.

    Args:
        title: What is shown.
        rows: Name and number of each.
        kind: Of attempts that look so.
    """
    high, most = 24, max((count for _, count in rows), default=0) or 1
    body = []
    for number, (name, count) in enumerate(rows):
        y, wide = number * high, (PLOT - 90) * count / most
        body.append(_label(name, y + 12))
        body.append(f'<rect class="{kind}" x="{LEFT}" y="{y + 4}" width="{wide:.1f}" height="16"/>')
        body.append(f'<text x="{LEFT + wide + 8:.1f}" y="{y + 16}">{count:,}</text>')
    return _svg(title, high * len(rows), body)


def _svg(title: str, height: float, body: Iterable[str]) -> str:
    return (
        f'<div class="chart"><svg viewBox="0 0 {WIDTH} {height:g}" role="img" '
        f'aria-label="{escape(title)}"><title>{escape(title)}</title>{"".join(body)}</svg></div>'
    )


def _rows(figures: Figures) -> tuple[list[_Row], str]:
    """Return the rows of the chart of attempts, and what was left out or put together."""
    slots = sum(node.slots for node in figures.nodes)
    by_row: dict[tuple[str, int], list[Attempt]] = defaultdict(list)
    by_slot = slots <= ROWS_MAX
    for one in figures.attempts:
        by_row[one.key.node_id, figures.lanes[one.key] if by_slot else 0].append(one)
    if by_slot:
        rows = [
            _Row(node.node_id if slot == 1 else "", slot == 1, 1, by_row[node.node_id, slot])
            for node in figures.nodes
            for slot in range(1, node.slots + 1)
        ]
        return rows, ""
    shown = sorted(figures.nodes, key=lambda node: -node.attempts)[:ROWS_MAX]
    rows = [
        _Row(node.node_id, True, node.slots, by_row[node.node_id, 0])
        for node in sorted(shown, key=lambda node: node.node_id)
    ]
    note = f"A row is a node, with all of its slots ({slots:,} in all)."
    if left_out := len(figures.nodes) - len(shown):
        note += f" The {ROWS_MAX} nodes that ran the most are shown, {left_out:,} others are not."
    return rows, note


def _each(figures: Figures, rows: Sequence[_Row], high: int) -> list[str]:
    """Draw each attempt by itself, with what it was as its title."""
    scale = PLOT / (figures.end_ms - figures.begin_ms)
    drawn = []
    for number, row in enumerate(rows):
        for one in row.attempts:
            key, x = one.key, LEFT + (one.begin_ms - figures.begin_ms) * scale
            wide = max((one.end_ms - one.begin_ms) * scale, 1.5)
            job = figures.jobs.get(key.job_id)
            name = text_of((job.name if job else "") or key.job_id)
            drawn.append(
                f'<rect class="{kind_of(one)}" x="{x:.1f}" y="{number * high + 2}" '
                f'width="{wide:.1f}" height="{high - 4}"><title>{name}, task {key.task}, attempt '
                f"{key.attempt}: {text_of(one.state)}, {show_duration(round(took_s(one), 3))}"
                "</title></rect>"
            )
    return drawn


def _cells(figures: Figures, rows: Sequence[_Row], high: int) -> list[str]:
    """Draw how busy each piece of a row was, in shades, and below it where something failed."""
    columns = min(CELLS_MAX // max(len(rows), 1), PLOT // 2)
    wide = PLOT / columns
    paths: dict[str, list[str]] = defaultdict(list)
    for number, row in enumerate(rows):
        spans = ((one.begin_ms, one.end_ms, 1.0) for one in row.attempts)
        busy = means(spans, figures.begin_ms, figures.end_ms, columns)
        levels = [min(-int(-share * LEVELS // row.slots), LEVELS) for share in busy]
        for start, count, level in _runs(levels):
            if level:
                box = (LEFT + start * wide, number * high + 2, count * wide, high - 4)
                paths[f"busy{level}"].append(_box(*box))
        for column in _failed_columns(figures, row, columns):
            box = (LEFT + column * wide, (number + 1) * high - 5, max(wide, 2.0), 4)
            paths["failed"].append(_box(*box))
    return [f'<path class="{kind}" d="{"".join(found)}"/>' for kind, found in sorted(paths.items())]


def _failed_columns(figures: Figures, row: _Row, columns: int) -> list[int]:
    length = figures.end_ms - figures.begin_ms
    ends = (one.end_ms - figures.begin_ms for one in row.attempts if is_failed(one))
    return sorted({min(end * columns // length, columns - 1) for end in ends})


def _runs(levels: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return where equal ones begin that stand side by side, how many they are, and which."""
    found: list[tuple[int, int, int]] = []
    for place, level in enumerate(levels):
        if found and found[-1][2] == level:
            start, count, _ = found[-1]
            found[-1] = (start, count + 1, level)
        else:
            found.append((place, 1, level))
    return found


def _box(x: float, y: float, wide: float, high: float) -> str:
    return f"M{x:.1f} {y:g}h{wide:.1f}v{high:g}h-{wide:.1f}z"


def _label(name: str, y: float) -> str:
    short = text_of(name if len(name) <= _LABEL_CHARS else name[: _LABEL_CHARS - 1] + "…")
    whole = f"<title>{text_of(name)}</title>" if len(name) > _LABEL_CHARS else ""
    return f'<text class="end" x="{LEFT - 8}" y="{y + 4:g}">{short}{whole}</text>'


def _time_axis(span_s: float, y: float) -> list[str]:
    """Return lines at round times since the beginning, with the times below."""
    step_s = tick_s(span_s)
    drawn = [f'<path class="line" d="M{LEFT} {y:g}h{PLOT}"/>']
    for number in range(int(span_s / step_s) + 1):
        x = LEFT + PLOT * number * step_s / span_s
        words = show_duration(round(number * step_s, 6)) if number else "0"
        anchor = ' class="end"' if x > WIDTH - 40 else ' class="mid"'
        drawn.append(f'<path class="grid" d="M{x:.1f} 0V{y:g}"/>')
        drawn.append(f'<text{anchor} x="{x:.1f}" y="{y + 16:g}">{words}</text>')
    return drawn


def tick_s(span_s: float) -> float:
    """Return the least round time of which not many are in a span."""
    if span_s < _TICKS:
        return _round_up(span_s / _TICKS)
    for step_s in _STEPS_S:
        if span_s / step_s <= _TICKS:
            return step_s
    return _DAY_S * max(-int(-span_s // (_TICKS * _DAY_S)), 1)


def _scale(most: float) -> list[float]:
    """Return round numbers from 0 up to what there is most of."""
    step = max(int(_round_up(most / _LINES)), 1)
    return [float(value) for value in range(0, int(most) + 1, step)]


def _round_up(least: float) -> float:
    """Return the least of 1, 2 and 5 times a power of ten that is not below a number above 0."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * by for by in (1, 2, 5, 10) if power * by > least * 0.999)


def _y(value: float, most: float, high: float) -> float:
    return high - (high - 6) * value / most


def _steps(values: Sequence[float], most: float, high: float) -> str:
    wide = PLOT / len(values)
    path = [f"M{LEFT} {_y(values[0], most, high):.1f}"]
    for number, value in enumerate(values):
        path.append(f"V{_y(value, most, high):.1f}H{LEFT + (number + 1) * wide:.1f}")
    return "".join(path)
