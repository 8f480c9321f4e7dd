/** The line above the terminal: what runs, in which state, and the buttons for what a person may change. */

import { build, buildButton } from "./dom.js";

const ICONS = {
  search: "M10.5 4a6.5 6.5 0 1 0 0 13a6.5 6.5 0 1 0 0-13M15.3 15.3L20 20",
  theme: "M12 4a8 8 0 1 0 0 16a8 8 0 1 0 0-16M12 4v16M12 8h6.9M12 12h8M12 16h6.9",
  reader: "M12 6.2a1.6 1.6 0 1 0 0-3.2a1.6 1.6 0 1 0 0 3.2M4 8.5l5.5 1.3v4L7.5 21M20 8.5l-5.5 1.3v4l2 7.2M9.5 9.8h5M10 14h4",
};
/** "⌘" where people expect it. */
const MODIFIER = /Mac|iP(hone|ad|od)/.test(navigator.platform) ? "⌘" : "Ctrl";

export class ToolBar {
  #title = build("span", { className: "title" });
  #subtitle = build("span", { className: "subtitle" });
  #status = build("span", { className: "status", role: "status" });
  #size = build("span", { className: "size", title: "Columns and rows" });
  #readOnly = build("span", { className: "badge", textContent: "read only", hidden: true });
  #reader;

  /** @param {{search: () => void, smaller: () => void, larger: () => void, switchTheme: () => void, toggleReader: () => void}} actions */
  constructor(actions) {
    this.#reader = buildButton({ label: "Screen reader mode", icon: ICONS.reader, onclick: actions.toggleReader });
    this.element = build(
      "header",
      { className: "bar", part: "bar" },
      build("span", { className: "dot", "aria-hidden": "true" }),
      build("span", { className: "names" }, this.#title, this.#subtitle),
      this.#readOnly,
      this.#status,
      this.#size,
      build(
        "div",
        { className: "tools", role: "toolbar", "aria-label": "Terminal" },
        buildButton({ label: "Search", shortcut: `${MODIFIER}+Shift+F`, icon: ICONS.search, onclick: actions.search }),
        buildButton({ label: "Smaller text", shortcut: `${MODIFIER}+-`, text: "A−", className: "smaller", onclick: actions.smaller }),
        buildButton({ label: "Larger text", shortcut: `${MODIFIER}++`, text: "A+", className: "larger", onclick: actions.larger }),
        buildButton({ label: "Switch between light and dark", icon: ICONS.theme, className: "theme", onclick: actions.switchTheme }),
        this.#reader,
      ),
    );
  }

  set title(text) {
    this.#title.textContent = text;
  }

  /** What the program itself calls its window. */
  set subtitle(text) {
    this.#subtitle.textContent = text;
  }

  set status(text) {
    this.#status.textContent = text;
  }

  set size({ rows, cols }) {
    this.#size.textContent = `${cols} × ${rows}`;
  }

  set isReadOnly(isReadOnly) {
    this.#readOnly.hidden = !isReadOnly;
  }

  set isScreenReader(isOn) {
    this.#reader.setAttribute("aria-pressed", String(isOn));
  }

  /** Where the keyboard goes when it leaves the terminal. */
  focus() {
    this.element.querySelector("button").focus();
  }
}
