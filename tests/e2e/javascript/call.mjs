// Makes calls with the client module and prints what became of each. Reads one JSON object from stdin:
//   { source, baseUrl, key, options?, calls: [{ method, args, abortAfterMs? }] }
// `source` is where the module is: an http URL, as a plugin would import it, or a file's path. Binary arguments are
// {"$bytes": base64}, {"$buffer": base64}, {"$blob": base64}; {"$nan": true} and {"$bigint": "1"} are what JSON lacks.
// Prints a JSON list of { value } or { error }, each with `ms`.
import { readFile } from "node:fs/promises";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const task = JSON.parse(Buffer.concat(chunks).toString());

const text = /^http/.test(task.source)
  ? await fetch(task.source).then(async (response) => {
      const type = response.headers.get("Content-Type") ?? "";
      if (!response.ok || !/^(text|application)\/javascript/.test(type)) throw new Error(`${response.status} ${type}`);
      return response.text();
    })
  : await readFile(task.source, "utf8");
const { createApi, WebhookError } = await import(`data:text/javascript,${encodeURIComponent(text)}`);
const api = createApi({ baseUrl: task.baseUrl, key: task.key, ...task.options });

function revive(value) {
  if (value?.$bytes !== undefined) return new Uint8Array(Buffer.from(value.$bytes, "base64"));
  if (value?.$buffer !== undefined) return Uint8Array.from(Buffer.from(value.$buffer, "base64")).buffer;
  if (value?.$blob !== undefined) return new Blob([Buffer.from(value.$blob, "base64")]);
  if (value?.$bigint !== undefined) return BigInt(value.$bigint);
  if (value?.$cycle) return ((cycle) => (cycle.self = cycle))({});
  return value;
}

async function run({ method, args, abortAfterMs }) {
  const began = performance.now();
  const given = args.map(revive);
  if (abortAfterMs !== undefined) {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), abortAfterMs);
    given.push({ signal: controller.signal });
  }
  const took = () => Math.round(performance.now() - began);
  try {
    return { value: await api.webhooks[method](...given), ms: took() };
  } catch (error) {
    const { name, message, code, status, errors, referenceId, idempotencyKey, retryAfter } = error;
    const typed = error instanceof WebhookError && error instanceof Error;
    return { error: { name, message, code, status, errors, referenceId, idempotencyKey, retryAfter, typed }, ms: took() };
  }
}

const results = await Promise.all(task.calls.map(run));
process.stdout.write(JSON.stringify(results));
