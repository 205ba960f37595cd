// Rewrites the page's examples for a webhook that the reader has. The key stays in this page's memory.

const BASE = new URL("../", import.meta.url);
const WORDS = { python: { true: "True", false: "False", null: "None" } };
const DEPTH = 8;

const form = document.getElementById("own");
const key = document.getElementById("own-key");
const select = document.getElementById("own-webhook");
const said = document.getElementById("own-said");
const marks = [...document.querySelectorAll("[data-own]")].map((element) => ({ element, written: element.textContent }));
let webhooks = [];

/** Makes a value that fits a JSON Schema in its types; its limits and patterns are left to the reader. */
function example(schema, root, depth = 0) {
  if (typeof schema !== "object" || schema === null || depth > DEPTH) return {};
  if (schema.$ref?.startsWith("#")) return example(schema.$ref.split("/").slice(1).reduce((part, step) => part?.[step.replaceAll("~1", "/").replaceAll("~0", "~")], root), root, depth + 1);
  for (const [given] of [[schema.const], [schema.default], schema.examples ?? [], schema.enum ?? []]) if (given !== undefined) return given;
  const part = (schema.allOf ?? schema.anyOf ?? schema.oneOf ?? [])[0];
  const type = [schema.type].flat()[0] ?? (schema.properties ? "object" : schema.items ? "array" : null);
  if (type === null) return part ? example(part, root, depth + 1) : {};
  if (type === "object") return Object.fromEntries(Object.entries(schema.properties ?? {}).map(([name, each]) => [name, example(each, root, depth + 1)]));
  if (type === "array") return [example(schema.items ?? {}, root, depth + 1)];
  return { string: "text", integer: schema.minimum ?? 1, number: schema.minimum ?? 1, boolean: true, null: null }[type];
}

/** Writes a value as an example's language does: JSON, Python, or JSON within a shell's single quotes. */
function literal(value, language) {
  const text = JSON.stringify(value);
  if (language === "sh") return text.replaceAll("'", "\\u0027");
  const words = WORDS[language];
  return words ? text.replace(/"(?:[^"\\]|\\.)*"|true|false|null/g, (found) => words[found] ?? found) : text;
}

function valuesOf({ id, dataSchema, headers, queryParams, payloadEncoding }) {
  const data = payloadEncoding === "base64" ? "aGVsbG8=" : dataSchema === null ? null : example(dataSchema, dataSchema);
  const filled = (names) => Object.fromEntries(names.map((name) => [name, "text"]));
  return { webhookId: id, data, headers: filled(headers), queryParams: filled(queryParams) };
}

function show() {
  const chosen = webhooks.find(({ id }) => id === select.value);
  const values = chosen && valuesOf(chosen);
  for (const { element, written } of marks) {
    const { own } = element.dataset;
    const language = element.closest("pre").dataset.lang;
    element.textContent = !values ? written : own === "webhookId" ? values.webhookId : literal(values[own], language);
  }
}

async function load(event) {
  event.preventDefault();
  said.textContent = "";
  const how = { headers: { Authorization: `Bearer ${key.value.trim()}` }, credentials: "omit", cache: "no-store", redirect: "manual", referrerPolicy: "no-referrer" };
  try {
    const answer = await fetch(new URL("v1/webhooks", BASE), how);
    const value = await answer.json().catch(() => null);
    const status = answer.type === "opaqueredirect" ? "a redirect" : `status ${answer.status}`;
    if (!value?.webhooks) throw new Error(value?.detail ?? `A proxy or something else answered in the relay's place (${status}). Check that the relay is running (relay doctor), and that the proxy can reach it.`);
    webhooks = value.webhooks;
  } catch (error) {
    said.textContent = error instanceof TypeError ? "The relay does not answer, or this is no key." : error.message;
    return;
  }
  select.replaceChildren(...webhooks.map(({ id }) => new Option(id, id)));
  for (const element of [select, ...select.labels]) element.hidden = webhooks.length === 0;
  said.textContent = webhooks.length ? "The examples below use it." : "This plugin has no webhooks yet: the service desk registers them with relay webhooks apply.";
  show();
  if (webhooks.length) select.focus();
}

form.hidden = false;
form.addEventListener("submit", load);
select.addEventListener("change", show);
