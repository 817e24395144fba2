"""The list of jobs in a real browser: of very many, as they come, by when they were submitted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from browsing import chromium, link, looking, show
from playwright.sync_api import expect

from hpc.testing.processes import Cluster

MANY = 100_000
A_BATCH = 10_000
ROWS_MAX = 300


def test_many_jobs_cost_what_a_screen_of_them_does(tmp_path: Path) -> None:
    """Of 100,000 the newest are there at once, few rows are drawn, never are all asked for."""
    with chromium() as browser, Cluster(tmp_path) as many:
        submit_many(many)
        asked: list[str] = []
        with looking(browser, link(many)) as page:
            page.on("request", lambda request: asked.append(request.url))
            show(page, "#/jobs")
            table = page.get_by_role("table", name="Jobs")
            expect(table).to_have_attribute("aria-rowcount", str(MANY + 1))
            table.get_by_text(f"m{MANY - 1}", exact=True).wait_for()
            for _ in range(5):
                before = page.evaluate("document.querySelector('.long').scrollHeight")
                page.evaluate("document.querySelector('.long').scrollTop = 1e9")
                page.wait_for_function(
                    "was => document.querySelector('.long').scrollHeight > was", arg=before
                )
                assert page.locator("tr").count() < ROWS_MAX
            assert int(page.locator("tr[aria-rowindex]").last.get_attribute("aria-rowindex")) > 800
            first_ms = page.evaluate("performance.getEntriesByType('paint')[0].startTime")
            asked_by_hand = list(asked)
            # Whoever scrolls on while new jobs come must not be shown a list with a hole.
            for order in ("more first", "first more"):
                ids = page.evaluate(MORE_BESIDE_FIRST, order)
                numbers = [int(job_id[1:]) for job_id in ids]
                assert numbers == list(range(numbers[0], numbers[0] - len(numbers), -1))
                assert len(numbers) in {200, 400}
            # Of what is in sight it shows what became of it.
            assert page.evaluate(LOOKED_AT_AGAIN) == ["queued", "cancelled", "queued"]
            page.get_by_label("Submitted").select_option("last hour")
            expect(table).to_have_attribute("aria-rowcount", "-1")
            page.get_by_label("Submitted").select_option("between …")
            page.get_by_label("Submitted until").fill("2001-01-01T00:00")
            expect(page.get_by_text("No job matches")).to_be_visible()
            page.get_by_role("button", name="Clear the filters").click()
            expect(page.get_by_label("Submitted", exact=False)).to_have_value("")
            table.get_by_text(f"m{MANY - 1}", exact=True).wait_for()
        pages = [url for url in asked_by_hand if "order=desc" in url]
        limits = [int(re.findall(r"limit=(\d+)", url)[0]) for url in pages]
        assert max(limits) <= 200
        assert sum(limits) < MANY / 10
        assert first_ms < 2_000  # some 100 ms on a quiet machine


LOOKED_AT_AGAIN = """async () => {
  const load = (name) => import(new URL(`static/${name}`, document.baseURI).href);
  const [{ JobList }, api] = await Promise.all([load("joblist.js"), load("api.js")]);
  const list = new JobList({});
  await list.first();
  const seen = list.rows.slice(0, 3);
  const ctx = { ns_id: "batch", job_id: seen[1].job_id };
  await api.ingest([{ kind: "CancelJob", payload: { ctx, spec: {} } }]);
  await list.refresh(seen);
  return list.rows.slice(0, 3).map((row) => row.state);
}"""

MORE_BESIDE_FIRST = """async (order) => {
  const load = (name) => import(new URL(`static/${name}`, document.baseURI).href);
  const [{ JobList }, api] = await Promise.all([load("joblist.js"), load("api.js")]);
  const list = new JobList({ ns: "batch" }); // as nothing else here asks
  await list.first();
  const top = Number(list.rows[0].job_id.slice(1));
  const spec = { command: "true", cpu: 1, memory: 64 };
  const payload = (n) => ({ ctx: { ns_id: "batch", job_id: `m${top + n}` }, spec });
  await api.ingest([1, 2, 3].map((n) => ({ kind: "SubmitJob", payload: payload(n) })));
  // Both ask before either is answered; the last of `order` gets its answer last.
  const real = globalThis.fetch;
  const gates = order.split(" ").map(() => Promise.withResolvers());
  let asked = 0;
  globalThis.fetch = async (...about) => {
    const gate = String(about[0]).includes("ns=batch") ? gates[asked++] : null;
    const response = await real(...about);
    await gate?.promise;
    return response;
  };
  const both = order.split(" ").map((name) => list[name]());
  for (const [n, gate] of gates.entries()) {
    gate.resolve();
    await both[n];
  }
  globalThis.fetch = real;
  return list.rows.map((row) => row.job_id);
}"""


def submit_many(cluster: Cluster) -> None:
    """Jobs that wait, since there is no relay, in batches."""
    spec = {"command": "true", "cpu": 1, "memory": 64}
    with closing(cluster.http()) as http_client:
        for numbers in slices():
            events = [
                {
                    "kind": "SubmitJob",
                    "payload": {"ctx": {"ns_id": "batch", "job_id": f"m{n}"}, "spec": spec},
                }
                for n in numbers
            ]
            body = json.dumps({"id": f"many-{numbers[0]}", "events": events}).encode()
            assert http_client.request("POST", "/ingest", body).status == 200


def slices() -> Iterator[range]:
    return (range(first, first + A_BATCH) for first in range(0, MANY, A_BATCH))
