/** The element's own rules. A constructed sheet, like xterm.js's: it needs no leave from the page's style-src. */

import xtermCss from "../vendor/xterm-css.mjs";

const CSS = `
:host {
  display: block;
  position: relative;
  min-width: 0;
  min-height: 0;
  contain: content;
  font: 13px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
}
:host([hidden]), ws-terminal-style { display: none; }
[hidden] { display: none !important; }
.frame, .frame > *, .stage > *, .search > * { box-sizing: border-box; }

.frame {
  container-type: inline-size;
  position: absolute;
  inset: 0;
  display: flex;
  flex-direction: column;
  overflow: hidden;
  background: var(--surface);
  color: var(--text);
}

/* The line above the terminal. */
.bar {
  display: flex;
  align-items: center;
  gap: 10px;
  flex: none;
  height: 40px;
  padding: 0 6px 0 14px;
  background: var(--raised);
  border-bottom: 1px solid var(--line);
}
.dot { flex: none; width: 8px; height: 8px; border-radius: 50%; background: var(--muted); }
[data-state="running"] .dot { background: var(--good); }
[data-state="connecting"] .dot { background: var(--busy); animation: breathe 1.2s ease-in-out infinite; }
[data-state="refused"] .dot, [data-state="lost"] .dot, [data-state="ended"]:not(.succeeded) .dot { background: var(--bad); }
@keyframes breathe { 50% { opacity: .3; } }
.names { display: flex; align-items: baseline; gap: 10px; flex: 1; min-width: 0; white-space: nowrap; }
.title { font-weight: 600; overflow: hidden; text-overflow: ellipsis; }
.subtitle { color: var(--muted); overflow: hidden; text-overflow: ellipsis; flex: 0 100 auto; }
.status, .size { flex: none; color: var(--muted); white-space: nowrap; }
.size { font-variant-numeric: tabular-nums; }
.badge { flex: none; padding: 1px 8px; border: 1px solid var(--line); border-radius: 99px; color: var(--muted); white-space: nowrap; }
.tools { display: flex; flex: none; gap: 2px; margin-left: 4px; }

button { font: inherit; color: inherit; cursor: pointer; }
.tools button, .search button {
  display: grid;
  place-items: center;
  width: 30px;
  height: 30px;
  padding: 0;
  border: 0;
  border-radius: 7px;
  background: transparent;
  color: var(--muted);
}
.tools button:hover, .search button:hover { background: var(--hover); color: var(--text); }
.tools button[aria-pressed="true"] { background: var(--hover); color: var(--accent); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
svg { width: 17px; height: 17px; fill: none; stroke: currentColor; stroke-width: 1.8; stroke-linecap: round; stroke-linejoin: round; }

/* The terminal. xterm.js is told of this padding by its own element, so that rows and columns are counted right. */
/* What floats inside stays below the words that may lie over it. */
.stage { position: relative; isolation: isolate; flex: 1; min-height: 0; }
.screen { position: absolute; inset: 0; overflow: hidden; }
.screen .xterm .xterm-viewport { background: transparent; }
.screen .xterm { height: 100%; box-sizing: border-box; padding: 8px 0 6px 12px; }
.hint {
  position: absolute;
  left: 0;
  bottom: 0;
  z-index: 20;
  max-width: 80%;
  padding: 3px 10px;
  overflow: hidden;
  text-overflow: ellipsis;
  white-space: nowrap;
  border-top-right-radius: 8px;
  background: var(--raised);
  color: var(--muted);
  pointer-events: none;
}
.wait {
  position: absolute;
  inset: 0;
  display: grid;
  place-items: center;
  color: var(--muted);
  background: var(--surface);
  animation: appear .2s .35s both;
}
@keyframes appear { from { opacity: 0; } }

.search {
  position: absolute;
  top: 10px;
  right: 24px;
  z-index: 20;
  display: flex;
  align-items: center;
  gap: 2px;
  padding: 4px;
  border: 1px solid var(--line);
  border-radius: 10px;
  background: var(--raised);
  box-shadow: 0 6px 24px var(--shadow);
}
.search input {
  width: 190px;
  padding: 4px 8px;
  border: 0;
  border-radius: 6px;
  background: transparent;
  color: var(--text);
  font: inherit;
}
.search input:focus-visible { outline: 2px solid var(--accent); outline-offset: 0; }
.search input::placeholder { color: var(--muted); opacity: 1; }
.search input::-webkit-search-cancel-button { display: none; }
.count { min-width: 56px; padding: 0 6px; text-align: right; color: var(--muted); font-variant-numeric: tabular-nums; }

/* Words: how it ended, or why it did not begin. */
.outcome {
  display: flex;
  flex: none;
  flex-wrap: wrap;
  align-items: center;
  justify-content: space-between;
  gap: 10px 20px;
  padding: 12px 16px 12px 18px;
  border-top: 1px solid var(--line);
  border-left: 4px solid var(--bad);
  background: var(--raised);
}
.outcome.good { border-left-color: var(--good); }
.words { flex: 1 1 280px; max-width: 68ch; }
h2 { margin: 0 0 2px; font-size: 14px; font-weight: 600; }
p { margin: 0; color: var(--muted); }
[data-state="refused"] .outcome {
  position: absolute;
  inset: 40px 0 0;
  margin: auto;
  width: min(460px, calc(100% - 32px));
  height: fit-content;
  padding: 26px 28px 24px;
  border: 1px solid var(--line);
  border-radius: 14px;
  box-shadow: 0 12px 40px var(--shadow);
}
[data-state="refused"] .words { flex-basis: 100%; }
[data-state="refused"] h2 { margin-bottom: 8px; font-size: 18px; }
[data-state="refused"] p { font-size: 14px; line-height: 1.55; overflow-wrap: anywhere; }
[data-state="refused"] .primary { margin-top: 8px; }

.primary, .plain { padding: 7px 16px; border-radius: 8px; font-weight: 600; white-space: nowrap; }
.primary { border: 1px solid var(--accent); background: var(--accent); color: var(--on-accent); }
.primary:hover { filter: brightness(1.08); }
.plain { border: 1px solid var(--line); background: transparent; color: var(--text); }
.plain:hover { background: var(--hover); }

.question {
  position: absolute;
  right: 24px;
  bottom: 18px;
  z-index: 21;
  width: min(400px, calc(100% - 48px));
  box-sizing: border-box;
  padding: 16px 18px;
  border: 1px solid var(--line);
  border-radius: 12px;
  background: var(--raised);
  box-shadow: 0 12px 40px var(--shadow);
}
.question p { color: var(--text); }
.question code {
  display: block;
  max-height: 96px;
  margin: 10px 0 14px;
  padding: 8px 10px;
  overflow: auto;
  border-radius: 7px;
  background: var(--surface);
  font: 12px/1.5 ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  white-space: pre-wrap;
  overflow-wrap: anywhere;
}
.question code:empty { display: none; }
.question p:has(+ code:empty) { margin-bottom: 14px; }
.answers { display: flex; flex-wrap: wrap; gap: 8px; }

/* Keys for touch screens. */
.keys { display: none; flex: none; gap: 6px; padding: 6px 8px; border-top: 1px solid var(--line); background: var(--raised); overflow-x: auto; }
@media (pointer: coarse) {
  .keys { display: flex; }
  .tools button { width: 40px; height: 40px; }
  .bar { height: 46px; }
  .search button { width: 38px; height: 38px; }
}
.keys button {
  flex: 1 0 44px;
  min-height: 44px;
  padding: 0 8px;
  border: 1px solid var(--line);
  border-radius: 8px;
  background: var(--surface);
  font-weight: 600;
  touch-action: manipulation;
}
.keys button:active { background: var(--hover); }
.keys button[aria-pressed="true"] { border-color: var(--accent); background: var(--accent); color: var(--on-accent); }

/* Narrow boxes show what matters most. */
@container (max-width: 640px) { .subtitle, .size { display: none; } }
@container (max-width: 440px) {
  .status { position: absolute; clip-path: inset(50%); }
  .search { left: 10px; right: 10px; }
  .search input { flex: 1; width: 0; }
  .bar { gap: 8px; }
}
@container (max-width: 300px) { .tools .smaller, .tools .larger { display: none; } }

@media (prefers-reduced-motion: reduce) { * { animation: none !important; } }
@media (forced-colors: active) { .dot { forced-color-adjust: none; } }
`;

function buildSheet(css) {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(css);
  return sheet;
}

/** In this order: our rules may refine those of xterm.js. */
export const STYLE_SHEETS = [buildSheet(xtermCss), buildSheet(CSS)];
