// What a tab remembers of the last minutes: tasks that ended, and what the nodes were doing.
//
// It begins with the end of the log, read once, and grows by what the pages load anyway. The Hub keeps
// no series; what is older than this, `hpc timeline` makes of the whole log.

import * as api from "./api.js";
import { tasksIn } from "./format.js";

const TAIL_EVENTS = 1_000;
const SPAN_MS = 30 * 60_000;
export const BUCKET_MS = 15_000;
export const BUCKETS = 40;
const SAMPLES_MAX = 360;
const FRESH_MS = 60_000; // who looks does so more often than that

const ends = new Map(); // bucket -> tasks that ended in it
const nodes = new Map(); // node id -> samples, oldest first
let before = null; // tasks that had ended when it was looked at last
let looked = -Infinity; // ms: when that was
let beginning = null;
let coveredFrom = Infinity; // ms: from here on all ends are known

const bucketOf = (ms) => Math.floor(ms / BUCKET_MS);

function ended(at, tasks) {
  const bucket = bucketOf(at);
  ends.set(bucket, (ends.get(bucket) || 0) + tasks);
  for (const old of ends.keys()) if (old < bucket - 4 * BUCKETS) ends.delete(old);
}

// Reads the end of the log, at the first call; later ones share it. Where nobody looked for a while it
// is read anew: the totals do not tell when it was that tasks ended.
export function begin(cursor, signal, now = Date.now()) {
  if (now - looked > FRESH_MS) {
    beginning = before = null;
    ends.clear();
  }
  beginning ??= readTail(cursor, signal).catch((error) => {
    beginning = null;
    throw error;
  });
  return beginning;
}

async function readTail(cursor, signal) {
  let from = Math.max(0, cursor - TAIL_EVENTS);
  let page;
  try {
    page = await api.get("events", { cursor: from, limit: TAIL_EVENTS }, signal);
  } catch (error) {
    if (!(error instanceof api.Problem) || error.status !== 410 || !error.floor) throw error;
    from = error.floor - 1;
    page = await api.get("events", { cursor: from, limit: TAIL_EVENTS }, signal);
  }
  coveredFrom = from === 0 ? 0 : (page.data[0]?.at ?? Date.now());
  for (const event of page.data) takeEvent(event);
}

function takeEvent(event) {
  if (event.kind === "HardwareStats") {
    sample(event.payload.ctx.node_id, event.payload.spec, event.at);
  } else if (event.settles) {
    for (const ranges of Object.values(event.settles)) ended(event.at, tasksIn(ranges));
  }
}

// The totals as they are now: what has ended since the last look is told to the present.
export function takeTotals(tasks, now = Date.now()) {
  const total = tasks.succeeded + tasks.failed + tasks.cancelled;
  if (before !== null && total > before) ended(now, total - before);
  before = total;
  looked = now;
}

// Tasks that ended, per minute, in each of the last buckets; null where nothing is known.
export function throughput(now = Date.now()) {
  const last = bucketOf(now);
  const buckets = Array.from({ length: BUCKETS }, (_, n) => last - BUCKETS + 1 + n);
  return {
    times: buckets.map((bucket) => bucket * BUCKET_MS),
    values: buckets.map((bucket) => {
      const known = (bucket + 1) * BUCKET_MS > coveredFrom;
      return known ? ((ends.get(bucket) || 0) * 60_000) / BUCKET_MS : null;
    }),
  };
}

// How many tasks ended a minute in the time that the buckets span, and how long that was until now.
export function mean(now = Date.now()) {
  const from = Math.max(coveredFrom, (bucketOf(now) - BUCKETS + 1) * BUCKET_MS);
  const ms = Math.max(1_000, now - from);
  let tasks = 0;
  for (const [bucket, n] of ends) if (bucket >= bucketOf(from) && bucket <= bucketOf(now)) tasks += n;
  return { rate: (tasks * 60_000) / ms, ms };
}

const percent = (text) => (text === undefined ? null : Number.parseFloat(text));

// A sample of a node; one that was seen before, or is older than the newest, is left out.
function sample(nodeId, spec, at) {
  if (!nodes.has(nodeId)) nodes.set(nodeId, []);
  const samples = nodes.get(nodeId);
  if (samples.length > 0 && samples.at(-1).at >= at) return;
  samples.push({ at, cpu: percent(spec.cpu_usage), memory: spec.mem_used_kb ?? null, load: spec.load1 ?? null });
  while (samples.length > SAMPLES_MAX || samples[0].at < at - SPAN_MS) samples.shift();
}

// The newest figures of the generator `monitor`, by node.
export function takeNodes(figures, now = Date.now()) {
  for (const [nodeId, figure] of Object.entries(figures)) {
    const samples = nodes.get(nodeId);
    if (samples?.reports === figure.reports) continue; // nothing was said since
    sample(nodeId, figure, now);
    nodes.get(nodeId).reports = figure.reports;
  }
}

export const samplesOf = (nodeId) => nodes.get(nodeId) || [];
