// Namespaces: which kinds of events there are, what stands in each, and which generators keep facts of it.

import * as api from "../api.js";
import { duration, safe } from "../format.js";
import { html } from "../html.js";
import { pokes, useFeed, useLoad } from "../live.js";
import { href } from "../router.js";
import { Fault, Fields, Loading, Panel } from "../ui.js";

export function Namespaces() {
  useFeed(pokes, []);
  const { data, error } = useLoad((signal) => api.get("namespaces", {}, signal), [], { gap_ms: 10_000 });
  if (!data) return error ? html`<${Fault} error=${error} />` : html`<${Loading} />`;
  return html`<div class="page">
    <div class="page-head"><h1>Namespaces</h1></div>
    <${Fault} error=${error} />
    ${data.data.map((space) => html`<${Space} key=${space.ns_id} space=${space} />`)}
  </div>`;
}

function Space({ space }) {
  const { spec } = space;
  const jobs = spec.handler_type && html`<a href=${href("jobs", [], { ns: space.ns_id })}>Its jobs</a>`;
  return html`<${Panel} title=${safe(space.ns_id)} aside=${jobs}>
    <${Fields} rows=${[
      ["Handler", safe(spec.handler_type || "none: it has no jobs")],
      ["Generators", safe((space.generators || []).join(", "))],
      ["Kept for", spec.retention ? duration(spec.retention * 1000) : "ever"],
      ["Version", space.version],
    ]} />
    ${Object.entries(spec.schema || {}).map(([kind, fields]) => html`<${Kind} key=${kind} kind=${kind} fields=${fields} />`)}
  <//>`;
}

const Kind = ({ kind, fields }) => html`<details class="schema">
  <summary><code>${safe(kind)}</code> <span class="muted">${fields.length} ${fields.length === 1 ? "field" : "fields"}</span></summary>
  <div class="table-wrap" role="region" tabindex="0" aria-label=${`Fields of ${safe(kind)}`}>
    <table>
      <thead><tr><th scope="col">Field</th><th scope="col">Type</th><th scope="col">Needed</th><th scope="col">What is taken</th></tr></thead>
      <tbody>${fields.map((field) => html`<tr key=${field.key}><th scope="row"><code>${safe(field.key)}</code></th><td>${field.expected_type}</td><td>${field.required ? "yes" : ""}</td><td class="muted">${safe(bounds(field))}</td></tr>`)}</tbody>
    </table>
  </div>
</details>`;

function bounds({ min, max, one_of: oneOf, default: usual }) {
  const parts = [
    min !== undefined && min !== null && `from ${min}`,
    max !== undefined && max !== null && `to ${max}`,
    oneOf && oneOf.join(" or "),
    usual !== undefined && usual !== null && `${JSON.stringify(usual)} if not given`,
  ];
  return parts.filter(Boolean).join(", ");
}
