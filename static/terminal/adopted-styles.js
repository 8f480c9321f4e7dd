/**
 * Lets xterm.js run under a Content-Security-Policy without 'unsafe-inline' in style-src.
 *
 * xterm.js writes its rules into <style> elements and the colours of single cells into style attributes; such a policy blocks
 * both. Constructed style sheets and the CSSOM are not blocked. So xterm.js gets, by its option `documentOverride`, a document that
 * makes elements which look the same to it and go those two ways.
 */

/** @param {ShadowRoot} root where the rules shall apply */
export function documentWithAdoptedStyles(root) {
  const createElement = (name) => {
    if (name === "style") return createStyleStandIn(root);
    const element = Document.prototype.createElement.call(document, name);
    if (name === "span") element.setAttribute = setAttributeByCssom;
    return element;
  };
  return new Proxy(document, {
    get(target, key) {
      if (key === "createElement") return createElement;
      const value = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/**
 * Runs `action` while the page's own document makes such elements too. Terminal.open of xterm.js 6.0 needs this: it gives its
 * viewport the page's document whatever `documentOverride` says.
 */
export function withAdoptedStyles(overriding, action) {
  document.createElement = overriding.createElement;
  try {
    return action();
  } finally {
    // Takes away our own property; the prototype's method is visible again.
    delete document.createElement;
  }
}

/** Something that xterm.js takes for a <style>: setting its text sets the rules of a constructed sheet. */
function createStyleStandIn(root) {
  const sheet = new CSSStyleSheet();
  root.adoptedStyleSheets = [...root.adoptedStyleSheets, sheet];
  const standIn = Document.prototype.createElement.call(document, "template");
  Object.defineProperty(standIn, "textContent", { set: (css) => sheet.replaceSync(css) });
  standIn.remove = () => {
    Element.prototype.remove.call(standIn);
    root.adoptedStyleSheets = root.adoptedStyleSheets.filter((other) => other !== sheet);
  };
  return standIn;
}

/** Element.setAttribute, but a style goes through the CSSOM. */
function setAttributeByCssom(name, value) {
  if (name === "style") this.style.cssText = value;
  else Element.prototype.setAttribute.call(this, name, value);
}
