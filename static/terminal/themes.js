/**
 * The colours of both themes: of the terminal's text (for xterm.js) and of what surrounds it (CSS custom properties). Pure.
 *
 * Law: every text colour has a contrast of 4.5 or more against what it stands on (WCAG AA); tests/js/themes.test.mjs computes it.
 * Programs may ask for any colour, so xterm.js is told to keep the same ratio (`CONTRAST_MIN`).
 */

export const CONTRAST_MIN = 4.5;

export const THEMES = {
  dark: {
    terminal: {
      background: "#0f1318",
      foreground: "#d5dae3",
      cursor: "#8ab4f8",
      cursorAccent: "#0f1318",
      selectionBackground: "#34507c",
      selectionInactiveBackground: "#34507c",
      overviewRulerBorder: "#0f1318",
      scrollbarSliderBackground: "#ffffff1f",
      scrollbarSliderHoverBackground: "#ffffff33",
      scrollbarSliderActiveBackground: "#ffffff47",
      black: "#2a313c",
      red: "#f28b82",
      green: "#81c995",
      yellow: "#e6c27a",
      blue: "#8ab4f8",
      magenta: "#c8a2f0",
      cyan: "#6fc9d3",
      white: "#c7cdd8",
      brightBlack: "#8791a1",
      brightRed: "#ffaaa3",
      brightGreen: "#a3e0b3",
      brightYellow: "#f5d99b",
      brightBlue: "#aecbfa",
      brightMagenta: "#dcc2fa",
      brightCyan: "#98e2ea",
      brightWhite: "#ffffff",
    },
    match: { matchBackground: "#4a4020", matchOverviewRuler: "#b8923a", activeMatchBackground: "#7a5c12", activeMatchColorOverviewRuler: "#f5d99b" },
    page: {
      "--surface": "#0f1318",
      "--raised": "#171d25",
      "--hover": "#252d38",
      "--line": "#29323e",
      "--text": "#e3e7ee",
      "--muted": "#9aa5b5",
      "--accent": "#8ab4f8",
      "--on-accent": "#0d1520",
      "--good": "#81c995",
      "--busy": "#e6c27a",
      "--bad": "#f28b82",
      "--shadow": "#00000073",
      "color-scheme": "dark",
    },
  },
  light: {
    terminal: {
      background: "#fcfcfa",
      foreground: "#23272f",
      cursor: "#1f5fbf",
      cursorAccent: "#fcfcfa",
      selectionBackground: "#c4dafb",
      selectionInactiveBackground: "#c4dafb",
      overviewRulerBorder: "#fcfcfa",
      scrollbarSliderBackground: "#0000001f",
      scrollbarSliderHoverBackground: "#00000033",
      scrollbarSliderActiveBackground: "#00000047",
      black: "#23272f",
      red: "#b3261e",
      green: "#1b6b35",
      yellow: "#7a5300",
      blue: "#1a56b0",
      magenta: "#7b3aa0",
      cyan: "#0b6470",
      white: "#d5d9df",
      brightBlack: "#5f6775",
      brightRed: "#c5221f",
      brightGreen: "#1f7a3d",
      brightYellow: "#855c00",
      brightBlue: "#1f66cc",
      brightMagenta: "#8e44b8",
      brightCyan: "#0d7280",
      brightWhite: "#f3f4f6",
    },
    match: { matchBackground: "#fbeab5", matchOverviewRuler: "#c79a1b", activeMatchBackground: "#f7c948", activeMatchColorOverviewRuler: "#855c00" },
    page: {
      "--surface": "#fcfcfa",
      "--raised": "#f2f3f1",
      "--hover": "#e3e5e4",
      "--line": "#d9dcda",
      "--text": "#1f232a",
      "--muted": "#59616e",
      "--accent": "#1f5fbf",
      "--on-accent": "#ffffff",
      "--good": "#1b6b35",
      "--busy": "#7a5300",
      "--bad": "#b3261e",
      "--shadow": "#0000002e",
      "color-scheme": "light",
    },
  },
};

/** Foreground and background pairs of `page` that stand on each other; the test measures these. */
export const TEXT_PAIRS = [
  ["--text", "--surface"],
  ["--text", "--raised"],
  ["--text", "--hover"],
  ["--muted", "--surface"],
  ["--muted", "--raised"],
  ["--accent", "--raised"],
  ["--on-accent", "--accent"],
  ["--good", "--raised"],
  ["--busy", "--raised"],
  ["--bad", "--raised"],
];

/**
 * The theme that is meant by an attribute's value.
 * @param {string | null} wanted auto, light or dark; anything else is auto
 * @param {boolean} prefersDark what the person's system says
 * @returns {"light" | "dark"}
 */
export function resolveTheme(wanted, prefersDark) {
  if (wanted === "light" || wanted === "dark") return wanted;
  return prefersDark ? "dark" : "light";
}
