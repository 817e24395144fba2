// How a job stands, in words and figures: why it waits, how it ended, when what began. As the CLI says it.

import { bytes, duration, mib, plural, tasksIn } from "./format.js";
import { SETTLED } from "./states.js";

const SIGNALS = { 1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 6: "SIGABRT", 9: "SIGKILL", 11: "SIGSEGV", 13: "SIGPIPE", 15: "SIGTERM" };

const named = (n) => (SIGNALS[n] ? `signal ${n} (${SIGNALS[n]})` : `signal ${n}`);

// How one attempt ended, or null where it goes on.
export function ending(attempt, spec = {}, cause = attempt.cause) {
  const words = {
    oom: () => `over its memory limit${spec.memory ? ` of ${mib(spec.memory)}` : ""}`,
    "time limit": () => `over its time limit${spec.time_limit ? ` of ${duration(spec.time_limit * 1000)}` : ""}`,
    "output limit": () => `over its output limit${spec.output_limit ? ` of ${bytes(spec.output_limit)}` : ""}`,
    lost: () => "lost with its relay three times while it ran",
    cancelled: () => "cancelled",
    dependency: () => "what it came after did not succeed",
    "not found": () => `command ${spec.command} was not found`,
    "cwd not found": () => `folder ${spec.cwd} does not exist`,
    refused: () => "refused by its node",
  };
  const told = words[cause]?.();
  if (told) return attempt.detail ? `${told} (${attempt.detail})` : told;
  if (attempt.signal !== null && attempt.signal !== undefined) return `ended by ${named(attempt.signal)}`;
  if (attempt.exit_code !== null && attempt.exit_code !== undefined) return `exit code ${attempt.exit_code}`;
  return cause || null;
}

// Why a job did not succeed, each reason once.
export function reasons(job) {
  const found = new Map();
  for (const row of job.settled) {
    if (row.state === "succeeded") continue;
    const attempts = job.attempts.filter((one) => one.state === row.state && one.cause === row.cause);
    const decided = attempts.length > 0 && row.state === "failed" ? attempts : [{ tasks: row.tasks }];
    for (const attempt of decided) {
      const why = row.reason || ending(attempt, job.spec, row.cause) || row.state;
      found.set(why, (found.get(why) || 0) + tasksIn(attempt.tasks));
    }
  }
  const all = tasksIn(job.tasks);
  return [...found].map(([why, n]) => (all === 1 ? why : `${plural(Math.min(n, all), "task")}: ${why}`));
}

export const isSettled = (job) => SETTLED.has(job.state);

// A line for a list: why it waits or how it ended; nothing of what runs well or succeeded.
export function remark(job) {
  if (job.why && !isSettled(job)) return job.why.replace(/: hpc [\w -]+$/, "");
  return job.state === "succeeded" ? "" : reasons(job).join("; ");
}

const has = (ranges, task) =>
  String(ranges).split(",").some((part) => {
    const [first, last = first] = part.split("-").map(Number);
    return first <= task && task <= last;
  });

// The number of a task's newest attempt; 0 before the first.
export const attemptOf = (job, task) =>
  job.attempts.reduce((newest, one) => (one.attempt > newest && has(one.tasks, Number(task)) ? one.attempt : newest), 0);

const known = (values) => values.filter((value) => value !== null && value !== undefined);

export function startedAt(job) {
  const times = known(job.attempts.map((one) => one.started_at));
  return times.length > 0 ? times.reduce((a, b) => Math.min(a, b)) : null;
}

// When the last attempt ended; null while something goes on.
export function finishedAt(job) {
  if (!isSettled(job)) return null;
  const times = known(job.attempts.map((one) => one.finished_at));
  return times.length > 0 ? times.reduce((a, b) => Math.max(a, b)) : null;
}

export const nodesOf = (job) => [...new Set(job.attempts.map((one) => one.node_id))].filter(Boolean);

// What its attempts took at most, where something is known.
export function used(job, now) {
  const peaks = known(job.attempts.map((one) => one.peak_memory_bytes));
  let cpu_s = 0;
  let wall_ms = 0;
  let longest_ms = 0;
  for (const one of job.attempts) {
    if (one.started_at === null) continue;
    const ms = Math.max(0, (one.finished_at ?? now) - one.started_at);
    longest_ms = Math.max(longest_ms, ms);
    if (one.finished_at === null) continue;
    cpu_s += one.cpu_seconds || 0;
    wall_ms += ms * tasksIn(one.tasks);
  }
  return { peak: peaks.length > 0 ? peaks.reduce((a, b) => Math.max(a, b)) : null, cpu_s, wall_ms, longest_ms };
}

// The share of `values` below which a part of them lies; null without any.
export function percentile(values, share) {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}
