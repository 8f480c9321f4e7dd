/**
 * The example page of the RPC door: starts sessions, shows what they write, and sends them input and signals.
 *
 * The token may come in the address (`rpc.html#token=T`); it leaves it at once. Commands run on pipes, so what they write is text.
 */

import { Rpc } from "./rpc.js";

const LIST_EVERY_MS = 2000;
const WAIT_S = 20;
const OUTPUT_MAX_NODES = 5000;

const find = (id) => document.getElementById(id);

let current = null;
let reading = new AbortController();

function rpc() {
  return new Rpc(new URL("../rpc", import.meta.url), { token: find("token").value });
}

/** Takes a token out of the address. */
function takeToken() {
  const token = new URLSearchParams(location.hash.slice(1).replaceAll("+", "%2B")).get("token");
  if (token === null) return;
  find("token").value = token;
  history.replaceState(null, "", location.pathname + location.search);
}

/** Does something for a person; what goes wrong is said on the page. */
async function attempt(action) {
  find("problem").hidden = true;
  try {
    await action();
  } catch (error) {
    complain(error);
  }
}

function complain(error) {
  find("problem").textContent = error.message;
  find("problem").hidden = false;
}

function describe({ running, exit_code: code, signal, reason }) {
  if (running) return "running";
  if (reason) return `ended: ${reason.replaceAll("_", " ")}`;
  return signal === null ? `exit code ${code ?? "unknown"}` : `killed by ${signal}`;
}

function dotOf({ running, exit_code: code }) {
  return `dot ${running ? "running" : code === 0 ? "" : "failed"}`;
}

function show(session) {
  find("title").textContent = session.title || session.session.slice(0, 8);
  find("state").textContent = describe(session);
  document.querySelector(".bar .dot").className = dotOf(session);
  setEnabled(session.running);
}

function setEnabled(isRunning) {
  for (const control of document.querySelectorAll("#session button, #line")) control.disabled = !isRunning;
}

async function list() {
  if (!find("token").value) return;
  const { sessions } = await rpc().call("list");
  const focused = document.activeElement?.dataset.session;
  find("sessions").replaceChildren(...sessions.reverse().map(buildItem));
  if (focused !== undefined) document.querySelector(`[data-session="${focused}"]`)?.focus();
  const shown = sessions.find(({ session }) => session === current);
  if (shown) show(shown);
}

function buildItem(session) {
  const [item, button, dot, name, state] = ["li", "button", "span", "span", "span"].map((tag) => document.createElement(tag));
  button.type = "button";
  button.dataset.session = session.session;
  button.ariaCurrent = String(session.session === current);
  dot.className = dotOf(session);
  name.className = "name";
  name.textContent = session.title || session.session.slice(0, 8);
  state.className = "quiet";
  state.textContent = describe(session);
  button.append(dot, name, state);
  button.addEventListener("click", () => attempt(() => follow(session)));
  item.append(button);
  return item;
}

/** Shows a session and reads its output until it has ended, or another one is shown. */
async function follow(session) {
  reading.abort();
  const { signal } = (reading = new AbortController());
  current = session.session;
  find("output").replaceChildren();
  show(session);
  await list();
  const decoders = new Map();
  for (let offset = 0, ended = false; !ended && !signal.aborted; ) {
    const output = await rpc().call("output", { session: session.session, offset, timeout_s: WAIT_S });
    if (signal.aborted) return;
    if (output.missing) append(`[${output.missing} bytes are no longer there]\n`, "gap");
    for (const chunk of output.chunks) append(decode(decoders, chunk), chunk.stream === 2 ? "stderr" : "stdout");
    ({ next_offset: offset, ended } = output);
  }
  if (!signal.aborted) await list();
}

/** A character may be cut by the end of a chunk: each stream has a decoder that remembers. */
function decode(decoders, { stream, base64 }) {
  if (!decoders.has(stream)) decoders.set(stream, new TextDecoder());
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return decoders.get(stream).decode(bytes, { stream: true });
}

function append(text, className) {
  const output = find("output");
  const isAtEnd = output.scrollHeight - output.scrollTop - output.clientHeight < 30;
  const part = document.createElement("span");
  part.className = className;
  part.textContent = text;
  output.append(part);
  while (output.childNodes.length > OUTPUT_MAX_NODES) output.firstChild.remove();
  if (isAtEnd) output.scrollTop = output.scrollHeight;
}

async function start() {
  const command = find("command").value.trim() || null;
  const args = find("arguments").value.split("\n").filter((line) => line !== "");
  const session = await rpc().call("start", { command, args, tty: false });
  // Reads as long as the session lives; the start is done.
  follow(session).catch(complain);
  find("line").focus();
}

async function send(input) {
  const { written, is_full: isFull } = await rpc().call("write", { session: current, ...input });
  if (isFull && written === 0) throw new Error("The command has not read its input yet; try again later.");
  find("line").value = "";
}

function on(id, event, action) {
  find(id).addEventListener(event, (happening) => {
    happening.preventDefault();
    attempt(action);
  });
}

on("start", "submit", start);
on("token", "change", list);
on("typing", "submit", () => send({ text: `${find("line").value}\n` }));
on("eof", "click", () => send({ eof: true }));
for (const button of document.querySelectorAll("[data-signal]")) {
  button.addEventListener("click", () => attempt(() => rpc().call("signal", { session: current, signal: button.dataset.signal })));
}
takeToken();
setEnabled(false);
attempt(list);
setInterval(() => document.visibilityState === "visible" && list().catch(complain), LIST_EVERY_MS);
