// A value that several parts of the page read, and that tells them when it changes.

import { useEffect, useState } from "./html.js";

export function store(value) {
  const readers = new Set();
  return {
    get: () => value,
    set(next) {
      if (Object.is(next, value)) return;
      value = next;
      for (const read of [...readers]) read(value);
    },
    subscribe(read) {
      readers.add(read);
      return () => readers.delete(read);
    },
  };
}

export function useStore(source) {
  const [value, set] = useState(source.get());
  useEffect(() => {
    set(source.get()); // it may have changed between the first render and now
    return source.subscribe(set);
  }, [source]);
  return value;
}

// Whether somebody can see the tab: what nobody sees asks for nothing.
export const visible = store(!document.hidden);
document.addEventListener("visibilitychange", () => visible.set(!document.hidden));

// Seconds of the clock, for "3 s ago"; it stands still while nobody looks.
export const clock = store(Date.now());
setInterval(() => document.hidden || clock.set(Date.now()), 1000);
