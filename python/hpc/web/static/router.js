// Which page is shown, and its filters: all of it stands in the fragment, `#/jobs?state=failed`.
//
// So a URL can be shared and the back button works, below any prefix, and the Hub sees none of it.

import { store } from "./store.js";

export const route = store(parse());

addEventListener("hashchange", () => route.set(parse()));

function parse() {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").filter(Boolean).map(decoded);
  return { page: parts[0] || "overview", parts: parts.slice(1), query: new URLSearchParams(search) };
}

// A fragment that somebody typed may be no good encoding; then it is meant as it stands.
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function href(page, parts = [], query = {}) {
  const path = [page, ...parts.map(encodeURIComponent)].join("/");
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value) search.set(name, value);
  return `#/${path === "overview" ? "" : path}${search.size ? `?${search}` : ""}`;
}

export const jobHref = (id, tab, query) => href("jobs", tab ? [id, tab] : [id], query);
export const nodeHref = (id) => href("nodes", [id]);

export function go(target) {
  location.hash = target;
}

// Changes filters without a further step of the back button.
export function setQuery(change) {
  const { page, parts, query } = route.get();
  replace(href(page, parts, { ...Object.fromEntries(query), ...change }));
}

// Shows another page, and leaves no trace of this one's URL in the browser's history.
export function replace(target) {
  history.replaceState(null, "", target);
  route.set(parse());
}
