/**
 * What a program in the terminal may only do with the person's leave: copy to the clipboard, open a link.
 *
 * Law: nothing here happens without a click, or a standing leave that the person gave by a click for this terminal.
 */

const PREVIEW_CHARACTERS = 400;

export class Leave {
  #question;
  #mayAlwaysCopy = false;

  /** @param {import("./panels.js").Question} question asks the person */
  constructor(question) {
    this.#question = question;
  }

  /** A program wants to set the clipboard (OSC 52). */
  copy(text) {
    if (navigator.clipboard === undefined) {
      this.#explain("The program wants to use your clipboard. Browsers allow that only on pages that come over https or from this computer.");
    } else if (this.#mayAlwaysCopy) {
      // Without a click some browsers refuse; then it needs one after all.
      navigator.clipboard.writeText(text).catch(() => this.#askToCopy(text));
    } else {
      this.#askToCopy(text);
    }
  }

  /** A link was clicked: with Ctrl or Cmd it opens, else its whole address is shown first. */
  openLink(uri, { ctrlKey, metaKey }) {
    if (!/^https?:/i.test(uri) || !URL.canParse(uri)) return;
    // As the browser reads it: foreign letters in a host name show as what they are.
    const address = new URL(uri).href;
    const open = () => window.open(address, "_blank", "noopener,noreferrer");
    if (ctrlKey || metaKey) open();
    else this.#question.ask("Open this link? It comes from the program in the terminal.", address, [{ label: "Open", run: open }, { label: "No" }]);
  }

  #askToCopy(text) {
    const copy = () => navigator.clipboard.writeText(text).catch((error) => this.#explain("Your browser did not allow to copy.", error.message));
    const copyAlways = () => {
      this.#mayAlwaysCopy = true;
      copy();
    };
    this.#question.ask("The program wants to copy this to your clipboard:", shortened(text), [
      { label: "Copy", run: copy },
      { label: "Always copy", run: copyAlways },
      { label: "No" },
    ]);
  }

  #explain(text, preview = "") {
    this.#question.ask(text, preview, [{ label: "OK" }]);
  }
}

function shortened(text) {
  return text.length <= PREVIEW_CHARACTERS ? text : `${text.slice(0, PREVIEW_CHARACTERS)}… (${text.length} characters)`;
}
