/** The box that searches the terminal's text, scrolled lines included. */

import { build, buildButton } from "./dom.js";

const ICONS = { previous: "M6 15l6-6 6 6", next: "M6 9l6 6 6-6", close: "M6 6l12 12M18 6L6 18" };

export class SearchBox {
  #view;
  #input;
  #count;
  #getTheme;

  /**
   * @param {import("./terminal-view.js").TerminalView} view is searched
   * @param {() => "light" | "dark"} getTheme the theme for the marks
   */
  constructor(view, getTheme) {
    this.#view = view;
    this.#getTheme = getTheme;
    this.#input = build("input", {
      type: "search",
      placeholder: "Search",
      "aria-label": "Search the terminal's text",
      autocomplete: "off",
      spellcheck: false,
      oninput: () => this.#find("here"),
    });
    this.#count = build("output", { className: "count", "aria-live": "polite" });
    this.element = build(
      "form",
      { className: "search", role: "search", hidden: true, part: "search" },
      this.#input,
      this.#count,
      buildButton({ label: "Previous match", shortcut: "Shift+Enter", icon: ICONS.previous, onclick: () => this.#find("previous") }),
      buildButton({ label: "Next match", shortcut: "Enter", icon: ICONS.next, onclick: () => this.#find("next") }),
      buildButton({ label: "Close search", shortcut: "Esc", icon: ICONS.close, onclick: () => this.close() }),
    );
    this.element.addEventListener("submit", (event) => event.preventDefault());
    this.element.addEventListener("keydown", (event) => this.#key(event));
    view.onFound = (found) => this.#showCount(found);
  }

  open() {
    this.element.hidden = false;
    const selected = this.#view.selection;
    if (selected !== "" && !selected.includes("\n")) this.#input.value = selected;
    this.#input.focus();
    this.#input.select();
    this.#find("here");
  }

  close() {
    this.element.hidden = true;
    this.#view.stopFinding();
    this.#view.focus();
  }

  #key(event) {
    if (event.key === "Escape") this.close();
    else if (event.key === "Enter" && event.target === this.#input) {
      this.#find(event.shiftKey ? "previous" : "next");
    } else return;
    event.preventDefault();
  }

  #find(where) {
    if (this.#input.value !== "") return this.#view.find(this.#input.value, where, this.#getTheme());
    this.#count.textContent = "";
    return this.#view.stopFinding();
  }

  #showCount({ resultIndex, resultCount }) {
    if (this.#input.value === "") this.#count.textContent = "";
    else if (resultCount === 0) this.#count.textContent = "none";
    else this.#count.textContent = resultIndex < 0 ? `${resultCount}` : `${resultIndex + 1} of ${resultCount}`;
  }
}
