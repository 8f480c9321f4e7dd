/**
 * <ws-terminal>: a terminal for a command that a ws-subprocess daemon runs. It fills its box; give the box a size.
 *
 *   <script type="module" src="https://daemon.example/static/ws-terminal.js"></script>
 *   <ws-terminal token-url="/tokens/lab-7"></ws-terminal>
 *
 * Attributes
 *   src            base address of the daemon; left out: where this module came from
 *   token          a token; taken out of the document as soon as it is seen
 *   token-url      address on the page's own origin that answers each POST with a new token: {"token": "..."}. A token that is
 *                  given too is used first; "Start again" asks for a new one. Without token-url it tries the same token again
 *   font-size      of the terminal's text in CSS pixels, 8..32 (14)
 *   theme          auto (follows the person's system), light or dark
 *   screen-reader  present: xterm.js's screen reader mode
 *   read-only      present: the person may look but not type (a server may refuse input too)
 *   autofocus      present: the terminal takes the keyboard when it starts
 * Properties
 *   tokenSource    async function that returns a new token; instead of token-url
 *   token          to set a token without an attribute; cannot be read
 *   state          idle, connecting, running, ended, refused or lost;  outcome  the last `ws-terminal-state` detail
 *   rows, cols, offset   the terminal's size, and the bytes of output received
 * Methods
 *   start()        (again); it starts by itself once it is in a document and knows where to get a token
 *   close()        leaves the session: the server ends the command
 *   type(text)     as if typed;  text()  all text it holds;  focus()
 * Events (they bubble and leave the shadow root)
 *   ws-terminal-state     detail: {state, title, heading, text, ...} - heading and text are words for a person
 *   ws-terminal-settings  the person chose: detail {theme, fontSize, screenReader}
 * Keys: see terminal/keys.js. Ctrl+Shift+Enter leaves the terminal by keyboard.
 */

import { Connection } from "./terminal/connection.js";
import { Frame } from "./terminal/frame.js";
import { PipeLine } from "./terminal/pipe-line.js";
import { resolveTheme } from "./terminal/themes.js";
import { TokenError, checkedToken, fetchToken } from "./terminal/tokens.js";
import { cleanTitle, describeComplaint, describeOutcome } from "./terminal/words.js";

const FONT_SIZE = { smallest: 8, normal: 14, largest: 32 };

export class WsTerminal extends HTMLElement {
  static observedAttributes = ["token", "token-url", "font-size", "theme", "screen-reader", "read-only"];

  /** @type {(() => Promise<string>) | null} */
  #tokenSource = null;
  #token = null;
  /** A token may be good for one start only. */
  #isTokenFresh = false;
  /** @type {Frame | null} */
  #frame = null;
  /** @type {Connection | null} */
  #connection = null;
  /** Counts the starts: what an earlier one still reports is old. */
  #attempt = 0;
  #detail = { state: "idle", title: "" };
  /** Takes typed lines when the command has pipes and no terminal. */
  #pipeLine = null;
  #prefersDark = matchMedia("(prefers-color-scheme: dark)");
  #applySettings = () => this.#frame?.apply(this.#settings());

  constructor() {
    super();
    this.attachShadow({ mode: "open" });
  }

  connectedCallback() {
    for (const name of ["token", "tokenSource"]) this.#upgradeProperty(name);
    if (this.#frame === null) this.#build();
    this.#startIfReady();
  }

  disconnectedCallback() {
    // An element that is only moved is back in the document by then.
    queueMicrotask(() => {
      if (!this.isConnected && this.#frame !== null) this.#tearDown();
    });
  }

  attributeChangedCallback(name, _old, value) {
    if (name === "token") this.#takeToken(value);
    else if (name === "token-url") this.#startIfReady();
    else if (name === "read-only") this.#applyRole();
    else this.#applySettings();
  }

  set tokenSource(source) {
    this.#tokenSource = source;
    this.#startIfReady();
  }

  set token(token) {
    this.#token = token;
    this.#isTokenFresh = true;
    this.#startIfReady();
  }

  get state() {
    return this.#detail.state;
  }

  get outcome() {
    return this.#detail;
  }

  get rows() {
    return this.#frame?.view.size.rows ?? 0;
  }

  get cols() {
    return this.#frame?.view.size.cols ?? 0;
  }

  get offset() {
    return this.#connection?.offset ?? 0;
  }

  async start() {
    if (this.#frame === null) return;
    this.#connection?.close();
    const attempt = (this.#attempt += 1);
    this.#frame.clearOutcome();
    this.#setState({ state: "connecting", title: "" });
    try {
      await this.#frame.view.open();
      const token = attempt === this.#attempt ? await this.#nextToken() : null;
      if (attempt === this.#attempt) this.#connect(token);
    } catch (error) {
      if (attempt === this.#attempt) this.#finish(failedStart(error));
      if (!(error instanceof TokenError)) throw error;
    }
  }

  close() {
    this.#attempt += 1;
    this.#connection?.close();
    if (this.state === "running" || this.state === "connecting") {
      this.#finish({ state: "lost", closeCode: 1000, code: null, message: "this page closed it" });
    }
  }

  type(text) {
    this.#frame?.view.type(text);
  }

  text() {
    return this.#frame?.view.text() ?? "";
  }

  focus() {
    this.#frame?.view.focus();
  }

  #build() {
    this.#frame = new Frame(this.shadowRoot, {
      typed: (text) => this.#typed(text),
      typedBytes: (bytes) => this.#sendInput(bytes),
      resized: (size) => this.#connection?.resize(size),
      startAgain: () => {
        this.start();
        this.focus();
      },
      choose: (setting, value) => this.#choose(setting, value),
    });
    this.#prefersDark.addEventListener("change", this.#applySettings);
    this.#applySettings();
    this.#setState({ state: "idle", title: "" });
  }

  #tearDown() {
    this.close();
    this.#prefersDark.removeEventListener("change", this.#applySettings);
    this.#frame.dispose();
    this.#frame = null;
  }

  /** A property that was set before this class was there hides the setter: takes it away, and sets it again. */
  #upgradeProperty(name) {
    if (!Object.hasOwn(this, name)) return;
    const value = this[name];
    delete this[name];
    this[name] = value;
  }

  // Settings: attributes, which the person may change too.

  #settings() {
    return {
      theme: resolveTheme(this.getAttribute("theme"), this.#prefersDark.matches),
      fontSize: clampFontSize(Number(this.getAttribute("font-size") ?? FONT_SIZE.normal)),
      screenReader: this.hasAttribute("screen-reader"),
    };
  }

  #choose(setting, value) {
    if (setting === "theme") {
      const system = resolveTheme("auto", this.#prefersDark.matches);
      this.setAttribute("theme", value === system ? "auto" : value);
    } else if (setting === "fontSize") {
      const { fontSize } = this.#settings();
      this.setAttribute("font-size", clampFontSize(value === 0 ? FONT_SIZE.normal : fontSize + value));
    } else {
      this.toggleAttribute("screen-reader");
    }
    this.#tell("ws-terminal-settings", { ...this.#settings(), theme: this.getAttribute("theme") ?? "auto" });
  }

  #applyRole() {
    if (this.#frame === null) return;
    const isReadOnly = this.hasAttribute("read-only") || this.#detail.role === "viewer";
    this.#frame.isReadOnly = isReadOnly;
    this.#frame.view.acceptsInput = this.state === "running" && !isReadOnly;
  }

  // Tokens.

  #takeToken(value) {
    if (value === null) return;
    this.removeAttribute("token");
    this.token = value;
  }

  #startIfReady() {
    const knowsToken = this.#tokenSource !== null || this.#token !== null || this.hasAttribute("token-url");
    if (this.isConnected && this.#frame !== null && this.state === "idle" && knowsToken) this.start();
  }

  async #nextToken() {
    const hasSource = this.#tokenSource !== null || this.hasAttribute("token-url");
    if (this.#isTokenFresh || !hasSource) {
      this.#isTokenFresh = false;
      return checkedToken(this.#token);
    }
    if (this.#tokenSource !== null) return checkedToken(await this.#askTokenSource());
    return fetchToken(this.getAttribute("token-url"));
  }

  async #askTokenSource() {
    try {
      return await this.#tokenSource();
    } catch (error) {
      throw new TokenError(String(error?.message ?? error), { cause: error });
    }
  }

  // The session.

  #connect(token) {
    const base = daemonBase(this.getAttribute("src"));
    const { size } = this.#frame.view;
    this.#connection = new Connection({ base, token, size, listener: this.#listener(this.#attempt) });
  }

  #listener(attempt) {
    const { view } = this.#frame;
    return {
      opened: (hello) => this.#opened(hello),
      output: (bytes, _stream, done) => view.write(bytes, done),
      complained: (code, message) => {
        console.warn(`ws-terminal: ${code}: ${message}`);
        if (describeComplaint(code) !== "") this.#frame?.tell(describeComplaint(code));
      },
      ended: (outcome) => {
        view.acceptsInput = false;
        // The last output comes before the last word.
        view.afterWrites(() => attempt === this.#attempt && this.#finish(outcome));
      },
    };
  }

  #opened({ session, role, tty, rows, cols, title }) {
    this.#pipeLine = tty ? null : new PipeLine();
    this.#frame.view.reset(tty);
    this.#setState({ state: "running", title: cleanTitle(title), session, role, tty, rows, cols });
    if (this.hasAttribute("autofocus") || this.shadowRoot.activeElement !== null) this.focus();
  }

  #finish(outcome) {
    const words = describeOutcome(outcome, location.origin);
    this.#frame.showOutcome(words);
    this.#setState({ title: this.#detail.title, ...outcome, heading: words.heading, text: words.text });
  }

  #setState(detail) {
    this.#detail = detail;
    this.#frame.showState(detail);
    this.#applyRole();
    this.#tell("ws-terminal-state", detail);
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
  }

  #typed(text) {
    if (this.#pipeLine === null) this.#sendInput(new TextEncoder().encode(text));
    else for (const step of this.#pipeLine.type(text)) this.#takePipeStep(step);
  }

  #takePipeStep({ echo, send, end, signal }) {
    if (echo !== undefined) this.#frame.view.write(echo);
    if (send !== undefined) this.#sendInput(new TextEncoder().encode(send));
    if (end) this.#connection.endInput();
    if (signal !== undefined) this.#connection.signal(signal);
  }

  #sendInput(bytes) {
    if (this.#connection.sendInput(bytes)) return;
    this.#frame.tell("That was not sent: the command is not reading its input, and too much is waiting for it already.");
  }
}

function clampFontSize(px) {
  return Number.isFinite(px) ? Math.min(Math.max(px, FONT_SIZE.smallest), FONT_SIZE.largest) : FONT_SIZE.normal;
}

/** Where the daemon is; left out, it is where this module came from. Relative addresses are the page's. */
function daemonBase(src) {
  const address = src ?? new URL("../", import.meta.url).href;
  if (!URL.canParse(address, document.baseURI)) throw new TypeError(`src: ${address} is no address.`);
  const base = new URL(address, document.baseURI);
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  return base;
}

/** What a start that did not get as far as the server is told as. */
function failedStart(error) {
  const title = error instanceof TokenError ? "There is no token for this terminal" : "The terminal cannot be opened";
  return { state: "refused", reachable: true, problem: { status: 0, code: "", title, detail: error.message } };
}

customElements.define("ws-terminal", WsTerminal);
