/** The JavaScript codec against the byte vectors that the Python codec runs too (tests/vectors/README.md). */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { ProtocolError, decodeServer, encodeClient, offeredSubprotocols } from "../../static/native-v1.js";

const VECTORS = JSON.parse(await readFile(new URL("../vectors/native_v1.json", import.meta.url), "utf8"));

const fromHex = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
const toHex = (bytes) => Buffer.from(bytes).toString("hex");

/** An event as the codec has it, from an event as a vector has it: bytes instead of hexadecimal. */
function fromVector({ hex, ...event }) {
  return hex === undefined ? event : { ...event, data: fromHex(hex) };
}

function assertRefused(code, action) {
  assert.throws(action, (error) => error instanceof ProtocolError && error.code === code);
}

/** What a careless page would try to send to make this wire text: the parsed text, whatever it is. */
function parseLoosely(wire) {
  try {
    return JSON.parse(wire) ?? {};
  } catch {
    return {};
  }
}

test("there are vectors of every direction, with and without an error", () => {
  const kinds = new Set(VECTORS.map((vector) => `${vector.direction} ${vector.error === null}`));

  assert.deepEqual([...kinds].sort(), ["client false", "client true", "server false", "server true"]);
});

for (const vector of VECTORS.filter(({ direction, canonical }) => direction === "client" && canonical)) {
  test(`a client's event is encoded exactly: ${vector.name}`, () => {
    const wire = encodeClient(fromVector(vector.event));

    assert.equal(typeof wire === "string" ? wire : toHex(wire), vector.wire);
  });
}

for (const vector of VECTORS.filter(({ direction, error }) => direction === "client" && error !== null)) {
  test(`what a server refuses is never encoded: ${vector.name}`, () => {
    assertRefused(vector.error, () => encodeClient(parseLoosely(vector.wire)));
  });
}

for (const vector of VECTORS.filter(({ direction }) => direction === "server")) {
  const message = vector.kind === "text" ? vector.wire : fromHex(vector.wire).buffer;
  if (vector.error === null) {
    test(`a server's message is understood: ${vector.name}`, () => {
      assert.deepEqual(decodeServer(message, vector.tty), fromVector(vector.event));
    });
  } else {
    test(`a server's message is refused: ${vector.name}`, () => {
      assertRefused(vector.error, () => decodeServer(message, vector.tty));
    });
  }
}

test("a token travels as base64url without padding", () => {
  assert.deepEqual(offeredSubprotocols("secret"), ["ws-subprocess.v1", "bearer.c2VjcmV0"]);
  assert.deepEqual(offeredSubprotocols("é?>~/"), ["ws-subprocess.v1", `bearer.${Buffer.from("é?>~/").toString("base64url")}`]);
});

test("a token of the longest length can be offered", () => {
  const [, bearer] = offeredSubprotocols("x".repeat(8192));

  assert.equal(Buffer.from(bearer.slice("bearer.".length), "base64url").toString(), "x".repeat(8192));
});
