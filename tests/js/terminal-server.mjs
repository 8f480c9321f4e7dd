/** A real HTTP and websocket server on a free port of the loopback interface, for tests that say themselves what it answers. */

import { once } from "node:events";
import { createServer } from "node:http";

import { WebSocketServer } from "ws";

export const HELLO = { type: "hello", version: 1, session: "8f0c", offset: 0, rows: 24, cols: 80, tty: true, role: "owner", title: "sh" };

/**
 * @param {object} behaviour
 * @param {(peer: Peer, request: import("node:http").IncomingMessage) => void} [behaviour.opened] what to do with a websocket
 * @param {{status: number, problem?: object}} [behaviour.refusal] refuses every handshake, and says why to a GET
 */
export async function startServer({ opened, refusal }) {
  const http = createServer((request, response) => answerGet(request, response, refusal));
  const websockets = new WebSocketServer({ noServer: true, handleProtocols: () => "ws-subprocess.v1" });
  http.on("upgrade", (request, socket, head) => {
    if (refusal) socket.end(`HTTP/1.1 ${refusal.status} Refused\r\nConnection: close\r\n\r\n`);
    else websockets.handleUpgrade(request, socket, head, (peer) => opened(new Peer(peer), request));
  });
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  return { base: new URL(`http://127.0.0.1:${http.address().port}/`), stop: () => stop(http, websockets) };
}

/** The server's end of one websocket; keeps what the client said. */
export class Peer {
  /** @type {Array<string | Buffer>} text and binary messages in the order they came */
  messages = [];
  #socket;
  #waiters = [];

  constructor(socket) {
    this.#socket = socket;
    socket.on("message", (data, isBinary) => this.#keep(isBinary ? data : data.toString()));
  }

  /** Sends an object as JSON, a string as it is, and bytes as a binary message. */
  send(message) {
    const isBytes = message instanceof Uint8Array;
    this.#socket.send(isBytes || typeof message === "string" ? message : JSON.stringify(message));
  }

  close(code) {
    this.#socket.close(code);
  }

  /** The messages of one type, decoded. */
  ofType(type) {
    return this.messages.filter((message) => typeof message === "string").map((text) => JSON.parse(text)).filter((event) => event.type === type);
  }

  /** All input so far. */
  get input() {
    return Buffer.concat(this.messages.filter((message) => typeof message !== "string"));
  }

  /** Resolves when `holds(peer)` is true; it is asked after every message. */
  async until(holds) {
    while (!holds(this)) await new Promise((resolve) => this.#waiters.push(resolve));
  }

  #keep(message) {
    this.messages.push(message);
    for (const wake of this.#waiters.splice(0)) wake();
  }
}

function answerGet(request, response, refusal) {
  const isProblem = refusal?.problem !== undefined && request.headers.accept === "application/problem+json";
  response.writeHead(isProblem ? refusal.status : 426, { "Content-Type": isProblem ? "application/problem+json" : "text/plain" });
  response.end(isProblem ? JSON.stringify(refusal.problem) : "Upgrade Required");
}

async function stop(http, websockets) {
  for (const client of websockets.clients) client.terminate();
  http.closeAllConnections();
  http.close();
  await once(http, "close");
}
