// The backlog of each lane, and who works on it.

import { h } from "../dom.js";
import { count, counted, duration } from "../format.js";
import { badge, meter } from "../parts.js";

export function lanesList(lanes) {
  const most = Math.max(1, ...lanes.map(({ pending }) => pending));
  return h("ul", { class: "lanes" }, lanes.map((lane) => row(lane, most)));
}

function row({ lane, pending, oldestSeconds, workers }, most) {
  const waits = pending ? `oldest ${duration((oldestSeconds ?? 0) * 1_000)}` : "empty";
  return h(
    "li",
    {},
    h("div", { class: "lane-head" }, h("h3", {}, lane), workers ? h("span", { class: "muted small" }, counted(workers, "worker")) : badge("No worker", "bad")),
    h("p", { class: "lane-number" }, h("b", {}, count(pending)), h("span", { class: "muted small" }, waits)),
    meter(`Backlog of ${lane}`, [{ tone: oldestSeconds > 60 ? "warn" : "busy", value: pending }], most),
  );
}
