// One stream of one task, as it is read: its end first, what comes after it, and parts before on demand.
//
// Where the stream breaks off (a proxy lets nothing stay silent for ever), the Hub was away, or the tab
// was hidden, it goes on at the byte where it was. What is shown is bounded: somebody who does not follow
// keeps what is read, and what comes is left until it is asked for (`away`).

import * as api from "./api.js";
import { useEffect, useRef, useState } from "./html.js";
import { link } from "./live.js";
import { Output } from "./output.js";
import { session } from "./session.js";
import { useStore, visible } from "./store.js";

const FLUSH_MS = 120;
const AGAIN_MS = 2_000;
const PART_BYTES = 1024 * 1024;
const BRIEF_BYTES = 64 * 1024;

const EMPTY = { known: false, other: false, version: 0, note: null, error: null, ended: false, away: false, busy: false };

// `attempt` is not asked for: another one's output is another stream. `begun`: there may be output.
export function useOutput(id, { task, stream, attempt }, { begun, follow, brief }) {
  const { epoch } = useStore(link);
  const seen = useStore(visible);
  const who = useStore(session);
  const [state, set] = useState({ ...EMPTY, output: new Output() });
  const [turns, turn] = useState(0); // how often it was begun, or went on
  const reading = useRef(null);
  const what = `${id} ${task} ${stream} ${attempt}`;
  const path = api.jobPath(id, "/log");
  const open = (query, signal) => api.open(api.url(path, { task, stream, ...query }), { signal });

  if (reading.current?.what !== what) reading.current = { what, output: new Output(), away: false, isSure: true };
  const now = reading.current;
  now.follow = follow;
  const show = (change = {}) => {
    if (reading.current === now) set((old) => ({ ...old, ...change, output: now.output, away: now.away, version: old.version + 1 }));
  };
  useEffect(() => show(EMPTY), [what]);

  const reads = ((seen && who.state === "in") || state.ended) && begun && !now.away;
  useEffect(() => {
    if (!reads) return undefined;
    const ending = new AbortController();
    let timer = 0;
    let again = 0;
    const shown = (change) => {
      clearTimeout(timer);
      timer = 0;
      if (!ending.signal.aborted) show(change);
    };
    const arrived = () => (timer ||= setTimeout(shown, FLUSH_MS));
    const fail = (error) => {
      if (api.isAbort(error)) return;
      shown({ error });
      if (!(error instanceof api.Problem)) again = setTimeout(() => turn((n) => n + 1), AGAIN_MS);
    };
    const last = brief ? BRIEF_BYTES : PART_BYTES;
    const ask = (after) => open({ after, last, follow: true }, ending.signal);
    attach(now, ask, (told) => shown({ ...told, error: null, known: true }), arrived).then(() => shown({ ended: !now.away }), fail);
    return () => (clearTimeout(timer), clearTimeout(again), ending.abort());
  }, [what, reads, begun, epoch, turns]);

  // Loads a part and has `take` put it where it belongs, unless that has gone meanwhile.
  const load = async (query, take) => {
    const { output } = now;
    const { begin, end } = output;
    set((old) => ({ ...old, busy: true }));
    try {
      const response = await open(query);
      const bytes = new Uint8Array(await response.arrayBuffer());
      const stays = now.output === output && output.begin === begin && (now.away ? output.end === end : true);
      if (stays) take(output, bytes, response.headers);
      show({ busy: false, error: null });
    } catch (error) {
      show({ busy: false, error });
    }
  };
  const toEnd = () => {
    Object.assign(now, { output: new Output(), away: false });
    turn((n) => n + 1);
    show();
  };
  const earlier = () => {
    now.follow = false;
    return load({ before: now.output.begin, last: PART_BYTES }, (output, bytes, headers) => {
      const part = new Output(Number(headers.get("Hpc-Offset")));
      part.add(bytes);
      part.finish();
      if (output.prepend(part)) now.away = true;
    });
  };
  const later = () => {
    const before = now.output.end + PART_BYTES;
    return load({ after: now.output.end, before }, (output, bytes, headers) => {
      output.add(bytes);
      output.trim();
      if (headers.get("Hpc-Note")) output.end = before; // a hole moves what is counted
      if (bytes.length < PART_BYTES) now.away = false; // that was all: it goes on by itself
    });
  };
  return { ...state, part: { busy: state.busy, earlier, later, toEnd } };
}

// Reads on where it was, until the stream ends or there is no room for who does not follow.
async function attach(now, ask, told, arrived) {
  // A hole in the stream moves what is counted, and is only told as an answer begins.
  const from = now.isSure ? now.output.end : 0;
  let response = await ask(from);
  if (from > 0 && response.headers.get("Hpc-Note")) {
    response.body.cancel();
    response = await ask(0);
  }
  const begin = Number(response.headers.get("Hpc-Offset"));
  now.isSure = !response.headers.get("Hpc-Note");
  const isAhead = from > 0 && begin > from && now.isSure;
  if (isAhead && !now.follow) {
    now.away = true;
    return;
  }
  if (begin !== now.output.end || !now.isSure) now.output = new Output(begin);
  // Only of what is settled it says so; `other` is not known to be empty.
  told({ note: response.headers.get("Hpc-Note"), other: response.headers.get("Hpc-Empty") === null });
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (now.away) return;
    if (done) break;
    if (now.output.full && !now.follow) {
      now.away = true;
      return;
    }
    now.output.add(value);
    now.output.trim();
    arrived();
  }
  now.output.finish();
}
