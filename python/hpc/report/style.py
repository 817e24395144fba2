"""How a report looks: its style sheet, and the pattern that marks what failed.

Text has a contrast of at least 4.5 on its ground and marks one of 3, in both schemes; what a colour
says a shape or a word says too.
"""

from __future__ import annotations

from typing import Final

KINDS: Final = ("succeeded", "failed", "cancelled", "lost", "running")
"""How attempts look; classes of the style."""

HATCH: Final = (
    '<svg class="defs" aria-hidden="true"><defs><pattern id="hatch" width="5" height="5" '
    'patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="hatched" width="5" '
    'height="5"/><path class="hatching" d="M0 0v5"/></pattern></defs></svg>\n'
)

STYLE: Final = """
:root {
  --ground: #ffffff; --card: #f5f7fa; --ink: #16202b; --soft: #556270; --rule: #d6dde5;
  --succeeded: #1f6fb2; --failed: #c02b1f; --hatching: #ffffff; --cancelled: #8a6500;
  --lost: #7443ad; --running: #18794e; --area: #1f6fb2;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #10151c; --card: #19212b; --ink: #e8edf3; --soft: #a2b0bf; --rule: #303b48;
    --succeeded: #5aa9ef; --failed: #ff7d70; --hatching: #10151c; --cancelled: #d8ab3a;
    --lost: #c09bf5; --running: #4cc38a; --area: #5aa9ef;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
}
main { max-width: 1120px; margin: 0 auto; padding: 32px 24px 48px; }
header { border-bottom: 1px solid var(--rule); padding-bottom: 16px; margin-bottom: 24px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 0 0 2px; }
header p, section > p, footer, .note { color: var(--soft); margin: 0; }
section { margin: 40px 0 0; }
.totals {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(160px, 1fr)); gap: 12px; margin: 0;
}
.totals div {
  background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 12px 14px;
}
.totals dt { color: var(--soft); font-size: 13px; }
.totals dd { margin: 0; font-size: 21px; line-height: 1.4; font-variant-numeric: tabular-nums; }
.totals small { display: block; font-size: 12.5px; color: var(--soft); }
.chart { overflow-x: auto; margin: 14px 0 4px; }
.chart svg { display: block; width: 100%; min-width: 720px; height: auto; }
.defs { position: absolute; width: 0; height: 0; }
svg text { fill: var(--soft); font-size: 12px; }
svg text.end { text-anchor: end; }
svg text.mid { text-anchor: middle; }
section > .legend {
  display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 10px 0 0; font-size: 13px;
}
.legend svg { width: 24px; height: 12px; margin-right: 6px; vertical-align: -1px; }
.note { font-size: 13px; }
.line { stroke: var(--rule); fill: none; }
.grid { stroke: var(--rule); fill: none; stroke-dasharray: 2 4; }
.succeeded { fill: var(--succeeded); }
.failed { fill: url(#hatch); stroke: var(--failed); stroke-width: 1; }
.hatched { fill: var(--failed); }
.hatching { stroke: var(--hatching); stroke-width: 2.5; }
.cancelled { fill: var(--cancelled); fill-opacity: .35; stroke: var(--cancelled); }
.lost { fill: none; stroke: var(--lost); stroke-width: 1.5; stroke-dasharray: 3 2; }
.running { fill: var(--running); }
.busy1 { fill: var(--area); fill-opacity: .25; }
.busy2 { fill: var(--area); fill-opacity: .5; }
.busy3 { fill: var(--area); fill-opacity: .75; }
.busy4 { fill: var(--area); }
.area { fill: var(--area); fill-opacity: .22; }
.edge { fill: none; stroke: var(--area); stroke-width: 1.5; }
.offered { fill: none; stroke: var(--ink); stroke-width: 1.5; stroke-dasharray: 6 4; }
.table { overflow-x: auto; margin-top: 12px; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; }
table.wide { width: 100%; }
caption { text-align: left; color: var(--soft); font-size: 13px; padding-bottom: 4px; }
th, td {
  text-align: right; padding: 4px 0 4px 18px; border-bottom: 1px solid var(--rule);
  white-space: nowrap; unicode-bidi: isolate;
}
th:first-child { text-align: left; padding-left: 0; }
tbody th { font-weight: 600; }
thead th { color: var(--soft); font-weight: 500; vertical-align: bottom; }
.wide thead th { white-space: normal; }
.wide :is(td, th):is(:nth-child(2), :nth-child(3), :last-child) { text-align: left; }
.wide td { max-width: 240px; overflow: hidden; text-overflow: ellipsis; }
.wide td:last-child { white-space: normal; }
.wide code { display: inline-block; white-space: nowrap; }
code { font: 12.5px ui-monospace, "DejaVu Sans Mono", monospace; }
footer { margin-top: 48px; padding-top: 14px; border-top: 1px solid var(--rule); font-size: 13px; }
@media print {
  :root {
    --ground: #ffffff; --card: #ffffff; --ink: #000000; --soft: #444444; --rule: #bbbbbb;
    --succeeded: #1f6fb2; --failed: #c02b1f; --hatching: #ffffff; --cancelled: #8a6500;
    --lost: #7443ad; --running: #18794e; --area: #1f6fb2;
  }
  body { font-size: 11px; }
  main { max-width: none; padding: 0; }
  svg, .totals div { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .chart, .totals, tr { break-inside: avoid; }
  .chart, .table { overflow: visible; }
  .chart svg { min-width: 0; }
  .wide :is(td, th) { padding-left: 8px; }
  .wide :is(td, th):first-child { padding-left: 0; }
  .wide td { white-space: normal; }
  h2 { break-after: avoid; }
}
"""
