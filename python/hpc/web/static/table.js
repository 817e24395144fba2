// Tables: a plain one for few rows, and one that draws only the rows in sight, however many there are.
//
// Both are real tables. The long one says by aria-rowcount and aria-rowindex what its rows are part
// of; its keys are j, k, g and Enter. It asks for more as its end comes near, and never for all.

import { html, useEffect, useLayoutEffect, useRef, useState } from "./html.js";
import { useKeys } from "./keys.js";

const ROW_PX = 36;
const AROUND = 10;
const NEAR_END_ROWS = 60;

const cellClass = (column) => [column.className, column.num && "num"].filter(Boolean).join(" ");

const Head = ({ columns }) => html`<thead>
  <tr aria-rowindex="1">
    ${columns.map((column) => html`<th key=${column.key} scope="col" class=${cellClass(column)}>${column.head}</th>`)}
  </tr>
</thead>`;

const Cells = ({ columns, row }) =>
  columns.map((column, n) =>
    n === 0
      ? html`<th key=${column.key} scope="row" class=${cellClass(column)}>${column.cell(row)}</th>`
      : html`<td key=${column.key} class=${cellClass(column)}>${column.cell(row)}</td>`,
  );

// For tens of rows; what is beyond `most` is counted, not drawn.
export function Table({ label, columns, rows, rowKey, most = 50 }) {
  return html`<div class="table-wrap" role="region" aria-label=${label} tabindex="0">
    <table aria-label=${label}>
      <${Head} columns=${columns} />
      <tbody>
        ${rows.slice(0, most).map((row) => html`<tr key=${rowKey(row)}>${Cells({ columns, row })}</tr>`)}
      </tbody>
    </table>
    ${rows.length > most && html`<p class="note">and ${rows.length - most} more</p>`}
  </div>`;
}

// `total` is how many rows there are if all were loaded, or -1 where nobody knows.
export function LongTable({ label, columns, rows, rowKey, total, onOpen, onEnd, onView, tail = false, isOpen }) {
  const box = useRef(null);
  const [view, setView] = useState({ top: 0, height: 600 });
  const [at, setAt] = useState(-1);
  const place = useRef(-1); // the same at once: keys may come faster than it is drawn
  const first = Math.max(0, Math.floor(view.top / ROW_PX) - AROUND);
  const last = Math.min(rows.length, Math.ceil((view.top + view.height) / ROW_PX) + AROUND);
  const shown = rows.slice(first, last);

  useEffect(() => {
    const element = box.current;
    const look = () => setView({ top: element.scrollTop, height: element.clientHeight });
    const sizes = new ResizeObserver(look);
    sizes.observe(element);
    element.addEventListener("scroll", look, { passive: true });
    return () => (sizes.disconnect(), element.removeEventListener("scroll", look));
  }, []);

  useEffect(() => {
    onView?.(shown, view.top);
    if (last >= rows.length - NEAR_END_ROWS) onEnd?.();
  }, [first, last, rows.length]);

  useTail(box, tail, rows);
  const choose = (row) => {
    place.current = row;
    setAt(row);
  };
  const move = (step) => {
    const from = place.current;
    const next = Math.max(0, Math.min(rows.length - 1, from < 0 ? first + AROUND * (first > 0) : from + step));
    choose(next);
    intoView(box.current, next);
  };
  useKeys(
    {
      j: () => move(1),
      k: () => move(-1),
      g: () => (box.current.scrollTo({ top: 0 }), choose(0)),
      Enter: (event) => {
        const row = rows[place.current];
        return event.target.closest("a, button, summary") || !row || !onOpen ? false : onOpen(row);
      },
    },
    [rows, first],
  );
  const click = (event, row) => {
    if (!onOpen || event.target.closest("a, button") || String(getSelection())) return;
    onOpen(row);
  };

  return html`<div class="table-wrap long" ref=${box} role="region" aria-label=${label} tabindex="0">
    <table aria-label=${label} aria-rowcount=${total < 0 ? -1 : total + 1}>
      <${Head} columns=${columns} />
      <tbody>
        <${Spacer} rows=${first} />
        ${shown.map(
          (row, n) => html`<tr
            key=${rowKey(row)}
            aria-rowindex=${first + n + 2}
            aria-current=${first + n === at ? "true" : null}
            class=${[first + n === at && "at", onOpen && "opens", isOpen?.(row) && "open"].filter(Boolean).join(" ")}
            onClick=${(event) => click(event, row)}
          >${Cells({ columns, row })}</tr>`,
        )}
        <${Spacer} rows=${rows.length - last} />
      </tbody>
    </table>
  </div>`;
}

// One cell: were it to span columns that a narrow window hides, those would take their width.
const Spacer = ({ rows }) =>
  rows > 0 &&
  html`<tr class="spacer" aria-hidden="true"><td style=${{ height: `${rows * ROW_PX}px` }}></td></tr>`;

// Stays at the newest row as rows are added, unless somebody has scrolled up.
function useTail(box, tail, rows) {
  const atEnd = useRef(true);
  useEffect(() => {
    const element = box.current;
    const look = () => {
      atEnd.current = element.scrollHeight - element.scrollTop - element.clientHeight < 2 * ROW_PX;
    };
    element.addEventListener("scroll", look, { passive: true });
    return () => element.removeEventListener("scroll", look);
  }, []);
  useLayoutEffect(() => {
    if (tail && atEnd.current) box.current.scrollTop = box.current.scrollHeight;
  }, [rows, tail]);
}

function intoView(element, index) {
  const top = index * ROW_PX;
  const room = element.clientHeight - 2 * ROW_PX; // the head stays on top
  if (top < element.scrollTop) element.scrollTop = top;
  else if (top > element.scrollTop + room) element.scrollTop = top - room;
}
