"""The page of a report: it tells what the log says, needs nothing else, and stays small."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc.report import charts, page
from hpc.report.figures import Course, Figures, means
from hpc.report.style import KINDS, STYLE

ABOUT = page.About("All jobs", "http://hub", 12, None, "0.1.0", "some day", "the day before")


def event(kind: str, at: int, spec: dict[str, Any] | None = None, **ctx: Any) -> dict[str, Any]:
    return {"kind": kind, "at": at, "payload": {"ctx": ctx, "spec": spec or {}}}


def ended(
    job_id: str, task: int, begin: int, end: int, attempt: int = 1, node: str = "n1", **figures: Any
) -> dict[str, Any]:
    figures = {"exit_code": 0, **figures, "started_at": begin, "finished_at": end}
    ctx = {"job_id": job_id, "tasks": str(task), "attempt": attempt, "node_id": node}
    return event("JobFinished", end, figures, **ctx)


def job(job_id: str, name: str | None = None, state: str = "succeeded", **counts: int) -> Any:
    counts = counts or {state: 1}
    asked = {"cpus": 2, "memory_mib": 1024}
    row = {"job_id": job_id, "name": name, "state": state, "counts": counts}
    return {**row, "resources": asked, "spec": {"time_limit": None}}


def figures(jobs: list[Any], *events: dict[str, Any], only: bool = False) -> Figures:
    course = Course(only=only)
    for one in jobs:
        course.take_job(one)
    for each in events:
        course.take(each)
    return course.figures()


class Read(HTMLParser):
    """The tags that are open at the end, all tags with attributes, and the text of cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data


EVIL = '</td><script>alert(1)</script><img src="http://x/y">\x1b]0;t\x07\x9b2J\u0000&amp;'


def test_what_comes_from_jobs_is_text_and_nothing_is_fetched() -> None:
    """Names, causes and ids: none becomes a tag, an attribute or a command for a terminal."""
    failed = ended("j", 0, 20, 30, exit_code=1, cause=EVIL, node=EVIL)
    found = figures([job("j", EVIL, "failed")], event("SubmitJob", 0, job_id="j"), failed)
    text = page.page(found, ABOUT._replace(of=EVIL, hub=EVIL))
    read = Read(text)
    assert read.open == []
    assert not set(map(chr, [*range(9), *range(11, 32), *range(127, 160)])) & set(text)
    tags = {tag for tag, _ in read.tags}
    assert not tags & {"script", "img", "link", "iframe", "object", "base", "a", "form", "use"}
    names = {name for _, attributes in read.tags for name in attributes}
    assert not {name for name in names if name.startswith("on")}
    assert not names & {"style", "src", "href", "srcset", "action"}  # the policy forbids `style`
    assert set(re.findall(r"url\([^)]*\)", text)) == {"url(#hatch)"}
    assert "</td><script>alert(1)</script>" in "".join(read.cells)


def test_the_policy_forbids_all_but_the_style_that_is_there() -> None:
    """A byte more of style, or any script, and a browser would not take it."""
    text = page.page(figures([]), ABOUT)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.split("; ")[:2] == ["default-src 'none'", f"style-src 'sha256-{digest}'"]
    assert "Nothing of this has run yet." in text


def many_tasks(nodes: int, jobs: int, tasks: int) -> Figures:
    """So many jobs of so many tasks, one after the other on each of the nodes' slots."""
    course = Course(only=False)
    for number in range(jobs):
        job_id = f"j{number}"
        course.take_job(job(job_id, f"stage {number}", "succeeded", succeeded=tasks))
        course.take(event("SubmitJob", 0, job_id=job_id, tasks=f"0-{tasks - 1}"))
        begins = [(number * tasks + place) // nodes * 90 for place in range(tasks)]
        for node in range(nodes):
            mine = range(node, tasks, nodes)
            spec = {
                "started_at": [begins[task] for task in mine],
                "finished_at": [begins[task] + 80 + task % 11 for task in mine],
                "exit_code": [1 if task % 37 == 0 else 0 for task in mine],
                "cause": ["exit" if task % 37 == 0 else None for task in mine],
            }
            where = {"node_id": f"n{node}", "attempt": 1}
            numbers = ",".join(map(str, mine))
            course.take(event("JobFinished", 9**8, spec, job_id=job_id, tasks=numbers, **where))
    return course.figures()


@pytest.mark.parametrize("nodes", [4, 250])
def test_a_hundred_thousand_tasks_fit_and_what_was_put_together_is_said(nodes: int) -> None:
    """However many there were, a page is sent by mail; and nothing is left out in silence."""
    found = many_tasks(nodes, 400, 250)
    assert len(found.attempts) == 100_000
    text = page.page(found, ABOUT)
    assert len(text) < 400_000
    assert "Too many to draw each" in text
    assert "The 200 jobs that took the most; 200 others are left out." in text
    assert ("The 64 nodes that ran the most are shown, 186 others are not." in text) == (nodes > 64)


def test_few_attempts_are_drawn_each_with_what_it_was() -> None:
    """By shape and by word, not by colour alone."""
    found = figures(
        [job("j", "fit")],
        ended("j", 0, 0, 500, exit_code=3, cause="exit"),
        ended("j", 0, 500, 1500, attempt=2),
    )
    drawn = charts.gantt(found)
    assert re.findall(r'<rect class="(\w+)"[^>]*><title>([^<]*)<', drawn.svg) == [
        ("failed", "fit, task 0, attempt 1: exit, 500 ms"),
        ("succeeded", "fit, task 0, attempt 2: succeeded, 1 s"),
    ]
    assert drawn.marks == [("succeeded", "succeeded"), ("failed", "failed")]


def test_a_wait_begins_when_a_task_could_have_begun() -> None:
    """When it was submitted, released, or when all that it came after had ended."""
    found = figures(
        [job("a"), job("b"), job("c"), job("d", tasks=2)],
        event("SubmitJob", 1000, job_id="a"),
        event("SubmitJob", 1000, job_id="b", after=["a"]),
        event("SubmitJob", 1000, job_id="c"),
        event("SubmitJob", 1000, job_id="d", tasks="0"),
        event("SubmitJob", 6000, job_id="d", tasks="1"),
        event("ReleaseJob", 7000, job_id="c"),
        ended("a", 0, 3000, 5000),
        ended("a", 0, 9000, 9500, attempt=2),
        ended("b", 0, 5100, 5200),
        ended("c", 0, 8000, 9000),
        ended("d", 0, 1500, 1600),
        ended("d", 1, 6200, 6300),
    )
    waits = {job_id: (told.tasks, told.p50, told.most) for job_id, told in found.waits_by_job()}
    assert waits["a"] == (1, 2.0, 2.0)  # a second attempt waited for no first start
    assert waits["c"] == (1, 1.0, 1.0)
    assert waits["d"] == (2, 0.2, 0.5)
    assert found.waits_s == sorted(found.waits_s)


def test_what_comes_after_a_job_waits_from_its_end() -> None:
    """What was before that was no wait for a node."""
    found = figures(
        [job("a"), job("b")],
        event("SubmitJob", 1000, job_id="a"),
        event("SubmitJob", 1000, job_id="b", after=["a"]),
        ended("a", 0, 3000, 5000),
        ended("b", 0, 5100, 5200),
    )
    assert dict(found.waits_by_job())["b"].p50 == 0.1


def test_causes_are_counted_with_one_to_look_at() -> None:
    """Attempts, tasks and jobs; what was given back or cancelled has not failed."""
    found = figures(
        [job("j"), job("k")],
        ended("j", 4, 0, 10, exit_code=3, cause="exit"),
        ended("j", 4, 10, 20, exit_code=3, cause="exit", attempt=2),
        ended("k", 0, 0, 10, exit_code=3, cause="exit"),
        ended("k", 1, 0, 10, exit_code=None, cause="oom"),
        ended("k", 2, 0, 10, exit_code=None, cause="cancelled"),
        event("JobStarted", 5, {"started_at": 5}, job_id="k", tasks="3", attempt=1, node_id="n1"),
        event("AttemptLost", 30, job_id="k", tasks="3", attempt=1, node_id="n1"),
    )
    told = [(one.text, one.attempts, one.tasks, one.jobs) for one in found.causes()]
    assert told == [
        ("exit code 3", 3, 2, 2),
        ("lost with its relay", 1, 1, 1),
        ("over its memory limit", 1, 1, 1),
    ]
    read = Read(page.page(found, ABOUT))
    assert "hpc job log j --task 4" in read.cells


def test_a_command_to_copy_is_whole_and_what_did_not_run_has_no_time() -> None:
    """Half an id finds nothing, and nothing ran in 1970."""
    key = "k" * 128
    found = figures([job(key, state="failed")], ended(key, 0, 20, 30, exit_code=1))
    assert f"hpc job log {key} --task 0" in Read(page.page(found, ABOUT)).cells
    assert ABOUT.began_at not in page.page(figures([job("j", state="queued")]), ABOUT)


def test_the_table_of_jobs_says_what_was_used_of_what_was_asked_for() -> None:
    """As `hpc eff` does, of the same attempts that are drawn."""
    used = {"cpu_seconds": 9.0, "peak_memory_bytes": 100 << 20}
    found = figures([job("j", "fit")], ended("j", 0, 0, 10_000, **used))
    cells = Read(page.page(found, ABOUT)).cells
    place = len(cells) - 12
    assert cells[place:] == [
        *("j", "fit", "succeeded", "1", "1", "10 s", "20.0 core s"),
        *("2", "0.90", "1 GiB", "100 MiB", "--cpu 1 --memory 128M"),
    ]


def test_only_the_jobs_that_were_asked_for_count() -> None:
    """Nodes count for all."""
    joined = event("NodeJoined", 0, {"resources": {"cpus": 4}}, node_id="n1")
    found = figures([job("j")], joined, ended("j", 0, 0, 10), ended("k", 0, 0, 10), only=True)
    assert {one.key.job_id for one in found.attempts} == {"j"}
    assert found.offered(2) == [4.0, 4.0]
    assert found.busy(2) == [2.0, 2.0]


SPANS = st.lists(st.tuples(st.integers(-50, 150), st.integers(0, 120), st.integers(1, 8)))


@given(SPANS, st.integers(1, 40))
def test_means_lose_nothing_and_invent_nothing(
    drawn: list[tuple[int, int, int]], columns: int
) -> None:
    """All parts together are what lies between begin and end."""
    spans = [(begin, begin + length, float(weight)) for begin, length, weight in drawn]
    found = means(spans, 0, 100, columns)
    inside = sum(w * max(min(end, 100) - max(begin, 0), 0) for begin, end, w in spans)
    assert sum(found) * 100 / columns == pytest.approx(inside, abs=1e-6)
    assert all(-1e-9 <= value <= sum(w for *_, w in spans) + 1e-9 for value in found)


@given(st.floats(0.001, 10**9))
def test_an_axis_has_some_ticks_and_not_many(span_s: float) -> None:
    """From a millisecond to decades."""
    assert 1 <= span_s / charts.tick_s(span_s) <= 8.01


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_texts_and_marks_can_be_told_from_their_ground() -> None:
    """By the measure of WCAG, light, dark and on paper."""
    schemes = [
        dict(re.findall(r"--(\w+): (#\w{6})", block))
        for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    ]
    assert len(schemes) == 3
    for scheme in schemes:
        for ground in (scheme["ground"], scheme["card"]):
            assert contrast(scheme["ink"], ground) >= 4.5
            assert contrast(scheme["soft"], ground) >= 4.5
        for kind in (*KINDS, "area"):
            assert contrast(scheme[kind], scheme["ground"]) >= 3
