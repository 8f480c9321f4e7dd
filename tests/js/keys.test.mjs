/** Which keys the page takes for itself, and what Ctrl makes of a key. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { controlCharacter, shortcutOf } from "../../static/terminal/keys.js";

const key = (name, ...modifiers) => ({
  key: name,
  ctrlKey: modifiers.includes("ctrl"),
  metaKey: modifiers.includes("meta"),
  shiftKey: modifiers.includes("shift"),
  altKey: modifiers.includes("alt"),
});

test("the text grows, shrinks and gets normal, with Ctrl and with Cmd", () => {
  for (const modifier of ["ctrl", "meta"]) {
    assert.equal(shortcutOf(key("+", modifier)), "larger");
    assert.equal(shortcutOf(key("+", modifier, "shift")), "larger");
    assert.equal(shortcutOf(key("=", modifier)), "larger");
    assert.equal(shortcutOf(key("-", modifier)), "smaller");
    assert.equal(shortcutOf(key("0", modifier)), "normal");
  }
});

test("search, copy and leave need Shift", () => {
  assert.equal(shortcutOf(key("F", "ctrl", "shift")), "search");
  assert.equal(shortcutOf(key("f", "meta", "shift")), "search");
  assert.equal(shortcutOf(key("C", "ctrl", "shift")), "copy");
  assert.equal(shortcutOf(key("Enter", "ctrl", "shift")), "leave");
});

test("what programs use is left to them", () => {
  const theirs = [
    key("c", "ctrl"),
    key("f", "ctrl"),
    key("d", "ctrl"),
    key("Enter"),
    key("Enter", "shift"),
    key("Tab"),
    key("+"),
    key("0"),
    key("_", "ctrl", "shift"),
    key("-", "ctrl", "alt"),
    key("F", "ctrl", "shift", "alt"),
    key("c", "meta"),
  ];

  assert.deepEqual(theirs.map(shortcutOf), theirs.map(() => null));
});

test("Ctrl makes control characters of the keys that have one", () => {
  assert.deepEqual(["a", "C", "[", "\\", "@", "_", "?", " "].map(controlCharacter), ["\x01", "\x03", "\x1b", "\x1c", "\0", "\x1f", "\x7f", "\0"]);
});

test("Ctrl leaves other keys as they are", () => {
  assert.deepEqual(["1", "é", "\r", "\x1b"].map(controlCharacter), ["1", "é", "\r", "\x1b"]);
});
