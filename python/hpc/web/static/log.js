// What a task has written: followed while it runs, searched, wrapped, and saved whole.
//
// Output is text: terminal sequences are taken out, control characters are shown as pictures. The page
// keeps the newest part of a long one; the download has all of it, byte by byte.

import * as api from "./api.js";
import { bytes, safe } from "./format.js";
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./html.js";
import { useKeys } from "./keys.js";
import { link } from "./live.js";
import { Output } from "./output.js";
import { isSettled } from "./outcome.js";
import { setQuery } from "./router.js";
import { session } from "./session.js";
import { useStore, visible } from "./store.js";
import { find, mark } from "./marks.js";
import { Since } from "./ui.js";

const FLUSH_MS = 120;
const AGAIN_MS = 2_000;

export function Log({ job, task, stream, compact = false }) {
  const first = firstTask(job);
  const [shownStream, setStream] = useState(stream || "stdout");
  const shownTask = task ?? first;
  const query = { task: shownTask, stream: shownStream };
  const begun = isSettled(job) ? "settled" : job.attempts.length > 0; // what was leased may have output
  const { output, version, note, error, ended } = useOutput(job.job_id, query, begun);
  const [wrap, setWrap] = useState(true);
  const [follow, setFollow] = useState(true);
  const [sought, seek] = useState("");
  const [at, setAt] = useState(0);
  const box = useRef(null);
  const hits = useMemo(() => find(output.blocks, sought), [version, sought]);
  useFollow(box, follow, setFollow, version);
  useEffect(() => mark(box.current, hits, at), [hits, at]);
  const step = (by) => {
    if (hits.length === 0) return;
    setFollow(false);
    setAt((old) => (old + by + hits.length) % hits.length);
  };
  const toError = () => output.firstError !== null && (setFollow(false), reveal(box.current, output.firstError));
  useKeys(compact ? {} : { p: () => setFollow((on) => !on), e: toError }, [output, compact]);
  const choose = (change) => (compact ? change.stream && setStream(change.stream) : (change.stream && setStream(change.stream), setQuery(change)));
  return html`<div class=${`log ${compact ? "compact" : ""}`}>
    <div class="log-tools">
      <div class="segments" role="group" aria-label="Stream">
        ${["stdout", "stderr"].map((name) => html`<button key=${name} type="button" aria-pressed=${shownStream === name ? "true" : "false"} onClick=${() => choose({ stream: name })}>${name}</button>`)}
      </div>
      ${job.tasks !== "0" && !compact && html`<${TaskChoice} job=${job} task=${shownTask} onChoose=${(n) => choose({ task: n })} />`}
      ${!compact && html`<${Search} hits=${hits.length} at=${at} sought=${sought} onSeek=${(text) => (seek(text), setAt(0))} onStep=${step} />
        <button type="button" disabled=${output.firstError === null} onClick=${toError}>First error</button>
        <label class="check"><input type="checkbox" checked=${wrap} onChange=${(event) => setWrap(event.target.checked)} />Wrap</label>`}
      <label class="check"><input type="checkbox" checked=${follow} onChange=${(event) => setFollow(event.target.checked)} />Follow</label>
      <a class="button" href=${api.url(api.jobPath(job.job_id, "/log"), query).href} download=${`${job.job_id}-${shownTask}.${shownStream}.txt`}>Download</a>
    </div>
    ${note && html`<p class="log-note">${safe(note)}</p>`}
    ${output.cut > 0 && html`<p class="log-note">The first ${bytes(output.cut)} are left out here; the download has them.</p>`}
    ${error && html`<p class="log-note">${safe(error.message)}</p>`}
    <div class=${`log-text ${wrap ? "wrap" : ""} ${shownStream}`} ref=${box} tabindex="0" role="log" aria-live="off" aria-label=${`${shownStream} of task ${shownTask}`}>
      ${output.empty ? html`<${NoOutput} job=${job} stream=${shownStream} ended=${ended} />` : output.blocks.map((block) => html`<pre key=${block.n} data-n=${block.n}>${block.text}</pre>`)}
    </div>
  </div>`;
}

// The one that is most likely asked about: the first that failed, else the first.
function firstTask(job) {
  const failed = job.settled.find((row) => row.state === "failed");
  return String(failed?.tasks ?? job.tasks).split(/[-,]/)[0];
}

function NoOutput({ job, stream, ended }) {
  const since = job.attempts.find((one) => one.state === "running")?.started_at;
  if (job.attempts.length === 0) return html`<p class="log-none">No output: ${isSettled(job) ? "it never ran" : "it has not begun"}.</p>`;
  if (ended) return html`<p class="log-none">Nothing was written to ${stream}.</p>`;
  return html`<p class="log-none">No output yet${since && html` (running <${Since} from=${since} />)`}.</p>`;
}

const TaskChoice = ({ job, task, onChoose }) => html`<label class="inline">Task
  <input type="number" min="0" value=${task} title=${`Tasks ${job.tasks}`} onChange=${(event) => onChoose(event.target.value)} />
</label>`;

function Search({ hits, at, sought, onSeek, onStep }) {
  const keys = (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    onStep(event.shiftKey ? -1 : 1);
  };
  return html`<span class="log-search">
    <input type="search" data-search placeholder="Find" aria-label="Find in the log" value=${sought} onInput=${(event) => onSeek(event.target.value)} onKeyDown=${keys} />
    <span class="muted num" aria-live="polite">${sought && (hits > 0 ? `${at + 1} of ${hits}` : "none")}</span>
  </span>`;
}

// Reads one stream of one task; from the beginning again where it broke off (a proxy lets nothing stay
// silent for ever), where the Hub was away meanwhile, or the tab was hidden while more could come.
function useOutput(id, { task, stream }, begun) {
  const { epoch } = useStore(link);
  const seen = useStore(visible);
  const who = useStore(session);
  const shown = useRef("");
  const [state, set] = useState({ output: new Output(), version: 0, note: null, error: null, ended: false });
  const [broken, breaks] = useState(0); // so often
  const reads = (seen && who.state === "in") || state.ended;
  useEffect(() => {
    if (!reads) return undefined;
    const ending = new AbortController();
    const output = new Output();
    let timer = 0;
    let again = 0;
    const show = (change = {}) => {
      timer = 0;
      if (!ending.signal.aborted) set((old) => ({ ...old, ...change, output, version: old.version + 1 }));
    };
    const what = `${id} ${task} ${stream}`;
    if (shown.current !== what) show({ note: null, error: null, ended: false });
    shown.current = what;
    if (!begun) return undefined;
    const soon = () => (timer ||= setTimeout(show, FLUSH_MS));
    const fail = (error) => {
      if (api.isAbort(error)) return;
      show({ error });
      if (!(error instanceof api.Problem)) again = setTimeout(() => breaks((n) => n + 1), AGAIN_MS);
    };
    read(id, { task, stream }, output, ending.signal, (note) => show({ note, error: null }), soon).then(() => show({ ended: true }), fail);
    return () => (clearTimeout(timer), clearTimeout(again), ending.abort());
  }, [id, task, stream, begun, epoch, reads, broken]);
  return state;
}

async function read(id, query, output, signal, told, arrived) {
  const target = api.url(api.jobPath(id, "/log"), { ...query, follow: true });
  const response = await api.open(target, { signal });
  told(response.headers.get("Hpc-Note"));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    output.add(value);
    arrived();
  }
  output.finish();
}

// Stays at the end as text comes, until somebody scrolls up.
function useFollow(box, follow, setFollow, version) {
  useLayoutEffect(() => {
    if (follow) box.current.scrollTop = box.current.scrollHeight;
  }, [version, follow]);
  useEffect(() => {
    const element = box.current;
    const up = (event) => event.deltaY < 0 && element.scrollHeight > element.clientHeight && setFollow(false);
    element.addEventListener("wheel", up, { passive: true });
    return () => element.removeEventListener("wheel", up);
  }, []);
}

function reveal(box, { block, offset, length }) {
  mark(box, [{ block, offset, length }], 0);
}

