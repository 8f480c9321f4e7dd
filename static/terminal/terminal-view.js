/**
 * The terminal itself: xterm.js 6 with its addons, inside a shadow root, under a strict Content-Security-Policy.
 *
 * Law: nothing a program prints can read the clipboard, write it without the person's leave, open a link by itself, move or
 * resize the window, or run script.
 */

import { ClipboardAddon } from "../vendor/addon-clipboard.mjs";
import { FitAddon } from "../vendor/addon-fit.mjs";
import { SearchAddon } from "../vendor/addon-search.mjs";
import { UnicodeGraphemesAddon } from "../vendor/addon-unicode-graphemes.mjs";
import { WebLinksAddon } from "../vendor/addon-web-links.mjs";
import { WebglAddon } from "../vendor/addon-webgl.mjs";
import { Terminal } from "../vendor/xterm.mjs";

import { SIZE_MAX } from "../native-v1.js";
import "./adopted-style.js";
import { controlCharacter } from "./keys.js";
import { CONTRAST_MIN, THEMES } from "./themes.js";

const FONT_FAMILY =
  'ui-monospace, "SF Mono", "Cascadia Mono", "JetBrains Mono", Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace';
const SCROLLBACK_LINES = 10_000;
/** What an OSC 52 sequence may put on the clipboard at once. */
const CLIPBOARD_CHARACTERS_MAX = 1024 * 1024;
const FONT_TIMEOUT_MS = 3000;
const SIZE_WARNING_MS = 3000;

// What a screen reader says of the terminal. Tab belongs to the program, so the way out is part of the name.
Terminal.strings.promptLabel = "Terminal input. Control Shift Enter leaves the terminal.";

export class TerminalView {
  #terminal;
  #container;
  #fit = new FitAddon();
  #search = new SearchAddon();
  #watchers = [];
  #opened;
  #isCtrlSticky = false;

  /**
   * @param {HTMLElement} container the box to fill
   * @param {object} handlers
   * @param {(text: string) => void} handlers.typed what the person typed or pasted, or what the terminal answers to a query
   * @param {(bytes: Uint8Array) => void} handlers.typedBytes mouse reports that are no text
   * @param {(size: {rows: number, cols: number}) => void} handlers.resized
   * @param {(title: string) => void} handlers.titled the program's own title; not cleaned
   * @param {(text: string) => void} handlers.copyWanted the program wants to set the clipboard
   * @param {(uri: string, event: MouseEvent) => void} handlers.linkClicked http or https only
   * @param {(uri: string | null) => void} handlers.linkHovered
   * @param {() => void} handlers.ctrlUsed the sticky Ctrl has been applied to a key
   */
  constructor(container, handlers) {
    this.#container = container;
    this.#terminal = new Terminal({
      allowProposedApi: true,
      cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches,
      disableStdin: true,
      fontFamily: FONT_FAMILY,
      // With less, common fonts on Linux lose their underscores.
      lineHeight: 1.1,
      linkHandler: linkHandler(handlers),
      minimumContrastRatio: CONTRAST_MIN,
      rescaleOverlappingGlyphs: true,
      scrollback: SCROLLBACK_LINES,
    });
    this.#terminal.loadAddon(this.#fit);
    this.#terminal.loadAddon(this.#search);
    this.#terminal.loadAddon(new UnicodeGraphemesAddon());
    this.#terminal.loadAddon(new ClipboardAddon(undefined, clipboardOf(handlers)));
    this.#terminal.loadAddon(new WebLinksAddon((event, uri) => handlers.linkClicked(uri, event), linkHovers(handlers)));
    this.#terminal.onData((text) => handlers.typed(this.#withCtrl(text, handlers)));
    this.#terminal.onBinary((text) => handlers.typedBytes(Uint8Array.from(text, (character) => character.charCodeAt(0))));
    this.#terminal.onResize(({ rows, cols }) => handlers.resized({ rows, cols }));
    this.#terminal.onTitleChange(handlers.titled);
  }

  /** Shows the terminal and measures it; resolves when its size is that of the box. Waits while the box has no size. */
  open() {
    this.#opened ??= this.#open();
    return this.#opened;
  }

  /** Fits rows and columns to the box; does nothing while the box is hidden. */
  fit() {
    const proposed = this.#fit.proposeDimensions();
    if (!proposed || !Number.isFinite(proposed.rows) || !Number.isFinite(proposed.cols)) return;
    const { clientWidth, clientHeight } = this.#container;
    if (clientWidth === 0 || clientHeight === 0) return;
    this.#terminal.resize(Math.min(proposed.cols, SIZE_MAX), Math.min(proposed.rows, SIZE_MAX));
  }

  get size() {
    return { rows: this.#terminal.rows, cols: this.#terminal.cols };
  }

  /** Shows bytes; calls `done` once they have been taken in. A character may be cut between two calls. */
  write(bytes, done) {
    this.#terminal.write(bytes, done);
  }

  /** Calls `done` when everything written so far has been taken in. */
  afterWrites(done) {
    this.#terminal.write("", done);
  }

  /** Clears the screen and all modes for a new command. `tty`: whether it has a terminal, or only pipes. */
  reset(tty) {
    this.#terminal.reset();
    this.#terminal.options.convertEol = !tty;
  }

  /** Whether typing has any effect; otherwise the terminal neither takes keys nor answers queries. */
  set acceptsInput(accepts) {
    this.#terminal.options.disableStdin = !accepts;
  }

  /** For a terminal that nothing writes to any more; `reset` brings it back. */
  hideCursor() {
    this.#terminal.write("\x1b[?25l");
  }

  /** Types for the person: goes the same way as a key. */
  type(text) {
    this.#terminal.input(text);
  }

  /** Types an arrow key in the form that the running program has asked for. `letter`: A up, B down, C right, D left. */
  typeArrow(letter) {
    this.type(`\x1b${this.#terminal.modes.applicationCursorKeysMode ? "O" : "["}${letter}`);
  }

  /** The next key typed becomes a control character. */
  set isCtrlSticky(isSticky) {
    this.#isCtrlSticky = isSticky;
  }

  setFontSize(px) {
    this.#terminal.options.fontSize = px;
    this.fit();
  }

  /** @param {"light" | "dark"} name */
  setTheme(name) {
    this.#terminal.options.theme = THEMES[name].terminal;
  }

  setScreenReader(isOn) {
    this.#terminal.options.screenReaderMode = isOn;
  }

  /**
   * Searches and marks all matches.
   * @param {string} term
   * @param {"here" | "next" | "previous"} where "here" stays on the current match while the term grows
   * @param {"light" | "dark"} theme
   */
  find(term, where, theme) {
    const options = { decorations: THEMES[theme].match, incremental: where === "here" };
    if (where === "previous") this.#search.findPrevious(term, options);
    else this.#search.findNext(term, options);
  }

  stopFinding() {
    this.#search.clearDecorations();
  }

  /** @param {(found: {resultIndex: number, resultCount: number}) => void} handler */
  set onFound(handler) {
    this.#search.onDidChangeResults(handler);
  }

  /** Copies what is selected. The browser's own copy command works on every page; xterm.js answers it with its selection. */
  copySelection() {
    if (!this.#terminal.hasSelection()) return;
    this.focus();
    document.execCommand("copy");
  }

  get selection() {
    return this.#terminal.getSelection();
  }

  focus() {
    this.#terminal.focus();
  }

  /** Everything the terminal holds, scrolled lines first; a line that was wrapped is one line. */
  text() {
    const buffer = this.#terminal.buffer.active;
    const lines = [];
    for (let index = 0; index < buffer.length; index += 1) {
      const line = buffer.getLine(index);
      const isWrappedOn = buffer.getLine(index + 1)?.isWrapped ?? false;
      const text = line.translateToString(!isWrappedOn);
      if (line.isWrapped) lines.push(`${lines.pop()}${text}`);
      else lines.push(text);
    }
    return lines.join("\n").trimEnd();
  }

  dispose() {
    for (const stop of this.#watchers) stop();
    this.#terminal.dispose();
  }

  async #open() {
    await Promise.all([fontsLoaded(this.#terminal.options.fontSize), hasSize(this.#container)]);
    this.#terminal.open(this.#container);
    this.#drawWithWebgl();
    this.fit();
    this.#watchSize();
  }

  /** WebGL draws fastest; without it, or when the browser takes it away, xterm.js draws with elements. */
  #drawWithWebgl() {
    try {
      const webgl = new WebglAddon();
      webgl.onContextLoss(() => {
        webgl.dispose();
        this.fit();
      });
      this.#terminal.loadAddon(webgl);
    } catch {
      // No WebGL 2 here; the renderer made of elements is in use already.
    }
  }

  #watchSize() {
    let frame;
    const fitSoon = () => {
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(() => this.fit());
    };
    const observer = new ResizeObserver(fitSoon);
    observer.observe(this.#container);
    this.#watchers.push(() => observer.disconnect(), () => cancelAnimationFrame(frame), watchPixelRatio(fitSoon));
  }

  #withCtrl(text, handlers) {
    if (!this.#isCtrlSticky || text.length !== 1) return text;
    this.#isCtrlSticky = false;
    handlers.ctrlUsed();
    return controlCharacter(text);
  }
}

function clipboardOf({ copyWanted }) {
  return {
    // A program that asks for the clipboard is told that it is empty.
    readText: () => "",
    writeText: (selection, text) => {
      if (selection === "c" && text !== "" && text.length <= CLIPBOARD_CHARACTERS_MAX) copyWanted(text);
      // No promise: xterm.js would stop showing output until the person has decided.
    },
  };
}

/** Links that a program names apart from their text (OSC 8). xterm.js itself lets only http and https through. */
function linkHandler(handlers) {
  return { activate: (event, uri) => handlers.linkClicked(uri, event), ...linkHovers(handlers), allowNonHttpProtocols: false };
}

function linkHovers({ linkHovered }) {
  return { hover: (_event, uri) => linkHovered(uri), leave: () => linkHovered(null) };
}

/** A font that is still loading has no true size; one that never comes must not keep the terminal away. */
async function fontsLoaded(fontSize) {
  const loaded = document.fonts.load(`${fontSize}px ${FONT_FAMILY}`).then(() => document.fonts.ready);
  const waited = new Promise((resolve) => setTimeout(resolve, FONT_TIMEOUT_MS));
  await Promise.race([loaded, waited]);
}

/** Waits for as long as it takes: what is hidden now may be shown later. */
function hasSize(element) {
  return new Promise((resolve) => {
    const warning = setTimeout(() => console.warn("<ws-terminal> waits for its box to have a width and a height"), SIZE_WARNING_MS);
    const observer = new ResizeObserver(() => {
      if (element.clientWidth === 0 || element.clientHeight === 0) return;
      clearTimeout(warning);
      observer.disconnect();
      resolve();
    });
    observer.observe(element);
  });
}

/** Calls `changed` when the page moves to a screen with other pixels; returns what stops it. */
function watchPixelRatio(changed) {
  const controller = new AbortController();
  const watch = () => {
    const query = matchMedia(`(resolution: ${devicePixelRatio}dppx)`);
    query.addEventListener("change", () => (changed(), watch()), { once: true, signal: controller.signal });
  };
  watch();
  return () => controller.abort();
}
