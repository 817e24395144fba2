// The newest jobs that pass a filter, page by page: what the Jobs page shows and keeps true.
//
// It never asks for all: 200 at a time as somebody scrolls, and of those in sight what has changed.

import * as api from "./api.js";
import { SETTLED } from "./states.js";

const PAGE = 200;
const EMPTY_PAGES_MAX = 5; // of 100,000 jobs each that the Hub has looked at and none passed

export class JobList {
  constructor(filter) {
    this.filter = filter;
    this.rows = [];
    this.next = undefined; // null: this is all
    this.pages = 0;
    this.newer = false; // there are jobs that are not in the list yet
  }

  get complete() {
    return this.next === null;
  }

  // Begins anew with the newest.
  async first(signal) {
    const { rows, next } = await this.#page(undefined, signal);
    Object.assign(this, { rows, next, pages: 1, newer: false });
  }

  async more(signal) {
    if (!this.next) return;
    const { rows, next } = await this.#page(this.next, signal);
    Object.assign(this, { rows: [...this.rows, ...rows], next, pages: this.pages + 1 });
  }

  // Looks again at rows in sight that may change, and whether there are newer ones.
  async refresh(inSight, signal) {
    const open = inSight.filter((row) => !SETTLED.has(row.state)).slice(0, 100);
    const ids = open.map((row) => row.job_id).join(",");
    const [changed, newest] = await Promise.all([
      ids ? api.get("jobs", { ids, limit: PAGE }, signal) : { data: [] },
      api.get("jobs", { ...this.filter, order: "desc", limit: 1 }, signal),
    ]);
    const now = new Map(changed.data.map((row) => [row.job_id, row]));
    this.rows = this.rows.map((row) => now.get(row.job_id) || row);
    this.newer = newest.data.length > 0 && newest.data[0].job_id !== this.rows[0]?.job_id;
  }

  async #page(after, signal) {
    for (let n = 0; ; n++) {
      const query = { ...this.filter, order: "desc", limit: PAGE, after };
      const { data, next } = await api.get("jobs", query, signal);
      if (data.length > 0 || next === null || n === EMPTY_PAGES_MAX) return { rows: data, next };
      after = next;
    }
  }
}
