// What a task has written: followed while it runs, searched, wrapped, and saved whole.
//
// Output is text: terminal sequences are taken out, control characters are shown as pictures. Of a long
// one the end is there first and the rest part by part; the download has all of it, byte by byte.

import * as api from "./api.js";
import { bytes, safe } from "./format.js";
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./html.js";
import { useKeys } from "./keys.js";
import { useOutput } from "./logfeed.js";
import { attemptOf, isSettled } from "./outcome.js";
import { jobHref, setQuery } from "./router.js";
import { find, mark } from "./marks.js";
import { Since } from "./ui.js";

const UP_PX = 60;

export function Log({ job, task, stream, compact = false }) {
  const first = firstTask(job);
  const [shownStream, setStream] = useState(stream || "stdout");
  const shownTask = task ?? first;
  const query = { task: shownTask, stream: shownStream };
  const [follow, setFollow] = useState(true);
  const begun = isSettled(job) ? "settled" : job.attempts.length > 0; // what was leased may have output
  const { output, version, known, note, other, error, ended, away, part } = useOutput(job.job_id, { ...query, attempt: attemptOf(job, shownTask) }, { begun, follow, brief: compact });
  const blocks = useMemo(() => output.shown, [output, version]);
  const hasErrors = shownStream === "stdout" && isSettled(job) && ended && other;
  const [wrap, setWrap] = useState(true);
  const [sought, seek] = useState("");
  const [at, setAt] = useState(0);
  const box = useRef(null);
  const hits = useMemo(() => find(blocks, sought), [blocks, sought]);
  useFollow(box, follow && !away, setFollow, version);
  useStill(box, blocks);
  const marked = useRef("");
  useEffect(() => {
    const now = `${at} ${sought}`;
    mark(box.current, hits, at, now !== marked.current); // who reads on while more comes is left alone
    marked.current = now;
  }, [hits, at]);
  const step = (by) => {
    if (hits.length === 0) return;
    const next = (at + by + hits.length) % hits.length;
    setFollow(false);
    setAt(next);
    mark(box.current, hits, next); // also where it is the same one again
  };
  const toError = () => output.firstError !== null && (setFollow(false), reveal(box.current, output.firstError));
  const turn = (on) => (setFollow(on), on && away && part.toEnd());
  useKeys(compact ? {} : { p: () => turn(!follow), e: toError }, [output, compact, follow, away]);
  const choose = (change) => (compact ? change.stream && setStream(change.stream) : (change.stream && setStream(change.stream), setQuery(change)));
  return html`<div class=${`log ${compact ? "compact" : ""}`}>
    <div class="log-tools">
      <div class="segments" role="group" aria-label="Stream">
        ${["stdout", "stderr"].map((name) => html`<button key=${name} type="button" aria-pressed=${shownStream === name ? "true" : "false"} onClick=${() => choose({ stream: name })}>${name}${name === "stderr" && hasErrors && html`<span class="has" title="It has output" aria-hidden="true"></span>`}</button>`)}
      </div>
      ${job.tasks !== "0" && !compact && html`<${TaskChoice} job=${job} task=${shownTask} onChoose=${(n) => choose({ task: n })} />`}
      ${!compact && html`<${Search} isPart=${output.begin > 0 || away} hits=${hits.length} at=${at} sought=${sought} onSeek=${(text) => (setFollow(false), seek(text), setAt(0))} onStep=${step} />
        <button type="button" disabled=${output.firstError === null} onClick=${toError}>First error</button>
        <label class="check"><input type="checkbox" checked=${wrap} onChange=${(event) => setWrap(event.target.checked)} />Wrap</label>`}
      <label class="check"><input type="checkbox" checked=${follow} onChange=${(event) => turn(event.target.checked)} />Follow</label>
      <a class="button" href=${api.url(api.jobPath(job.job_id, "/log"), query).href} download=${`${job.job_id}-${shownTask}.${shownStream}.txt`}>Download</a>
    </div>
    ${note && html`<p class="log-note">${safe(note)}</p>`}
    ${error && html`<p class="log-note">${safe(error.message)}</p>`}
    ${output.begin > 0 && (compact ? html`<${Brief} job=${job} task=${shownTask} output=${output} />` : html`<p class="log-part"><span>${bytes(output.begin)} before this</span><button type="button" class="small" disabled=${part.busy} onClick=${() => (setFollow(false), part.earlier())}>Show earlier</button></p>`)}
    <div class=${`log-text ${wrap ? "wrap" : ""} ${shownStream}`} ref=${box} tabindex="0" role="log" aria-live="off" aria-label=${`${shownStream} of task ${shownTask}`}>
      ${blocks.length === 0 && (known || !begun) && output.begin === 0 ? html`<${NoOutput} job=${job} stream=${shownStream} ended=${ended} onErrors=${hasErrors && (() => choose({ stream: "stderr" }))} />` : blocks.map((block) => html`<pre key=${block.n} data-n=${block.n}>${block.text}</pre>`)}
    </div>
    ${away && html`<p class="log-part"><span>There is more after this</span><button type="button" class="small" disabled=${part.busy} onClick=${part.later}>Show later</button><button type="button" class="small" onClick=${() => (setFollow(true), part.toEnd())}>To the end</button></p>`}
  </div>`;
}

const Brief = ({ job, task, output }) => html`<p class="log-part"><span>The end of it; <a href=${jobHref(job.job_id, "log", { task })}>its page</a> has the ${bytes(output.begin)} before.</span></p>`;

// The one that is most likely asked about: the first that failed, else the first.
function firstTask(job) {
  const failed = job.settled.find((row) => row.state === "failed");
  return String(failed?.tasks ?? job.tasks).split(/[-,]/)[0];
}

function NoOutput({ job, stream, ended, onErrors }) {
  const since = job.attempts.find((one) => one.state === "running")?.started_at;
  if (job.attempts.length === 0) return html`<p class="log-none">No output: ${isSettled(job) ? "it never ran" : "it has not begun"}.</p>`;
  if (ended) return html`<p class="log-none">Nothing was written to ${stream}. ${onErrors && html`<button type="button" class="small" onClick=${onErrors}>See stderr</button>`}</p>`;
  return html`<p class="log-none">No output yet${since && html` (running <${Since} from=${since} />)`}.</p>`;
}

const TaskChoice = ({ job, task, onChoose }) => html`<label class="inline">Task
  <input type="number" min="0" value=${task} title=${`Tasks ${job.tasks}`} onChange=${(event) => onChoose(event.target.value)} />
</label>`;

function Search({ isPart, hits, at, sought, onSeek, onStep }) {
  const keys = (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    onStep(event.shiftKey ? -1 : 1);
  };
  return html`<span class="log-search">
    <input type="search" data-search placeholder="Find" aria-label="Find in the log" value=${sought} onInput=${(event) => onSeek(event.target.value)} onKeyDown=${keys} />
    <span class="muted num" aria-live="polite">${sought && (hits > 0 ? `${at + 1} of ${hits}` : isPart ? "none shown" : "none")}</span>
  </span>`;
}

// What was at the top stays in sight as text is put before it.
function useStill(box, blocks) {
  const was = useRef(undefined);
  useLayoutEffect(() => {
    const first = blocks[0]?.n;
    const { scrollTop } = box.current;
    // Elsewhere than at its very top a browser does it by itself, if it can.
    const isOurs = scrollTop === 0 || !CSS.supports("overflow-anchor", "auto");
    if (first < was.current && isOurs) {
      const old = box.current.querySelector(`pre[data-n="${was.current}"]`);
      if (old) box.current.scrollTop = scrollTop + old.offsetTop - box.current.firstElementChild.offsetTop;
    }
    was.current = first;
  }, [blocks]);
}

// Stays at the end as text comes, until somebody scrolls up.
function useFollow(box, follow, setFollow, version) {
  const top = useRef(0);
  useLayoutEffect(() => {
    if (!follow) return;
    box.current.scrollTop = box.current.scrollHeight;
    top.current = box.current.scrollTop;
  }, [version, follow]);
  useEffect(() => {
    const element = box.current;
    const moved = () => {
      const isUp = element.scrollTop < top.current && element.scrollHeight - element.scrollTop - element.clientHeight > UP_PX;
      top.current = element.scrollTop;
      if (isUp) setFollow(false);
    };
    element.addEventListener("scroll", moved, { passive: true });
    return () => element.removeEventListener("scroll", moved);
  }, []);
}

function reveal(box, { block, offset, length }) {
  mark(box, [{ block, offset, length }], 0);
}

