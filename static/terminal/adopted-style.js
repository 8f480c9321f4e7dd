/**
 * <ws-terminal-style>: does what a <style> element does, but by a constructed style sheet, which a page's style-src 'self' does not
 * block. build.mjs makes xterm.js use it.
 */

class AdoptedStyle extends HTMLElement {
  #sheet = new CSSStyleSheet();
  #root = null;

  /** The rules, as in a <style> element. */
  set textContent(css) {
    this.#sheet.replaceSync(css);
  }

  connectedCallback() {
    this.#root = this.getRootNode();
    this.#root.adoptedStyleSheets = [...this.#root.adoptedStyleSheets, this.#sheet];
  }

  disconnectedCallback() {
    this.#root.adoptedStyleSheets = this.#root.adoptedStyleSheets.filter((sheet) => sheet !== this.#sheet);
  }
}

customElements.define("ws-terminal-style", AdoptedStyle);
