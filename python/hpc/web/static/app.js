// The shell: the pages' names, search, how the Hub stands, who looks. It asks the Hub for nothing.

import * as api from "./api.js";
import { html, render, useEffect, useRef, useState } from "./html.js";
import { KEYS, useKeys } from "./keys.js";
import { link } from "./live.js";
import { Login } from "./login.js";
import { Conflicts } from "./pages/conflicts.js";
import { Events } from "./pages/events.js";
import { Job } from "./pages/job.js";
import { Jobs } from "./pages/jobs.js";
import { Namespaces } from "./pages/namespaces.js";
import { Node, Nodes } from "./pages/nodes.js";
import { Overview } from "./pages/overview.js";
import { Submit } from "./pages/submit.js";
import { go, href, jobHref, route } from "./router.js";
import { begin, logout, session } from "./session.js";
import { useStore } from "./store.js";
import { setTheme, theme, THEMES } from "./theme.js";
import { Dialog, Empty, Loading } from "./ui.js";

const PAGES = [
  ["overview", "Overview", Overview],
  ["jobs", "Jobs", Jobs],
  ["nodes", "Nodes", Nodes],
  ["events", "Events", Events],
  ["conflicts", "Conflicts", Conflicts],
  ["namespaces", "Namespaces", Namespaces],
];
// Pages that others lead to.
const FURTHER = [["submit", "Submit", Submit]];
const OF_ONE = { jobs: Job, nodes: Node };

function pageOf({ page, parts }) {
  if (parts.length > 0) return OF_ONE[page];
  return [...PAGES, ...FURTHER].find(([name]) => name === page)?.[2];
}

function App() {
  const who = useStore(session);
  const now = useStore(route);
  const [help, showHelp] = useState(false);
  useTitle(now);
  useKeys(
    {
      "?": () => showHelp(true),
      "/": () => (document.querySelector("main [data-search]") || document.querySelector("#search"))?.focus(),
      t: () => setTheme(THEMES[(THEMES.indexOf(theme.get()) + 1) % THEMES.length]),
      Escape: () => (document.activeElement?.blur(), false),
      ...Object.fromEntries(PAGES.map(([name], n) => [String(n + 1), () => go(href(name))])),
    },
    [],
  );
  if (who.state === "asking") return html`<main><${Loading} /></main>`;
  if (who.state === "out" && !who.was) return html`<${Login} error=${who.error} />`;
  const Page = pageOf(now);
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to content</a>
    <${Top} who=${who} now=${now} onHelp=${() => showHelp(true)} />
    <${Banner} />
    <main id="main" tabindex="-1" data-place=${location.hash}>
      ${Page ? html`<${Page} key=${now.page + (now.parts[0] || "")} parts=${now.parts} query=${now.query} />` : html`<${Nowhere} />`}
    </main>
    ${help && html`<${Help} onClose=${() => showHelp(false)} />`}
    ${who.state === "out" && html`<${Login} again=${true} />`}
  `;
}

const Nowhere = () => html`<${Empty} title="There is no such page"><p><a href="#/">Overview</a></p><//>`;

function skip(event) {
  event.preventDefault();
  document.querySelector("#main").focus();
}

function useTitle({ page, parts }) {
  const name = [...PAGES, ...FURTHER].find(([key]) => key === page)?.[1] || "Dashboard";
  useEffect(() => {
    document.title = parts[0] ? `${parts[0]} · hpc` : `${name} · hpc`;
  }, [page, parts[0]]);
}

function Top({ who, now, onHelp }) {
  return html`<header class="top">
    <a class="brand" href="#/"><img src="static/icon.svg" alt="" width="22" height="22" />hpc</a>
    <nav aria-label="Pages">
      ${PAGES.map(([name, title]) => html`<a key=${name} href=${href(name)} aria-current=${now.page === name || (name === "jobs" && now.page === "submit") ? "page" : null}>${title}</a>`)}
    </nav>
    <${Search} />
    <${Link} />
    <${ThemeSwitch} />
    <button type="button" class="quiet icon" aria-label="Keys" title="Keys (?)" onClick=${onHelp}>?</button>
    <${Who} who=${who} />
  </header>`;
}

// An id leads to its job, anything else to the jobs of that name.
function Search() {
  const input = useRef(null);
  const find = async (event) => {
    event.preventDefault();
    const text = input.current.value.trim();
    if (!text) return;
    const known = await api.get("jobs", { ids: text }).catch(() => ({ data: [] }));
    go(known.data.length === 1 ? jobHref(text) : href("jobs", [], { name: text }));
    input.current.value = "";
    input.current.blur();
  };
  return html`<form class="search" role="search" onSubmit=${find}>
    <input id="search" ref=${input} type="search" placeholder="Job id or name" aria-label="Find a job by its id or name" autocomplete="off" spellcheck=${false} />
    <kbd aria-hidden="true">/</kbd>
  </form>`;
}

const MODES = { connecting: "Connecting", live: "Live", polling: "Every 5 s" };

function Link() {
  const { mode, away } = useStore(link);
  const text = away ? "Away" : MODES[mode];
  return html`<span class=${`link ${away ? "away" : mode}`} title=${mode === "polling" ? "No stream gets through: asking every 5 s" : "How the Hub's news come"}><span class="dot" aria-hidden="true"></span>${text}</span>`;
}

function Banner() {
  const { away } = useStore(link);
  return html`<div class="banner" role="status">
    ${away && html`<p><strong>The Hub does not answer.</strong> What you see is from before; this page goes on by itself when the Hub is back.</p>`}
  </div>`;
}

function ThemeSwitch() {
  const now = useStore(theme).trim();
  const signs = { system: "◐", light: "○", dark: "●" };
  const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
  return html`<button type="button" class="quiet icon" title=${`Theme: ${now}`} aria-label=${`Theme: ${now}. Change to ${next}`} onClick=${() => setTheme(next)}>${signs[now]}</button>`;
}

function Who({ who }) {
  return html`<span class="who" title=${who.name ? `Token: ${who.name}` : null}>${who.role}</span>
    <button type="button" class="quiet" onClick=${() => logout()}>Log out</button>`;
}

const Help = ({ onClose }) => html`<${Dialog} title="Keys" onClose=${onClose}>
  <dl class="keys">${KEYS.map(([key, does]) => html`<div><dt><kbd>${key}</kbd></dt><dd>${does}</dd></div>`)}</dl>
  <div class="dialog-foot"><button type="button" onClick=${onClose}>Close</button></div>
<//>`;

api.on.otherLog = () => location.reload();
render(html`<${App} />`, document.querySelector("#app"));
begin();
