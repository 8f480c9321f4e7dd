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
  #expected;

  /**
   * @param {import("playwright-core").Page} page
   * @param {string} artefacts folder for pictures
   * @param {RegExp[]} expected complaints that belong to the scenario
   */
  constructor(page, artefacts, expected) {
    this.#expected = expected;
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
  static async open(browser, url, artefacts, context = {}, expected = []) {
    const owner = await browser.newContext({ viewport: { width: 1000, height: 640 }, colorScheme: "dark", ...context });
    const page = await owner.newPage();
    page.setDefaultTimeout(WAIT_MS);
    const terminalPage = new TerminalPage(page, artefacts, expected);
    await page.addInitScript(reportViolations);
    await page.goto(url);
    return terminalPage;
  }

  /** @throws {Error} when the page complained about anything that was not expected */
  assertNoProblems() {
    if (this.#problems.length > 0) throw new Error(`the page complained:\n${this.#problems.join("\n")}`);
  }

  /** Waits for the element's state: idle, connecting, running, ended, refused or lost. */
  waitForState(state) {
    return this.#waitFor(`state ${state}`, (wanted) => document.querySelector("ws-terminal")?.state === wanted, state);
  }

  /** Waits until the terminal's text matches. */
  waitForText(pattern, timeoutMs) {
    const holds = ({ source, flags }) => new RegExp(source, flags).test(document.querySelector("ws-terminal").text());
    return this.#waitFor(`text ${pattern}`, holds, { source: pattern.source, flags: pattern.flags }, timeoutMs);
  }

  /** Waits until so many bytes of output have arrived. */
  waitForOffset(offset) {
    return this.#waitFor(`offset ${offset}`, (wanted) => document.querySelector("ws-terminal").offset >= wanted, offset);
  }

  /** Waits until both rows and columns differ from `size`. */
  waitForOtherSize(size) {
    const holds = ({ rows, cols }) => {
      const element = document.querySelector("ws-terminal");
      return element.rows !== rows && element.cols !== cols;
    };
    return this.#waitFor("another size", holds, size);
  }

  /** @param {"light" | "dark"} name */
  waitForTheme(name) {
    const holds = (wanted) => getComputedStyle(document.querySelector("ws-terminal").shadowRoot.querySelector(".frame")).colorScheme === wanted;
    return this.#waitFor(`theme ${name}`, holds, name);
  }

  waitForClipboard(text) {
    return this.page.waitForFunction(async (wanted) => (await navigator.clipboard.readText()) === wanted, text);
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

  offset() {
    return this.terminal.evaluate((element) => element.offset);
  }

  size() {
    return this.terminal.evaluate(({ rows, cols }) => ({ rows, cols }));
  }

  /** The label of what has the keyboard inside the element. */
  focused() {
    return this.terminal.evaluate((element) => element.shadowRoot.activeElement?.getAttribute("aria-label"));
  }

  /** How xterm.js draws now: webgl, or elements. */
  drawing() {
    return this.terminal.evaluate((element) => ({ renderer: element.shadowRoot.querySelector(".xterm-rows > div") ? "elements" : "webgl" }));
  }

  /** What a driver or a laptop that wakes up may do at any time. */
  async loseWebgl() {
    await this.terminal.evaluate((element) => {
      for (const canvas of element.shadowRoot.querySelectorAll("canvas")) canvas.getContext("webgl2")?.getExtension("WEBGL_lose_context").loseContext();
    });
    await this.terminal.locator(".xterm-rows > div").first().waitFor({ state: "attached" });
  }

  /** Types with the keyboard, where the focus is. */
  async type(text) {
    await this.page.keyboard.type(text);
  }

  press(key) {
    return this.page.keyboard.press(key);
  }

  button(name) {
    return this.terminal.getByRole("button", { name, exact: typeof name === "string" });
  }

  async screenshot(name) {
    const file = path.join(this.artefacts, `${name}.png`);
    await this.page.screenshot({ path: file });
    return file;
  }

  async close() {
    await this.page.context().close();
  }

  /** `holds(argument)` runs in the page until it is true. */
  async #waitFor(what, holds, argument, timeoutMs = WAIT_MS) {
    try {
      await this.page.waitForFunction(holds, argument, { timeout: timeoutMs });
    } catch (error) {
      throw new Error(`waited in vain for ${what}; the page shows ${await this.page.evaluate(describePage)}; it complained: ${this.#problems.join(" | ")}`, { cause: error });
    }
  }

  #note(problem) {
    const isExpected = this.#expected.some((pattern) => pattern.test(problem));
    if (!isExpected && !this.#problems.includes(problem)) this.#problems.push(problem);
  }
}

/** Runs in the page: what a person sees, for the message of a test that failed. */
function describePage() {
  const element = document.querySelector("ws-terminal");
  return JSON.stringify({ outcome: element?.outcome, text: element?.text?.().slice(-2000), body: document.body.innerText.slice(0, 500) });
}

/** Runs in the page: a blocked style or script becomes an error on the console, whatever the browser itself prints. */
function reportViolations() {
  document.addEventListener("securitypolicyviolation", (event) => {
    console.error(`CSP: ${event.effectiveDirective} blocked ${event.blockedURI} ${event.sample} (${event.sourceFile}:${event.lineNumber})`);
  });
}
