"""The page's style sheet: system fonts, two colour schemes, paper. Colours are told apart by dash and shape as well."""

CSS = """
:root {
  --paper: #fbfaf7; --card: #ffffff; --ink: #1c2128; --quiet: #5b6471; --line: #e5e1d8; --faint: #f1eee7;
  --main: #0b62a4; --imagined: #c2480a; --factual: #77818e; --good: #0b7a63; --trusted: #0b62a414;
  --serif: ui-serif, "Iowan Old Style", "Palatino Linotype", Palatino, Georgia, "DejaVu Serif", serif;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  color-scheme: light dark;
}
@media (prefers-color-scheme: dark) { :root {
  --paper: #14171b; --card: #1b1f25; --ink: #ebe8e1; --quiet: #a4acb8; --line: #30363f; --faint: #22272e;
  --main: #74b9f0; --imagined: #f59452; --factual: #8b95a3; --good: #4fc7a5; --trusted: #74b9f01f;
} }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 17px/1.6 var(--sans); }
main, footer { max-width: 1040px; margin: 0 auto; padding: 0 24px; }
header { max-width: 1040px; margin: 0 auto; padding: 28px 24px 0; display: flex; flex-wrap: wrap; gap: 4px 18px;
  justify-content: space-between; color: var(--quiet); font-size: 14px; }
header b { color: var(--ink); font-weight: 600; letter-spacing: .01em; }
h1 { font: 400 clamp(28px, 4.6vw, 46px)/1.18 var(--serif); letter-spacing: -.012em; margin: 44px 0 14px;
  max-width: 24em; text-wrap: balance; }
h1 em { font-style: normal; color: var(--main); white-space: nowrap; }
h2 { font: 400 27px/1.25 var(--serif); letter-spacing: -.006em; margin: 76px 0 6px; }
h3 { font: 600 15px/1.4 var(--sans); margin: 0 0 2px; }
p { margin: 0 0 12px; max-width: 44em; }
.lead { color: var(--quiet); font-size: 19px; line-height: 1.5; max-width: 40em; text-wrap: pretty; }
table + .note, .scroll + .note, .grid-2 + .note { margin-top: 16px; }
.note, figcaption { color: var(--quiet); font-size: 14.5px; line-height: 1.5; max-width: 46em; }
figcaption { margin-top: 10px; }
figure { margin: 26px 0 0; }
.hero img { width: 100%; height: auto; display: block; border-radius: 10px; background: var(--faint); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 1px; margin: 34px 0 0;
  background: var(--line); border-block: 1px solid var(--line); }
.tiles div { background: var(--paper); padding: 18px 20px 16px 14px; }
.tiles div:first-child { padding-left: 0; }
.tiles b { display: block; font: 400 34px/1.15 var(--serif); font-variant-numeric: tabular-nums lining-nums; }
.tiles span { display: block; color: var(--quiet); font-size: 14px; line-height: 1.45; }
.film { background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
.film .names { display: grid; grid-template-columns: 1fr 1fr; font-size: 14px; font-weight: 600; }
.film .names span { padding: 9px 16px; }
.film .names span + span { color: var(--imagined); }
.film video, .film img { display: block; width: 100%; height: auto; background: var(--faint); }
.film .below { padding: 14px 16px 8px; }
.grid-2 { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 24px; margin-top: 26px; }
.grid-2 > figure { margin: 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px 14px; }
.card .tag { color: var(--quiet); font-size: 13.5px; }
.card.worst { border-color: var(--imagined); }
.card.worst .tag { color: var(--imagined); font-weight: 600; }
.card svg { margin: 10px 0 2px; }
code { font: 14px/1.5 var(--mono); }
h3 code { font-size: 14.5px; font-weight: 600; overflow-wrap: anywhere; }
pre { font: 14px/1.6 var(--mono); background: var(--faint); border-radius: 8px; padding: 14px 16px; margin: 14px 0;
  white-space: pre-wrap; overflow-wrap: anywhere; }
.legend { display: flex; flex-wrap: wrap; gap: 6px 26px; margin: 18px 0 0; padding: 0; list-style: none;
  font-size: 14.5px; color: var(--quiet); }
.legend svg { display: inline-block; width: 34px; height: 12px; margin-right: 8px; vertical-align: -1px;
  overflow: visible; }
.scroll { overflow-x: auto; margin-top: 22px; -webkit-overflow-scrolling: touch; }
table { border-collapse: collapse; width: 100%; min-width: 820px; font-size: 15px;
  font-variant-numeric: tabular-nums lining-nums; }
th, td { text-align: left; vertical-align: top; padding: 11px 14px 11px 0; border-bottom: 1px solid var(--line); }
thead th { color: var(--quiet); font-weight: 500; font-size: 13.5px; line-height: 1.35; vertical-align: bottom; }
tbody th { font-weight: 600; min-width: 190px; }
tbody th small { display: block; font-weight: 400; color: var(--quiet); font-size: 13px; line-height: 1.4; }
td small { color: var(--quiet); font-size: 12.5px; white-space: nowrap; display: block; line-height: 1.35; }
tr.main td, tr.main th { background: var(--trusted); }
tr.main th { padding-left: 12px; box-shadow: inset 3px 0 var(--main); }
tr:not(.main) tbody th { font-weight: 500; }
.limits { padding-left: 1.1em; margin: 14px 0; max-width: 44em; }
.limits li { margin: 0 0 8px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 22px; margin: 16px 0; font-size: 15px; }
dt { color: var(--quiet); }
dd { margin: 0; overflow-wrap: anywhere; }
footer { color: var(--quiet); font-size: 13.5px; padding-block: 56px 60px; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--quiet); font: 12px var(--sans); font-variant-numeric: tabular-nums lining-nums; }
svg.mini { width: 118px; height: 14px; margin: 3px 0 0; }
.grid { stroke: var(--line); stroke-width: 1; fill: none; }
.axis { fill: var(--quiet); }
svg .strong { fill: var(--ink); font-weight: 600; }
.line { fill: none; stroke-width: 2.2; stroke-linejoin: round; stroke-linecap: round; }
.line.main { stroke: var(--main); }
.line.reference { stroke: var(--ink); stroke-width: 1.7; stroke-dasharray: 7 4; }
.line.baseline { stroke: var(--factual); stroke-width: 1.7; stroke-dasharray: 1.5 4; }
.band { stroke: none; opacity: .16; } .band.main { fill: var(--main); }
.band.reference { fill: var(--ink); } .band.baseline { fill: var(--factual); }
svg .name { font-size: 12.5px; font-weight: 600; }
svg .name.main { fill: var(--main); } svg .name.reference { fill: var(--ink); }
svg .name.baseline { fill: var(--quiet); }
svg.mini .grid { stroke: var(--factual); opacity: .55; }
.whisker { fill: none; stroke-width: 2.4; stroke-linecap: round; opacity: .45; }
.whisker.main { stroke: var(--main); } .whisker.reference { stroke: var(--ink); }
.whisker.baseline { stroke: var(--factual); }
.dot.main { fill: var(--main); } .dot.reference { fill: var(--ink); } .dot.baseline { fill: var(--factual); }
.bar { fill: var(--main); opacity: .55; }
.trusted { fill: var(--trusted); }
.horizon { stroke: var(--ink); stroke-width: 1.4; stroke-dasharray: 3 3; fill: none; }
.top { background: var(--faint); border-radius: 6px; }
.top .scale { stroke: var(--quiet); fill: none; }
.top .start { fill: var(--cube); fill-opacity: .3; stroke: var(--cube); stroke-width: calc(.5 * var(--unit)); }
.top .removed { fill: none; stroke: var(--cube); stroke-width: calc(.5 * var(--unit));
  stroke-dasharray: calc(1.2 * var(--unit)) calc(1 * var(--unit)); }
.top .cross { stroke: var(--quiet); stroke-width: calc(.45 * var(--unit)); fill: none; }
.top .edit { stroke: var(--quiet); stroke-width: calc(.7 * var(--unit)); fill: none;
  stroke-dasharray: calc(.1 * var(--unit)) calc(1.4 * var(--unit)); stroke-linecap: round; }
.top .letter { fill: var(--ink); font-weight: 650; stroke: var(--faint); stroke-width: calc(1.1 * var(--unit));
  paint-order: stroke; stroke-opacity: .7; }
.way, .end, .tool, .key { fill: none; stroke-linejoin: round; stroke-linecap: round; }
.top .way { stroke-width: calc(.6 * var(--unit)); } .top .end { stroke-width: calc(.75 * var(--unit)); }
.top .way.truth, .top .end.truth { stroke-width: calc(1.3 * var(--unit)); }
.factual { stroke: var(--factual); } .truth { stroke: var(--ink); } .imagined { stroke: var(--imagined); }
.top .end.factual, .top .way.factual { stroke-dasharray: calc(1.5 * var(--unit)) calc(1.2 * var(--unit)); }
.top .way.imagined, .top .end.imagined { stroke-width: calc(.75 * var(--unit)); }
.top .tool { stroke: var(--factual); stroke-width: calc(.4 * var(--unit)); opacity: .75; }
.top .tool.truth { stroke: var(--ink); }
.top .tool-end { fill: var(--factual); stroke: none; opacity: .75; } .top .tool-end.truth { fill: var(--ink); }
.node { fill: color-mix(in srgb, var(--cube) 26%, var(--card)); stroke: var(--cube); stroke-width: 2; }
.graph .arrow { fill: none; stroke-linecap: round; } .head { stroke: none; }
.head.truth { fill: var(--ink); } .head.imagined { fill: var(--imagined); }
svg .label { fill: var(--ink); font-size: 13px; font-weight: 600; }
svg .on { fill: var(--ink); font-size: 14px; font-weight: 650; stroke: var(--card); stroke-width: 5;
  paint-order: stroke; }
.key { stroke-width: 2.4; } .key.factual { stroke-dasharray: 5 4; }
.key.truth { stroke-width: 4; } .key.imagined { stroke-width: 2.4; }
@media (max-width: 720px) {
  body { font-size: 16px; }
  main, footer, header { padding-inline: 18px; }
  .grid-2 { grid-template-columns: minmax(0, 1fr); }
  h2 { margin-top: 56px; }
  h1 { margin-top: 30px; }
  .tiles div { padding-left: 0; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 8px; }
  .chart.wide text, .chart.wide .name { font-size: 21px; }
}
@media print {
  :root { --paper: #fff; --card: #fff; --ink: #111; --quiet: #444; --line: #ccc; --faint: #f5f5f5; --main: #0b62a4;
    --imagined: #b23f05; --factual: #777; --good: #0b7a63; --trusted: #0b62a414; color-scheme: light; }
  body { font-size: 11pt; } h2 { margin-top: 28pt; break-after: avoid; }
  figure, .card, .film, tr { break-inside: avoid; } .scroll { overflow: visible; }
  table { min-width: 0; font-size: 9.5pt; }
  video { display: none; } .film noscript, .film .still { display: block !important; }
}
.film .still { display: none; }
@media (prefers-reduced-motion: reduce) { * { animation: none !important; } }
"""
