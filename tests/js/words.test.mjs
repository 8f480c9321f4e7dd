/** What a person reads about how a session ended, was refused or was lost. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { cleanTitle, describeComplaint, describeDuration, describeOutcome } from "../../static/terminal/words.js";

const PAGE = "https://app.example";
const ended = (fields) => describeOutcome({ state: "ended", exitCode: 0, signal: null, durationS: 1.2, bytes: 0, missing: 0, code: null, message: "", ...fields }, PAGE);
const refused = (problem, reachable = true) => describeOutcome({ state: "refused", problem, reachable }, PAGE);
const lost = (fields) => describeOutcome({ state: "lost", closeCode: 1006, code: null, message: "", ...fields }, PAGE);

test("success is told as success", () => {
  assert.deepEqual(ended({}), { heading: "The command has finished", text: "It ran for 1.2 seconds.", again: "Start again", isGood: true });
});

test("a failure names its exit code", () => {
  const { heading, isGood } = ended({ exitCode: 3 });

  assert.equal(heading, "The command ended with exit code 3");
  assert.equal(isGood, false);
});

test("a signal is named and explained", () => {
  const { heading, text, isGood } = ended({ exitCode: null, signal: "KILL" });

  assert.match(heading, /signal KILL/);
  assert.match(text, /it was killed/);
  assert.equal(isGood, false);
});

test("a signal that few people know keeps its name", () => {
  assert.match(ended({ exitCode: null, signal: "XCPU" }).heading, /XCPU/);
});

test("a session that the server ended says why", () => {
  assert.match(ended({ exitCode: null, signal: "HUP", code: "idle_timeout" }).text, /nothing had been typed or printed for too long/);
});

test("an earlier harmless complaint is no reason for the end", () => {
  assert.doesNotMatch(ended({ code: "bad_resize", message: "rows: 0 is not in 1..2000" }).text, /rows/);
});

test("missing output is not hidden", () => {
  assert.match(ended({ missing: 10 }).text, /10 bytes of its output are missing/);
});

test("a refused token says what to do", () => {
  const { heading, text, again } = refused({ status: 403, code: "denied", title: "Invalid token", detail: "" });

  assert.equal(heading, "Invalid token");
  assert.match(text, /ask for a new one/);
  assert.equal(again, "Try again");
});

test("every fault of the controller is told alike", () => {
  const text = (code) => refused({ status: 502, code, title: "Controller error", detail: "" }).text;

  assert.equal(text("controller_bad_json"), text("controller_too_big"));
  assert.match(text("controller_bad_json"), /could not be used/);
});

test("a controller that has too much to do is not told as one that answers wrongly", () => {
  const { text } = refused({ status: 503, code: "controller_busy", title: "Controller busy", detail: "" });

  assert.match(text, /too much to do\. Try again in a moment/);
});

test("every refusal that passes says so, and every other one names somebody to turn to", () => {
  const text = (code) => refused({ status: 0, code, title: "No", detail: "" }).text;

  for (const code of ["too_many_handshakes", "too_many_sessions", "gate_unavailable", "controller_unreachable", "no_resources", "draining"]) {
    assert.match(text(code), /Try again in a moment/, code);
  }
  assert.match(text("too_many_sessions_user"), /End one of them/);
  assert.match(text("right_missing"), /ask for one that does/);
  for (const code of ["command_denied", "spawn_user", "spawn_limits"]) assert.match(text(code), /Tell whoever runs this server/, code);
});

test("a session that printed more than it may says so", () => {
  assert.equal(
    ended({ exitCode: null, signal: "HUP", code: "output_exceeded" }).text,
    "It was ended because it printed more than it may. It ran for 1.2 seconds.",
  );
  assert.match(lost({ closeCode: 4413, code: "output_exceeded" }).text, /printed more than it may/);
});

test("what the person may not do is told at once, what the page did wrong is not", () => {
  assert.match(describeComplaint("right_missing"), /may not send this signal/);
  assert.match(describeComplaint("read_only"), /may look/);
  assert.equal(describeComplaint("bad_resize"), "");
  assert.equal(describeComplaint("constructor"), "");
});

test("a refusal that this page does not know keeps the server's words", () => {
  assert.deepEqual(refused({ status: 418, code: "teapot", title: "No coffee", detail: "Try tea." }), {
    heading: "No coffee",
    text: "Try tea.",
    again: "Try again",
    isGood: false,
  });
});

test("a refusal without any words names its status", () => {
  assert.match(refused({ status: 418, code: "constructor", title: "", detail: "" }).heading, /418/);
});

test("an unreachable server names the page that it may not accept", () => {
  assert.match(refused(null, false).text, /https:\/\/app\.example/);
});

test("a lost connection gives the reason or the close code", () => {
  assert.match(lost({ closeCode: 1012, code: "draining" }).text, /shutting down/);
  assert.match(lost({ message: "the server has been silent for too long" }).text, /silent/);
  assert.match(lost({}).text, /1006/);
});

test("an earlier harmless complaint is no reason for a line that breaks", () => {
  assert.doesNotMatch(lost({ code: "right_missing", message: "INT was not sent" }).text, /INT/);
});

test("durations are told as people say them", () => {
  assert.deepEqual([0, 0.04, 9.94, 9.96, 59.4, 59.6, 185, 3599.7, 7800].map(describeDuration), [
    "0.0 seconds",
    "0.0 seconds",
    "9.9 seconds",
    "10 seconds",
    "59 seconds",
    "1 min 0 s",
    "3 min 5 s",
    "1 h 0 min",
    "2 h 10 min",
  ]);
});

test("a title is one short line without characters that change what is around it", () => {
  assert.equal(cleanTitle("  a\u202eb\x1b[31m\r\nc\u200b "), "a b [31m c");
  assert.equal(cleanTitle("x".repeat(81)), `${"x".repeat(79)}…`);
  assert.equal(cleanTitle("😀".repeat(80)), "😀".repeat(80));
});
