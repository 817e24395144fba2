// Requests to the Hub, and what may come of them: an answer, a Problem, or Away.
//
// Every URL is relative to where this page lies, so that it works below a proxy's prefix. It keeps
// nothing and repeats nothing: live.js says when to ask again, session.js what a 401 means.

const UI = new URL("./", document.baseURI);
const ROOT = new URL("../", UI);
const PATIENCE_MS = 20_000;
const NO_HUB = new Set([502, 503, 504]);

// A refusal, by the Hub's problem document.
export class Problem extends Error {
  constructor(status, body = {}) {
    super(body.detail || body.title || `The Hub answered ${status}`);
    this.status = status;
    this.code = body.code;
    this.hint = body.hint;
    this.floor = body.floor;
  }
}

// No Hub answered. Whether a request that was sent has arrived is unknown.
export class Away extends Error {
  constructor(why) {
    super(`No Hub answers: ${why}`);
  }
}

export const isAbort = (error) => error instanceof DOMException && error.name === "AbortError";

// Called with each Problem of status 401, and whenever the log behind the Hub is another one.
export const on = { unauthorized: () => {}, otherLog: () => {} };

export function url(path, query = {}) {
  const target = new URL(path, ROOT);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") target.searchParams.set(name, value);
  }
  return target;
}

export const jobPath = (id, rest = "") => `jobs/${encodeURIComponent(id)}${rest}`;

// Answers the response if it is a good one; the signal ends it at any time, also its body.
export async function open(target, options = {}) {
  let response;
  try {
    response = await fetch(target, { credentials: "same-origin", redirect: "error", ...options });
  } catch (error) {
    if (options.signal?.aborted) throw new DOMException("stopped", "AbortError");
    throw new Away(error.message);
  }
  sameLog(response.headers.get("Hpc-Lineage") ?? response.headers.get("Hpc-Hub"));
  if (response.ok) return response;
  const told = (response.headers.get("Content-Type") || "").includes("json");
  if (NO_HUB.has(response.status) && !told) {
    throw new Away(`a proxy says ${response.status}`);
  }
  const problem = new Problem(response.status, told ? await response.json().catch(() => ({})) : {});
  if (problem.status === 401) on.unauthorized();
  throw problem;
}

export async function get(path, query, signal) {
  return (await open(url(path, query), { signal: within(signal) })).json();
}

// Sends what changes something. Hpc-Action cannot be set by a form of another site.
export async function send(method, target, body) {
  const headers = { "Hpc-Action": "1", "Content-Type": "application/json" };
  const json = body === undefined ? undefined : JSON.stringify(body);
  const response = await open(target, { method, headers, body: json, signal: within() });
  return response.status === 204 ? null : response.json().catch(() => null);
}

export const session = (method, body) => send(method, new URL("session", UI), body);
export const whoami = async () =>
  (await open(new URL("session", UI), { signal: within() })).json();

// Records events as one batch; its id is chosen before anything is sent, so a repeat is harmless.
export const ingest = (events, id = batchId()) => send("POST", url("ingest"), { id, events });

export function batchId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID is for secure pages only
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function within(signal) {
  const late = AbortSignal.timeout(PATIENCE_MS);
  return signal ? AbortSignal.any([signal, late]) : late;
}

// A Hub whose log was restored from a copy is the same, and its log is not: cursors hold no more.
let log = null;
function sameLog(id) {
  if (!id) return;
  if (log !== null && log !== id) on.otherLog();
  log = id;
}
