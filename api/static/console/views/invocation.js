// Shows one invocation: its timeline, its chain and its result, with a link to replay it.

import { h, put } from "../dom.js";
import { bytes, count, duration } from "../format.js";
import { keepLooking } from "../live.js";
import { badge, copyButton, empty, facts, failure, idText, loading, panel, refLink, stateBadge, when } from "../parts.js";
import { call } from "../session.js";
import { FINAL, outcomeText } from "../words.js";
import { chainTree } from "./chain.js";
import { requestPanel } from "./request.js";
import { resultPanel } from "./result.js";
import { timeline } from "./timeline.js";

const EVERY = 1_500;

export function show({ root, id, signal }) {
  const body = h("div", { class: "stack" }, panel(null, loading(6)));
  const title = h("h1", { tabindex: -1 }, "Invocation");
  const actions = h("div", { class: "row controls" });
  const back = h("a", { class: "crumb", href: "#/invocations" }, "Invocations");
  put(root, h("nav", { "aria-label": "Where you are" }, back), h("header", { class: "view-head" }, title, actions), body);
  let chainState = null;
  const request = requestPanel(call("GET", `v1/invocations/${id}/request`, { signal }));
  keepLooking(
    async () => {
      const record = await call("GET", `v1/invocations/${id}`, { signal });
      const chain = await chainTree(record, signal);
      const state = JSON.stringify([record, chain?.state]);
      if (state !== chainState) draw({ title, actions, body, request }, record, chain);
      chainState = state;
      return !(FINAL.has(record.state) && (!chain || chain.ended));
    },
    EVERY,
    signal,
    (error) => put(body, gone(error)),
  );
}

function gone(error) {
  if (error.status === 404) return panel(null, empty("No such invocation", "No invocation of this plugin has this reference id."));
  if (error.status === 410) return panel(null, empty("No longer kept", "This invocation is older than the retention of records."));
  return failure(error);
}

function draw({ title, actions, body, request }, record, chain) {
  put(title, h("span", { class: "break" }, record.webhookId), " ", stateBadge(record));
  put(
    actions,
    h("a", { class: "button", href: `#/invocations?webhookId=${record.webhookId}` }, "All calls of this webhook"),
    FINAL.has(record.state) && record.state !== "rejected" && h("a", { class: "button primary", href: `#/replays/new?ref=${record.referenceId}` }, "Replay…"),
  );
  put(
    body,
    record.damaged && h("p", { class: "notice bad" }, h("span", {}, `This record is damaged: somebody has altered ${record.damaged.join(", ")} in the store.`)),
    record.replayedBy && h("p", { class: "notice idle" }, h("span", {}, "This call was replayed as ", refLink(record.replayedBy), ".")),
    panel("What happened", h("div", { class: "panel-body" }, timeline(record, chain?.steps ?? [])), { aside: h("span", { class: "muted small" }, summary(record)) }),
    attempts(record),
    chain && panel("Chain", h("div", { class: "panel-body" }, chain.element)),
    request,
    h("div", { class: "two" }, resultPanel(record), panel("Record", h("div", { class: "panel-body" }, kept(record)))),
  );
}

function summary(record) {
  if (record.finishedAt) return `${duration(Date.parse(record.finishedAt) - Date.parse(record.createdAt))} from acceptance to end`;
  return "not ended yet";
}

function attempts(record) {
  if (record.attempts.length === 0) return null;
  const rows = record.attempts.map((attempt) =>
    h(
      "li",
      {},
      h("span", { class: `attempt-number ${attempt.outcome === "answered" && attempt.status < 400 ? "good" : "bad"}` }, count(attempt.number)),
      h("div", { class: "grow" }, h("p", {}, attempt.status ? `Answered ${attempt.status}` : capital(outcomeText(attempt.outcome)), attempt.status && attempt.outcome !== "answered" ? `: ${outcomeText(attempt.outcome)}` : null), h("p", { class: "muted small" }, sentText(attempt))),
      h("div", { class: "attempt-times small" }, h("p", {}, duration(attempt.durationMs)), h("p", { class: "muted" }, when(attempt.startedAt))),
    ),
  );
  return panel(`Attempts`, h("ol", { class: "attempts" }, rows), { aside: badge(count(record.attempts.length), "idle") });
}

function sentText({ sent }) {
  return { no: "The request never left the relay.", maybe: "The request may have reached the endpoint.", answered: "The request was sent and answered." }[sent] ?? "";
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function kept(record) {
  return facts([
    ["Reference id", h("span", { class: "row tight nowrap-row" }, h("code", { class: "break" }, record.referenceId), copyButton("Copy the reference id", record.referenceId)), "whole"],
    ["Webhook", h("span", {}, idText(record.webhookId), record.revision ? `, revision ${record.revision}` : ""), record.webhookId.length > 20 && "whole"],
    ["Caller", record.caller ? h("a", { class: "mono", href: `#/invocations?caller=${record.caller}` }, record.caller) : "–"],
    ["Accepted", when(record.createdAt)],
    ["Ended", record.finishedAt ? when(record.finishedAt) : "not yet"],
    ["Kept until", record.expiresAt ? when(record.expiresAt) : "after it has ended"],
    ["Request", bytes(record.requestBytes)],
    ["Response", bytes(record.responseBytes)],
    record.replayOf && ["Replay of", refLink(record.replayOf)],
    record.replayedBy && ["Replayed as", refLink(record.replayedBy)],
    record.chain?.parent && ["Step of", refLink(record.chain.parent)],
  ]);
}
