// Lines over time, by uPlot on a canvas, each with the same figures as a table for who cannot see it.
//
// uPlot is loaded by the first chart that is drawn. Colours are those of the style sheet at that time.

import { html, useEffect, useRef } from "./html.js";
import { time } from "./format.js";
import { useStore } from "./store.js";
import { theme } from "./theme.js";

const TABLE_ROWS = 12;
const STEPS = {
  decimal: Array.from({ length: 10 }, (_, n) => [1, 2, 5].map((step) => step * 10 ** n)).flat(),
  binary: Array.from({ length: 48 }, (_, n) => 2 ** n),
};
let loading;

function uPlot() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL("static/vendor/uPlot.js", document.baseURI);
    script.onload = () => resolve(window.uPlot);
    script.onerror = () => reject(new Error("uPlot could not be loaded"));
    document.head.append(script);
  });
  return loading;
}

// times in ms; series: [{label, values, colour (a CSS variable), bars}]; `format` writes a value.
export function Chart({ label, times, series, height = 140, format, max, steps = "decimal" }) {
  const box = useRef(null);
  const plot = useRef(null);
  const dress = useStore(theme);
  const data = [times.map((ms) => ms / 1000), ...series.map((one) => one.values)];
  useEffect(() => {
    let gone = false;
    uPlot().then((UPlot) => {
      if (gone) return;
      plot.current = new UPlot(options(UPlot, { box: box.current, height, series, format, max, steps }), data, box.current);
    });
    const sizes = new ResizeObserver(() => plot.current?.setSize({ width: box.current.clientWidth, height }));
    sizes.observe(box.current);
    return () => {
      gone = true;
      sizes.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [dress, series.length, height]);
  useEffect(() => plot.current?.setData(data), [times, series]);
  return html`<figure class="chart">
    <div ref=${box} role="img" aria-label=${`${label}. ${summary(series, format)}`}></div>
    <details>
      <summary>As a table</summary>
      <${Figures} label=${label} times=${times} series=${series} format=${format} />
    </details>
  </figure>`;
}

function Figures({ label, times, series, format }) {
  const from = Math.max(0, times.length - TABLE_ROWS);
  const rows = times.slice(from).map((at, n) => [at, from + n]);
  return html`<table class="figures">
    <caption>${label}, the newest ${rows.length}</caption>
    <thead><tr><th scope="col">time</th>${series.map((one) => html`<th scope="col" class="num">${one.label}</th>`)}</tr></thead>
    <tbody>
      ${rows.map(([at, n]) => html`<tr><th scope="row">${time(at)}</th>${series.map((one) => html`<td class="num">${shown(one.values[n], format)}</td>`)}</tr>`)}
    </tbody>
  </table>`;
}

const shown = (value, format) => (value === null || value === undefined ? "–" : format(value));
const summary = (series, format) =>
  series.map((one) => `${one.label} now ${shown(one.values.at(-1), format)}`).join(", ");

// A line without axes, beside its number; the number says what it shows.
export function Spark({ label, values, colour, max }) {
  if (values.length < 2) return html`<span class="spark none" role="img" aria-label=${`${label}: no history yet`}></span>`;
  const top = max || Math.max(...values, 1);
  const points = values.map((v, n) => `${((100 * n) / (values.length - 1)).toFixed(1)},${(23 - 21 * Math.min(1, v / top)).toFixed(1)}`);
  const about = `${label}: ${Math.round(Math.min(...values))} to ${Math.round(Math.max(...values))}`;
  return html`<svg class=${`spark ${colour}`} viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label=${about}>
    <polygon points=${`0,24 ${points.join(" ")} 100,24`} />
    <polyline points=${points.join(" ")} />
  </svg>`;
}

// A colour of the style sheet, rgb(…), as it is in the theme that is shown: a canvas knows no other.
function colourOf(box) {
  return (name) => {
    box.style.color = `var(${name})`;
    const { color } = getComputedStyle(box);
    box.style.color = "";
    return color;
  };
}

const faint = (rgb) => rgb.replace("rgb(", "rgba(").replace(")", ", 0.13)");

function options(UPlot, { box, height, series, format, max, steps }) {
  const colour = colourOf(box);
  const grid = { stroke: colour("--line"), width: 1 };
  const axis = { stroke: colour("--muted"), grid, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  return {
    width: box.clientWidth,
    height,
    legend: { show: false },
    cursor: { y: false, points: { size: 6 } },
    scales: { y: { range: (_plot, _low, high) => [0, max || Math.max(4, high * 1.15)] } },
    axes: [
      { ...axis, size: 28, space: 70, values: (_plot, all, _axis, _space, step_s) => all.map((s) => time(s * 1000).slice(0, step_s < 60 ? 8 : 5)) },
      { ...axis, size: 56, space: 30, incrs: STEPS[steps], values: (_plot, all) => all.map((v) => (v === null ? "" : format(v))) },
    ],
    series: [
      {},
      ...series.map((one) => ({
        label: one.label,
        stroke: colour(one.colour),
        fill: one.bars ? colour(one.colour) : faint(colour(one.colour)),
        width: one.bars ? 0 : 1.5,
        paths: one.bars ? UPlot.paths.bars({ size: [0.8, 40] }) : undefined,
        points: { show: false },
      })),
    ],
  };
}
