// One job: where it stands on its way, why it waits or how it ended, what it took, what it wrote.

import { JobActions } from "../actions.js";
import * as api from "../api.js";
import { count, dateTime, duration, jsonText, plural, safe, commandOf } from "../format.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { EventRows } from "../eventrows.js";
import { eventFeed, useFeed, useLoad } from "../live.js";
import { Log } from "../log.js";
import { isSettled, reasons } from "../outcome.js";
import { href, jobHref } from "../router.js";
import { State, WAITS } from "../states.js";
import { Copy, Empty, Fault, Fields, Loading, Panel } from "../ui.js";
import { Attempts, Conflicts, Ladder, Resources, Tally, Tasks } from "./jobparts.js";

const FIRST_EVENTS = 300;
const EVENTS_KEPT = 2_000;

export function Job({ parts: [id, tab = ""], query }) {
  const events = useEvents(id);
  const { data, error, reload } = useLoad((signal) => load(id, signal), [id], { every_ms: 10_000 });
  const conflicts = useLoad((signal) => loadConflicts(id, signal), [id], { gap_ms: 10_000 });
  if (!data) return error ? html`<${Missing} id=${id} error=${error} />` : html`<${Loading} />`;
  const { job } = data;
  const tabs = [
    ["", "Summary"],
    ["log", "Log"],
    ...(data.isArray ? [["tasks", "Tasks"]] : []),
    ["events", "Events"],
  ];
  const Tab = { log: LogTab, tasks: TasksTab, events: EventsTab }[tab] || Summary;
  return html`<div class=${`page ${tab ? "fill" : ""}`}>
    <nav class="crumbs" aria-label="Where this is"><a href=${href("jobs")}>Jobs</a></nav>
    <div class="page-head">
      <h1>${safe(job.name || job.job_id)}</h1>
      <${State} state=${job.state} />
      <${JobActions} job=${job} onDone=${reload} />
    </div>
    <p class="under-head"><span class="id">${job.job_id}</span> <${Copy} text=${job.job_id} label="Copy id" /></p>
    <${Fault} error=${error} />
    <nav class="tabs" aria-label="Of this job">
      ${tabs.map(([name, title]) => html`<a key=${name} href=${jobHref(id, name)} aria-current=${name === tab ? "page" : null}>${title}${name === "events" && html` <span class="num muted">${events.list.length}${events.more ? "+" : ""}</span>`}</a>`)}
    </nav>
    <${Tab} ...${data} conflicts=${conflicts.data || []} events=${events} query=${query} />
  </div>`;
}

async function load(id, signal) {
  const { data: job } = await api.get(api.jobPath(id), {}, signal);
  const why = isSettled(job) ? null : await api.get(api.jobPath(id, "/why"), {}, signal);
  return { job, why: why?.data ?? null, isArray: job.tasks !== "0" };
}

async function loadConflicts(id, signal) {
  const page = await api.get("conflicts", { limit: 1_000 }, signal);
  return page.data.filter((one) => one.key === id);
}

// The job's events, oldest first, and then as they come. Of a long history the first and the newest;
// `more` says that something between them was let go.
function useEvents(id) {
  const [state, set] = useState({ list: [], more: false, cursor: null });
  const first = useRef(null);
  useEffect(() => {
    const ending = new AbortController();
    api
      .get("events", { job: id, cursor: 0, limit: FIRST_EVENTS }, ending.signal)
      .then((page) => set({ list: page.data, more: false, cursor: page.next ?? page.cursor }))
      .catch(() => ending.signal.aborted || set({ list: [], more: false, cursor: 0 }));
    return () => ending.abort();
  }, [id]);
  first.current = state.cursor;
  useFeed(() => {
    if (state.cursor === null) return null;
    return eventFeed({ cursor: first.current, job: id, take: (events) => set((old) => grown(old, events)) });
  }, [id, state.cursor === null]);
  return state;
}

function grown(old, fresh) {
  const list = [...old.list, ...fresh];
  const over = list.length - EVENTS_KEPT;
  return over > 0 ? { ...old, list: [...list.slice(0, FIRST_EVENTS), ...list.slice(FIRST_EVENTS + over)], more: true } : { ...old, list };
}

function Missing({ id, error }) {
  if (error.code === "forgotten") return html`<${Empty} title="This job was forgotten"><p>${safe(error.message)}</p><//>`;
  if (error.status !== 404) return html`<${Fault} error=${error} />`;
  return html`<${Empty} title="This job is not known"><p class="id">${safe(id)}</p><p><a href=${href("jobs")}>All jobs</a></p><//>`;
}

function Summary({ job, why, conflicts, isArray, events }) {
  return html`
    <${Ladder} job=${job} events=${events.list} />
    ${isArray && html`<${Tally} job=${job} />`}
    <div class="columns">
      <div>
        <${Why} job=${job} why=${why} />
        <${Ended} job=${job} />
        <${Conflicts} list=${conflicts} />
        <${Panel} title="Log" aside=${html`<a href=${jobHref(job.job_id, "log")}>Whole page</a>`}>
          <${Log} job=${job} compact=${true} />
        <//>
        <${Attempts} job=${job} />
      </div>
      <div>
        <${Resources} job=${job} />
        <${Spec} job=${job} />
      </div>
    </div>
  `;
}

const waits = (job) => Object.entries(job.counts).some(([state, n]) => n > 0 && WAITS.has(state));

function Why({ job, why }) {
  const sentence = why?.why || (waits(job) ? job.why : null);
  if (!sentence) return null;
  return html`<${Panel} title="Why it waits" className="why">
    <p class="sentence">${safe(sentence)}</p>
    ${why?.ahead && (why.ahead.higher > 0 || why.ahead.earlier > 0) && html`<p class="muted">Ahead of it: ${ahead(why.ahead)}.</p>`}
    ${why?.nodes?.length > 0 && html`<ul class="why-nodes">
      ${why.nodes.slice(0, 20).map((node) => html`<li key=${node.node_id}><a href=${href("nodes", [node.node_id])}>${safe(node.node_id)}</a> <span>${safe(node.why)}</span></li>`)}
      ${why.nodes.length > 20 && html`<li class="muted">and ${why.nodes.length - 20} more nodes</li>`}
    </ul>`}
  <//>`;
}

function ahead({ higher, earlier, more }) {
  const parts = [higher > 0 && `${count(higher)} of higher priority`, earlier > 0 && `${count(earlier)} submitted earlier`];
  return `${more ? "at least " : ""}${parts.filter(Boolean).join(", ")}`;
}

function Ended({ job }) {
  const list = reasons(job);
  if (list.length === 0) return null;
  return html`<${Panel} title=${isSettled(job) ? "How it ended" : "So far"} className=${job.counts.failed > 0 ? "ended bad" : "ended"}>
    <ul class="sentence">${list.slice(0, 8).map((reason) => html`<li key=${reason}>${safe(reason)}</li>`)}</ul>
    ${list.length > 8 && html`<p class="note">and ${list.length - 8} more reasons</p>`}
  <//>`;
}

const TOLD = new Set(["command", "args", "cpu", "memory"]);
const SECONDS = new Set(["time_limit", "grace", "min_time"]);

function Spec({ job }) {
  const command = commandOf(job.spec);
  const rest = Object.entries(job.spec).filter(([name]) => !TOLD.has(name) || command === null);
  const after = ["after", "after_any", "after_fail"].filter((name) => job[name]?.length > 0);
  return html`<${Panel} title="Spec" aside=${html`<${Copy} text=${JSON.stringify(job.spec)} label="Copy JSON" />`}>
    ${command !== null && html`<pre class="command-line" tabindex="0" role="region" aria-label="Command">${safe(command)}</pre>`}
    <${Fields} rows=${[
      ["Namespace", safe(job.ns_id)],
      ["Priority", String(job.priority)],
      ["Tasks", job.tasks !== "0" && safe(job.tasks)],
      ...after.map((name) => [name.replace("_", " "), job[name].map((id, n) => html`${n > 0 && ", "}<a class="id" href=${jobHref(id)}>${id}</a>`)]),
      ...rest.map(([name, value]) => [safe(name).replaceAll("_", " "), specValue(name, value)]),
      ["Submitted", dateTime(job.submitted_at)],
    ]} />
  <//>`;
}

function specValue(name, value) {
  if (SECONDS.has(name) && typeof value === "number") return duration(value * 1000);
  if (typeof value === "string") return safe(value);
  if (typeof value === "boolean") return value ? "yes" : "no";
  return html`<code class="json">${jsonText(value)}</code>`;
}

const LogTab = ({ job, query }) => html`<${Log} job=${job} task=${query.get("task")} stream=${query.get("stream")} />`;

const TasksTab = ({ job, query }) => html`<${Tasks} key=${query.get("state")} job=${job} state=${query.get("state") || ""} />`;

const EventsTab = ({ events }) => html`
  ${events.more && html`<p class="note">Of a long history these are the first ${count(FIRST_EVENTS)} events and the newest ${count(EVENTS_KEPT - FIRST_EVENTS)}.</p>`}
  <${EventRows} label="Events of this job" events=${events.list} tail=${false} ofOne />
`;
