/**
 * Codec of the websocket dialect `ws-subprocess.v1` (PROTOCOL.md), the client's side.
 *
 * Laws: pure (no DOM, no socket, no clock); what `decodeServer` returns has been checked field by field; what
 * `encodeClient` returns no server refuses. tests/vectors/native_v1.json holds this file and the Python codec together.
 */

export const SUBPROTOCOL = "ws-subprocess.v1";
export const SIZE_MAX = 2000;
export const STDOUT = 1;
export const STDERR = 2;
export const SIGNAL_NAMES = Object.freeze(["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH", "CONT", "TSTP", "KILL"]);

/** A message that has no meaning in this dialect. `code` is one of the error codes of PROTOCOL.md. */
export class ProtocolError extends Error {
  constructor(code, message) {
    super(message);
    this.name = "ProtocolError";
    this.code = code;
  }
}

/**
 * The subprotocols to offer in a handshake: the dialect, and the token where no log or history keeps it.
 * @param {string} token any text of 1..8192 bytes of UTF-8
 */
export function offeredSubprotocols(token) {
  const bytes = new TextEncoder().encode(token);
  const base64 = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  return [SUBPROTOCOL, `bearer.${base64.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "")}`];
}

/**
 * What to send for an event of the client.
 * @param {{type: string}} event e.g. `{type: "resize", rows: 24, cols: 80}`; input is `{type: "input", data: Uint8Array}`
 * @returns {string | Uint8Array} a text or a binary message
 * @throws {ProtocolError} for values that a server refuses
 */
export function encodeClient(event) {
  switch (requireType(event)) {
    case "input":
      ensure(event.data instanceof Uint8Array, "unknown_message", "input: data must be a Uint8Array");
      return event.data;
    case "resize":
      requireSize("rows", event.rows, "bad_resize");
      requireSize("cols", event.cols, "bad_resize");
      return JSON.stringify({ type: "resize", rows: event.rows, cols: event.cols });
    case "signal":
      ensure(SIGNAL_NAMES.includes(event.name), "bad_signal", `signal: name is not one of ${SIGNAL_NAMES.join(" ")}`);
      return JSON.stringify({ type: "signal", name: event.name });
    case "eof":
      return JSON.stringify({ type: "eof" });
    case "ack":
      requireCount("offset", event.offset, "bad_ack");
      return JSON.stringify({ type: "ack", offset: event.offset });
    case "ping":
    case "pong":
      // JSON.stringify leaves out what is undefined: no id, no key.
      return JSON.stringify({ type: event.type, id: readId(event) ?? undefined });
    default:
      throw new ProtocolError("unknown_message", `type: ${JSON.stringify(event.type)} is unknown`);
  }
}

/**
 * What a message of the server means. Unknown keys are left out.
 * @param {string | ArrayBuffer} message a text or a binary message
 * @param {boolean} tty whether the session has a terminal; with pipes the first byte of output names the stream
 * @returns {object} an event with a `type`; output is `{type: "output", stream: 1 | 2, data: Uint8Array}`
 * @throws {ProtocolError} `bad_message`, or `unknown_message` for a type that a later version may know
 */
export function decodeServer(message, tty) {
  if (typeof message !== "string") return decodeOutput(new Uint8Array(message), tty);
  const fields = parseObject(message);
  switch (requireType(fields)) {
    case "hello":
      return decodeHello(fields);
    case "exit":
      return decodeExit(fields);
    case "error":
      requireText("code", fields.code);
      requireText("message", fields.message);
      return { type: "error", code: fields.code, message: fields.message };
    case "ping":
    case "pong":
      return { type: fields.type, id: readId(fields) };
    default:
      throw new ProtocolError("unknown_message", `type: ${JSON.stringify(fields.type)} is unknown`);
  }
}

function decodeOutput(bytes, tty) {
  if (tty) return { type: "output", stream: STDOUT, data: bytes };
  const stream = bytes[0];
  ensure(stream === STDOUT || stream === STDERR, "bad_message", `stream: ${stream} is not 1 or 2`);
  return { type: "output", stream, data: bytes.subarray(1) };
}

function decodeHello({ version, session, offset, rows, cols, tty, role, title }) {
  ensure(version === 1, "bad_message", "version: is not 1");
  requireText("session", session);
  requireCount("offset", offset, "bad_message");
  requireSize("rows", rows, "bad_message");
  requireSize("cols", cols, "bad_message");
  ensure(typeof tty === "boolean", "bad_message", "tty: is not a boolean");
  ensure(role === "owner" || role === "viewer", "bad_message", "role: is not owner or viewer");
  requireText("title", title);
  return { type: "hello", version, session, offset, rows, cols, tty, role, title };
}

function decodeExit({ code, signal, duration_s, bytes }) {
  const exited = Number.isInteger(code) && code >= 0 && code <= 255 && signal === null;
  const killed = code === null && typeof signal === "string" && signal !== "";
  ensure(exited || killed, "bad_message", "exit: needs either a code 0..255 or the name of a signal, the other null");
  ensure(Number.isFinite(duration_s) && duration_s >= 0, "bad_message", "duration_s: is not a number from 0 up");
  requireCount("bytes", bytes, "bad_message");
  return { type: "exit", code, signal, duration_s, bytes };
}

function parseObject(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new ProtocolError("bad_message", "message: is not JSON");
  }
  ensure(typeof value === "object" && value !== null && !Array.isArray(value), "bad_message", "message: is no JSON object");
  return value;
}

function requireType({ type }) {
  ensure(typeof type === "string", "bad_message", "type: is missing or no string");
  return type;
}

function readId({ id = null }) {
  ensure(id === null || Number.isSafeInteger(id), "bad_message", "id: is not an integer below 2^53");
  return id;
}

function requireSize(name, value, code) {
  ensure(Number.isInteger(value) && value >= 1 && value <= SIZE_MAX, code, `${name}: ${value} is not in 1..${SIZE_MAX}`);
}

function requireCount(name, value, code) {
  ensure(Number.isSafeInteger(value) && value >= 0, code, `${name}: ${value} is not an integer in 0..2^53-1`);
}

function requireText(name, value) {
  ensure(typeof value === "string", "bad_message", `${name}: is no string`);
}

function ensure(holds, code, message) {
  if (!holds) throw new ProtocolError(code, message);
}
