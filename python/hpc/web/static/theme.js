// Light, dark, or as the system has it: the switch, stored in this browser.

import { store } from "./store.js";

const KEY = "hpc.theme";
export const THEMES = ["system", "light", "dark"];
export const theme = store(document.documentElement.dataset.theme || "system");

export function setTheme(name) {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  try {
    if (name === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, name);
  } catch {
    // It holds until the page is left.
  }
  theme.set(name);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  const now = theme.get();
  theme.set(`${now} `); // charts read their colours anew
  theme.set(now);
});
