// Lists the plugin's replay jobs, newest first.

import { h, put, redraw } from "../dom.js";
import { count } from "../format.js";
import { keepShowing } from "../live.js";
import { badge, empty, failure, loading, panel, table, when } from "../parts.js";
import { call } from "../session.js";
import { callerText, chosenText, jobMeter, jobText, jobTone } from "./replay_parts.js";

const EVERY = 2_000;

export function show({ root, signal }) {
  const list = h("div", {}, loading(6));
  const start = () => h("a", { class: "button primary", href: "#/replays/new" }, "New replay…");
  put(root, h("header", { class: "view-head" }, h("h1", { tabindex: -1 }, "Replays"), h("div", { class: "row controls" }, start())), panel(null, list));
  keepShowing(
    list,
    async () => {
      const { replays: jobs } = await call("GET", "v1/replays", { query: { limit: 50 }, signal });
      if (jobs.length > 0) redraw(list, table("Replays", COLUMNS, jobs));
      else redraw(list, empty("No replays yet", "Once an endpoint works again, a replay sends the failed calls once more, as new invocations. First see what it would do; nothing is sent before you start it.", start()));
    },
    EVERY,
    signal,
    (error) => h("div", { class: "panel-body" }, failure(error)),
  );
}

const COLUMNS = [
  { label: "State", cell: (job) => badge(jobText(job), jobTone(job)) },
  {
    label: "What",
    grow: true,
    cell: (job) => [
      h("a", { class: "row-link plain", href: `#/replays/${job.replayId}` }, chosenText(job)),
      h("span", { class: "narrow muted" }, when(job.createdAt), ", by ", callerText(job)),
    ],
  },
  { label: "Started", wide: true, cell: (job) => when(job.createdAt) },
  { label: "By", wide: true, cell: (job) => callerText(job) },
  { label: "Progress", wide: true, cell: (job) => jobMeter(job) },
  { label: "Calls", number: true, cell: (job) => count(job.matched) },
  { label: "Succeeded", number: true, spare: true, cell: (job) => count(job.delivered) },
  { label: "Failed", number: true, wide: true, cell: (job) => h("span", { class: job.failed ? "toned bad" : null }, count(job.failed)) },
  { label: "Skipped", number: true, spare: true, cell: (job) => count(job.skipped) },
];
