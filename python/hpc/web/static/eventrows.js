// Events of the log as a table, and one of them whole beside it.

import { jsonText, safe } from "./format.js";
import { html, useState } from "./html.js";
import { jobHref, nodeHref } from "./router.js";
import { LongTable } from "./table.js";
import { At, Copy } from "./ui.js";

// `ofOne` says that all are of one job, which need not be told again.
export function EventRows({ label, events, tail, onView, ofOne = false }) {
  const [seq, open] = useState(null);
  const shown = events.find((event) => event.seq === seq);
  return html`<div class="with-detail">
    <${LongTable} label=${label} columns=${ofOne ? OF_ONE : COLUMNS} rows=${events} rowKey=${(event) => event.seq} total=${events.length} tail=${tail} onOpen=${(event) => open(event.seq === seq ? null : event.seq)} onView=${onView} isOpen=${(event) => event.seq === seq} />
    ${shown && html`<${Detail} event=${shown} onClose=${() => open(null)} />`}
  </div>`;
}

const ctx = (event) => event.payload?.ctx || {};

// A registration says it beside its spec.
export const nsOf = (event) => ctx(event).ns_id ?? event.payload?.ns_id;

const COLUMNS = [
  { key: "seq", head: "Seq", num: true, className: "w-time minor", cell: (event) => event.seq },
  { key: "at", head: "Time", num: true, className: "w-clock", cell: (event) => html`<${At} at=${event.at} millis=${true} />` },
  { key: "kind", head: "Kind", className: "w-kind", cell: (event) => html`<span class="kind">${safe(event.kind)}</span>` },
  { key: "ns", head: "Namespace", className: "w-ns minor", cell: (event) => safe(nsOf(event) ?? "–") },
  { key: "job", head: "Job", className: "w-job", cell: (event) => (ctx(event).job_id ? html`<a class="id" href=${jobHref(ctx(event).job_id)}>${safe(ctx(event).job_id)}</a>` : "–") },
  { key: "node", head: "Node", className: "w-node minor", cell: (event) => (ctx(event).node_id ? html`<a href=${nodeHref(ctx(event).node_id)}>${safe(ctx(event).node_id)}</a>` : "–") },
  { key: "says", head: "Says", className: "grow minor", cell: (event) => html`<span class="muted">${safe(saying(event))}</span>` },
];

const OF_ONE = COLUMNS.filter(({ key }) => key !== "ns" && key !== "job");

// The rest of an event in a line: what it settled, its tasks, and the figures of its spec.
function saying(event) {
  const { tasks, attempt, name } = ctx(event);
  const parts = [];
  for (const [state, ranges] of Object.entries(event.settles || {})) parts.push(`${ranges} ${state}`);
  if (name) parts.push(name);
  if (tasks !== undefined && !event.settles) parts.push(`tasks ${tasks}`);
  if (attempt > 1) parts.push(`attempt ${attempt}`);
  for (const [key, value] of Object.entries(event.payload?.spec || {})) {
    if (!key.endsWith("_at")) parts.push(`${key} ${typeof value === "string" ? value : JSON.stringify(value)}`);
    if (parts.join(", ").length > 200) break;
  }
  return parts.join(", ").slice(0, 240);
}

function Detail({ event, onClose }) {
  return html`<aside class="detail" aria-label=${`Event ${event.seq}`}>
    <header><h2>Event ${event.seq}</h2><${Copy} text=${JSON.stringify(event)} label="Copy" /><button type="button" class="quiet small" onClick=${onClose}>Close</button></header>
    <pre tabindex="0" role="region" aria-label="The event as JSON">${jsonText(event)}</pre>
  </aside>`;
}
