// Shows a replay job, in the list and on its own page.

import { count } from "../format.js";
import { filterText } from "../filters.js";
import { h } from "../dom.js";
import { idText, when } from "../parts.js";
import { SKIPPED } from "../words.js";

const TONES = { planning: "busy", running: "busy", paused: "warn", cancelled: "idle", done: "good" };

export function jobTone(job) {
  return job.state === "done" && job.failed > 0 ? "warn" : (TONES[job.state] ?? "idle");
}

const STATES = { planning: "Planning", running: "Running", paused: "Paused", cancelled: "Cancelled", done: "Done" };

export function jobText(job) {
  return STATES[job.state] ?? job.state;
}

/** Says which calls a job was made of. */
export function chosenText({ filter }) {
  if (filter === null) return "calls chosen by their reference ids";
  const { webhookId, states, status, since, until, ...others } = filter;
  const said = filterText({ ...others, state: states?.join(","), status: status?.join(",") });
  return h(
    "span",
    {},
    webhookId ? idText(webhookId) : "all webhooks",
    h("span", { class: "muted small block" }, said || "what failed", since && [", since ", when(since)], until && [", until ", when(until)]),
  );
}

/** Says who made a job: the id of an API key, or that it was a command. */
export function callerText({ caller }) {
  if (!caller) return h("span", { class: "muted" }, "–");
  return caller === "cli" ? "a command" : h("code", { class: "nowrap" }, caller);
}

/** Writes the reasons for which calls are skipped, `{reason: how many}`, in words. */
export function skipText(reasons) {
  return Object.entries(reasons ?? {}).filter(([, number]) => number > 0).map(([reason, number]) => `${count(number)} ${SKIPPED[reason] ?? reason.replaceAll("_", " ")}`).join("; ");
}

/** Shows the progress of a job: calls that succeeded, failed and were skipped. */
export function jobMeter({ matched, delivered, failed, skipped }) {
  const width = (number) => `${matched ? Math.min(100, (100 * number) / matched) : 0}%`;
  const part = (tone, number) => h("span", { class: tone, vars: { "--w": width(number) } });
  return h(
    "div",
    { class: "meter", role: "progressbar", "aria-label": "Progress", "aria-valuemin": 0, "aria-valuemax": matched || 1, "aria-valuenow": delivered + failed + skipped },
    [part("good", delivered), part("bad", failed), part("idle", skipped)],
  );
}
