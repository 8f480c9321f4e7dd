/** The page's connection against a real websocket server. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";

import { WebSocket } from "ws";

import { Connection } from "../../static/terminal/connection.js";
import { askWhyRefused } from "../../static/terminal/refusal.js";
import { HELLO, startServer } from "./terminal-server.mjs";

const SIZE = { rows: 24, cols: 80 };

/** Collects what a connection tells; `dealsWithOutput` decides when output counts as dealt with. */
class Listener {
  outputs = [];
  complaints = [];
  pending = [];
  #outcome = deferred();
  #hello = deferred();
  #keepsOutput;

  constructor({ keepsOutput = false } = {}) {
    this.#keepsOutput = keepsOutput;
  }

  get hello() {
    return this.#hello.promise;
  }

  get outcome() {
    return this.#outcome.promise;
  }

  opened(hello) {
    this.#hello.resolve(hello);
  }

  output(bytes, stream, done) {
    this.outputs.push({ bytes: Buffer.from(bytes).toString("latin1"), stream });
    if (this.#keepsOutput) this.pending.push(done);
    else done();
  }

  complained(code, message) {
    this.complaints.push({ code, message });
  }

  ended(outcome) {
    this.#outcome.resolve(outcome);
  }
}

function deferred() {
  let resolve;
  const promise = new Promise((settle) => (resolve = settle));
  return { promise, resolve };
}

/** Starts a server for one client and connects to it; everything is closed when the test ends. */
async function connect(context, { greeting = HELLO, listener = new Listener(), size = SIZE, deadlines, token = "secret" } = {}) {
  const peer = deferred();
  const server = await startServer({
    opened: (opened, request) => {
      opened.request = request;
      if (greeting) opened.send(greeting);
      peer.resolve(opened);
    },
  });
  const connection = new Connection({ base: server.base, token, size, listener, WebSocket, deadlines });
  context.after(async () => {
    connection.close();
    await server.stop();
  });
  return { connection, listener, peer: await peer.promise };
}

async function refuse(context, refusal) {
  const server = await startServer({ refusal });
  context.after(() => server.stop());
  const listener = new Listener();
  new Connection({ base: server.base, token: "é secret", size: SIZE, listener, WebSocket });
  return listener.outcome;
}

test("the token travels as a subprotocol and never in the address", async (context) => {
  const { peer } = await connect(context, { token: "secret", size: { rows: 40, cols: 120 } });

  assert.equal(peer.request.url, "/ws?rows=40&cols=120");
  assert.equal(peer.request.headers["sec-websocket-protocol"], "ws-subprocess.v1,bearer.c2VjcmV0");
});

test("output reaches the listener byte for byte and is counted", async (context) => {
  const { connection, listener, peer } = await connect(context);
  await listener.hello;

  peer.send(Uint8Array.of(0xe2, 0x82));
  peer.send(Uint8Array.of(0xac));
  peer.send({ type: "exit", code: 0, signal: null, duration_s: 1, bytes: 3 });
  await listener.outcome;

  assert.deepEqual(listener.outputs.map(({ bytes }) => bytes), ["\xe2\x82", "\xac"]);
  assert.equal(connection.offset, 3);
});

test("with pipes the stream is told and its byte is not counted", async (context) => {
  const { connection, listener, peer } = await connect(context, { greeting: { ...HELLO, tty: false } });
  await listener.hello;

  peer.send(Uint8Array.of(1, 0x61));
  peer.send(Uint8Array.of(2, 0x62, 0x63));
  peer.send({ type: "exit", code: 0, signal: null, duration_s: 1, bytes: 3 });
  await listener.outcome;

  assert.deepEqual(listener.outputs, [{ bytes: "a", stream: 1 }, { bytes: "bc", stream: 2 }]);
  assert.equal(connection.offset, 3);
});

test("output is acknowledged only after it has been dealt with", async (context) => {
  const listener = new Listener({ keepsOutput: true });
  const { peer } = await connect(context, { listener });
  await listener.hello;

  for (let message = 0; message < 3; message += 1) peer.send(new Uint8Array(64 * 1024));
  peer.send({ type: "ping", id: 1 });
  await peer.until(() => peer.ofType("pong").length === 1);
  assert.deepEqual(peer.ofType("ack"), []);
  listener.pending[0]();
  listener.pending[1]();
  await peer.until(() => peer.ofType("ack").length === 1);

  assert.deepEqual(peer.ofType("ack"), [{ type: "ack", offset: 128 * 1024 }]);
});

test("a flood is acknowledged at least every 128 KiB", async (context) => {
  const { listener, peer } = await connect(context);
  await listener.hello;

  for (let message = 0; message < 100; message += 1) peer.send(new Uint8Array(40_000));
  await peer.until(() => peer.ofType("ack").at(-1)?.offset === 4_000_000);

  const offsets = [0, ...peer.ofType("ack").map(({ offset }) => offset)];
  const steps = offsets.slice(1).map((offset, index) => offset - offsets[index]);
  assert.ok(steps.every((step) => step > 0 && step < 128 * 1024 + 40_000), `steps: ${steps}`);
});

test("a little output is acknowledged when nothing more comes", async (context) => {
  const { listener, peer } = await connect(context, { greeting: { ...HELLO, offset: 1000 } });
  await listener.hello;

  peer.send(Uint8Array.of(0x61));
  await peer.until(() => peer.ofType("ack").length === 1);

  assert.deepEqual(peer.ofType("ack"), [{ type: "ack", offset: 1001 }]);
});

test("the exit code is told after the last byte", async (context) => {
  const { connection, listener, peer } = await connect(context);

  peer.send(Uint8Array.of(0x61));
  peer.send({ type: "exit", code: 3, signal: null, duration_s: 1.5, bytes: 1 });
  peer.close(1000);

  const expected = { state: "ended", exitCode: 3, signal: null, durationS: 1.5, bytes: 1, missing: 0, code: null, message: "" };
  assert.deepEqual(await listener.outcome, expected);
  assert.equal(connection.state, "ended");
});

test("bytes that never came are noticed", async (context) => {
  const { listener, peer } = await connect(context);

  peer.send({ type: "exit", code: 0, signal: null, duration_s: 1, bytes: 10 });

  assert.equal((await listener.outcome).missing, 10);
});

test("an end without exit message is a lost connection, with the last error as its reason", async (context) => {
  const { listener, peer } = await connect(context);

  peer.send({ type: "error", code: "internal_error", message: "Internal error" });
  peer.close(1011);

  assert.deepEqual(await listener.outcome, { state: "lost", closeCode: 1011, code: "internal_error", message: "Internal error" });
  assert.deepEqual(listener.complaints, [{ code: "internal_error", message: "Internal error" }]);
});

test("a server that never says hello is given up", async (context) => {
  const { listener } = await connect(context, { greeting: null, deadlines: { helloMs: 50 } });

  assert.equal((await listener.outcome).state, "lost");
});

test("a silent server is given up", async (context) => {
  const { listener, peer } = await connect(context, { deadlines: { pingMs: 50 } });

  assert.match((await listener.outcome).message, /silent/);
  assert.ok(peer.ofType("ping").length >= 3);
});

test("a server that answers pings is kept", async (context) => {
  const { connection, peer } = await connect(context, { deadlines: { pingMs: 50 } });
  let answered = 0;

  await peer.until(() => {
    for (const { id } of peer.ofType("ping").slice(answered)) peer.send({ type: "pong", id });
    answered = peer.ofType("ping").length;
    return answered >= 8;
  });

  assert.equal(connection.state, "running");
});

test("a server that breaks the protocol is left", async (context) => {
  const { listener, peer } = await connect(context);

  peer.send("no JSON");

  assert.match((await listener.outcome).message, /broke the protocol/);
});

test("output before hello breaks the protocol", async (context) => {
  const { listener, peer } = await connect(context, { greeting: null });

  peer.send(Uint8Array.of(0x61));

  assert.match((await listener.outcome).message, /output came before hello/);
});

test("a message type of a later version is no reason to leave", async (context) => {
  const { listener, peer } = await connect(context);

  peer.send({ type: "gap", missing: 7 });
  peer.send({ type: "exit", code: 0, signal: null, duration_s: 1, bytes: 0 });

  assert.equal((await listener.outcome).state, "ended");
});

test("input is sent as it is, in messages that a server takes", async (context) => {
  const { connection, listener, peer } = await connect(context);
  const input = Buffer.from(Array.from({ length: 100_000 }, (_, index) => index % 256));
  await listener.hello;

  assert.equal(connection.sendInput(new Uint8Array(input)), true);
  await peer.until(() => peer.input.length === input.length);

  assert.deepEqual(peer.input, input);
  assert.ok(peer.messages.filter((message) => typeof message !== "string").every((message) => message.length <= 32 * 1024));
});

test("more input than may wait is refused as a whole", async (context) => {
  const { connection, listener } = await connect(context);
  await listener.hello;

  assert.equal(connection.sendInput(new Uint8Array(9 * 1024 * 1024)), false);
});

test("a viewer's keys are not sent", async (context) => {
  const { connection, listener } = await connect(context, { greeting: { ...HELLO, role: "viewer" } });
  await listener.hello;

  assert.equal(connection.sendInput(Uint8Array.of(0x61)), false);
});

test("a window that is being dragged sends few sizes, and the last one", async (context) => {
  const { connection, listener, peer } = await connect(context);
  await listener.hello;

  for (let cols = 100; cols < 200; cols += 1) connection.resize({ rows: 30, cols });
  await peer.until(() => peer.ofType("resize").at(-1)?.cols === 199);

  assert.deepEqual(peer.ofType("resize"), [{ type: "resize", rows: 30, cols: 100 }, { type: "resize", rows: 30, cols: 199 }]);
});

test("a size that changed while connecting is sent after hello", async (context) => {
  const { connection, peer } = await connect(context);

  connection.resize({ rows: 30, cols: 100 });
  await peer.until(() => peer.ofType("resize").length === 1);

  assert.deepEqual(peer.ofType("resize"), [{ type: "resize", rows: 30, cols: 100 }]);
});

test("a size that the server knows is not sent again", async (context) => {
  const { connection, listener, peer } = await connect(context);
  await listener.hello;

  connection.resize(SIZE);
  connection.signal("INT");
  await peer.until(() => peer.ofType("signal").length === 1);

  assert.deepEqual(peer.ofType("resize"), []);
});

test("signals and the end of input are sent", async (context) => {
  const { connection, listener, peer } = await connect(context);
  await listener.hello;

  connection.signal("INT");
  connection.endInput();
  await peer.until(() => peer.ofType("eof").length === 1);

  assert.deepEqual(peer.ofType("signal"), [{ type: "signal", name: "INT" }]);
});

test("after closing nothing is heard any more", async (context) => {
  const { connection, listener, peer } = await connect(context);
  await listener.hello;
  let isHeard = false;
  listener.outcome.then(() => (isHeard = true));

  connection.close();
  peer.send({ type: "exit", code: 0, signal: null, duration_s: 1, bytes: 0 });
  const other = await connect(context);
  await other.listener.hello;

  assert.equal(isHeard, false);
});

test("a refusal is told in the server's words", async (context) => {
  const outcome = await refuse(context, { status: 403, problem: { type: "about:blank", title: "Invalid token", status: 403, code: "denied" } });

  assert.deepEqual(outcome, { state: "refused", reachable: true, problem: { status: 403, code: "denied", title: "Invalid token", detail: "" } });
});

test("the question why shows the same token, as UTF-8", async (context) => {
  const seen = deferred();
  const spy = createServer((socket) => socket.once("data", (data) => (seen.resolve(data), socket.destroy())));
  spy.listen(0, "127.0.0.1");
  await once(spy, "listening");
  context.after(() => spy.close());

  await askWhyRefused(new URL(`http://127.0.0.1:${spy.address().port}/`), "é");

  assert.match((await seen.promise).toString("utf8"), /^authorization: Bearer é\r$/im);
});

test("a failed handshake that the server knows nothing of is told as such", async (context) => {
  assert.deepEqual(await refuse(context, { status: 500 }), { state: "refused", reachable: true, problem: null });
});

test("a server that is not there is told as such", async () => {
  const gone = createServer();
  gone.listen(0, "127.0.0.1");
  await once(gone, "listening");
  const base = new URL(`http://127.0.0.1:${gone.address().port}/`);
  gone.close();
  await once(gone, "close");
  const listener = new Listener();

  new Connection({ base, token: "secret", size: SIZE, listener, WebSocket });

  assert.deepEqual(await listener.outcome, { state: "refused", reachable: false, problem: null });
});
