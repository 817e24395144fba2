"""The page of a log in a real browser: its end first, parts before on demand, more as it comes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from browsing import AXE, HIDE, check_axe, chromium, link, looking, show
from playwright.sync_api import Browser, Page, expect

from hpc.testing.processes import Cluster, until

LINES = 110_000
LINE = "line %06d of a long log, with words to fill it up"
KEPT_CHARS = 4 * 1024 * 1024
PART_BYTES = 1024 * 1024


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def relayed(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Cluster]:
    """A Hub with a relay."""
    with Cluster(tmp_path_factory.mktemp("logs"), lease_s=30.0) as running:
        running.relay("n1")
        yield running


PLACE = """(sought) => {
  for (const pre of document.querySelectorAll(".log-text pre")) {
    const at = pre.textContent.indexOf(sought);
    if (at < 0) continue;
    const range = new Range();
    range.setStart(pre.firstChild, at);
    range.setEnd(pre.firstChild, at + sought.length);
    return range.getBoundingClientRect().top;
  }
}"""
"""How far below the window's top a line is."""


def numbers(page: Page) -> list[int]:
    """The numbers of the lines that the page has, in its order."""
    text = page.locator(".log-text").evaluate("box => box.textContent")
    assert len(text) <= KEPT_CHARS
    return [int(found) for found in re.findall(r"line (\d+) of", text)]


def settled(page: Page, *, last: int | None = None, less_than: int | None = None) -> list[int]:
    """Wait until the page ends with a line, or begins before one; its lines, all in order."""
    page.wait_for_function(
        """([last, less]) => {
          const blocks = [...document.querySelectorAll(".log-text pre")];
          const lines = (block) => block?.textContent.match(/line \\d+/g) ?? [];
          const [first, end] = [lines(blocks[0])[0], lines(blocks.at(-1)).at(-1)].map(
            (line) => Number(line?.slice(5)),
          );
          return last === null ? first < less : end === last;
        }""",
        arg=[last, less_than],
    )
    found = numbers(page)
    assert found == list(range(found[0], found[-1] + 1))
    return found


def test_a_long_log_begins_with_its_end(browser: Browser, relayed: Cluster) -> None:
    """What is before it comes part by part, and no page ever has more than its bound."""
    command = f'BEGIN{{for(i=0;i<{LINES};i++)printf "{LINE}%c",i,10}}'
    job = relayed.client().submit(f"awk '{command}'", memory=32)
    job.wait(60)
    asked: list[str] = []
    with looking(browser, link(relayed)) as page:
        page.on("request", lambda request: asked.append(request.url))
        show(page, f"#/jobs/{job.id}/log")
        shown = settled(page, last=LINES - 1)
        assert shown[0] > LINES - PART_BYTES / 50
        expect(page.get_by_text(re.compile(r"MiB before this"))).to_be_visible()
        page.evaluate(AXE)
        check_axe(page, "log")
        page.evaluate("document.querySelector('.log-text').scrollTop = 0")
        expect(page.get_by_label("Follow")).not_to_be_checked()
        seen = f"line {shown[0]:06d}"
        place = page.evaluate(PLACE, seen)
        for part in range(4):
            page.get_by_role("button", name="Show earlier").click()
            shown = settled(page, less_than=shown[0])
            assert part == 3 or abs(page.evaluate(PLACE, seen) - place) < 40  # px
        # No room for all: the end was let go, and is there again when it is asked for.
        assert shown[-1] < LINES - 1
        page.get_by_role("button", name="Show later").click()
        shown = settled(page, last=LINES - 1)
        page.get_by_label("Find in the log").fill(f"line {shown[0] + 5:06d}")
        expect(page.get_by_text("1 of 1")).to_be_visible()
        page.get_by_role("button", name="Show earlier").click()
        settled(page, less_than=shown[0])
        page.get_by_role("button", name="To the end").click()
        assert settled(page, last=LINES - 1)[0] > LINES - PART_BYTES / 50
        with page.expect_download() as download:
            page.get_by_role("link", name="Download").click()
        text = download.value.path().read_text()
        assert text.splitlines()[0] == LINE % 0
        assert len(text.splitlines()) == LINES
    parts = [parse_qs(urlsplit(url).query) for url in asked if "/log?" in url]
    assert len(parts) > 6
    for part in parts:
        start, end = int(part.get("after", ["0"])[0]), int(part.get("before", ["0"])[0])
        assert int(part["last"][0] if "last" in part else end - start) <= PART_BYTES


def test_a_log_goes_on_at_its_byte(browser: Browser, relayed: Cluster, tmp_path: Path) -> None:
    """Who comes back to a tab reads on behind what is there; nothing is read or shown twice."""
    more = tmp_path / "more"
    command = f"echo begun; until [ -e {more} ]; do sleep 0.05; done; printf 'ünd'; sleep 600"
    job = relayed.client().submit(command, memory=32)
    until(lambda: relayed.client().info(job.id)["state"] == "running")
    with looking(browser, link(relayed)) as page:
        show(page, f"#/jobs/{job.id}/log")
        text = page.locator(".log-text")
        expect(text).to_have_text("begun\n")
        with page.expect_event("requestfailed", lambda request: "/log?" in request.url):
            page.evaluate(HIDE)
        more.touch()
        with page.expect_request(re.compile(r"/log\?.*after=6&")):
            page.evaluate(HIDE.replace("true", "false"))
        # A line without its end is shown as well, such as a bar of progress.
        expect(text).to_have_text("begun\nünd")
    relayed.client().cancel(job.id)


def test_what_went_to_stderr_alone_is_found(browser: Browser, relayed: Cluster) -> None:
    """Where a job has failed its reason often stands there, and stdout is what is shown first."""
    client = relayed.client()
    failing = client.submit("echo bad >&2; exit 1", memory=32)
    silent = client.submit("exit 1", memory=32)
    for job in (failing, silent):
        job.wait(60)
    with looking(browser, link(relayed)) as page:
        show(page, f"#/jobs/{failing.id}")
        page.get_by_role("button", name="See stderr").click()
        expect(page.locator(".log-text")).to_have_text("bad\n")
        show(page, f"#/jobs/{silent.id}")
        expect(page.get_by_text("Nothing was written to stdout")).to_be_visible()
        expect(page.get_by_role("button", name="See stderr")).to_have_count(0)
