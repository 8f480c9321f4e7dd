/**
 * Line editing for a command that runs with pipes: nothing else echoes what is typed, takes it back, or ends a line. Pure.
 *
 * A terminal's driver does this in the kernel; here the page is the driver: Enter sends the line, Backspace and Ctrl-U take back,
 * Ctrl-D ends the input (after sending what stands in the line), Ctrl-C interrupts. Escape sequences (arrows) do nothing.
 */

const LINE_CHARACTERS_MAX = 64 * 1024;
// One key: an escape sequence as a whole, or one character.
const KEY = /\x1b(?:[[O][0-9;?<>=]*[ -/]*[@-~]|.)?|[^]/gu;

export class PipeLine {
  #characters = [];

  /**
   * @param {string} text what xterm.js reports as typed or pasted
   * @returns {Array<{echo: string} | {send: string} | {end: true} | {signal: string}>} what to do, in this order
   */
  type(text) {
    return Array.from(text.replaceAll("\r\n", "\r").matchAll(KEY)).flatMap(([key]) => this.#key(key));
  }

  #key(key) {
    switch (key) {
      case "\r":
      case "\n":
        return [{ echo: "\r\n" }, { send: `${this.#take()}\n` }];
      case "\x7f":
      case "\b":
        return this.#erase(1);
      case "\x15":
        return this.#erase(this.#characters.length);
      case "\x04":
        return this.#characters.length > 0 ? [{ send: this.#take() }] : [{ end: true }];
      case "\x03":
        this.#take();
        return [{ echo: "^C\r\n" }, { signal: "INT" }];
      default:
        return this.#append(key);
    }
  }

  #append(key) {
    const isControl = key < " " && key !== "\t";
    if (isControl || this.#characters.length >= LINE_CHARACTERS_MAX) return [];
    this.#characters.push(key);
    return [{ echo: key }];
  }

  #erase(count) {
    const erased = this.#characters.splice(this.#characters.length - Math.min(count, this.#characters.length));
    return erased.map((character) => ({ echo: "\b \b".repeat(columnsOf(character)) }));
  }

  #take() {
    return this.#characters.splice(0).join("");
  }
}

/** Good enough for taking back what was just echoed: East Asian wide characters and emoji take two columns. */
function columnsOf(character) {
  return /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u.test(character) ? 2 : 1;
}
