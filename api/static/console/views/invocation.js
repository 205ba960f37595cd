// Shows one invocation: its timeline, its chain, the outline of its request and its result, with a link to replay it.

import { h, put, redraw } from "../dom.js";
import { bytes, count, duration } from "../format.js";
import { eventually, keepShowing } from "../live.js";
import { badge, copyButton, empty, facts, failure, idText, loading, panel, refLink, stateBadge, table, when } from "../parts.js";
import { call } from "../session.js";
import { FINAL, outcomeText } from "../words.js";
import { chainTree } from "./chain.js";
import { resultPanel } from "./result.js";
import { timeline } from "./timeline.js";

const EVERY = 1_500;
const SENT = { no: "The request never left the relay.", maybe: "The request may have reached the endpoint.", answered: "The request was sent and answered." };
/** Why there is no outline of a request. */
const MISSING = {
  chain_step: "The request of a chain's step holds endpoints' answers, which only workers can open.",
  too_large: "The request is too large to be outlined here.",
  not_kept: "Payload and result are not kept: the call was refused, or they were deleted, or are older than their retention.",
  unreadable: "None of the keys of this relay opens it.",
};
const PARTS = [
  { label: "Place", grow: true, cell: ({ pointer }) => h("code", { class: "break" }, pointer) },
  { label: "Type", cell: ({ types }) => types.join(" or ") },
  { label: "Values", number: true, wide: true, cell: (part) => count(part.count) },
  { label: "Size", number: true, cell: (part) => bytes(part.bytes) },
];

export function show({ root, id, signal }) {
  const body = h("div", { class: "stack" }, panel(null, loading(6)));
  const title = h("h1", { tabindex: -1 }, "Invocation");
  const actions = h("div", { class: "row controls" });
  const back = h("a", { class: "crumb", href: "#/invocations" }, "Invocations");
  put(root, h("nav", { "aria-label": "Where you are" }, back), h("header", { class: "view-head" }, title, actions), body);
  let chainState = null;
  const request = requestPanel(id, signal);
  keepShowing(
    body,
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
    (error) => {
      chainState = null;
      return gone(error);
    },
  );
}

function gone(error) {
  if (error.status === 404) return panel(null, empty("No such invocation", "No invocation of this plugin has this reference id."));
  if (error.status === 410) return panel(null, empty("No longer kept", "This invocation is older than the retention of records."));
  return failure(error);
}

function draw({ title, actions, body, request }, record, chain) {
  put(title, h("span", { class: "break" }, record.webhookId), " ", stateBadge(record));
  redraw(
    actions,
    h("a", { class: "button", href: `#/invocations?webhookId=${record.webhookId}` }, "All calls of this webhook"),
    FINAL.has(record.state) && record.state !== "rejected" && h("a", { class: "button primary", href: `#/replays/new?ref=${record.referenceId}` }, "Replay…"),
  );
  redraw(
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

/** Makes a panel for the outline of a request: names, types and sizes of what the caller gave, never a value. */
function requestPanel(id, signal) {
  const body = h("div", {}, loading(3));
  const failed = (error) => put(body, h("div", { class: "panel-body" }, failure(error)));
  eventually(() => call("GET", `v1/invocations/${id}/request`, { signal }), signal, failed).then((found) => put(body, outlined(found)));
  const why = h("span", { class: "muted small" }, "names and sizes only: values may be health data, so they are never shown here");
  return panel("Request", body, { aside: why });
}

function outlined({ parts, complete, missing }) {
  if (missing) return empty("No outline", MISSING[missing] ?? missing);
  if (parts.length === 0) return empty("Nothing was given", "The caller gave no data, headers or parameters.");
  return [table("Names and sizes of the request", PARTS, parts), complete ? null : h("p", { class: "muted small table-note" }, "There are more parts than are shown.")].filter(Boolean);
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
      h("div", { class: "grow" }, h("p", {}, attempt.status ? `Answered ${attempt.status}` : capital(outcomeText(attempt.outcome)), attempt.status && attempt.outcome !== "answered" ? `: ${outcomeText(attempt.outcome)}` : null), h("p", { class: "muted small" }, SENT[attempt.sent] ?? "")),
      h("div", { class: "attempt-times small" }, h("p", {}, duration(attempt.durationMs)), h("p", { class: "muted" }, when(attempt.startedAt))),
    ),
  );
  return panel(`Attempts`, h("ol", { class: "attempts" }, rows), { aside: badge(count(record.attempts.length), "idle") });
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
    record.reason && ["Why it ended", record.reason, "whole"],
    record.lateAnswer && ["Late answer", record.lateAnswer],
  ]);
}
