// How the client's calls go on: on a clock that steps, with a relay that answers as a test says.
import assert from "node:assert/strict";
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

for (const status of [429, 503]) {
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
    const { value, error } = await clock.until(api.webhooks.triggerMany(new Array(2_500).fill({ webhookId: "ok" })));
    const fault = ends.indexOf("fault");
    const before = fault < 0 ? ends : ends.slice(0, fault);
    assert.equal(at.length, Math.min(3, before.length + 1));
    if (fault >= 0 && !before.includes("taken")) {
      assert.equal(error.code, "internal");
      return;
    }
    const expected = before.flatMap((end, n) => new Array(n === 2 ? 500 : 1_000).fill(ENDS[end]));
    assert.deepEqual(value.slice(0, expected.length), expected);
    assert.deepEqual(value.slice(expected.length).map(({ problem }) => problem.code), new Array(2_500 - expected.length).fill("internal"));
  });
}

test("the items of an iterable are sent whose iterator cannot be iterated itself", async () => {
  const items = ["one", "two"].map((webhookId) => ({ webhookId }));
  const iterable = { [Symbol.iterator]: () => ({ next: () => (items.length > 0 ? { done: false, value: items.shift() } : { done: true }) }) };
  const { api } = client((_, { body }) => answered(202, { results: JSON.parse(body).map(() => ENDS.taken) }));
  assert.deepEqual((await clock.until(api.webhooks.triggerMany(iterable))).value, [ENDS.taken, ENDS.taken]);
});
