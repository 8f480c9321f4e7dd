/** The keys that a touch screen's keyboard lacks: Esc, Tab, Ctrl, arrows. Shown where the main pointer is a finger (style.js). */

import { build, buildButton } from "./dom.js";

const ARROWS = [
  { letter: "D", label: "Arrow left", text: "←" },
  { letter: "A", label: "Arrow up", text: "↑" },
  { letter: "B", label: "Arrow down", text: "↓" },
  { letter: "C", label: "Arrow right", text: "→" },
];

export class KeyBar {
  #ctrl;
  #view;

  /** @param {import("./terminal-view.js").TerminalView} view gets the keys */
  constructor(view) {
    this.#view = view;
    const key = (label, text, type) =>
      buildButton({ label, text, onclick: () => this.#press(type) });
    this.#ctrl = buildButton({ label: "Ctrl, for the next key", text: "Ctrl", onclick: () => this.#toggleCtrl() });
    this.#ctrl.setAttribute("aria-pressed", "false");
    this.element = build(
      "div",
      { className: "keys", role: "toolbar", "aria-label": "Keys", part: "keys" },
      key("Escape", "Esc", () => view.type("\x1b")),
      key("Tab", "Tab", () => view.type("\t")),
      this.#ctrl,
      ...ARROWS.map(({ letter, label, text }) => key(label, text, () => view.typeArrow(letter))),
    );
  }

  /** The sticky Ctrl has been used, or is no longer wanted. */
  releaseCtrl() {
    this.#setCtrl(false);
  }

  #press(type) {
    this.#setCtrl(false);
    type();
    this.#view.focus();
  }

  #toggleCtrl() {
    this.#setCtrl(this.#ctrl.getAttribute("aria-pressed") === "false");
    this.#view.focus();
  }

  #setCtrl(isOn) {
    this.#ctrl.setAttribute("aria-pressed", String(isOn));
    this.#view.isCtrlSticky = isOn;
  }
}
