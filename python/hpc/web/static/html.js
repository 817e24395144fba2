// What the pages are made of: preact, its hooks and htm, under the names used here.
//
// htm writes text as text, and nothing in these pages makes HTML of it: whatever a job says stays text.

export {
  html,
  render,
  useCallback,
  useEffect,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from "./vendor/htm-preact.js";
