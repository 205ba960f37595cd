// Each of the console's views as a user sees it, in every state that the relay may answer with. The pictures are in
// `pictures.txt`; after a change that is meant, `WRITE_PICTURES=1` writes them anew, for people to read.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { after, afterEach, beforeEach, test } from "node:test";
import { pictured } from "./small_document.mjs";
import { SmallPage } from "./small_page.mjs";
import { SteppedClock } from "./stepped_clock.mjs";

const page = new SmallPage();
const load = (name) => import(`${process.env.MODULES}/console/${name}.js`);
const { filterBar } = await load("filters");
const { resultPanel } = await load("views/result");
const view = {};
for (const name of ["invocation", "invocations", "overview", "replay", "replay_new", "replays", "webhooks"]) view[name] = await load(`views/${name}`);

const NOW = Date.UTC(2026, 0, 31, 12);
const S = 1_000;
const MINUTE = 60 * S;
const at = (ms) => new Date(NOW + ms).toISOString();
const reference = (number) => `${String(number).padStart(8, "0")}-0000-7000-8000-00000000000${number}`;
const problem = (status, detail, more = {}) => new Response(JSON.stringify({ code: "some_code", title: "A title", detail, ...more }), { status });
let clock;

beforeEach(() => {
  clock = new SteppedClock(NOW);
  page.asked = [];
});

afterEach(() => {
  page.stop?.abort();
  clock.end();
});

const PLACE = new URL("pictures.txt", import.meta.url);
const kept = new Map(readFileSync(PLACE, "utf8").split(/^== /m).slice(1).map((part) => part.trim().split("\n")).map(([name, ...lines]) => [name, lines]));

/** Asserts that what is seen of an element, or of several, is the picture that `pictures.txt` has under a name. */
function sees(name, ...roots) {
  const lines = roots.flatMap((root) => (Array.isArray(root) ? root : pictured(root)));
  if (process.env.WRITE_PICTURES) kept.set(name, lines);
  else assert.deepEqual(lines, kept.get(name));
}

after(() => process.env.WRITE_PICTURES && writeFileSync(PLACE, [...kept].map(([name, lines]) => [`== ${name}`, ...lines, ""].join("\n")).join("\n")));

/** Answers by path. */
const answering = (answers) => ({ path, method, query }) => {
  const answer = answers[`${method} ${path}`] ?? answers[path] ?? {};
  return typeof answer === "function" ? answer(query) : answer instanceof Response ? answer.clone() : answer;
};

// -- the overview ----------------------------------------------------------------------------------------------------

const minute = (n, final, errors, p95Ms = null) => ({ start: at(n * MINUTE), accepted: 9, errors, final, p50Ms: p95Ms && 10, p95Ms, p99Ms: p95Ms && 3_000 });
const lane = (name, pending, oldestSeconds, workers) => ({ lane: name, pending, oldestSeconds, workers });
const group = (webhookId, outcome, status, count) => ({ webhookId, outcome, status, count, firstAt: at(-50 * S), lastAt: at(-20 * S) });
const QUIET = { webhooks: [], buckets: [], lanes: [lane("interactive", 0, null, 1), lane("bulk", 0, null, 1), lane("replay", 0, null, 1)], minutes: [], groups: [], complete: true, status: "ready" };
const BUSY = {
  ...QUIET,
  webhooks: [{ webhookId: "other" }, { webhookId: "hook" }],
  buckets: [minute(-30, { delivered: 30 }, 0, 90), minute(-20, { delivered: 8_000, unreachable: 2_000, rejected: 1_200, cancelled: 3 }, 5_000, 70), minute(0, { delivered: 120_000 }, 0)],
  lanes: [lane("interactive", 800, 61.5, 0), lane("bulk", 2_000, 60, 2), lane("replay", 0, null, null)],
  minutes: [{ start: at(-20 * MINUTE), pending: { interactive: 5, bulk: 7, replay: null } }, { start: at(0), pending: { interactive: 1, bulk: 2, replay: 3 } }],
  groups: [group("hook", "answered", 503, 4), group("a-webhook-with-a-long-name", "dns_failed", null, 1_000)],
  complete: false,
  warnings: ["Memory is short."],
};
const overviewOf = (found) => answering({ "/v1/traffic": found, "/v1/stats": found, "/v1/lanes": found, "/v1/groups": found, "/readyz": found });

test("the overview of a busy relay", async () => {
  page.relay = overviewOf(BUSY);
  sees("a busy relay", await page.show(view.overview, { range: "6h", webhook: "hook" }));
});

test("the overview of a relay without webhooks", async () => {
  page.relay = overviewOf(QUIET);
  sees("a relay without webhooks", await page.show(view.overview));
});

test("the overview says that it is not live, and takes it back", async () => {
  const head = (root) => root.childNodes.slice(0, 3);
  page.relay = (request) => (request.path === "/v1/stats" ? problem(503, "Try later.") : overviewOf(QUIET)(request));
  const root = await page.show(view.overview, { webhook: "hook" });
  sees("a relay that is away", ...head(root));
  page.relay = overviewOf({ ...QUIET, warnings: ["Disk is short."] });
  await page.pass(clock, 7_000);
  sees("a relay that is back", ...head(root));
});

// -- the search ------------------------------------------------------------------------------------------------------

const attempt = (number, status, outcome = "answered", sent = "answered") => ({ number, startedAt: at(-9 * S + number * S), durationMs: 250, status, outcome, sent });
const record = (number, more = {}) => ({ referenceId: reference(number), webhookId: "hook", revision: number, state: "delivered", createdAt: at(-10 * S), finishedAt: at(-7 * S), attempts: [attempt(1, 200)], result: { status: 200, error: false, data: "done" }, requestBytes: 1_023, responseBytes: 2_048, caller: "cli", replayOf: null, replayedBy: null, chain: null, expiresAt: at(60 * S), ...more });
const RECORDS = [
  record(1),
  record(2, { webhookId: "a-webhook-with-a-long-name", attempts: [attempt(1, 0, "connect_failed", "no"), attempt(2, 503)], result: { status: 503, error: true, data: { said: "no" } } }),
  record(3, { state: "rejected", attempts: [], result: null }),
  record(4, { state: "sending", finishedAt: null, attempts: [], result: null, replayOf: reference(1) }),
  record(5, { state: "waiting", finishedAt: null, attempts: [], result: null, chain: { steps: ["a"] } }),
  record(7, { result: { status: null, error: null } }),
  record(6, { attempts: [], chain: { parent: reference(5), step: 0, item: 0 } }),
];

test("the search shows what became of calls", async () => {
  page.relay = answering({ "/v1/traffic": { webhooks: [{ webhookId: "hook" }] }, "/v1/invocations": ({ cursor }) => ({ invocations: cursor ? [] : RECORDS, cursor: cursor ? null : "c" }) });
  sees("found calls", await page.show(view.invocations, { failed: "true", unreplayed: "false", webhookId: "hook", evil: "x" }));
});

test("the search says why nothing is found", async () => {
  const found = { webhooks: [], invocations: [], cursor: null };
  page.relay = answering({ "/v1/traffic": found, "/v1/invocations": found });
  const list = (root) => root.childNodes[2];
  sees("no calls", list(await page.show(view.invocations)));
  sees("no calls of a caller", list(await page.show(view.invocations, { caller: "cli" })));
  page.relay = answering({ "/v1/traffic": found, "/v1/invocations": { ...found, cursor: "c" } });
  sees("no calls yet, but older ones to search", list(await page.show(view.invocations, { caller: "cli" })));
  page.relay = answering({ "/v1/traffic": found, "/v1/invocations": problem(400, "No such state.", { errors: [{ pointer: "/state", message: "is wrong" }, { message: "are wrong" }] }) });
  sees("a search that the relay refuses", list(await page.show(view.invocations)));
});

// -- one call --------------------------------------------------------------------------------------------------------

const OUTLINE = { parts: [{ pointer: "/data/name", types: ["string", "null"], count: 1_000, bytes: 1_048_576 }, { pointer: "/data/on", types: ["boolean"], count: 1, bytes: 4 }], complete: false, missing: null };
const calls = (shown, outline = OUTLINE, others = {}) => answering({ [`/v1/invocations/${reference(2)}`]: shown, [`/v1/invocations/${reference(2)}/request`]: outline, ...others });

test("a call that failed, was replayed, and was altered in the store", async () => {
  const altered = { damaged: ["status", "result"], replayOf: reference(7), replayedBy: reference(8), reason: "step 1: does not fit", lateAnswer: "200 answered", caller: "0123456789abcdef", chain: { parent: reference(9), step: 1, item: 0 } };
  const parent = record(9, { webhookId: "book", chain: { steps: ["a", "b"] } });
  const steps = [record(3, { chain: { parent: reference(9), step: 0, item: 0 } }), { ...RECORDS[1], ...altered }];
  page.relay = calls({ ...RECORDS[1], ...altered }, OUTLINE, { [`/v1/invocations/${reference(9)}`]: parent, "/v1/invocations": ({ chain }) => ({ invocations: chain === reference(9) ? steps : [], cursor: "more" }) });
  sees("a call that failed, was replayed, and altered in the store", await page.show(view.invocation, {}, reference(2)));
});

test("a call that is being sent", async () => {
  page.relay = calls(record(2, { state: "retrying", finishedAt: null, expiresAt: null, revision: null, caller: null, attempts: [attempt(1, 400), attempt(2, 200, "response_rejected", "maybe")], result: null }), { parts: [], complete: true, missing: null });
  sees("a call that is being retried", await page.show(view.invocation, {}, reference(2)));
});

test("a call says why there is no outline of its request, and whether it can be replayed", async () => {
  const seen = [];
  const states = ["rejected", "cancelled", "unreachable", "interrupted", "sending", null];
  for (const [n, missing] of ["chain_step", "too_large", "not_kept", "unreadable", "brand_new", "not_kept"].entries()) {
    for (const state of [states[n]]) {
      page.relay = calls(record(2, { state, attempts: [], result: null }), { missing });
      const shown = pictured(await page.show(view.invocation, {}, reference(2)));
      seen.push([state, missing, ...shown.filter((line) => /Replay…|have no result|appears when/.test(line)), shown[shown.indexOf("No outline") + 1]].join(" / "));
    }
  }
  sees("calls without an outline", seen);
});

test("a call's place among others is told, and an outline of one part", async () => {
  const seen = [];
  for (const more of [{ replayOf: reference(7) }, { replayedBy: reference(8) }, { chain: { parent: reference(9), step: 0, item: 0 } }]) {
    page.relay = calls(record(2, more), { ...OUTLINE, parts: OUTLINE.parts.slice(1), complete: true }, { [`/v1/invocations/${reference(9)}`]: record(9, { chain: { steps: [] } }), "/v1/invocations": { invocations: [], cursor: null } });
    const shown = pictured(await page.show(view.invocation, {}, reference(2)));
    seen.push(...shown.slice(shown.indexOf("Names and sizes of the request"), shown.indexOf("Result")), ...shown.slice(shown.indexOf("Response") + 2));
  }
  sees("places among other calls", seen);
});

test("a call that cannot be shown says why", async () => {
  const seen = [];
  for (const status of [404, 410, 500]) {
    page.relay = calls(problem(status, "Not now."), problem(status, "No outline now."));
    seen.push(pictured((await page.show(view.invocation, {}, reference(2))).childNodes.at(-1)));
  }
  sees("calls that cannot be shown", seen.flat());
});

test("the data of a result are shown", () => {
  const seen = [{ status: 200, error: false, data: { a: [1] } }, { status: 0, error: true, data: null }, { status: 500, error: true, data: "text" }, { status: null, error: false, data: "text" }, { status: 200, error: null, data: "text" }].map((result) => pictured(resultPanel({ state: "delivered", result })));
  sees("results", seen.flat());
});

// -- replays ---------------------------------------------------------------------------------------------------------

const FILTER = { webhookId: "hook", states: ["delivered", "unreachable"], status: [503, "4xx"], outcome: "answered", subject: true, since: at(-60 * S), until: at(-30 * S) };
const job = (more = {}) => ({ replayId: reference(5), state: "running", filter: FILTER, caller: "0123456789abcdef", ratePerSecond: 2, matched: 4_000, started: 2_400, delivered: 1_200, failed: 1_100, skipped: 1_050, skippedReasons: { expired: 20, replayed: 1_030 }, createdAt: at(-20 * S), finishedAt: null, ...more });
const DONE = { state: "done", finishedAt: at(-5 * S), started: 2_950, delivered: 2_950, failed: 0 };
const JOBS = [job(), job({ ...DONE, filter: {}, ratePerSecond: null, caller: null }), job({ ...DONE, delivered: 1_900, failed: 1_050, filter: null, caller: "cli" }), job({ state: "planning", matched: null, started: 0, delivered: 0, failed: 0, skipped: 0, skippedReasons: {}, filter: { since: at(-1) } }), job({ state: "paused", ratePerSecond: 1_500, filter: { until: at(-1) } }), job({ state: "cancelled", finishedAt: at(-5 * S) }), job({ state: "brand_new" })];

test("the list of replays", async () => {
  page.relay = () => ({ replays: JOBS });
  sees("replays", await page.show(view.replays));
  page.relay = () => ({ replays: [] });
  sees("no replays", await page.show(view.replays));
  page.relay = () => problem(503, "Not now.", { retry: 1 });
  sees("replays that cannot be shown", await page.show(view.replays));
});

for (const [n, shown] of JOBS.entries()) {
  test(`replay ${n}, which is ${shown.state}`, async () => {
    page.relay = () => shown;
    sees(`replay ${n}`, await page.show(view.replay, {}, reference(5)));
  });
}

test("a replay that cannot be shown says why", async () => {
  const seen = [];
  for (const status of [404, 500]) {
    page.relay = () => problem(status, "Not now.");
    seen.push(pictured((await page.show(view.replay, {}, reference(5))).childNodes.at(-1)));
  }
  sees("a replay that cannot be shown", seen.flat());
});

const PLAN = { matched: 1_600, skipped: 20, skippedReasons: { uncertain: 20 }, leftOut: {}, breakdown: [group("hook", "answered", 503, 1_500), group("other", "connect_failed", 0, 100)] };
const planning = (plan, more = {}) => answering({ "/v1/traffic": { webhooks: [{ webhookId: "hook", recent: { hour: { errors: 1 } }, trend: { day: { ended: [7_200] } } }, { webhookId: "other" }] }, "/v1/replays": plan, ...more });

test("a new replay of what was chosen", async () => {
  page.relay = planning(PLAN);
  sees("a plan", await page.show(view.replay_new, { webhookId: "hook", status: "5xx" }));
});

test("a new replay of one call", async () => {
  page.relay = planning({ ...PLAN, matched: 1, skipped: 0, skippedReasons: {}, breakdown: PLAN.breakdown.slice(0, 1) });
  sees("a plan of one call", await page.show(view.replay_new, { ref: reference(1) }));
});

test("a replay of nothing says why", async () => {
  const seen = [];
  const none = { ...PLAN, matched: 0, skipped: 0, breakdown: [] };
  for (const [query, plan] of [[{ ref: reference(1) }, none], [{}, none], [{ webhookId: "hook" }, none], [{}, { ...none, leftOut: { chain_step: 3, replayed: 1 } }], [{}, problem(422, "The filter is wrong.")], [{}, { ...PLAN, skippedReasons: {} }]]) {
    page.relay = planning(plan);
    seen.push(pictured((await page.show(view.replay_new, query)).childNodes.at(-1)));
  }
  sees("plans of nothing", seen.flat());
});

// -- webhooks --------------------------------------------------------------------------------------------------------

const counts = (delivered, errors, more = {}) => ({ accepted: delivered, errors, final: { delivered, rejected: 7, ...more } });
const hook = (webhookId, more = {}) => ({ webhookId, ...counts(2_880, 288), recent: { fiveMinutes: counts(10, 0), hour: counts(60, 3) }, trend: { hour: { ended: [1, 3], errors: [0, 3] }, day: { ended: [4], errors: [1] } }, lastErrorAt: at(-60 * S), inFlight: 0, parked: 0, paused: false, hidden: false, breaker: { state: "closed", openUntil: null }, ...more });
const HOOKS = [
  hook("usual"),
  hook("paused", { paused: true, parked: 12_000, recent: { fiveMinutes: counts(0, 0), hour: counts(0, 0) } }),
  hook("open-and-failing", { breaker: { state: "open", openUntil: at(90 * S) }, inFlight: 1, recent: { fiveMinutes: counts(100_000, 90_000), hour: counts(1, 1) } }),
  hook("half-open-and-hidden", { hidden: true, breaker: { state: "half-open", openUntil: at(-1) }, inFlight: 2, parked: 3, recent: { fiveMinutes: counts(3, 0), hour: counts(2, 0, { interrupted: 1 }) } }),
  hook("quiet", { lastErrorAt: null, recent: { fiveMinutes: counts(0, 0), hour: counts(0, 0) } }),
];

for (const window of ["5m", "1h", "24h"]) {
  test(`webhooks in ${window}`, async () => {
    page.relay = () => ({ webhooks: HOOKS });
    sees(`webhooks in ${window}`, await page.show(view.webhooks, { window }));
  });
}

test("webhooks that are not there", async () => {
  page.relay = () => ({ webhooks: HOOKS });
  sees("no such webhook", await page.show(view.webhooks, { find: "Nothing " }));
  page.relay = () => ({ webhooks: [], plugin: "clinic" });
  sees("no webhooks", await page.show(view.webhooks));
  page.relay = () => problem(500, "Not now.");
  sees("webhooks that cannot be shown", await page.show(view.webhooks));
});

// -- filters ---------------------------------------------------------------------------------------------------------

/** Returns every control: its label, what it says, and its choices. */
function controlsOf(bar) {
  return bar.all((each) => ["label", "summary", "button"].includes(each.tag)).map((label) => {
    const [select] = label.all((each) => each.tag === "select");
    return `${pictured(label).join(" ")}${select ? ` of ${select.children.map((each) => `${each.value}: ${each.textContent}`).join(", ")}` : ""}`;
  });
}

const OF_REPLAYS = ["webhookId", "state", "status", "outcome", "since", "until"];
const BARS = [
  [{}],
  [{ webhookId: "hook", state: "waiting,queued", since: "90m", outcome: "brand_new", caller: "cli" }],
  [{ failed: "true", unreplayed: "false", since: at(-60 * S), status: "5xx", until: at(0) }],
  [{ failed: "true", state: "unreachable", chain: "c" }, ["state", "failed", "chain", "replay"]],
  [{ failed: "true", state: "unreachable", since: "6h" }, OF_REPLAYS],
];

for (const [n, [filter, names]] of BARS.entries()) {
  test(`the controls of the filter ${JSON.stringify(filter)} of ${names ?? "all"}`, async () => {
    const bar = filterBar(filter, () => {}, { names, webhooks: Promise.resolve(["hook", "other"]) });
    await page.settled();
    sees(`controls ${n}`, controlsOf(bar), bar.all((each) => each.tag === "details").flatMap(pictured).at(-1)?.split(" ").slice(-1) ?? []);
  });
}
