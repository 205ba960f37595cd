// What the console's views do when a user acts, when the relay refuses, and as long as they are shown.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { change, pictured } from "./small_document.mjs";
import { SmallPage, rowsOf } from "./small_page.mjs";
import { SteppedClock } from "./stepped_clock.mjs";

const page = new SmallPage();
const load = (name) => import(`${process.env.MODULES}/console/${name}.js`);
const { h, put, redraw } = await load("dom");
const { filterBar } = await load("filters");
const { confirmed, copyButton, copyIdsWhole, idText, pluginCommand, refLink, say, shortId } = await load("parts");
const { signIn, signOut } = await load("session");
const { chainTree } = await load("views/chain");
const view = {};
for (const name of ["invocation", "invocations", "overview", "replay", "replay_new", "replays", "webhooks"]) view[name] = await load(`views/${name}`);

const PRESS_MS = 500; // for which nothing takes a second press
const NOW = Date.UTC(2026, 0, 31, 12);
const at = (ms) => new Date(NOW + ms).toISOString();
const never = new AbortController().signal;
const problem = (status, detail) => new Response(JSON.stringify({ code: "some_code", detail }), { status });
const requests = (path, method = "GET") => page.asked.filter((each) => each.path === path && each.method === method);
const find = (root, takes) => root.all(takes)[0];
const labelled = (root, label) => find(root, (each) => each.tag === "label" && each.textContent.startsWith(label))?.querySelector("input, select");
const said = () => document.getElementById("said")?.childNodes.map((each) => `${each.attributes.class}: ${each.textContent}`) ?? [];
let clock;

beforeEach(() => {
  clock = new SteppedClock(NOW);
  page.asked = [];
  location.hash = "";
  document.activeElement = null;
  document.body.replaceChildren(h("div", { id: "app" }));
});

afterEach(() => {
  page.stop?.abort();
  clock.end();
});

/** Answers the question that is asked, and returns what was asked. */
async function answered(answer) {
  const dialog = document.body.querySelector("dialog[open]");
  const seen = pictured(dialog);
  await page.pass(clock, PRESS_MS);
  await page.click(dialog, answer);
  assert.equal(document.body.querySelector("dialog"), null);
  return seen;
}

// -- parts -----------------------------------------------------------------------------------------------------------

for (const [end, wanted] of [["yes", true], ["no", false], ["", false], [undefined, false]]) {
  test(`a question that is closed with ${JSON.stringify(end)} is ${wanted ? "" : "not "}confirmed`, async () => {
    const asked = confirmed("Sure?", "It is done for good.", "Do it", { signal: never, danger: wanted });
    const dialog = document.body.querySelector("dialog[open]");
    assert.deepEqual(pictured(dialog), ["Sure?", "It is done for good.", "<Back><Do it>"]);
    assert.equal(find(dialog, (each) => each.textContent === "Do it" && each.tag === "button").attributes.class, wanted ? "button danger" : "button primary");
    dialog.close(end);
    assert.deepEqual(await clock.until(asked), { value: wanted });
    assert.equal(document.body.querySelector("dialog"), null);
  });
}

test("a question ends with its view, unconfirmed, and one that was answered does not hear of it", async () => {
  for (const answer of ["yes", null]) {
    const left = new AbortController();
    const asked = confirmed("Sure?", "It is done for good.", "Do it", { signal: left.signal });
    const dialog = document.body.querySelector("dialog[open]");
    if (answer) dialog.close(answer);
    left.abort();
    assert.deepEqual([document.body.querySelector("dialog"), dialog.returnValue, await clock.until(asked)], [null, answer ?? "no", { value: Boolean(answer) }]);
  }
});

for (const [name, query, id, button] of [["webhooks", {}, undefined, "Resume"], ["replay", {}, "job", "Pause"]]) {
  for (const status of [200, 409]) {
    test(`what is answered with ${status} to an act in ${name} is not told in another view`, async () => {
      let come;
      page.relay = ({ method }) => (method === "POST" ? new Promise((resolve) => (come = resolve)) : { webhooks: [hook("a", { paused: true })], ...job("running") });
      const root = await page.show(view[name], query, id);
      await page.pass(clock, PRESS_MS);
      await page.click(root, button);
      page.stop.abort();
      const before = pictured(root);
      come(status === 200 ? { ...hook("a"), ...job("paused") } : problem(status, "It is over."));
      await page.settled();
      assert.deepEqual([pictured(root), said()], [before, []]);
    });
  }
}

test("a sentence is shown for a few seconds, a bad one for longer, and only the last", async () => {
  say("Done.");
  say("Not done.", "bad");
  assert.deepEqual(said(), ["bad: Not done."]);
  await page.pass(clock, 7_900);
  assert.deepEqual(said(), ["bad: Not done."]);
  await page.pass(clock, 200);
  assert.deepEqual(said(), []);
  say("Done.");
  await page.pass(clock, 2_900);
  assert.deepEqual(said(), ["good: Done."]);
  await page.pass(clock, 200);
  assert.deepEqual(said(), []);
  assert.equal(document.body.childNodes.length, 2, "the page and the sentence");
});

for (const may of [true, false]) {
  test(`copying says that the browser ${may ? "has done it" : "does not let it"}`, async () => {
    const writeText = async () => {
      if (!may) throw new Error("denied");
    };
    Object.defineProperty(globalThis, "navigator", { value: { clipboard: { writeText } }, configurable: true });
    const button = copyButton("Copy it", "text");
    const shape = () => find(button, (each) => each.tag === "path").attributes.d;
    const before = shape();
    await page.click(button, "");
    assert.deepEqual(said(), [may ? "good: Copied." : "bad: The browser does not let this page copy. Select the text instead."]);
    assert.equal(shape() !== before, may);
    await page.pass(clock, 1_600);
    assert.equal(shape(), before);
  });
}

test("an id is cut only if it is long, is copied whole from within, and a selection of more is not touched", () => {
  const [long, other] = [idText("abcdefghijklmnopqrstu"), idText("a".repeat(20))];
  assert.deepEqual(long.childNodes.map((each) => each.textContent), ["abcdefghi", "jklmnopqrstu"]);
  assert.deepEqual(other.childNodes, ["a".repeat(20)]);
  for (const each of [long, other]) each.title = each.attributes.title;
  const text = (parentElement) => ({ parentElement });
  for (const [anchorNode, focusNode, copied] of [[text(long.firstChild), text(long.childNodes[1]), long.title], [long, long.firstChild, long.title], [text(long), text(other), null], [text(other), text(document.body), null], [null, null, null]]) {
    const data = {};
    globalThis.getSelection = () => ({ anchorNode, focusNode });
    copyIdsWhole({ clipboardData: { setData: (type, value) => (data[type] = value) }, preventDefault: () => (data.isOurs = true) });
    assert.deepEqual(data, copied ? { "text/plain": copied, isOurs: true } : {});
  }
});

test("a reference id is shown by its ends, or whole, and named whole either way", () => {
  const reference = "01a212df-f240-762a-b94b-9a721eac4bbe";
  assert.deepEqual([shortId(reference), refLink(reference), refLink(reference, { whole: true })].map((each) => [each.textContent, each.attributes.title, each.attributes.href]), [["01a212df…ac4bbe", reference, undefined], ["01a212df…ac4bbe", reference, `#/invocations/${reference}`], [reference, reference, `#/invocations/${reference}`]]);
});

test("a command names the plugin of the key, also of the next key, and is copied as it is shown", async () => {
  const names = [];
  for (const plugin of ["one", "two"]) {
    page.relay = ({ path }) => (path === "/v1/traffic" ? { plugin } : {});
    signOut();
    await signIn(` whk_${plugin}_x `);
    assert.equal(sessionStorage.getItem("webhook-relay-key"), `whk_${plugin}_x`);
    const command = pluginCommand((name) => `relay do --plugin ${name}`);
    names.push(pictured(command));
    await page.settled();
    names.push(pictured(command));
    const copied = [];
    Object.defineProperty(globalThis, "navigator", { value: { clipboard: { writeText: async (text) => copied.push(text) } }, configurable: true });
    await page.click(command, "");
    assert.deepEqual(copied, [`relay do --plugin ${plugin}`]);
  }
  assert.deepEqual(names.flat(), ["relay do --plugin PLUGIN", "relay do --plugin one<Copy the command>", "relay do --plugin PLUGIN", "relay do --plugin two<Copy the command>"]);
});

// -- filters ---------------------------------------------------------------------------------------------------------

test("each control changes its own filter and keeps the others", () => {
  const before = { webhookId: "hook", state: "queued", status: "503", since: "1h", outcome: "answered", caller: "cli", chain: "c", replay: "r" };
  const given = { Webhook: ["webhookId", "", "hook"], Status: ["status", " 5xx, 404 ", "5xx,404"], Created: ["since", "7d", "7d"], Outcome: ["outcome", "dns_failed", "dns_failed"], Caller: ["caller", "", ""], "Steps of chain": ["chain", "d", "d"], "Made by replay": ["replay", "s", "s"] };
  for (const [label, [name, typed, wanted]] of Object.entries(given)) {
    const asked = [];
    change(labelled(filterBar(before, (filter) => asked.push(filter)), label), label === "Webhook" ? "hook" : typed);
    const { [name]: _, ...others } = before;
    assert.deepEqual(asked, [wanted ? { ...others, [name]: wanted } : others], label);
  }
});

test("replayed calls are only offered among those that failed, and ticking adds them", () => {
  for (const [failed, unreplayed, wanted] of [["true", undefined, { unreplayed: "false" }], ["true", "false", {}]]) {
    const asked = [];
    const box = labelled(filterBar({ failed, unreplayed }, (filter) => asked.push(filter)), "Include those");
    assert.equal(Boolean(box.checked), unreplayed === "false");
    box.checked = !box.checked;
    change(box, "on");
    assert.deepEqual(asked, [{ failed, ...wanted }]);
  }
  assert.equal(labelled(filterBar({ state: "delivered" }, () => {}), "Include those"), undefined);
  assert.equal(labelled(filterBar({ failed: "true" }, () => {}, { names: ["failed"] }), "Include those"), undefined);
});

test("filters are cleared together, and until the webhooks have come, the one that is chosen is there", async () => {
  const asked = [];
  const bar = filterBar({ webhookId: "hook" }, (filter) => asked.push(filter), { webhooks: new Promise(() => {}) });
  await page.click(bar, "Clear filters");
  assert.deepEqual(asked, [{}]);
  assert.deepEqual(labelled(bar, "Webhook").children.map((each) => each.textContent), ["All webhooks", "hook"]);
});

for (const index of [0, 2, null]) {
  test(`filters that are drawn anew give the focus back to ${index === null ? "nothing that had not got it" : `control ${index}`}`, () => {
    const place = document.createElement("div");
    redraw(place, filterBar({}, () => {}));
    const controls = () => place.querySelectorAll("input, select, summary, button");
    if (index !== null) controls()[index].focus();
    redraw(place, filterBar({ webhookId: "hook" }, () => {}));
    assert.equal(controls().indexOf(document.activeElement), index ?? -1);
  });
}

test("the focus goes to the control that leads to the same address, or else to the same one of those of its name", () => {
  const place = document.createElement("div");
  const made = (...labels) => labels.map((label) => (label.startsWith("#") ? h("a", { href: label }, `${page.asked.length} calls`) : h("button", { "aria-label": label })));
  const named = () => place.children.map((each) => each.attributes.href ?? each.attributes["aria-label"]);
  for (const [before, index, after, wanted] of [[["#a", "#b"], 1, ["#c", "#a", "#b"], 2], [["X", "Y", "Y"], 2, ["Y", "X", "Y"], 2], [["X", "Y"], 1, ["X"], -1], [["#a", "X"], 0, ["X", "#z", "#y"], 1]]) {
    put(place, made(...before));
    place.children[index].focus();
    redraw(place, made(...after));
    assert.deepEqual([named(), place.children.indexOf(document.activeElement)], [after, wanted]);
  }
});

// -- the search ------------------------------------------------------------------------------------------------------

const record = (number, more = {}) => ({ referenceId: `0000000${number}-0000-7000-8000-000000000000`, webhookId: "hook", state: "delivered", attempts: [], createdAt: at(-10_000), finishedAt: at(-7_000), result: { status: 200, error: false, data: "done" }, requestBytes: 1, responseBytes: 2, caller: "cli", chain: null, ...more });

test("only the first page of a search is live, and it keeps the focus", async () => {
  const rows = [record(1), record(2)];
  page.relay = ({ path, query }) => (path === "/v1/traffic" ? { webhooks: [] } : { invocations: query.cursor ? [record(9)] : rows.slice(), cursor: query.cursor ? null : "older" });
  page.relay = ((relay) => (request) => (request.path === "/v1/invocations" && !request.query.cursor ? { invocations: Array.from({ length: 50 }, (_, n) => record(n % 8, { referenceId: `row-${n}-of-${page.asked.length}` })), cursor: "older" } : relay(request)))(page.relay);
  const root = await page.show(view.invocations);
  const looks = () => requests("/v1/invocations").length;
  find(root, (each) => each.attributes.href?.startsWith("#/invocations/row-3")).focus();
  assert.equal(looks(), 1);
  await page.pass(clock, 9_000);
  assert.equal(looks(), 3);
  await page.click(root, "Older");
  assert.deepEqual(requests("/v1/invocations").at(-1).query, { limit: "50", cursor: "older" });
  const before = looks();
  await page.pass(clock, 30_000);
  assert.equal(looks(), before);
  assert.ok(pictured(root).includes("Page 2"));
  await page.click(root, "Newer");
  await page.pass(clock, 9_000);
  assert.equal(looks(), before + 3);
});

test("a page of a search that is drawn anew gives the focus back to the same call", async () => {
  page.relay = ({ path }) => (path === "/v1/traffic" ? { webhooks: [] } : { invocations: [record(3), record(1)], cursor: null });
  const root = await page.show(view.invocations);
  const link = () => find(root, (each) => each.attributes.href?.startsWith("#/invocations/00000001"));
  const old = link();
  old.focus();
  await page.pass(clock, 5_000);
  assert.notEqual(link(), old);
  assert.equal(document.activeElement, link());
});

test("the pager keeps the focus, and gives it to its other button at the last page", async () => {
  const pages = { start: ["older", 50], older: ["last", 50], last: [null, 3] };
  page.relay = ({ path, query }) => {
    const [cursor, number] = pages[query.cursor ?? "start"];
    return path === "/v1/traffic" ? { webhooks: [] } : { invocations: Array.from({ length: number }, (_, n) => record(n % 8, { referenceId: `${page.asked.length}-${n}` })), cursor };
  };
  const root = await page.show(view.invocations);
  const pager = (text) => find(root, (each) => each.tag === "button" && each.textContent === text);
  const old = pager("Older");
  old.focus();
  await page.pass(clock, 5_000);
  assert.notEqual(pager("Older"), old);
  assert.equal(document.activeElement, pager("Older"));
  for (const [pressed, focused] of [["Older", "Older"], ["Older", "Newer"], ["Newer", "Newer"], ["Newer", "Older"]]) {
    document.activeElement = document.body; // where it is once its element is gone
    await page.click(root, pressed);
    assert.equal(document.activeElement, pager(focused));
  }
  const search = root.querySelector(".look-up input");
  search.focus();
  await page.click(root, "Older");
  assert.equal(document.activeElement, search, "nothing takes the focus from where the user has put it");
});

test("an answer for a page that was left is not drawn", async () => {
  const answers = [];
  page.relay = ({ path, query }) => (path === "/v1/traffic" ? { webhooks: [] } : query.cursor ? new Promise((resolve) => answers.push(resolve)) : { invocations: Array.from({ length: 50 }, (_, n) => record(n % 8)), cursor: "older" });
  const root = await page.show(view.invocations);
  await page.click(root, "Older");
  await page.click(root, "Newer", () => true).catch(() => {});
  page.stop.abort();
  const before = pictured(root);
  answers[0]({ invocations: [record(9)], cursor: null });
  await page.settled();
  assert.deepEqual(pictured(root), before);
});

test("a search that failed can be tried again, by hand and by itself", async () => {
  let isAway = true;
  page.relay = ({ path }) => (path === "/v1/traffic" ? { webhooks: [] } : isAway ? problem(500, "Not now.") : { invocations: [record(1)], cursor: null });
  const root = await page.show(view.invocations);
  assert.deepEqual(rowsOf(root), []);
  isAway = false;
  await page.click(root, "Try again");
  assert.equal(rowsOf(root).length, 1);
  isAway = true;
  await page.pass(clock, 5_000);
  assert.equal(rowsOf(root).length, 1);
  assert.ok(pictured(root).some((line) => line.startsWith("Not up to date since")));
  isAway = false;
  await page.pass(clock, 9_000);
  assert.equal(rowsOf(root).length, 1);
  assert.ok(!pictured(root).some((line) => line.startsWith("Not up to date since")));
});

test("a note that a view is not up to date is read aloud once, until what it says changes", async () => {
  let why = null;
  page.relay = ({ path }) => (path === "/v1/traffic" ? { webhooks: [] } : why ? problem(500, why) : { invocations: [record(1)], cursor: null });
  const root = await page.show(view.invocations);
  const note = () => find(root, (each) => each.attributes.role === "status" && each.textContent.startsWith("Not up to date since"));
  why = "Not now.";
  await page.pass(clock, 5_000);
  const first = note().firstChild;
  const asked = requests("/v1/invocations").length;
  await page.pass(clock, 60_000);
  assert.ok(requests("/v1/invocations").length > asked);
  assert.equal(note().firstChild, first);
  why = "Not today.";
  await page.pass(clock, 61_000);
  assert.notEqual(note().firstChild, first);
  assert.match(note().textContent, /Not today\. The page keeps trying\.$/);
  why = null;
  await page.pass(clock, 61_000);
  assert.equal(note(), undefined);
  why = "Not today.";
  await page.pass(clock, 5_000);
  assert.match(note().textContent, /Not today\./);
});

test("a search whose request is never answered says so after half a minute, and goes on when the relay answers again", async () => {
  let isSilent = false;
  page.relay = ({ path }) => (path === "/v1/traffic" ? { webhooks: [] } : isSilent ? new Promise(() => {}) : { invocations: [record(1)], cursor: null });
  const root = await page.show(view.invocations);
  const noted = () => pictured(root).some((line) => line.startsWith("Not up to date since") && line.endsWith("The relay does not answer. The page keeps trying."));
  isSilent = true;
  await page.pass(clock, 32_000);
  assert.deepEqual([rowsOf(root).length, noted()], [1, false]);
  await page.pass(clock, 3_000);
  assert.deepEqual([rowsOf(root).length, noted()], [1, true]);
  isSilent = false;
  await page.pass(clock, 61_000);
  assert.deepEqual([rowsOf(root).length, noted()], [1, false]);
});

for (const [status, header, said, ms] of [[429, "20", " It says to try again in 20 s.", 20_000], [503, "20", " It says to try again in 20 s.", 20_000], [429, "Fri, 30 Jan 2026 12:00:00 GMT", "", 8_000], [403, null, "", 8_000]]) {
  test(`a search that is answered with ${status} and Retry-After ${header} says so, and is made again after ${ms} ms`, async () => {
    const busy = () => new Response(JSON.stringify({ code: "c", detail: "Not now." }), { status, headers: header ? { "Retry-After": header } : {} });
    page.relay = ({ path }) => (path === "/v1/traffic" ? { webhooks: [] } : busy());
    const root = await page.show(view.invocations);
    assert.ok(pictured(root).includes(`Not now.${said} The page keeps trying.`));
    page.relay = () => ({ webhooks: [], invocations: [record(1)], cursor: null });
    await page.pass(clock, ms - 100);
    assert.equal(rowsOf(root).length, 0);
    await page.pass(clock, 200);
    assert.equal(rowsOf(root).length, 1);
  });
}

test("a reference id is gone to however it is written, and nothing else is", async () => {
  page.relay = () => ({ webhooks: [], invocations: [], cursor: null });
  const root = await page.show(view.invocations);
  const form = find(root, (each) => each.tag === "form");
  const reference = "01a212df-f240-762a-b94b-9a721eac4bbe";
  for (const [typed, address] of [[` ${reference.toUpperCase()} `, `#/invocations/${reference}`], [reference.slice(1), ""], [`${reference}0`, ""], ["hook", ""]]) {
    location.hash = "";
    form.querySelector("input").value = typed;
    const event = new Event("submit", { cancelable: true });
    form.dispatchEvent(event);
    assert.deepEqual([location.hash, event.defaultPrevented], [address, true]);
  }
  assert.deepEqual(said(), ["bad: A reference id has the form 01a212df-f240-762a-b94b-9a721eac4bbe."]);
});

test("a filter that is changed is an address, and its webhooks are those of the relay", async () => {
  page.relay = () => ({ webhooks: [{ webhookId: "hook" }, { webhookId: "other" }], invocations: [], cursor: null });
  const root = await page.show(view.invocations, { webhookId: "hook", until: at(0) });
  assert.deepEqual(labelled(root, "Webhook").children.map((each) => each.textContent), ["All webhooks", "hook", "other"]);
  change(labelled(root, "Caller"), "cli");
  assert.equal(location.hash, `#/invocations?${new URLSearchParams({ webhookId: "hook", until: at(0), caller: "cli" })}`);
});

// -- one call --------------------------------------------------------------------------------------------------------

for (const name of ["invocations", "replay_new"]) {
  test(`a time in a control that goes with its view ${name} changes no address`, async () => {
    page.relay = ({ path }) => (path === "/v1/invocations" ? { invocations: [], cursor: null } : path === "/v1/traffic" ? { webhooks: [] } : { matched: 0, leftOut: {} });
    const root = await page.show(view[name]);
    const control = labelled(root, "Created until");
    control.value = "2026-01-31T11:00";
    page.stop.abort();
    location.hash = "#/overview";
    control.dispatchEvent(new Event("blur"));
    await page.settled();
    assert.equal(location.hash, "#/overview");
  });
}

test("a call is drawn anew only if it has changed, and its outline stays", async () => {
  let shown = record(1, { state: "sending", finishedAt: null, result: null });
  page.relay = ({ path }) => (path.endsWith("/request") ? { parts: [], complete: true, missing: null } : shown);
  const root = await page.show(view.invocation, {}, "ref");
  const [first] = root.childNodes.at(-1).childNodes;
  await page.pass(clock, 3_000);
  assert.equal(root.childNodes.at(-1).firstChild, first);
  shown = record(1);
  await page.pass(clock, 3_000);
  assert.notEqual(root.childNodes.at(-1).firstChild, first);
  assert.ok(pictured(root).includes("Nothing was given") && pictured(root).includes("{good: Status 200}<Copy the data>"));
  const looks = requests("/v1/invocations/ref").length;
  await page.pass(clock, 30_000);
  assert.equal(requests("/v1/invocations/ref").length, looks);
});

test("a call is shown though its outline fails, and the outline says why", async () => {
  page.relay = ({ path }) => (path.endsWith("/request") ? problem(503, "No outline now.") : record(1));
  const lines = pictured(await page.show(view.invocation, {}, "ref"));
  assert.ok(lines.includes("No outline now. The page keeps trying.") && lines.includes("{good: Status 200}<Copy the data>"));
});

const nested = (number, parent, more = {}) => record(number, { chain: { parent: parent && record(parent).referenceId, step: 0, item: 0, ...more } });

for (const [name, shown, depth] of [["a chain", 1, 1], ["a step that is a chain", 2, 2], ["its step", 3, 3], ["a step three chains below", 4, 3]]) {
  test(`the tree of ${name} begins at the chain above it, and marks it`, async () => {
    const records = { 1: record(1, { chain: { steps: ["a"] } }), 2: nested(2, 1, { steps: ["b"] }), 3: nested(3, 2, { steps: ["c"] }), 4: nested(4, 3, { steps: ["d"] }), 5: nested(5, 4) };
    const found = Object.values(records);
    page.relay = ({ path, query }) => {
      const cursor = query.chain === records[3].referenceId ? "more" : null;
      if (path === "/v1/invocations") return { invocations: [...found.filter((each) => each.chain.parent === query.chain), record(9, { chain: { parent: "another", step: 0, item: 0 } })], cursor };
      return found.find((each) => path.endsWith(each.referenceId));
    };
    const tree = await chainTree(records[shown], never);
    const lines = pictured(tree.element);
    assert.deepEqual(lines.filter((line) => line.startsWith("> ")).map((line) => line.endsWith("this call")), [true]);
    assert.equal(lines.findIndex((line) => line.startsWith("> ")), depth - 1 + Number(shown === 4));
    assert.equal(lines.length, 5 - Number(shown === 5), "three levels below the first, and a note");
    assert.equal(lines.filter((line) => line === "Only the first 200 steps are shown.").length, 1);
    assert.deepEqual(tree.steps.map((each) => each.referenceId), shown === 1 ? [records[2].referenceId] : []);
    assert.ok(requests("/v1/invocations").every(({ query }) => query.limit === "200"));
  });
}

// -- the overview ----------------------------------------------------------------------------------------------------

test("webhook and range of the overview are kept in its address, and asked for", async () => {
  const lanes = ["interactive", "bulk", "replay"].map((lane) => ({ lane, pending: 0, oldestSeconds: null, workers: 1 }));
  page.relay = () => ({ webhooks: [{ webhookId: "hook" }, { webhookId: "other" }], buckets: [], lanes, minutes: [], groups: [], status: "ready" });
  const root = await page.show(view.overview, { range: "6h", webhook: "hook" });
  for (const path of ["/v1/stats", "/v1/groups"]) assert.deepEqual(requests(path)[0].query, { since: at(-6 * 3_600_000), webhookId: "hook" });
  assert.deepEqual(requests("/v1/lanes")[0].query, { since: at(-6 * 3_600_000) });
  const select = root.querySelector("select");
  assert.deepEqual(select.children.map((each) => [each.value, each.textContent]), [["", "All webhooks"], ["hook", "hook"], ["other", "other"]]);
  const ranges = root.all((each) => each.attributes.type === "radio");
  const asked = [];
  for (const act of [() => change(select, "other"), () => change(select, ""), () => change(ranges[1], "on"), () => change(ranges[3], "on")]) {
    act();
    asked.push(location.hash);
  }
  assert.deepEqual(asked, ["#/overview?range=6h&webhook=other", "#/overview?range=6h", "#/overview?webhook=hook", "#/overview?range=24h&webhook=hook"]);
});

for (const [range, figures, groups] of [["15m", 11, 6], ["1h", 11, 6], ["6h", 7, 4], ["24h", 4, 2]]) {
  test(`over ${range}, the figures are read ${figures} times in half a minute, and what failed ${groups} times`, async () => {
    const lanes = ["interactive", "bulk", "replay"].map((lane) => ({ lane, pending: 0, oldestSeconds: null, workers: 1 }));
    page.relay = () => ({ webhooks: [], buckets: [], lanes, minutes: [], groups: [], status: "ready" });
    await page.show(view.overview, { range });
    await page.pass(clock, 30_001);
    assert.deepEqual([requests("/v1/stats").length, requests("/v1/lanes").length, requests("/readyz").length, requests("/v1/groups").length], [figures, figures, figures, groups]);
    assert.equal(requests("/v1/traffic").length, 1);
  });
}

test("what fails keeps the focus though its times, numbers and places change, and a chart's table its scrolling", async () => {
  const lanes = ["interactive", "bulk", "replay"].map((lane) => ({ lane, pending: 0, oldestSeconds: null, workers: 1 }));
  const group = (webhookId) => ({ webhookId, outcome: "answered", status: 500, count: 2, firstAt: at(0), lastAt: at(0) });
  let [groups, errors] = [[group("a"), group("b")], 2];
  const buckets = () => [{ start: at(-60_000), accepted: 9, errors, final: { delivered: 9 }, p50Ms: 1, p95Ms: 2, p99Ms: 3 }];
  page.relay = () => ({ webhooks: [], buckets: buckets(), lanes, minutes: [], groups, status: "ready" });
  const root = await page.show(view.overview);
  const link = (start, text) => find(root, (each) => each.attributes.href?.startsWith(start) && (each.attributes["aria-label"] ?? each.textContent).includes(text));
  const details = find(root, (each) => each.attributes.class === "as-table");
  details.open = true;
  details.dispatchEvent(new Event("toggle"));
  const box = details.querySelector(".table-box");
  for (const focused of [() => link("#/invocations", "Calls of b"), () => link("#/replays/new", "Replay… b"), () => link("#/invocations?since=1h", " failed"), () => details.querySelector(".table-box")]) {
    const old = focused();
    old.focus();
    [groups, errors] = [[group("c"), ...groups.reverse()], errors + 1];
    await page.pass(clock, 7_000);
    assert.equal(document.activeElement, focused());
    assert.equal(focused() === old, old === box);
    assert.match(box.textContent, new RegExp(`${errors}${9 - errors}$`), "the table is that of the last answer");
  }
});

// -- replays ---------------------------------------------------------------------------------------------------------

const job = (state, more = {}) => ({ replayId: "job", state, filter: null, caller: "cli", ratePerSecond: 2, matched: 10, started: 4, delivered: 2, failed: 1, skipped: 1, skippedReasons: {}, createdAt: at(0), finishedAt: null, ...more });

for (const state of ["planning", "running", "paused", "done", "cancelled"]) {
  test(`a replay that is ${state} is looked at again until it is over`, async () => {
    page.relay = () => job(state, { delivered: 3 });
    const root = await page.show(view.replay, {}, "job");
    const [first] = root.childNodes.at(-1).childNodes;
    await page.pass(clock, 5_500);
    assert.equal(requests("/v1/replays/job").length, ["done", "cancelled"].includes(state) ? 1 : 6);
    assert.equal(root.childNodes.at(-1).firstChild, first, "nothing has changed");
  });
}

test("a cancelled replay is looked at until the calls that it had sent have ended", async () => {
  page.relay = () => job("cancelled");
  const root = await page.show(view.replay, {}, "job");
  assert.match(root.textContent, /Under way14 started/);
  page.relay = () => job("cancelled", { delivered: 3 });
  await page.pass(clock, 5_000);
  assert.match(root.textContent, /Under way04 started/);
  assert.equal(requests("/v1/replays/job").length, 2);
});

test("a replay is paused and resumed at once, and cancelled if that is confirmed", async () => {
  let state = "running";
  page.relay = ({ method, path }) => {
    if (method === "POST") state = { pause: "paused", resume: "running", cancel: "cancelled" }[path.split("/").at(-1)];
    return job(state);
  };
  const root = await page.show(view.replay, {}, "job");
  const seen = () => pictured(root.childNodes[1]);
  const press = async (label) => {
    await page.pass(clock, PRESS_MS);
    await page.click(root, label);
  };
  await press("Pause");
  await page.pass(clock, PRESS_MS);
  assert.deepEqual([...seen(), document.activeElement.textContent], ["Replay", "{warn: Paused}", "<Resume><Cancel…>", "Resume"]);
  await page.click(root, "Resume");
  await page.pass(clock, PRESS_MS);
  assert.deepEqual([...seen(), document.activeElement.textContent], ["Replay", "{busy: Running}", "<Pause><Cancel…>", "Pause"]);
  await press("Cancel");
  assert.deepEqual(await answered("Back"), ["Cancel this replay?", "Calls that have not been sent are skipped for good. Sent calls cannot be recalled.", "<Back><Cancel the replay>"]);
  assert.equal(requests("/v1/replays/job/cancel", "POST").length, 0);
  await press("Cancel");
  await answered("Cancel the replay");
  assert.deepEqual(seen(), ["Replay", "{idle: Cancelled}"]);
  assert.deepEqual(page.asked.filter(({ method }) => method === "POST").map(({ path, body }) => [path.split("/").at(-1), body]), [["pause", undefined], ["resume", undefined], ["cancel", undefined]]);
  assert.deepEqual(said(), []);
});

test("a replay that cannot be paused says why, and counts go on without new buttons", async () => {
  let started = 4;
  page.relay = ({ method }) => (method === "POST" ? problem(409, "It is over.") : job("running", { started }));
  const root = await page.show(view.replay, {}, "job");
  const [button] = root.all((each) => each.tag === "button");
  await page.pass(clock, PRESS_MS);
  await page.click(root, "Pause");
  assert.deepEqual(said(), ["bad: It is over."]);
  started = 7;
  const sent = root.querySelector('a[href="#/invocations?replay=job"]');
  sent.focus();
  await page.pass(clock, 1_500);
  assert.ok(!root.contains(sent) && root.contains(document.activeElement) && document.activeElement.textContent === sent.textContent);
  assert.ok(pictured(root).includes("7 started"));
  assert.equal(root.all((each) => each.tag === "button")[0], button);
});

test("the list of replays is live, has the newest fifty, and keeps the focus", async () => {
  page.relay = () => ({ replays: [job("done", { replayId: "b" }), job("running", { replayId: "a" })] });
  const root = await page.show(view.replays);
  const link = () => root.querySelector('a[href="#/replays/a"]');
  const old = link();
  old.focus();
  await page.pass(clock, 4_500);
  assert.deepEqual(requests("/v1/replays").map(({ query }) => query), Array(3).fill({ limit: "50" }));
  assert.notEqual(link(), old);
  assert.equal(document.activeElement, link());
});

const PLAN = { planId: "plan", matched: 10, skipped: 0, skippedReasons: {}, leftOut: {}, breakdown: [] };
const busy = (webhookId, ended, errors = 1) => ({ webhookId, recent: { hour: { errors } }, trend: { day: { ended: [ended] } } });
const planned = (more = {}) => ({ path, body }) => (path === "/v1/traffic" ? { webhooks: [busy("hook", 7_200), busy("other", 36_000), busy("well", 36_000, 0)] } : body.dryRun ? PLAN : (more.start?.() ?? { replayId: "job" }));
const plans = () => requests("/v1/replays", "POST").filter(({ body }) => body.dryRun).map(({ body }) => body);

test("another webhook in a plan brings its own rate, and another filter leaves the rate that was typed", async () => {
  page.relay = planned();
  const root = await page.show(view.replay_new, { webhookId: "hook" });
  const rate = () => labelled(root, "Calls per second");
  assert.equal(rate().value, "2");
  change(rate(), "3");
  await page.settled();
  change(labelled(root, "Status"), "503");
  await page.settled();
  assert.deepEqual([rate().value, plans().at(-1).ratePerSecond, plans().at(-1).filter.status], ["3", 3, [503]]);
  assert.equal(location.hash, "#/replays/new?webhookId=hook&since=24h&status=503");
  const before = labelled(root, "Status");
  labelled(root, "Created").focus(); // which is where the tabulator key moves the focus after the change
  await page.pass(clock, 1);
  assert.notEqual(labelled(root, "Status"), before);
  assert.equal(document.activeElement, labelled(root, "Created"));
  for (const [webhook, wanted, hint] of [["other", "10", true], ["well", "", false], ["hook", "2", true], ["", "", false]]) {
    change(labelled(root, "Webhook"), webhook);
    await page.settled();
    assert.deepEqual([rate().value, plans().at(-1).ratePerSecond, plans().at(-1).filter.webhookId], [wanted, wanted ? Number(wanted) : undefined, webhook || undefined]);
    assert.equal(pictured(root).join().includes("usual rate"), hint);
  }
});

test("a plan without a state, a time or a limit asks for none, and without a time for a day", async () => {
  page.relay = planned();
  await page.show(view.replay_new);
  assert.deepEqual(plans(), [{ includeUncertain: false, filter: { since: "24h" }, dryRun: true }]);
  page.asked = [];
  await page.show(view.replay_new, { ref: "ref", since: "1h", webhookId: "hook" });
  assert.deepEqual(plans(), [{ includeUncertain: false, referenceIds: ["ref"], dryRun: true }]);
});

test("a plan that is overtaken by another is not shown, whether it comes late or fails", async () => {
  const waiting = [];
  page.relay = ({ path }) => (path === "/v1/traffic" ? { webhooks: [] } : new Promise((resolve) => waiting.push(resolve)));
  const root = await page.show(view.replay_new, { webhookId: "hook" });
  const box = labelled(root, "Include calls");
  for (let turn = 0; turn < 2; turn += 1) {
    box.checked = !box.checked;
    change(box, "on");
    await page.settled();
  }
  assert.equal(waiting.length, 3);
  waiting[0](PLAN);
  waiting[2]({ ...PLAN, matched: 7 });
  waiting[1](problem(500, "Not now."));
  await page.settled();
  const lines = pictured(root);
  assert.ok(lines.some((line) => line.startsWith("Sends 7 calls")) && !lines.includes("Not now."));
});

test("a replay that cannot be started says why and can be started again, and one that was left leads nowhere", async () => {
  let answer = () => problem(429, "Too many replays.");
  page.relay = planned({ start: () => answer() });
  const root = await page.show(view.replay_new, { webhookId: "well" });
  const start = () => find(root, (each) => each.tag === "button" && each.textContent.startsWith("Start"));
  await page.click(root, "Start");
  assert.ok(pictured(root).includes("Too many replays.") && !pictured(root).join().includes("nevertheless"));
  assert.equal(start().disabled, false);
  let come;
  answer = () => new Promise((resolve) => (come = resolve));
  await page.pass(clock, PRESS_MS);
  await page.click(root, "Start");
  assert.equal(start().disabled, true);
  page.stop.abort();
  location.hash = "#/overview";
  come({ replayId: "job" });
  await page.settled();
  assert.equal(location.hash, "#/overview");
});

for (const lost of [() => Promise.reject(new TypeError("Failed to fetch")), () => new Response("<html>", { status: 502 }), () => problem(503, "The answer was lost.")]) {
  test("a replay whose start is not answered may have been started, and the list of replays is shown the way to", async () => {
    page.relay = planned({ start: lost });
    const root = await page.show(view.replay_new, { webhookId: "well" });
    await page.click(root, "Start");
    assert.ok(pictured(root).includes("The replay may have been started nevertheless: look at the [list of replays](#/replays) before you start it again."));
    assert.ok(!pictured(root).includes("nothing has been sent"));
  });
}

test("a number that the relay would refuse is told where it was typed, and nothing is planned until it is right", async () => {
  page.relay = planned();
  const root = await page.show(view.replay_new, { webhookId: "well" });
  for (const [label, name, bad, good, range] of [
    ["Calls per second", "ratePerSecond", ["0", "-1", "0.0001", "10001", "1,5", "1e3", "many"], ["0.001", ".5", "10000", " 7 "], "Give a number from 0.001 to 10000, or leave it empty."],
    ["At most", "max", ["0", "-1", "1.5", "1000000001", "many"], ["1", "1000000000"], "Give a whole number from 1 to 1000000000, or leave it empty."],
  ]) {
    const field = labelled(root, label);
    const before = plans().length;
    for (const text of bad) {
      change(field, text);
      await page.settled();
      assert.deepEqual([pictured(root).includes(`*bad* ${range}`), field.attributes["aria-invalid"], pictured(root).includes("No plan"), pictured(root).some((line) => line.includes("<Start"))], [true, "true", true, false], text);
    }
    assert.equal(plans().length, before, "nothing is sent");
    for (const text of [...good, ""]) {
      change(field, text);
      await page.settled();
      assert.deepEqual([pictured(root).includes(`*bad* ${range}`), field.attributes["aria-invalid"], plans().at(-1)[name]], [false, undefined, text ? Number(text) : undefined], text);
    }
  }
});

test("what is started is what was planned, whatever the form says since", async () => {
  let count = 0;
  page.relay = ({ path, body }) => (path === "/v1/traffic" ? { webhooks: [busy("hook", 7_200)] } : body.dryRun ? { ...PLAN, planId: `plan ${(count += 1)}` } : { replayId: "job" });
  const root = await page.show(view.replay_new, { webhookId: "hook" });
  const shown = `plan ${count}`;
  labelled(root, "At most").value = "3"; // typed, and not taken yet
  const [start] = root.all((each) => each.tag === "button" && each.textContent.startsWith("Start"));
  change(labelled(root, "Status"), "404");
  start.dispatchEvent(new Event("click")); // before the next plan has come
  await page.settled();
  assert.deepEqual(page.asked.find(({ path, body }) => path === "/v1/replays" && body && !body.dryRun).body, { planId: shown });
});

test("a plan that failed can be made again", async () => {
  let isAway = true;
  page.relay = ({ path }) => (path === "/v1/traffic" ? { webhooks: [] } : isAway ? problem(500, "Not now.") : PLAN);
  const root = await page.show(view.replay_new);
  isAway = false;
  await page.click(root, "Try again");
  assert.ok(pictured(root).some((line) => line.startsWith("Sends 10 calls")));
});

// -- webhooks --------------------------------------------------------------------------------------------------------

const counts = (delivered, errors) => ({ accepted: delivered, errors, final: { delivered } });
const hook = (webhookId, more = {}) => ({ webhookId, ...counts(9, 0), recent: { fiveMinutes: counts(9, 0), hour: counts(9, 0) }, trend: { hour: { ended: [1], errors: [0] }, day: { ended: [1], errors: [0] } }, lastErrorAt: null, inFlight: 0, parked: 0, paused: false, hidden: false, breaker: { state: "closed", openUntil: null }, ...more });
const idsOf = (root) => root.all((each) => each.attributes["data-webhook"]).map((each) => each.attributes["data-webhook"]);
const rowOf = (root, webhookId) => find(root, (each) => each.attributes["data-webhook"] === webhookId);

test("webhooks are found by any part of their ids, and the address keeps it", async () => {
  page.relay = () => ({ webhooks: [hook("send-letter"), hook("letter-box"), hook("fax")] });
  const root = await page.show(view.webhooks, { sort: "id", window: "24h" });
  const search = find(root, (each) => each.attributes.type === "search");
  const type = (text) => {
    search.value = text;
    search.dispatchEvent(new Event("input"));
    return [idsOf(root), location.hash, pictured(root)[1]];
  };
  assert.deepEqual(type(" LETTER "), [["letter-box", "send-letter"], "#/webhooks?window=24h&sort=id&find=LETTER", "2 of 3 webhooks"]);
  assert.deepEqual(type("fax"), [["fax"], "#/webhooks?window=24h&sort=id&find=fax", "1 of 3 webhooks"]);
  assert.deepEqual(type("nothing").slice(0, 2), [[], "#/webhooks?window=24h&sort=id&find=nothing"]);
  await page.click(root, "Show all");
  assert.deepEqual([idsOf(root).length, search.value, document.activeElement === search], [3, "", true]);
  const windows = root.all((each) => each.attributes.type === "radio");
  change(windows[1], "on");
  assert.equal(location.hash, "#/webhooks?sort=id");
  change(windows[0], "on");
  assert.equal(location.hash, "#/webhooks?window=5m&sort=id");
  await page.click(root, "State");
  assert.equal(location.hash, "#/webhooks?window=24h", "the usual order is not in the address");
});

test("a webhook is paused if that is confirmed, resumed and let go at once, and other rows stay as they are", async () => {
  const open = { breaker: { state: "open", openUntil: null } };
  let rows = [hook("a"), hook("b", open)];
  page.relay = ({ method, path }) => {
    const [, id, action] = /webhooks\/(.*)\/(.*)/.exec(path) ?? [];
    if (method === "POST") rows = rows.map((each) => (each.webhookId === id ? hook(id, { ...each, ...{ pause: { paused: true }, resume: { paused: false }, "close-breaker": { breaker: { state: "closed" } } }[action] }) : each));
    return method === "POST" ? rows.find((each) => each.webhookId === id) : { webhooks: rows };
  };
  const root = await page.show(view.webhooks, { sort: "id" });
  const stateOf = (id) => pictured(rowOf(root, id).childNodes[1]).join();
  const [button] = rowOf(root, "b").all((each) => each.tag === "button");
  await page.click(rowOf(root, "a"), "Pause");
  assert.deepEqual(await answered("Back"), ["Pause a?", "Its calls are still accepted, but wait until it is resumed.", "<Back><Pause>"]);
  assert.equal(requests("/v1/webhooks/a/pause", "POST").length, 0);
  await page.click(rowOf(root, "a"), "Pause");
  await answered("Pause");
  await page.pass(clock, PRESS_MS);
  assert.deepEqual([stateOf("a"), said(), document.activeElement.textContent], ["~{warn: Paused}", ["good: a is paused."], "Resume"]);
  assert.equal(rowOf(root, "b").all((each) => each.tag === "button")[0], button);
  await page.click(rowOf(root, "a"), "Resume");
  await page.pass(clock, PRESS_MS);
  assert.deepEqual([stateOf("a"), said(), document.activeElement.textContent], ["~{good: Succeeding}", ["good: a is resumed."], "Pause…"]);
  await page.click(rowOf(root, "b"), "Close breaker");
  assert.deepEqual([stateOf("b"), said()], ["~{good: Succeeding}", ["good: The breaker of b is closed."]]);
  await page.pass(clock, PRESS_MS);
  page.relay = () => problem(503, "Not now.");
  await page.click(rowOf(root, "b"), "Pause");
  await answered("Pause");
  assert.deepEqual(said(), ["bad: Not now."]);
});

test("an act that is not answered yet is not sent again, while others are, and what it redraws takes no second press", async () => {
  const answers = new Map();
  page.relay = ({ method, path }) => (method === "POST" ? new Promise((resolve) => answers.set(path, resolve)) : { webhooks: [hook("a", { paused: true }), hook("b", { paused: true })] });
  const root = await page.show(view.webhooks, { sort: "id" });
  for (const id of ["a", "a", "b"]) await page.click(rowOf(root, id), "Resume");
  assert.deepEqual(page.asked.filter(({ method }) => method === "POST").map(({ path }) => path), ["/v1/webhooks/a/resume", "/v1/webhooks/b/resume"]);
  answers.get("/v1/webhooks/a/resume")(hook("a"));
  await page.settled();
  await page.click(rowOf(root, "a"), "Pause");
  assert.equal(document.body.querySelector("dialog"), null);
  await page.pass(clock, PRESS_MS);
  await page.click(rowOf(root, "a"), "Pause");
  assert.ok(document.body.querySelector("dialog[open]"));
});

test("rows of webhooks follow what the relay answers, keep the focus, and stay in their order", async () => {
  let rows = [hook("a"), hook("b", { paused: true })];
  page.relay = () => ({ webhooks: rows });
  const root = await page.show(view.webhooks, { sort: "waiting" });
  const elements = idsOf(root).map((id) => rowOf(root, id));
  await page.click(root, "", (each) => each === rowOf(root, "b").querySelector("button.act")).catch(() => {});
  rowOf(root, "b").querySelector("button.act").focus();
  rows = [hook("a", { parked: 5 }), hook("b", { paused: true, hidden: true }), hook("c")];
  await page.pass(clock, 3_500);
  assert.deepEqual(idsOf(root), ["b", "c", "a"]);
  assert.deepEqual([rowOf(root, "a"), rowOf(root, "b")], elements, "the same rows");
  assert.equal(document.activeElement, rowOf(root, "b").querySelector("button.act"));
  assert.ok(pictured(rowOf(root, "b")).join().includes("{idle: Hidden}") && pictured(rowOf(root, "a")).join().includes("0 + 5"));
  rows = [hook("c")];
  await page.pass(clock, 3_500);
  assert.deepEqual(idsOf(root), ["c"]);
  rows = [];
  await page.pass(clock, 3_500);
  assert.ok(pictured(root).includes("No webhooks yet"));
  rows = [hook("a")];
  await page.pass(clock, 3_500);
  assert.deepEqual(idsOf(root), ["a"]);
});

// -- a relay that is away --------------------------------------------------------------------------------------------

const OUTLINE = { parts: [{ pointer: "/data", types: ["string"], count: 1, bytes: 4 }], complete: true, missing: null };
const WELL = {
  "/v1/traffic": { webhooks: [hook("a"), hook("b")] },
  "/v1/stats": { buckets: [] },
  "/v1/lanes": { lanes: [], minutes: [] },
  "/v1/groups": { groups: [{ webhookId: "a", outcome: "answered", status: 503, count: 2, firstAt: at(0), lastAt: at(0) }] },
  "/readyz": { status: "ready" },
  "/v1/invocations": { invocations: [record(1)], cursor: null },
  "/v1/invocations/ended": record(1),
  "/v1/invocations/unfinished": record(1, { state: "queued", finishedAt: null, attempts: [], result: null }),
  "/v1/replays/paused": job("paused"),
};
const well = ({ method, path }) => (method === "POST" ? PLAN : path.endsWith("/request") ? OUTLINE : path === "/v1/replays" ? { replays: [job("paused")] } : WELL[path]);
const away = () => Promise.reject(new TypeError("Failed to fetch"));
/** What a view shows, without times that go on. */
const lasting = (root) => pictured(root).map((line) => line.replaceAll(/\d+ min \d+ s|[\d.]+ m?s\b|since=[^&]+/g, "some time"));

for (const [name, id] of [["overview"], ["invocations"], ["invocation", "ended"], ["invocation", "unfinished"], ["replays"], ["replay", "paused"], ["replay_new"], ["webhooks"]]) {
  for (const isOpenedBefore of [true, false]) {
    test(`${name} ${id ?? ""}, opened ${isOpenedBefore ? "before" : "while"} the relay is away, is whole when that is back`, async () => {
      page.relay = isOpenedBefore ? well : away;
      const root = await page.show(view[name], { webhookId: "a" }, id);
      page.relay = away;
      await page.pass(clock, 20_000);
      if (!isOpenedBefore) assert.ok(pictured(root).includes("The relay does not answer. The page keeps trying."));
      page.relay = well;
      await page.pass(clock, 31_000);
      const shown = lasting(root);
      assert.deepEqual(shown, lasting(await page.show(view[name], { webhookId: "a" }, id)));
    });
  }
}
