// Makes calls with the client module and prints their results. Each line of stdin is a JSON object:
//   { source, baseUrl, key, options?, shared?, calls: [{ method, args, abortAfterMs? }] }
// `shared` calls have one signal.
// `source` is the module's http URL, as a plugin would import it, or its file path. Binary arguments are
// {"$bytes": base64}, {"$buffer": base64}, {"$blob": base64}, {"$form": [[name, value, filename?]]}. Prints a line for each: { results }, a list of
// { value, ms } or { error, ms }; or { fault } if the client could not be made.
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";

async function read(source) {
  if (!/^http/.test(source)) return readFile(source, "utf8");
  const response = await fetch(source);
  const type = response.headers.get("Content-Type") ?? "";
  if (!response.ok || !/^(text|application)\/javascript/.test(type)) throw new Error(`${response.status} ${type}`);
  return response.text();
}

function revive(value) {
  if (value?.$bytes !== undefined) return new Uint8Array(Buffer.from(value.$bytes, "base64"));
  if (value?.$buffer !== undefined) return Uint8Array.from(Buffer.from(value.$buffer, "base64")).buffer;
  if (value?.$blob !== undefined) return new Blob([Buffer.from(value.$blob, "base64")]);
  if (value?.$form !== undefined) return formOf(value.$form);
  return value;
}

function formOf(entries) {
  const form = new FormData();
  for (const [name, value, ...filename] of entries) form.append(name, revive(value), ...filename);
  return form;
}

async function run(api, WebhookError, controller, { method, args, abortAfterMs }) {
  const began = performance.now();
  const given = args.map(revive);
  if (abortAfterMs !== undefined) {
    setTimeout(() => controller.abort(), abortAfterMs);
    given.push({ signal: controller.signal });
  }
  const took = () => Math.round(performance.now() - began);
  try {
    return { value: await api.webhooks[method](...given), ms: took() };
  } catch (error) {
    const { name, message, code, status, errors, referenceId, idempotencyKey, idempotencyKeys, retryAfter } = error;
    const known = { name, message, code, status, errors, referenceId, idempotencyKey, idempotencyKeys, retryAfter };
    return { error: { ...known, typed: error instanceof WebhookError && error instanceof Error }, ms: took() };
  }
}

async function perform({ source, baseUrl, key, options, shared, calls }) {
  const module = await import(`data:text/javascript,${encodeURIComponent(await read(source))}`);
  const api = module.createApi({ baseUrl, key, ...options });
  const one = new AbortController();
  return Promise.all(calls.map((call) => run(api, module.WebhookError, shared ? one : new AbortController(), call)));
}

for await (const line of createInterface({ input: process.stdin })) {
  const told = await perform(JSON.parse(line)).then((results) => ({ results }), (error) => ({ fault: String(error) }));
  process.stdout.write(`${JSON.stringify(told)}\n`);
}
