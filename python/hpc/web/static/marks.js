// Finding in the blocks of a log, and showing what was found, without changing the text.
//
// Marks are ranges of the CSS Custom Highlight API; a browser without it still scrolls to them.

const HITS_MAX = 5_000;

// Where a text stands, whatever its case: [{block, offset, length}…].
export function find(blocks, sought) {
  const hits = [];
  const needle = sought.toLowerCase();
  if (!needle) return hits;
  for (const block of blocks) {
    const text = block.text.toLowerCase();
    for (let at = text.indexOf(needle); at >= 0; at = text.indexOf(needle, at + needle.length)) {
      hits.push({ block: block.n, offset: at, length: needle.length });
      if (hits.length === HITS_MAX) return hits;
    }
  }
  return hits;
}

// Marks all hits, and brings one of them into view unless it need not be shown.
export function mark(box, hits, current, reveals = true) {
  const ranges = box ? rangesOf(box, hits) : [];
  const shown = ranges[current];
  if (globalThis.Highlight) {
    CSS.highlights.set("found", new Highlight(...ranges.filter(Boolean)));
    CSS.highlights.set("found-now", new Highlight(...(shown ? [shown] : [])));
  }
  if (!shown || !reveals) return;
  const where = shown.getBoundingClientRect();
  const frame = box.getBoundingClientRect();
  if (where.top < frame.top || where.bottom > frame.bottom) {
    box.scrollTop += where.top - frame.top - box.clientHeight / 3;
  }
}

function rangesOf(box, hits) {
  const blocks = new Map([...box.querySelectorAll("pre")].map((pre) => [pre.dataset.n, pre.firstChild]));
  return hits.map(({ block, offset, length }) => {
    const text = blocks.get(String(block));
    if (!text || offset + length > text.length) return null;
    const range = new Range();
    range.setStart(text, offset);
    range.setEnd(text, offset + length);
    return range;
  });
}
