// Who looks: the session of this browser, its role, and what that role may do.
//
// A code comes in the fragment of the URL that `hpc open` prints. It is exchanged once and taken out
// of the address bar. The cookie is HttpOnly, so nothing here can read it, or keep it.

import * as api from "./api.js";
import { replace } from "./router.js";
import { store } from "./store.js";

// state: asking, in, out. `was` is true once somebody was logged in: then the page stays as it is.
export const session = store({ state: "asking", was: false });

const JOBS = new Set(["admin", "submit"]);
const NODES = new Set(["admin"]);

export const mayAskOfJobs = (who) => who.state === "in" && JOBS.has(who.role);
export const mayAskOfNodes = (who) => who.state === "in" && NODES.has(who.role);

// A link that is opened where the page is already changes the fragment alone.
addEventListener("hashchange", () => location.hash.startsWith("#code=") && begin());

export async function begin() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (code !== null) replace("#/");
  try {
    entered(code === null ? await api.whoami() : await api.session("POST", { code }));
  } catch (error) {
    if (code !== null) return beginAgain(error);
    out(error.status === 401 ? null : error);
  }
}

// A code that was used already is no harm where the browser is logged in.
async function beginAgain(why) {
  try {
    entered(await api.whoami());
  } catch {
    out(why);
  }
}

// Takes what was pasted: a token begins with `hpc1_`, anything else is a code or an older token.
export async function login(text) {
  const given = text.trim();
  const kinds = given.startsWith("hpc1_") ? ["token"] : ["code", "token"];
  let refused;
  for (const kind of kinds) {
    try {
      return entered(await api.session("POST", { [kind]: given }));
    } catch (error) {
      refused = error;
      if (error.status !== 401) break;
    }
  }
  throw refused;
}

export async function logout() {
  try {
    await api.session("DELETE");
  } finally {
    session.set({ state: "out", was: false });
  }
}

api.on.unauthorized = () => {
  if (session.get().state === "in") session.set({ state: "out", was: true });
};

function entered(who) {
  session.set({ ...who, state: "in", was: true });
}

function out(error) {
  session.set({ state: "out", was: false, error });
}
