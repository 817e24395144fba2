// Overview: how much there is of what, how fast it goes, who works, and what is wrong.

import * as api from "../api.js";
import { Chart } from "../chart.js";
import { compact, count, duration, mib, plural, safe } from "../format.js";
import * as history from "../history.js";
import { html } from "../html.js";
import { pokes, useFeed, useLoad } from "../live.js";
import { percentile, remark, startedAt } from "../outcome.js";
import { href, jobHref, nodeHref } from "../router.js";
import { Shape, State, STATES } from "../states.js";
import { Ago, Command, Empty, Fault, Loading, Meter, Panel } from "../ui.js";

const RECENT = 200;
const RECENT_SHOWN = 9;
const NODES_SHOWN = 6;

export function Overview() {
  useFeed(pokes, []);
  const { data, error } = useLoad(load, [], { gap_ms: 2_000, every_ms: 15_000 });
  if (!data) return error ? html`<${Fault} error=${error} />` : html`<${Loading} />`;
  const jobs = sum(data.totals.jobs);
  return html`<div class="page">
    <div class="page-head"><h1>Overview</h1><p class="muted">Log at event ${count(data.cursor)}</p></div>
    <${Fault} error=${error} />
    <${Wrong} data=${data} />
    <${Tiles} totals=${data.totals} />
    ${jobs === 0 ? html`<${First} nodes=${data.totals.nodes} />` : html`<${Told} data=${data} />`}
  </div>`;
}

const Told = ({ data }) => html`<div class="columns">
  <div>
    <${Throughput} series=${data.throughput} />
    <${Recent} jobs=${data.recent} />
  </div>
  <div>
    <${Waits} jobs=${data.recent} />
    <${NodesNow} totals=${data.totals.nodes} nodes=${data.nodes} />
  </div>
</div>`;

async function load(signal) {
  const [health, recent, nodes, conflicts] = await Promise.all([
    api.get("healthz", { full: true }, signal),
    api.get("jobs", { order: "desc", limit: RECENT }, signal),
    api.get("nodes", { limit: 100 }, signal),
    api.get("conflicts", { limit: 100 }, signal),
  ]);
  await history.begin(health.cursor, signal);
  history.takeTotals(health.totals.tasks);
  return {
    cursor: health.cursor,
    totals: health.totals,
    damaged: health.damaged.length,
    recent: recent.data,
    nodes: nodes.data,
    conflicts: { n: conflicts.data.length, more: conflicts.next !== null },
    throughput: { ...history.throughput(), mean: history.mean() },
  };
}

const sum = (counts) => Object.values(counts).reduce((a, b) => a + b, 0);

function Wrong({ data }) {
  const { conflicts, damaged, totals } = data;
  const lines = [
    totals.nodes.unreachable > 0 && html`<a href=${href("nodes")}>${plural(totals.nodes.unreachable, "node is", "nodes are")} unreachable</a>`,
    conflicts.n > 0 && html`<a href=${href("conflicts")}>${conflicts.more ? "100 or more" : conflicts.n} ${conflicts.n === 1 ? "conflict" : "conflicts"}: said once, and in several ways</a>`,
    damaged > 0 && html`<span>${plural(damaged, "batch", "batches")} of the log damaged: <code>hpc log verify</code></span>`,
  ].filter(Boolean);
  return lines.length > 0 && html`<ul class="wrong" aria-label="What is wrong">${lines.map((line, n) => html`<li key=${n}><${Shape} state="unreachable" />${line}</li>`)}</ul>`;
}

function Tiles({ totals }) {
  return html`<ul class="tiles" aria-label="Jobs by state">
    ${STATES.map((state) => {
      const jobs = totals.jobs[state];
      const tasks = totals.tasks[state];
      return html`<li key=${state}>
        <a class=${`tile is-${state} ${jobs + tasks ? "" : "none"}`} href=${href("jobs", [], { state })}>
          <span class="tile-state"><${Shape} state=${state} />${state}</span>
          <span class="tile-n">${compact(jobs)}</span>
          <span class="tile-sub">${plural(tasks, "task")}</span>
        </a>
      </li>`;
    })}
  </ul>
  <p class="visually-hidden" aria-live="polite">${count(totals.jobs.running)} running, ${count(totals.jobs.failed)} failed</p>`;
}

function First({ nodes }) {
  return html`<${Panel}>
    <${Empty} title="No jobs yet">
      ${nodes.up > 0 && html`<p class="muted"><a href=${href("nodes")}>${plural(nodes.up, "node is", "nodes are")} up</a>, and would run them.</p>`}
      ${nodes.up === 0 && html`<p>No relay is here, so nothing would run. Start one: <${Command}>hpc relay --ns batch<//></p>`}
      <p>Run something, and it shows up here at once:</p>
      <p><${Command}>hpc run -- echo hi<//></p>
    <//>
  <//>`;
}

function Throughput({ series }) {
  const { mean } = series;
  const rate = (value) => compact(Math.round(value));
  const lines = [{ label: "tasks a minute", values: series.values, colour: "--accent", bars: true }];
  return html`<${Panel} title="Tasks ended a minute" aside=${html`<strong>${compact(Math.round(mean.rate))}</strong> a minute in ${duration(mean.ms)}`}>
    <${Chart} label="Tasks that ended, per minute" times=${series.times} series=${lines} format=${rate} />
  <//>`;
}

function Waits({ jobs }) {
  const waits = jobs
    .map((job) => [job, startedAt(job)])
    .filter(([, at]) => at !== null)
    .map(([job, at]) => Math.max(0, at - job.submitted_at));
  return html`<${Panel} title="From submit to start" aside=${waits.length > 0 ? `newest ${plural(waits.length, "job")}` : "no job yet"}>
    <div class="figures-row">
      <div><span class="big num">${duration(percentile(waits, 0.5))}</span><span class="muted">half start within</span></div>
      <div><span class="big num">${duration(percentile(waits, 0.95))}</span><span class="muted">95 % start within</span></div>
    </div>
  <//>`;
}

function NodesNow({ totals, nodes }) {
  const up = nodes.filter((node) => node.state === "up");
  const words = ["up", "unreachable", "left"].filter((state) => totals[state] > 0).map((state) => `${totals[state]} ${state}`);
  if (totals.drained > 0) words.splice(1, 0, `${totals.drained} of them drained`);
  return html`<${Panel} title="Nodes" aside=${words.join(", ")}>
    ${up.length === 0 && html`<${Empty} title="No relay is here"><p><${Command}>hpc relay --ns batch<//></p><//>`}
    <ul class="node-list">
      ${up.slice(0, NODES_SHOWN).map(
        (node) => html`<li key=${node.node_id}>
          <span><a href=${nodeHref(node.node_id)}>${safe(node.node_id)}</a>${node.drained && html` <${State} state="drained" />`}</span>
          <${Meter} label="Cores in use" value=${node.used.cpus || 0} of=${node.resources.cpus} text=${`${node.used.cpus || 0}/${node.resources.cpus} cores`} />
          <${Meter} label="Memory reserved" value=${node.used.memory_mib || 0} of=${node.resources.memory_mib} text=${`${mib(node.used.memory_mib || 0)} of ${mib(node.resources.memory_mib)}`} />
        </li>`,
      )}
    </ul>
    ${up.length > NODES_SHOWN && html`<p class="note"><a href=${href("nodes")}>and ${up.length - NODES_SHOWN} more</a></p>`}
  <//>`;
}

function Recent({ jobs }) {
  return html`<${Panel} title="Newest jobs" aside=${html`<a href=${href("jobs")}>All jobs</a>`}>
    <ul class="recent">
      ${jobs.slice(0, RECENT_SHOWN).map(
        (job) => html`<li key=${job.job_id}>
          <${State} state=${job.state} />
          <a class="name" href=${jobHref(job.job_id)}>${safe(job.name || job.job_id)}</a>
          <span class="muted remark">${safe(remark(job))}</span>
          <span class="muted num"><${Ago} at=${job.submitted_at} /></span>
        </li>`,
      )}
    </ul>
  <//>`;
}
