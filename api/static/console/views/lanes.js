// Shows the backlog of each lane, and how many workers serve it.

import { h } from "../dom.js";
import { count, counted, duration } from "../format.js";
import { badge } from "../parts.js";

export function lanesList(lanes) {
  return h("ul", { class: "lanes" }, lanes.map(row));
}

function served(workers) {
  if (workers === null) return badge("Workers not known", "warn");
  return workers ? h("span", { class: "muted small" }, counted(workers, "worker")) : badge("No worker", "bad");
}

function row({ lane, pending, oldestSeconds, workers }) {
  const late = pending > 0 && oldestSeconds > 60;
  return h(
    "li",
    {},
    h("h3", {}, lane, served(workers)),
    h("span", { class: "muted small" }, pending ? `oldest ${duration((oldestSeconds ?? 0) * 1_000)}` : "no calls wait"),
    h("span", { class: `lane-number ${late ? "toned warn" : ""}` }, count(pending)),
  );
}
