// Values as people read them: times, durations, amounts, and text that a job has chosen.

const number = new Intl.NumberFormat("en-US"); // the page is in English, whatever the browser is
const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

export const count = (n) => number.format(n ?? 0);
export const compact = (n) => (n < 10_000 ? number.format(n) : short.format(n));

const pad = (n, to = 2) => String(n).padStart(to, "0");

// 0.42 s, 12 s, 3 m 05 s, 2 h 14 m, 4 d 3 h
export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  const s = Math.max(0, ms) / 1000;
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} m ${pad(Math.floor(s % 60))} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${pad(Math.floor((s % 3600) / 60))} m`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

export function ago(ms, now) {
  const s = Math.max(0, now - ms) / 1000;
  if (s < 2) return "now";
  if (s < 60) return `${Math.floor(s)} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86_400)} d ago`;
}

export function time(ms, { millis = false } = {}) {
  const at = new Date(ms);
  const text = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
  return millis ? `${text}.${pad(at.getMilliseconds(), 3)}` : text;
}

export function dateTime(ms) {
  const at = new Date(ms);
  return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} ${time(ms)}`;
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

export function bytes(n) {
  if (n === null || n === undefined) return "–";
  let unit = 0;
  while (n >= 1024 && unit < UNITS.length - 1) {
    n /= 1024;
    unit++;
  }
  return `${n >= 100 || unit === 0 ? Math.round(n) : n.toFixed(1).replace(/\.0$/, "")} ${UNITS[unit]}`;
}

export const mib = (n) => (n === null || n === undefined ? "–" : bytes(n * 1024 * 1024));
export const kib = (n) => (n === null || n === undefined ? "–" : bytes(n * 1024));

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

// How many tasks "0-99,120" names.
export function tasksIn(ranges) {
  let tasks = 0;
  for (const part of String(ranges ?? "").split(",")) {
    const [first, last = first] = part.split("-").map(Number);
    if (part) tasks += last - first + 1;
  }
  return tasks;
}

// Escape sequences of a terminal: colours and titles, which say nothing here.
// eslint-disable-next-line no-control-regex
const SEQUENCES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[PX^_][^\u001b]*\u001b\\|[@-Z\\^_])/g;
// eslint-disable-next-line no-control-regex
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

// Text that somebody else chose: what would be invisible, or turn the text around, is shown.
export function safe(text) {
  return String(text).replace(SEQUENCES, "").replace(CONTROLS, picture);
}

function picture(sign) {
  const code = sign.codePointAt(0);
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  return code === 0x7f ? "\u2421" : `<U+${code.toString(16).toUpperCase().padStart(4, "0")}>`;
}

// A line of output: of what a progress bar wrote over itself the last is shown.
export function logLine(line) {
  const text = line.endsWith("\r") ? line.slice(0, -1) : line;
  return safe(text.includes("\r") ? text.slice(text.lastIndexOf("\r") + 1) : text);
}

export const jsonText = (value) => safe(JSON.stringify(value, null, 2)).replaceAll("\u240a", "\n");

// The command line of a job of `batch`, as it could be typed; null where it has none.
export function commandOf(spec) {
  if (typeof spec?.command !== "string") return null;
  return Array.isArray(spec.args) ? [spec.command, ...spec.args].map(quoted).join(" ") : spec.command;
}

const quoted = (word) =>
  /^[\w@%+=:,./-]+$/.test(word) ? String(word) : `'${String(word).replaceAll("'", "'\\''")}'`;
