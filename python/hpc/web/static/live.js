// What keeps a page true: one stream of news, and polling where a stream does not get through.
//
// There is at most one feed at a time, the shown page's. It rejoins at its cursor, so that nothing is
// missed; it ends while the tab is hidden or nobody is logged in. `link` says how it stands.

import * as api from "./api.js";
import { useCallback, useEffect, useRef, useState } from "./html.js";
import { session } from "./session.js";
import { read } from "./sse.js";
import { store } from "./store.js";

const POLL_MS = 5_000;
const POLLS_BEFORE_STREAM = 12;
const PROBE_MS = 1_000;
const PROBE_PATIENCE_MS = 2_000;
const FIRST_BYTE_MS = 5_000;
const SILENCE_MS = 40_000; // the Hub says something every 15 s
const FAILURES_MAX = 3;

// mode: connecting, live, polling. `epoch` grows each time the Hub has come back.
export const link = store({ mode: "connecting", away: false, epoch: 0 });
function told(change) {
  const now = link.get();
  if (Object.keys(change).some((key) => change[key] !== now[key])) link.set({ ...now, ...change });
}

const listeners = new Set();
const tellNews = () => listeners.forEach((listen) => listen());

// The feed of most pages: which generators have news, told by the Hub as seldom as it likes.
export const pokes = () => ({
  target: () => api.url("pokes"),
  take: (messages) => messages.length > 0 && tellNews(),
  poll: async () => tellNews(),
});

// The log from a cursor on. `take` gets events in order, and none of them twice.
export function eventFeed({ cursor, job, take }) {
  const deliver = (events) => {
    const fresh = events.filter((event) => event.seq > cursor);
    if (fresh.length === 0) return;
    cursor = fresh[fresh.length - 1].seq;
    take(fresh);
    tellNews();
  };
  return {
    target: () => api.url("events", { cursor, job, follow: true }),
    take(messages) {
      deliver(messages.filter((said) => said.data).map((said) => JSON.parse(said.data)));
      const last = Number(messages.at(-1)?.id ?? cursor); // an id alone: others have come so far
      cursor = Math.max(cursor, last);
    },
    async poll(signal) {
      for (let page; page === undefined || page.next !== null; ) {
        page = await api.get("events", { cursor, job, limit: 500 }, signal);
        deliver(page.data);
        cursor = Math.max(cursor, page.next ?? page.cursor);
      }
    },
    refused: (problem) => {
      if (problem.status !== 410 || !(problem.floor > cursor)) return false;
      cursor = problem.floor - 1;
      return true;
    },
  };
}

export function useFeed(make, deps) {
  useEffect(() => {
    const feed = make();
    if (!feed) return undefined;
    const ending = new AbortController();
    run(feed, ending.signal).catch((error) => api.isAbort(error) || console.error(error));
    return () => ending.abort();
  }, deps);
}

// Loads now, and again when there are news, at most once in `gap_ms`; old data stay while it fails.
export function useLoad(load, deps, { gap_ms = 1_000, every_ms = 0 } = {}) {
  const [state, set] = useState({ data: undefined, error: null });
  const again = useRef(() => {});
  useEffect(() => {
    const turn = loader(load, set, gap_ms);
    again.current = turn.now;
    listeners.add(turn.ask);
    const timer = every_ms && setInterval(turn.ask, every_ms);
    return () => {
      listeners.delete(turn.ask);
      clearInterval(timer);
      turn.end();
    };
  }, deps);
  return { ...state, reload: useCallback(() => again.current(), []) };
}

function loader(load, set, gap_ms) {
  const ending = new AbortController();
  let busy = false;
  let wanted = false;
  let timer = 0;
  const ask = () => {
    wanted = true;
    if (!busy) turn();
  };
  // After somebody has done something the rest between two loads is cut short.
  const now = () => {
    wanted = true;
    if (timer) rested();
    else ask();
  };
  const rested = () => {
    clearTimeout(timer);
    timer = 0;
    busy = false;
    turn();
  };
  async function turn() {
    if (!wanted || document.hidden || session.get().state !== "in" || ending.signal.aborted) return;
    busy = true;
    wanted = false;
    const began = performance.now();
    try {
      const data = await load(ending.signal);
      if (!ending.signal.aborted) set({ data, error: null });
    } catch (error) {
      if (error instanceof api.Away) wanted = true; // nothing was told; news may not come for long
      else if (!ending.signal.aborted) set((old) => ({ ...old, error }));
    }
    // A slow answer is asked for more seldom: the Hub has others to serve.
    const rest_ms = Math.max(gap_ms, 3 * (performance.now() - began));
    timer = setTimeout(rested, rest_ms);
  }
  ask();
  return { ask, now, end: () => (clearTimeout(timer), ending.abort()) };
}

async function run(feed, ending) {
  let failures = 0;
  while (!ending.aborted) {
    await allowed(ending);
    const began = performance.now();
    try {
      await stream(feed, ending);
    } catch (error) {
      if (ending.aborted) return;
      if (error instanceof api.Problem && !feed.refused?.(error)) await pause(PROBE_MS, ending);
    }
    if (ending.aborted || document.hidden) continue;
    failures = performance.now() - began > SILENCE_MS ? 0 : failures + 1;
    const wasAway = await untilReady(ending);
    if (wasAway) failures = 0;
    if (failures >= FAILURES_MAX) {
      await polling(feed, ending);
      failures = 0;
    } else if (!wasAway) {
      await pause(200 * failures, ending);
    }
  }
}

// Reads the stream until it ends, falls silent, or nobody looks any more.
async function stream(feed, ending) {
  const stopping = new AbortController();
  const stop = () => stopping.abort();
  const hide = () => document.hidden && stop();
  let silence = setTimeout(stop, FIRST_BYTE_MS);
  ending.addEventListener("abort", stop);
  document.addEventListener("visibilitychange", hide);
  try {
    const response = await api.open(feed.target(), { signal: stopping.signal });
    await read(response, (messages) => {
      clearTimeout(silence);
      silence = setTimeout(stop, SILENCE_MS);
      told({ mode: "live" });
      feed.take(messages);
    });
  } finally {
    clearTimeout(silence);
    ending.removeEventListener("abort", stop);
    document.removeEventListener("visibilitychange", hide);
  }
}

async function polling(feed, ending) {
  told({ mode: "polling" });
  for (let n = 0; n < POLLS_BEFORE_STREAM && !ending.aborted; n++) {
    await allowed(ending);
    try {
      await feed.poll(ending);
    } catch (error) {
      if (ending.aborted) return;
      if (error instanceof api.Away) await untilReady(ending);
      else if (error instanceof api.Problem) feed.refused?.(error);
    }
    await pause(POLL_MS, ending);
  }
}

// Returns once a Hub answers; true if it was away meanwhile.
async function untilReady(ending) {
  let away = false;
  while (!ending.aborted && !(await ready(ending))) {
    away = true;
    told({ away: true });
    await pause(PROBE_MS, ending);
  }
  if (link.get().away && !ending.aborted) {
    told({ away: false, epoch: link.get().epoch + 1 });
    tellNews();
  }
  return away;
}

async function ready(ending) {
  const signal = AbortSignal.any([ending, AbortSignal.timeout(PROBE_PATIENCE_MS)]);
  try {
    return (await fetch(api.url("readyz"), { signal, cache: "no-store" })).ok;
  } catch {
    return ending.aborted;
  }
}

// Waits until the tab is shown and somebody is logged in.
function allowed(ending) {
  return new Promise((resolve) => {
    const look = () => {
      if (!ending.aborted && (document.hidden || session.get().state !== "in")) return;
      document.removeEventListener("visibilitychange", look);
      ending.removeEventListener("abort", look);
      forget();
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    ending.addEventListener("abort", look);
    const forget = session.subscribe(look);
    look();
  });
}

// What was loaded before the tab was hidden, or the session ended, is old.
document.addEventListener("visibilitychange", () => document.hidden || tellNews());
session.subscribe((who) => who.state === "in" && tellNews());

function pause(ms, ending) {
  return new Promise((resolve) => {
    const over = () => (clearTimeout(timer), ending.removeEventListener("abort", over), resolve());
    const timer = setTimeout(over, ms);
    ending.addEventListener("abort", over);
  });
}
