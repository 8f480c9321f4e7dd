/**
 * Calls functions over HTTP: in weeRPC, as Flask-RPC's clients do, or in JSON-RPC 2.0. One file, no dependencies; browsers and node.
 *
 *     const rpc = new Rpc("/rpc", { token });
 *     const { session } = await rpc.call("start", { command: "/bin/date" });
 *     const { exit_code } = await rpc.call("wait", { session });
 *
 * What is sent and answered: PROTOCOL.md, "Calling functions".
 */

/** Longer than the daemon takes at most: what it has to say is better than a guess. */
const ANSWER_TIMEOUT_MS = 100_000;

/** A call that came to nothing. */
export class RpcError extends Error {
  name = "RpcError";

  /**
   * @param {string} message for a person
   * @param {object} facts
   * @param {string | number | null} [facts.code] a code for programs, such as "denied", or the number of JSON-RPC
   * @param {unknown} [facts.data] what the function said beside the message
   * @param {number | null} [facts.status] the HTTP status, where no call was looked at
   */
  constructor(message, { code = null, data = null, status = null, cause } = {}) {
    super(message, { cause });
    this.code = code;
    this.data = data;
    this.status = status;
  }
}

/**
 * A request of weeRPC as JSON text, to be posted as `application/json`.
 * @param {string} function_ the function's name
 * @param {unknown} [data] its argument
 * @param {1.1 | 1.0} [version]
 */
export function weerpc(function_, data = null, version = 1.1) {
  // JSON has no undefined: without null the key would be missing, and the request refused.
  return JSON.stringify(version === 1.1 ? { weerpc: 1.1, function: function_, data } : { wrpc: version, function: function_, data });
}

/** One route that takes calls. */
export class Rpc {
  #url;
  #headers;
  #timeoutMs;
  #lastId = 0;

  /**
   * @param {string | URL} url the route's
   * @param {object} [options]
   * @param {string | null} [options.token] shown as `Authorization: Bearer`
   * @param {number} [options.timeoutMs] how long an answer may take
   */
  constructor(url, { token = null, timeoutMs = ANSWER_TIMEOUT_MS } = {}) {
    this.#url = url;
    this.#timeoutMs = timeoutMs;
    this.#headers = { "Content-Type": "application/json", Accept: "application/json" };
    if (token !== null) this.#headers.Authorization = `Bearer ${token}`;
  }

  /**
   * Calls a function in weeRPC 1.1.
   * @returns {Promise<any>} the answer's data
   * @throws {RpcError}
   */
  async call(name, data) {
    return (await this.ask(name, data)).data;
  }

  /**
   * Calls a function in weeRPC 1.1, for who wants the message of a success, too.
   * @returns {Promise<{weerpc: number, ok: true, message: string | null, data: any}>}
   * @throws {RpcError}
   */
  async ask(name, data) {
    const answer = await this.#post(weerpc(name, data));
    if (answer?.ok === true) return answer;
    throw new RpcError(answer?.message ?? "The server's answer is no weeRPC.", { code: answer?.data?.code, data: answer?.data });
  }

  /**
   * Calls a function in JSON-RPC 2.0.
   * @param {string} method
   * @param {Array | object} [params]
   * @returns {Promise<any>} the result
   * @throws {RpcError}
   */
  async request(method, params) {
    const call = this.#buildCall(method, params);
    return readResult(await this.#post(JSON.stringify(call)), call.id);
  }

  /** Calls a function in JSON-RPC 2.0 without asking what comes of it. */
  async notify(method, params) {
    await this.#post(JSON.stringify({ jsonrpc: "2.0", method, params }));
  }

  /**
   * Calls several functions in one request; they run one after the other.
   * @param {Array<[method: string, params?: Array | object]>} calls at most 50
   * @returns {Promise<Array<{result: any} | {error: RpcError}>>} in the order of the calls
   */
  async batch(calls) {
    if (calls.length === 0) return [];
    const sent = calls.map(([method, params]) => this.#buildCall(method, params));
    const answers = await this.#post(JSON.stringify(sent));
    if (!Array.isArray(answers)) readResult(answers, null);
    const byId = new Map(answers.map((answer) => [answer?.id, answer]));
    return sent.map(({ id }) => {
      try {
        return { result: readResult(byId.get(id), id) };
      } catch (error) {
        return { error };
      }
    });
  }

  #buildCall(method, params) {
    this.#lastId += 1;
    return { jsonrpc: "2.0", method, params, id: this.#lastId };
  }

  /** @returns {Promise<any>} what the answer says, null when it says nothing */
  async #post(body) {
    let response, text;
    try {
      response = await fetch(this.#url, { method: "POST", headers: this.#headers, body, cache: "no-store", signal: AbortSignal.timeout(this.#timeoutMs) });
      text = await response.text();
    } catch (error) {
      throw new RpcError("The server could not be reached.", { code: "unreachable", cause: error });
    }
    const answer = parse(text);
    if (response.ok) {
      if (answer === undefined && response.status !== 204) throw new RpcError("The server's answer is no JSON.", { status: response.status });
      return answer ?? null;
    }
    const message = answer?.detail ?? answer?.title ?? `The server answered with status ${response.status}.`;
    throw new RpcError(message, { code: answer?.code, data: answer, status: response.status });
  }
}

/** What JSON text says, undefined when it is none. */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function readResult(answer, id) {
  if (answer?.error) throw new RpcError(answer.error.message, { code: answer.error.data?.code ?? answer.error.code, data: answer.error.data });
  if (answer?.jsonrpc !== "2.0" || answer.id !== id || !("result" in answer)) throw new RpcError("The server's answer is no JSON-RPC.");
  return answer.result;
}
