/**
 * xterm.js without a browser, attached by its own AttachAddon: `node attach.mjs URL [TYPED EXPECTED]...`.
 *
 * Types each TYPED as a keyboard would, waits until a line of the screen is exactly EXPECTED, and when the server has closed
 * prints as JSON how it did (`code`) and what stands on the screen (`lines`; each a list of [characters, columns]).
 */

import { AttachAddon } from "@xterm/addon-attach";
import headless from "@xterm/headless";
import WebSocket from "ws";

const WAIT_MS = 15_000;

// The addon compares with the browser's constants.
globalThis.WebSocket = WebSocket;

const [url, ...script] = process.argv.slice(2);
const terminal = new headless.Terminal({ rows: 24, cols: 80, allowProposedApi: true });

function readCells(line) {
  const cells = Array.from({ length: line.length }, (_, column) => line.getCell(column));
  const written = cells.findLastIndex((cell) => cell.getChars() !== "") + 1;
  return cells.slice(0, written).map((cell) => [cell.getChars(), cell.getWidth()]);
}

function readScreen() {
  const buffer = terminal.buffer.active;
  return Array.from({ length: buffer.length }, (_, row) => buffer.getLine(row));
}

function waitForLine(expected) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      const shown = readScreen().map((line) => line.translateToString(true)).join("\n").trimEnd();
      reject(new Error(`waited in vain for ${JSON.stringify(expected)}; the screen shows:\n${shown}`));
    }, WAIT_MS);
    const watch = terminal.onWriteParsed(look);
    function look() {
      if (!readScreen().some((line) => line.translateToString(true) === expected)) return;
      clearTimeout(timer);
      watch.dispose();
      resolve();
    }
    look();
  });
}

function opened(socket) {
  return new Promise((resolve, reject) => {
    socket.once("open", resolve);
    socket.once("error", reject);
  });
}

function closed(socket) {
  return new Promise((resolve) => socket.once("close", resolve));
}

const socket = new WebSocket(url);
const closing = closed(socket);
// Before the socket is open, so that nothing can come earlier than it listens.
terminal.loadAddon(new AttachAddon(socket));
await opened(socket);
for (let step = 0; step < script.length; step += 2) {
  const [typed, expected] = script.slice(step, step + 2);
  terminal.input(typed);
  if (expected !== undefined) await waitForLine(expected);
}
const code = await closing;
await new Promise((resolve) => terminal.write("", resolve));
process.stdout.write(`${JSON.stringify({ code, lines: readScreen().map(readCells) })}\n`);
