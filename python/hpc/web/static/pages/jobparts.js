// The parts of a job's page: its way, its tasks, its attempts, what it asked for and took.

import * as api from "../api.js";
import { bytes, compact, duration, mib, plural, safe, tasksIn } from "../format.js";
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { useLoad } from "../live.js";
import { ending, finishedAt, isSettled, nodesOf, startedAt, used } from "../outcome.js";
import { href, jobHref, nodeHref, setQuery } from "../router.js";
import { Shape, State, STATES } from "../states.js";
import { clock, useStore } from "../store.js";
import { LongTable, Table } from "../table.js";
import { At, Empty, Fault, Loading, Meter, Panel, Since } from "../ui.js";

// Submitted, leased, started, ended: the first time of each, and what lay between.
export function Ladder({ job, events }) {
  const now = useStore(clock);
  const leased = events.find((event) => event.kind === "JobClaimed")?.at ?? null;
  const started = startedAt(job);
  const settling = [...events].reverse().find((event) => event.settles)?.at ?? null;
  const ended = finishedAt(job) ?? (isSettled(job) ? settling : null);
  const steps = [
    { name: "Submitted", at: job.submitted_at, sign: "succeeded" },
    { name: "Leased", at: leased ?? started, sign: "leased", place: nodesOf(job) },
    { name: "Started", at: started, sign: "running" },
    { name: isSettled(job) ? job.state : "Ended", at: ended, sign: isSettled(job) ? job.state : "other" },
  ];
  return html`<ol class="ladder" aria-label="The job's way">
    ${steps.map((step, n) => {
      const before = steps.slice(0, n).findLast((one) => one.at !== null);
      const going = step.at === null && !isSettled(job) && steps[n - 1]?.at != null;
      return html`<li key=${step.name} class=${`step ${step.at === null ? (going ? "next" : "not") : `is-${n === 3 ? job.state : "done"}`}`}>
        <span class="step-sign"><${Shape} state=${step.at === null ? "other" : step.sign} /></span>
        <span class="step-name">${step.name}</span>
        <span class="step-at num">${step.at === null ? (going ? html`after <${Since} from=${steps[n - 1].at} to=${now} /> …` : "–") : html`<${At} at=${step.at} millis=${true} />`}</span>
        <span class="step-took muted num">${n > 0 && step.at !== null && before ? `+${duration(step.at - before.at)}` : ""}${step.place?.length === 1 && step.at !== null ? html` on <a href=${nodeHref(step.place[0])}>${safe(step.place[0])}</a>` : ""}</span>
      </li>`;
    })}
  </ol>`;
}

export function Tally({ job }) {
  const parts = STATES.filter((state) => job.counts[state] > 0);
  return html`<div class="tally">
    <span class="stack big" role="img" aria-label=${parts.map((state) => `${job.counts[state]} ${state}`).join(", ")}>
      ${parts.map((state) => html`<span key=${state} class=${`is-${state}`} style=${{ flexGrow: job.counts[state] }}></span>`)}
    </span>
    <ul>
      ${parts.map((state) => html`<li key=${state}><a href=${jobHref(job.job_id, "tasks", { state })}><${State} state=${state} text=${`${compact(job.counts[state])} ${state}`} /></a></li>`)}
      <li class="muted">${plural(tasksIn(job.tasks), "task")} in all</li>
    </ul>
  </div>`;
}

export function Resources({ job }) {
  const now = useStore(clock);
  const { peak, cpu_s, wall_ms, longest_ms } = used(job, now);
  const asked = job.resources;
  const memory = (asked.memory_mib ?? 0) * 1024 * 1024;
  const cores = wall_ms > 0 ? (1000 * cpu_s) / wall_ms : null;
  const limit_ms = (job.spec.time_limit || 0) * 1000;
  const others = Object.entries(asked).filter(([name]) => name !== "cpus" && name !== "memory_mib");
  return html`<${Panel} title="Resources" aside="of each task">
    <table class="resources">
      <thead><tr><th scope="col">what</th><th scope="col" class="num">asked</th><th scope="col">used at most</th></tr></thead>
      <tbody>
        <tr><th scope="row">Cores</th><td class="num">${asked.cpus ?? "–"}</td><td>${cores === null ? html`<span class="muted">not known yet</span>` : html`<${Meter} label="Cores" value=${cores} of=${asked.cpus} text=${`${cores.toFixed(2)} on average`} />`}</td></tr>
        <tr><th scope="row">Memory</th><td class="num">${mib(asked.memory_mib)}</td><td>${peak === null ? html`<span class="muted">not known yet</span>` : html`<${Meter} label="Memory" isLimit value=${peak} of=${memory} text=${bytes(peak)} />`}</td></tr>
        <tr><th scope="row">Time</th><td class="num">${limit_ms ? duration(limit_ms) : "no limit"}</td><td>${startedAt(job) === null ? html`<span class="muted">not known yet</span>` : limit_ms ? html`<${Meter} label="Time" isLimit value=${longest_ms} of=${limit_ms} text=${duration(longest_ms)} />` : html`<span class="num">${duration(longest_ms)}</span>`}</td></tr>
        ${others.map(([name, n]) => html`<tr key=${name}><th scope="row">${safe(name)}</th><td class="num">${n}</td><td></td></tr>`)}
      </tbody>
    </table>
  <//>`;
}

export function Attempts({ job }) {
  const columns = useMemo(
    () => [
      { key: "tasks", head: "Tasks", cell: (one) => html`<a href=${jobHref(job.job_id, "log", { task: String(one.tasks).split(/[-,]/)[0] })}>${one.tasks}</a>` },
      { key: "n", head: "Attempt", num: true, cell: (one) => one.attempt },
      { key: "state", head: "State", cell: (one) => html`<${State} state=${one.state} />` },
      { key: "node", head: "Node", cell: (one) => (one.node_id ? html`<a href=${nodeHref(one.node_id)}>${safe(one.node_id)}</a>` : "–") },
      { key: "started", head: "Started", num: true, className: "minor", cell: (one) => html`<${At} at=${one.started_at} />` },
      { key: "took", head: "Took", num: true, cell: (one) => html`<${Since} from=${one.started_at} to=${one.finished_at ?? undefined} />` },
      { key: "memory", head: "Peak", num: true, className: "minor", cell: (one) => bytes(one.peak_memory_bytes) },
      { key: "how", head: "How it ended", className: "grow minor", cell: (one) => safe(one.state === "succeeded" ? "exit code 0" : (ending(one, job.spec) ?? "")) },
    ],
    [job.job_id],
  );
  return html`<${Panel} title="Attempts" aside=${job.attempts.length > 1 && plural(job.attempts.length, "row")}>
    ${job.attempts.length === 0
      ? html`<p class="muted pad">Nothing was leased yet.</p>`
      : html`<${Table} label="Attempts" columns=${columns} rows=${job.attempts} rowKey=${(one) => `${one.tasks} ${one.attempt} ${one.node_id}`} most=${40} />`}
  <//>`;
}

export const Conflicts = ({ list }) =>
  list.length > 0 &&
  html`<${Panel} title="Conflicts" className="ended bad">
    <ul class="sentence">
      ${list.map((one) => html`<li key=${one.gid + one.table + one.column}><code>${safe(one.gid)} ${safe(one.table)} ${safe(one.column)}</code>: ${one.values.map((value) => safe(JSON.stringify(value))).join(" or ")}</li>`)}
    </ul>
    <p class="note"><a href=${href("conflicts")}>Who said what</a></p>
  <//>`;

const TASK_COLUMNS = (job) => [
  { key: "task", head: "Task", className: "w-count", num: true, cell: (one) => html`<a href=${jobHref(job.job_id, "log", { task: String(one.task) })}>${one.task}</a>` },
  { key: "state", head: "State", className: "w-state", cell: (one) => html`<${State} state=${one.state} />` },
  { key: "attempt", head: "Attempt", num: true, className: "w-time minor", cell: (one) => one.attempt ?? "–" },
  { key: "node", head: "Node", className: "w-node minor", cell: (one) => (one.node_id ? html`<a href=${nodeHref(one.node_id)}>${safe(one.node_id)}</a>` : "–") },
  { key: "started", head: "Started", num: true, className: "w-time minor", cell: (one) => html`<${At} at=${one.started_at} />` },
  { key: "took", head: "Took", num: true, className: "w-time", cell: (one) => duration(one.duration_s === null ? null : one.duration_s * 1000) },
  { key: "memory", head: "Peak", num: true, className: "w-time minor", cell: (one) => bytes(one.peak_memory_bytes) },
  { key: "entry", head: "Entry", className: "grow minor", cell: (one) => (one.entry === null || one.entry === undefined ? "" : safe(typeof one.entry === "string" ? one.entry : JSON.stringify(one.entry))) },
  { key: "how", head: "How it ended", className: "grow", cell: (one) => safe(one.state === "succeeded" || !one.cause ? "" : one.reason || ending(one, job.spec) || "") },
];

const TASKS_PAGE = 200;

const beyond = (page, rows) => rows.filter((one) => one.task > page.at(-1).task);

// The tasks one by one, by number, page by page as somebody scrolls.
export function Tasks({ job, state }) {
  const columns = useMemo(() => TASK_COLUMNS(job), [job.job_id]);
  const [{ rows, next }, set] = useState({ rows: [], next: undefined });
  const busy = useRef(false);
  const path = api.jobPath(job.job_id, "/tasks");
  const { data, error } = useLoad((signal) => api.get(path, { state, limit: TASKS_PAGE }, signal), [path, state], { gap_ms: 2_000 });
  useEffect(() => {
    // Pages that were loaded already stay; only the first is asked for again as there are news.
    if (data) set((old) => (data.next === null ? { rows: data.data, next: null } : { next: old.next ?? data.next, rows: [...data.data, ...beyond(data.data, old.rows)] }));
  }, [data]);
  const more = async () => {
    if (busy.current || next === null || next === undefined) return;
    busy.current = true;
    const page = await api.get(path, { state, limit: TASKS_PAGE, after: next }).catch(() => null);
    if (page) set((old) => ({ rows: [...old.rows, ...page.data], next: page.next }));
    busy.current = false;
  };
  const total = state ? job.counts[state] : tasksIn(job.tasks);
  return html`<div class="filters of-tasks">
      <div class="chips" role="group" aria-label="State">
        <button type="button" class="chip" aria-pressed=${state ? "false" : "true"} onClick=${() => setQuery({ state: "" })}>All <span class="num">${compact(tasksIn(job.tasks))}</span></button>
        ${STATES.filter((one) => job.counts[one] > 0).map((one) => html`<button key=${one} type="button" class=${`chip is-${one}`} aria-pressed=${state === one ? "true" : "false"} onClick=${() => setQuery({ state: one })}><${Shape} state=${one} />${one} <span class="num">${compact(job.counts[one])}</span></button>`)}
      </div>
    </div>
    <${Fault} error=${error} />
    ${!data && !error && html`<${Loading} />`}
    ${data && rows.length === 0 && html`<${Empty} title="No task is in this state" />`}
    ${rows.length > 0 && html`<${LongTable} label="Tasks" columns=${columns} rows=${rows} rowKey=${(one) => one.task} total=${total} onEnd=${more} />`}`;
}
