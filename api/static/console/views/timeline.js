// Shows a call from acceptance to its end on one time axis: the wait, each attempt, the pauses between attempts.

import { h } from "../dom.js";
import { duration, moment } from "../format.js";
import { FINAL, endingText, stateOf } from "../words.js";

const LEAST = 0.6; // the least width in percent, so that short pieces can be seen

/** Returns the pieces of a record's time, `{kind, label, from, to, tone}`, with times in ms. */
export function pieces(record, steps = [], now = Date.now()) {
  const begin = Date.parse(record.createdAt);
  const end = record.finishedAt ? Date.parse(record.finishedAt) : Math.max(now, begin);
  const found = [];
  let at = begin;
  for (const attempt of record.attempts) {
    const from = Math.max(at, Date.parse(attempt.startedAt));
    const to = Math.max(from, Math.min(end, Date.parse(attempt.startedAt) + attempt.durationMs));
    if (from > at) found.push({ kind: "wait", label: attempt.number === 1 ? "Waited for a worker" : "Paused before the next attempt", from: at, to: from, tone: "idle" });
    const good = attempt.status > 0 && attempt.status < 400 && attempt.outcome === "answered";
    found.push({ kind: "attempt", label: `Attempt ${attempt.number}: ${endingText(attempt.outcome, attempt.status)}`, from, to, tone: good ? "good" : "bad" });
    at = to;
  }
  for (const step of steps) {
    const from = Date.parse(step.createdAt);
    const to = step.finishedAt ? Date.parse(step.finishedAt) : end;
    found.push({ kind: "attempt", label: `Step ${step.chain.step + 1}: ${step.webhookId}`, from, to, tone: stateOf(step).tone });
    at = Math.max(at, to);
  }
  if (!FINAL.has(record.state)) found.push({ kind: "now", label: waiting(record), from: at, to: end, tone: stateOf(record).tone });
  else if (end > at) found.push({ kind: "wait", label: found.length ? "Storing the result" : "Until it ended", from: at, to: end, tone: "idle" });
  return { begin, end, found };
}

function waiting({ state, attempts, chain }) {
  if (state === "waiting" || chain?.steps) return "The chain's steps are running";
  if (state === "sending") return "Being sent";
  return state === "retrying" || attempts.length ? "Paused before the next attempt" : "Waiting for a worker";
}

/** Draws a line for each piece, and the time axis below. */
export function timeline(record, steps) {
  const { begin, end, found } = pieces(record, steps);
  const whole = Math.max(1, end - begin);
  const rows = found.map(({ kind, label, from, to, tone }) => {
    const left = Math.min(100 - LEAST, (100 * (from - begin)) / whole);
    const width = Math.max(LEAST, (100 * (to - from)) / whole);
    return h(
      "li",
      { class: `piece ${kind} ${tone}` },
      h("span", { class: "piece-label" }, label),
      h("span", { class: "piece-track", "aria-hidden": "true" }, h("span", { class: "piece-bar", vars: { "--x": `${left}%`, "--w": `${Math.min(width, 100 - left)}%` } })),
      h("span", { class: "piece-time" }, duration(to - from)),
    );
  });
  return h(
    "div",
    { class: "timeline" },
    h("ol", {}, rows),
    h("p", { class: "axis muted small" }, h("span", {}, h("b", {}, `accepted ${moment(record.createdAt)}`), h("b", {}, record.finishedAt ? `ended ${moment(record.finishedAt)}` : "now"))),
  );
}
