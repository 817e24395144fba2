// Conflicts: what was to be said once and was said in several ways, and which event said which value.

import * as api from "../api.js";
import { count, safe } from "../format.js";
import { html } from "../html.js";
import { pokes, useFeed, useLoad } from "../live.js";
import { nodeHref } from "../router.js";
import { At, Ago, Empty, Fault, Loading, Panel } from "../ui.js";

const SHOWN = 50;

export function Conflicts() {
  useFeed(pokes, []);
  const { data, error } = useLoad((signal) => api.get("conflicts", { limit: SHOWN }, signal), [], { gap_ms: 3_000 });
  if (!data) return error ? html`<${Fault} error=${error} />` : html`<${Loading} />`;
  return html`<div class="page">
    <div class="page-head"><h1>Conflicts</h1></div>
    <p class="lead">What was to be said once, and was said in several ways. Both values are kept; nothing was lost, and somebody should know.</p>
    <${Fault} error=${error} />
    ${data.data.length === 0 && html`<${Empty} title="None. (Good.)" />`}
    ${data.data.map((one) => html`<${Conflict} key=${one.gid + one.table + one.key + one.column + JSON.stringify(one.within)} one=${one} />`)}
    ${data.next !== null && html`<p class="note">These are the first ${count(SHOWN)}: <code>hpc conflicts</code> prints all.</p>`}
  </div>`;
}

function Conflict({ one }) {
  const within = (one.within || []).map((step) => `[${Object.values(step).join("")}]`).join("");
  return html`<${Panel} title=${`${safe(one.gid)} / ${safe(one.table)} / ${safe(one.key)} / ${safe(one.column + within)}`} aside=${`${one.values.length} values`}>
    <div class="table-wrap" role="region" tabindex="0" aria-label=${`Values of ${safe(one.key)} ${safe(one.column)}`}>
      <table>
        <thead><tr><th scope="col">Says</th><th scope="col" class="num">Event</th><th scope="col">Time</th><th scope="col">Kind</th><th scope="col">Node</th><th scope="col">Batch</th></tr></thead>
        <tbody>${one.values.map((value) => html`<${Said} value=${value} event=${one.evidence.find((event) => JSON.stringify(event.value) === JSON.stringify(value))} />`)}</tbody>
      </table>
    </div>
    ${one.overflow && html`<p class="note">Greater values than these were said and left out.</p>`}
  <//>`;
}

function Said({ value, event }) {
  const text = html`<th scope="row"><code>${safe(JSON.stringify(value))}</code></th>`;
  if (!event) return html`<tr>${text}<td colspan="5" class="muted">Its event was not found in the part of the log that was looked through.</td></tr>`;
  return html`<tr>${text}
    <td class="num">${event.seq}</td>
    <td><${At} at=${event.at} /> <span class="muted">(<${Ago} at=${event.at} />)</span></td>
    <td>${safe(event.kind)}</td>
    <td>${event.node_id ? html`<a href=${nodeHref(event.node_id)}>${safe(event.node_id)}</a>` : "–"}</td>
    <td class="id">${safe(event.id)}</td>
  </tr>`;
}
