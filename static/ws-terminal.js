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
import { build } from "./terminal/dom.js";
import { KeyBar } from "./terminal/key-bar.js";
import { shortcutOf } from "./terminal/keys.js";
import { Leave } from "./terminal/leave.js";
import { OutcomePanel, Question } from "./terminal/panels.js";
import { PipeLine } from "./terminal/pipe-line.js";
import { SearchBox } from "./terminal/search-box.js";
import { STYLE_SHEETS } from "./terminal/style.js";
import { TerminalView } from "./terminal/terminal-view.js";
import { THEMES, resolveTheme } from "./terminal/themes.js";
import { TokenError, checkedToken, fetchToken } from "./terminal/tokens.js";
import { ToolBar } from "./terminal/tool-bar.js";
import { cleanTitle, describeOutcome } from "./terminal/words.js";

const FONT_SIZE = { smallest: 8, normal: 14, largest: 32 };
const STATUS_WORDS = {
  idle: "waiting for a token",
  connecting: "connecting…",
  running: "running",
  ended: "ended",
  refused: "not started",
  lost: "connection lost",
};

export class WsTerminal extends HTMLElement {
  static observedAttributes = ["token", "token-url", "font-size", "theme", "screen-reader", "read-only"];

  /** @type {(() => Promise<string>) | null} */
  #tokenSource = null;
  #token = null;
  #attempt = 0;
  #connection = null;
  #detail = { state: "idle", title: "" };
  #hello = null;
  #pipeLine = null;
  #parts = null;
  #prefersDark = matchMedia("(prefers-color-scheme: dark)");
  #followSystem = () => this.#applyTheme();

  constructor() {
    super();
    this.attachShadow({ mode: "open" });
  }

  connectedCallback() {
    if (this.#parts === null) this.#build();
    this.#startIfReady();
  }

  disconnectedCallback() {
    // An element that is only moved is back in the document by then.
    queueMicrotask(() => {
      if (!this.isConnected && this.#parts !== null) this.#tearDown();
    });
  }

  attributeChangedCallback(name, _old, value) {
    if (name === "token") return this.#takeToken(value);
    if (name === "token-url") return this.#startIfReady();
    if (this.#parts !== null) this.#applySettings();
    return undefined;
  }

  set tokenSource(source) {
    this.#tokenSource = source;
    this.#startIfReady();
  }

  set token(token) {
    this.#token = token;
    this.#startIfReady();
  }

  get state() {
    return this.#detail.state;
  }

  get outcome() {
    return this.#detail;
  }

  get rows() {
    return this.#parts?.view.size.rows ?? 0;
  }

  get cols() {
    return this.#parts?.view.size.cols ?? 0;
  }

  get offset() {
    return this.#connection?.offset ?? 0;
  }

  async start() {
    if (this.#parts === null) return;
    this.#connection?.close();
    const attempt = (this.#attempt += 1);
    this.#parts.outcome.hide();
    this.#parts.question.hide();
    this.#setState({ state: "connecting", title: "" });
    try {
      await this.#parts.view.open();
      const token = await this.#nextToken();
      if (attempt === this.#attempt) this.#connect(token);
    } catch (error) {
      if (!(error instanceof TokenError)) throw error;
      const problem = { status: 0, code: "no_token", title: "There is no token for this terminal", detail: error.message };
      if (attempt === this.#attempt) this.#finish({ state: "refused", problem, reachable: true });
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
    this.#parts?.view.type(text);
  }

  text() {
    return this.#parts?.view.text() ?? "";
  }

  focus() {
    this.#parts?.view.focus();
  }

  #build() {
    const screen = build("div", { className: "screen" });
    const view = new TerminalView(screen, this.#viewHandlers());
    const search = new SearchBox(view, () => this.#themeName());
    const bar = new ToolBar(this.#actions());
    const keys = new KeyBar(view);
    const outcome = new OutcomePanel(() => this.#startByPerson());
    const question = new Question(() => view.focus());
    const leave = new Leave(question);
    const wait = build("div", { className: "wait" });
    const hint = build("div", { className: "hint", hidden: true });
    const stage = build("div", { className: "stage" }, screen, wait, search.element, question.element, hint);
    const frame = build("div", { className: "frame", part: "frame" }, bar.element, stage, outcome.element, keys.element);
    frame.addEventListener("keydown", (event) => this.#key(event), { capture: true });
    this.#parts = { view, search, bar, keys, outcome, question, leave, wait, hint, frame };
    this.shadowRoot.adoptedStyleSheets = [...STYLE_SHEETS, ...this.shadowRoot.adoptedStyleSheets];
    this.shadowRoot.append(frame);
    this.#prefersDark.addEventListener("change", this.#followSystem);
    this.#applySettings();
    this.#setState({ state: "idle", title: "" });
  }

  #tearDown() {
    this.close();
    this.#prefersDark.removeEventListener("change", this.#followSystem);
    this.#parts.view.dispose();
    this.#parts = null;
    this.shadowRoot.replaceChildren();
    this.shadowRoot.adoptedStyleSheets = [];
  }

  #viewHandlers() {
    return {
      typed: (text) => this.#typed(text),
      typedBytes: (bytes) => this.#sendInput(bytes),
      resized: (size) => {
        this.#parts.bar.size = size;
        this.#connection?.resize(size);
      },
      titled: (title) => (this.#parts.bar.subtitle = cleanTitle(title)),
      copyWanted: (text) => this.#parts.leave.copy(text),
      linkClicked: (uri, event) => this.#parts.leave.openLink(uri, event),
      linkHovered: (uri) => {
        this.#parts.hint.hidden = uri === null;
        this.#parts.hint.textContent = uri ?? "";
      },
      ctrlUsed: () => this.#parts.keys.releaseCtrl(),
    };
  }

  #actions() {
    const { normal } = FONT_SIZE;
    return {
      search: () => this.#parts.search.open(),
      larger: () => this.#chooseFontSize(this.#fontSize() + 1),
      smaller: () => this.#chooseFontSize(this.#fontSize() - 1),
      normal: () => this.#chooseFontSize(normal),
      switchTheme: () => this.#choose("theme", this.#themeName() === "dark" ? "light" : "dark"),
      toggleReader: () => this.#choose("screen-reader", this.hasAttribute("screen-reader") ? null : ""),
      copy: () => this.#parts.view.copySelection(),
      leave: () => this.#parts.bar.focus(),
    };
  }

  #key(event) {
    const shortcut = shortcutOf(event);
    if (shortcut !== null) {
      event.preventDefault();
      event.stopPropagation();
      this.#actions()[shortcut]();
    } else if (event.key === "Tab" && this.state !== "running") {
      // xterm.js would keep it, for a program that is not there.
      event.stopPropagation();
    }
  }

  // Settings: what a person or the page may change while it runs.

  #applySettings() {
    const { view, bar } = this.#parts;
    this.#applyTheme();
    view.setFontSize(this.#fontSize());
    view.setScreenReader(this.hasAttribute("screen-reader"));
    bar.isScreenReader = this.hasAttribute("screen-reader");
    this.#applyRole();
  }

  #applyTheme() {
    const name = this.#themeName();
    this.#parts.view.setTheme(name);
    for (const [property, value] of Object.entries(THEMES[name].page)) this.#parts.frame.style.setProperty(property, value);
  }

  #applyRole() {
    const isReadOnly = this.hasAttribute("read-only") || this.#hello?.role === "viewer";
    this.#parts.bar.isReadOnly = isReadOnly;
    this.#parts.view.acceptsInput = this.state === "running" && !isReadOnly;
  }

  #themeName() {
    return resolveTheme(this.getAttribute("theme"), this.#prefersDark.matches);
  }

  #fontSize() {
    const wanted = Number(this.getAttribute("font-size") ?? FONT_SIZE.normal);
    if (!Number.isFinite(wanted)) return FONT_SIZE.normal;
    return Math.min(Math.max(wanted, FONT_SIZE.smallest), FONT_SIZE.largest);
  }

  #chooseFontSize(px) {
    this.#choose("font-size", String(px));
  }

  #choose(attribute, value) {
    if (value === null) this.removeAttribute(attribute);
    else this.setAttribute(attribute, value);
    const detail = { theme: this.getAttribute("theme") ?? "auto", fontSize: this.#fontSize(), screenReader: this.hasAttribute("screen-reader") };
    this.#tell("ws-terminal-settings", detail);
  }

  // Tokens.

  #takeToken(value) {
    if (value === null) return;
    this.removeAttribute("token");
    this.token = value;
  }

  #startIfReady() {
    const knowsToken = this.#tokenSource !== null || this.#token !== null || this.hasAttribute("token-url");
    if (this.isConnected && this.#parts !== null && this.state === "idle" && knowsToken) this.start();
  }

  async #nextToken() {
    const given = this.#token;
    if (this.#tokenSource === null && !this.hasAttribute("token-url")) return checkedToken(given);
    // It may be good for one start only, and there is a way to get more.
    this.#token = null;
    if (given !== null) return given;
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
    const base = new URL(this.getAttribute("src") ?? new URL("../", import.meta.url), document.baseURI);
    if (!base.pathname.endsWith("/")) base.pathname += "/";
    this.#connection = new Connection({ base, token, size: this.#parts.view.size, listener: this.#listener(this.#attempt) });
  }

  #listener(attempt) {
    const { view } = this.#parts;
    return {
      opened: (hello) => this.#opened(hello),
      output: (bytes, _stream, done) => view.write(bytes, done),
      complained: (code, message) => console.warn(`ws-terminal: ${code}: ${message}`),
      ended: (outcome) => {
        view.acceptsInput = false;
        // The last output comes before the last word.
        view.afterWrites(() => attempt === this.#attempt && this.#finish(outcome));
      },
    };
  }

  #opened(hello) {
    this.#hello = hello;
    this.#pipeLine = hello.tty ? null : new PipeLine();
    this.#parts.view.reset(hello.tty);
    this.#parts.bar.subtitle = "";
    const { session, role, tty, rows, cols } = hello;
    this.#setState({ state: "running", title: cleanTitle(hello.title), session, role, tty, rows, cols });
    if (this.hasAttribute("autofocus") || this.shadowRoot.activeElement !== null) this.focus();
  }

  #finish(outcome) {
    const words = describeOutcome(outcome, location.origin);
    this.#parts.view.hideCursor();
    this.#parts.outcome.show(words);
    this.#parts.question.hide();
    this.#setState({ title: this.#detail.title, ...outcome, heading: words.heading, text: words.text });
  }

  #setState(detail) {
    this.#detail = detail;
    const { state } = detail;
    const { bar, wait, frame } = this.#parts;
    frame.dataset.state = state;
    frame.classList.toggle("succeeded", detail.exitCode === 0);
    bar.title = detail.title || "Terminal";
    bar.status = statusWords(detail);
    wait.hidden = state !== "idle" && state !== "connecting";
    wait.textContent = STATUS_WORDS[state];
    this.#applyRole();
    this.#tell("ws-terminal-state", detail);
  }

  #startByPerson() {
    this.start();
    this.focus();
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
  }

  #typed(text) {
    if (this.#pipeLine === null) return this.#sendInput(new TextEncoder().encode(text));
    for (const step of this.#pipeLine.type(text)) this.#pipeStep(step);
    return undefined;
  }

  #pipeStep({ echo, send, end, signal }) {
    if (echo !== undefined) this.#parts.view.write(echo);
    if (send !== undefined) this.#sendInput(new TextEncoder().encode(send));
    if (end) this.#connection.endInput();
    if (signal !== undefined) this.#connection.signal(signal);
  }

  #sendInput(bytes) {
    if (this.#connection.sendInput(bytes)) return;
    this.#parts.question.ask("That was not sent: the command is not reading its input, and too much is waiting for it already.", "", [{ label: "OK" }]);
  }
}

function statusWords({ state, exitCode, signal }) {
  if (state !== "ended") return STATUS_WORDS[state];
  return signal === null ? `ended, exit code ${exitCode}` : `ended by ${signal}`;
}

customElements.define("ws-terminal", WsTerminal);
