// A part of a log as text: blocks of whole lines, and from which byte of the stream to which they are.
//
// A block is one text node, so that a long log has few elements and its end can change cheaply. There
// is room for so much; who adds at one end lets go at the other.

import { logLine } from "./format.js";

const BLOCK_LINES = 400;
const BLOCK_CHARS = 64 * 1024;
const KEPT_CHARS = 4 * 1024 * 1024;
const LINE_BYTES_MAX = 20_000;
const NEWLINE = 10;
const ERROR = /\b(?:error|exception|traceback|fatal|panic(?:ked)?|segmentation fault|core dumped|killed)\b/i;

const text = new TextDecoder("utf-8", { ignoreBOM: true });

export class Output {
  // `begin`: the offset in the stream of what is added first.
  constructor(begin = 0) {
    this.blocks = [];
    this.begin = begin; // of the first block, in bytes
    this.end = begin; // and up to where the stream was read
    this.firstError = null;
    this.kept = 0; // characters
    this.rest = new Uint8Array(); // of a line that has no end yet
    this.cutLine = begin > 0; // what comes first may be the end of a line
    this.next = 0;
  }

  get full() {
    return this.kept > KEPT_CHARS;
  }

  // What there is to see: also a last line without its end, such as a bar of progress.
  get shown() {
    if (this.rest.length === 0 || this.cutLine) return this.blocks;
    return [...this.blocks, { n: this.next, text: logLine(text.decode(this.rest)) }];
  }

  add(bytes) {
    this.end += bytes.length;
    const all = joined(this.rest, bytes);
    let from = 0;
    for (let at = all.indexOf(NEWLINE); at >= 0; at = all.indexOf(NEWLINE, from)) {
      this.#line(all.subarray(from, at), at + 1 - from);
      from = at + 1;
    }
    // A line without an end must not be held back for ever; nor is a character cut in two.
    if (all.length - from > LINE_BYTES_MAX) {
      let to = all.length - 1;
      while (to > from && (all[to] & 0xc0) === 0x80) to--;
      this.#line(all.subarray(from, to), to - from);
      from = to;
    }
    this.rest = all.slice(from);
  }

  // What came last had no end of line.
  finish() {
    if (this.rest.length > 0 && !this.cutLine) this.#line(this.rest, this.rest.length);
    this.rest = new Uint8Array();
  }

  // Puts a part that ends where this one begins before it, with room for both: true if what stood at
  // the end had to go.
  prepend(part) {
    const low = (this.blocks[0]?.n ?? 0) - part.blocks.length;
    this.blocks = [...part.blocks.map((block, n) => ({ ...block, n: low + n })), ...this.blocks];
    if (part.firstError) this.firstError = { ...part.firstError, block: low + part.firstError.block };
    this.begin = part.begin;
    this.kept += part.kept;
    const was = this.end;
    while (this.full) {
      if (was === this.end) this.end -= this.rest.length;
      this.rest = new Uint8Array();
      this.end -= this.#gone(this.blocks.pop()).bytes;
    }
    return this.end < was;
  }

  // Lets the oldest go where it has become too much.
  trim() {
    while (this.full && this.blocks.length > 1) {
      const [old, ...left] = this.blocks;
      this.blocks = left;
      this.begin += this.#gone(old).bytes;
    }
  }

  #gone(block) {
    this.kept -= block.text.length;
    if (this.firstError?.block === block.n) this.firstError = null;
    return block;
  }

  #line(line, bytes) {
    const isCut = this.cutLine && bytes <= LINE_BYTES_MAX;
    this.cutLine = false;
    if (isCut) {
      this.begin += bytes;
      return;
    }
    const shown = logLine(text.decode(line));
    let block = this.blocks.at(-1);
    if (!block || block.lines >= BLOCK_LINES || block.text.length > BLOCK_CHARS) {
      block = { n: this.next++, text: "", lines: 0, bytes: 0 };
      this.blocks = [...this.blocks, block];
    }
    if (this.firstError === null && ERROR.test(shown)) {
      this.firstError = { block: block.n, offset: block.text.length, length: shown.length };
    }
    const longer = { n: block.n, text: `${block.text}${shown}\n`, lines: block.lines + 1, bytes: block.bytes + bytes };
    this.blocks[this.blocks.length - 1] = longer;
    this.kept += shown.length + 1;
  }
}

function joined(one, other) {
  if (one.length === 0) return other;
  const all = new Uint8Array(one.length + other.length);
  all.set(one);
  all.set(other, one.length);
  return all;
}
