/** static/rpc.js against a real HTTP server that answers what a test tells it; tests/http has it against the real door. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { test } from "node:test";

import { Rpc, RpcError, weerpc } from "../../static/rpc.js";

/** Runs `use(url, requests)` with a server that answers everything the same; null leaves requests unanswered. */
async function withServer(reply, use) {
  const requests = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    requests.push({ method: request.method, headers: request.headers, body });
    const { status = 200, json, text = JSON.stringify(json) } = reply === null ? {} : typeof reply === "function" ? reply(JSON.parse(body)) : reply;
    if (reply !== null) response.writeHead(status, { "Content-Type": "application/json" }).end(text);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    await use(`http://127.0.0.1:${server.address().port}/rpc`, requests);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

async function assertRefused(action, facts) {
  await assert.rejects(action, (error) => {
    assert.ok(error instanceof RpcError);
    assert.deepEqual({ message: error.message, code: error.code, status: error.status }, { code: null, status: null, ...facts });
    return true;
  });
}

test("a request of weeRPC says its version as a number", () => {
  assert.equal(weerpc("add", [1, 2]), '{"weerpc":1.1,"function":"add","data":[1,2]}');
});

test("a request of the older version has the older key, and JavaScript's integer", () => {
  assert.equal(weerpc("add", [1, 2], 1.0), '{"wrpc":1,"function":"add","data":[1,2]}');
});

test("data that is not given is null, and not left out", () => {
  assert.deepEqual(JSON.parse(weerpc("list")), { weerpc: 1.1, function: "list", data: null });
});

test("a call posts JSON with the token, and returns the data, also when it is 0", async () => {
  await withServer({ json: { weerpc: 1.1, ok: true, message: null, data: 0 } }, async (url, requests) => {
    const data = await new Rpc(url, { token: "t0ken" }).call("count");

    assert.equal(data, 0);
    assert.equal(requests[0].method, "POST");
    assert.equal(requests[0].headers["content-type"], "application/json");
    assert.equal(requests[0].headers.authorization, "Bearer t0ken");
  });
});

test("without a token no Authorization is sent", async () => {
  await withServer({ json: { weerpc: 1.1, ok: true, message: null, data: 1 } }, async (url, requests) => {
    await new Rpc(url).call("count");

    assert.equal(requests[0].headers.authorization, undefined);
  });
});

test("the message of a success can be had, too", async () => {
  await withServer({ json: { weerpc: 1.1, ok: true, message: "added", data: 6 } }, async (url) => {
    assert.equal((await new Rpc(url).ask("add", [1, 2, 3])).message, "added");
  });
});

test("a failure has the function's message, and its code where it has one", async () => {
  await withServer({ json: { weerpc: 1.1, ok: false, message: "Invalid token", data: { code: "denied" } } }, async (url) => {
    await assertRefused(new Rpc(url).call("start"), { message: "Invalid token", code: "denied" });
  });
});

test("a problem instead of an answer is told with its status", async () => {
  await withServer({ status: 413, json: { title: "Too big", detail: "body: more than 9 bytes", code: "too_big" } }, async (url) => {
    await assertRefused(new Rpc(url).call("start"), { message: "body: more than 9 bytes", code: "too_big", status: 413 });
  });
});

test("a page of a proxy instead of JSON is an error that a person understands", async () => {
  await withServer({ status: 502, text: "<h1>Bad gateway</h1>" }, async (url) => {
    await assertRefused(new Rpc(url).call("start"), { message: "The server answered with status 502.", status: 502 });
  });
});

test("a server that never answers is given up", async () => {
  await withServer(null, async (url) => {
    await assertRefused(new Rpc(url, { timeoutMs: 50 }).call("start"), { message: "The server could not be reached.", code: "unreachable" });
  });
});

test("a request of JSON-RPC returns the result of its own id", async () => {
  await withServer(({ id }) => ({ json: { jsonrpc: "2.0", result: null, id } }), async (url, requests) => {
    assert.equal(await new Rpc(url).request("touch", { a: 1 }), null);
    assert.deepEqual(JSON.parse(requests[0].body), { jsonrpc: "2.0", method: "touch", params: { a: 1 }, id: 1 });
  });
});

test("an answer to somebody else's request is none", async () => {
  await withServer({ json: { jsonrpc: "2.0", result: 1, id: 99 } }, async (url) => {
    await assertRefused(new Rpc(url).request("touch"), { message: "The server's answer is no JSON-RPC." });
  });
});

test("a notification has no id, and wants no answer", async () => {
  await withServer({ status: 204, text: "" }, async (url, requests) => {
    await new Rpc(url).notify("touch", [1]);

    assert.deepEqual(JSON.parse(requests[0].body), { jsonrpc: "2.0", method: "touch", params: [1] });
  });
});

test("the answers of a batch are put into the order of the calls", async () => {
  const swap = ([first, second]) => ({
    json: [
      { jsonrpc: "2.0", error: { code: -32601, message: "Method not found" }, id: second.id },
      { jsonrpc: "2.0", result: "a", id: first.id },
    ],
  });
  await withServer(swap, async (url) => {
    const [first, second] = await new Rpc(url).batch([["a"], ["b", { c: 1 }]]);

    assert.deepEqual(first, { result: "a" });
    assert.equal(second.error.code, -32601);
  });
});

test("a batch that is refused as a whole is an error", async () => {
  await withServer({ json: { jsonrpc: "2.0", error: { code: -32700, message: "Parse error" }, id: null } }, async (url) => {
    await assertRefused(new Rpc(url).batch([["a"]]), { message: "Parse error", code: -32700 });
  });
});
