// Small parts that every page uses: panels, times, meters, things to copy, what is missing or wrong.

import { html, useEffect, useRef, useState } from "./html.js";
import * as format from "./format.js";
import { clock, useStore } from "./store.js";

export const Panel = ({ title, aside, children, className = "" }) => html`
  <section class=${`panel ${className}`}>
    ${title && html`<header class="panel-head"><h2>${title}</h2>${aside && html`<div class="aside">${aside}</div>`}</header>`}
    ${children}
  </section>
`;

// "3 min ago", with the whole time where one points.
export function Ago({ at }) {
  const now = useStore(clock);
  if (at === null || at === undefined) return "–";
  return html`<time dateTime=${new Date(at).toISOString()} title=${format.dateTime(at)}>${format.ago(at, now)}</time>`;
}

export function Since({ from, to }) {
  const now = useStore(clock);
  if (from === null || from === undefined) return "–";
  return html`${format.duration((to ?? now) - from)}`;
}

export const At = ({ at, millis }) =>
  at === null || at === undefined
    ? "–"
    : html`<time dateTime=${new Date(at).toISOString()} title=${format.dateTime(at)}>${format.time(at, { millis })}</time>`;

// A share of a whole, by length and by number. What is full is well used, unless it is a limit (`isLimit`)
// that ends a job, or there is more in it than there should be.
export function Meter({ value, of, text, label, isLimit }) {
  const part = of > 0 ? value / of : 0;
  const share = Math.min(1, Math.max(0, part));
  const level = part > 1 || (isLimit && share > 0.95) ? "over" : isLimit && share > 0.8 ? "high" : "";
  return html`<span class="meter-row">
    <span class=${`meter ${level}`} role="img" aria-label=${`${label}: ${Math.round(share * 100)} %`}>
      <span style=${{ width: `${share * 100}%` }}></span>
    </span>
    <span class="num">${text}</span>
  </span>`;
}

export function Copy({ text, label = "Copy" }) {
  const [done, set] = useState(false);
  useEffect(() => {
    const timer = done && setTimeout(() => set(false), 1500);
    return () => clearTimeout(timer);
  }, [done]);
  const copy = async () => set(await copied(text));
  return html`<button type="button" class="quiet small" onClick=${copy}>${done ? "Copied" : label}</button>`;
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copiedByHand(text); // the clipboard's interface is for secure pages only
  }
}

function copiedByHand(text) {
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

export const Command = ({ children }) =>
  html`<span class="command"><code>${children}</code><${Copy} text=${children} /></span>`;

export const Empty = ({ title, children }) => html`<div class="empty"><p class="empty-title">${title}</p>${children}</div>`;

export const Fault = ({ error, what }) =>
  error &&
  html`<div class="fault" role="alert"><strong>${what || "This could not be loaded"}.</strong> ${format.safe(error.message)}${error.hint && html`<span class="hint">${format.safe(error.hint)}</span>`}</div>`;

export const Loading = () => html`<div class="loading" aria-label="Loading"><span></span><span></span><span></span></div>`;

// Rows of a name and what stands there; those without a value are left out.
export const Fields = ({ rows }) => html`
  <dl class="fields">
    ${rows
      .filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false)
      .map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
  </dl>
`;

// A modal dialog; Escape, and a click beside it, close it.
export function Dialog({ title, onClose, children, closable = true }) {
  const ref = useRef(null);
  useEffect(() => {
    const dialog = ref.current;
    if (!dialog.open) dialog.showModal();
    return () => dialog.close();
  }, []);
  const cancel = (event) => {
    event.preventDefault();
    if (closable) onClose();
  };
  const beside = (event) => closable && event.target === ref.current && onClose();
  return html`<dialog ref=${ref} aria-label=${title} onCancel=${cancel} onClick=${beside}>
    <div class="dialog">
      <h2>${title}</h2>
      ${children}
    </div>
  </dialog>`;
}
