// Shows the progress of one replay job, with buttons to pause, resume and cancel it.

import { h, put, redraw, rest } from "../dom.js";
import { count, duration } from "../format.js";
import { keepShowing } from "../live.js";
import { badge, button, confirmed, copyButton, empty, facts, failure, loading, once, panel, say, tiles, when } from "../parts.js";
import { call } from "../session.js";
import { callerText, chosenText, jobMeter, jobText, jobTone, skipText } from "./replay_parts.js";

const EVERY = 1_000;
const OVER = new Set(["done", "cancelled"]);

export function show({ root, id, signal }) {
  const title = h("h1", { tabindex: -1 }, "Replay");
  const state = h("span", { role: "status" });
  const actions = h("div", { class: "row controls" });
  const body = h("div", { class: "stack" }, panel(null, loading(4)));
  const crumb = h("nav", { "aria-label": "Where you are" }, h("a", { class: "crumb", href: "#/replays" }, "Replays"));
  put(root, crumb, h("header", { class: "view-head" }, title, state, actions), body);
  let known = "";
  const draw = (job) => {
    if (JSON.stringify(job) === known) return;
    if (JSON.parse(known || "{}").state !== job.state) {
      put(state, badge(jobText(job), jobTone(job)));
      redraw(actions, steering(job, act));
      rest(actions);
    }
    known = JSON.stringify(job);
    redraw(body, picture(job));
  };
  const act = once(async (action) => {
    if (action === "cancel" && !(await confirmed("Cancel this replay?", "Calls that have not been sent are skipped for good. Sent calls cannot be recalled.", "Cancel the replay", { signal, danger: true }))) return;
    try {
      const job = await call("POST", `v1/replays/${id}/${action}`);
      if (signal.aborted) return;
      draw(job);
      rest(actions, () => actions.querySelector("button"));
    } catch (error) {
      if (!signal.aborted) say(error.message, "bad");
    }
  });
  keepShowing(
    body,
    async () => {
      const job = await call("GET", `v1/replays/${id}`, { signal });
      draw(job);
      return !OVER.has(job.state) || underWay(job) > 0; // what was sent before a job was cancelled still ends
    },
    EVERY,
    signal,
    (error) => {
      known = "";
      return error.status === 404 ? panel(null, empty("No such replay", "No replay of this plugin has this id, or it is no longer kept.")) : failure(error);
    },
  );
}

/** Returns how many calls of a job were started and have not ended. */
function underWay({ started, delivered, failed }) {
  return Math.max(0, started - delivered - failed);
}

function steering(job, act) {
  if (OVER.has(job.state)) return [];
  const pausing = job.state === "paused" ? button("Resume", () => act("resume"), { icon: "play" }) : button("Pause", () => act("pause"), { icon: "pause", disabled: job.state === "planning" });
  return [pausing, button("Cancel…", () => act("cancel"), { icon: "close" })];
}

function picture(job) {
  const ended = job.delivered + job.failed + job.skipped;
  const rate = job.ratePerSecond === null ? "as fast as possible" : `${count(job.ratePerSecond)} a second`;
  const left = job.matched === null ? null : job.matched - ended;
  return [
    panel(
      null,
      h(
        "div",
        { class: "panel-body stack" },
        h("div", { class: "row between" }, h("p", {}, h("b", {}, count(ended)), h("span", { class: "muted" }, ` of ${count(job.matched)} calls ended`)), left > 0 && job.ratePerSecond ? h("span", { class: "muted small" }, `about ${duration((left / job.ratePerSecond) * 1_000)} left`) : null),
        h("div", { class: "thick" }, jobMeter(job)),
      ),
    ),
    h(
      "div",
      { class: "tiles" },
      tiles([
        { label: "Succeeded", value: count(job.delivered), tone: job.delivered ? "good" : null, note: "answered under 400" },
        { label: "Failed", value: count(job.failed), tone: job.failed ? "bad" : null, note: "failed again" },
        { label: "Under way", value: count(underWay(job)), note: `${count(job.started)} started` },
        { label: "Skipped", value: count(job.skipped), note: skipText(job.skippedReasons) || "no call was skipped" },
      ]),
    ),
    panel(
      "Job",
      h(
        "div",
        { class: "panel-body" },
        facts([
          ["Id", h("span", { class: "row tight nowrap-row" }, h("code", { class: "break" }, job.replayId), copyButton("Copy the replay's id", job.replayId)), "whole"],
          ["What", chosenText(job), "whole"],
          ["By", callerText(job)],
          ["Rate", rate],
          ["Started", when(job.createdAt)],
          ["Ended", job.finishedAt ? when(job.finishedAt) : "not yet"],
          ["Invocations", h("a", { href: `#/invocations?replay=${job.replayId}` }, "The calls that it sent")],
        ]),
      ),
    ),
  ];
}
