/** Line editing for commands that run with pipes. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { PipeLine } from "../../static/terminal/pipe-line.js";

/** What typing amounts to: all echo together, and everything else in order. */
function typed(text) {
  const steps = new PipeLine().type(text);
  const echo = steps.map((step) => step.echo ?? "").join("");
  return { echo, did: steps.filter((step) => step.echo === undefined) };
}

test("a line is echoed as it is typed and sent with a newline", () => {
  assert.deepEqual(typed("hé😀\r"), { echo: "hé😀\r\n", did: [{ send: "hé😀\n" }] });
});

test("nothing is sent before the line ends", () => {
  assert.deepEqual(typed("abc").did, []);
});

test("a pasted text is sent line by line", () => {
  assert.deepEqual(typed("one\r\ntwo\nthree\rrest").did, [{ send: "one\n" }, { send: "two\n" }, { send: "three\n" }]);
});

test("backspace takes one character back, and none that is not there", () => {
  assert.deepEqual(typed("ab\x7f\x7f\x7fc\r"), { echo: "ab\b \b\b \bc\r\n", did: [{ send: "c\n" }] });
});

test("a wide character takes two columns back", () => {
  assert.equal(typed("日\x7f").echo, "日\b \b\b \b");
});

test("Ctrl-U takes the whole line back", () => {
  assert.deepEqual(typed("abc\x15d\r").did, [{ send: "d\n" }]);
});

test("Ctrl-D ends the input of an empty line", () => {
  assert.deepEqual(typed("\x04").did, [{ end: true }]);
});

test("Ctrl-D sends what stands in the line, without a newline", () => {
  assert.deepEqual(typed("abc\x04\x04").did, [{ send: "abc" }, { end: true }]);
});

test("Ctrl-C interrupts and forgets the line", () => {
  assert.deepEqual(typed("abc\x03d\r").did, [{ signal: "INT" }, { send: "d\n" }]);
});

test("arrows and other escape sequences do nothing", () => {
  assert.deepEqual(typed("a\x1b[A\x1bOB\x1b[1;5C\x1b[?1;2cb\r"), { echo: "ab\r\n", did: [{ send: "ab\n" }] });
});

test("a line has a longest length", () => {
  const [{ send }] = typed(`${"x".repeat(100_000)}\r`).did;

  assert.equal(send.length, 64 * 1024 + 1);
});
