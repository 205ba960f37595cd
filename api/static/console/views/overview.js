// The overview: live charts of throughput, errors, latency and backlog; and the failures.

import { chart } from "../charts.js";
import { h, icon, put, redraw } from "../dom.js";
import { address } from "../filters.js";
import { count, counted, duration, share, short } from "../format.js";
import { eventually, keepShowing } from "../live.js";
import { badge, choice, empty, failure, loading, panel, pluginCommand, tiles } from "../parts.js";
import { columns, laneColumns, latest, merged, pace, totals } from "../series.js";
import { call } from "../session.js";
import { groupsTable } from "./groups.js";

const HOUR = 3_600_000;
const RANGES = {
  "15m": { label: "15 min", ms: HOUR / 4, step: 1, every: 3_000, query: "15m", name: "the last 15 minutes" },
  "1h": { label: "1 h", ms: HOUR, step: 1, every: 3_000, query: "1h", name: "the last hour" },
  "6h": { label: "6 h", ms: 6 * HOUR, step: 5, every: 5_000, query: "6h", name: "the last 6 hours" },
  "24h": { label: "24 h", ms: 24 * HOUR, step: 10, every: 10_000, query: "24h", name: "the last 24 hours" },
};
const AGAIN = 3 * 60_000; // how far back known minutes are read again: late ends still change their counts
const LANES = [["interactive", "chart-c"], ["bulk", "chart-d"], ["replay", "good"]]; // with their colours
const perMinute = (value) => (value === null ? "–" : short(value));

export function show({ root, query, signal }) {
  const range = RANGES[query.get("range")] ?? RANGES["1h"];
  const webhook = query.get("webhook") ?? "";
  const go = (changes) => (location.hash = address("/overview", { ...Object.fromEntries(query), ...changes }));
  const places = make(range, webhook, go, signal);
  put(root, places.elements);
  choices(places, webhook, signal);
  look(places, range, webhook, signal);
}

function make(range, webhook, go, signal) {
  const charts = {
    throughput: chart({
      title: "Calls ended per minute",
      series: [
        { label: "Failed", colour: "chart-bad", kind: "bars" },
        { label: "Succeeded", colour: "chart-good", kind: "bars" },
      ],
      format: perMinute,
      signal,
    }),
    errors: chart({ title: "Share of calls that failed", series: [{ label: "Error rate", colour: "chart-bad", kind: "area" }], format: share, top: 0.05, signal }),
    latency: chart({
      title: "From acceptance to the end",
      series: [
        { label: "p99", colour: "chart-c", kind: "line" },
        { label: "p95", colour: "chart-b", kind: "line" },
        { label: "p50", colour: "chart-a", kind: "line" },
      ],
      format: duration,
      signal,
    }),
    backlog: chart({
      title: "Calls that waited, by lane",
      series: LANES.map(([label, colour]) => ({ label, colour, kind: "line" })),
      format: short,
      height: 128,
      signal,
    }),
  };
  const strip = h("div", { class: "tiles" }, loading(2));
  const live = h("span", { class: "live", role: "status" });
  const warnings = h("div", { class: "stack" });
  const start = h("div", {});
  const problem = h("div", {});
  const lanesBody = h("div", {}, loading(3));
  const groupsBody = h("div", {}, loading(3));
  const webhooks = h("select", { "aria-label": "Webhook", onchange: () => go({ webhook: webhooks.value }) }, h("option", { value: "" }, "All webhooks"), webhook && h("option", { value: webhook, selected: true }, webhook));
  const ranges = choice("Range", Object.values(RANGES).map(({ query, label }) => [query, label]), range.query, (value) => go({ range: value === "1h" ? "" : value }));
  const elements = [
    h("header", { class: "view-head" }, h("h1", { tabindex: -1 }, "Overview"), live, h("div", { class: "row controls" }, webhooks, ranges)),
    problem,
    warnings,
    start,
    strip,
    h(
      "div",
      { class: "charts" },
      panel("Throughput", h("div", { class: "panel-body" }, charts.throughput.element), { aside: h("span", { class: "muted small" }, range.step === 1 ? "calls per minute" : `calls per minute, mean of ${range.step} minutes a bar`) }),
      panel("Error rate", h("div", { class: "panel-body" }, charts.errors.element), { aside: h("span", { class: "muted small" }, "of calls that ended") }),
      panel("Latency", h("div", { class: "panel-body" }, charts.latency.element), { aside: h("span", { class: "muted small" }, "from acceptance to end") }),
    ),
    h(
      "div",
      { class: "overview-foot" },
      panel(`What failed in ${range.name}`, groupsBody),
      panel("Backlog", h("div", { class: "panel-body" }, lanesBody, charts.backlog.element), { aside: h("span", { class: "muted small" }, "the whole relay, by lane") }),
    ),
  ];
  return { elements, charts, strip, live, warnings, start, problem, lanesBody, groupsBody, webhooks };
}

async function choices({ webhooks: select, start }, chosen, signal) {
  const { webhooks } = await eventually(() => call("GET", "v1/traffic", { signal }), signal);
  if (webhooks.length === 0) put(start, panel(null, empty("No webhooks yet", ["Nothing can be called before the service desk registers a webhook: ", pluginCommand((plugin) => `relay webhooks apply FILE --plugin ${plugin}`)])));
  const options = webhooks.filter(({ webhookId }) => webhookId !== chosen).map(({ webhookId }) => h("option", { value: webhookId }, webhookId));
  select.append(...options);
}

function look(places, range, webhook, signal) {
  let buckets = [];
  let minutes = [];
  const live = async () => {
    try {
      await figures();
    } catch (error) {
      put(places.live, h("span", { class: "badge bad" }, h("span", { class: "dot" }), "Not live"));
      throw error;
    }
  };
  const figures = async () => {
    const since = Date.now() - range.ms;
    const from = buckets.length ? Math.max(since, Date.parse(buckets.at(-1).start) - AGAIN) : since;
    const fromText = new Date(from).toISOString();
    const [come, lanesNow, ready] = await Promise.all([
      call("GET", "v1/stats", { query: { since: fromText, webhookId: webhook }, signal }),
      call("GET", "v1/lanes", { query: { since: fromText }, signal }),
      call("GET", "readyz", { signal, accept: [503] }),
    ]);
    buckets = merged(buckets, come.buckets, since);
    minutes = merged(minutes, lanesNow.minutes, since);
    put(places.problem);
    put(places.live, h("span", { class: "badge good" }, h("span", { class: "dot pulse" }), "Live"));
    put(places.warnings, warningsOf(ready, lanesNow.lanes));
    draw(places, { range, webhook }, buckets, { rows: lanesNow.lanes, minutes }, since);
  };
  const groups = async () => {
    const since = new Date(Date.now() - range.ms).toISOString();
    const found = await call("GET", "v1/groups", { query: { since, webhookId: webhook }, signal });
    redraw(places.groupsBody, groupsTable(found, since, range.name));
  };
  keepShowing(places.problem, live, range.every, signal);
  keepShowing(places.groupsBody, groups, Math.max(range.every * 2, 6_000), signal, (error) => h("div", { class: "panel-body" }, failure(error)));
}

function draw({ charts, strip, lanesBody }, { range, webhook }, buckets, waiting, since) {
  const all = totals(buckets);
  const now = columns(buckets, since, Date.now(), range.step);
  charts.throughput.update(now.xs, [now.total, now.good], [now.errors, now.good]);
  charts.errors.update(now.xs, [now.errorShare]);
  charts.latency.update(now.xs, [now.p99, now.p95, now.p50]);
  const waited = laneColumns(waiting.minutes, LANES.map(([lane]) => lane), since, Date.now(), range.step);
  charts.backlog.update(waited.xs, waited.lanes);
  put(lanesBody, h("ul", { class: "lanes" }, waiting.rows.map(laneRow)));
  const minute = latest(buckets);
  const pending = waiting.rows.reduce((sum, lane) => sum + lane.pending, 0);
  const oldest = Math.max(0, ...waiting.rows.map((lane) => lane.oldestSeconds ?? 0));
  const perMinuteNow = pace(buckets);
  redraw(
    strip,
    tiles([
      { label: "Throughput now", value: perMinuteNow === null ? "–" : short(perMinuteNow), unit: perMinuteNow === null ? null : "a minute", note: `${counted(all.ended, "call")} in ${range.name}` },
      {
        label: "Error rate",
        value: share(all.errorShare),
        tone: all.errors ? "bad" : null,
        note: [all.errors ? h("a", { href: address("/invocations", { webhookId: webhook, since: range.query, failed: "true", unreplayed: "false" }) }, `${count(all.errors)} failed`) : "none failed", all.rejected > 0 && `, ${count(all.rejected)} rejected`],
      },
      {
        label: "Latency now, p95",
        value: minute ? duration(minute.p95Ms) : "–",
        note: minute ? `p50 ${duration(minute.p50Ms)}, p99 ${duration(minute.p99Ms)}` : "no call has ended",
      },
      { label: "Backlog", value: short(pending), tone: oldest > 60 ? "warn" : null, note: pending ? `the oldest waits ${duration(oldest * 1_000)}` : "no calls wait" },
    ]),
  );
}

function served(workers) {
  if (workers === null) return badge("Workers not known", "warn");
  return workers ? h("span", { class: "muted small" }, counted(workers, "worker")) : badge("No worker", "bad");
}

/** Shows the backlog of a lane, and how many workers serve it. */
function laneRow({ lane, pending, oldestSeconds, workers }) {
  const late = pending > 0 && oldestSeconds > 60;
  return h(
    "li",
    {},
    h("h3", {}, lane, served(workers)),
    h("span", { class: "muted small" }, pending ? `oldest ${duration((oldestSeconds ?? 0) * 1_000)}` : "no calls wait"),
    h("span", { class: `lane-number ${late ? "toned warn" : ""}` }, count(pending)),
  );
}

/** Makes notices of the warnings of `/readyz`, and of lanes without a worker. */
export function warningsOf(ready, lanes) {
  const said = [];
  if (ready?.status !== "ready") said.push(["bad", ready?.detail ?? "The relay is not ready."]);
  for (const { lane, workers } of lanes) {
    if (workers === 0) said.push([lane === "interactive" ? "bad" : "warn", `No worker serves the lane ${lane}: its calls wait.`]);
  }
  for (const warning of ready?.warnings ?? []) {
    if (!/lane/i.test(warning) || lanes.every(({ workers }) => workers !== 0)) said.push(["warn", warning]);
  }
  return said.map(([tone, text]) => h("div", { class: `notice ${tone}` }, icon("warning"), h("p", {}, text)));
}
