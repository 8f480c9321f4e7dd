/**
 * node tests/js/browser/drive.mjs SCENARIO URL ARTEFACT-DIR
 *
 * Runs one scenario in a real Chromium (CHROMIUM names another than the distribution's) and prints one line of JSON: {"ok": true, ...} and
 * exit code 0, or {"ok": false, "reason": ...} and exit code 1.
 */

import { mkdir } from "node:fs/promises";

import { SCENARIOS } from "./scenarios.mjs";

const [name, url, artefacts] = process.argv.slice(2);
if (artefacts === undefined || !Object.hasOwn(SCENARIOS, name)) {
  console.error(`usage: drive.mjs SCENARIO URL ARTEFACT-DIR\nscenarios: ${Object.keys(SCENARIOS).join(", ")}`);
  process.exit(2);
}

try {
  await mkdir(artefacts, { recursive: true });
  console.log(JSON.stringify({ ok: true, scenario: name, ...(await SCENARIOS[name](url, artefacts)) }));
} catch (error) {
  console.log(JSON.stringify({ ok: false, scenario: name, reason: String(error?.stack ?? error) }));
  process.exitCode = 1;
}
