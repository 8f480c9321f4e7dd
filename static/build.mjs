/**
 * Fills static/vendor/ with the files of the npm packages that the browser loads, and with their licences.
 *
 * Run after `npm ci` in this folder: `node static/build.mjs`. Needs nothing but node; writes only what changed, so it
 * costs nothing when everything is up to date. No bundler: every package ships one self-contained ES module.
 */

import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const VENDOR = path.join(HERE, "vendor");
const MODULES = ["xterm", "addon-clipboard", "addon-fit", "addon-search", "addon-unicode-graphemes", "addon-web-links", "addon-webgl"];

/**
 * xterm.js writes its rules into <style> elements, and the colours of single cells into style attributes. A Content-Security-Policy
 * without 'unsafe-inline' blocks both, but neither constructed style sheets (terminal/adopted-style.js) nor the CSSOM. So these
 * places are changed on the way. `places` is how many there are in the pinned version; any other number stops the build.
 */
const EDITS = {
  xterm: [
    { find: /\.createElement\("style"\)/g, put: '.createElement("ws-terminal-style")', places: 3 },
    { find: /(\w+)\.setAttribute\("style",`\$\{\1\.getAttribute\("style"\)\|\|""\}\$\{(\w+)\};`\)/g, put: "$1.style.cssText+=`${$2};`", places: 1 },
  ],
};

async function readPackageFile(...parts) {
  try {
    return await readFile(path.join(HERE, "node_modules", ...parts), "utf8");
  } catch (error) {
    throw new Error(`static/node_modules/${parts.join("/")} is missing: run "npm ci --prefix static" first`, { cause: error });
  }
}

/** A package's module, or an error when a later version needs more than the one file. */
async function readModule(name) {
  const text = await readPackageFile("@xterm", name, "lib", `${name}.mjs`);
  const imported = /\b(?:from|import)\s*\(?\s*["']([^"']+)["']/.exec(text);
  if (imported) throw new Error(`@xterm/${name} imports ${imported[1]}: vendor that too, and rewrite the import`);
  // The maps are not shipped, and a browser's developer tools would look for them in vain.
  return text.replace(/\n\/\/# sourceMappingURL=\S*\s*$/, "\n");
}

function edit(name, text) {
  return (EDITS[name] ?? []).reduce((edited, { find, put, places }) => {
    const found = edited.match(find)?.length ?? 0;
    if (found !== places) throw new Error(`${name}.mjs has ${found} places like ${find}, not ${places}: look at them and adapt EDITS`);
    return edited.replace(find, put);
  }, text);
}

/** xterm.css as a module: an adopted style sheet needs no leave from a page's style-src. */
async function readStyleModule() {
  const css = await readPackageFile("@xterm", "xterm", "css", "xterm.css");
  return `export default ${JSON.stringify(css)};\n`;
}

async function vendoredFiles() {
  const files = new Map([["xterm-css.mjs", await readStyleModule()]]);
  for (const name of MODULES) {
    files.set(`${name}.mjs`, edit(name, await readModule(name)));
    files.set(`${name}.LICENSE.txt`, await readPackageFile("@xterm", name, "LICENSE"));
  }
  // Built into addon-clipboard.mjs.
  files.set("js-base64.LICENSE.txt", await readPackageFile("js-base64", "LICENSE.md"));
  return files;
}

async function writeIfChanged(file, text) {
  const old = await readFile(file, "utf8").catch((error) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  if (old === text) return false;
  await writeFile(file, text);
  return true;
}

const files = await vendoredFiles();
await mkdir(VENDOR, { recursive: true });
let written = 0;
for (const [name, text] of files) if (await writeIfChanged(path.join(VENDOR, name), text)) written += 1;
// Names with a dot in front are stamps of the caller (make).
const strangers = (await readdir(VENDOR)).filter((name) => !files.has(name) && !name.startsWith("."));
for (const name of strangers) await rm(path.join(VENDOR, name), { recursive: true });
console.log(`static/vendor: ${files.size} files, ${written} written, ${strangers.length} removed`);
