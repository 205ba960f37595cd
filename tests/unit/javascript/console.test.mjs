// The logic of the console's modules, in the time zone of the environment, without a browser.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { change, makeDocument } from "./small_document.mjs";
import { SteppedClock } from "./stepped_clock.mjs";

makeDocument();
globalThis.sessionStorage = { getItem: () => null };
const load = (name) => import(`${process.env.MODULES}/console/${name}.js`);
const { address, filterBar, filterOf, filterText } = await load("filters");
const { ago, duration, exact, moment, share, short } = await load("format");
const { keepLooking } = await load("live");
const { columns, laneColumns, merged, pace, totals } = await load("series");
const { endingText, stateOf } = await load("words");
const NOW = Date.UTC(2026, 0, 31, 12);
const MINUTE = 60_000;
const DAY = 86_400_000;
let clock;

beforeEach(() => {
  clock = new SteppedClock(NOW);
});

afterEach(() => clock.end());

// -- filters ---------------------------------------------------------------------------------------------------------

function untilOf(filter, changed = () => {}) {
  const [control] = filterBar(filter, changed, { names: ["until"] }).all((each) => each.attributes.type === "datetime-local");
  return control;
}

/** Returns a time as a control shows it, in the environment's time zone, by another way than the module's. */
function shownAs(date) {
  const part = (value) => String(value).padStart(2, "0");
  return `${date.getFullYear()}-${part(date.getMonth() + 1)}-${part(date.getDate())}T${part(date.getHours())}:${part(date.getMinutes())}`;
}

// Around noon and midnight, near the changes of summer time (but in no hour that comes twice), and on a leap day.
const TIMES = [NOW, NOW + DAY / 2, Date.UTC(2026, 2, 8, 6), Date.UTC(2026, 2, 29, 3), Date.UTC(2026, 3, 5, 12), Date.UTC(2026, 8, 27, 1), Date.UTC(2026, 9, 25, 4), Date.UTC(2026, 10, 1, 11), Date.UTC(2028, 1, 29, 23)];

for (const ms of TIMES) {
  const text = new Date(ms).toISOString();

  test(`the end of a period, ${text}, is shown in the user's own time and asked for as it was`, () => {
    const asked = [];
    const control = untilOf({ until: text }, (filter) => asked.push(filter));
    assert.equal(control.value, shownAs(new Date(ms)));
    change(control, control.value);
    assert.deepEqual(asked, [{ until: text }]);
  });
}

test("a filter is cleared by clearing its control, and another stays", () => {
  const asked = [];
  change(untilOf({ until: new Date(NOW).toISOString(), webhookId: "hook" }, (filter) => asked.push(filter)), "");
  assert.deepEqual(asked, [{ webhookId: "hook" }]);
  assert.equal(untilOf({}).value, "");
});

test("a filter and its address say the same", () => {
  const filter = { webhookId: "a b", state: "queued,sending", since: "15m", failed: "true" };
  const [path, query] = address("/invocations", filter).split("?");
  assert.equal(path, "#/invocations");
  assert.deepEqual(filterOf(new URLSearchParams(query)), filter);
  assert.equal(address("/invocations", { state: "" }), "#/invocations");
  assert.deepEqual(filterOf(new URLSearchParams("evil=1&state=queued")), { state: "queued" });
});

test("a filter is told in words", () => {
  assert.equal(filterText({ webhookId: "hook", outcome: "dns_failed", state: "queued,sending", status: "5xx,404" }), "hook, the name could not be looked up, queued or sending, status 5xx or 404");
  assert.equal(filterText({ caller: "cli", chain: "c-1", replay: "r-1", subject: true }), "triggered by cli, steps of c-1, made by the replay r-1, of one subject");
  assert.equal(filterText({}), "");
});

const CHOICES = { "": {}, failed: { failed: "true" }, "queued,sending,retrying,waiting": { state: "queued,sending,retrying,waiting" }, delivered: { state: "delivered" } };

for (const before of [{}, { failed: "true" }, { failed: "true", unreplayed: "false" }, { state: "queued" }, { state: "delivered", failed: "true" }]) {
  test(`another state replaces all that ${JSON.stringify(before)} says of states, and nothing else`, () => {
    for (const [choice, wanted] of Object.entries(CHOICES)) {
      const asked = [];
      const [control] = filterBar({ ...before, webhookId: "hook" }, (filter) => asked.push(filter), { names: ["state", "failed"] }).all((each) => each.tag === "select");
      change(control, choice);
      assert.deepEqual(asked, [{ webhookId: "hook", ...wanted }]);
    }
  });
}

// -- looking again and again -----------------------------------------------------------------------------------------

/** Returns when each look began; look number n, counted from 0, does what `does(n)` says. */
async function looks(count, everyMs, does) {
  const at = [];
  const failed = [];
  const stop = new AbortController();
  const look = async () => {
    at.push(clock.now);
    if (at.length === count) return false;
    return does(at.length - 1);
  };
  await clock.until(keepLooking(look, everyMs, stop.signal, (error) => failed.push(error.message)));
  return { gaps: at.slice(1).map((each, index) => each - at[index]), failed };
}

const fail = () => {
  throw new Error("away");
};

test("looks are made at their interval", async () => {
  assert.deepEqual((await looks(4, 2_000, () => true)).gaps, [2_000, 2_000, 2_000]);
});

test("after errors the pauses grow to half a minute, and after a success they are short again", async () => {
  const found = await looks(12, 2_000, (n) => (n < 6 || n === 8 ? fail() : true));
  assert.deepEqual(found.gaps, [4_000, 8_000, 16_000, 30_000, 30_000, 30_000, 2_000, 2_000, 4_000, 2_000, 2_000]);
  assert.equal(found.failed.length, 7);
});

test("an interval longer than half a minute never gets shorter by errors", async () => {
  assert.deepEqual((await looks(4, 60_000, fail)).gaps, [60_000, 60_000, 60_000]);
});

test("slow looks take a tenth of the time at most", async () => {
  const slow = () => new Promise((resolve) => setTimeout(resolve, 1_000));
  assert.deepEqual((await looks(3, 2_000, slow)).gaps, [10_000, 10_000]);
});

test("a hidden page does not look until it is seen", async () => {
  const stop = new AbortController();
  let count = 0;
  const looking = keepLooking(async () => ((count += 1), (document.hidden = count === 1), count < 3), 1_000, stop.signal, fail);
  assert.deepEqual(await clock.until(looking), { pending: true });
  assert.equal(count, 1);
  document.hidden = false;
  document.dispatchEvent(new Event("visibilitychange"));
  assert.deepEqual(await clock.until(looking), { value: undefined });
  assert.equal(count, 3);
});

// -- times and numbers -----------------------------------------------------------------------------------------------

test("a time of today is shown without its date, and any other with it, by the user's own calendar", () => {
  for (let hours = -30; hours <= 30; hours += 1) {
    const date = new Date(NOW + hours * 3_600_000);
    const isToday = date.getDate() === new Date().getDate();
    assert.equal(/[A-Z][a-z]{2}/.test(moment(date.toISOString())), !isToday, date.toISOString());
    assert.ok(moment(date.toISOString()).endsWith(shownAs(date).slice(11) + ":00"));
    assert.ok(exact(date.toISOString()).includes(shownAs(date).slice(11)));
  }
});

test("how long ago a time was is told in whole units", () => {
  const told = { 0: "just now", 4_000: "just now", 5_000: "5 s ago", 59_000: "59 s ago", 60_000: "1 min ago", 3_599_000: "59 min ago", 3_600_000: "1 h ago", 86_399_000: "23 h ago", 86_400_000: "1 d ago", "-9000": "just now" };
  for (const [ms, text] of Object.entries(told)) assert.equal(ago(new Date(NOW - Number(ms)).toISOString()), text);
});

test("durations, shares and counts are rounded for people", () => {
  const durations = { 0: "0 ms", 0.4: "< 1 ms", 999: "999 ms", 1_000: "1.00 s", 9_999: "10.00 s", 59_000: "59.0 s", 61_000: "1 min 1 s", 3_661_000: "1 h 1 min", 90_000_000: "1 d 1 h" };
  for (const [ms, text] of Object.entries(durations)) assert.equal(duration(Number(ms)), text);
  const shares = { 0: "0 %", 0.0005: "< 0.1 %", 0.0999: "9.9 %", 0.5: "50 %", 0.999: "99.9 %", 0.99999: "99.9 %", 1: "100 %" };
  for (const [part, text] of Object.entries(shares)) assert.equal(share(Number(part)), text);
  assert.deepEqual([short(9_999), short(10_000), short(null)], ["9,999", "10K", "–"]);
});

// -- series ----------------------------------------------------------------------------------------------------------

const bucket = (minute, final, more = {}) => ({ start: new Date(NOW + minute * MINUTE).toISOString(), accepted: 1, errors: 0, final, p50Ms: null, p95Ms: null, p99Ms: null, ...more });

test("new buckets replace those of the same minute, and old ones leave", () => {
  const had = [bucket(0, { delivered: 1 }), bucket(1, { delivered: 1 })];
  const found = merged(had, [bucket(2, {}), bucket(1, { delivered: 5 })], NOW + 2 * MINUTE);
  assert.deepEqual(found.map((each) => [each.start, each.final.delivered]), [[bucket(1).start, 5], [bucket(2).start, undefined]]);
});

test("what was refused or cancelled has not ended at an endpoint", () => {
  const found = totals([bucket(0, { delivered: 3, unreachable: 1, rejected: 4, cancelled: 2 }, { errors: 2 }), bucket(1, { interrupted: 1 }, { errors: 1 })]);
  assert.deepEqual(found, { accepted: 2, ended: 5, errors: 3, rejected: 4, errorShare: 0.6 });
  assert.equal(totals([]).errorShare, null);
});

test("the pace is of whole minutes since traffic began", () => {
  const idle = { accepted: 0 };
  assert.equal(pace([bucket(0, {}, idle)]), null);
  assert.equal(pace([bucket(0, {}, idle), bucket(1, { delivered: 4 }), bucket(2, { delivered: 8 }), bucket(3, { delivered: 99 })]), 6);
  assert.equal(pace([bucket(0, { delivered: 3 })]), 3);
  assert.equal(pace(Array.from({ length: 9 }, (_, n) => bucket(n, { delivered: n }))), 5);
});

test("columns of several minutes have means of counts and the highest percentiles", () => {
  const found = columns([bucket(0, { delivered: 4 }, { errors: 2, p99Ms: 10 }), bucket(1, { delivered: 2 }, { p99Ms: 30 }), bucket(2, { delivered: 1 }, { p99Ms: 20 })], NOW, NOW + 3 * MINUTE, 2);
  assert.deepEqual(found.xs, [NOW / 1_000, NOW / 1_000 + 120]);
  assert.deepEqual([found.total, found.good, found.errors, found.p99, found.p50], [[3, 0.5], [2, 0.5], [1, 0], [30, 20], [null, null]]);
});

test("columns of lanes have the most of their minutes, and nothing where nobody looked", () => {
  const minute = (n, pending) => ({ start: new Date(NOW + n * MINUTE).toISOString(), pending });
  const found = laneColumns([minute(-1, { bulk: 99 }), minute(0, { bulk: 2, replay: null }), minute(1, { bulk: 5 }), minute(4, { bulk: 99 })], ["bulk", "replay"], NOW, NOW + 3 * MINUTE, 2);
  assert.deepEqual(found.lanes, [[5, null], [null, null]]);
});

// -- words -----------------------------------------------------------------------------------------------------------

test("a record is shown by its state, failed if its answer is an error, and damaged if its state cannot be read", () => {
  assert.deepEqual(stateOf({ state: "delivered", result: { error: true } }), { label: "Failed", tone: "bad" });
  assert.deepEqual(stateOf({ state: "delivered", result: { error: false } }), { label: "Delivered", tone: "good" });
  assert.deepEqual(stateOf({ state: null, result: null, damaged: ["state"] }), { label: "Damaged", tone: "bad" });
});

test("an end is told by its status or its outcome", () => {
  assert.deepEqual([endingText("answered", 503), endingText(null, 0), endingText("dns_failed", 0), endingText("response_rejected", 200), endingText("brand_new", 0)], ["answered 503", "no answer", "the name could not be looked up", "the answer does not fit the registration (200)", "brand new"]);
});
