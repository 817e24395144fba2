// The newest jobs that pass a filter, page by page: what the Jobs page shows and keeps true.
//
// It never asks for all: 200 at a time as somebody scrolls, and of those in sight what has changed.

import * as api from "./api.js";
import { SETTLED } from "./states.js";

const PAGE = 200;
const EMPTY_PAGES_MAX = 5; // of 100,000 jobs each that the Hub has looked at and none passed

const HOUR_MS = 3_600_000;
const AGO_MS = { "1h": HOUR_MS, "24h": 24 * HOUR_MS, "7d": 7 * 24 * HOUR_MS };

// A time of a filter, so long ago or as an input writes it, in ms; undefined where it is neither.
export function momentOf(text, now) {
  const at = AGO_MS[text] ? now - AGO_MS[text] : Date.parse(text);
  return Number.isFinite(at) ? Math.max(0, at) : undefined;
}

export class JobList {
  constructor(filter) {
    this.filter = filter;
    this.asked = filter; // with its times in ms
    this.rows = [];
    this.next = undefined; // null: this is all
    this.pages = 0;
    this.newer = false; // there are jobs that are not in the list yet
  }

  get complete() {
    return this.next === null;
  }

  // Begins anew with the newest, unless it has grown meanwhile.
  async first(signal) {
    const { next: was } = this;
    const now = Date.now();
    this.asked = { ...this.filter, since: momentOf(this.filter.since, now), until: momentOf(this.filter.until, now) };
    const { rows, next } = await this.#page(undefined, signal);
    if (this.next === was) Object.assign(this, { rows, next, pages: 1, newer: false });
    else this.newer = rows[0]?.job_id !== this.rows[0]?.job_id;
  }

  // Goes on behind the last, unless it has begun anew meanwhile: its last is another one then.
  async more(signal) {
    const { next: after } = this;
    if (!after) return;
    const { rows, next } = await this.#page(after, signal);
    if (this.next === after) Object.assign(this, { rows: [...this.rows, ...rows], next, pages: this.pages + 1 });
  }

  // Looks again at rows in sight that may change, and whether there are newer ones.
  async refresh(inSight, signal) {
    const open = inSight.filter((row) => !SETTLED.has(row.state)).slice(0, 100);
    const ids = open.map((row) => row.job_id).join(",");
    const [changed, newest] = await Promise.all([
      ids ? api.get("jobs", { ids }, signal) : { data: [] },
      api.get("jobs", { ...this.asked, order: "desc", limit: 1 }, signal),
    ]);
    const now = new Map(changed.data.map((row) => [row.job_id, row]));
    this.rows = this.rows.map((row) => now.get(row.job_id) || row);
    this.newer = newest.data.length > 0 && newest.data[0].job_id !== this.rows[0]?.job_id;
  }

  async #page(after, signal) {
    for (let n = 0; ; n++) {
      const query = { ...this.asked, order: "desc", limit: PAGE, after };
      const { data, next } = await api.get("jobs", query, signal);
      if (data.length > 0 || next === null || n === EMPTY_PAGES_MAX) return { rows: data, next };
      after = next;
    }
  }
}
