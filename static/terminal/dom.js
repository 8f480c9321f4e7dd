/** Builds elements. Text is always set as text, so nothing that a server or a program says can become markup. */

/**
 * @param {string} name the element's tag name
 * @param {object} [properties] `on*` handlers and properties by name; names with a dash are attributes
 * @param {...(Node | string)} children
 */
export function build(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role" || key === "part") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** A line drawing on a 24 x 24 grid that takes the colour of the text around it. */
export function drawIcon(path) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

/** A button that does not take the focus away from the terminal when it is pressed by mouse or finger. */
export function buildButton({ label, shortcut = "", icon, text, className = "", onclick }) {
  return build(
    "button",
    {
      type: "button",
      className,
      title: shortcut ? `${label} (${shortcut})` : label,
      "aria-label": label,
      onclick,
      onpointerdown: (event) => event.preventDefault(),
    },
    icon ? drawIcon(icon) : text,
  );
}
