/**
 * The page at `/`: shows one <ws-terminal> for the token in the address's fragment (`/#token=T`).
 *
 * The token leaves the address bar at once, so that no history, bookmark or screenshot keeps it. It stays in this tab's session
 * storage: a reload works as long as the token itself does.
 */

import "./ws-terminal.js";

const TOKEN_KEY = "ws-subprocess.token";
const SETTINGS_KEY = "ws-subprocess.settings";

/**
 * The token in a fragment, percent-decoded; null when there is none. A plus sign is itself (base64 has it).
 * @param {string} fragment e.g. "#token=c2VjcmV0"
 */
function tokenIn(fragment) {
  const part = fragment.replace(/^#/, "").split("&").find((field) => field.startsWith("token="));
  if (part === undefined) return null;
  const value = part.slice("token=".length);
  try {
    return decodeURIComponent(value) || null;
  } catch {
    // A lone percent sign: nobody encoded it.
    return value;
  }
}

/** Takes the token out of the address bar; falls back to the one this tab had before. */
function takeToken() {
  const token = tokenIn(location.hash);
  if (token === null) return sessionStorage.getItem(TOKEN_KEY);
  sessionStorage.setItem(TOKEN_KEY, token);
  history.replaceState(null, "", location.pathname + location.search);
  return token;
}

function readSettings() {
  try {
    return JSON.parse(localStorage.getItem(SETTINGS_KEY)) ?? {};
  } catch {
    // Somebody else's value under our key.
    return {};
  }
}

function createTerminal(token) {
  const terminal = document.createElement("ws-terminal");
  const { theme, fontSize, screenReader } = readSettings();
  if (theme !== undefined) terminal.setAttribute("theme", theme);
  if (fontSize !== undefined) terminal.setAttribute("font-size", fontSize);
  if (screenReader) terminal.setAttribute("screen-reader", "");
  terminal.setAttribute("autofocus", "");
  terminal.token = token;
  terminal.addEventListener("ws-terminal-settings", ({ detail }) => localStorage.setItem(SETTINGS_KEY, JSON.stringify(detail)));
  terminal.addEventListener("ws-terminal-state", ({ detail }) => showInTitle(detail));
  return terminal;
}

/** The prefix stays whatever a server calls its command: a title cannot pass for another site's. */
function showInTitle({ state, title }) {
  document.title = state === "running" || !title ? `Terminal: ${title || state}` : `Terminal: ${title} (${state})`;
}

function show() {
  const place = document.getElementById("place");
  const token = takeToken();
  place.replaceChildren(token === null ? document.getElementById("no-token").content.cloneNode(true) : createTerminal(token));
}

/** Ctrl-W is a key of many programs, and closes the tab: asks first while something runs. */
function guardLeaving(event) {
  if (document.querySelector("ws-terminal")?.state === "running") event.preventDefault();
}

/** Safari lays an on-screen keyboard over the page instead of making the page smaller. */
function followKeyboard() {
  document.documentElement.style.setProperty("--visible-height", `${visualViewport.height}px`);
}

addEventListener("beforeunload", guardLeaving);
addEventListener("hashchange", () => tokenIn(location.hash) !== null && show());
visualViewport.addEventListener("resize", followKeyboard);
show();
