/** What is shown over and below the terminal: how it ended, why it did not open, and questions that need a person's leave. */

import { build, buildButton } from "./dom.js";

/** Says how a session ended, below its last output; or why there is none, in the middle. */
export class OutcomePanel {
  #heading = build("h2");
  #text = build("p");
  #again;

  /** @param {() => void} startAgain */
  constructor(startAgain) {
    this.#again = build("button", { type: "button", className: "primary", onclick: startAgain });
    this.element = build(
      "section",
      { className: "outcome", hidden: true, role: "alert", part: "outcome" },
      build("div", { className: "words" }, this.#heading, this.#text),
      this.#again,
    );
  }

  /** @param {{heading: string, text: string, again: string, isGood: boolean}} words */
  show({ heading, text, again, isGood }) {
    this.#again.textContent = again;
    this.#heading.textContent = heading;
    this.#text.textContent = text;
    this.element.classList.toggle("good", isGood);
    this.element.hidden = false;
  }

  hide() {
    this.element.hidden = true;
  }
}

/** Asks for leave; one question at a time, the latest wins. */
export class Question {
  #text = build("p");
  #preview = build("code");
  #answers = build("div", { className: "answers" });
  #answered;

  /** @param {() => void} answered is called after every answer, e.g. to give the keyboard back */
  constructor(answered) {
    this.#answered = answered;
    this.element = build(
      "section",
      { className: "question", hidden: true, role: "alertdialog", "aria-label": "Question", part: "question" },
      this.#text,
      this.#preview,
      this.#answers,
    );
    this.element.addEventListener("keydown", (event) => event.key === "Escape" && this.#close());
  }

  get isOpen() {
    return !this.element.hidden;
  }

  /** Gives the keyboard to the first answer. */
  focus() {
    this.#answers.querySelector("button").focus();
  }

  /**
   * @param {string} text the question
   * @param {string} preview what it is about, shown as it is
   * @param {Array<{label: string, run?: () => void}>} answers the first is what the question asks for; each one closes it
   */
  ask(text, preview, answers) {
    this.#text.textContent = text;
    this.#preview.textContent = preview;
    this.#answers.replaceChildren(...answers.map((answer, index) => this.#button(answer, index === 0)));
    this.element.hidden = false;
  }

  hide() {
    this.element.hidden = true;
  }

  #button({ label, run }, isFirst) {
    const onclick = () => {
      run?.();
      this.#close();
    };
    return buildButton({ label, text: label, className: isFirst ? "primary" : "plain", onclick });
  }

  #close() {
    this.hide();
    this.#answered();
  }
}
