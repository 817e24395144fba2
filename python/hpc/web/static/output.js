// Text of a log as it grows: blocks of whole lines, of which the oldest go where it becomes too long.
//
// A block is one text node, so that a long log has few elements and its end can change cheaply.

import { logLine } from "./format.js";

const BLOCK_LINES = 400;
const BLOCK_CHARS = 64 * 1024;
const KEPT_CHARS = 4 * 1024 * 1024;
const LINE_CHARS_MAX = 20_000;
const ERROR = /\b(?:error|exception|traceback|fatal|panic(?:ked)?|segmentation fault|core dumped|killed)\b/i;

export class Output {
  constructor() {
    this.blocks = [];
    this.cut = 0; // characters that were let go
    this.firstError = null;
    this.kept = 0;
    this.rest = "";
    this.next = 0;
  }

  get empty() {
    return this.blocks.length === 0;
  }

  add(text) {
    const lines = (this.rest + text).split("\n");
    this.rest = lines.pop();
    // A line without an end must not be held back for ever.
    if (this.rest.length > LINE_CHARS_MAX) {
      lines.push(this.rest);
      this.rest = "";
    }
    for (const line of lines) this.#line(logLine(line));
    this.#trim();
  }

  // What came last had no end of line.
  finish() {
    if (this.rest) this.#line(logLine(this.rest));
    this.rest = "";
  }

  #line(line) {
    let block = this.blocks.at(-1);
    if (!block || block.lines >= BLOCK_LINES || block.text.length > BLOCK_CHARS) {
      block = { n: this.next++, text: "", lines: 0 };
      this.blocks = [...this.blocks, block];
    }
    if (this.firstError === null && ERROR.test(line)) {
      this.firstError = { block: block.n, offset: block.text.length, length: line.length };
    }
    const longer = { ...block, text: `${block.text}${line}\n`, lines: block.lines + 1 };
    this.blocks[this.blocks.length - 1] = longer;
    this.kept += line.length + 1;
  }

  #trim() {
    while (this.kept > KEPT_CHARS && this.blocks.length > 1) {
      const [old, ...left] = this.blocks;
      this.blocks = left;
      this.kept -= old.text.length;
      this.cut += old.text.length;
      if (this.firstError?.block === old.n) this.firstError = null;
    }
  }
}
