/** What the page of the HTTP doors shows as text: curl lines, and the names of types. Pure. */

const METHODS = ["get", "post", "put", "delete", "options"];
const BYTES = "application/octet-stream";
const STREAMS = [BYTES, "text/event-stream", "application/x-ndjson"];

/**
 * The operations of a description in its order: `{path, method, operation, parameters}`.
 * @param {object} document OpenAPI 3.1
 */
export function listOperations(document) {
  return Object.entries(document.paths).flatMap(([path, item]) =>
    Object.keys(item).filter((key) => METHODS.includes(key)).map((method) => ({
      path,
      method,
      operation: item[method],
      parameters: [...(item.parameters ?? []), ...(item[method].parameters ?? [])],
    })),
  );
}

/** Follows a reference within the description. */
export function resolve(document, value) {
  if (value?.$ref === undefined) return value;
  const found = value.$ref.replace(/^#\//, "").split("/").reduce((place, key) => place[key.replaceAll("~1", "/").replaceAll("~0", "~")], document);
  return resolve(document, found);
}

/** Whether a request must show a token. */
export function needsToken(document, operation) {
  return (operation.security ?? document.security ?? []).length > 0;
}

/** One word of a shell's command line. */
export function quote(text) {
  return /^[A-Za-z0-9_./:=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/**
 * A line for a shell that makes the request; `$TOKEN` stands for the token.
 * @param {object} document
 * @param {string} server where the doors are, e.g. "http://127.0.0.1:8866"
 * @param {ReturnType<typeof listOperations>[number]} entry
 */
export function curlLine(document, server, { path, method, operation, parameters }) {
  const options = [];
  if (isStream(document, operation)) options.push("--no-buffer");
  const content = resolve(document, operation.requestBody)?.content ?? {};
  const body = bodyOptions(content);
  if (method !== "get" && !(method === "post" && body.length > 0)) options.push(`-X ${method.toUpperCase()}`);
  if (needsToken(document, operation)) options.push('-H "Authorization: Bearer $TOKEN"');
  options.push(...body);
  options.push(quote(server + fillPath(path, parameters) + buildQuery(parameters)));
  return `curl ${options.join(" \\\n  ")}`;
}

function bodyOptions(content) {
  const json = content["application/json"];
  if (json !== undefined) return ["-H 'Content-Type: application/json'", `-d ${quote(JSON.stringify(json.example ?? {}))}`];
  return BYTES in content ? [`-H 'Content-Type: ${BYTES}'`, "--data-binary @FILE"] : [];
}

/** A schema in a few words, e.g. "string, 1 to 255 characters". */
export function describeType(document, schema) {
  const found = resolve(document, schema) ?? {};
  if (found.enum !== undefined) return found.enum.join(" | ");
  if (found.const !== undefined) return JSON.stringify(found.const);
  if (found.anyOf !== undefined) return join(found.anyOf.map((part) => describeType(document, part)));
  const type = [found.type ?? "any"].flat().join(" or ");
  if (found.type === "array") return `${type} of ${resolve(document, found.items)?.type ?? "any thing"}s`;
  return [type, describeLength(found), describeRange(found)].filter(Boolean).join(", ");
}

/** "a or b", with a comma where a part has one itself. */
function join(parts) {
  return parts.join(parts.some((part) => part.includes(",")) ? ", or " : " or ");
}

function describeLength({ minLength, maxLength }) {
  if (maxLength === undefined) return minLength > 0 ? "not empty" : "";
  return minLength === undefined ? `at most ${spell(maxLength)} characters` : `${spell(minLength)} to ${spell(maxLength)} characters`;
}

function describeRange({ minimum, exclusiveMinimum, maximum }) {
  if (exclusiveMinimum !== undefined) return `more than ${spell(exclusiveMinimum)}${maximum === undefined ? "" : `, at most ${spell(maximum)}`}`;
  if (maximum === undefined) return minimum === undefined ? "" : `at least ${spell(minimum)}`;
  return minimum === undefined ? `at most ${spell(maximum)}` : `${spell(minimum)} to ${spell(maximum)}`;
}

function spell(number) {
  return number.toLocaleString("en");
}

function isStream(document, operation) {
  const content = resolve(document, operation.responses["200"])?.content ?? {};
  return STREAMS.some((type) => type in content);
}

function fillPath(path, parameters) {
  return path.replace(/\{(\w+)\}/g, (_, name) => parameters.find((each) => each.in === "path" && each.name === name)?.example ?? name.toUpperCase());
}

function buildQuery(parameters) {
  const required = parameters.filter((each) => each.in === "query" && each.required);
  return required.length === 0 ? "" : `?${required.map(({ name, example }) => `${name}=${example ?? name.toUpperCase()}`).join("&")}`;
}
