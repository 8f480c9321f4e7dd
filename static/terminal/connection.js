/**
 * One session over one websocket: opens it, speaks `ws-subprocess.v1`, tells its listener what happens. No DOM.
 *
 * Law: connecting -> (running | refused | lost), running -> (ended | lost); the listener hears one outcome, last. Every wait on
 * the server has a deadline, and output is acknowledged only once the listener has dealt with it.
 *
 * A listener has the methods
 *   opened(hello)                   the first message of the server
 *   output(bytes, stream, done)     output of the child; call `done()` when it has been dealt with
 *   complained(code, message)       something had no effect; the session lives on
 *   ended({state, ...})             see `Outcome`
 *
 * @typedef {{state: "ended", exitCode: number | null, signal: string | null, durationS: number, bytes: number, missing: number,
 *     code: string | null, message: string}
 *   | {state: "refused", problem: import("./refusal.js").Problem | null, reachable: boolean}
 *   | {state: "lost", closeCode: number, code: string | null, message: string}} Outcome
 *   `missing`: bytes of output that never arrived (0 unless something is very wrong). `code` and `message`: the server's last
 *   error message, which says why it ended the session if it did.
 */

import { Acknowledgements } from "./acknowledgements.js";
import { ProtocolError, decodeServer, encodeClient, offeredSubprotocols } from "../native-v1.js";
import { askWhyRefused } from "./refusal.js";

const DEADLINES = Object.freeze({
  /** The daemon gives its controller 5 s by default, and then starts the command. */
  helloMs: 20_000,
  closeMs: 10_000,
  /** A silent line gets a ping per interval; after `SILENT_INTERVALS_MAX` of them without any answer it is lost. */
  pingMs: 20_000,
});
const SILENT_INTERVALS_MAX = 3;
/** At most one resize per interval, and always the last one: dragging a window makes dozens. */
const RESIZE_INTERVAL_MS = 50;
/** The server takes messages of 1 MiB; smaller ones let a Ctrl-C through sooner. */
const INPUT_CHUNK_BYTES = 32 * 1024;
/** What may wait in the browser when the child does not read its input. */
const INPUT_BACKLOG_BYTES = 8 * 1024 * 1024;
const CLOSE_NORMAL = 1000;
const CLOSE_ABNORMAL = 1006;

export class Connection {
  #token;
  #base;
  #listener;
  #deadlines;
  #socket;
  #acknowledgements;
  #state = "connecting";
  #tty = true;
  #role = "viewer";
  #size;
  #sizeSent;
  #received = 0;
  #exit = null;
  #lastError = { code: null, message: "" };
  #silentIntervals = 0;
  #timers = { deadline: undefined, ping: undefined, resize: undefined };

  /**
   * Opens the websocket at once.
   * @param {object} options
   * @param {URL} options.base where the daemon is, with a slash at the end (http or https)
   * @param {string} options.token
   * @param {{rows: number, cols: number}} options.size the terminal's first size
   * @param {object} options.listener
   * @param {typeof WebSocket} [options.WebSocket] the page's own unless given
   * @param {Partial<typeof DEADLINES>} [options.deadlines] shorter ones, for tests
   */
  constructor({ base, token, size, listener, WebSocket = globalThis.WebSocket, deadlines = {} }) {
    this.#base = base;
    this.#token = token;
    this.#size = size;
    this.#listener = listener;
    this.#deadlines = { ...DEADLINES, ...deadlines };
    this.#acknowledgements = new Acknowledgements((offset) => this.#send({ type: "ack", offset }));
    this.#socket = new WebSocket(websocketUrl(base, size), offeredSubprotocols(token));
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onmessage = ({ data }) => this.#receive(data);
    this.#socket.onclose = ({ code }) => this.#closed(code);
    // A close event follows, unless the page's own policy did not let the socket out (Chromium).
    this.#socket.onerror = () => this.#socket.readyState === this.#socket.CLOSED && this.#closed(CLOSE_ABNORMAL);
    this.#setDeadline(this.#deadlines.helloMs, "the server did not start the command in time");
  }

  /** connecting, running, ended, refused or lost. */
  get state() {
    return this.#state;
  }

  /** Bytes of output received so far, counted like the server's offset. */
  get offset() {
    return this.#received;
  }

  /**
   * Sends bytes to the child's input.
   * @param {Uint8Array} bytes
   * @returns {boolean} false when nothing was sent: not running, not allowed, or too much is waiting already
   */
  sendInput(bytes) {
    if (this.#state !== "running" || this.#role === "viewer") return false;
    if (this.#socket.bufferedAmount + bytes.length > INPUT_BACKLOG_BYTES) return false;
    for (let start = 0; start < bytes.length; start += INPUT_CHUNK_BYTES) {
      this.#send({ type: "input", data: bytes.subarray(start, start + INPUT_CHUNK_BYTES) });
    }
    return true;
  }

  /** Sends a signal by its name without SIG; see `SIGNAL_NAMES`. */
  signal(name) {
    if (this.#state === "running") this.#send({ type: "signal", name });
  }

  /** Ends the child's input. */
  endInput() {
    if (this.#state === "running") this.#send({ type: "eof" });
  }

  /** Says how large the terminal is now; many calls in a row become few messages. */
  resize(size) {
    this.#size = size;
    if (this.#timers.resize === undefined) this.#sendSize();
  }

  /** Leaves; the listener hears nothing more. */
  close() {
    this.#finish("lost");
    this.#listener = null;
    this.#socket.close(CLOSE_NORMAL);
  }

  #receive(data) {
    this.#silentIntervals = 0;
    // The outcome has been told; nothing that comes now can change it.
    if (this.#state !== "connecting" && this.#state !== "running") return;
    try {
      this.#understand(decodeServer(data, this.#tty));
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      if (error.code !== "unknown_message") this.#giveUp(`the server broke the protocol (${error.message})`);
    }
  }

  #understand(event) {
    if (this.#state === "connecting" && event.type !== "hello" && event.type !== "error") {
      throw new ProtocolError("bad_message", `${event.type} came before hello`);
    }
    switch (event.type) {
      case "hello":
        return this.#opened(event);
      case "output":
        return this.#output(event);
      case "exit":
        return this.#exited(event);
      case "error":
        this.#lastError = { code: event.code, message: event.message };
        return this.#listener.complained(event.code, event.message);
      case "ping":
        return this.#send({ type: "pong", id: event.id });
    }
  }

  #opened(hello) {
    this.#state = "running";
    this.#tty = hello.tty;
    this.#role = hello.role;
    this.#received = hello.offset;
    this.#sizeSent = { rows: hello.rows, cols: hello.cols };
    this.#acknowledgements.startAt(hello.offset);
    this.#setDeadline(undefined);
    this.#timers.ping = setInterval(() => this.#ping(), this.#deadlines.pingMs);
    this.#listener.opened(hello);
    this.#sendSize();
  }

  #output({ data, stream }) {
    this.#received += data.length;
    const end = this.#received;
    this.#acknowledgements.received(end);
    this.#listener.output(data, stream, () => this.#acknowledgements.dealtWith(end));
  }

  #exited(exit) {
    this.#exit = exit;
    this.#setDeadline(this.#deadlines.closeMs, "the server did not close the connection");
    this.#end({
      state: "ended",
      exitCode: exit.code,
      signal: exit.signal,
      durationS: exit.duration_s,
      bytes: exit.bytes,
      missing: exit.bytes - this.#received,
      ...this.#lastError,
    });
  }

  async #closed(closeCode) {
    this.#socket.onclose = this.#socket.onerror = () => {};
    if (this.#exit !== null) return this.#setDeadline(undefined);
    if (this.#state === "running") return this.#end({ state: "lost", closeCode, ...this.#lastError });
    if (this.#state !== "connecting") return undefined;
    this.#setDeadline(undefined);
    const answer = await askWhyRefused(this.#base, this.#token);
    // `close` may have been called meanwhile.
    if (this.#state === "connecting") this.#end({ state: "refused", ...answer });
    return undefined;
  }

  #ping() {
    if (this.#silentIntervals >= SILENT_INTERVALS_MAX) return this.#giveUp("the server has been silent for too long");
    this.#silentIntervals += 1;
    return this.#send({ type: "ping", id: this.#silentIntervals });
  }

  #sendSize() {
    const { rows, cols } = this.#size;
    const isKnown = this.#sizeSent?.rows === rows && this.#sizeSent?.cols === cols;
    if (this.#state !== "running" || isKnown) return;
    this.#sizeSent = { rows, cols };
    this.#send({ type: "resize", rows, cols });
    this.#timers.resize = setTimeout(() => {
      this.#timers.resize = undefined;
      this.#sendSize();
    }, RESIZE_INTERVAL_MS);
  }

  #send(event) {
    if (this.#socket.readyState === this.#socket.OPEN) this.#socket.send(encodeClient(event));
  }

  /** Ends what the server does not end: says why, then closes. */
  #giveUp(message) {
    if (this.#state === "connecting" || this.#state === "running") {
      this.#end({ state: "lost", closeCode: CLOSE_ABNORMAL, code: null, message });
    }
    this.#socket.close(CLOSE_NORMAL);
  }

  #end(outcome) {
    this.#finish(outcome.state);
    this.#listener?.ended(outcome);
  }

  #finish(state) {
    this.#state = state;
    if (this.#exit === null) this.#setDeadline(undefined);
    clearInterval(this.#timers.ping);
    clearTimeout(this.#timers.resize);
    this.#acknowledgements.stop();
  }

  /** One deadline at a time; `undefined` takes it away. */
  #setDeadline(ms, message) {
    clearTimeout(this.#timers.deadline);
    if (ms !== undefined) this.#timers.deadline = setTimeout(() => this.#giveUp(message), ms);
  }
}

/** The address of the websocket below `base`. The token is not in it: addresses are remembered by logs. */
function websocketUrl(base, { rows, cols }) {
  const url = new URL("ws", base);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.search = new URLSearchParams({ rows, cols }).toString();
  return url;
}

