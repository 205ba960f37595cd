// The console's frame: signing in and out, the address, and what the keys do.
import assert from "node:assert/strict";
import { after, beforeEach, test } from "node:test";
import { pictured } from "./small_document.mjs";
import { SmallPage } from "./small_page.mjs";

const page = new SmallPage();
const app = document.createElement("div");
app.setAttribute("id", "app");
document.body.append(app);
let isDark = false;
globalThis.matchMedia = (query) => Object.assign(new EventTarget(), { matches: query === `(prefers-color-scheme: ${isDark ? "dark" : "light"})` });
let top = null;
window.scrollTo = (...place) => (top = place);
let address = "";
globalThis.location = {
  get hash() {
    return address;
  },
  set hash(next) {
    this.replace(next);
  },
  replace(next) {
    address = next.startsWith("#") ? next : `#${next}`;
    queueMicrotask(() => window.dispatchEvent(new Event("hashchange")));
  },
};
const lanes = ["interactive", "bulk", "replay"].map((lane) => ({ lane, pending: 0, oldestSeconds: null, workers: 1 }));
const RECORD = { referenceId: "ref", webhookId: "hook", state: "delivered", attempts: [], createdAt: "2026-01-31T12:00:00Z", finishedAt: "2026-01-31T12:00:00Z", result: { status: 200, error: false, data: 1 }, chain: null };
const JOB = { replayId: "job", state: "done", filter: null, ratePerSecond: null, matched: 1, delivered: 1, failed: 0, skipped: 0, started: 1, skippedReasons: {} };
const ALL = { plugin: "clinic", webhooks: [], invocations: [], replays: [], buckets: [], lanes, minutes: [], groups: [], status: "ready", cursor: null, parts: [], complete: true, missing: null, matched: 0, skipped: 0, leftOut: {}, ...RECORD, ...JOB };
page.relay = ({ path }) => (/v1\/invocations\/[^/]*$/.test(path) ? RECORD : ALL);
const kept = () => sessionStorage.getItem("webhook-relay-key");
await import(`${process.env.MODULES}/console/main.js`);
await page.settled();

const content = () => document.getElementById("content");
const current = () => app.querySelectorAll("[data-tab]").filter((each) => each.attributes["aria-current"] === "page").map((each) => each.textContent);
const ID = "01a212df-f240-762a-b94b-9a721eac4bbe";

async function go(hash) {
  location.hash = hash;
  await page.settled();
}

async function signIn(key) {
  const form = app.querySelector("form");
  form.querySelector("input").value = key;
  form.dispatchEvent(new Event("submit", { cancelable: true }));
  await page.settled();
}

beforeEach(async () => {
  if (!kept()) await signIn("whk_a_b");
  await go("#/overview");
});

after(() => kept() && page.click(app, "", (each) => each.attributes["aria-label"] === "Sign out")); // a view would go on asking

test("a kept key signs in by itself, and the frame names its plugin and id", () => {
  assert.deepEqual(pictured(app).slice(0, 7), ["<Skip to the content>", "[Webhook relay](#/overview)", "> [Overview](#/overview)", "[Invocations](#/invocations)", "[Replays](#/replays)", "[Webhooks](#/webhooks)", "clinicKey a<Switch between light and dark><Sign out>"]);
});

test("the plugin is named as soon as the relay says it", async () => {
  const { relay } = page;
  await page.click(app, "", (each) => each.attributes["aria-label"] === "Sign out");
  page.relay = (request) => (request.path === "/v1/traffic" ? new Response("{}", { status: 503 }) : relay(request));
  await signIn("whk_c_d");
  page.relay = relay;
  await go("#/webhooks");
  assert.ok(pictured(app).some((line) => line.startsWith("clinic")));
});

const TABS = { overview: "Overview", invocations: "Invocations", replays: "Replays", webhooks: "Webhooks", [`invocations/${ID}`]: "Invocation", [`replays/${ID}`]: "Replay", "replays/new": "New replay" };

for (const [path, title] of Object.entries(TABS)) {
  test(`the address ${path} leads to its view and marks its tab`, async () => {
    top = null;
    await go(`#/${path}`);
    assert.equal(document.title, `${title} · Webhook relay`);
    assert.deepEqual(current(), [TABS[path.split("/")[0]]]);
    assert.equal(content().children.length, 1);
    assert.equal(document.activeElement, content().querySelector("h1"));
    assert.deepEqual(top, [0, 0]);
  });
}

for (const [view, label, next] of [["invocations", "State", "failed=true"], ["invocations", "Outcome", ""], ["overview", "6 h", "range=6h"], ["overview", "Webhook", "webhook=hook"], ["webhooks", "24 h", "window=24h"]]) {
  test(`${label} keeps the focus when another address of ${view} is shown, and nothing scrolls`, async () => {
    const control = () => content().all((each) => ["input", "select"].includes(each.tag) && (each.attributes["aria-label"] ?? each.closest("label")?.querySelector("span").textContent) === label)[0];
    await go(`#/${view}${next ? "" : "?outcome=answered"}`);
    const old = control();
    old.focus();
    top = null;
    await go(`#/${view}?${next}`);
    assert.notEqual(control(), old);
    assert.deepEqual([document.activeElement === control(), top], [true, null]);
    if (label === "Outcome") assert.equal(control().closest("details").attributes.open, "", "or it could not have the focus");
    app.querySelector("[data-tab]").focus();
    await go(`#/${view}?webhook=other&webhookId=other`);
    assert.deepEqual([document.activeElement, top], [content().querySelector("h1"), [0, 0]]);
  });
}

test("another view with a control of the same name begins as it is", async () => {
  await go("#/invocations?outcome=answered");
  content().querySelector("details").querySelector("select").focus();
  await go("#/replays/new");
  assert.equal(content().querySelector("details").attributes.open, undefined);
  assert.equal(document.activeElement, content().querySelector("h1"));
});

test("an address of a call or a replay is asked for by its id", async () => {
  for (const path of ["invocations", "replays"]) {
    page.asked = [];
    await go(`#/${path}/${ID}`);
    assert.ok(page.asked.some((request) => request.path === `/v1/${path}/${ID}`));
  }
});

for (const path of ["", "/", "/nothing", "/invocations/", `/invocations/${ID}0`, `/invocations/${ID.toUpperCase()}`, "/replays/newer", "/overview/x", "overview"]) {
  test(`the address ${JSON.stringify(path)}, which is of no view, leads to the overview`, async () => {
    await go("#/webhooks");
    await go(`#${path}`);
    assert.deepEqual([address, current()], ["#/overview", ["Overview"]]);
  });
}

const KNOWN = { overview: "range webhook", invocations: "webhookId state status failed unreplayed outcome caller chain replay since until", [`invocations/${ID}`]: "", replays: "", "replays/new": "ref webhookId state status outcome since until", [`replays/${ID}`]: "", webhooks: "find sort window" };

for (const [path, names] of Object.entries(KNOWN)) {
  test(`the address ${path} knows ${names || "no parameter"}, and names each other one once`, async () => {
    const known = names.split(" ").filter(Boolean);
    const said = () => pictured(content()).filter((line) => line.startsWith("This page does not know"));
    await go(`#/${path}?${known.map((name) => `${name}=x`).join("&")}`);
    assert.deepEqual(said(), []);
    await go(`#/${path}?${[...known.map((name) => `${name}=x`), "evil=1", "other=2", "evil=3"].join("&")}`);
    assert.deepEqual(said(), [`This page does not know “evil”, “other”, and ignores it. It knows ${known.join(", ") || "no parameters"}.`]);
    await go("#/webhooks");
    assert.deepEqual(said(), []);
  });
}

test("a view that is left asks nothing more", async () => {
  let signal;
  const { fetch } = globalThis;
  globalThis.fetch = (url, how) => ((signal ??= how.signal), fetch(url, how));
  await go("#/replays");
  globalThis.fetch = fetch;
  assert.equal(signal.aborted, false);
  await go("#/webhooks");
  assert.equal(signal.aborted, true);
});

test("the link to the content gives it the focus", async () => {
  await page.click(app, "Skip to the content");
  assert.equal(document.activeElement, content());
});

test("signing out forgets the key and stops the view, and the next one who signs in is named", async () => {
  let signal;
  const { fetch } = globalThis;
  globalThis.fetch = (url, how) => ((signal ??= how.signal), fetch(url, how));
  await go("#/webhooks");
  globalThis.fetch = fetch;
  await page.click(app, "", (each) => each.attributes["aria-label"] === "Sign out");
  assert.deepEqual([kept(), signal.aborted, document.title], [null, true, "Sign in · Webhook relay"]);
  assert.deepEqual(pictured(app), ["Webhook relay", "!warn! You are signed out. The page has forgotten the key.", "API key with the scope operate_whk_…_It is kept until you close this tab or sign out, and sent to this relay only.", "<Sign in>", "[API documentation](docs)<Switch between light and dark>"]);
  assert.equal(document.activeElement, app.querySelector("input"));
  await go("#/replays");
  assert.equal(content(), null, "no address is shown without a key");
  page.relay = ((relay) => (request) => (request.path === "/v1/traffic" ? { ...ALL, plugin: "other" } : relay(request)))(page.relay);
  await signIn(" whk_next_b ");
  assert.equal(kept(), "whk_next_b");
  assert.deepEqual([current(), document.title], [["Replays"], "Replays · Webhook relay"]);
  assert.ok(pictured(app).includes("otherKey next<Switch between light and dark><Sign out>"));
});

test("a key that is refused is said, and can be corrected", async () => {
  await page.click(app, "", (each) => each.attributes["aria-label"] === "Sign out");
  const { relay } = page;
  page.relay = () => new Response('{"title": "Unauthenticated"}', { status: 401 });
  document.activeElement = null;
  await signIn("whk_no_b");
  const button = app.querySelector("button");
  assert.deepEqual(pictured(app).slice(1, 2), ["!bad! The relay does not accept this key: it may be revoked, expired or mistyped."]);
  assert.deepEqual([button.disabled, document.activeElement, kept()], [false, app.querySelector("input"), null]);
  let come;
  page.relay = () => new Promise((resolve) => (come = resolve));
  await signIn("whk_c_d");
  assert.deepEqual([button.disabled, pictured(app)[1].startsWith("API key")], [true, true]);
  page.relay = relay;
  come({});
  await page.settled();
  assert.equal(kept(), "whk_c_d");
  assert.ok(content());
});

test("a key that the relay no longer accepts ends the session", async () => {
  const { relay } = page;
  page.relay = () => new Response('{"title": "Unauthenticated"}', { status: 401 });
  await go("#/webhooks");
  page.relay = relay;
  assert.equal(kept(), null);
  assert.deepEqual(pictured(app).slice(0, 2), ["Webhook relay", "!warn! Your session has ended: the relay no longer accepts the key. Sign in again to continue."]);
});

for (const [system, shown] of [[false, ["dark", "light", "dark"]], [true, ["light", "dark", "light"]]]) {
  test(`the scheme is switched from that of the ${system ? "dark" : "light"} system and back, and charts hear of it`, async () => {
    isDark = system;
    delete document.documentElement.attributes["data-theme"];
    let heard = 0;
    window.addEventListener("themechange", () => (heard += 1), { once: true });
    for (const scheme of shown) {
      await page.click(app, "", (each) => each.attributes["aria-label"] === "Switch between light and dark");
      assert.equal(document.documentElement.dataset.theme, scheme);
    }
    assert.equal(heard, 1);
  });
}

/** Presses a key with the focus in an element; returns whether the page took it. */
async function press(key, focus, more = {}) {
  document.activeElement = focus;
  const event = Object.assign(new Event("keydown", { cancelable: true }), { key, ctrlKey: false, metaKey: false, altKey: false, ...more });
  document.dispatchEvent(event);
  await page.settled();
  return event.defaultPrevented;
}

test("a slash leads to what the view finds, or to the field for reference ids, and is a character in a field", async () => {
  await go("#/webhooks");
  const search = content().querySelector(".look-up input");
  assert.deepEqual([await press("/", null), document.activeElement === search, address], [true, true, "#/webhooks"]);
  await go("#/overview");
  const box = document.createElement("input");
  box.setAttribute("type", "checkbox");
  assert.equal(await press("/", box), true);
  assert.deepEqual([address, document.activeElement], ["#/invocations", content().querySelector(".look-up input")]);
  await go("#/replays");
  assert.equal(document.activeElement, content().querySelector("h1"), "only the view that was gone to for it");
  for (const [key, more] of [["a", {}], ["/", { ctrlKey: true }], ["/", { metaKey: true }], ["/", { altKey: true }]]) assert.equal(await press(key, null, more), false);
  for (const tag of ["input", "select", "textarea"]) assert.equal(await press("/", document.createElement(tag)), false, tag);
  const dialog = document.createElement("dialog");
  document.body.append(dialog);
  dialog.showModal();
  assert.equal(await press("/", null), false);
  dialog.remove();
  await page.click(app, "", (each) => each.attributes["aria-label"] === "Sign out");
  assert.equal(await press("/", null), false);
  assert.equal(address, "#/replays");
});
