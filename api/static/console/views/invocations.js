// The search: shows invocations by any filter, newest first, a page at a time.

import { h, icon, put, redraw } from "../dom.js";
import { count, duration } from "../format.js";
import { NAMES, address, filterBar, filterOf } from "../filters.js";
import { eventually, keepShowing } from "../live.js";
import { button, empty, failure, idText, loading, panel, pluginCommand, say, shortId, stateBadge, table, when } from "../parts.js";
import { call } from "../session.js";
import { endingText } from "../words.js";

const PAGE = 50;
const PIECES = 10; // requests made at most to fill a page: an answer may have few rows and yet a cursor
const EVERY = 4_000;
const REFERENCE = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export function show({ root, query, signal }) {
  const filter = filterOf(query);
  const changed = (next) => signal.aborted || (location.hash = address("/invocations", next)); // a control is left as its view goes, too
  const webhooks = eventually(() => call("GET", "v1/traffic", { signal }), signal).then((found) => found.webhooks.map(({ webhookId }) => webhookId));
  const list = h("div", {}, loading(8));
  const { failed, unreplayed, ...replayable } = filter; // only listings have the first two
  put(
    root,
    h(
      "header",
      { class: "view-head" },
      h("h1", { tabindex: -1 }, "Invocations"),
      h("div", { class: "row controls" }, lookUp(), h("a", { class: "button", href: address("/replays/new", replayable) }, "Replay what failed…")),
    ),
    panel(null, filterBar(filter, changed, { names: NAMES, webhooks }), { class: "filter-panel" }),
    panel(null, list),
  );
  pages(list, filter, signal);
}

function lookUp() {
  const input = h("input", { type: "search", placeholder: "Reference id (/)", "aria-label": "Go to a reference id", spellcheck: "false", autocomplete: "off" });
  const go = (event) => {
    event.preventDefault();
    const reference = input.value.trim().toLowerCase();
    if (REFERENCE.test(reference)) location.hash = `#/invocations/${reference}`;
    else say("A reference id has the form 01a212df-f240-762a-b94b-9a721eac4bbe.", "bad");
  };
  return h("form", { class: "look-up", role: "search", "aria-label": "Reference id", onsubmit: go }, icon("search"), input);
}

function pages(list, filter, signal) {
  const starts = [null]; // the cursor of each page up to the one that is shown
  let pressed = null; // the button that asked for the page, as its place among those of the pager
  let current = new AbortController();
  const open = () => {
    current.abort();
    current = new AbortController();
    const both = AbortSignal.any([signal, current.signal]);
    const isFirst = starts.length === 1;
    keepShowing(
      list,
      async () => {
        const page = await pageFrom(filter, starts.at(-1), both);
        if (both.aborted) return false;
        draw(list, page, filter, starts.length, move);
        if (pressed !== null && document.activeElement === document.body) [...list.querySelectorAll(".pager button:not([disabled])")].at(pressed)?.focus({ preventScroll: true });
        pressed = null;
        return isFirst; // older pages do not change
      },
      EVERY,
      both,
      (error) => failure(error, open),
    );
  };
  const move = (cursor) => {
    if (cursor) starts.push(cursor);
    else starts.pop();
    pressed = cursor ? -1 : 0;
    put(list, loading(8));
    open();
  };
  open();
}

async function pageFrom(filter, cursor, signal) {
  const rows = [];
  let next = cursor;
  for (let piece = 0; piece < PIECES; piece += 1) {
    const page = await call("GET", "v1/invocations", { query: { ...filter, limit: PAGE - rows.length, cursor: next }, signal });
    rows.push(...page.invocations);
    next = page.cursor;
    if (next === null || rows.length >= PAGE) break;
  }
  return { rows, next };
}

function draw(list, { rows, next }, filter, number, move) {
  const pager = h(
    "footer",
    { class: "pager" },
    h("span", { class: "muted small" }, number === 1 ? "Newest first, live" : `Page ${count(number)}`),
    h(
      "div",
      { class: "row" },
      button("Newer", () => move(null), { icon: "back", disabled: number === 1 }),
      button("Older", () => move(next), { icon: "next", disabled: next === null }),
    ),
  );
  if (rows.length > 0) redraw(list, table("Invocations", COLUMNS, rows), pager);
  else if (next !== null) redraw(list, empty("No match among the newest records", "There are older ones to search.", button("Search older records", () => move(next))), pager);
  else redraw(list, nothing(filter), number > 1 && pager);
}

function nothing(filter) {
  if (Object.keys(filter).length === 0) return empty("No invocations yet", ["Calls appear here within a few seconds of being triggered. Try one: ", pluginCommand((plugin) => `relay trigger WEBHOOK --plugin ${plugin}`)]);
  return empty("Nothing matches", "No invocation of this plugin fits all of these filters.", button("Clear filters", () => (location.hash = "#/invocations")));
}

const COLUMNS = [
  { label: "State", wide: true, cell: (row) => stateBadge(row) },
  { label: "Webhook", grow: true, cell: (row) => h("span", { class: "with-tags" }, idText(row.webhookId), row.replayOf && h("span", { class: "tag" }, "replay"), row.chain?.parent && h("span", { class: "tag" }, "step"), row.chain?.steps && h("span", { class: "tag" }, "chain"), h("span", { class: "narrow" }, h("span", { class: "row tight" }, stateBadge(row), h("span", { class: "muted" }, ending(row))))) },
  { label: "Reference id", wide: true, cell: (row) => shortId(row.referenceId) },
  { label: "What happened", wide: true, cell: (row) => ending(row) },
  { label: "Took", number: true, wide: true, cell: (row) => (row.finishedAt ? duration(Date.parse(row.finishedAt) - Date.parse(row.createdAt)) : "–") },
  { label: "Created", number: true, cell: (row) => h("a", { class: "row-link plain", href: `#/invocations/${row.referenceId}` }, when(row.createdAt), h("span", { class: "hidden-text" }, ` Invocation ${row.referenceId}`)) },
];

function ending(row) {
  const last = row.attempts.at(-1);
  if (!last) return row.result ? endingText(null, row.result.status) : h("span", { class: "muted" }, row.state === "rejected" ? "refused at the door" : "–");
  const tries = row.attempts.length > 1 && h("span", { class: "muted" }, `, ${row.attempts.length} attempts`);
  return h("span", {}, endingText(last.outcome, last.status), tries);
}
