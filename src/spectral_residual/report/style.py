"""Style sheet of the report: light and dark, from phones to wide screens."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f4f5f7; --card: #ffffff; --ink: #1c2026; --muted: #5a6370; --line: #dde1e7;
  --accent: #00609a; --tint: #eef4f9;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0b0c0d; --card: #141414; --ink: #e9ebee; --muted: #a3abb6; --line: #2e3238;
    --accent: #6fbdf0; --tint: #1a222a;
  }
  /* White paper becomes the colour of the card, and hues stay what they were. */
  .plot img { filter: invert(0.92) hue-rotate(180deg); }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: clamp(1rem, 4vw, 3rem) clamp(0.75rem, 3vw, 2rem); max-width: 76rem;
  background: var(--page); color: var(--ink);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  overflow-wrap: anywhere;
}
h1 { margin: 0 0 0.6rem; font-size: clamp(1.6rem, 5vw, 2.4rem); line-height: 1.2; }
h2 { margin: 0 0 1rem; font-size: 1.3rem; line-height: 1.3; }
.lead { margin: 0 0 1.2rem; max-width: 46rem; font-size: 1.1rem; white-space: pre-line; }
nav { display: flex; flex-wrap: wrap; gap: 0.4rem 1.4rem; margin-bottom: 1.6rem; }
a { color: var(--accent); text-underline-offset: 0.2em; }
section {
  margin-bottom: 1.5rem; padding: clamp(1rem, 3vw, 1.75rem);
  background: var(--card); border: 1px solid var(--line); border-radius: 12px;
}
.scroll { overflow-x: auto; }
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
table {
  width: 100%; border-collapse: separate; border-spacing: 0;
  font-variant-numeric: tabular-nums; overflow-wrap: normal;
}
th, td {
  padding: 0.55rem 0.8rem; text-align: right; vertical-align: top; white-space: nowrap;
  border-bottom: 1px solid var(--line);
}
thead th { color: var(--muted); font-size: 0.85rem; font-weight: 600; }
tbody tr:last-child > * { border-bottom: 0; }
th:first-child {
  position: sticky; left: 0; max-width: 16rem; padding-left: 0; background: var(--card);
  text-align: left; white-space: normal;
}
td small, th small {
  display: block; color: var(--muted); font-size: 0.78rem; font-weight: 400; line-height: 1.3;
}
.note, figcaption { color: var(--muted); font-size: 0.9rem; }
.note { margin: 1rem 0 0; max-width: 60rem; }
figure { margin: 0; }
figure + figure { margin-top: 1.5rem; }
figcaption { margin-top: 0.5rem; }
figcaption strong { display: block; color: var(--ink); }
img { display: block; max-width: 100%; height: auto; }
.plot img { margin: 0 auto; }
.gallery { display: flex; flex-wrap: wrap; gap: 1.5rem; }
.gallery figure { margin: 0; max-width: 100%; min-width: min(100%, 15rem); }
.gallery img { border-radius: 6px; }
dl { display: grid; grid-template-columns: minmax(8rem, auto) 1fr; gap: 0.6rem 1.5rem; margin: 0; }
dt { color: var(--muted); font-weight: 600; }
dd { margin: 0; }
.lines {
  padding: 0.7rem 0.9rem; background: var(--tint); border-radius: 6px; white-space: pre-wrap;
  font: 0.85rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
}
@media (max-width: 40rem) {
  table { font-size: 0.92rem; }
  th, td { padding-left: 0.45rem; padding-right: 0.45rem; }
  th:first-child { max-width: 8.5rem; }
  dl { grid-template-columns: minmax(0, 1fr); gap: 0.2rem; }
  dd { margin-bottom: 0.8rem; }
}
"""
