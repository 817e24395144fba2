// The states of jobs, tasks and nodes: a shape and a word each, so that no colour has to be seen.

import { html } from "./html.js";

export const STATES = [
  "running",
  "leased",
  "queued",
  "waiting",
  "held",
  "failed",
  "cancelled",
  "succeeded",
];
export const SETTLED = new Set(["failed", "cancelled", "succeeded"]);
export const WAITS = new Set(["queued", "waiting", "held"]);

const line = (d) => html`<path d=${d} fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" />`;
const ring = html`<circle cx="8" cy="8" r="6" fill="none" stroke="currentColor" stroke-width="2" />`;

// On a field of 16 by 16.
const SHAPES = {
  running: html`<path d="M4 2.5v11l9-5.5z" fill="currentColor" />`,
  leased: [ring, html`<circle cx="8" cy="8" r="2.5" fill="currentColor" />`],
  queued: [ring, line("M8 5v3l2 1.5")],
  waiting: line("M4 2h8M4 14h8M5 2c0 5 6 7 6 12M11 2c0 5-6 7-6 12"),
  held: line("M5.5 3v10M10.5 3v10"),
  failed: line("M3.5 3.5l9 9M12.5 3.5l-9 9"),
  cancelled: [ring, line("M4 12 12 4")],
  succeeded: line("M2.5 8.5 6 12l7.5-8"),
  up: html`<circle cx="8" cy="8" r="5" fill="currentColor" />`,
  unreachable: line("M8 2 14.5 13.5h-13zM8 7v2.5"),
  left: line("M2 8h9M8 4.5 11.5 8 8 11.5M14 3v10"),
  drained: line("M3 3h10M8 3v7M4.5 8 8 11.5 11.5 8M3 14h10"),
  lost: line("M8 2 14.5 13.5h-13zM8 7v2.5"),
  other: ring,
};

export const Shape = ({ state }) =>
  html`<svg class="shape" viewBox="0 0 16 16" aria-hidden="true">${SHAPES[state] || SHAPES.other}</svg>`;

export const State = ({ state, text }) => html`<span class=${`state is-${state}`}><${Shape} state=${state} />${text || state}</span>`;
