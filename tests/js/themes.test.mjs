/** Contrast of both themes, computed as WCAG 2.2 says. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { CONTRAST_MIN, TEXT_PAIRS, THEMES, resolveTheme } from "../../static/terminal/themes.js";

const HUES = ["red", "green", "yellow", "blue", "magenta", "cyan"];

function luminance(hex) {
  const channels = [1, 3, 5].map((start) => Number.parseInt(hex.slice(start, start + 2), 16) / 255);
  const [red, green, blue] = channels.map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(one, other) {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

test("the measure itself: black on white is 21, a colour on itself is 1", () => {
  assert.equal(contrast("#000000", "#ffffff"), 21);
  assert.equal(contrast("#777777", "#777777"), 1);
});

for (const [name, { page, terminal }] of Object.entries(THEMES)) {
  for (const [text, ground] of TEXT_PAIRS) {
    test(`${name}: ${text} can be read on ${ground}`, () => {
      const ratio = contrast(page[text], page[ground]);

      assert.ok(ratio >= CONTRAST_MIN, `${ratio.toFixed(2)}`);
    });
  }

  for (const colour of ["foreground", "brightBlack", ...HUES, ...HUES.map((hue) => `bright${hue[0].toUpperCase()}${hue.slice(1)}`)]) {
    test(`${name}: terminal text in ${colour} can be read`, () => {
      const ratio = contrast(terminal[colour], terminal.background);

      assert.ok(ratio >= CONTRAST_MIN, `${ratio.toFixed(2)}`);
    });
  }

  test(`${name}: the terminal and the page around it have the same ground`, () => {
    assert.equal(terminal.background, page["--surface"]);
  });

  test(`${name}: selected text can be read`, () => {
    assert.ok(contrast(terminal.foreground, terminal.selectionBackground) >= CONTRAST_MIN);
  });
}

test("both themes say the same things", () => {
  for (const part of ["terminal", "match", "page"]) {
    assert.deepEqual(Object.keys(THEMES.dark[part]), Object.keys(THEMES.light[part]));
  }
});

test("auto follows the system, and a choice does not", () => {
  assert.equal(resolveTheme("auto", true), "dark");
  assert.equal(resolveTheme(null, false), "light");
  assert.equal(resolveTheme("light", true), "light");
  assert.equal(resolveTheme("purple", true), "dark");
});
