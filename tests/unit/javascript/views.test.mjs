// What the console's views show of a relay's answers, and what they ask, without a browser.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { change } from "./small_document.mjs";
import { SmallPage, rowsOf } from "./small_page.mjs";
import { SteppedClock } from "./stepped_clock.mjs";

const page = new SmallPage();
const load = (name) => import(`${process.env.MODULES}/console/${name}.js`);
const { moment, share, short } = await load("format");
const { chart } = await load("charts");
const { call, keyId, onEnd, signIn, signOut, signedIn } = await load("session");
const { chainTree } = await load("views/chain");
const { filterOf } = await load("filters");
const { sparkline } = await load("sparkline");
const { groupsTable } = await load("views/groups");
const invocation = await load("views/invocation");
const invocations = await load("views/invocations");
const overview = await load("views/overview");
const replay = await load("views/replay");
const newReplay = await load("views/replay_new");
const { skipText } = await load("views/replay_parts");
const { resultPanel } = await load("views/result");
const { pieces } = await load("views/timeline");
const webhooks = await load("views/webhooks");
const { default: Plot } = await load("vendor/uplot/uPlot.esm");

const NOW = Date.UTC(2026, 0, 31, 12);
const HOUR = 3_600_000;
const at = (ms) => new Date(NOW + ms).toISOString();
const never = new AbortController().signal;
let clock;

beforeEach(() => {
  clock = new SteppedClock(NOW);
  page.asked = [];
  page.stop = new AbortController();
});

afterEach(() => {
  page.stop?.abort();
  clock.end();
});

/** Returns every order of a few values. */
function orders(values) {
  return values.length < 2 ? [values] : values.flatMap((first, n) => orders(values.toSpliced(n, 1)).map((rest) => [first, ...rest]));
}

// -- the session -----------------------------------------------------------------------------------------------------

const refused = (status) => new Response(JSON.stringify({ code: "refused", title: "Refused" }), { status, headers: { "Retry-After": "7" } });

for (const status of [200, 401, 403, 503]) {
  for (const between of ["nothing", "signing out", "signing in with another key"]) {
    test(`an answer ${status} that comes after ${between} ends the session of its own key only`, async () => {
      const ends = [];
      onEnd((said) => ends.push(said));
      page.relay = () => ({});
      await signIn("whk_first_x");
      let answer;
      page.relay = ({ key }) => (key.includes("first") ? new Promise((resolve) => (answer = resolve)) : {});
      const asked = call("GET", "v1/traffic").catch((error) => error);
      if (between !== "nothing") signOut();
      if (between.startsWith("signing in")) await signIn("whk_second_x");
      answer(refused(status));
      await asked;
      const isOver = status === 401 && between === "nothing";
      assert.equal(ends.length, Number(isOver));
      assert.equal(signedIn(), between === "nothing" ? !isOver : between.startsWith("signing in"));
      assert.equal(keyId(), signedIn() ? (between === "nothing" ? "first" : "second") : null);
      assert.equal(sessionStorage.getItem("webhook-relay-key") !== null, signedIn());
    });
  }
}

test("a request says only what was given, and sends the key in its header alone", async () => {
  const sent = [];
  const { fetch } = globalThis;
  globalThis.fetch = async (url, how) => (sent.push([String(url).split("/").slice(-2).join("/"), how]), new Response("{}"));
  await signIn("whk_first_x");
  sent.length = 0;
  await call("GET", "v1/stats", { query: { zero: 0, no: false, empty: "", none: null, not: undefined, text: "a b&c" } });
  await call("POST", "v1/replays", { body: { max: 0 } });
  globalThis.fetch = fetch;
  assert.ok(sent[0][1].signal instanceof AbortSignal); // of the time limit
  delete sent[0][1].signal;
  const how = { credentials: "omit", cache: "no-store", redirect: "manual", referrerPolicy: "no-referrer" };
  const headers = { Accept: "application/json", Authorization: "Bearer whk_first_x" };
  assert.deepEqual(sent, [["v1/stats?zero=0&no=false&text=a+b%26c", { ...how, method: "GET", headers, body: undefined }], ["v1/replays", { ...how, signal: undefined, method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body: '{"max":0}' }]]);
});

test("a refused request says what the relay says, and when to try again if it is only for now", async () => {
  const answer = (status, value, headers = {}) => new Response(typeof value === "string" ? value : JSON.stringify(value), { status, headers });
  const later = { "Retry-After": "7" };
  const errors = [{ pointer: "/filter/since", message: "is wrong" }, { message: "has too much" }];
  for (const [given, ...wanted] of [
    [answer(503, { code: "busy", title: "Busy", detail: "Too much to do." }, later), 503, "busy", "Too much to do. It says to try again in 7 s.", []],
    [answer(503, { code: "busy", title: "Busy" }), 503, "busy", "Busy", []],
    [answer(429, { code: "slow", detail: "Slower." }, later), 429, "slow", "Slower. It says to try again in 7 s.", []],
    [answer(422, { code: "request_rejected", detail: "No.", errors }), 422, "request_rejected", "No.", ["filter/since is wrong", " has too much"]],
    ...[[502, "<html>"], [200, "<html>"], [401, "<html>"], [404, '"Not found"'], [503, {}], [200, "null"]].map(([status, text]) => [answer(status, text), 0, "not_the_relay", `A proxy or something else answered in the relay's place (status ${status}). Check that the relay is running (relay doctor), and that the proxy can reach it.`, []]),
  ]) {
    page.relay = () => given;
    const error = await call("GET", "v1/stats").catch((problem) => problem);
    assert.deepEqual([error.status, error.code, error.message, error.faults], wanted);
  }
  page.relay = () => answer(503, { status: "not ready" });
  assert.deepEqual(await call("GET", "readyz", { accept: [503] }), { status: "not ready" });
  assert.equal(signedIn(), true, "a proxy's 401 is not about the key");
  const brokenOff = new Response(new ReadableStream({ start: (controller) => controller.error(new TypeError("network error")) }));
  for (const lost of [() => Promise.reject(new TypeError("Failed to fetch")), () => brokenOff]) {
    page.relay = lost;
    assert.equal((await call("GET", "v1/stats").catch((problem) => problem)).code, "no_answer");
  }
  assert.equal((await call("GET", "v1/stats", { signal: AbortSignal.abort() }).catch((problem) => problem)).name, "AbortError");
});

test("a key that may not be used is not kept, and why is said", async () => {
  signOut();
  for (const [key, status, said] of [["whk_a_b", 401, "The relay does not accept this key: it may be revoked, expired or mistyped."], ["whk_a_b", 403, "This key lacks the scope operate. Create one that has it: relay keys create --scope operate --plugin PLUGIN."], ["whk_a_b", 500, "Not now."], ["two words", 200, "This is not an API key."], ["", 200, "This is not an API key."], ["kéy", 200, "This is not an API key."]]) {
    page.asked = [];
    page.relay = () => new Response(JSON.stringify({ detail: "Not now." }), { status });
    const error = await signIn(key).catch((problem) => problem);
    assert.deepEqual([error.message, signedIn(), keyId(), sessionStorage.getItem("webhook-relay-key"), page.asked.length], [said, false, null, null, Number(key === "whk_a_b")]);
  }
  await signIn("another-key").catch(() => {});
  page.relay = () => ({});
  await signIn("no-id-in-it");
  assert.deepEqual([signedIn(), keyId(), page.asked.at(-1).query], [true, null, { limit: "1" }]);
  await signIn("whk_first_x");
});

// -- charts ----------------------------------------------------------------------------------------------------------

test("columns that are drawn on top of one another are told by their own values, under the cursor and in the table", () => {
  const series = [{ label: "Failed", colour: "a", kind: "bars" }, { label: "Succeeded", colour: "b", kind: "bars" }];
  const { element, update } = chart({ title: "Calls", series, format: (value) => `<${value}>`, signal: page.stop.signal });
  const [table] = element.all((each) => each.tag === "details");
  const told = () => element.all((each) => each.tag === "li").map((each) => each.textContent);
  table.open = true;
  for (const [total, good, bad] of [[[9, 8], [4, 7], [5, 1]], [[6, 5], [3, 5], [3, 0]]]) {
    update([NOW / 1_000, NOW / 1_000 + 60], [total, good], [bad, good]);
    assert.deepEqual(Plot.last.data.slice(1), [total, good]);
    for (const [index, shown] of [[null, 1], [0, 0], [1, 1], [null, 1]]) {
      Plot.last.point(index);
      assert.deepEqual(told(), [`Failed<${bad[shown]}>`, `Succeeded<${good[shown]}>`]);
    }
    assert.deepEqual(rowsOf(table).map((row) => row.slice(1)), [1, 0].map((n) => [`<${bad[n]}>`, `<${good[n]}>`]));
    const [canvas] = element.all((each) => each.attributes.role === "img");
    assert.equal(canvas.attributes["aria-label"], `Calls. Failed: now <${bad[1]}>, at most <${Math.max(...bad)}>; Succeeded: now <${good[1]}>, at most <${Math.max(...good)}>.`);
  }
});

test("a chart is drawn once and given new data, its axis begins at 0, and it goes with its view", () => {
  const stop = new AbortController();
  const { element, update } = chart({ title: "Calls", series: [{ label: "A", colour: "a", kind: "area" }], format: (value) => `<${value}>`, top: 0.05, signal: stop.signal });
  update([0, 60], [[1, 2]]);
  const plot = Plot.last;
  update([0, 60, 120], [[1, 2, null]]);
  assert.equal(Plot.last, plot);
  assert.deepEqual(plot.data, [[0, 60, 120], [1, 2, null]]);
  const { range } = plot.options.scales.y;
  assert.deepEqual([range(null, 0, 1_000), range(null, 3, 0), range(null, null, null)], [[0, 1_100], [0, 0.05], [0, 0.05]]);
  assert.deepEqual(plot.options.axes[1].values(null, [0, 5]), ["<0>", "<5>"]);
  const time = () => element.all((each) => each.attributes.class === "muted small nowrap")[0].textContent;
  const shown = (s) => `${String(new Date(s * 1_000).getHours()).padStart(2, "0")}:${String(new Date(s * 1_000).getMinutes()).padStart(2, "0")}`;
  assert.deepEqual(plot.options.axes[0].values(null, [3_600]), [shown(3_600)]);
  plot.point(1);
  assert.equal(time(), shown(60));
  plot.point(null);
  assert.equal(time(), "");
  window.dispatchEvent(new Event("themechange"));
  assert.notEqual(Plot.last, plot, "in the colours of the other scheme");
  const last = Plot.last;
  assert.deepEqual([last.data, plot.isDestroyed, last.isDestroyed], [plot.data, true, undefined]);
  stop.abort();
  assert.equal(last.isDestroyed, true);
  window.dispatchEvent(new Event("themechange"));
  assert.equal(Plot.last, last);
});

test("a chart's table has the last sixty times with a value, the newest first, and only while it is open", () => {
  const { element, update } = chart({ title: "Calls", series: [{ label: "A", colour: "a", kind: "line" }], format: String, signal: page.stop.signal });
  const [table] = element.all((each) => each.tag === "details");
  const xs = Array.from({ length: 70 }, (_, n) => NOW / 1_000 + n * 60);
  update(xs, [xs.map((_, n) => (n === 69 ? null : n))]);
  assert.deepEqual(rowsOf(table), []);
  table.open = true;
  table.dispatchEvent(new Event("toggle"));
  assert.deepEqual(table.all((each) => each.tag === "th").map((each) => each.textContent), ["Time", "A"]);
  const rows = rowsOf(table);
  assert.deepEqual([rows.length, rows[0], rows.at(-1)], [60, [moment(xs[68] * 1_000), "68"], [moment(xs[9] * 1_000), "9"]]);
  update(xs, [xs.map(() => 0)]);
  assert.ok(table.textContent.endsWith("No data for this period."));
});

// -- the search ------------------------------------------------------------------------------------------------------

const row = (number) => ({ referenceId: `${String(number).padStart(8, "0")}-0000-7000-8000-000000000000`, webhookId: "hook", state: "delivered", attempts: [], createdAt: at(-number), finishedAt: at(0), result: { status: 200, error: false } });
const ROWS = Array.from({ length: 137 }, (_, number) => row(number));

/** Answers with `most` rows at most, and a cursor while there may be more. */
function listing(most) {
  return ({ query }) => {
    const from = Number(query.cursor ?? 0);
    const to = from + Math.min(Number(query.limit), most);
    return { invocations: ROWS.slice(from, to), cursor: to < ROWS.length ? String(to) : null };
  };
}

for (const most of [200, 50, 49, 30, 17]) {
  test(`pages of a listing that answers with ${most} rows at most show each row once, and no page is too long`, async () => {
    page.relay = (request) => (request.path === "/v1/traffic" ? { webhooks: [] } : listing(most)(request));
    const root = await page.show(invocations, { state: "delivered" });
    const older = () => root.all((each) => each.tag === "button" && each.textContent === "Older")[0];
    const shown = [];
    for (;;) {
      shown.push(rowsOf(root).map((cells) => cells[2]));
      if (older().attributes.disabled !== undefined || shown.length > 20) break;
      await page.click(root, "Older");
    }
    assert.deepEqual(shown.map((each) => each.length), [50, 50, 37]);
    assert.deepEqual(shown.flat().map((each) => Number(each.slice(0, 8))), ROWS.map((_, number) => number));
    assert.ok(page.asked.filter(({ path }) => path === "/v1/invocations").every(({ query }) => query.state === "delivered"));
    for (const before of shown.slice(0, -1).reverse()) {
      await page.click(root, "Newer");
      assert.deepEqual(rowsOf(root).map((cells) => cells[2]), before);
    }
  });
}

// -- webhooks --------------------------------------------------------------------------------------------------------

const counts = (delivered, errors) => ({ accepted: delivered, final: { delivered }, errors });

/** Returns a webhook's row with `[ended, failed]` of each window. */
function hook(webhookId, [five, hour, day], more = {}) {
  const trend = { ended: [1], errors: [0] };
  return { webhookId, ...counts(...day), recent: { fiveMinutes: counts(...five), hour: counts(...hour) }, trend: { hour: trend, day: trend }, lastErrorAt: at(-60_000), parked: 0, inFlight: 0, paused: false, hidden: false, breaker: { state: "closed", openUntil: null }, ...more };
}

const WINDOWS = { "5m": [0, 5], "1h": [1, 60], "24h": [2, 1_440] };

for (const [window, [n, minutes]] of Object.entries(WINDOWS)) {
  for (const ends of [[[0, 0], [0, 0], [120, 6]], [[0, 0], [120, 6], [1_440, 6]], [[10, 5], [120, 6], [2_880, 288]], [[0, 0], [0, 0], [0, 0]]]) {
    test(`in ${window}, a webhook of which ${ends.map((each) => each.join("/")).join(", ")} failed is shown by that window alone`, async () => {
      page.relay = () => ({ webhooks: [hook("hook", ends)] });
      const [[, state, rate, failed, last]] = rowsOf(await page.show(webhooks, { window }));
      const [ended, errors] = ends[n];
      assert.equal(last !== "–", errors > 0);
      assert.equal(rate, ended === 0 ? "–" : ended / minutes < 0.1 ? "< 0.1" : short(ended / minutes));
      assert.equal(failed, share(ended ? errors / ended : null));
      assert.equal(state, ended === 0 ? "No traffic" : errors / ended >= 0.5 ? "Failing" : errors ? "Some fail" : "Succeeding");
    });
  }
}

test("webhooks are sorted by each column in both directions, and by id where they are equal", async () => {
  const late = { lastErrorAt: at(-1_000) };
  const rows = [hook("a", [[0, 0], [9, 1], [9, 1]]), hook("b", [[0, 0], [2, 2], [2, 2]], late), hook("c", [[0, 0], [0, 0], [90, 9]], { parked: 1 }), hook("d", [[0, 0], [9, 1], [9, 1]], { breaker: { state: "open", openUntil: null } }), hook("e", [[0, 0], [9, 0], [9, 0]], { paused: true })];
  const sorted = { id: "abcde", "-id": "edcba", worst: "ceabd", "-worst": "dbaec", rate: "cbade", "-rate": "adebc", failed: "ceadb", "-failed": "badec", last: "ceadb", "-last": "badce", waiting: "abdec", "-waiting": "cabde" };
  for (const order of orders(rows).filter((_, n) => n % 17 === 0)) {
    for (const [sort, ids] of Object.entries(sorted)) {
      page.relay = () => ({ webhooks: order });
      const root = await page.show(webhooks, { sort });
      assert.equal(root.all((each) => each.attributes["data-webhook"]).map((each) => each.attributes["data-webhook"]).join(""), ids, sort);
    }
  }
});

test("a click sorts by a column, its larger values first where that is of use, and another turns the order", async () => {
  page.relay = () => ({ webhooks: [hook("a", [[0, 0], [1, 0], [1, 0]]), hook("b", [[0, 0], [9, 2], [9, 2]])] });
  const root = await page.show(webhooks);
  const ids = () => root.all((each) => each.attributes["data-webhook"]).map((each) => each.attributes["data-webhook"]).join("");
  const heads = () => root.all((each) => each.attributes["aria-sort"]).map((each) => each.attributes["aria-sort"]);
  for (const [label, ...found] of [["Webhook", "ab", "ba", "ab"], ["Failed", "ba", "ab", "ba"], ["A minute", "ba", "ab", "ba"]]) {
    for (const [n, order] of found.entries()) {
      await page.click(root, label);
      assert.equal(ids(), order, label);
      assert.deepEqual(heads(), [(label === "Webhook") === (n % 2 === 0) ? "ascending" : "descending"]);
    }
  }
});

// -- calls and chains ------------------------------------------------------------------------------------------------

const step = (number, from, to, item = 0) => ({ referenceId: `step-${number}-${item}`, webhookId: `hook${number}`, state: to === null ? "sending" : "delivered", createdAt: at(from), finishedAt: to === null ? null : at(to), chain: { parent: "parent", step: number, item } });
const chain = (finished) => ({ referenceId: "parent", webhookId: "book", state: finished === null ? "waiting" : "delivered", createdAt: at(0), finishedAt: finished === null ? null : at(finished), attempts: [], chain: { parent: null, steps: 3 } });

for (const steps of orders([step(0, 0, 900), step(1, 100, 300), step(2, 100, 500)])) {
  test(`a chain's end follows the last of its steps, though they end in the order ${steps.map((each) => each.chain.step)}`, () => {
    const { found } = pieces(chain(1_000), steps);
    assert.deepEqual(found.slice(0, 3).map((each) => [each.from, each.to]), steps.map((each) => [Date.parse(each.createdAt), Date.parse(each.finishedAt)]));
    assert.deepEqual(found.slice(3), [{ kind: "wait", label: "Storing the result", from: NOW + 900, to: NOW + 1_000, tone: "idle" }]);
    const running = pieces(chain(null), steps, NOW + 950).found.at(-1);
    assert.deepEqual([running.kind, running.label, running.from, running.to], ["now", "The chain's steps are running", NOW + 900, NOW + 950]);
  });
}

test("attempts and the pauses between them fill a call's time without gap or overlap", () => {
  const attempt = (number, from, durationMs, status = 503) => ({ number, startedAt: at(from), durationMs, status, outcome: status ? "answered" : "connect_failed" });
  const record = (state, finished, ...attempts) => ({ state, createdAt: at(0), finishedAt: finished === null ? null : at(finished), attempts, chain: null });
  const ended = pieces(record("delivered", 1_000, attempt(1, 100, 200, 0), attempt(2, 500, 400, 200))).found;
  assert.deepEqual(ended.map(({ kind, label, from, to, tone }) => [kind, label, from - NOW, to - NOW, tone]), [["wait", "Waited for a worker", 0, 100, "idle"], ["attempt", "Attempt 1: no connection", 100, 300, "bad"], ["wait", "Paused before the next attempt", 300, 500, "idle"], ["attempt", "Attempt 2: answered 200", 500, 900, "good"], ["wait", "Storing the result", 900, 1_000, "idle"]]);
  for (const [state, said] of [["queued", "Waiting for a worker"], ["sending", "Being sent"], ["retrying", "Paused before the next attempt"]]) {
    const found = pieces(record(state, null, ...(state === "retrying" ? [attempt(1, 0, 100)] : [])), [], NOW + 700).found.at(-1);
    assert.deepEqual([found.label, found.to], [said, NOW + 700]);
  }
  const late = pieces(record("unreachable", 1_000, attempt(1, -50, 100), attempt(2, 40, 5_000))).found;
  assert.deepEqual(late.map(({ from, to }) => [from - NOW, to - NOW]), [[0, 50], [50, 1_000]], "clocks of workers differ a little");
});

test("a chain's tree has its steps in order, and the items of one step, however they come", async () => {
  const made = [step(0, 0, 1), step(1, 1, 2, 0), step(1, 1, 3, 1), step(1, 1, 2, 2), step(2, 3, null)];
  for (const order of orders(made)) {
    page.relay = ({ query }) => ({ invocations: query.chain === "parent" ? order : [], cursor: null });
    const tree = await chainTree(chain(null), never);
    assert.deepEqual(tree.steps.map((each) => each.referenceId), made.map((each) => each.referenceId));
    assert.equal(tree.ended, false);
  }
});

// -- replays ---------------------------------------------------------------------------------------------------------

const PLAN = { planId: "plan", matched: 600, skipped: 0, skippedReasons: {}, leftOut: {}, breakdown: [] };
const trend = (...ended) => ({ hour: { ended: [] }, day: { ended } });

for (const [ended, failed, rate] of [[[7_200], 1, "2"], [[7_200, 0, 0, 0], 1, "2"], [[36_000, 3_600], 1, "6"], [[8], 1, "1"], [[7_200], 0, ""]]) {
  test(`the replay of a webhook with ${ended} ended in its hours and ${failed} failed lately is slowed to ${rate || "nothing"} a second`, async () => {
    page.relay = ({ path }) => (path === "/v1/traffic" ? { webhooks: [{ webhookId: "hook", recent: { hour: { errors: failed } }, trend: trend(...ended) }] } : PLAN);
    const root = await page.show(newReplay, { webhookId: "hook" });
    const [pace] = root.all((each) => each.attributes.placeholder === "as fast as possible");
    assert.equal(pace.value, rate);
    const { body } = page.asked.at(-1);
    assert.deepEqual(body, { includeUncertain: false, filter: { webhookId: "hook", since: "24h" }, dryRun: true, ...(rate && { ratePerSecond: Number(rate) }) });
    assert.equal(root.textContent.includes("in about"), rate !== "");
  });
}

test("a replay is planned and started as it was chosen", async () => {
  page.relay = ({ path, body }) => (path === "/v1/traffic" ? { webhooks: [] } : body.dryRun ? { ...PLAN, skipped: 20, skippedReasons: { expired: 20 } } : { replayId: "job" });
  const query = { webhookId: "hook", state: "delivered,waiting", status: "503,4xx", outcome: "answered", since: "7d", until: at(0), caller: "cli" };
  const root = await page.show(newReplay, query);
  const control = (takes) => root.all((each) => each.tag === "input" && takes(each))[0];
  change(control((each) => each.attributes.placeholder === "as fast as possible"), "5");
  change(control((each) => each.attributes.placeholder === "all calls"), "600");
  const uncertain = control((each) => each.attributes.type === "checkbox");
  uncertain.checked = true;
  change(uncertain, "on");
  await page.settled();
  assert.ok(root.textContent.includes("Sends 580 calls, in about 1 min 56 s. Skipped: 20 too old: no longer kept."));
  const wanted = { includeUncertain: true, ratePerSecond: 5, max: 600, filter: { webhookId: "hook", outcome: "answered", since: "7d", until: at(0), states: ["delivered"], status: [503, "4xx"] } };
  assert.deepEqual(page.asked.at(-1).body, { ...wanted, dryRun: true });
  await page.click(root, "Start: send 580 calls");
  assert.deepEqual(page.asked.at(-1).body, { planId: "plan" });
  assert.equal(location.hash, "#/replays/job");
});

test("one call is replayed by its reference id: its plan has no id", async () => {
  page.relay = ({ path, body }) => (path === "/v1/traffic" ? { webhooks: [] } : body.dryRun ? { ...PLAN, planId: null, matched: 1 } : { replayId: "job" });
  const root = await page.show(newReplay, { ref: "ref" });
  await page.click(root, "Start: send 1 call");
  assert.deepEqual(page.asked.at(-1).body, { includeUncertain: false, referenceIds: ["ref"] });
});

const JOB = { replayId: "job", state: "running", filter: null, caller: "cli", ratePerSecond: 2, matched: 1_000, started: 400, delivered: 200, failed: 100, skipped: 100, skippedReasons: { expired: 100 }, createdAt: at(0), finishedAt: null };

for (const [more, left] of [[{}, "about 5 min 0 s left"], [{ ratePerSecond: null }, null], [{ ratePerSecond: 0.1 }, "about 1 h 40 min left"], [{ delivered: 800 }, null], [{ matched: null, state: "planning" }, null]]) {
  test(`a replay with ${JSON.stringify(more)} says ${left ?? "no time that is left"}`, async () => {
    page.relay = () => ({ ...JOB, ...more });
    const text = (await page.show(replay, {}, "job")).textContent;
    assert.equal(/about [^<]*? left/.exec(text)?.[0] ?? null, left);
    const { delivered } = { ...JOB, ...more };
    assert.ok(text.includes(`${(delivered + 200).toLocaleString("en")} of `));
    assert.ok(text.includes(`Under way${Math.max(0, 300 - delivered)}400 started`));
  });
}

// -- the overview ----------------------------------------------------------------------------------------------------

const bucket = (ms, delivered, errors = 0) => ({ start: at(ms), accepted: delivered, errors, final: { delivered }, p50Ms: 1, p95Ms: 2, p99Ms: 3 });
const lanesOf = (...workers) => ["interactive", "bulk", "replay"].map((lane, n) => ({ lane, pending: 0, oldestSeconds: null, workers: workers[n] }));

for (const [range, oldest] of [["15m", -15], ["1h", -60], ["6h", -360]]) {
  test(`over ${range}, ends that are counted late are shown, and what is older is not asked for again`, async () => {
    const made = new Map([[-120_000, [4, 0]], [-60_000, [3, 1]], [0, [1, 0]]]);
    page.relay = ({ path, query }) => {
      const buckets = [...made].map(([ms, ends]) => bucket(ms, ...ends)).filter(({ start }) => Date.parse(start) >= Date.parse(query.since));
      return { "/v1/stats": { buckets }, "/v1/lanes": { lanes: lanesOf(1, 1, 1), minutes: [] }, "/readyz": { status: "ready" } }[path] ?? { webhooks: [{ webhookId: "hook" }], groups: [] };
    };
    const root = await page.show(overview, { range });
    assert.ok(root.textContent.includes("8 calls in") && root.textContent.includes("1 failed"));
    for (const ms of [-120_000, -60_000, 0]) {
      made.get(ms)[0] += 10;
      made.get(ms)[1] += 5;
    }
    await page.pass(clock, 12_000);
    assert.ok(root.textContent.includes("38 calls in") && root.textContent.includes("16 failed"));
    const since = page.asked.filter(({ path }) => path === "/v1/stats").map(({ query }) => (Date.parse(query.since) - NOW) / 60_000);
    assert.deepEqual([since[0], ...new Set(since.slice(1))], [oldest, -3]);
  });
}

for (const status of [0, 404, 503, null]) {
  for (const outcome of ["answered", "connect_failed"]) {
    test(`links from a group of ${outcome} with status ${status} ask for just its calls`, () => {
      const groups = [{ webhookId: "hook", outcome, status, count: 3, firstAt: at(-9), lastAt: at(0) }];
      const [element] = groupsTable({ groups, complete: true }, at(-HOUR), "the last hour");
      const links = element.all((each) => each.tag === "a").map((each) => each.attributes.href.split("?"));
      const wanted = { webhookId: "hook", outcome, since: at(-HOUR), ...(status !== null && { status: String(status) }) };
      assert.deepEqual(links.map(([path]) => path), ["#/invocations", "#/replays/new"]);
      assert.deepEqual(links.map(([, query]) => filterOf(new URLSearchParams(query))), [{ ...wanted, failed: "true" }, wanted]);
    });
  }
}

for (const workers of [[1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 0], [null, null, null]]) {
  for (const status of ["ready", 503]) {
    test(`of lanes with ${workers} workers, at a relay that is ${status}, each warning is said once`, () => {
      const warning = (lane) => `No worker serves the lane ${lane}: its calls are kept and wait.`;
      const lanes = lanesOf(...workers);
      const without = lanes.filter((each) => each.workers === 0).map(({ lane }) => lane);
      const said = overview.warningsOf({ status, detail: "Not now.", warnings: [...without.map(warning), "Memory is short."] }, lanes);
      const tones = said.map((each) => [each.attributes.class, each.textContent]);
      const expected = without.map((lane) => [`notice ${lane === "interactive" ? "bad" : "warn"}`, `No worker serves the lane ${lane}: its calls wait.`]);
      assert.deepEqual(tones, [...(status === "ready" ? [] : [["notice bad", "Not now."]]), ...expected, ["notice warn", "Memory is short."]]);
    });
  }
}

test("a warning of a lane that has got its worker meanwhile is said as it came", () => {
  assert.deepEqual(overview.warningsOf({ status: "ready", warnings: ["No lane is known."] }, lanesOf(1, 1, 1)).map((each) => each.textContent), ["No lane is known."]);
});

test("a trend's bars are as high as their numbers among all that ended, and the failed part is never higher", () => {
  const heights = (ended, errors) => {
    const bars = sparkline({ ended, errors }, "").all((each) => /spark-(good|bad)/.test(each.attributes.class));
    return bars.map(({ attributes: { class: kind, x, y, height } }) => [kind.slice(6), Number(x) / 6, Number(y), Number(height)]);
  };
  assert.deepEqual(heights([8, 0, 4, 2], [2, 0, 4, 0]), [["good", 0, 0, 18], ["bad", 0, 18, 6], ["bad", 2, 12, 12], ["good", 3, 18, 6]]);
  assert.deepEqual(heights([1_000, 1], [1, 1]), [["good", 0, 0, 22.5], ["bad", 0, 22.5, 1.5], ["bad", 1, 22.5, 1.5]]);
  assert.deepEqual(heights([0, 0], [0, 0]), []);
});

// -- one call --------------------------------------------------------------------------------------------------------

for (const [parent, child, goesOn] of [[null, null, true], [1_000, null, true], [null, 900, true], [1_000, 900, false]]) {
  test(`a chain that has ${parent ? "" : "not "}ended with a step that has ${child ? "" : "not "}is ${goesOn ? "" : "not "}looked at again`, async () => {
    const outline = { parts: [], complete: true, missing: null };
    const record = { ...chain(parent), result: null, requestBytes: 1, responseBytes: 1, caller: "cli" };
    page.relay = ({ path, query }) => (path.endsWith("/request") ? outline : path === "/v1/invocations" ? { invocations: query.chain === "parent" ? [step(0, 0, 500), step(1, 500, child)] : [], cursor: null } : record);
    await page.show(invocation, {}, "parent");
    await page.pass(clock, 60_000);
    const looks = page.asked.filter(({ path }) => path === "/v1/invocations/parent").length;
    assert.equal(looks > 1, goesOn);
    assert.equal(page.asked.filter(({ path }) => path.endsWith("/request")).length, 1);
  });
}

for (const data of ["x".repeat(200_000), "y".repeat(300_000), { a: "z".repeat(300_000) }, null]) {
  const text = typeof data === "string" ? data : JSON.stringify(data, null, 2);

  test(`of a result of ${text.length} characters the beginning is shown, and all is copied`, async () => {
    const copied = [];
    Object.defineProperty(globalThis, "navigator", { value: { clipboard: { writeText: async (given) => copied.push(given) } }, configurable: true });
    const element = resultPanel({ state: "delivered", result: { status: 200, error: false, data } });
    const [shown] = element.all((each) => each.tag === "pre");
    assert.equal(shown.textContent, text.length > 200_000 ? `${text.slice(0, 200_000)}\n…` : text);
    await page.click(element, "", (each) => each.attributes["aria-label"] === "Copy the data");
    assert.deepEqual(copied, [text]);
  });
}

test("only reasons for which calls are skipped are named", () => {
  assert.equal(skipText({ expired: 0, refused: 2, brand_new: 1_000, cancelled: 0 }), "2 refused by the relay; 1,000 brand new");
  assert.deepEqual([skipText({ expired: 0 }), skipText({}), skipText(null)], ["", "", ""]);
});
