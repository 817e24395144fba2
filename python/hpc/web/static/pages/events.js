// Events: the end of the log as it grows, by kind, namespace and job; it can be paused, and read back.

import * as api from "../api.js";
import { EventRows, nsOf } from "../eventrows.js";
import { count, safe } from "../format.js";
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { useKeys } from "../keys.js";
import { eventFeed, useFeed } from "../live.js";
import { setQuery } from "../router.js";
import { session } from "../session.js";
import { useStore } from "../store.js";
import { Empty, Fault, Loading } from "../ui.js";

const BACK = 200;
const KEPT = 5_000;
const FLUSH_MS = 250;

export function Events({ query }) {
  const filter = { kind: query.get("kind") || "", ns: query.get("ns") || "", job: query.get("job") || "" };
  return html`<div class="page fill"><${Tail} key=${filter.job} filter=${filter} /></div>`;
}

function Tail({ filter }) {
  const { events, older, error, begun, missed } = useTail(filter.job);
  const [paused, pause] = useState(null); // the events as they were then
  const all = paused ?? events;
  const rows = useMemo(
    () => all.filter((event) => (!filter.kind || event.kind === filter.kind) && (!filter.ns || nsOf(event) === filter.ns)),
    [all, filter.kind, filter.ns],
  );
  const toggle = () => pause((was) => (was ? null : events));
  useKeys({ p: toggle }, [events]);
  const waiting = paused ? events.filter((event) => event.seq > (paused.at(-1)?.seq ?? 0)).length : 0;
  return html`<div class="page-head">
      <h1>Events</h1>
      <${Filters} filter=${filter} events=${all} />
      <button type="button" class=${paused ? "primary" : ""} aria-pressed=${paused ? "true" : "false"} onClick=${toggle}>${paused ? `Go on${waiting ? `, ${count(waiting)} new` : ""}` : "Pause"}</button>
    </div>
    <${Fault} error=${error} />
    ${!begun && !error && html`<${Loading} />`}
    ${begun && html`<p class="list-note">
      <span aria-live="off">${count(rows.length)} ${rows.length === 1 ? "event" : "events"}${rows.length > 0 ? `, ${rows[0].seq} to ${rows.at(-1).seq}` : ""}</span>
      ${older && html`<button type="button" class="small" onClick=${older}>${count(BACK)} earlier</button>`}
      ${missed > 0 && html`<span class="muted">${count(missed)} older ones were let go</span>`}
    </p>`}
    ${begun && rows.length === 0 && html`<${Empty} title=${all.length === 0 ? "The log is empty" : "No event matches"}><p class="muted">New ones appear here as they are recorded.</p><//>`}
    ${rows.length > 0 && html`<${EventRows} label="Events" events=${rows} tail=${!paused} />`}`;
}

// The last events, and all after them; those that came in a quarter of a second are shown together.
function useTail(job) {
  const who = useStore(session);
  const [state, set] = useState({ events: [], from: null, cursor: null, error: null, missed: 0 });
  const arrived = useRef([]);
  useEffect(() => {
    if (state.cursor !== null || who.state !== "in") return undefined;
    const ending = new AbortController();
    beginning(job, ending.signal)
      .then((found) => set((old) => ({ ...old, ...found })))
      .catch((error) => ending.signal.aborted || set((old) => ({ ...old, error })));
    return () => ending.abort();
  }, [job, who.state]);
  useFeed(() => {
    if (state.cursor === null) return null;
    return eventFeed({ cursor: state.cursor, job, take: (events) => arrived.current.push(...events) });
  }, [job, state.cursor]);
  useEffect(() => {
    const timer = setInterval(() => {
      const fresh = arrived.current.splice(0);
      if (fresh.length > 0) set((old) => grown(old, fresh));
    }, FLUSH_MS);
    return () => clearInterval(timer);
  }, []);
  const older = async () => {
    const cursor = Math.max(0, state.from - BACK);
    try {
      const page = await api.get("events", { cursor, limit: state.from - cursor });
      set((old) => ({ ...old, from: cursor, events: [...page.data.filter((event) => event.seq <= old.from), ...old.events] }));
    } catch (error) {
      set((old) => ({ ...old, error }));
    }
  };
  return { ...state, begun: state.cursor !== null, older: state.from > 0 && !job && state.missed === 0 ? older : null };
}

function grown(old, fresh) {
  const events = [...old.events, ...fresh];
  const over = Math.max(0, events.length - KEPT);
  return { ...old, events: over > 0 ? events.slice(over) : events, missed: old.missed + over };
}

async function beginning(job, signal) {
  if (job) {
    const page = await api.get("events", { job, cursor: 0, limit: 1_000 }, signal);
    return { events: page.data, from: 0, cursor: page.next ?? page.cursor };
  }
  const { cursor: end } = await api.get("healthz", { full: true }, signal);
  const from = Math.max(0, end - BACK);
  const page = await fromFloor({ cursor: from, limit: BACK }, signal);
  return { events: page.data, from, cursor: page.data.at(-1)?.seq ?? end };
}

async function fromFloor(query, signal) {
  try {
    return await api.get("events", query, signal);
  } catch (error) {
    if (!(error instanceof api.Problem) || error.status !== 410 || !error.floor) throw error;
    return api.get("events", { ...query, cursor: error.floor - 1 }, signal);
  }
}

function Filters({ filter, events }) {
  const of = (pick) => [...new Set(events.map(pick))].filter(Boolean).sort();
  const kinds = useMemo(() => of((event) => event.kind), [events]);
  const spaces = useMemo(() => of(nsOf), [events]);
  const job = useRef(null);
  const chosen = (event) => {
    event.preventDefault();
    if (job.current.value.trim() !== filter.job) setQuery({ job: job.current.value.trim() });
  };
  return html`<div class="filters">
    <${Choice} name="Kind" value=${filter.kind} options=${kinds} onChange=${(kind) => setQuery({ kind })} />
    <${Choice} name="Namespace" value=${filter.ns} options=${spaces} onChange=${(ns) => setQuery({ ns })} />
    <form class="inline" onSubmit=${chosen}>
      <label class="inline">Job
        <input ref=${job} type="search" data-search value=${filter.job} placeholder="its id" autocomplete="off" spellcheck=${false} onBlur=${chosen} onSearch=${chosen} />
      </label>
    </form>
  </div>`;
}

const Choice = ({ name, value, options, onChange }) => html`<label class="inline">${name}
  <select value=${value} onChange=${(event) => onChange(event.target.value)}>
    <option value="">all</option>
    ${[...new Set([...options, value])].filter(Boolean).map((one) => html`<option key=${one} value=${one}>${safe(one)}</option>`)}
  </select>
</label>`;
