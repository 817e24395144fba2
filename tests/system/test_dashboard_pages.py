"""The dashboard in a real browser: what people see of a real Hub, and what they can do to it."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from browsing import AXE, HIDE, check_axe, chromium, link, looking, show
from commands import succeed as hpc
from playwright.sync_api import Browser, Route, expect

from hpc.client import Job
from hpc.testing.processes import Cluster, until

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"
AWAY_MS = 3_000
"""Some 10 ms on a quiet machine (`bench_dashboard`)."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Cluster]:
    """A Hub to which nobody has come yet."""
    with Cluster(tmp_path_factory.mktemp("empty")) as running:
        yield running


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Cluster]:
    """A Hub with two relays, a monitor, and jobs of nearly all states; `jobs` has them by name."""
    with Cluster(tmp_path_factory.mktemp("busy"), lease_s=30.0) as running:
        running.relay("n1")
        running.relay("n2")
        running.start("monitor", "--node-id", "n1", "--interval", "1")
        jobs.update(begin(running))
        yield running


jobs: dict[str, Job] = {}


def begin(cluster: Cluster) -> dict[str, Job]:
    client = cluster.client()
    failing = (
        "printf 'one\\033[31mred\\033[0m \\007\\nfine\\n'; echo 'Error: nan'; echo bad >&2; exit 7"
    )
    started = {
        "hostile": client.submit(f"echo '{HOSTILE}'", name=HOSTILE, memory=32),
        "failing": client.submit(failing, name="train", memory=32),
        "sweep": client.submit("exit $((HPC_TASK_ID % 5 == 3))", tasks="0-39", memory=32),
        "too big": client.submit("true", cpu=64, memory=32),
        "held": client.submit("true", name="held", hold=True, memory=32),
    }
    started["after"] = client.submit("true", after=[started["held"]], memory=32)
    for name in ("hostile", "failing", "sweep"):
        started[name].wait(60)
    started["running"] = client.submit("echo begun; sleep 600", name="steady", memory=32)
    until(lambda: client.info(started["running"].id)["state"] == "running")
    return started


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_keeps_anybody_out(
    browser: Browser, busy: Cluster, empty: Cluster, theme: Any
) -> None:
    """Names, roles, contrast, focus, by the rules of axe, with much to show and with nothing."""
    plain = [
        "#/",
        "#/jobs?since=span",
        "#/nodes",
        "#/events",
        "#/conflicts",
        "#/namespaces",
        "#/submit",
    ]
    of_jobs = [f"#/jobs/{jobs['sweep'].id}{tab}" for tab in ("", "/log", "/tasks", "/events")]
    more = [*of_jobs, f"#/jobs/{jobs['too big'].id}", "#/nodes/n1"]
    for cluster, shown in ((busy, plain + more), (empty, plain)):
        with looking(browser, link(cluster), color_scheme=theme) as page:
            page.evaluate(AXE)
            for place in shown:
                show(page, place)
                check_axe(page, place, theme)
    bare = link(busy).partition("#")[0]
    with looking(browser, bare, network_may_fail=True, color_scheme=theme) as page:
        page.evaluate(AXE)
        page.get_by_label("Code or token").wait_for()
        check_axe(page, "login", theme)


def test_an_empty_hub_says_what_to_do(browser: Browser, empty: Cluster) -> None:
    """Whoever comes first has a command to copy, on each page."""
    with looking(browser, link(empty)) as page:
        expect(page.get_by_text("hpc run -- echo hi")).to_be_visible()
        show(page, "#/nodes")
        expect(page.get_by_text("hpc relay --ns batch")).to_be_visible()
        show(page, "#/conflicts")
        expect(page.get_by_text("None. (Good.)")).to_be_visible()


def test_a_code_logs_in_once_and_leaves_the_address(browser: Browser, empty: Cluster) -> None:
    """A link in somebody's history opens nothing."""
    url = link(empty)
    with looking(browser, url) as page:
        expect(page.get_by_role("heading", name="Overview")).to_be_visible()
        assert "code" not in page.url
    with looking(browser, url, network_may_fail=True) as page:
        expect(page.get_by_role("alert")).to_contain_text("You are not logged in")


def test_what_a_job_says_stays_text(browser: Browser, busy: Cluster) -> None:
    """A name and an output are a stranger's; control characters are shown as pictures."""
    with looking(browser, link(busy)) as page:
        for place in ("#/", "#/jobs"):
            show(page, place)
            expect(page.locator("main").get_by_text(HOSTILE).first).to_be_visible()
        show(page, f"#/jobs/{jobs['hostile'].id}")
        expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
        expect(page.locator(".log-text")).to_have_text(f"{HOSTILE}\n")
        show(page, f"#/jobs/{jobs['failing'].id}/log")
        expect(page.locator(".log-text")).to_have_text("onered ␇\nfine\nError: nan\n")


def test_a_job_is_told_from_submit_to_end(browser: Browser, busy: Cluster) -> None:
    """Its way, how it ended, why another waits, its log with what is sought in it."""
    with looking(browser, link(busy)) as page:
        show(page, f"#/jobs/{jobs['failing'].id}")
        expect(page.locator(".ladder .step")).to_have_count(4)
        expect(page.locator(".ladder .step").last).to_contain_text("failed")
        expect(page.locator(".ended")).to_contain_text("exit code 7")
        show(page, f"#/jobs/{jobs['too big'].id}")
        expect(page.locator(".why")).to_contain_text("needs 64 cpus, the largest relay has 2")
        expect(page.locator(".why-nodes li")).to_have_count(2)
        show(page, f"#/jobs/{jobs['failing'].id}/log")
        page.get_by_label("Find in the log").fill("NAN")
        expect(page.get_by_text("1 of 1")).to_be_visible()
        expect(page.get_by_role("button", name="First error")).to_be_enabled()
        page.get_by_role("button", name="stderr").click()
        expect(page.locator(".log-text")).to_have_text("bad\n")
        with page.expect_download() as download:
            page.get_by_role("link", name="Download").click()
        assert download.value.path().read_text() == "bad\n"


def test_keys_find_open_and_help(browser: Browser, busy: Cluster) -> None:
    """Nobody needs a mouse."""
    with looking(browser, link(busy)) as page:
        show(page, "#/jobs")
        page.locator("tbody tr.opens").first.wait_for()
        # Both in one round of the page's loop: faster than it is drawn.
        page.evaluate(
            "for (const key of 'jj') dispatchEvent(new KeyboardEvent('keydown', { key }))"
        )
        expect(page.locator("tr[aria-current=true]")).to_have_attribute("aria-rowindex", "3")
        page.keyboard.press("Enter")
        page.wait_for_function("() => location.hash.startsWith('#/jobs/')")
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).to_contain_text("the next, the previous row")
        page.keyboard.press("Escape")
        page.keyboard.press("/")
        page.keyboard.type("held")
        page.keyboard.press("Enter")
        page.wait_for_function("() => location.hash === '#/jobs?name=held'")
        expect(page.locator("tbody tr.opens")).to_have_count(1)
        ground = page.locator("html")
        for name, colour in (("light", "rgb(245, 246, 248)"), ("dark", "rgb(14, 18, 24)")):
            page.keyboard.press("t")
            expect(ground).to_have_attribute("data-theme", name)
            expect(ground).to_have_css("background-color", colour)


def test_cancel_hold_and_drain_do_what_they_say(browser: Browser, busy: Cluster) -> None:
    """What cannot be undone is asked twice, and the Hub has it with its reason."""
    client = busy.client()
    job = client.submit("sleep 600", memory=32)
    until(lambda: client.info(job.id)["state"] == "running")
    with looking(browser, link(busy)) as page:
        show(page, f"#/jobs/{job.id}")
        page.get_by_role("button", name="Cancel").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Reason").fill("by mistake")
        dialog.get_by_role("button", name="Cancel").click()
        expect(page.locator(".page-head .state")).to_have_text("cancelled")
        assert client.info(job.id)["settled"][0]["reason"] == "by mistake"
        show(page, f"#/jobs/{jobs['held'].id}")
        page.get_by_role("button", name="Release").click()
        assert jobs["held"].wait(60)["state"] == "succeeded"
        show(page, "#/nodes/n2")
        page.get_by_role("button", name="Drain").click()
        page.get_by_role("dialog").get_by_role("button", name="Drain").click()
        page.get_by_role("button", name="Undrain").wait_for()
        assert {node["node_id"]: node["drained"] for node in client.nodes()}["n2"]
        show(page, "#/")
        page.get_by_text("1 of them drained").wait_for()
        show(page, "#/nodes/n2")
        page.get_by_role("button", name="Undrain").click()
        page.get_by_role("button", name="Drain", exact=True).wait_for()


def test_a_form_submits_a_job_once(browser: Browser, busy: Cluster) -> None:
    """Its fields are those of the namespace; what the Hub refuses is said, and nothing is lost."""
    with looking(browser, link(busy), network_may_fail=True) as page:
        page.get_by_role("link", name="Jobs", exact=True).click()
        page.get_by_role("link", name="Submit a job").click()
        page.get_by_label("command", exact=True).fill("echo from a form; exit 3")
        page.get_by_label("name", exact=True).fill(HOSTILE[:40])
        page.get_by_label("tasks", exact=True).fill("no range")
        page.get_by_role("button", name="Submit", exact=True).click()
        expect(page.get_by_role("alert")).to_contain_text("It was not submitted")
        page.get_by_label("tasks", exact=True).fill("0-1")
        page.get_by_text("More", exact=True).click()
        page.get_by_label("env", exact=True).fill("no map")
        page.get_by_role("button", name="Submit", exact=True).click()
        expect(page.get_by_role("alert")).to_contain_text("env must be Map as JSON")
        page.get_by_label("env", exact=True).fill('{"A": "b"}')
        page.get_by_role("button", name="Submit", exact=True).click()
        page.get_by_role("tab", name="Log").or_(
            page.get_by_role("link", name="Log")
        ).first.wait_for()
        (job,) = [one for one in busy.client().jobs() if one["name"] == HOSTILE[:40]]
        assert (job["tasks"], job["spec"]["env"]) == ("0-1", {"A": "b"})
        assert Job(busy.client(), job["job_id"]).wait(60)["state"] == "failed"


def test_who_may_only_read_sees_no_actions(browser: Browser, busy: Cluster) -> None:
    """A button that is refused tells nobody anything."""
    token = hpc(busy, "token", "create", "--role", "read").stdout.strip()
    with looking(browser, link(busy).partition("#")[0], network_may_fail=True) as page:
        page.get_by_label("Code or token").fill(token)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading", name="Overview")).to_be_visible()
        for place in (f"#/jobs/{jobs['running'].id}", "#/nodes/n1"):
            show(page, place)
            expect(page.locator("main .panel").first).to_be_visible()
            expect(page.locator(".actions")).to_have_count(0)


def test_a_hub_that_comes_back_is_rejoined_with_nothing_missing(
    browser: Browser, cluster: Cluster
) -> None:
    """A banner within 3 s; then the page goes on where it was, though its session has ended."""
    client = cluster.client()
    client.submit("true", key="before")
    with looking(browser, link(cluster), network_may_fail=True) as page:
        show(page, "#/events")
        expect(page.get_by_text("before", exact=True)).to_be_visible()
        assert cluster.hub is not None
        cluster.hub.kill()
        banner = page.get_by_text("The Hub does not answer.")
        banner.wait_for(timeout=AWAY_MS)
        cluster.start_hub()
        for n in range(5):
            client.submit("true", key=f"after-{n}")
        expect(banner).to_have_count(0)
        dialog = page.get_by_role("dialog", name="Log in again")
        dialog.get_by_label("Code or token").fill(cluster.http().access.token)
        dialog.get_by_role("button", name="Log in").click()
        expect(page.get_by_text("after-4", exact=True)).to_be_visible()
        told = page.locator(".list-note span").first.inner_text().replace(",", "")
        count, first, last = map(int, re.findall(r"\d+", told))
        assert (count, last) == (last - first + 1, client.figures()["cursor"])


def test_a_tab_that_nobody_sees_asks_for_nothing(browser: Browser, empty: Cluster) -> None:
    """Dozens of forgotten tabs must cost the Hub nothing; who comes back sees what is new."""
    asked: list[str] = []
    with looking(browser, link(empty)) as page:
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        page.on("request", lambda request: asked.append(request.url))
        with page.expect_event("requestfailed", lambda request: "/pokes" in request.url):
            page.evaluate(HIDE)
        asked.clear()
        job = empty.client().submit("true", name="unseen", hold=True)
        until(lambda: empty.client().info(job.id)["state"] == "held")
        assert asked == []
        with page.expect_request("**/pokes"):
            page.evaluate(HIDE.replace("true", "false"))
        expect(page.get_by_role("link", name="unseen")).to_be_visible()
        empty.client().cancel(job.id)


def test_without_a_stream_it_asks_now_and_then(browser: Browser, empty: Cluster) -> None:
    """Some proxies let no stream through; then news come within seconds all the same."""
    with looking(browser, link(empty).partition("#")[0], network_may_fail=True) as page:
        page.route(re.compile("/pokes"), lambda route: route.abort())
        page.goto(link(empty))
        expect(page.get_by_text("Every 5 s")).to_be_visible()
        empty.client().control(SPACE)
        show(page, "#/namespaces")
        expect(page.get_by_role("heading", name="late")).to_be_visible()


SPACE = {
    "type": "RegisterNamespace",
    "ns_id": "late",
    "spec": {"revision": 1, "handler_type": None, "schema": {"Said": []}},
}


def test_a_log_that_breaks_off_is_read_again(browser: Browser, busy: Cluster) -> None:
    """Proxies end what is silent for a minute; who follows a quiet job must not have to notice."""
    with looking(browser, link(busy), network_may_fail=True) as page:
        page.route(re.compile("/log"), lambda route: route.abort(), times=1)
        show(page, f"#/jobs/{jobs['running'].id}/log")
        expect(page.locator(".log-text")).to_have_text("begun\n")
        expect(page.locator(".log-note")).to_have_count(0)


def test_a_request_that_got_no_answer_is_asked_again(browser: Browser, empty: Cluster) -> None:
    """On a quiet Hub there may be no news for hours that would have it asked."""
    with looking(browser, link(empty), network_may_fail=True) as page:
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        page.route(re.compile("/conflicts"), lambda route: route.abort(), times=1)
        show(page, "#/conflicts")
        expect(page.get_by_text("None. (Good.)")).to_be_visible()


def test_a_restored_log_is_read_anew(browser: Browser, empty: Cluster) -> None:
    """Its events are others than those shown, and a cursor behind its end would tell of none."""

    def restored(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, headers={**answer.headers, "hpc-lineage": "other"})

    with looking(browser, link(empty), network_may_fail=True) as page:
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        page.evaluate("globalThis.isOld = true")
        page.route(re.compile("/namespaces"), restored, times=1)
        page.evaluate("location.hash = '#/namespaces'")
        page.wait_for_function("() => globalThis.isOld === undefined")
        expect(page.get_by_role("heading", name="Namespaces")).to_be_visible()


def test_what_ended_while_nobody_looked_is_not_told_to_the_present(
    browser: Browser, empty: Cluster
) -> None:
    """An hour of work in one bar of 15 s would be a rate that never was."""
    with looking(browser, link(empty)) as page:
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        assert page.evaluate(HIGHEST, 1_000) >= 4_000
        assert page.evaluate(HIGHEST, 3_600_000) < 4_000


def test_a_node_that_is_full_is_not_in_trouble(browser: Browser, busy: Cluster) -> None:
    """Work is what it is for; red is kept for what is over, or comes near a limit."""
    client = busy.client()
    job = client.submit("sleep 600", cpu=2, memory=32)
    until(lambda: client.info(job.id)["state"] == "running")
    with looking(browser, link(busy)) as page:
        for place, name in (("#/", "Cores in use: 100 %"), ("#/nodes", "Cores leased: 100 %")):
            show(page, place)
            meter = page.get_by_role("img", name=name)
            expect(meter).to_have_count(1)
            expect(meter).not_to_have_class(re.compile("over|high"))
    client.cancel(job.id)


def test_a_rate_is_of_the_time_that_has_passed(browser: Browser, empty: Cluster) -> None:
    """Of the last bar 2 of its 15 s have: a mean over the whole of it would be too low."""
    with looking(browser, link(empty)) as page:
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        passed_ms = 39 * 15_000 + 2_000
        assert page.evaluate(MEAN) == {"rate": 1000 * 60_000 / passed_ms, "ms": passed_ms}


MEAN = """async () => {
  const history = await import(new URL("static/history.js?mean", document.baseURI).href);
  const now = 15_000 * 118_000_000 + 2_000;
  const look = async (succeeded, at) => {
    await history.begin(0, undefined, at);
    history.takeTotals({ succeeded, failed: 0, cancelled: 0 }, at);
  };
  await look(0, now - 30_000);
  await look(1000, now);
  return history.mean(now);
}"""

HIGHEST = """async (ms) => {
  const url = new URL(`static/history.js?${ms}`, document.baseURI); // one of its own
  const history = await import(url.href);
  const now = Date.now();
  const look = async (succeeded, at) => {
    await history.begin(0, undefined, at);
    history.takeTotals({ succeeded, failed: 0, cancelled: 0 }, at);
  };
  await look(0, now - ms);
  await look(1000, now);
  return Math.max(...history.throughput(now).values);
}"""


def test_tasks_of_a_state_are_those_of_no_other(browser: Browser, busy: Cluster) -> None:
    """Somebody who has scrolled far and then asks for three tasks must not be shown hundreds."""
    client = busy.client()
    job = client.submit("true", tasks="0-449", cpu=64, memory=32)
    client.cancel(job.id, tasks="7,300")
    with looking(browser, link(busy)) as page:
        show(page, f"#/jobs/{job.id}/tasks")
        rows = page.locator("tbody tr[aria-rowindex]")
        rows.first.wait_for()
        page.evaluate("document.querySelector('.long').scrollTop = 1e9")
        page.wait_for_function("() => document.querySelector('.long').scrollHeight > 250 * 36")
        page.get_by_role("button", name="cancelled 2").click()
        expect(rows).to_have_count(2)
        expect(rows.locator("th")).to_have_text(["7", "300"])
    client.cancel(job.id)


def test_of_a_long_history_the_first_and_the_newest_are_shown(
    browser: Browser, busy: Cluster
) -> None:
    """How a job began says when it was leased; what happened last is why somebody looks."""
    client = busy.client()
    job = client.submit("true", hold=True, memory=32)
    of_job = {"ctx": {"ns_id": "batch", "job_id": job.id}, "spec": {}}
    events = [{"kind": "HoldJob", "payload": of_job}] * 2_100
    with closing(busy.http()) as http_client:
        body = json.dumps({"id": f"long-{job.id}", "events": events}).encode()
        assert http_client.request("POST", "/ingest", body).status == 200
    with looking(browser, link(busy)) as page:
        show(page, f"#/jobs/{job.id}/events")
        table = page.get_by_role("table", name="Events of this job")
        expect(table).to_have_attribute("aria-rowcount", "2001")
        expect(table.locator("tr[aria-rowindex='2']")).to_contain_text("SubmitJob")
        expect(page.get_by_text("the first 300 events and the newest 1,700")).to_be_visible()
    client.cancel(job.id)


def test_it_works_below_a_prefix(browser: Browser, busy: Cluster) -> None:
    """As behind jupyter-server-proxy: every URL is relative, and streams pass."""
    with prefixed(busy) as base, looking(browser, link(busy, base)) as page:
        expect(page.get_by_role("heading", name="Overview")).to_be_visible()
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        for place in ("#/jobs", "#/nodes", "#/events", f"#/jobs/{jobs['running'].id}"):
            show(page, place)
        expect(page.locator(".log-text")).to_have_text("begun\n")


@contextmanager
def prefixed(cluster: Cluster) -> Iterator[str]:
    """A proxy that has the Hub below /proxy/x, and nothing else."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            assert self.path.startswith("/proxy/x/")
            hub = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=60)
            with closing(hub), suppress(OSError):
                hub.request(
                    self.command, self.path.removeprefix("/proxy/x"), body, dict(self.headers)
                )
                answer = hub.getresponse()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in {"connection", "transfer-encoding", "date", "server"}:
                        self.send_header(name, value)
                self.end_headers()
                while piece := answer.read1():
                    self.wfile.write(piece)

        do_POST = do_GET  # noqa: N815 - so the base class calls it

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/proxy/x"
    finally:
        server.shutdown()
        server.server_close()
