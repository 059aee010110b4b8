/**
 * The style sheet of report.html: light, dark and print, phone to desktop. Colours of series come with dash patterns, never alone.
 */

export const reportStyle = `
:root { color-scheme: light dark; --page: #ffffff; --card: #f6f7f9; --line: #d5d9e0; --text: #1b1f26; --dim: #545c69;
  --accent: #0b5cad;
  --s0: #0b5cad; --s1: #c2410c; --s2: #15803d; --s3: #7e22ce; --s4: #8a6100; --s5: #0e7490; --warn: #b42318; }
@media (prefers-color-scheme: dark) { :root { --page: #14171c; --card: #1d2128; --line: #3a414d; --text: #e7eaf0;
  --dim: #a3acba; --accent: #7cbcff;
  --s0: #7cbcff; --s1: #ff9f6e; --s2: #63d28c; --s3: #cda5ff; --s4: #e3c155; --s5: #5ed0e4; --warn: #ff8f85; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
header, main, footer { max-width: 1120px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 28px; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 40px 0 12px; padding-top: 8px; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 0; }
p { margin: 8px 0; max-width: 75ch; }
a { color: var(--accent); }
nav ul { display: flex; flex-wrap: wrap; gap: 4px 18px; padding: 0; margin: 12px 0 0; list-style: none; }
.skip { position: absolute; left: -999px; } .skip:focus { left: 8px; top: 8px; background: var(--page); padding: 8px; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.dim, .note { color: var(--dim); } .note { font-size: .8125rem; margin: 4px 0 0; } section > .note { margin: 0 0 12px; }
section > .grid + * { margin-top: 20px; } .scroll + .note { margin: 6px 0 0; }
.warn { color: var(--warn); font-weight: 600; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 12px; margin: 20px 0 0; }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.tiles dt { color: var(--dim); font-size: .8125rem; }
.tiles dd { margin: 0; font-size: 1.375rem; font-weight: 600; overflow-wrap: anywhere; }
.tiles dd small { display: block; font-size: .8125rem; font-weight: 400; color: var(--dim); }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 420px), 1fr)); gap: 20px;
  align-items: start; }
figure { margin: 0; } .chart { border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; min-width: 0; }
.chart > svg { display: block; width: 100%; height: auto; margin-top: 6px; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 4px 0 0; padding: 0; list-style: none;
  font-size: .8125rem; }
.legend svg { margin-right: 6px; vertical-align: 0; }
svg text { font-size: 12px; fill: var(--dim); font-family: inherit; }
svg text.figure { font-weight: 600; fill: var(--text); font-size: 14px; }
.gridline { stroke: var(--line); opacity: .7; } .axes .axis, .axes .tick { stroke: var(--dim); fill: none; }
.s0 { --c: var(--s0); } .s1 { --c: var(--s1); --d: 7 3; } .s2 { --c: var(--s2); --d: 2 3; }
.s3 { --c: var(--s3); --d: 10 3 2 3; } .s4 { --c: var(--s4); --d: 4 2; } .s5 { --c: var(--s5); --d: 1 4; }
.line { fill: none; stroke: var(--c); stroke-width: 1.8; stroke-dasharray: var(--d, none); stroke-linejoin: round; }
.line.thin { stroke-width: 1.4; }
.band { fill: var(--c); opacity: .18; } .area { fill: var(--c); opacity: .16; } .dot { fill: var(--c); }
.bad { stroke: var(--warn); stroke-width: 1.6; fill: none; }
.hit { fill: var(--c, var(--text)); opacity: 0; } .hit:hover { opacity: .22; }
.hitline { stroke: transparent; stroke-width: 12; }
.mark { stroke: var(--warn); stroke-dasharray: 3 3; fill: none; } .flag { fill: var(--warn); }
svg text.flagtext { fill: var(--page); font-size: 10px; font-weight: 700; }
.bar { fill: var(--c); } .gap { fill: none; stroke: var(--c); stroke-width: 1.4; stroke-dasharray: 3 2; }
.diagonal { stroke: var(--text); stroke-dasharray: 6 4; fill: none; }
.cells { image-rendering: pixelated; }
.dots { stroke: var(--c); stroke-width: 3; stroke-linecap: round; opacity: .75; fill: none; }
.dots.many { stroke-width: 1.8; opacity: .7; }
.empty { fill: var(--card); stroke: var(--line); }
.samples { display: block; width: 100%; max-width: var(--w); height: auto; image-rendering: pixelated;
  border: 1px solid var(--line); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; } caption { text-align: left; font-weight: 600; padding-bottom: 6px; }
th, td { padding: 4px 8px; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { color: var(--dim); font-weight: 600; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.meter { background: linear-gradient(to right, color-mix(in srgb, var(--s0) 28%, transparent) var(--v),
  transparent var(--v)); }
.confusion td { text-align: center; min-width: 34px; padding: 4px; font-variant-numeric: tabular-nums;
  background: color-mix(in srgb, var(--s1) calc(var(--v) * 100%), transparent); }
.confusion td.hitcell { background: color-mix(in srgb, var(--s0) calc(var(--v) * 100%), transparent);
  outline: 1.5px solid var(--s0); outline-offset: -2px; }
.settings td { overflow-wrap: anywhere; }
.settings td, .settings th { font-family: ui-monospace, "Cascadia Mono", Menlo, "Liberation Mono", monospace;
  font-weight: 400; }
footer { padding-top: 32px; padding-bottom: 40px; color: var(--dim); font-size: .8125rem; }
@media (max-width: 480px) { header, main, footer { padding-left: 12px; padding-right: 12px; } .chart { padding: 8px; }
svg text { font-size: 14px; } }
@media print { :root { color-scheme: light; --page: #fff; --card: #fff; --line: #c4c8cf; --text: #000; --dim: #333;
  --accent: #003f87;
  --s0: #003f87; --s1: #a83200; --s2: #0b6b2f; --s3: #6a1bb0; --s4: #6f4e00; --s5: #0a5c72; --warn: #9b1c12; }
  body { font-size: 11pt; } nav, .skip { display: none; } .chart, tr, .tiles div { break-inside: avoid; }
  h2 { break-after: avoid; }
  .grid { grid-template-columns: 1fr 1fr; } .grid > .scroll { grid-column: 1 / -1; } .scroll { overflow: visible; }
  table:not(.settings) { break-inside: avoid; } svg text { font-size: 15px; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
`
