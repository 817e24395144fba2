// What a person can ask of jobs and nodes here, each as one event; what cannot be undone is asked twice.
//
// Who may not ask sees no button. The Hub decides in any case: a refusal is shown as it said it.

import { batchId, ingest } from "./api.js";
import { html, useRef, useState } from "./html.js";
import { mayAskOfJobs, mayAskOfNodes, session } from "./session.js";
import { SETTLED } from "./states.js";
import { useStore } from "./store.js";
import { Dialog, Fault } from "./ui.js";
import { plural, safe } from "./format.js";

const ofJob = (kind) => (job, spec = {}) => ({
  kind,
  payload: { ctx: { ns_id: job.ns_id, job_id: job.job_id }, spec },
});
const ofNode = (kind) => (node, spec = {}) => ({ kind, payload: { ctx: { node_id: node.node_id }, spec } });

const going = (job) => Object.entries(job.counts).some(([state, n]) => n > 0 && !SETTLED.has(state));
const rests = (job) => job.counts.queued + job.counts.waiting > 0;

const JOB = [
  { name: "Release", event: ofJob("ReleaseJob"), when: (job) => job.counts.held > 0 },
  { name: "Hold", event: ofJob("HoldJob"), when: rests },
  { name: "Retry", event: ofJob("RetryJob"), when: (job) => job.counts.failed + job.counts.cancelled > 0 },
  {
    name: "Cancel",
    event: ofJob("CancelJob"),
    when: going,
    danger: true,
    ask: (job) => {
      const open = Object.entries(job.counts).reduce((sum, [state, n]) => sum + (SETTLED.has(state) ? 0 : n), 0);
      return `${plural(open, "task")} will end. What has run so far is not undone, and what is lost is run again only by a retry.`;
    },
  },
];

const NODE = [
  {
    name: "Drain",
    event: ofNode("NodeDrained"),
    when: (node) => !node.drained && node.state !== "left",
    ask: () => "It gets no new work until it is undrained. What runs there goes on to its end.",
  },
  { name: "Undrain", event: ofNode("NodeUndrained"), when: (node) => node.drained },
];

export function JobActions({ job, onDone }) {
  const who = useStore(session);
  return mayAskOfJobs(who) && html`<${Actions} about=${job} kind="job" title=${job.name || job.job_id} list=${JOB} onDone=${onDone} />`;
}

export function NodeActions({ node, onDone }) {
  const who = useStore(session);
  return mayAskOfNodes(who) && html`<${Actions} about=${node} kind="node" title=${node.node_id} list=${NODE} onDone=${onDone} />`;
}

function Actions({ about, kind, title, list, onDone }) {
  const [asked, ask] = useState(null);
  const [{ busy, error }, set] = useState({ busy: null, error: null });
  const unanswered = useRef({});
  const run = async (action, reason) => {
    set({ busy: action.name, error: null });
    const event = action.event(about, reason ? { reason } : {});
    const said = JSON.stringify(event);
    // The same again, after no answer came, is the same batch: it is recorded once.
    if (unanswered.current.said !== said) unanswered.current = { said, id: batchId() };
    try {
      await ingest([event], unanswered.current.id);
      unanswered.current = {};
      ask(null);
      set({ busy: null, error: null });
    } catch (failed) {
      set({ busy: null, error: failed });
    }
    onDone();
  };
  const offered = list.filter((action) => action.when(about));
  return html`<div class="actions">
    ${offered.map(
      (action) =>
        html`<button key=${action.name} type="button" class=${action.danger ? "danger" : ""} disabled=${busy !== null} onClick=${() => (action.ask ? ask(action) : run(action))}>${action.name}</button>`,
    )}
    ${!asked && html`<${Fault} error=${error} what="It was not done" />`}
    ${asked && html`<${Confirm} action=${asked} about=${about} kind=${kind} title=${title} busy=${busy} error=${error} onYes=${run} onNo=${() => ask(null)} />`}
  </div>`;
}

function Confirm({ action, about, kind, title, busy, error, onYes, onNo }) {
  const [reason, set] = useState("");
  const submit = (event) => {
    event.preventDefault();
    onYes(action, reason.trim());
  };
  return html`<${Dialog} title=${`${action.name} ${safe(title)}?`} onClose=${onNo}>
    <form onSubmit=${submit}>
      <p>${action.ask(about)}</p>
      <label class="field">Reason, kept with it (optional)
        <input type="text" maxlength="500" value=${reason} onInput=${(event) => set(event.target.value)} />
      </label>
      <${Fault} error=${error} what="It was not done" />
      <div class="dialog-foot">
        <button type="button" onClick=${onNo}>Keep it as it is</button>
        <button type="submit" class=${action.danger ? "danger solid" : "primary"} disabled=${busy !== null}>${action.name} the ${kind}</button>
      </div>
    </form>
  <//>`;
}
