// Lists the webhooks, the worst first, with buttons to pause them, resume them and close their breakers.

import { h, icon, put, redraw, rest } from "../dom.js";
import { address } from "../filters.js";
import { count, counted, duration, exact, share, short } from "../format.js";
import { keepShowing } from "../live.js";
import { badge, button, choice, columnClass, confirmed, copyButton, empty, failure, idText, loading, once, panel, pluginCommand, say, sortHead, when } from "../parts.js";
import { ended } from "../series.js";
import { call } from "../session.js";
import { sparkline } from "../sparkline.js";

const EVERY = 3_000;
const WORST = "-worst";
const WINDOWS = {
  "5m": { query: "5m", label: "5 min", name: "the last five minutes", minutes: 5, counts: (row) => row.recent.fiveMinutes, trend: "hour" },
  "1h": { query: "1h", label: "1 h", name: "the last hour", minutes: 60, counts: (row) => row.recent.hour, trend: "hour" },
  "24h": { query: "24h", label: "24 h", name: "the last 24 hours", minutes: 24 * 60, counts: (row) => row, trend: "day" },
};
const USUAL = "1h";
const FAILING = 0.5; // the share of failed calls from which a webhook is shown as failing
const COLUMNS = [
  { name: "id", label: "Webhook", grow: true },
  { name: "worst", label: "State", first: "-", wide: true },
  { name: "rate", label: "A minute", first: "-", number: true, wide: true },
  { name: "failed", label: "Failed", first: "-", number: true },
  { name: "last", label: "Last failure", first: "-", number: true, wide: true },
  { label: "Trend", spare: true },
  { name: "waiting", label: "Waiting", first: "-", number: true, spare: true },
  { label: "Actions", hidden: true, number: true },
];

export function show({ root, query, signal }) {
  const window = WINDOWS[query.get("window")] ?? WINDOWS[USUAL];
  const state = { sort: query.get("sort") ?? WORST, found: null };
  const search = h("input", { type: "search", value: query.get("find") ?? "", placeholder: "Find a webhook (/)", "aria-label": "Find a webhook", autocomplete: "off", spellcheck: "false" });
  const number = h("span", { class: "muted small", role: "status" });
  const body = h("div", {}, loading(8));
  const go = (changes) => address("/webhooks", { window: query.get("window"), sort: state.sort === WORST ? "" : state.sort, find: search.value.trim(), ...changes });
  const windows = choice("Window", Object.values(WINDOWS).map(({ query: value, label }) => [value, label]), window.query, (value) => (location.hash = go({ window: value === USUAL ? "" : value })));
  put(
    root,
    h("header", { class: "view-head" }, h("h1", { tabindex: -1 }, "Webhooks"), number, h("div", { class: "row controls" }, h("div", { class: "look-up" }, icon("search"), search), windows)),
    panel(null, body),
  );
  const rows = new Map();
  const tbody = h("tbody", {});
  const head = h("tr", {});
  const table = h("div", { class: "table-box" }, h("table", { class: "hooks" }, h("caption", { class: "hidden-text" }, `Webhooks in ${window.name}`), h("thead", {}, head), tbody));
  const draw = () => {
    const wanted = search.value.trim().toLowerCase();
    const fitting = state.found.filter(({ webhookId }) => webhookId.includes(wanted));
    put(number, wanted ? `${count(fitting.length)} of ${counted(state.found.length, "webhook")}` : counted(state.found.length, "webhook"));
    if (fitting.length === 0) {
      put(body, state.found.length ? empty("No such webhook", `No id among ${count(state.found.length)} contains this text.`, button("Show all", () => ((search.value = ""), draw(), search.focus()))) : first());
      return;
    }
    const elements = sorted(fitting, state.sort, window).map((row) => rowOf(row, window, rows, act));
    if (elements.some((each, n) => tbody.children[n] !== each) || tbody.children.length !== elements.length) redraw(tbody, elements);
    if (body.firstChild !== table) put(body, table);
  };
  const sortBy = (sort) => {
    state.sort = sort;
    history.replaceState(null, "", go({}));
    put(head, sortHead(COLUMNS, sort, sortBy));
    draw();
    head.querySelector(`[data-sort="${sort.replace(/^-/, "")}"]`)?.focus();
  };
  const act = once(async (webhookId, action) => {
    if (action === "pause" && !(await confirmed(`Pause ${webhookId}?`, "Its calls are still accepted, but wait until it is resumed.", "Pause", { signal }))) return;
    try {
      const changed = await call("POST", `v1/webhooks/${encodeURIComponent(webhookId)}/${action}`);
      if (signal.aborted) return;
      state.found = state.found.map((each) => (each.webhookId === webhookId ? changed : each));
      draw();
      rest(body, () => rows.get(webhookId)?.element.querySelector("button.act"));
      say({ pause: `${webhookId} is paused.`, resume: `${webhookId} is resumed.`, "close-breaker": `The breaker of ${webhookId} is closed.` }[action]);
    } catch (error) {
      if (!signal.aborted) say(error.message, "bad");
    }
  });
  put(head, sortHead(COLUMNS, state.sort, sortBy));
  search.addEventListener("input", () => {
    history.replaceState(null, "", go({}));
    if (state.found) draw();
  });
  keepShowing(
    body,
    async () => {
      state.found = (await call("GET", "v1/traffic", { signal })).webhooks;
      draw();
    },
    EVERY,
    signal,
    (error) => h("div", { class: "panel-body" }, failure(error)),
  );
}

function first() {
  const said = ["Write a document of the endpoint (docs/registrations.md has examples), and register it: ", pluginCommand((plugin) => `relay webhooks apply FILE --plugin ${plugin}`)];
  return empty("No webhooks yet", said);
}

/** How bad a webhook is: held back by its breaker, then by the share and the number of its failures, then paused. */
function badness(row, window) {
  return [row.breaker.state === "open" ? 2 : row.breaker.state === "half-open" ? 1 : 0, failedShare(row, window) ?? 0, window.counts(row).errors, row.paused ? 1 : 0];
}

function sorted(rows, sort, window) {
  const keys = {
    id: () => [],
    worst: (row) => badness(row, window),
    rate: (row) => [ended(window.counts(row))],
    failed: (row) => [failedShare(row, window) ?? -1, window.counts(row).errors],
    last: (row) => [Date.parse(lastError(row, window) ?? 0) || 0],
    waiting: (row) => [row.parked, row.inFlight],
  };
  const [name, isDown] = [sort.replace(/^-/, ""), sort.startsWith("-")];
  const key = keys[name] ?? keys.worst;
  const made = rows.map((row) => ({ row, key: key(row) }));
  made.sort((one, other) => {
    const at = one.key.findIndex((value, n) => value !== other.key[n]);
    const order = at < 0 ? 0 : one.key[at] - other.key[at];
    return (isDown ? -order : order) || (name === "id" && isDown ? -1 : 1) * one.row.webhookId.localeCompare(other.row.webhookId);
  });
  return made.map(({ row }) => row);
}

function failedShare(row, window) {
  const number = ended(window.counts(row));
  return number ? window.counts(row).errors / number : null;
}

/** Returns when a call failed last, if that was within the window. */
function lastError(row, window) {
  return window.counts(row).errors > 0 ? row.lastErrorAt : null;
}

/** Returns a webhook's row; keeps an unchanged one as it is, and the focus in a changed one. */
function rowOf(row, window, rows, act) {
  const state = JSON.stringify(row);
  const had = rows.get(row.webhookId);
  if (had?.state === state) return had.element;
  const element = had?.element ?? h("tr", { "data-webhook": row.webhookId });
  redraw(element, cells(row, window, act).map((cell, n) => h("td", { class: columnClass(COLUMNS[n]) }, cell)));
  rows.set(row.webhookId, { element, state });
  return element;
}

function cells(row, window, act) {
  const { errors } = window.counts(row);
  const number = ended(window.counts(row));
  const part = failedShare(row, window);
  const failed = h("a", { href: `#/invocations?webhookId=${row.webhookId}&failed=true&unreplayed=false&since=${window.query}`, "aria-label": `${share(part)}: the failed calls of ${row.webhookId}`, class: "toned bad", title: counted(errors, "call") }, share(part));
  const last = lastError(row, window);
  return [
    [h("span", { class: "with-copy" }, h("a", { class: "strong", href: `#/overview?range=24h&webhook=${row.webhookId}` }, idText(row.webhookId)), copyButton(`Copy ${row.webhookId}`, row.webhookId)), h("span", { class: "narrow" }, badges(row, window))],
    h("span", { class: "row tight" }, badges(row, window)),
    number ? rate(number / window.minutes) : h("span", { class: "muted" }, "–"),
    errors ? failed : h("span", { class: "muted" }, part === null ? "–" : share(part)),
    last ? h("span", { title: `in the minute from ${exact(last)}` }, when(last)) : h("span", { class: "muted" }, "–"),
    sparkline(row.trend[window.trend], `${row.webhookId}: ended in ${window.trend === "hour" ? "the last hour, in parts of five minutes" : "the last day, by the hour"}`),
    h("span", { class: row.parked ? "toned warn" : row.inFlight ? null : "muted", title: `${counted(row.inFlight, "call")} being sent, ${count(row.parked)} parked` }, row.parked || row.inFlight ? `${short(row.inFlight)} + ${short(row.parked)}` : "–"),
    h(
      "span",
      { class: "row tight actions" },
      row.breaker.state !== "closed" && button(h("span", {}, "Close breaker"), () => act(row.webhookId, "close-breaker"), { icon: "breaker", title: "Close breaker", "aria-label": `Close breaker of ${row.webhookId}` }),
      row.paused
        ? button(h("span", {}, "Resume"), () => act(row.webhookId, "resume"), { icon: "play", title: "Resume", "aria-label": `Resume ${row.webhookId}`, class: "button primary act" })
        : button(h("span", {}, "Pause…"), () => act(row.webhookId, "pause"), { icon: "pause", title: "Pause", "aria-label": `Pause ${row.webhookId}`, class: "button act" }),
    ),
  ];
}

function rate(perMinute) {
  return perMinute < 0.1 ? "< 0.1" : short(perMinute);
}

function badges(row, window) {
  const { paused, breaker, hidden } = row;
  const made = [];
  if (paused) made.push(badge("Paused", "warn"));
  if (breaker.state === "open") made.push(h("span", { title: breaker.openUntil && `tries again in ${duration(Math.max(0, Date.parse(breaker.openUntil) - Date.now()))}` }, badge("Breaker open", "bad")));
  if (breaker.state === "half-open") made.push(badge("Breaker half open", "warn"));
  if (hidden) made.push(badge("Hidden", "idle"));
  const part = failedShare(row, window);
  if (made.length === 0 || part >= FAILING) {
    if (part === null) made.push(badge("No traffic", "idle"));
    else made.push(part >= FAILING ? badge("Failing", "bad") : part > 0 ? badge("Some fail", "warn") : badge("Succeeding", "good"));
  }
  return made;
}
