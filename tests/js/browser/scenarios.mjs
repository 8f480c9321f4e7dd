/** What is tried in the browser. Each scenario takes a URL and a folder for pictures, and returns what it found. */

import assert from "node:assert/strict";

import { TerminalPage, launchChromium } from "./terminal-page.mjs";

const PHONE = { viewport: { width: 390, height: 664 }, hasTouch: true, isMobile: true };
/** A person notices half a second; a busy test machine gets some more. */
const INTERRUPT_MAX_MS = 3000;
const REFUSED_HANDSHAKE = [/WebSocket connection to .* failed/, /Failed to load resource/];

/** Opens the URL in a Chromium of its own, runs `steps`, and lets nothing pass that the page complained about. */
async function withPage(url, artefacts, steps, { context, flags, expected = [] } = {}) {
  const browser = await launchChromium({ flags });
  try {
    const page = await TerminalPage.open(browser, url, artefacts, context, expected);
    const found = await steps(page);
    page.assertNoProblems();
    return found;
  } finally {
    await browser.close();
  }
}

/** A command's answer, told apart from its echo: the shell adds up what the echo only shows. */
async function prove(page) {
  await page.type("echo $((6*7))\n");
  await page.waitForText(/^42$/m);
}

async function assertSizeIsTrue(page) {
  const { rows, cols } = await page.size();
  await page.type("clear; stty size\n");
  await page.waitForText(new RegExp(`^${rows} ${cols}$`, "m"));
  return { rows, cols };
}

async function resizeTo(page, viewport) {
  const before = await page.size();
  await page.page.setViewportSize(viewport);
  await page.waitForOtherSize(before);
}

/** The main job: type, see the answer, resize, end. */
function runPage(url, artefacts) {
  return withPage(url, artefacts, async (page) => {
    await page.waitForState("running");
    assert.doesNotMatch(page.page.url(), /token/, "the token stayed in the address bar");
    const first = await assertSizeIsTrue(page);
    await prove(page);
    await page.screenshot("page-running");
    await resizeTo(page, { width: 720, height: 480 });
    const second = await assertSizeIsTrue(page);
    await page.type("exit 3\n");
    await page.waitForState("ended");
    await page.waitForWords(/ended with exit code 3/);
    await page.screenshot("page-ended");
    const { exitCode, missing } = await page.outcome();
    assert.deepEqual({ exitCode, missing }, { exitCode: 3, missing: 0 });
    return { sizes: [first, second], exitCode };
  });
}

/** A reload asks with the same token, and so does "Start again". */
function again(url, artefacts) {
  return withPage(url, artefacts, async (page) => {
    await page.waitForState("running");
    await page.page.reload();
    await page.waitForState("running");
    await page.type("exit\n");
    await page.waitForState("ended");
    await page.button("Start again").click();
    await page.waitForState("running");
    await prove(page);
    return {};
  });
}

/** A token that nobody knows: the page says so in words. */
function refused(url, artefacts) {
  const steps = async (page) => {
    await page.waitForState("refused");
    const { heading, text } = await page.outcome();
    await page.waitForWords(heading);
    await page.button("Try again").waitFor();
    await page.screenshot("page-refused");
    return { heading, text };
  };
  return withPage(url, artefacts, steps, { expected: REFUSED_HANDSHAKE });
}

/** Ctrl-C for a command that the person may not signal: the page says that nothing was sent, and the session goes on. */
function noSignals(url, artefacts) {
  return withPage(url, artefacts, async (page) => {
    await page.waitForState("running");
    await page.press("Control+c");
    await page.waitForWords(/you may not send this signal/);
    await page.screenshot("page-no-signals");
    await page.button("OK").click();
    await page.type("still here\n");
    await page.waitForText(/still here\s+still here/);
    return {};
  });
}

/** Output beyond what the grant allows: the page names the reason, not just the signal. */
function outputExceeded(url, artefacts) {
  return withPage(url, artefacts, async (page) => {
    await page.waitForState("ended");
    await page.waitForWords(/printed more than it may/);
    const { bytes, missing } = await page.outcome();
    assert.deepEqual({ bytes, missing }, { bytes: 5000, missing: 0 });
    await page.screenshot("page-output-exceeded");
    return {};
  });
}

/** 20 MB arrive whole, and Ctrl-C stops an endless flood at once. */
function flood(url, artefacts) {
  return withPage(url, artefacts, async (page) => {
    await page.waitForState("running");
    const started = performance.now();
    await page.type("yes | head -c 20000000; echo whole$((1+1))\n");
    await page.waitForText(/whole2/, 60_000);
    const flooded = performance.now();
    const offset = await page.offset();
    assert.ok(offset > 30_000_000, `20 MB with 10 million line ends are more than ${offset} bytes`);
    await page.type("yes\n");
    await page.waitForOffset(offset + 3_000_000);
    const pressed = performance.now();
    await page.press("Control+c");
    await page.type("echo back$((1+1))\n");
    await page.waitForText(/^back2$/m);
    const interruptMs = Math.round(performance.now() - pressed);
    assert.ok(interruptMs < INTERRUPT_MAX_MS, `Ctrl-C took ${interruptMs} ms`);
    return { bytes: offset, floodS: Number(((flooded - started) / 1000).toFixed(2)), interruptMs };
  });
}

/** A program sets the clipboard only after a click, and never reads it. */
function clipboard(url, artefacts) {
  const steps = async (page) => {
    const read = () => page.page.evaluate(() => navigator.clipboard.readText());
    await page.waitForState("running");
    await page.page.evaluate(() => navigator.clipboard.writeText("mine"));
    for (const [answer, kept] of [["No", "mine"], ["Copy", "theirs"]]) {
      await page.type("printf '\\e]52;c;%s\\a' $(printf theirs | base64)\n");
      await page.waitForWords(/wants to copy/);
      assert.equal(await read(), "mine", "the clipboard changed before anybody was asked");
      await page.screenshot("page-clipboard");
      await page.button(answer).click();
      await page.waitForClipboard(kept);
    }
    await page.page.evaluate(() => navigator.clipboard.writeText("secret"));
    await page.type("clear; printf '\\e]52;c;?\\a'; IFS= read -rs -t 5 -d $'\\a' answer; printf 'got <%q>\\n' \"$answer\"\n");
    await page.waitForText(/^got </m);
    assert.match(await page.text(), /^got <.*52\\?;c\\?;'?>$/m);
    return {};
  };
  return withPage(url, artefacts, steps, { context: { permissions: ["clipboard-read", "clipboard-write"] } });
}

/** Light and dark, text size, search, screen reader mode. */
function themes(url, artefacts) {
  return withPage(url, artefacts, async (page) => {
    await page.waitForState("running");
    await page.type("ls --color=always /\n");
    await page.waitForTheme("dark");
    await page.screenshot("theme-dark");
    await page.page.emulateMedia({ colorScheme: "light" });
    await page.waitForTheme("light");
    await page.screenshot("theme-light");
    await page.button("Switch between light and dark").click();
    await page.waitForTheme("dark");
    await tryTextSize(page);
    await trySearch(page);
    await page.button("Screen reader mode").click();
    await page.terminal.locator(".xterm-accessibility").waitFor({ state: "attached" });
    await page.screenshot("page-screen-reader");
    return {};
  });
}

async function tryTextSize(page) {
  const normal = await page.size();
  await page.terminal.evaluate((element) => element.focus());
  await page.press("Control+=");
  await page.waitForOtherSize(normal);
  const larger = await assertSizeIsTrue(page);
  assert.ok(larger.cols < normal.cols, "larger text needs more room");
  await page.press("Control+0");
  await page.waitForOtherSize(larger);
  assert.deepEqual(await page.size(), normal);
}

async function trySearch(page) {
  await page.type("clear; echo needle hay needle\n");
  await page.waitForText(/^needle hay needle$/m);
  await page.press("Control+Shift+F");
  await page.type("needle");
  await page.waitForWords(/^\d of \d$/);
  await page.screenshot("page-search");
  await page.press("Escape");
  await prove(page);
}

/** On a touch screen the key bar gives what the screen's keyboard lacks. */
function touchKeys(url, artefacts) {
  const steps = async (page) => {
    await page.waitForState("running");
    await page.type("echo first$((1+1))\n");
    await page.waitForText(/^first2$/m);
    await page.type("clear\n");
    await page.button("Arrow up").tap();
    await page.button("Arrow up").tap();
    await page.press("Enter");
    await page.waitForText(/^first2$/m);
    await page.type("clear; cat\n");
    await page.button(/^Ctrl/).tap();
    await page.screenshot("page-touch");
    await page.type("c");
    await page.type("echo /etc/hostn");
    await page.button("Tab").tap();
    await page.press("Enter");
    await page.waitForText(/^\/etc\/hostname$/m);
    await page.type("cat -v\n");
    await page.button("Escape").tap();
    await page.press("Enter");
    await page.waitForText(/^\^\[$/m);
    return {};
  };
  return withPage(url, artefacts, steps, { context: PHONE });
}

/** A foreign page with the element: the example controller, or any page whose terminal starts by itself. */
function embed(url, artefacts) {
  return withPage(url, artefacts, async (page) => {
    await clickThroughController(page.page);
    await page.waitForState("running");
    assert.equal(await page.terminal.getAttribute("token"), null, "the token stayed in the document");
    await assertSizeIsTrue(page);
    await prove(page);
    await page.screenshot("embed-running");
    await page.type("exit 3\n");
    await page.waitForState("ended");
    await page.button("Start again").click();
    await page.waitForState("running");
    await prove(page);
    const origins = await page.terminal.evaluate((element) => [location.origin, new URL(element.getAttribute("src")).origin]);
    return { page: origins[0], daemon: origins[1] };
  });
}

/** A box without a height: nobody could see why nothing happens, were it not said; the terminal starts when it gets one. */
function flatBox(url, artefacts) {
  const steps = async (page) => {
    await page.waitForState("running");
    const told = page.page.waitForEvent("console", (message) => message.type() === "warning" && /height/.test(message.text()));
    await page.page.evaluate(() => {
      const flat = Object.assign(document.createElement("ws-terminal"), { id: "flat", tokenSource: async () => "unknown" });
      document.body.append(flat);
    });
    await told;
    const flat = page.page.locator("#flat");
    assert.equal(await flat.evaluate((element) => element.state), "connecting");
    await flat.evaluate((element) => (element.style.height = "12rem"));
    await flat.getByText("Invalid token").first().waitFor({ state: "visible" });
    return {};
  };
  return withPage(url, artefacts, steps, { expected: REFUSED_HANDSHAKE });
}

async function clickThroughController(page) {
  if ((await page.locator("ws-terminal").count()) > 0) return;
  if ((await page.locator("input[name=password]").count()) > 0) {
    await page.fill("input[name=name]", "operator");
    await page.fill("input[name=password]", "let-me-type");
    await page.click("main button");
  }
  await page.locator("button.card").first().click();
}

/** Every way of drawing obeys the policy and shows the same: WebGL, elements, and elements after WebGL was taken away. */
async function renderers(url, artefacts) {
  const colours = async (page) => {
    await page.waitForState("running");
    await page.type("printf '\\e[38;2;255;100;0mtrue\\e[48;5;22mcolour\\e[2mdim\\e[0m\\n'\n");
    await page.waitForText(/^truecolourdim$/m);
    return { ...(await page.drawing()), ...(await assertSizeIsTrue(page)) };
  };
  const withElements = await withPage(url, artefacts, colours, { flags: ["--disable-3d-apis"] });
  assert.equal(withElements.renderer, "elements");
  const withWebgl = await withPage(url, artefacts, async (page) => {
    const first = await colours(page);
    await page.loseWebgl();
    await page.waitForText(/./);
    const second = await colours(page);
    return { first, second };
  });
  assert.equal(withWebgl.second.renderer, "elements");
  return { withoutWebgl: withElements, ...withWebgl };
}

/** What a host page may do with the element: move it, ask for tokens itself, take it away; and leaving it by keyboard. */
function elementApi(url, artefacts) {
  return withPage(url, artefacts, async (page) => {
    await page.waitForState("running");
    await page.terminal.evaluate((element) => {
      // The same place again: for the element that is a way out of the document and back.
      element.parentElement.append(element);
      element.focus();
    });
    await prove(page);
    await page.press("Control+Shift+Enter");
    assert.equal(await page.focused(), "Search");
    await page.press("Tab");
    assert.equal(await page.focused(), "Smaller text");
    await page.terminal.evaluate((element) => {
      element.tokenSource = async () => {
        throw new Error("no more tokens today");
      };
      element.start();
    });
    await page.waitForState("refused");
    await page.waitForWords(/no more tokens today/);
    await page.terminal.evaluate((element) => {
      element.tokenSource = async () => sessionStorage.getItem("ws-subprocess.token");
    });
    await page.button("Try again").click();
    await page.waitForState("running");
    await prove(page);
    const left = await page.terminal.evaluate(async (element) => {
      element.remove();
      await Promise.resolve();
      return { state: element.state, isEmpty: element.shadowRoot.childElementCount === 0 };
    });
    assert.deepEqual(left, { state: "lost", isEmpty: true });
    return {};
  });
}

/** The page of the HTTP doors: every route is there, its curl line can be copied, and it looks right in both themes and on a phone. */
async function httpDocs(url, artefacts) {
  const seen = {};
  const looks = { light: {}, dark: { colorScheme: "dark" }, phone: PHONE };
  for (const [name, context] of Object.entries(looks)) {
    seen[name] = await withPage(url, artefacts, (page) => readDocs(page, name), {
      context: { viewport: { width: 1280, height: 900 }, colorScheme: "light", permissions: ["clipboard-read", "clipboard-write"], ...context },
    });
  }
  return seen;
}

async function readDocs(page, name) {
  const articles = page.page.locator("article");
  await articles.first().waitFor();
  const described = await page.page.evaluate(async () => {
    const { paths } = await (await fetch("openapi.json")).json();
    return Object.values(paths).flatMap((item) => Object.keys(item).filter((key) => key !== "parameters")).length;
  });
  assert.equal(await articles.count(), described);
  assert.equal(await page.page.locator("#contents li").count(), described);
  const sample = page.page.locator("article .sample").first();
  await sample.getByRole("button").click();
  const line = await sample.locator("pre").textContent();
  await page.waitForClipboard(line);
  assert.match(line, /^curl .*Bearer \$TOKEN/s);
  const { scrollWidth, clientWidth } = await page.page.evaluate(() => ({ scrollWidth: document.documentElement.scrollWidth, clientWidth: document.documentElement.clientWidth }));
  assert.equal(scrollWidth, clientWidth, "the page is wider than its window");
  await page.screenshot(`http-docs-${name}`);
  return { described };
}

export const SCENARIOS = {
  "run-page": runPage,
  again,
  refused,
  "no-signals": noSignals,
  "output-exceeded": outputExceeded,
  flood,
  clipboard,
  themes,
  "touch-keys": touchKeys,
  embed,
  renderers,
  "element-api": elementApi,
  "flat-box": flatBox,
  "http-docs": httpDocs,
};
