/**
 * A <ws-terminal> in a real Chromium, for tests: opens a page, types, reads what the terminal shows, takes pictures.
 *
 * Law: an error on the console, an uncaught exception or a violation of the Content-Security-Policy fails the test, unless
 * the scenario has named it beforehand.
 */

import path from "node:path";

import { chromium } from "playwright-core";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const CHROMIUM_FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const WAIT_MS = 20_000;

/** Starts Chromium. `flags` are added to those that every test uses. */
export function launchChromium({ flags = [] } = {}) {
  return chromium.launch({ executablePath: CHROMIUM, headless: true, args: [...CHROMIUM_FLAGS, ...flags] });
}

export class TerminalPage {
  #problems = [];
  #expected = [];

  /**
   * @param {import("playwright-core").Page} page
   * @param {string} artefacts folder for pictures
   */
  constructor(page, artefacts) {
    this.page = page;
    this.terminal = page.locator("ws-terminal");
    this.artefacts = artefacts;
    page.on("console", (message) => message.type() === "error" && this.#note(message.text()));
    page.on("pageerror", (error) => this.#note(String(error.stack ?? error)));
  }

  /**
   * Opens `url` in a context of its own.
   * @param {import("playwright-core").Browser} browser
   * @param {object} [context] playwright's context options: viewport, colorScheme, hasTouch, permissions, ...
   */
  static async open(browser, url, artefacts, context = {}) {
    const owner = await browser.newContext({ viewport: { width: 1000, height: 640 }, colorScheme: "dark", ...context });
    const page = await owner.newPage();
    page.setDefaultTimeout(WAIT_MS);
    const terminalPage = new TerminalPage(page, artefacts);
    await page.addInitScript(reportViolations);
    await page.goto(url);
    return terminalPage;
  }

  /** A refused handshake cannot be kept off the console; a scenario says so here. */
  expectProblem(pattern) {
    this.#expected.push(pattern);
  }

  /** @throws {Error} when the page complained about anything that was not expected */
  assertNoProblems() {
    if (this.#problems.length > 0) throw new Error(`the page complained:\n${this.#problems.join("\n")}`);
  }

  /** Waits for the element's state: idle, connecting, running, ended, refused or lost. */
  async waitForState(state) {
    await this.#waitFor(`state ${state}`, (wanted) => document.querySelector("ws-terminal")?.state === wanted, state);
  }

  /** Waits until the terminal's text matches. */
  async waitForText(pattern) {
    const { source, flags } = pattern;
    await this.#waitFor(
      `text ${pattern}`,
      (wanted) => new RegExp(wanted.source, wanted.flags).test(document.querySelector("ws-terminal").text()),
      { source, flags },
    );
  }

  /** Waits until the words outside the terminal (state, outcome, questions) match. */
  async waitForWords(pattern) {
    await this.terminal.getByText(pattern).first().waitFor({ state: "visible" });
  }

  text() {
    return this.terminal.evaluate((element) => element.text());
  }

  outcome() {
    return this.terminal.evaluate((element) => element.outcome);
  }

  size() {
    return this.terminal.evaluate(({ rows, cols }) => ({ rows, cols }));
  }

  /** Types with the keyboard, where the focus is. */
  async type(text) {
    await this.page.keyboard.type(text);
  }

  press(key) {
    return this.page.keyboard.press(key);
  }

  button(name) {
    return this.terminal.getByRole("button", { name });
  }

  async screenshot(name) {
    const file = path.join(this.artefacts, `${name}.png`);
    await this.page.screenshot({ path: file });
    return file;
  }

  async close() {
    await this.page.context().close();
  }

  async #waitFor(what, predicate, argument) {
    try {
      await this.page.waitForFunction(predicate, argument, { timeout: WAIT_MS });
    } catch (error) {
      const shown = await this.page.evaluate(() => {
        const element = document.querySelector("ws-terminal");
        return JSON.stringify({ outcome: element?.outcome, text: element?.text?.().slice(-2000), body: document.body.innerText.slice(0, 500) });
      });
      throw new Error(`waited in vain for ${what}; the page shows ${shown}; problems: ${this.#problems.join(" | ")}`, { cause: error });
    }
  }

  #note(problem) {
    if (!this.#problems.includes(problem) && !this.#expected.some((pattern) => pattern.test(problem))) this.#problems.push(problem);
  }
}

/** Runs in the page: a blocked style or script becomes an error on the console, whatever the browser itself prints. */
function reportViolations() {
  document.addEventListener("securitypolicyviolation", (event) => {
    console.error(`CSP: ${event.effectiveDirective} blocked ${event.blockedURI} ${event.sample} (${event.sourceFile}:${event.lineNumber})`);
  });
}
