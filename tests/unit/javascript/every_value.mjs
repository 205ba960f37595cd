// Gives a value of every type that the engine has to a trigger, at every place, and compares what is sent with what was
// given. The arguments are the client module's path, a relay's address and a key. Prints { places, taken, refused, problems, missing }.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import vm from "node:vm";

const [source, baseUrl, key] = process.argv.slice(2);
const { createApi, WebhookError } = await import(
  `data:text/javascript,${encodeURIComponent(await readFile(source, "utf8"))}`
);

class Plain {
  name = "n";
}
class Private {
  #hidden = 1;
  shown = 2;
  get sum() {
    return this.#hidden + this.shown;
  }
}
class Writing {
  #hidden = 1;
  toJSON() {
    return { hidden: this.#hidden };
  }
}
const throwing = () => {
  throw new Error("no");
};
const cycle = {};
cycle.self = [cycle];
const transferred = new Uint8Array([1, 2, 3]);
structuredClone(transferred.buffer, { transfer: [transferred.buffer] });
const revoked = Proxy.revocable({}, {});
revoked.revoke();
const deep = (levels) => (levels === 0 ? 1 : [deep(levels - 1)]);
const moment = new Date(Date.UTC(2026, 10, 29));
const bytes = new Uint8Array([0, 255, 216]);
const AS_TEXT = "AP/Y";
const hidden = Object.defineProperty({ a: 1 }, "__ob__", { value: {}, enumerable: false });

// name: [value, what arrives, what arrives as the whole of data, of headers or of queryParams]; without what arrives,
// it has to be refused.
const same = (value) => [value, value];
const VALUES = {
  null: same(null),
  true: same(true),
  text: same("ä \u{1f600} \u0000 \u2028"),
  zero: same(0),
  fraction: same(0.1 + 0.2),
  "large number": same(1e300),
  "small number": same(5e-324),
  "number beyond 2^53": same(2 ** 53 + 2),
  NaN: [NaN],
  Infinity: [Infinity],
  "-Infinity": [-Infinity],
  "a lone surrogate": ["a\ud800b"],
  "a lone surrogate in a name": [{ "\udc00": 1 }],
  "a BigInt": [10n ** 40n],
  symbol: [Symbol("s")],
  function: [() => 1],
  class: [Plain],
  Object: same({ a: 1, "": { "a/b~c": [null] } }),
  "a name __proto__": same(JSON.parse('{"__proto__": {"a": 1}}')),
  "without a prototype": [Object.assign(Object.create(null), { a: 1 }), { a: 1 }],
  "of another frame": [vm.runInNewContext("({ a: [1] })"), { a: [1] }],
  "a member that is undefined": [{ a: 1, b: undefined }, { a: 1 }],
  "a member that is hidden": [hidden, { a: 1 }],
  "a member that is a getter": [{ get a() { return 1; } }, { a: 1 }],
  "a getter that throws": [{ get a() { return throwing(); } }],
  "a Symbol as a name": [{ [Symbol("s")]: 1 }],
  "inherited members": [Object.create({ a: 1 })],
  "inherited members, without a class": [Object.create(Object.assign(Object.create(null), { a: 1 }))],
  Array: same([1, [2, []], {}]),
  "a list with a hole": [[1, , 2]], // eslint-disable-line no-sparse-arrays
  "a long list of holes": [new Array(2 ** 32 - 1)],
  "a list with undefined": [[undefined]],
  "a list with a function": [[() => 1]],
  "a list with members": ["abc".match(/(?<letter>b)/)],
  "a cycle": [cycle],
  "the same object twice": [((one) => [one, one])({ a: 1 }), [{ a: 1 }, { a: 1 }]],
  "32 levels": same(deep(30)),
  "5000 levels": [deep(5000)],
  toJSON: [new Writing(), { hidden: 1 }],
  "toJSON gives a Map": [{ toJSON: () => new Map([[1, 2]]) }],
  "toJSON gives undefined": [{ toJSON: () => undefined }],
  "toJSON throws": [{ toJSON: throwing }],
  "toJSON gets its name": [{ a: { toJSON: (name) => name } }, { a: "a" }],
  "a class": [new Plain()],
  "private state": [new Private()],
  "a revoked Proxy": [revoked.proxy],
  Proxy: [new Proxy({ a: 1 }, {}), { a: 1 }],
  "a proxy that throws": [new Proxy({}, { ownKeys: throwing, getPrototypeOf: throwing, get: throwing })],
  arguments: [(function () { return arguments; })(1)],
  generator: [(function* () { yield 1; })()],
  "async generator": [(async function* () { yield 1; })()],
  "an iterator": [[1].values()],
  "a Map's iterator": [new Map([[1, 2]]).entries()],
  globalThis: [globalThis],
  Math: [Math],
  JSON: [JSON],
  Reflect: [Reflect],
  Atomics: [Atomics],
  Intl: [Intl],
  WebAssembly: [WebAssembly],
  console: [console],
  Date: [moment, moment.toJSON()],
  "a Date that is none": [new Date(NaN)],
  URL: [new URL("https://a.example/?b=1"), "https://a.example/?b=1"],
  Map: [new Map([["a", 1]])],
  Set: [new Set([1])],
  WeakMap: [new WeakMap()],
  WeakSet: [new WeakSet()],
  WeakRef: [new WeakRef({})],
  RegExp: [/a/g],
  String: [new String("a")],
  Number: [new Number(1)],
  Boolean: [new Boolean(true)],
  Error: [new Error("e")],
  Promise: [Promise.resolve(1)],
  "a failed Promise": [(() => { const failed = Promise.reject(new Error("no")); failed.catch(() => {}); return failed; })()],
  "a thenable": [{ then: () => 1 }],
  ArrayBuffer: [bytes.slice().buffer, undefined, AS_TEXT],
  SharedArrayBuffer: [new SharedArrayBuffer(3)],
  DataView: [new DataView(bytes.slice().buffer), undefined, AS_TEXT],
  Uint8Array: [bytes, undefined, AS_TEXT],
  "a part of a buffer": [new Uint8Array([9, 0, 255, 216, 9]).subarray(1, 4), undefined, AS_TEXT],
  Buffer: [Buffer.from(bytes), undefined, AS_TEXT],
  "a transferred buffer": [transferred],
  Blob: [new Blob([bytes]), undefined, AS_TEXT],
  FormData: [Object.assign(new FormData())],
  Headers: [new Headers({ "X-A": "1", b: "2" }), undefined, { b: "2", "x-a": "1" }],
  URLSearchParams: [new URLSearchParams("a=1&b=%C3%A4"), undefined, { a: "1", b: "ä" }],
  "a repeated header": [new Headers([["Set-Cookie", "a=1"], ["Set-Cookie", "b=2"]])],
  "a repeated parameter": [new URLSearchParams("a=1&a=2")],
  Response: [new Response("{}")],
  Request: [new Request("https://a.example")],
  ReadableStream: [new ReadableStream()],
  WritableStream: [new WritableStream()],
  TransformStream: [new TransformStream()],
  TextEncoder: [new TextEncoder()],
  TextDecoder: [new TextDecoder()],
  AbortController: [new AbortController()],
  AbortSignal: [new AbortController().signal],
  Event: [new Event("e")],
  EventTarget: [new EventTarget()],
  DOMException: [new DOMException("m")],
};
// What needs a recipe of its own; every other constructor of the engine is called without arguments, or with these.
const MADE_ABOVE = new Set(["Proxy", "Function", "Symbol", "BigInt", "Array", "Object", "Private"]);
const ARGUMENTS = {
  FinalizationRegistry: [() => {}], DecompressionStream: ["gzip"], CompressionStream: ["gzip"], BroadcastChannel: ["c"],
  CountQueuingStrategy: [{ highWaterMark: 1 }], ByteLengthQueuingStrategy: [{ highWaterMark: 1 }], MessageEvent: ["m"],
  CustomEvent: ["c"], CloseEvent: ["c"], ErrorEvent: ["e"], File: [[bytes], "f"], AggregateError: [[]],
};
const missing = [];
for (const name of Object.getOwnPropertyNames(globalThis)) {
  const Type = globalThis[name];
  if (!/^[A-Z]/.test(name) || typeof Type !== "function" || name in VALUES || MADE_ABOVE.has(name)) continue;
  try {
    const made = new Type(...(ARGUMENTS[name] ?? []));
    const isBytes = ArrayBuffer.isView(made) || made instanceof Blob;
    VALUES[name] = isBytes ? [made, undefined, Buffer.from(made.buffer ?? (await made.arrayBuffer())).toString("base64")] : [made];
    made.close?.();
  } catch {
    VALUES[name] = [Type]; // it can only be made by the engine, so its constructor stands for it
    missing.push(name);
  }
}

const PLACES = {
  "the whole of data": ["/data", (value) => [value, null, null], ({ data }) => data],
  "in an object": ["/data/a~1b/c", (value) => [{ "a/b": { c: value } }, null, null], ({ data }) => data["a/b"].c],
  "in a list": ["/data/1", (value) => [[0, value], null, null], ({ data }) => data[1]],
  "what toJSON returns": ["/data", (value) => [{ toJSON: () => ({ in: [value] }) }, null, null], ({ data }) => data.in[0]],
  "the whole of headers": ["/headers", (value) => [null, value, null], ({ headers }) => headers],
  "a header": ["/headers/X", (value) => [null, { X: value }, null], ({ headers }) => headers.X],
  "the whole of queryParams": ["/queryParams", (value) => [null, null, value], ({ queryParams }) => queryParams],
  "a parameter": ["/queryParams/x", (value) => [null, null, { x: value }], ({ queryParams }) => queryParams.x],
};

/** Returns what has to arrive, or undefined if it has to be refused. */
function arrives(name, place) {
  const [, nested, whole] = VALUES[name];
  const places = name === "Headers" || name === "URLSearchParams" ? /^the whole of (headers|queryParams)$/ : /^the whole of data$/;
  return whole !== undefined && places.test(place) ? whole : nested;
}

const CALLS = {
  trigger: ["", (api, args) => api.webhooks.trigger("bytes", ...args), (body) => body],
  triggerMany: [
    "/0",
    (api, [data, headers, queryParams]) => api.webhooks.triggerMany([{ webhookId: "bytes", data, headers, queryParams }]),
    ([body]) => body,
  ],
};
const counts = { taken: 0, refused: 0 };
// What a message has to advise.
const ADVISED = {
  ...{ Map: "Object.fromEntries(...)", Set: "[...value]", arguments: "[...value]", generator: "[...value]", "an iterator": "[...value]" },
  ...{ "a Map's iterator": "[...value]", Promise: "`await` it", "a failed Promise": "`await` it", Error: "String(error)" },
  ...{ DOMException: "String(error)", RegExp: "String(value)", function: "call it", class: "call it", symbol: "give text" },
  ...{ "a BigInt": "`String(value)`, or give `createApi` a `json`", "a list with undefined": "leave it out of the list" },
  ...{ "a list with a hole": "leave it out of the list", Number: "value.valueOf()", String: "value.valueOf()", Boolean: "value.valueOf()" },
  ...{ Response: "await value.json()", Request: "await value.json()", "a Date that is none": "no valid date", "a class": "toJSON" },
  ...{ Uint8Array: 'payload_encoding: "base64"', Buffer: 'payload_encoding: "base64"', Blob: 'payload: "multipart"', FormData: 'payload: "multipart"' },
  ...{ "a lone surrogate": "surrogate pair", "a Symbol as a name": "names are text", "a cycle": "contains itself", NaN: "null or text" },
  ...{ "5000 levels": "nested too deeply", "a repeated parameter": "", "a getter that throws": "doing so throws Error" },
};

/** Makes one call; throws if something else arrived than was given, or was sent although it was refused. */
async function check(call, name, place) {
  const [pointer, give, find] = PLACES[place];
  const [prefix, make, open] = CALLS[call];
  const expected = arrives(name, place);
  const sent = [];
  const recording = (url, options) => {
    if (options.method === "POST") sent.push(options.body);
    return fetch(url, options);
  };
  const failure = await make(createApi({ baseUrl, key, fetch: recording }), give(VALUES[name][0])).then(() => null, (error) => error);
  if (failure === null) {
    assert.notEqual(expected, undefined, "was taken");
    assert.deepEqual(find(open(JSON.parse(sent[0]))), expected);
    counts.taken += 1;
    return;
  }
  if (!(failure instanceof WebhookError)) throw failure;
  assert.equal(failure.code, "request_rejected", failure.message);
  assert.equal(expected, undefined, "was refused");
  assert.deepEqual(sent, [], "was sent");
  const [{ pointer: at, message }] = failure.errors;
  if (place !== "what toJSON returns") assert.ok(at.startsWith(prefix + pointer), `${at} is no place in ${pointer}`);
  assert.ok(failure.message.includes(`${at}: ${message}`), failure.message);
  assert.ok(message.length > 10, message);
  if (place !== "what toJSON returns" && !place.startsWith("the whole of ")) assert.ok(message.includes(ADVISED[name] ?? ""), message);
  counts.refused += 1;
}

const problems = [];
for (const name of Object.keys(VALUES)) {
  const places = Object.keys(PLACES).flatMap((place) => Object.keys(CALLS).map((call) => [call, name, place]));
  const note = ([call, , place]) => (error) => problems.push(`${call} ${name}, ${place}: ${error.message}`);
  await Promise.all(places.map((each) => check(...each).catch(note(each))));
}

/** Makes a call with a client that has these options; returns the body that it sent. */
async function bodyOf(options, make) {
  let body;
  const recording = (url, request) => {
    if (request.method === "POST") body = request.body;
    return fetch(url, request);
  };
  await make(createApi({ baseUrl, key, fetch: recording, ...options }));
  return body;
}

const OTHERS = {
  async "a FormData and an object of Blobs arrive with names, types and contents"() {
    const form = new FormData();
    form.append("title", "ä\n");
    form.append("scan", new Blob([bytes], { type: "image/jpeg" }), 'a"\r\n.jpg');
    form.append("more", new Blob([bytes]));
    const file = (filename, contentType) => ({ filename, contentType, content: "AP/Y" });
    const [jpeg, blob] = [file('a"\r\n.jpg', "image/jpeg"), file("blob", "application/octet-stream")];
    const object = { title: "t", n: 1, "a/b": new Blob([bytes]), __proto__: null };
    const calls = [
      [form, { title: "ä\n", scan: jpeg, more: blob }],
      [object, { title: "t", n: 1, "a/b": blob }],
    ];
    for (const [data, arrives] of calls) {
      const one = bodyOf({}, (api) => Promise.all([api.webhooks.trigger("form", data), form.set("title", "later")]));
      assert.deepEqual(JSON.parse(await one).data, arrives);
      if (data === form) form.set("title", "ä\n");
      assert.deepEqual(JSON.parse(await bodyOf({}, (api) => api.webhooks.triggerMany([{ webhookId: "form", data }])))[0].data, arrives);
    }
  },
  async "files and FormData are refused where the webhook takes none, or a name repeats"() {
    const repeating = new FormData();
    repeating.append("a", "1");
    repeating.append("a", "2");
    const calls = [
      ["bytes", { a: 1, "b/c": new Blob([bytes]) }, "/data/b~1c"], ["bytes", new FormData(), "/data"],
      ["form", repeating, "/data/a"], ["form", { a: [new Blob([bytes])] }, "/data/a/0"], ["form", new Blob([bytes]), "/data"],
    ];
    for (const [webhook, data, pointer] of calls) {
      const failure = await createApi({ baseUrl, key }).webhooks.trigger(webhook, data).catch((error) => error);
      assert.equal(failure.code, "request_rejected");
      assert.equal(failure.errors[0].pointer, pointer);
    }
  },
  async "path params are sent as they were given"() {
    const pathParams = { id: "a b", n: 1 };
    const one = await bodyOf({}, (api) => Promise.all([api.webhooks.trigger("bytes", null, null, null, { pathParams }), (pathParams.n = 2)]));
    assert.deepEqual(JSON.parse(one).pathParams, { id: "a b", n: 1 });
    const many = await bodyOf({}, (api) => api.webhooks.triggerMany([{ webhookId: "bytes", pathParams }]));
    assert.deepEqual(JSON.parse(many)[0].pathParams, pathParams);
    const wrong = createApi({ baseUrl, key }).webhooks.trigger("bytes", null, null, null, { pathParams: { id: new Map() } });
    assert.equal((await wrong.catch((error) => error)).errors[0].pointer, "/pathParams/id");
  },
  async "a subject is sent to the relay if it is given"() {
    for (const [method, webhook] of Object.entries({ trigger: "bytes", triggerAsync: "later" })) {
      const given = (options) => bodyOf({}, (api) => api.webhooks[method](webhook, null, null, null, options));
      assert.equal(JSON.parse(await given({ subject: "4711" })).subject, "4711");
      assert.equal("subject" in JSON.parse(await given({})), false);
      const wrong = createApi({ baseUrl, key }).webhooks[method]("bytes", null, null, null, { subject: new Map() });
      assert.equal((await wrong.catch((error) => error)).errors[0].pointer, "/subject");
    }
    const many = await bodyOf({}, (api) => api.webhooks.triggerMany([{ webhookId: "bytes", subject: "4712" }]));
    assert.equal(JSON.parse(many)[0].subject, "4712");
  },
  async "what changes after the call is sent as it was"() {
    const [data, buffer, headers] = [{ a: [1] }, bytes.slice(), { X: "1" }];
    const change = () => (data.a.push(2), buffer.fill(7), (headers.X = "2"));
    const one = bodyOf({}, (api) => Promise.all([api.webhooks.trigger("bytes", data, headers), change()]));
    assert.deepEqual(JSON.parse(await one), { data: { a: [1] }, headers: { X: "1" }, queryParams: null });
    const items = [{ webhookId: "bytes", data: buffer }];
    const many = bodyOf({}, (api) => Promise.all([api.webhooks.triggerMany(items), buffer.fill(8)]));
    assert.equal(JSON.parse(await many)[0].data, "BwcH");
  },
  async "a json of the caller's writes BigInts and its own classes, and no other type"() {
    class Exact {
      digits = "12345678901234567890";
    }
    const digits = (_, value) => (typeof value === "bigint" ? `@${value}` : value instanceof Exact ? `@${value.digits}` : value);
    const json = { parse: JSON.parse, stringify: (value) => JSON.stringify(value, digits).replace(/"@(\d+)"/g, "$1") };
    const body = await bodyOf({ json }, (api) => api.webhooks.trigger("bytes", { a: 10n ** 30n, b: new Exact() }));
    assert.ok(body.startsWith(`{"data":{"a":1${"0".repeat(30)},"b":12345678901234567890}`), body);
    for (const value of [new Map(), new FormData(), new Blob([]), new Error("e"), () => 1, Promise.resolve()]) {
      await assert.rejects(bodyOf({ json }, (api) => api.webhooks.trigger("bytes", { value })), { code: "request_rejected" });
    }
  },
  async "a json that gives no text sends nothing"() {
    const json = { parse: JSON.parse, stringify: () => undefined };
    await assert.rejects(bodyOf({ json }, (api) => api.webhooks.trigger("bytes", {})), { code: "request_rejected" });
  },
  async "what is no list of triggers sends nothing"() {
    for (const items of [null, 5, "ab", {}, new Map([[1, 2]]), [null], [new Map()], [Promise.resolve({})], [, {}]]) {
      await assert.rejects(createApi({ baseUrl, key }).webhooks.triggerMany(items), { code: "request_rejected" });
    }
  },
  async "a delay that is no number sends nothing"() {
    for (const delay of [NaN, 5n, new Map()]) {
      const failure = await createApi({ baseUrl, key }).webhooks.triggerAsync("bytes", null, null, null, { delay }).catch((e) => e);
      assert.equal(failure.errors?.[0].pointer, "/delay");
    }
  },
};
for (const [name, run] of Object.entries(OTHERS)) {
  await run().catch((error) => problems.push(`${name}: ${error.message}`));
}
process.stdout.write(JSON.stringify({ ...counts, problems, missing }), () => process.exit(0)); // some values keep it alive
