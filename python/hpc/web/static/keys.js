// Keys: one letter does one thing, unless somebody is typing; `?` lists them.

import { useEffect } from "./html.js";

const handlers = new Map();

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (typing && event.key !== "Escape") return;
  if (document.querySelector("dialog[open]")) return; // a dialog has its own
  const handler = handlers.get(event.key)?.at(-1);
  if (handler && handler(event) !== false) event.preventDefault();
});

// The newest handler of a key has it; it gives it back as its part of the page goes.
export function useKeys(map, deps) {
  useEffect(() => {
    const pairs = Object.entries(map);
    for (const [key, handler] of pairs) {
      if (!handlers.has(key)) handlers.set(key, []);
      handlers.get(key).push(handler);
    }
    return () => {
      for (const [key, handler] of pairs) {
        const left = handlers.get(key).filter((other) => other !== handler);
        handlers.set(key, left);
      }
    };
  }, deps);
}

export const KEYS = [
  ["j, k", "the next, the previous row"],
  ["Enter", "open the row"],
  ["/", "search"],
  ["g", "to the top of the list"],
  ["1 … 6", "the pages, as they stand above"],
  ["p", "pause or go on (events), follow (log)"],
  ["e", "the first error (log)"],
  ["t", "light, dark, or as the system has it"],
  ["?", "these keys"],
];
