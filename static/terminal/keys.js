/**
 * Keys: the few that are the page's and not the program's, and what Ctrl makes of a key. Pure.
 *
 * Ctrl (or Cmd) with + - 0: text size. Ctrl (or Cmd)+Shift+F: search. Ctrl+Shift+C: copy the selection. Ctrl+Shift+Enter: leave the
 * terminal by keyboard (it takes Tab for itself); Tab does so too once nothing is running.
 */

/**
 * @param {KeyboardEvent} event
 * @returns {"larger" | "smaller" | "normal" | "search" | "copy" | "leave" | null}
 */
export function shortcutOf({ key, ctrlKey, metaKey, shiftKey, altKey }) {
  if (altKey || ctrlKey === metaKey) return null;
  if (shiftKey) return shiftedShortcutOf(key, ctrlKey);
  switch (key) {
    case "+":
    case "=":
      return "larger";
    case "-":
      return "smaller";
    case "0":
      return "normal";
    default:
      return null;
  }
}

function shiftedShortcutOf(key, ctrlKey) {
  // On many keyboards the plus sign needs Shift.
  if (key === "+") return "larger";
  if (key === "F" || key === "f") return "search";
  // Cmd+C copies by itself.
  if (ctrlKey && (key === "C" || key === "c")) return "copy";
  if (ctrlKey && key === "Enter") return "leave";
  return null;
}

/** What Ctrl makes of a key: Ctrl-A is 1, Ctrl-[ is 27, Ctrl-? is 127; keys without a control character stay. */
export function controlCharacter(key) {
  if (key === "?") return "\x7f";
  if (key === " ") return "\0";
  const code = key.toUpperCase().charCodeAt(0);
  return code >= 0x40 && code <= 0x5f ? String.fromCharCode(code & 0x1f) : key;
}
