/** Where the element gets its tokens. Most are good for one start only, so "Start again" asks for a new one where it can. */

const ANSWER_TIMEOUT_MS = 15_000;

/** No token could be got; the message is for a person. */
export class TokenError extends Error {}

/**
 * Gets a new token by POST: `{"token": "..."}`. Only from the page's own origin, because the answer is a key.
 * @param {string} address absolute, or relative to the page
 * @returns {Promise<string>}
 * @throws {TokenError}
 */
export async function fetchToken(address) {
  const url = new URL(address, document.baseURI);
  if (url.origin !== location.origin) throw new TokenError(`token-url: ${url.origin} is not this page's own origin ${location.origin}.`);
  const response = await post(url);
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new TokenError(answer?.detail ?? answer?.title ?? `The application that gives out tokens answered ${response.status}.`);
  return checkedToken(answer?.token);
}

/** @throws {TokenError} unless `token` is a text that a token can be */
export function checkedToken(token) {
  if (typeof token !== "string" || token === "") throw new TokenError("The application that gives out tokens gave none.");
  return token;
}

async function post(url) {
  try {
    return await fetch(url, {
      method: "POST",
      headers: { Accept: "application/json" },
      cache: "no-store",
      signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
    });
  } catch (error) {
    throw new TokenError("The application that gives out tokens could not be reached.", { cause: error });
  }
}
