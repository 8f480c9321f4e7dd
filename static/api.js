/**
 * The page at `/docs`: shows what `openapi.json` says, with a line for curl beside each route. It sends no request but for that file, and
 * knows no token.
 */

import { curlLine, describeType, listOperations, needsToken, resolve } from "./api-lines.js";

const COPIED_MS = 1500;

/** An element with attributes and children; strings become text. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Text with `code` in backticks. */
function inline(text) {
  return text.split(/(`[^`]+`)/).map((part) => (/^`[^`]+`$/.test(part) ? make("code", {}, part.slice(1, -1)) : part));
}

/** Paragraphs and tables, as far as the description uses them. */
function blocks(text) {
  return text.split(/\n{2,}/).map((block) => (block.startsWith("|") ? pipeTable(block) : make("p", { class: "about" }, ...inline(block.replaceAll("\n", " ")))));
}

function pipeTable(block) {
  const [head, , ...rows] = block.trim().split("\n").map((line) => line.slice(1, -1).split(" | ").map((cell) => cell.trim()));
  return table(head, rows.map((row) => row.map(inline)));
}

/** @param {(string | Node)[][][]} rows cells, each a list of nodes */
function table(head, rows, kind = "facts") {
  const body = rows.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, ...cell))));
  return make("div", { class: "scroll" }, make("table", { class: kind }, make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col" }, text)))), make("tbody", {}, ...body)));
}

/** Text with a button that copies it. */
function sample(text) {
  const button = make("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      // Only a page that came over TLS, or from this machine, may write there.
      getSelection().selectAllChildren(button.previousElementSibling);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), COPIED_MS);
  });
  return make("div", { class: "sample" }, make("pre", { tabindex: "0" }, text), button);
}

function show(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

/** A path that a narrow column may break behind its slashes. */
function breakable(path) {
  return path.split(/(?<=\/)/).flatMap((part, index) => (index === 0 ? [part] : [make("wbr"), part]));
}

function nameCell(name, isRequired) {
  return [make("code", {}, name), ...(isRequired ? [" ", make("span", { class: "required" }, "required")] : [])];
}

function methodName(method) {
  return make("span", { class: `method ${method}` }, method.toUpperCase());
}

function parameterTable(api, parameters) {
  return table(
    ["Parameter", "In", "Type", "Meaning"],
    parameters.map(({ name, in: place, schema, description, required }) => [
      nameCell(name, required),
      [place],
      [describeType(api, schema)],
      inline(description ?? ""),
    ]),
  );
}

function fieldTable(api, schema) {
  const { properties = {}, required = [] } = resolve(api, schema) ?? {};
  return table(
    ["Field", "Type", "Meaning"],
    Object.entries(properties).map(([name, field]) => [
      nameCell(name, required.includes(name)),
      [describeType(api, field)],
      inline(resolve(api, field).description ?? ""),
    ]),
  );
}

function requestPart(api, requestBody) {
  const { content } = requestBody;
  const json = content["application/json"];
  if (json === undefined) return [make("h4", {}, "Body"), make("p", {}, ...inline(Object.keys(content).map((type) => `\`${type}\``).join(", ")))];
  const parts = [make("h4", {}, "Body"), sample(show(json.example ?? {}))];
  if (resolve(api, json.schema)?.properties !== undefined) parts.push(fieldTable(api, json.schema));
  const others = Object.keys(content).filter((type) => type !== "application/json");
  if (others.length > 0) parts.push(make("p", {}, ...inline(`Or as ${others.map((type) => `\`${type}\``).join(", ")}.`)));
  return parts;
}

function answerParts(api, responses) {
  const answers = Object.entries(responses).map(([status, told]) => [status, resolve(api, told)]);
  const [done, refused] = [answers.filter(([status]) => status < "400"), answers.filter(([status]) => status >= "400")];
  const rows = (some) => some.map(([status, { description }]) => [[make("code", {}, status)], inline(description)]);
  const parts = [make("h4", {}, "Answers"), table(["Status", "Meaning"], rows(done), "pairs")];
  const [type, media] = done.flatMap(([, { content = {} }]) => Object.entries(content)).find(([, { example }]) => example !== undefined) ?? [];
  if (media !== undefined) parts.push(make("figure", {}, make("figcaption", {}, "Example, ", make("code", {}, type)), make("pre", { tabindex: "0" }, show(media.example))));
  if (refused.length > 0) parts.push(make("details", {}, make("summary", {}, "Refusals"), table(["Status", "Meaning"], rows(refused), "pairs")));
  return parts;
}

function article(api, server, entry) {
  const { path, method, operation, parameters } = entry;
  const lock = needsToken(api, operation) ? "" : "no token needed";
  return make(
    "article",
    { id: operation.operationId },
    make("header", {}, methodName(method), make("h3", {}, make("a", { href: `#${operation.operationId}` }, ...breakable(path))), make("p", {}, operation.summary), make("span", { class: "lock" }, lock)),
    make(
      "div",
      {},
      ...blocks(operation.description ?? ""),
      sample(curlLine(api, server, entry)),
      ...(parameters.length > 0 ? [make("h4", {}, "Parameters"), parameterTable(api, parameters)] : []),
      ...(operation.requestBody === undefined ? [] : requestPart(api, operation.requestBody)),
      ...answerParts(api, operation.responses),
    ),
  );
}

function contents(groups) {
  return [
    make("a", { class: "home", href: "#content" }, "HTTP API"),
    ...groups.flatMap(({ name, entries }) => [
      make("h2", {}, name),
      make("ul", {}, ...entries.map(({ path, method, operation }) => make("li", {}, make("a", { href: `#${operation.operationId}` }, methodName(method), make("code", {}, ...breakable(path)))))),
    ]),
  ];
}

function render(api) {
  const server = new URL(api.servers[0].url, location.href).href.replace(/\/$/, "");
  const operations = listOperations(api);
  const groups = api.tags.map((tag) => ({ ...tag, entries: operations.filter(({ operation }) => operation.tags.includes(tag.name)) }));
  document.getElementById("contents").replaceChildren(...contents(groups));
  document.getElementById("content").replaceChildren(
    make("h1", {}, "HTTP API"),
    make("p", { class: "version" }, `${api.info.title} ${api.info.version}, for programs: `, make("a", { href: "openapi.json" }, "openapi.json")),
    ...blocks(api.info.description),
    ...groups.map(({ name, description, entries }) => make("section", {}, make("h2", {}, name), make("p", { class: "about" }, description), ...entries.map((entry) => article(api, server, entry)))),
  );
  // The place that the address names was not there when the page was loaded.
  document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

try {
  const response = await fetch("openapi.json");
  if (!response.ok) throw new Error(`openapi.json: status ${response.status}`);
  render(await response.json());
} catch (error) {
  document.getElementById("content").replaceChildren(make("p", { class: "failed", role: "alert" }, `The description cannot be shown: ${error.message}`));
}
