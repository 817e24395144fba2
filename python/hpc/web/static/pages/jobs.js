// Jobs: the newest first, by state, namespace, name and time; the filters stand in the URL.

import * as api from "../api.js";
import { count, compact, safe, tasksIn } from "../format.js";
import { html, useCallback, useMemo, useRef, useState } from "../html.js";
import { JobList } from "../joblist.js";
import { pokes, useFeed, useLoad } from "../live.js";
import { finishedAt, nodesOf, remark, startedAt } from "../outcome.js";
import { go, href, jobHref, setQuery } from "../router.js";
import { mayAskOfJobs, session } from "../session.js";
import { Shape, State, STATES } from "../states.js";
import { useStore } from "../store.js";
import { LongTable } from "../table.js";
import { Ago, Command, Empty, Fault, Loading, Since } from "../ui.js";

const STILL_AT_TOP_PX = 36;
const NO_FILTER = { state: "", ns: "", name: "", since: "", until: "" };

export function Jobs({ query }) {
  const filter = Object.fromEntries(Object.keys(NO_FILTER).map((name) => [name, query.get(name) || ""]));
  const who = useStore(session);
  useFeed(pokes, []);
  const totals = useLoad(loadTotals, [], { gap_ms: 2_000 });
  return html`<div class="page fill">
    <div class="page-head">
      <h1>Jobs</h1>
      ${mayAskOfJobs(who) && html`<a class="button" href=${href("submit", [], { ns: filter.ns })}>Submit a job</a>`}
      <${Filters} filter=${filter} totals=${totals.data} />
    </div>
    <${List} key=${JSON.stringify(filter)} filter=${filter} totals=${totals.data} />
  </div>`;
}

async function loadTotals(signal) {
  const [health, spaces] = await Promise.all([
    api.get("healthz", { full: true }, signal),
    api.get("namespaces", {}, signal),
  ]);
  const runs = spaces.data.filter((space) => space.spec.handler_type);
  return { jobs: health.totals.jobs, namespaces: runs.map((space) => space.ns_id) };
}

function List({ filter, totals }) {
  const list = useMemo(() => new JobList(filter), []);
  const [, redraw] = useState(0);
  const [moreError, setMoreError] = useState(null);
  const sight = useRef({ rows: [], top: 0 });
  const busy = useRef(false);
  const load = async (signal) => {
    const still = sight.current.top < STILL_AT_TOP_PX && list.pages <= 1;
    await (still ? list.first(signal) : list.refresh(sight.current.rows, signal));
    return list;
  };
  const { data, error, reload } = useLoad(load, [], { gap_ms: 2_000 });
  const more = useCallback(async () => {
    if (busy.current || !list.next) return;
    busy.current = true;
    try {
      await list.more();
      setMoreError(null);
    } catch (failed) {
      setMoreError(failed);
    }
    busy.current = false;
    redraw((n) => n + 1);
  }, []);
  const toTop = () => {
    list.pages = 0;
    sight.current.top = 0;
    document.querySelector(".long")?.scrollTo({ top: 0 });
    reload();
  };
  if (!data) return error ? html`<${Fault} error=${error} />` : html`<${Loading} />`;
  if (list.rows.length === 0 && list.complete) return html`<${Nothing} filter=${filter} />`;
  const total = totalOf(list, filter, totals);
  return html`<${Fault} error=${error || moreError} />
    <p class="list-note">
      <span aria-live="polite">${total < 0 ? `${count(list.rows.length)} found so far` : `${count(total)} ${total === 1 ? "job" : "jobs"}`}</span>
      ${list.rows.length === 0 && html`<button type="button" onClick=${more}>Look further</button>`}
      ${list.newer && html`<button type="button" class="small" onClick=${toTop}>Newer jobs: show them</button>`}
    </p>
    <${LongTable}
      label="Jobs"
      columns=${COLUMNS}
      rows=${list.rows}
      rowKey=${(row) => row.job_id}
      total=${total}
      onOpen=${(row) => go(jobHref(row.job_id))}
      onEnd=${more}
      onView=${(rows, top) => (sight.current = { rows, top })}
    />`;
}

// How many there are: the Hub counts by state only, so under other filters it is known at the end.
function totalOf(list, filter, totals) {
  if (list.complete) return list.rows.length;
  if (!totals || filter.ns || filter.name || filter.since || filter.until) return -1;
  const counts = filter.state ? [totals.jobs[filter.state] || 0] : Object.values(totals.jobs);
  return Math.max(list.rows.length, counts.reduce((a, b) => a + b, 0));
}

function Filters({ filter, totals }) {
  const all = totals ? Object.values(totals.jobs).reduce((a, b) => a + b, 0) : null;
  const name = useRef(null);
  const named = (event) => {
    event.preventDefault();
    setQuery({ name: name.current.value.trim() });
  };
  return html`<div class="filters">
    <div class="chips" role="group" aria-label="State">
      <${Chip} on=${!filter.state} text="All" n=${all} onClick=${() => setQuery({ state: "" })} />
      ${STATES.map((state) => html`<${Chip} key=${state} state=${state} text=${state} n=${totals?.jobs[state]} on=${filter.state === state} onClick=${() => setQuery({ state })} />`)}
    </div>
    <label class="inline">Namespace
      <select value=${filter.ns} onChange=${(event) => setQuery({ ns: event.target.value })}>
        <option value="">all</option>
        ${(totals?.namespaces || [filter.ns].filter(Boolean)).map((ns) => html`<option key=${ns} value=${ns}>${safe(ns)}</option>`)}
      </select>
    </label>
    <form class="inline" onSubmit=${named}>
      <label class="inline">Name
        <input ref=${name} type="search" data-search value=${filter.name} placeholder="exactly" autocomplete="off" spellcheck=${false} onSearch=${named} onBlur=${named} />
      </label>
    </form>
    <${Submitted} filter=${filter} />
  </div>`;
}

const PERIODS = { "": "any time", "1h": "last hour", "24h": "last 24 hours", "7d": "last 7 days", span: "between …" };

// A period that ends now, or two times; `span` is one of which nothing is said yet.
function Submitted({ filter: { since, until } }) {
  const period = until || !(since in PERIODS) ? "span" : since;
  const choose = (event) => setQuery({ since: event.target.value, until: "" });
  const at = (name, value) => html`<input type="datetime-local" aria-label=${`Submitted ${name}`} value=${value} onChange=${(event) => setQuery({ [name]: event.target.value })} />`;
  return html`<label class="inline">Submitted
      <select value=${period} onChange=${choose}>${Object.entries(PERIODS).map(([value, text]) => html`<option key=${value} value=${value}>${text}</option>`)}</select>
    </label>
    ${period === "span" && html`<span class="inline span">${at("since", since in PERIODS ? "" : since)} and ${at("until", until)}</span>`}`;
}

const Chip = ({ state, text, n, on, onClick }) =>
  html`<button type="button" class=${`chip ${state ? `is-${state}` : ""}`} aria-pressed=${on ? "true" : "false"} onClick=${onClick}>${state && html`<${Shape} state=${state} />`}${text}${n !== undefined && n !== null && html` <span class="num">${compact(n)}</span>`}</button>`;

function Nothing({ filter }) {
  if (!Object.values(filter).some(Boolean)) {
    return html`<${Empty} title="No jobs yet"><p>Run one:</p><p><${Command}>hpc run -- echo hi<//></p><//>`;
  }
  const clear = () => setQuery(NO_FILTER);
  return html`<${Empty} title="No job matches"><p><button type="button" onClick=${clear}>Clear the filters</button></p><//>`;
}

const COLUMNS = [
  {
    key: "name",
    head: "Job",
    className: "grow",
    cell: (job) => html`<a class="name" href=${jobHref(job.job_id)}>${job.name ? safe(job.name) : html`<span class="id">${job.job_id}</span>`}</a>${job.name && html`<span class="id minor">${job.job_id}</span>`}`,
  },
  { key: "state", head: "State", className: "w-state", cell: (job) => html`<${State} state=${job.state} />` },
  { key: "tasks", head: "Tasks", className: "w-tasks minor", cell: (job) => html`<${Progress} job=${job} />` },
  { key: "ns", head: "Namespace", className: "w-ns minor", cell: (job) => safe(job.ns_id) },
  { key: "node", head: "Node", className: "w-node minor", cell: nodeCell },
  { key: "submitted", head: "Submitted", className: "w-time", num: true, cell: (job) => html`<${Ago} at=${job.submitted_at} />` },
  { key: "ran", head: "Ran", className: "w-time minor", num: true, cell: ranCell },
  { key: "remark", head: "Remark", className: "grow minor", cell: (job) => html`<span class="muted" title=${safe(remark(job))}>${safe(remark(job))}</span>` },
];

function nodeCell(job) {
  const nodes = nodesOf(job);
  return nodes.length > 1 ? `${nodes.length} nodes` : safe(nodes[0] || "–");
}

function ranCell(job) {
  const from = startedAt(job);
  return from === null ? "–" : html`<${Since} from=${from} to=${finishedAt(job) ?? (job.counts.running > 0 ? undefined : from)} />`;
}

export function Progress({ job }) {
  const all = tasksIn(job.tasks);
  const { counts } = job;
  const done = counts.succeeded + counts.failed + counts.cancelled;
  if (all <= 1) return html`<span class="muted">1</span>`;
  const parts = STATES.filter((state) => counts[state] > 0);
  return html`<span class="progress">
    <span class="stack" role="img" aria-label=${parts.map((state) => `${counts[state]} ${state}`).join(", ")}>
      ${parts.map((state) => html`<span key=${state} class=${`is-${state}`} style=${{ flexGrow: counts[state] }}></span>`)}
    </span>
    <span class="num">${compact(done)}/${compact(all)}</span>
  </span>`;
}
