/**
 * Everything a person sees of a <ws-terminal>: the terminal with its bars, panels and questions, in one shadow root. It knows
 * nothing of tokens and connections.
 *
 * What a person wants is told to `actions`:
 *   typed(text), typedBytes(bytes), resized(size)   from the terminal
 *   startAgain()                                    from the outcome panel
 *   choose(setting, value)                          theme: light | dark; fontSize: steps, or 0 for normal; screenReader: toggles
 */

import { build } from "./dom.js";
import { KeyBar } from "./key-bar.js";
import { shortcutOf } from "./keys.js";
import { Leave } from "./leave.js";
import { OutcomePanel, Question } from "./panels.js";
import { SearchBox } from "./search-box.js";
import { STYLE_SHEETS } from "./style.js";
import { TerminalView } from "./terminal-view.js";
import { THEMES } from "./themes.js";
import { ToolBar } from "./tool-bar.js";
import { cleanTitle } from "./words.js";

const STATUS_WORDS = {
  idle: "waiting for a token",
  connecting: "connecting…",
  running: "running",
  ended: "ended",
  refused: "not started",
  lost: "connection lost",
};

export class Frame {
  #root;
  #actions;
  #element;
  #bar;
  #search;
  #keys;
  #outcome;
  #question;
  #wait;
  #hint;
  #theme = "dark";
  #state = "idle";

  /**
   * @param {ShadowRoot} root is filled
   * @param {object} actions see above
   */
  constructor(root, actions) {
    this.#root = root;
    this.#actions = actions;
    this.#question = new Question(() => this.view.focus());
    const screen = build("div", { className: "screen" });
    this.view = new TerminalView(screen, this.#viewHandlers(new Leave(this.#question)));
    this.#search = new SearchBox(this.view, () => this.#theme);
    this.#bar = new ToolBar(this.#commands());
    this.#keys = new KeyBar(this.view);
    this.#outcome = new OutcomePanel(actions.startAgain);
    this.#wait = build("div", { className: "wait" });
    this.#hint = build("div", { className: "hint", hidden: true });
    const stage = build("div", { className: "stage" }, screen, this.#wait, this.#search.element, this.#question.element, this.#hint);
    this.#element = build("div", { className: "frame", part: "frame" }, this.#bar.element, stage, this.#outcome.element, this.#keys.element);
    this.#element.addEventListener("keydown", (event) => this.#key(event), { capture: true });
    root.adoptedStyleSheets = STYLE_SHEETS;
    root.append(this.#element);
  }

  /** Shows the state, and what is known of the session in it. */
  showState({ state, title, exitCode = null, signal = null }) {
    this.#state = state;
    this.#element.dataset.state = state;
    this.#element.classList.toggle("succeeded", exitCode === 0);
    this.#bar.title = title || "Terminal";
    this.#bar.status = statusWords(state, exitCode, signal);
    this.#wait.hidden = state !== "idle" && state !== "connecting";
    this.#wait.textContent = STATUS_WORDS[state];
  }

  /** Shows the words for how a session ended; see `describeOutcome`. */
  showOutcome(words) {
    this.view.hideCursor();
    this.#question.hide();
    this.#outcome.show(words);
  }

  /** Makes room for a new session. */
  clearOutcome() {
    this.#question.hide();
    this.#outcome.hide();
    this.#bar.subtitle = "";
  }

  /** Tells the person something that needs no answer. */
  tell(text) {
    this.#question.ask(text, "", [{ label: "OK" }]);
  }

  /** @param {{theme: "light" | "dark", fontSize: number, screenReader: boolean}} settings */
  apply({ theme, fontSize, screenReader }) {
    this.#theme = theme;
    for (const [property, value] of Object.entries(THEMES[theme].page)) this.#element.style.setProperty(property, value);
    this.view.setTheme(theme);
    this.view.setFontSize(fontSize);
    this.view.setScreenReader(screenReader);
    this.#bar.isScreenReader = screenReader;
  }

  set isReadOnly(isReadOnly) {
    this.#bar.isReadOnly = isReadOnly;
  }

  dispose() {
    this.view.dispose();
    this.#root.replaceChildren();
    this.#root.adoptedStyleSheets = [];
  }

  #viewHandlers(leave) {
    const { typed, typedBytes, resized } = this.#actions;
    return {
      typed,
      typedBytes,
      resized: (size) => {
        this.#bar.size = size;
        resized(size);
      },
      titled: (title) => (this.#bar.subtitle = cleanTitle(title)),
      copyWanted: (text) => leave.copy(text),
      linkClicked: (uri, event) => leave.openLink(uri, event),
      linkHovered: (uri) => this.#showHint(uri),
      ctrlUsed: () => this.#keys.releaseCtrl(),
    };
  }

  #commands() {
    const { choose } = this.#actions;
    return {
      search: () => this.#search.open(),
      larger: () => choose("fontSize", 1),
      smaller: () => choose("fontSize", -1),
      normal: () => choose("fontSize", 0),
      switchTheme: () => choose("theme", this.#theme === "dark" ? "light" : "dark"),
      toggleReader: () => choose("screenReader"),
      copy: () => this.view.copySelection(),
      leave: () => (this.#question.isOpen ? this.#question.focus() : this.#bar.focus()),
    };
  }

  #key(event) {
    const shortcut = shortcutOf(event);
    if (shortcut !== null) {
      event.preventDefault();
      event.stopPropagation();
      this.#commands()[shortcut]();
    } else if (event.key === "Tab" && this.#state !== "running") {
      // xterm.js would keep it, for a program that is not there.
      event.stopPropagation();
    }
  }

  #showHint(uri) {
    this.#hint.hidden = uri === null;
    this.#hint.textContent = uri ?? "";
  }
}

function statusWords(state, exitCode, signal) {
  if (state !== "ended") return STATUS_WORDS[state];
  return signal === null ? `ended, exit code ${exitCode}` : `ended by ${signal}`;
}
