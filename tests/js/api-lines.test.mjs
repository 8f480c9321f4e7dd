/** What the page of the HTTP doors shows as text. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

import { curlLine, describeType, listOperations, quote, resolve } from "../../static/api-lines.js";

const DOCUMENT = {
  security: [{ bearer: [] }],
  paths: {
    "/jobs": {
      post: { requestBody: { content: { "application/json": { example: { args: ["it's", "a b"] } } } }, responses: { 202: {} } },
    },
    "/jobs/{id}": {
      parameters: [{ name: "id", in: "path", required: true }],
      delete: { security: [], responses: { 204: {} } },
      get: { parameters: [{ name: "key", in: "query", required: true }, { name: "wait", in: "query" }], responses: { 200: { $ref: "#/components/responses/a~1b" } } },
    },
    "/jobs/{id}/input": { post: { security: [], requestBody: { content: { "application/octet-stream": {} } }, responses: { 204: {} } } },
  },
  components: { responses: { "a/b": { content: { "text/event-stream": {} } } } },
};
const [POST, DELETE, GET, INPUT] = listOperations(DOCUMENT);

/** The words that a shell makes of a line. */
function split(line) {
  return execFileSync("sh", ["-c", `TOKEN=t0ken; set -- ${line}; printf '%s\\n' "$@"`], { encoding: "utf8" }).trimEnd().split("\n");
}

test("operations stand in the order of the description, each with the parameters of its path", () => {
  assert.deepEqual(
    [POST, DELETE, GET, INPUT].map(({ path, method, parameters }) => [path, method, parameters.map(({ name }) => name)]),
    [["/jobs", "post", []], ["/jobs/{id}", "delete", ["id"]], ["/jobs/{id}", "get", ["id", "key", "wait"]], ["/jobs/{id}/input", "post", []]],
  );
});

test("a shell understands the line for a body with quotes and blanks", () => {
  assert.deepEqual(split(curlLine(DOCUMENT, "http://h", POST)), [
    "curl", "-H", "Authorization: Bearer t0ken", "-H", "Content-Type: application/json", "-d", '{"args":["it\'s","a b"]}', "http://h/jobs",
  ]);
});

test("what is streamed is not buffered, and what is required stands in the address", () => {
  assert.deepEqual(split(curlLine(DOCUMENT, "http://h", GET)), ["curl", "--no-buffer", "-H", "Authorization: Bearer t0ken", "http://h/jobs/ID?key=KEY"]);
});

test("a route without a token gets none", () => {
  assert.deepEqual(split(curlLine(DOCUMENT, "http://h", DELETE)), ["curl", "-X", "DELETE", "http://h/jobs/ID"]);
});

test("a body of bytes comes from a file", () => {
  assert.deepEqual(split(curlLine(DOCUMENT, "http://h", INPUT)), ["curl", "-H", "Content-Type: application/octet-stream", "--data-binary", "@FILE", "http://h/jobs/ID/input"]);
});

test("a word with an apostrophe is one word", () => {
  assert.deepEqual(split(quote("a'b $(c) `d`")), ["a'b $(c) `d`"]);
});

test("references are followed, also through escaped names", () => {
  assert.deepEqual(resolve(DOCUMENT, { $ref: "#/components/responses/a~1b" }), { content: { "text/event-stream": {} } });
});

test("types are told in words", () => {
  const told = [{ type: "integer", minimum: 1, maximum: 9 }, { type: "string", maxLength: 64 }, { enum: ["a", "b"] }, { type: "array", items: { type: "string" } }, { anyOf: [{ type: "number", exclusiveMinimum: 0, maximum: 31536000 }, { type: "null" }] }, { const: 1.1 }, {}];
  assert.deepEqual(told.map((schema) => describeType(DOCUMENT, schema)), [
    "integer, 1 to 9", "string, at most 64 characters", "a | b", "array of strings", "number, more than 0, at most 31,536,000, or null", "1.1", "any",
  ]);
});
