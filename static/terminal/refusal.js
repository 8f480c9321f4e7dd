/**
 * Finds out why a websocket was refused. A browser hides the answer to a failed handshake from scripts, so the same
 * question is asked again as a plain GET (PROTOCOL.md, "Opening a terminal"): it asks no controller and starts nothing.
 *
 * @typedef {{status: number, code: string, title: string, detail: string}} Problem
 */

const ANSWER_TIMEOUT_MS = 10_000;
const UPGRADE_REQUIRED = 426;

/**
 * @param {URL} base where the daemon is
 * @param {string} token the token that was refused
 * @returns {Promise<{reachable: boolean, problem: Problem | null}>} `problem` is null when the daemon knows of no
 *   refusal; `reachable` is false when it did not answer, or not to this page
 */
export async function askWhyRefused(base, token) {
  try {
    const response = await fetch(new URL("ws", base), {
      headers: { Accept: "application/problem+json", Authorization: `Bearer ${headerText(token)}` },
      cache: "no-store",
      credentials: "omit",
      referrerPolicy: "no-referrer",
      signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
    });
    return { reachable: true, problem: await readProblem(response) };
  } catch {
    // No connection, no permission for this page (CORS), or no answer in time: a browser does not say which.
    return { reachable: false, problem: null };
  }
}

async function readProblem(response) {
  if (response.status === UPGRADE_REQUIRED) return null;
  const isProblem = response.headers.get("Content-Type")?.startsWith("application/problem+json") ?? false;
  const { title, detail, code } = isProblem ? await response.json() : {};
  return { status: response.status, code: String(code ?? ""), title: String(title ?? response.statusText), detail: String(detail ?? "") };
}

/** Header values are bytes, one per character: UTF-8 travels as the characters of those numbers. */
function headerText(token) {
  return Array.from(new TextEncoder().encode(token), (byte) => String.fromCharCode(byte)).join("");
}
