// Nodes: who works, with how much of what, and what its monitor says; and one node by itself.

import { NodeActions } from "../actions.js";
import * as api from "../api.js";
import { Chart, Spark } from "../chart.js";
import { bytes, compact, dateTime, duration, kib, mib, plural, safe } from "../format.js";
import * as history from "../history.js";
import { html } from "../html.js";
import { pokes, useFeed, useLoad } from "../live.js";
import { go, href, jobHref, nodeHref } from "../router.js";
import { State } from "../states.js";
import { LongTable, Table } from "../table.js";
import { Ago, Command, Empty, Fault, Fields, Loading, Meter, Panel } from "../ui.js";

const NODES_MAX = 1_000;
const LEASES_SHOWN = 50;

// Of one node, where it is named, also what the jobs are called that it has.
async function load(signal, nodeId) {
  const [nodes, facts, health] = await Promise.all([
    api.get("nodes", { limit: NODES_MAX }, signal),
    monitored(signal),
    api.get("healthz", { full: true }, signal),
  ]);
  await history.begin(health.cursor, signal);
  history.takeTotals(health.totals.tasks);
  history.takeNodes(facts);
  const node = nodes.data.find((one) => one.node_id === nodeId);
  const names = node ? await namesOf(node.leases.slice(0, LEASES_SHOWN), signal) : {};
  return { nodes: nodes.data, more: nodes.next !== null, figures: facts, names };
}

async function namesOf(leases, signal) {
  const ids = [...new Set(leases.map((lease) => lease.job_id))].join(",");
  const page = ids ? await api.get("jobs", { ids }, signal) : { data: [] };
  return Object.fromEntries(page.data.map((job) => [job.job_id, job.name]));
}

// A Hub without the namespace `monitor` has no such generator; then there are no figures.
async function monitored(signal) {
  try {
    const page = await api.get("pull", { gid: "monitor", cursor: 0, table: "nodes" }, signal);
    return page.facts.nodes || {};
  } catch (error) {
    if (error instanceof api.Problem && error.status === 404) return {};
    throw error;
  }
}

const useNodes = (nodeId) => {
  useFeed(pokes, []);
  return useLoad((signal) => load(signal, nodeId), [nodeId], { gap_ms: 2_000, every_ms: 10_000 });
};

const ORDER = { up: 0, unreachable: 1, left: 2 };

export function Nodes() {
  const { data, error } = useNodes();
  if (!data) return error ? html`<${Fault} error=${error} />` : html`<${Loading} />`;
  const rows = data.nodes
    .map((node) => ({ ...node, figures: data.figures[node.node_id] }))
    .sort((a, b) => ORDER[a.state] - ORDER[b.state] || a.node_id.localeCompare(b.node_id));
  return html`<div class="page fill">
    <div class="page-head"><h1>Nodes</h1><p class="muted" aria-live="polite">${counted(rows)}</p></div>
    <${Fault} error=${error} />
    ${rows.length === 0
      ? html`<${Empty} title="No relay has joined"><p>On each machine that shall run jobs:</p><p><${Command}>hpc relay --ns batch<//></p><//>`
      : html`<${LongTable} label="Nodes" columns=${COLUMNS} rows=${rows} rowKey=${(row) => row.node_id} total=${data.more ? -1 : rows.length} onOpen=${(row) => go(nodeHref(row.node_id))} />`}
    ${data.more && html`<p class="note">These are the first ${NODES_MAX}: <code>hpc node list</code> has all.</p>`}
  </div>`;
}

function counted(rows) {
  const n = (state) => rows.filter((row) => row.state === state).length;
  const drained = rows.filter((row) => row.drained).length;
  return Object.keys(ORDER).filter((state) => n(state) > 0).map((state) => `${n(state)} ${state}`).join(", ") + (drained ? `; ${drained} drained` : "");
}

const NodeState = ({ node }) => html`<span class=${node.drained ? "minor" : ""}><${State} state=${node.state} />${" "}</span>${node.drained && html`<${State} state="drained" />`}${node.draining && !node.drained && html` <${State} state="drained" text="leaving" />`}`;

const running = (node) => node.leases.length;

const values = (node, name) => history.samplesOf(node.node_id).map((one) => one[name]).filter((value) => value !== null);

const COLUMNS = [
  { key: "node", head: "Node", className: "w-name", cell: (node) => html`<a class="name" href=${nodeHref(node.node_id)}>${safe(node.node_id)}</a>` },
  { key: "state", head: "State", className: "w-state2", cell: (node) => html`<${NodeState} node=${node} />${node.state !== "up" && html` <span class="muted minor"><${Ago} at=${node.gone_at} /></span>`}` },
  { key: "slots", head: "Cores leased", className: "w-meter", cell: (node) => html`<${Slots} node=${node} />` },
  { key: "memory", head: "Memory leased", className: "w-meter minor", cell: (node) => html`<${Reserved} node=${node} />` },
  { key: "cpu", head: "CPU", className: "w-spark minor", cell: cpuCell },
  { key: "used", head: "Memory used", className: "w-spark minor", cell: memoryCell },
  { key: "runs", head: "Jobs", num: true, className: "w-count minor", cell: (node) => running(node) || "–" },
  { key: "ns", head: "Namespaces", className: "grow minor", cell: (node) => safe((node.namespaces || []).join(", ")) },
];

const Slots = ({ node }) =>
  node.state !== "left" ? html`<${Meter} label="Cores leased" value=${node.used.cpus || 0} of=${node.resources.cpus} text=${`${node.used.cpus || 0}/${node.resources.cpus}`} />` : html`<span class="muted">–</span>`;

const Reserved = ({ node, isWhole }) =>
  node.state !== "left" ? html`<${Meter} label="Memory leased" value=${node.used.memory_mib || 0} of=${node.resources.memory_mib} text=${mib(node.used.memory_mib || 0) + (isWhole ? ` of ${mib(node.resources.memory_mib)}` : "")} />` : html`<span class="muted">–</span>`;

function cpuCell(node) {
  if (!node.figures) return html`<span class="muted">no monitor</span>`;
  return html`<span class="spark-row"><${Spark} label="CPU, per cent" values=${values(node, "cpu")} colour="c1" max=${100} /><span class="num">${safe(node.figures.cpu_usage ?? "–")}</span></span>`;
}

function memoryCell(node) {
  if (!node.figures) return html`<span class="muted">–</span>`;
  return html`<span class="spark-row"><${Spark} label="Memory used" values=${values(node, "memory")} colour="c2" max=${node.figures.mem_total_kb} /><span class="num">${kib(node.figures.mem_used_kb)}</span></span>`;
}

export function Node({ parts }) {
  const { data, error, reload } = useNodes(parts[0]);
  if (!data) return error ? html`<${Fault} error=${error} />` : html`<${Loading} />`;
  const node = data.nodes.find((one) => one.node_id === parts[0]);
  const figures = data.figures[parts[0]];
  if (!node && !figures) {
    return html`<${Empty} title="This node is not known"><p>${safe(parts[0])}</p><p><a href=${href("nodes")}>All nodes</a></p><//>`;
  }
  return html`<div class="page">
    <nav class="crumbs" aria-label="Where this is"><a href=${href("nodes")}>Nodes</a></nav>
    <div class="page-head">
      <h1>${safe(parts[0])}</h1>
      ${node && html`<${NodeState} node=${node} />`}
      ${node && html`<${NodeActions} node=${node} onDone=${reload} />`}
    </div>
    <${Fault} error=${error} />
    <div class="columns">
      <div>
        <${History} id=${parts[0]} figures=${figures} />
        ${node && html`<${Leases} leases=${node.leases} names=${data.names} />`}
      </div>
      <div>
        ${node ? html`<${Offers} node=${node} />` : html`<${Panel} title="Relay"><p class="muted pad">None; a monitor reports from here.</p><//>`}
        ${figures && html`<${Figures} figures=${figures} />`}
      </div>
    </div>
  </div>`;
}

function History({ id, figures }) {
  const samples = history.samplesOf(id);
  if (!figures) {
    return html`<${Panel} title="CPU and memory"><${Empty} title="No monitor reports from here"><p><${Command}>hpc monitor<//></p><//><//>`;
  }
  const times = samples.map((one) => one.at);
  const span = times.length > 1 ? `the last ${duration(times.at(-1) - times[0])}` : "no history yet";
  const cpu = [{ label: "CPU", values: samples.map((one) => one.cpu), colour: "--accent" }];
  const memory = [{ label: "memory", values: samples.map((one) => one.memory), colour: "--second" }];
  return html`<${Panel} title="CPU" aside=${`${safe(figures.cpu_usage)} now, ${span}`}>
      <${Chart} label="CPU in use" times=${times} series=${cpu} format=${(v) => `${Math.round(v)} %`} max=${100} height=${120} />
    <//>
    <${Panel} title="Memory" aside=${`${kib(figures.mem_used_kb)} of ${kib(figures.mem_total_kb)}`}>
      <${Chart} label="Memory in use" times=${times} series=${memory} format=${(v) => kib(v)} steps="binary" max=${figures.mem_total_kb} height=${120} />
    <//>`;
}

const leaseColumns = (names) => [
  { key: "job", head: "Job", cell: (lease) => html`<a class="name" href=${jobHref(lease.job_id)}>${names[lease.job_id] ? safe(names[lease.job_id]) : html`<span class="id">${lease.job_id}</span>`}</a>` },
  { key: "tasks", head: "Tasks", cell: (lease) => lease.tasks },
  { key: "started", head: "Of them started", cell: (lease) => (lease.started === lease.tasks ? "all" : lease.started || "none yet") },
  { key: "attempt", head: "Attempt", num: true, cell: (lease) => lease.attempt },
];

const Leases = ({ leases, names }) => html`<${Panel} title="What it has" aside=${plural(leases.length, "lease")}>
  ${leases.length === 0
    ? html`<p class="muted pad">Nothing.</p>`
    : html`<${Table} label="Leases" columns=${leaseColumns(names)} rows=${leases} most=${LEASES_SHOWN} rowKey=${(lease) => `${lease.job_id} ${lease.attempt} ${lease.tasks}`} />`}
<//>`;

function Offers({ node }) {
  const others = Object.entries(node.resources || {}).filter(([name]) => name !== "cpus" && name !== "memory_mib");
  const labels = Object.entries(node.labels || {}).map(([name, value]) => `${name}=${value}`);
  return html`<${Panel} title="Relay">
    <${Fields} rows=${[
      ["Cores leased", html`<${Slots} node=${node} />`],
      ["Memory leased", html`<${Reserved} node=${node} isWhole />`],
      ...others.map(([name, n]) => [safe(name), `${node.used[name] || 0} of ${n}`]),
      ["Leased ahead", node.ahead > 0 && plural(node.ahead, "task")],
      ["Namespaces", safe((node.namespaces || []).join(", "))],
      ["Labels", labels.length > 0 && safe(labels.join(", "))],
      ["Kept for", node.reserved_for && html`<a href=${jobHref(node.reserved_for)}>${node.reserved_for}</a>`],
      ["Drained until", node.drain_deadline && dateTime(node.drain_deadline)],
      ["Gone since", node.gone_at && html`${dateTime(node.gone_at)} (<${Ago} at=${node.gone_at} />)`],
      ["Joined", node.joined_at && dateTime(node.joined_at)],
      ["Host", safe(node.host || "")],
      ["Epoch", node.epoch],
    ]} />
  <//>`;
}

const Figures = ({ figures }) => html`<${Panel} title="Monitor">
  <${Fields} rows=${[
    ["Cores", figures.cpus],
    ["Load, 1 min", figures.load1?.toFixed(2)],
    ["Peak of memory", kib(figures.peak_mem_used_kb)],
    ["Disk free", figures.disk_free_kb !== undefined && bytes(figures.disk_free_kb * 1024)],
    ["Up for", figures.uptime_s !== undefined && duration(figures.uptime_s * 1000)],
    ["GPUs", figures.gpus?.length || null],
    ["Reports", compact(figures.reports || 0)],
  ]} />
<//>`;
