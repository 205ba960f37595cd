// Starts a replay: the user chooses calls, sees what the replay would do, and starts it.

import { h, put, redraw, rest } from "../dom.js";
import { count, counted, duration } from "../format.js";
import { address, filterBar, filterOf, filterText } from "../filters.js";
import { eventually } from "../live.js";
import { button, empty, failure, idText, loading, numberField, panel, refLink, table, tickBox, when } from "../parts.js";
import { call } from "../session.js";
import { FINAL, endingText } from "../words.js";
import { skipText } from "./replay_parts.js";

export const CHOSEN = ["webhookId", "state", "status", "outcome", "since", "until"];
/** The numbers that the relay takes. */
export const LIMITS = { rate: { least: 0.001, most: 10_000 }, most: { least: 1, most: 1_000_000_000, isWhole: true } };

export function show({ root, query, signal }) {
  const reference = query.get("ref");
  const wanted = { filter: Object.fromEntries(Object.entries(filterOf(query)).filter(([name]) => CHOSEN.includes(name))), rate: "", usual: null, uncertain: false, most: "" };
  if (!reference && !wanted.filter.since) wanted.filter.since = "24h";
  const which = h("div", {});
  const outcome = h("div", { "aria-live": "polite" }, panel("What it would do", loading(4)));
  const rows = eventually(() => call("GET", "v1/traffic", { signal }), signal, (error) => put(outcome, failure(error))).then((found) => found.webhooks);
  const webhooks = rows.then((found) => found.map(({ webhookId }) => webhookId));
  const pace = h("div", {});
  const repace = async () => {
    const row = (await rows).find(({ webhookId }) => webhookId === wanted.filter.webhookId);
    wanted.usual = row ? usualPace(row) : null;
    wanted.rate = wanted.usual ? String(wanted.usual) : "";
    redraw(pace, how(wanted, preview, !reference));
  };
  const choose = async (filter) => {
    const isOther = filter.webhookId !== wanted.filter.webhookId;
    wanted.filter = filter;
    if (isOther) await repace();
    if (signal.aborted) return; // a control is left as its view goes, too
    history.replaceState(null, "", address("/replays/new", filter));
    preview();
    setTimeout(() => redraw(which, filterBar(filter, choose, { names: CHOSEN, webhooks }))); // when the focus is where the user has moved it
  };
  let current = new AbortController();
  const preview = async () => {
    current.abort();
    current = new AbortController();
    const mine = current;
    if (Object.keys(LIMITS).some((name) => faultOf(name, wanted[name]))) {
      put(outcome, panel("What it would do", empty("No plan", "Correct the number above first.")));
      return;
    }
    put(outcome, panel("What it would do", loading(4)));
    try {
      const body = bodyOf(wanted, reference);
      const found = await call("POST", "v1/replays", { body: { ...body, dryRun: true }, signal: AbortSignal.any([signal, mine.signal]) });
      if (!mine.signal.aborted) put(outcome, planned(found, body, wanted.filter, signal));
    } catch (error) {
      if (error.name !== "AbortError" && !signal.aborted) put(outcome, failure(error, preview));
    }
  };
  const crumb = h("nav", { "aria-label": "Where you are" }, h("a", { class: "crumb", href: "#/replays" }, "Replays"));
  const chosen = reference ? h("div", { class: "panel-body" }, "The call ", refLink(reference, { whole: true })) : which;
  put(
    root,
    crumb,
    h("header", { class: "view-head" }, h("h1", { tabindex: -1 }, "New replay")),
    panel("Which calls", chosen, { aside: h("span", { class: "muted small" }, reference ? "" : "by default calls that failed; never steps of chains") }),
    panel("How", pace),
    outcome,
  );
  if (!reference) put(which, filterBar(wanted.filter, choose, { names: CHOSEN, webhooks }));
  put(pace, how(wanted, preview, !reference));
  repace().then(preview);
}

/**
 * Returns how many calls of a webhook usually end in a second, at least 1, if it failed in the last hour: one that has
 * just recovered should not get more. Hours without traffic do not count; null if it did not fail lately.
 */
function usualPace({ recent, trend }) {
  if (recent.hour.errors === 0) return null;
  const busy = trend.day.ended.filter((number) => number > 0);
  return Math.max(1, Math.round(busy.reduce((sum, number) => sum + number, 0) / busy.length / 3_600));
}

/** Says which numbers a field takes, if its text is none of these. */
function faultOf(name, text) {
  const { least, most, isWhole = false } = LIMITS[name];
  const [pattern, kind] = isWhole ? [/^\d+$/, "whole number"] : [/^(\d+|\d*\.\d+)$/, "number"];
  const isTaken = text === "" || (pattern.test(text) && Number(text) >= least && Number(text) <= most);
  return isTaken ? null : `Give a ${kind} from ${least} to ${most}, or leave it empty.`;
}

function how(wanted, preview, several) {
  const number = (label, name, placeholder, hint) => numberField(label, wanted[name], placeholder, (text) => faultOf(name, text.trim()), (text) => ((wanted[name] = text.trim()), preview()), hint);
  return h(
    "div",
    { class: "filters" },
    several && h("div", { class: "filter-grid" }, number("Calls per second", "rate", "as fast as possible", wanted.usual ? "the webhook's usual rate, because it failed recently; leave it empty to send as fast as possible" : null), number("At most", "most", "all calls")),
    tickBox("Include calls that may have arrived, even for webhooks that must not be sent twice", wanted.uncertain, (isWanted) => ((wanted.uncertain = isWanted), preview())),
  );
}

function bodyOf({ filter, rate, uncertain, most }, reference) {
  const body = { includeUncertain: uncertain };
  if (reference) return { ...body, referenceIds: [reference] };
  const { webhookId, state, status, outcome, since, until } = filter;
  const asked = { webhookId, outcome, since, until };
  if (state) asked.states = state.split(",").filter((each) => FINAL.has(each));
  if (status) asked.status = status.split(",").map((each) => (/^\d+$/.test(each) ? Number(each) : each));
  body.filter = Object.fromEntries(Object.entries(asked).filter(([, value]) => value !== undefined && value !== null));
  if (rate) body.ratePerSecond = Number(rate);
  if (most) body.max = Number(most);
  return body;
}

/** Shows what the relay would do for a request, `body`, with a button that starts just what is shown: no later call is added. */
function planned({ planId, matched, skipped, skippedReasons, leftOut, breakdown }, body, filter, signal) {
  const sent = matched - skipped;
  const problem = h("div", {});
  const sofar = h("span", { class: "muted small" }, "nothing has been sent");
  const start = button(`Start: send ${counted(sent, "call")}`, async () => {
    start.disabled = true;
    try {
      const { replayId } = await call("POST", "v1/replays", { body: planId ? { planId } : body });
      if (!signal.aborted) location.hash = `#/replays/${replayId}`;
    } catch (error) {
      start.disabled = false;
      rest(start.parentElement, () => start);
      if (isOpen(error)) put(sofar);
      put(problem, failure(error, null, isOpen(error) && ["The replay may have been started nevertheless: look at the ", h("a", { href: "#/replays" }, "list of replays"), " before you start it again."]));
    }
  }, { kind: "primary" });
  if (matched === 0) return panel("What it would do", empty("Nothing to replay", body.referenceIds ? "This call cannot be replayed." : skipText(leftOut) ? `Calls that ended so: ${skipText(leftOut)}.` : `No call matches${filterText(filter) ? `: ${filterText(filter)}` : ""}.`));
  const time = body.ratePerSecond && sent ? `, in about ${duration((sent / body.ratePerSecond) * 1_000)}` : "";
  const skips = skipped ? ` Skipped: ${skipText(skippedReasons) || counted(skipped, "call")}.` : "";
  return panel(
    "What it would do",
    [
      table("What would be replayed", COLUMNS, breakdown),
      h("footer", { class: "pager" }, h("p", {}, h("b", {}, `Sends ${counted(sent, "call")}`), `${time}.`, h("span", { class: "muted" }, skips)), h("div", { class: "row" }, start)),
      problem,
    ],
    { aside: sofar },
  );
}

/** Tells whether what was asked for may have been done, although the relay did not say so. */
function isOpen({ status }) {
  return status === 0 || status >= 500;
}

const COLUMNS = [
  { label: "Webhook", grow: true, cell: (group) => [h("b", {}, idText(group.webhookId)), h("span", { class: "narrow muted" }, endingText(group.outcome, group.status))] },
  { label: "What happened", wide: true, cell: (group) => endingText(group.outcome, group.status) },
  { label: "Calls", number: true, cell: (group) => count(group.count) },
  { label: "First", wide: true, cell: (group) => when(group.firstAt) },
  { label: "Last", wide: true, cell: (group) => when(group.lastAt) },
];
