// Submit: a job of any namespace that has jobs, by a form that its schema makes.
//
// The Hub alone says what is well-formed; what it refuses is shown as it said it. The batch's id stays
// while the form does, so that a click after a lost answer submits nothing twice.

import * as api from "../api.js";
import { safe } from "../format.js";
import { html, useRef, useState } from "../html.js";
import { useLoad } from "../live.js";
import { go, jobHref, setQuery } from "../router.js";
import { mayAskOfJobs, session } from "../session.js";
import { useStore } from "../store.js";
import { Empty, Fault, Loading, Panel } from "../ui.js";

// What stands in the form at first: what `hpc submit` asks for where nobody says.
const USUAL = { batch: { cpu: "1", memory: "1024" } };
const UNITS = { memory: "MiB", output_limit: "bytes", time_limit: "s", grace: "s", min_time: "s" };
const OF_THE_JOB = [
  { key: "name", expected_type: "String" },
  { key: "tasks", expected_type: "String", example: "0-99" },
  { key: "priority", expected_type: "Int" },
];

export function Submit({ query }) {
  const who = useStore(session);
  const { data, error } = useLoad((signal) => api.get("namespaces", {}, signal), []);
  if (!mayAskOfJobs(who)) return html`<${Empty} title="This token may not submit"><p>It has the role ${who.role}; log in with one of role submit.</p><//>`;
  if (!data) return error ? html`<${Fault} error=${error} />` : html`<${Loading} />`;
  const spaces = data.data.filter((space) => space.spec.handler_type && space.spec.schema?.SubmitJob);
  const space = spaces.find((one) => one.ns_id === (query.get("ns") || "batch")) || spaces[0];
  return html`<div class="page">
    <div class="page-head"><h1>Submit a job</h1></div>
    ${space
      ? html`<${Form} key=${space.ns_id} space=${space} names=${spaces.map((one) => one.ns_id)} />`
      : html`<${Empty} title="No namespace has jobs" />`}
  </div>`;
}

function Form({ space, names }) {
  const fields = space.spec.schema.SubmitJob;
  const [said, say] = useState({ spec: USUAL[space.ns_id] || {}, ctx: {} });
  const [{ busy, error }, set] = useState({ busy: false, error: null });
  const id = useRef(null);
  const change = (part, key, value) => {
    id.current = null;
    say({ ...said, [part]: { ...said[part], [key]: value } });
  };
  const submit = async (event) => {
    event.preventDefault();
    set({ busy: true, error: null });
    try {
      const ctx = { ns_id: space.ns_id, ...meant(OF_THE_JOB, said.ctx) };
      const payload = { ctx, spec: meant(fields, said.spec) };
      id.current = id.current || api.batchId();
      const { jobs } = await api.ingest([{ kind: "SubmitJob", payload }], id.current);
      go(jobHref(jobs[0]));
    } catch (failed) {
      set({ busy: false, error: failed });
    }
  };
  const inputs = (part, list) =>
    list.map((field) => html`<${Field} key=${field.key} field=${field} value=${said[part][field.key] ?? ""} onChange=${(value) => change(part, field.key, value)} />`);
  return html`<${Panel} className="submit-form">
    <form onSubmit=${submit}>
      <div class="form-grid">${names.length > 1 && html`<label class="field">Namespace
        <select value=${space.ns_id} onChange=${(event) => setQuery({ ns: event.target.value })}>${names.map((name) => html`<option key=${name} value=${name}>${safe(name)}</option>`)}</select>
      </label>`}
      ${inputs("spec", fields.filter((field) => field.required))}
      ${inputs("ctx", OF_THE_JOB)}</div>
      <details><summary>More</summary><div class="form-grid">${inputs("spec", fields.filter((field) => !field.required))}</div></details>
      <${Fault} error=${error} what="It was not submitted" />
      <div class="dialog-foot"><button type="submit" class="primary" disabled=${busy}>Submit</button></div>
    </form>
  <//>`;
}

function Field({ field, value, onChange }) {
  const { key, required, expected_type: type, one_of: oneOf } = field;
  const about = { value, required, onInput: (event) => onChange(event.target.value), spellcheck: false };
  const unit = UNITS[key] ? ` (${UNITS[key]})` : "";
  return html`<label class="field">${safe(key)}${unit}
    ${oneOf || type === "Bool"
      ? html`<select ...${about}><option value=""></option>${(oneOf || ["true", "false"]).map((one) => html`<option key=${one} value=${one}>${safe(one)}</option>`)}</select>`
      : type === "Int" || type === "Float"
        ? html`<input type="number" min=${field.min} max=${field.max} step=${type === "Int" ? "1" : "any"} ...${about} />`
        : type === "String" && !(required && field.format === "text")
          ? html`<input type="text" placeholder=${field.example || ""} ...${about} />`
          : html`<textarea rows="3" placeholder=${type === "String" ? "" : EXAMPLES[type] || "JSON"} ...${about}></textarea>`}
  </label>`;
}

const EXAMPLES = { Map: '{"NAME": "value"}', List: '["one", "two"]' };

// The values as JSON; what was left empty is not given.
function meant(fields, said) {
  const given = fields.filter(({ key }) => said[key] !== undefined && said[key] !== "");
  return Object.fromEntries(given.map((field) => [field.key, valueOf(field, said[field.key])]));
}

function valueOf({ key, expected_type: type }, text) {
  if (type === "String") return text;
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`${key} must be ${type} as JSON${EXAMPLES[type] ? `, such as ${EXAMPLES[type]}` : ""}`);
  }
}
