// How the client's calls go on: on a clock that steps, with a relay that answers as a test says.
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { afterEach, beforeEach, test } from "node:test";
import { SteppedClock } from "./stepped_clock.mjs";

const { createApi } = await import(process.env.MODULES + "/webhooks.js");
const REF = "01a22681-27be-74b3-8241-93ca9c8d6835";
const random = Math.random;
let clock;

beforeEach(() => {
  clock = new SteppedClock();
  Math.random = () => 1; // pauses are not shortened
});

afterEach(() => {
  clock.end();
  Math.random = random;
});

function answered(status, document, headers = {}) {
  return new Response(JSON.stringify(document), { status, headers });
}

/** Makes a client of a relay that answers request number n, counted from 0, as `respond(n, request)` says. */
function client(respond, options = {}) {
  const at = [];
  const fetch = async (url, request) => {
    at.push(clock.now);
    return respond(at.length - 1, request);
  };
  return { at, api: createApi({ baseUrl: "https://relay.example", key: "whk_a_b", fetch, ...options }) };
}

const after = (ms, answer) => new Promise((resolve) => setTimeout(() => resolve(answer()), ms));
const gaps = (at) => at.slice(1).map((each, index) => each - at[index]);
const unfinished = () => answered(200, { referenceId: REF, state: "sending", result: null });
const final = () => answered(200, { referenceId: REF, state: "delivered", result: { status: 200, data: 1, error: false } });

test("polls that a relay without room answers at once are made less and less often", async () => {
  const { at, api } = client((n) => (n < 8 ? unfinished() : final()));
  assert.equal((await clock.until(api.webhooks.wait(REF))).value.status, 200);
  assert.deepEqual(gaps(at), [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000, 5_000]);
});

for (const [held, pauses] of [[30_000, false], [15_000, false], [14_999, true]]) {
  test(`a poll that was held for ${held} ms is followed by the next ${pauses ? "after a pause" : "at once"}`, async () => {
    const { at, api } = client((n) => after(held, n < 2 ? unfinished : final));
    await clock.until(api.webhooks.wait(REF));
    assert.deepEqual(gaps(at), pauses ? [held + 250, held + 500] : [held, held]);
  });
}

test("a pause that grew does not stay long once the relay holds answers again", async () => {
  const held = (n) => (n < 3 || n > 4 ? unfinished() : after(20_000, unfinished));
  const { at, api } = client((n) => (n < 7 ? held(n) : final()));
  await clock.until(api.webhooks.wait(REF));
  assert.deepEqual(gaps(at).slice(0, 5), [250, 500, 1_000, 20_000, 20_000]);
});

for (const [after, seconds] of [["0", 0], ["999999999", 999_999_999], ["9999999999", null], ["-1", null], ["1.5", null], ["soon", null], ["", null]]) {
  test(`a Retry-After of "${after}" is told as ${seconds} s`, async () => {
    const { api } = client(() => answered(409, { code: "conflict" }, { "Retry-After": after }));
    assert.equal((await clock.until(api.webhooks.get(REF))).error.retryAfter, seconds);
  });
}

test("without a timeout a wait takes as long as the longest chain and a minute", async () => {
  const { api } = client(() => unfinished());
  assert.equal((await clock.until(api.webhooks.wait(REF))).error.code, "wait_ended");
  assert.equal(clock.now, 960_000);
});

for (const timeout of [NaN, "5000", {}]) {
  test(`a timeout that is ${String(timeout)} is refused by every call, and nothing is sent`, async () => {
    const { at, api } = client(final);
    const { webhooks } = client(final, { timeout }).api;
    const own = { timeout };
    for (const call of [
      () => api.webhooks.trigger("ok", null, null, null, own), () => api.webhooks.triggerAsync("ok", null, null, null, own),
      () => api.webhooks.triggerMany([{ webhookId: "ok" }], own), () => api.webhooks.list(own), () => api.webhooks.describe("ok", own),
      () => api.webhooks.get(REF, own), () => api.webhooks.wait(REF, own), () => webhooks.trigger("ok"),
    ]) {
      assert.equal((await clock.until(call())).error.code, "bad_parameter");
    }
    assert.deepEqual(at, []);
  });
}

for (const timeout of [500, 3_000, 20_000, 100_000]) {
  test(`a wait of ${timeout} ms ends in time and asks for no more than is left`, async () => {
    const asked = [];
    const { at, api } = client((n, request) => {
      asked.push(Number(/wait=(\d+)/.exec(request.headers.Prefer ?? "wait=0")[1]));
      return unfinished();
    });
    const { error } = await clock.until(api.webhooks.wait(REF, { timeout }));
    assert.equal(error.code, "wait_ended");
    assert.equal(clock.now, timeout);
    assert.deepEqual(asked, at.map((each) => Math.min(30, Math.floor((timeout - each) / 1_000))));
  });

  test(`within ${timeout} ms a request that hangs is given up when no answer can come in time any more`, async () => {
    const ended = [];
    const { api } = client((_, { signal }) => new Promise((_resolve, reject) => {
      signal.addEventListener("abort", () => (ended.push(clock.now), reject(new TypeError("aborted"))));
    }));
    const { error } = await clock.until(api.webhooks.get(REF, { timeout }));
    assert.equal(error.code, "unavailable");
    assert.equal(ended[0], Math.min(45_000, timeout + 1_000));
    assert.ok(clock.now <= timeout + 2_000 + 45_000);
  });
}

test("what the relay refuses for now is tried six times, with pauses that double", async () => {
  const { at, api } = client(() => answered(503, { code: "unavailable" }));
  const { error } = await clock.until(api.webhooks.get(REF));
  assert.equal(error.code, "unavailable");
  assert.deepEqual(gaps(at), [250, 500, 1_000, 2_000, 4_000]);
});

test("a pause is at least half as long as it may be, and what the relay asked for", async () => {
  Math.random = () => 0;
  for (const [headers, expected] of [[{}, [125, 250, 500, 1_000, 2_000]], [{ "Retry-After": "7" }, new Array(5).fill(7_125)]]) {
    const { at, api } = client(() => answered(503, { code: "unavailable" }, headers));
    await clock.until(api.webhooks.get(REF));
    assert.deepEqual(gaps(at), expected);
  }
});

for (const status of [429, 502, 503, 504]) {
  for (const [seconds, tries] of [[0, 6], [1, 6], [30, 6], [31, 1], [3_600, 1]]) {
    test(`a ${status} that says to come again in ${seconds} s is tried ${tries} times`, async () => {
      const { at, api } = client(() => answered(status, { code: "busy" }, { "Retry-After": String(seconds) }));
      const { error } = await clock.until(api.webhooks.get(REF));
      assert.equal(error.retryAfter, seconds);
      assert.deepEqual(gaps(at), new Array(tries - 1).fill(seconds * 1_000 + 250));
    });
  }
}

for (const [timeout, tries] of [[1_249, 1], [1_250, 2], [2_499, 2], [2_500, 3]]) {
  test(`a try that could begin only after ${timeout} ms are over is not made`, async () => {
    const { at, api } = client(() => answered(503, { code: "unavailable" }, { "Retry-After": "1" }));
    await clock.until(api.webhooks.get(REF, { timeout }));
    assert.equal(at.length, tries);
  });
}

test("a second trouble within one wait has all its tries", async () => {
  const bad = () => answered(503, { code: "unavailable" });
  const { at, api } = client((n) => ((n >= 1 && n <= 5) || (n >= 7 && n <= 11) ? bad() : n === 12 ? final() : unfinished()));
  assert.equal((await clock.until(api.webhooks.wait(REF))).value.status, 200);
  assert.equal(at.length, 13);
});

for (const [outcomes, revision, code] of [
  [["webhook_not_registered"], 1, "webhook_not_registered"],
  [["connect_failed", "webhook_not_registered"], 1, "webhook_not_registered"],
  [["webhook_not_registered", "request_rejected"], 1, "request_rejected"],
  [["connect_failed", "request_rejected"], 1, "request_rejected"],
  [[], 1, "request_rejected"],
  [[], null, "webhook_not_registered"],
]) {
  test(`a call whose attempts ended ${outcomes} at revision ${revision} was rejected as ${code}`, async () => {
    const attempts = outcomes.map((outcome, n) => ({ number: n + 1, outcome }));
    const { api } = client(() => answered(200, { referenceId: REF, state: "rejected", result: null, attempts, revision }));
    const { error } = await clock.until(api.webhooks.wait(REF));
    assert.deepEqual([error.code, error.referenceId], [code, REF]);
  });
}

const TAKES = { jpeg: { payloadEncoding: "base64", payload: "json" }, form: { payloadEncoding: "json", payload: "multipart" } };
const GIVEN = { base64: () => new Uint8Array([1, 2]), multipart: () => ({ scan: new Blob(["ab"]) }) };
const GIFTS = Object.keys(TAKES).flatMap((id) => Object.keys(GIVEN).map((kind) => [id, kind]));

for (const [first, second] of GIFTS.flatMap((one) => GIFTS.map((other) => [one, other]))) {
  test(`after ${first.join(" was given ")}, ${second.join(" given ")} is sent only if the webhook takes that`, async () => {
    const described = (id) => answered(200, { id, description: "", dataSchema: null, headers: [], queryParams: [], ...TAKES[id] });
    const done = answered(200, { referenceId: REF, status: 200, data: null, error: false });
    let id;
    const { api } = client((_, { method }) => (method === "GET" ? described(id) : done.clone()));
    for (const [webhookId, kind] of [first, second]) {
      id = webhookId;
      const { value, error } = await clock.until(api.webhooks.trigger(webhookId, GIVEN[kind]()));
      const isTaken = Object.values(TAKES[webhookId]).includes(kind);
      assert.deepEqual([value?.status, error?.code], isTaken ? [200, undefined] : [undefined, "request_rejected"]);
    }
  });
}

for (const [reason, name] of [[undefined, "AbortError"], [new DOMException("late", "TimeoutError"), "TimeoutError"], [new Error("mine"), "AbortError"], ["mine", "AbortError"]]) {
  test(`a call that is aborted because of ${reason} ends with an ${name} that names the reason and the call`, async () => {
    const stop = new AbortController();
    const { api } = client((_, { signal }) => new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(new TypeError("aborted")))));
    setTimeout(() => stop.abort(reason), 1_000);
    const { error } = await clock.until(api.webhooks.trigger("ok", null, null, null, { signal: stop.signal, idempotencyKey: "key-1" }));
    assert.equal(clock.now, 1_000);
    assert.deepEqual([error.name, error.cause, error.idempotencyKey, error.referenceId], [name, stop.signal.reason, "key-1", null]);
  });
}

// What becomes of a group of items: each is taken, each is refused, or a fault of the whole group.
const ENDS = { taken: { referenceId: REF, state: "queued" }, refused: { problem: { code: "request_rejected" } } };
const KINDS = ["taken", "refused", "fault"];

for (const ends of KINDS.flatMap((one) => KINDS.flatMap((two) => KINDS.map((three) => [one, two, three])))) {
  test(`of groups of which ${ends.join(", ")}, a fault is thrown unless an item of an earlier one was taken`, async () => {
    const { at, api } = client((n, { body }) => (ends[n] === "fault" ? answered(500, { code: "internal" }) : answered(202, { results: JSON.parse(body).map(() => ENDS[ends[n]]) })));
    const items = Array.from({ length: 2_500 }, (_, n) => ({ webhookId: "ok", idempotencyKey: `k${n}` }));
    const { value, error } = await clock.until(api.webhooks.triggerMany(items));
    const fault = ends.indexOf("fault");
    const before = fault < 0 ? ends : ends.slice(0, fault);
    assert.equal(at.length, Math.min(3, before.length + 1));
    if (fault >= 0 && !before.includes("taken")) {
      assert.equal(error.code, "internal");
      assert.deepEqual(error.idempotencyKeys, items.map(({ idempotencyKey }) => idempotencyKey));
      return;
    }
    const expected = before.flatMap((end, n) => new Array(n === 2 ? 500 : 1_000).fill(ENDS[end]));
    assert.deepEqual(value.slice(0, expected.length), expected);
    assert.deepEqual(value.slice(expected.length).map(({ problem }) => problem.code), new Array(2_500 - expected.length).fill("internal"));
  });
}

for (const more of [0, 1]) {
  test(`items of four MiB and ${more} bytes are sent in ${more + 1} groups`, async () => {
    const bodies = [];
    const { api } = client((_, { body }) => (bodies.push(body), answered(202, { results: JSON.parse(body).map(() => ENDS.taken) })));
    const item = (data) => ({ webhookId: "ok", data, idempotencyKey: "k" });
    const own = JSON.stringify(item("")).length + 1; // with a comma
    const half = 2 * 1024 * 1024 - own;
    await clock.until(api.webhooks.triggerMany([item("x".repeat(half)), item("x".repeat(half + more))]));
    assert.equal(bodies.length, more + 1);
    assert.deepEqual(bodies.flatMap((body) => JSON.parse(body)).map(({ data }) => data.length), [half, half + more]);
  });
}

test("the items of an iterable are sent whose iterator cannot be iterated itself", async () => {
  const items = ["one", "two"].map((webhookId) => ({ webhookId }));
  const iterable = { [Symbol.iterator]: () => ({ next: () => (items.length > 0 ? { done: false, value: items.shift() } : { done: true }) }) };
  const { api } = client((_, { body }) => answered(202, { results: JSON.parse(body).map(() => ENDS.taken) }));
  assert.deepEqual((await clock.until(api.webhooks.triggerMany(iterable))).value, [ENDS.taken, ENDS.taken]);
});

// Every call of the client, as it is made with these options; those that have data have bytes, so that the webhook is looked up first.
const CALLS = {
  trigger: (webhooks, options) => webhooks.trigger("jpeg", new Uint8Array([1]), null, null, options),
  triggerAsync: (webhooks, options) => webhooks.triggerAsync("jpeg", new Uint8Array([1]), null, null, options),
  triggerMany: (webhooks, options) => webhooks.triggerMany(new Array(1_100).fill({ webhookId: "jpeg", data: new Uint8Array([1]) }), options),
  list: (webhooks, options) => webhooks.list(options),
  describe: (webhooks, options) => webhooks.describe("jpeg", options),
  get: (webhooks, options) => webhooks.get(REF, options),
  wait: (webhooks, options) => webhooks.wait(REF, options),
};
const describes = (more) => answered(200, { id: "jpeg", description: "", dataSchema: null, headers: [], queryParams: [], payloadEncoding: null, ...more });

/** Answers any request as a relay does that takes all. */
function willing(url, { method, body }, takes = { payloadEncoding: "base64" }) {
  if (method === "GET" && url.includes("/webhooks/")) return describes(takes);
  if (url.endsWith("/v1/triggers")) return answered(202, { results: JSON.parse(body).map(() => ENDS.taken) });
  if (method === "POST") return answered(200, { referenceId: REF, state: "queued", status: 200, data: 1, error: false });
  return url.endsWith("/webhooks") ? answered(200, { webhooks: [] }) : final();
}

const hanging = (signal) => new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(new TypeError("aborted"))));

for (const [name, call] of Object.entries(CALLS)) {
  for (const number of [0, 1, 2].slice(0, { trigger: 2, triggerAsync: 2, triggerMany: 3 }[name] ?? 1)) {
    for (const [own, usual] of [[3_000, undefined], [undefined, 3_000], [0, undefined], [0, 3_000]]) {
      test(`${name} gives up request ${number} that hangs in its own time ${own}, or else the client's ${usual}`, async () => {
        const sent = [];
        const fetch = (url, request) => (sent.push(clock.now), sent.length > number ? hanging(request.signal) : after(500, () => willing(url, request)));
        const { webhooks } = createApi({ baseUrl: "https://relay.example", key: "k", fetch, timeout: usual });
        const { value, error } = await clock.until(call(webhooks, own === undefined ? {} : { timeout: own }));
        assert.equal(error?.code ?? value.at(-1).problem.code, "unavailable");
        const begun = name === "triggerMany" ? sent[number] : 0; // of which each group has all the time
        const left = Math.max(begun + (own ?? usual) - sent[number], 0) + 1_000;
        assert.equal((sent[number + 1] ?? clock.now) - sent[number] - (sent[number + 1] ? 250 : 0), left);
      });
    }

    test(`${name} is aborted by its signal in request ${number}, and leaves nothing at the signal`, async () => {
      const stop = new AbortController();
      let requests = 0;
      const fetch = (url, request) => ((requests += 1) > number ? (setTimeout(() => stop.abort(), 100), hanging(request.signal)) : willing(url, request));
      const { webhooks } = createApi({ baseUrl: "https://relay.example", key: "k", fetch });
      const { value, error } = await clock.until(call(webhooks, { signal: stop.signal }));
      assert.equal(error?.name ?? value.at(-1).problem.code, error ? "AbortError" : "aborted");
      assert.equal(clock.now, 100);
      assert.equal(getEventListeners(stop.signal, "abort").length, 0);
    });
  }

  test(`${name} with a signal that was aborted before sends nothing`, async () => {
    const { at, api } = client(() => final());
    const { error } = await clock.until(call(api.webhooks, { signal: AbortSignal.abort() }));
    assert.deepEqual([error.name, at], ["AbortError", []]);
  });

  test(`${name} asks without cookies, caches and redirects, and leaves nothing at its signal`, async () => {
    const [stop, sent] = [new AbortController(), []];
    const fetch = async (url, request) => (sent.push([url, request]), sent.length === 1 ? answered(503, { code: "unavailable" }) : willing(url, request));
    const { webhooks } = createApi({ baseUrl: "https://relay.example/a/b//", key: "whk_a_b", fetch });
    assert.equal((await clock.until(call(webhooks, { signal: stop.signal }))).error, undefined);
    assert.ok(sent.length > 1);
    for (const [url, request] of sent) {
      assert.ok(url.startsWith("https://relay.example/a/b/v1/"), url);
      assert.deepEqual([request.credentials, request.cache, request.redirect], ["omit", "no-store", "manual"]);
      assert.equal(request.headers.Authorization, "Bearer whk_a_b");
      assert.equal(request.headers["Content-Type"], request.body && "application/json");
    }
    assert.equal("Prefer" in sent.at(-1)[1].headers, ["wait", "trigger", "triggerAsync"].includes(name));
    assert.equal(getEventListeners(stop.signal, "abort").length, 0);
    assert.equal(clock.timers.size, 0); // which would keep a process of Node alive
  });
}

for (const [name, call] of Object.entries(CALLS)) {
  test(`${name} reads and writes with the caller's own json alone`, async () => {
    const [bodies, read, written] = [[], [], []];
    const json = {
      parse: (text) => (read.push(text), JSON.parse(text.replace("own:", ""))),
      stringify: (value) => (written.push(`own:${JSON.stringify(value)}`), written.at(-1)),
    };
    const fetch = async (url, request) => {
      if (request.body) bodies.push(request.body);
      return new Response(`own:${await willing(url, { ...request, body: request.body?.replaceAll("own:", "") }).text()}`);
    };
    const { webhooks } = createApi({ baseUrl: "https://relay.example", key: "k", fetch, json });
    assert.equal((await clock.until(call(webhooks))).error, undefined);
    assert.ok(read.length > 0 && read.every((text) => text.startsWith("own:")));
    assert.equal(bodies.map((body) => body.replace(/^\[|\]$/g, "")).join(), written.join());
    assert.equal(written.length, { trigger: 1, triggerAsync: 1, triggerMany: 1_100 }[name] ?? 0);
  });
}

for (const [pause, name] of [["Retry-After", "get"], ["a record that is unfinished", "wait"]]) {
  test(`a signal ends the pause after ${pause} at once`, async () => {
    const stop = new AbortController();
    const { api } = client(() => (name === "get" ? answered(503, { code: "unavailable" }, { "Retry-After": "20" }) : unfinished()));
    setTimeout(() => stop.abort(), 3_000);
    const { error } = await clock.until(api.webhooks[name](REF, { signal: stop.signal }));
    assert.deepEqual([error.name, error.referenceId, clock.now], ["AbortError", REF, 3_000]);
    assert.equal(getEventListeners(stop.signal, "abort").length, 0);
    assert.equal(clock.timers.size, 0);
  });
}

for (const [what, tries, options] of [["of six tries", 6, {}], ["that the time allows", 1, { timeout: 100 }]]) {
  test(`a call that is aborted in the last ${what} ends as aborted, not as unavailable`, async () => {
    const stop = new AbortController();
    const { at, api } = client((n, { signal }) => {
      if (n + 1 < tries) return answered(503, { code: "unavailable" });
      setTimeout(() => stop.abort(), 50);
      return hanging(signal);
    });
    const { error } = await clock.until(api.webhooks.get(REF, { signal: stop.signal, ...options }));
    assert.deepEqual([error.name, at.length], ["AbortError", tries]);
  });
}

for (const [status, code] of Object.entries({ 302: "internal", 401: "unauthenticated", 403: "forbidden", 404: "internal", 413: "too_large", 429: "rate_limited", 500: "internal", 502: "unavailable", 503: "unavailable", 504: "unavailable" })) {
  for (const document of [null, [], {}, { code: 5 }, "busy"]) {
    test(`a ${status} with ${JSON.stringify(document)} is ${code}, and says when to come again`, async () => {
      const { api } = client(() => answered(Number(status), document, { "Retry-After": "40" }));
      const { error } = await clock.until(api.webhooks.list({ timeout: 0 }));
      assert.deepEqual([error.name, error.code, error.status, error.retryAfter], ["WebhookError", code, Number(status), 40]);
    });
  }
}

for (const [status, isRead] of [[200, true], [299, true], [300, false], [304, false]]) {
  test(`of a ${status} the record is ${isRead ? "" : "not "}read`, async () => {
    const record = { referenceId: REF, state: "queued", result: null };
    const { at, api } = client(() => Object.defineProperty(answered(200, record), "status", { value: status }));
    const { value, error } = await clock.until(api.webhooks.get(REF));
    assert.deepEqual([value, error?.code, at.length], isRead ? [record, undefined, 1] : [undefined, "internal", 1]);
  });
}

for (const [said, message] of [[{ detail: "d", title: "t" }, "d"], [{ title: "t" }, "t"], [{}, "conflict"]]) {
  test(`a problem that says ${JSON.stringify(said)} has the message ${message}, its status and its invocation`, async () => {
    const { api } = client(() => answered(409, { code: "conflict", referenceId: "r-2", errors: "none", ...said }));
    const { error } = await clock.until(api.webhooks.wait(REF));
    assert.deepEqual([error.code, error.message, error.status, error.referenceId, error.errors], ["conflict", message, 409, "r-2", []]);
  });
}

test("a relay that cannot be reached is unavailable because of what fetch said", async () => {
  const cause = new TypeError("lost");
  const { api } = client(() => Promise.reject(cause));
  const { error } = await clock.until(api.webhooks.get(REF));
  assert.deepEqual([error.code, error.status, error.cause, error.referenceId], ["unavailable", 0, cause, REF]);
  assert.deepEqual([error.errors, error.idempotencyKey, error.idempotencyKeys, error.retryAfter], [[], null, [], null]);
});

for (const count of [0, 1, 3]) {
  test(`${count} results for two items cannot be read`, async () => {
    const { api } = client(() => answered(202, { results: new Array(count).fill(ENDS.taken) }));
    const { error } = await clock.until(api.webhooks.triggerMany([{ webhookId: "a" }, { webhookId: "b" }]));
    assert.equal(error.code, "internal");
  });
}

for (const place of [0, 1, 2]) {
  for (const [data, pointer, kind] of [[() => new Uint8Array(2), "/data", 'payload_encoding "base64"'], [() => ({ a: 1, "b/c": new Blob(["x"]) }), "/data/b~1c", 'payload "multipart"']]) {
    test(`data of item ${place} that its webhook does not take is refused at its place ${pointer}`, async () => {
      const { at, api } = client(() => describes());
      const items = [0, 1, 2].map((n) => ({ webhookId: `hook-${n}`, data: n === place ? data() : "text" }));
      const { error } = await clock.until(api.webhooks.triggerMany(items));
      assert.deepEqual([error.code, error.errors.map((each) => each.pointer), at.length], ["request_rejected", [`/${place}${pointer}`], 1]);
      assert.ok(error.errors[0].message.endsWith(`the webhook is not registered with ${kind}`), error.message);
    });
  }

  test(`an item that is too large alone, number ${place}, has neither a key nor an influence on the others`, async () => {
    const fetch = async (_, { body }) => (body.includes("large") ? answered(413, { code: "too_large" }) : answered(202, { results: JSON.parse(body).map(({ webhookId }) => ({ ...ENDS.taken, webhookId })) }));
    const { webhooks } = createApi({ baseUrl: "https://relay.example", key: "k", fetch });
    const ids = [0, 1, 2].map((n) => (n === place ? "large" : `hook-${n}`));
    const { value } = await clock.until(webhooks.triggerMany(ids.map((webhookId) => ({ webhookId }))));
    assert.deepEqual(value.map(({ webhookId, problem }) => webhookId ?? Object.keys(problem)), ids.map((id) => (id === "large" ? ["code", "detail"] : id)));
  });
}

for (const [give, pointer] of [[(blob) => blob, ""], [(blob) => ({ a: 1, "b/c": blob }), "/b~1c"], [(blob) => ({ a: new Blob(["x"]), z: blob }), "/z"]]) {
  test(`a file that cannot be read any more is refused at its place /data${pointer}, and nothing is sent`, async () => {
    const gone = Object.assign(new Blob(["x"]), { arrayBuffer: () => Promise.reject(new DOMException("gone", "NotFoundError")) });
    const sent = [];
    const fetch = async (url, request) => (sent.push(request.method), willing(url, request, { payloadEncoding: "base64", payload: "multipart" }));
    const { webhooks } = createApi({ baseUrl: "https://relay.example", key: "k", fetch });
    for (const [prefix, call] of [["", () => webhooks.trigger("ok", give(gone))], ["/1", () => webhooks.triggerMany([{ webhookId: "ok" }, { webhookId: "ok", data: give(gone) }])]]) {
      const { error } = await clock.until(call());
      assert.deepEqual([error.code, error.errors.map((each) => each.pointer)], ["request_rejected", [`${prefix}/data${pointer}`]]);
    }
    assert.ok(sent.every((method) => method === "GET"), sent);
  });
}

test("a webhook is asked again what it takes until it takes that, and then no more", async () => {
  const [sent, takes] = [[], [{}, { payloadEncoding: "base64" }, {}]];
  const fetch = async (url, request) => (sent.push(request.method), willing(url, request, request.method === "GET" ? takes.shift() : {}));
  const { webhooks } = createApi({ baseUrl: "https://relay.example", key: "k", fetch });
  const ends = [];
  for (let n = 0; n < 3; n += 1) ends.push((await clock.until(CALLS.trigger(webhooks))).error?.code);
  assert.deepEqual([ends, sent], [["request_rejected", undefined, undefined], ["GET", "GET", "POST", "POST"]]);
});

for (const missing of ["id", "description", "dataSchema", "headers", "queryParams", "payloadEncoding"]) {
  test(`a description without ${missing} cannot be read`, async () => {
    const { api } = client(() => describes({ [missing]: undefined }));
    assert.equal((await clock.until(api.webhooks.describe("jpeg"))).error.code, "internal");
  });
}

for (const missing of ["referenceId", "state", "result"]) {
  for (const name of ["get", "wait"]) {
    test(`a record without ${missing} cannot be read by ${name}`, async () => {
      const { api } = client(() => answered(200, { referenceId: REF, state: "delivered", result: { status: 200, data: 1, error: false }, [missing]: undefined }));
      assert.equal((await clock.until(api.webhooks[name](REF))).error.code, "internal");
    });
  }
}

// Answers of which no member may be missing, by the call that reads them.
const ANSWERS = {
  list: [200, { webhooks: [] }],
  trigger: [200, { referenceId: REF, status: 200, data: 1, error: false }],
  triggerAsync: [202, { referenceId: REF, state: "queued" }],
  triggerMany: [202, { results: [ENDS.taken] }],
};
const CALLED = { list: [], trigger: ["ok"], triggerAsync: ["ok"], triggerMany: [[{ webhookId: "ok" }]] };

for (const [name, [status, document]] of Object.entries(ANSWERS)) {
  for (const given of [null, "text", [], ...Object.keys(document).map((missing) => ({ ...document, [missing]: undefined }))]) {
    test(`an answer ${JSON.stringify(given)} cannot be read by ${name}`, async () => {
      const { api } = client(() => answered(status, given));
      assert.equal((await clock.until(api.webhooks[name](...CALLED[name]))).error?.code, "internal");
    });
  }
}

test("a trigger that goes on without a reference id cannot be read", async () => {
  const { api } = client(() => answered(202, { state: "queued" }));
  assert.equal((await clock.until(api.webhooks.trigger("ok"))).error.code, "internal");
});

for (const [name, status] of [["trigger", 200], ["trigger", 202], ["triggerAsync", 202]]) {
  test(`an answer ${status} that ${name} cannot read leaves the caller the idempotency key that was sent`, async () => {
    const sent = [];
    const { api } = client((_n, { headers }) => {
      sent.push(headers["Idempotency-Key"]);
      return answered(status, []);
    });
    const { error } = await clock.until(api.webhooks[name]("ok"));
    assert.deepEqual([error.idempotencyKey], sent);
  });
}

for (const state of ["queued", "sending", "retrying", "waiting", "unreachable", "interrupted"]) {
  const isFinal = state === "unreachable" || state === "interrupted";
  test(`a wait ${isFinal ? "ends" : "goes on"} when the state is ${state}`, async () => {
    const result = isFinal ? { status: 0, data: null, error: true } : null;
    const { at, api } = client((n) => (n === 0 ? answered(200, { referenceId: REF, state, result }) : final()));
    assert.equal((await clock.until(api.webhooks.wait(REF))).value.status, isFinal ? 0 : 200);
    assert.equal(at.length, isFinal ? 1 : 2);
  });
}

for (const name of ["get", "wait"]) {
  for (const id of ["..", "\ud800", "a/b", 5]) {
    test(`${name} of ${JSON.stringify(id)}, which can be no reference id, finds nothing and sends nothing`, async () => {
      const { at, api } = client(final);
      const { error } = await clock.until(api.webhooks[name](id));
      assert.deepEqual([error.code, at], ["not_found", []]);
    });
  }
}

test("what JSON.rawJSON made, where an engine has it, is left to JSON", async () => {
  const [{ isRawJSON }, given] = [JSON, []];
  const number = Object.freeze(Object.assign(Object.create(null), { rawJSON: "12345678901234567890" }));
  JSON.isRawJSON = (value) => value === number;
  const json = { parse: JSON.parse, stringify: (value) => (given.push(value), JSON.stringify(value)) };
  const { api } = client(() => answered(200, { referenceId: REF, status: 200, data: null, error: false }), { json });
  const { error } = await clock.until(api.webhooks.trigger("ok", { number }));
  JSON.isRawJSON = isRawJSON;
  assert.deepEqual([error, given[0].data.number === number], [undefined, true]);
});

for (const value of [new WeakMap(), new Map().values(), function* () {}]) {
  test(`the caller's own json is not given ${Object.prototype.toString.call(value)}, of which it cannot know more`, async () => {
    const { at, api } = client(final, { json: { parse: JSON.parse, stringify: JSON.stringify } });
    const { error } = await clock.until(api.webhooks.trigger("ok", { value }));
    assert.deepEqual([error?.code, error?.errors[0]?.pointer, at], ["request_rejected", "/data/value", []]);
  });
}

test("each member whose name is no text is one fault, and the others are checked", async () => {
  const { at, api } = client(final);
  const { error } = await clock.until(api.webhooks.trigger("ok", { [Symbol("five")]: 5, a: { [Symbol("six")]: 6, b: NaN }, c: NaN }));
  assert.deepEqual([error.errors.map(({ pointer }) => pointer), at], [["/data/a/b", "/data/a", "/data/c", "/data"], []]);
});

for (const [levels, isTaken] of [[100, true], [101, false]]) {
  test(`data of ${levels} levels is ${isTaken ? "sent" : "refused"}`, async () => {
    let data = [];
    for (let level = 1; level < levels; level += 1) data = level % 2 ? { data } : [data];
    const { at, api } = client(() => answered(200, { referenceId: REF, status: 200, data: null, error: false }));
    const { error } = await clock.until(api.webhooks.trigger("ok", data));
    assert.deepEqual([error?.code, at.length], isTaken ? [undefined, 1] : ["request_rejected", 0]);
  });
}

test("no more than twenty faults are named, with pointers of bounded length", async () => {
  const { at, api } = client(() => final());
  for (const data of [new Array(30).fill(NaN), { ["x".repeat(400)]: NaN }]) {
    const { error } = await clock.until(api.webhooks.trigger("ok", data));
    assert.deepEqual([error.errors.length, error.errors[0].pointer.length], Array.isArray(data) ? [20, 7] : [1, 256]);
    assert.equal(error.message.endsWith("(and 19 more)"), Array.isArray(data));
  }
  const { error } = await clock.until(api.webhooks.triggerMany(new Array(30).fill({ webhookId: "ok", data: NaN })));
  assert.deepEqual([error.errors.length, error.errors.at(-1).pointer, at], [20, "/19/data", []]);
});

test("each trigger and each item without a key gets one of its own, also where the engine makes no UUIDs", async () => {
  for (const randomUUID of [crypto.randomUUID, undefined]) {
    Object.defineProperty(crypto, "randomUUID", { value: randomUUID, configurable: true });
    const keys = [];
    const fetch = async (url, request) => {
      keys.push(...(url.endsWith("triggers") ? JSON.parse(request.body).map((each) => each.idempotencyKey) : [request.headers["Idempotency-Key"]]));
      return willing(url, request);
    };
    const { webhooks } = createApi({ baseUrl: "HTTPS://relay.example", key: "k", fetch });
    const items = [{ webhookId: "a" }, { webhookId: "a", idempotencyKey: "own" }, { webhookId: "a", idempotencyKey: null }];
    await clock.until(Promise.all([webhooks.trigger("a"), webhooks.triggerAsync("a", null, null, null, { idempotencyKey: "mine" }), webhooks.triggerMany(items)]));
    assert.deepEqual([keys.length, new Set(keys).size, keys.includes("own"), keys.includes("mine")], [5, 5, true, true]);
    const form = randomUUID ? /^[0-9a-f-]{36}$/ : /^[0-9a-f]{32}$/;
    assert.ok(keys.every((key) => ["own", "mine"].includes(key) || form.test(key)), keys);
  }
  delete crypto.randomUUID;
});

test("an idempotency key that is empty is refused", async () => {
  const { at, api } = client(() => final());
  const { error } = await clock.until(api.webhooks.trigger("ok", null, null, null, { idempotencyKey: "" }));
  assert.deepEqual([error.code, at], ["bad_parameter", []]);
});

for (const [errors, read] of [[undefined, []], [null, []], ["none", []], [{ message: "no" }, []], [[], []], [[null, "/a", ["/a"], {}], []], [[null, { pointer: "/a", message: "no" }], [{ pointer: "/a", message: "no" }]]]) {
  test(`of a problem with the errors ${JSON.stringify(errors)}, those that can be read are told`, async () => {
    const { api } = client(() => answered(422, { code: "request_rejected", detail: "It does not fit.", referenceId: REF, errors }));
    const { error } = await clock.until(api.webhooks.triggerAsync("ok"));
    assert.deepEqual([error.name, error.code, error.referenceId, error.errors], ["WebhookError", "request_rejected", REF, read]);
    assert.equal(error.message, `It does not fit.${read.length ? " /a: no" : ""}`);
  });
}

// A browser does not say why a request failed: of another origin, it may be withheld for want of the key's right.
for (const page of ["https://page.example", "https://relay.example", undefined]) {
  for (const [module, took, before] of [["read", 4_999, false], ["refused", 100, false], ["lost", 100, false], ["read", 5_000, false], ["read", 100, true]]) {
    const isWithheld = page === "https://page.example" && module === "read" && took < 5_000 && !before;
    test(`on ${page}, ${before ? "after an answer, " : ""}requests that fail after ${took} ms while the module is ${module} are ${isWithheld ? "forbidden" : "unavailable"}`, async () => {
      globalThis.location = page && { origin: page };
      let [isLost, questions] = [!before, 0];
      const fetch = async (_, { method }) => {
        questions += method === "HEAD";
        if (method === "HEAD" && module !== "lost") return module === "read" ? new Response() : answered(404, null);
        if (!isLost) return final();
        await after(took, () => null);
        throw new TypeError("lost");
      };
      const { webhooks } = createApi({ baseUrl: "https://relay.example/", key: "k", fetch });
      if (before) assert.equal((await clock.until(webhooks.get(REF))).value.state, "delivered");
      isLost = true;
      const { error } = await clock.until(webhooks.get(REF));
      delete globalThis.location;
      assert.equal(error.code, isWithheld ? "forbidden" : "unavailable");
      assert.equal(questions > 0, page === "https://page.example" && !before);
      if (isWithheld) assert.ok(error.message.includes(`--origin ${page}`), error.message);
    });
  }
}

const lost = async () => { throw new TypeError("lost"); };

test("a page that gets an answer, if only that the relay is busy, is not told that it may not use it", async () => {
  globalThis.location = { origin: "https://page.example" };
  const answers = [lost, () => answered(503, { code: "unavailable" }), final];
  const fetch = async (_, { method }) => (method === "HEAD" ? new Response() : answers.shift()());
  const { webhooks } = createApi({ baseUrl: "https://relay.example", key: "k", fetch });
  const { value } = await clock.until(webhooks.get(REF));
  delete globalThis.location;
  assert.equal(value?.state, "delivered");
});

test("a call that is aborted when its page is about to be told that it may not use the relay ends as aborted", async () => {
  globalThis.location = { origin: "https://page.example" };
  const stop = new AbortController();
  let sent = 0;
  const fetch = async (_, { method, signal }) => {
    if (method === "HEAD") return new Response();
    sent += 1;
    if (sent === 1) return lost();
    setTimeout(() => stop.abort(), 50);
    return hanging(signal);
  };
  const { webhooks } = createApi({ baseUrl: "https://relay.example", key: "k", fetch });
  const { error } = await clock.until(webhooks.get(REF, { signal: stop.signal }));
  delete globalThis.location;
  assert.deepEqual([error.name, sent], ["AbortError", 2]);
});

for (const [timeout, abortMs, ended, most] of [[100, null, "unavailable", 100], [1_000, null, "unavailable", 1_000], [20_000, null, "unavailable", 20_000], [960_000, null, "unavailable", 25_000], [960_000, 700, "AbortError", 700]]) {
  test(`of ${timeout} ms, a call takes at most ${most} while questions for the module get no answer${abortMs ? ", and it is aborted" : ""}`, async () => {
    globalThis.location = { origin: "https://page.example" };
    const stop = new AbortController();
    const fetch = (_, { method, signal }) => (method === "HEAD" ? hanging(signal) : lost());
    const { webhooks } = createApi({ baseUrl: "https://relay.example", key: "k", fetch });
    if (abortMs !== null) setTimeout(() => stop.abort(), abortMs);
    const { error } = await clock.until(webhooks.get(REF, { timeout, signal: stop.signal }));
    delete globalThis.location;
    assert.ok([error?.name, error?.code].includes(ended), error);
    assert.ok(clock.now <= most, clock.now);
    assert.deepEqual([getEventListeners(stop.signal, "abort").length, clock.timers.size], [0, 0]);
  });
}
