/**
 * What a newcomer does with the demo: `node tests/system/demo.mjs URL ARTEFACT-DIR`, URL being the example controller's.
 *
 * Logs in, clicks the first program (a shell), types, resizes the window, ends the shell; prints as JSON what was seen.
 */

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";

import { TerminalPage, launchChromium } from "../js/browser/terminal-page.mjs";

const [url, artefacts] = process.argv.slice(2);

async function logIn(page) {
  await page.getByLabel("Name").fill("operator");
  await page.getByLabel("Password").fill("let-me-type");
  await page.getByRole("main").getByRole("button", { name: "Log in" }).click();
}

/** The kernel's idea of the window is the page's. */
async function readSize(terminal) {
  const { rows, cols } = await terminal.size();
  await terminal.type("clear; stty size\n");
  await terminal.waitForText(new RegExp(`^${rows} ${cols}$`, "m"));
  return { rows, cols };
}

async function tryDemo(terminal) {
  await logIn(terminal.page);
  await terminal.page.getByRole("button", { name: "Bash" }).click();
  await terminal.waitForState("running");
  await terminal.type("echo $((6*7))\n");
  await terminal.waitForText(/^42$/m);
  await terminal.screenshot("demo-running");
  const first = await readSize(terminal);
  await terminal.page.setViewportSize({ width: 700, height: 500 });
  await terminal.waitForOtherSize(first);
  const second = await readSize(terminal);
  await terminal.type("exit 3\n");
  await terminal.waitForState("ended");
  await terminal.waitForWords(/ended with exit code 3/);
  await terminal.screenshot("demo-ended");
  terminal.assertNoProblems();
  assert.notDeepEqual(first, second);
  return { sizes: [first, second], outcome: await terminal.outcome() };
}

await mkdir(artefacts, { recursive: true });
const browser = await launchChromium();
try {
  console.log(JSON.stringify(await tryDemo(await TerminalPage.open(browser, url, artefacts))));
} finally {
  await browser.close();
}
