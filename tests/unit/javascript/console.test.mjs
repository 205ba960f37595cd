// The logic of the console's modules, in the time zone of the environment, without a browser.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { change, makeDocument } from "./small_document.mjs";
import { SteppedClock } from "./stepped_clock.mjs";

makeDocument();
globalThis.sessionStorage = { getItem: () => null };
const load = (name) => import(`${process.env.MODULES}/console/${name}.js`);
const { address, filterBar, filterOf, filterText } = await load("filters");
const { ago, bytes, count, counted, duration, exact, moment, share, short } = await load("format");
const { h, icon, put } = await load("dom");
const { keepLooking } = await load("live");
const { columns, laneColumns, latest, merged, pace, totals } = await load("series");
const { FINAL, OUTCOMES, SKIPPED, STATES, endingText, isDamaged, stateOf } = await load("words");
const { LIMITS } = await load("views/replay_new");
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

/** Sends what a browser tells while a time is typed, a change after each digit, and as the control is left. */
function type(control, ...values) {
  for (const value of values) change(control, value);
  control.dispatchEvent(new Event("blur"));
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
    assert.equal(untilOf({ until: text }).value, shownAs(new Date(ms)));
    type(untilOf({}, (filter) => asked.push(filter)), shownAs(new Date(ms)));
    assert.deepEqual(asked, [{ until: text }]);
  });
}

test("a filter is cleared by clearing its control, and another stays", () => {
  const asked = [];
  type(untilOf({ until: new Date(NOW).toISOString(), webhookId: "hook" }, (filter) => asked.push(filter)), "");
  assert.deepEqual(asked, [{ webhookId: "hook" }]);
  assert.equal(untilOf({}).value, "");
});

test("a time is taken once, when it is whole and its control is left or Enter is pressed, and only if it is another one", () => {
  const asked = [];
  const control = untilOf({ until: new Date(NOW).toISOString() }, ({ until }) => asked.push(until));
  const [before, first, second] = [NOW, NOW + DAY, NOW + 2 * DAY].map((ms) => shownAs(new Date(ms)));
  type(control, first, before);
  control.validity.badInput = true;
  type(control, "");
  control.validity.badInput = false;
  assert.deepEqual(asked, []);
  type(control, second, first);
  assert.deepEqual(asked, [new Date(NOW + DAY).toISOString()]);
  change(control, second);
  for (const key of ["1", "Enter", "Enter"]) control.dispatchEvent(Object.assign(new Event("keydown"), { key }));
  control.dispatchEvent(new Event("blur"));
  assert.deepEqual(asked.slice(1), [new Date(NOW + 2 * DAY).toISOString()]);
  assert.match(control.attributes.max, /^9999-/, "a year is typed in four digits");
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

test("the end of a period that is an age is shown as its time, and one that nobody can read as none", () => {
  const ages = { "90s": 90_000, "15m": 900_000, "2h": 7_200_000, "30d": 30 * DAY };
  for (const [age, ms] of Object.entries(ages)) assert.equal(untilOf({ until: age }).value, shownAs(new Date(NOW - ms)));
  for (const text of ["x", "15", "999999999d", "2026-13-01T00:00:00Z"]) assert.equal(untilOf({ until: text }).value, "");
});

test("the beginning of a period is an age, or a time in the user's own zone", () => {
  const chosen = (since) => filterBar({ since }, () => {}, { names: ["since"] }).all((each) => "selected" in each.attributes)[0].textContent;
  const date = new Date(Date.UTC(2026, 6, 1, 23, 30));
  const [day, time] = shownAs(date).split("T");
  assert.deepEqual(["15m", "90m", "3d", date.toISOString()].map(chosen), ["Last 15 minutes", "Last 90m", "Last 3d", `Since ${day.split("-").reverse().join("/")}, ${time}:00`]);
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

test("looking says that it goes on after every answer but that the request is not valid, which ends it", async () => {
  for (const status of [undefined, 0, 400, 403, 404, 410, 429, 500, 503]) {
    const { gaps, failed } = await looks(3, 2_000, () => {
      throw Object.assign(new Error("No."), { status });
    });
    assert.deepEqual([gaps.length, new Set(failed)], status === 400 ? [0, new Set(["No."])] : [2, new Set(["No. The page keeps trying."])], status);
  }
});

test("no look is made before the relay has said, except after an hour", async () => {
  const waits = [7, 60, 1, 0, 4_000, 9_999_999];
  const found = await looks(8, 2_000, (n) => {
    if (n < waits.length) throw Object.assign(new Error("busy"), { status: 429, waitS: waits[n] });
  });
  assert.deepEqual(found.gaps, [7_000, 60_000, 16_000, 30_000, 3_600_000, 3_600_000, 2_000]);
});

test("slow looks take a tenth of the time at most", async () => {
  const slow = () => new Promise((resolve) => setTimeout(resolve, 1_000));
  assert.deepEqual((await looks(3, 2_000, slow)).gaps, [10_000, 10_000]);
});

test("no look is made more than half a minute after the last, however long that took", async () => {
  for (const end of [() => true, fail]) {
    const frozen = () => new Promise((resolve) => setTimeout(resolve, 20_000)).then(end);
    assert.deepEqual((await looks(3, 2_000, frozen)).gaps, [50_000, 50_000]);
  }
});

for (const [when, isHidden] of [["in a pause", false], ["while the page is hidden", true]]) {
  test(`looking ends at once if the view is left ${when}, and leaves no timer`, async () => {
    const stop = new AbortController();
    let count = 0;
    const looking = keepLooking(async () => ((document.hidden = isHidden), (count += 1)), 1_000, stop.signal, fail);
    if (isHidden) await clock.until(looking);
    else await clock.until(new Promise((resolve) => setTimeout(resolve, 500)));
    stop.abort();
    assert.deepEqual(await clock.until(looking, 0), { value: undefined });
    assert.deepEqual([count, clock.timers.size], [1, 0]);
    document.hidden = false;
  });
}

test("a look that fails as the view is left is not told", async () => {
  for (const name of ["AbortError", "TypeError"]) {
    const stop = new AbortController();
    const look = async () => {
      stop.abort();
      throw Object.assign(new Error("left"), { name });
    };
    assert.deepEqual(await clock.until(keepLooking(look, 1_000, stop.signal, fail)), { value: undefined });
  }
  const aborted = async () => {
    throw Object.assign(new Error("left"), { name: "AbortError" });
  };
  assert.deepEqual(await clock.until(keepLooking(aborted, 1_000, new AbortController().signal, fail)), { value: undefined });
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
  assert.deepEqual([short(9_999), short(10_000), short(null), short(undefined), short(0), short(1_250_000)], ["9,999", "10K", "–", "–", "0", "1.3M"]);
  assert.deepEqual([count(0), count(1_234.56), count(null), count(undefined)], ["0", "1,234.6", "–", "–"]);
  assert.deepEqual([0, 1, 2, 1_000].map((number) => counted(number, "call")), ["0 calls", "1 call", "2 calls", "1,000 calls"]);
  assert.deepEqual([0, 1_023, 1_024, 1_536, 1_048_575, 1_048_576, 2_621_440, null, undefined].map(bytes), ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "1.0 MiB", "2.5 MiB", "–", "–"]);
  assert.deepEqual([59_999, 3_599_999, 86_400_000, 2 * 86_400_000 + 5 * 3_600_000, 999.6, 10_000, null].map(duration), ["1 min 0 s", "1 h 0 min", "1 d 0 h", "2 d 5 h", "1.00 s", "10.0 s", "–"]);
  assert.deepEqual([999.4, 999.5, 59_949, 59_950].map(duration), ["999 ms", "1.00 s", "59.9 s", "1 min 0 s"]);
  assert.deepEqual([1_048_524, 1_048_525].map(bytes), ["1023.9 KiB", "1.0 MiB"]);
  assert.deepEqual([0.1, 0.09999, 0.991, 0.001, null, 0.994999, 0.005].map(share), ["10 %", "9.9 %", "99.1 %", "0.1 %", "–", "99.4 %", "0.5 %"]);
  const exactly = (n) => (n < 100 || n > 990 ? `${Math.floor(n / 10)}.${n % 10} %` : `${Math.floor((n + 5) / 10)} %`);
  for (let n = 1; n < 1_000; n += 1) assert.equal(share(n / 1_000), exactly(n));
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

test("the latest percentiles are those of the last minute that has any", () => {
  const made = [bucket(0, {}, { p50Ms: 1 }), bucket(1, {}, { p50Ms: 0 }), bucket(2, {}), bucket(3, {}, { p50Ms: undefined })];
  assert.deepEqual([latest(made), latest(made.slice(0, 1)), latest(made.slice(2)), latest([])], [made[1], made[0], null, null]);
});

test("columns begin at a whole step, and leave out what is before or after them", () => {
  const made = [-6, -5, 0, 4, 5, 9].map((n) => bucket(n, { delivered: 10 }, { errors: 5, p50Ms: n + 10, p95Ms: 1, p99Ms: 2 }));
  const found = columns(made, NOW - 3 * MINUTE, NOW + 5 * MINUTE, 5);
  assert.deepEqual(found.xs, [-5, 0, 5].map((n) => NOW / 1_000 + n * 60));
  assert.deepEqual([found.total, found.good, found.errors, found.errorShare, found.p50, found.p95, found.p99], [[2, 4, 4], [1, 2, 2], [1, 2, 2], [0.5, 0.5, 0.5], [5, 14, 19], [1, 1, 1], [2, 2, 2]]);
  assert.deepEqual(columns([], NOW, NOW, 1).errorShare, [null]);
});

test("buckets are sorted by time, and the minute that has begun before the period is kept", () => {
  const found = merged([bucket(2, {}), bucket(0, {})], [bucket(1, {}), bucket(-1, {})], NOW + MINUTE - 1);
  assert.deepEqual(found.map(({ start }) => (Date.parse(start) - NOW) / MINUTE), [0, 1, 2]);
});

// -- elements --------------------------------------------------------------------------------------------------------

test("an element has the attributes, listeners and children that are given, and no others", () => {
  let heard = 0;
  const element = h("input", { class: "a", hidden: true, disabled: false, title: null, lang: undefined, tabindex: 0, value: "text", checked: true, vars: { "--w": "5%" }, onclick: () => (heard += 1) }, "a", null, [0, [undefined, "b"], false], h("b", null));
  element.dispatchEvent(new Event("click"));
  assert.equal(heard, 1);
  assert.deepEqual(element.attributes, { class: "a", hidden: "", tabindex: "0" });
  assert.deepEqual([element.value, element.checked, element.variables], ["text", true, { "--w": "5%" }]);
  assert.deepEqual(element.childNodes.map((each) => each.tag ?? each), ["a", 0, "b", "b"]);
  assert.deepEqual(put(element, [0, false], "c", null).childNodes, [0, "c"]);
  assert.equal(icon("pause").attributes["aria-hidden"], "true");
});

// -- words -----------------------------------------------------------------------------------------------------------

test("a record is shown by its state, failed if its answer is an error, and damaged if its state cannot be read", () => {
  assert.deepEqual(stateOf({ state: "delivered", result: { error: true } }), { label: "Failed", tone: "bad" });
  assert.deepEqual(stateOf({ state: "delivered", result: { error: false } }), { label: "Delivered", tone: "good" });
  assert.deepEqual(stateOf({ state: null, result: null, damaged: ["state"] }), { label: "Damaged", tone: "bad" });
  assert.deepEqual(stateOf({ state: "delivered", result: { status: 200, error: null } }), { label: "Damaged", tone: "bad" });
  assert.deepEqual(stateOf({ state: "delivered", result: null }), { label: "Delivered", tone: "good" });
  assert.deepEqual(stateOf({ state: "brand_new" }), { label: "brand_new", tone: "idle" });
  assert.deepEqual([null, undefined, { status: 0, error: false }, { status: null, error: false }].map(isDamaged), [false, false, false, true]);
  const [good, bad, busy, warn, idle] = ["good", "bad", "busy", "warn", "idle"].map((tone) => Object.keys(STATES).filter((state) => STATES[state].tone === tone).join());
  assert.deepEqual([good, bad, busy, warn, idle], ["delivered", "unreachable,interrupted", "sending,waiting", "retrying,rejected", "queued,cancelled"]);
});

test("an end is told by its status or its outcome", () => {
  assert.deepEqual([endingText("answered", 503), endingText(null, 0), endingText("dns_failed", 0), endingText("response_rejected", 200), endingText("brand_new", 0), endingText(null, 404), endingText("answered", null), endingText("", 0)], ["answered 503", "no answer", "the name could not be looked up", "the answer does not fit the registration (200)", "brand new", "answered 404", "the endpoint answered", "no answer"]);
});

test("lists of states, outcomes and reasons, and limits of numbers, are those of the relay", () => {
  const { states, final, outcomes, skips, limits } = JSON.parse(process.env.WORDS);
  assert.deepEqual([Object.keys(STATES), [...FINAL]], [states, final]);
  assert.deepEqual([new Set(Object.keys(OUTCOMES)), new Set(Object.keys(SKIPPED))], [new Set(outcomes), new Set(skips)]);
  assert.deepEqual(Object.fromEntries(Object.entries(LIMITS).map(([name, { least, most }]) => [name, [least, most]])), limits);
});
