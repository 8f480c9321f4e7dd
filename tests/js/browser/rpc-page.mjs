/**
 * node tests/js/browser/rpc-page.mjs URL TOKEN ARTEFACT-DIR
 *
 * Uses static/rpc.html in a real Chromium as a person would; prints one line of JSON with what was seen.
 */

import { mkdir } from "node:fs/promises";

import { chromium } from "playwright-core";

const [url, token, artefacts] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
try {
  await mkdir(artefacts, { recursive: true });
  const page = await browser.newPage({ viewport: { width: 1100, height: 700 }, colorScheme: "dark" });
  page.setDefaultTimeout(20_000);
  const complaints = [];
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  await page.goto(`${url}/static/rpc.html#token=${token}`);
  const address = page.url();
  await page.getByLabel("Command").fill("/bin/sh");
  await page.getByLabel("Arguments").fill('-c\necho "Größe?"; read size; echo "größer als $size"; echo "a word on stderr" >&2; exit 3');
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await page.getByText("Größe?").waitFor();
  await page.getByPlaceholder("Type a line").fill("größte");
  await page.screenshot({ path: `${artefacts}/rpc-running.png` });
  await page.keyboard.press("Enter");
  await page.locator("#state", { hasText: "exit code 3" }).waitFor();
  const output = await page.locator("#output").textContent();
  const stderr = await page.locator("#output .stderr").textContent();
  // The list is written anew now and then; whoever is in it with the keyboard stays there.
  await page.locator("#sessions button").focus();
  const item = await page.locator("#sessions li").elementHandle();
  await page.waitForFunction((element) => !element.isConnected, item);
  const isFocused = await page.locator("#sessions button").evaluate((button) => button === document.activeElement);
  await page.getByLabel("Token").fill("forged");
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await page.getByRole("alert").waitFor();
  const problem = await page.getByRole("alert").textContent();
  await page.screenshot({ path: `${artefacts}/rpc-refused.png` });
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 420, height: 900 });
  await page.screenshot({ path: `${artefacts}/rpc-narrow.png`, fullPage: true });
  console.log(JSON.stringify({ address, output, stderr, isFocused, problem, complaints }));
} finally {
  await browser.close();
}
