// The requests to the relay, one function each.

import { call } from "./session.js";

const path = encodeURIComponent;

export function stats(since, webhookId, signal) {
  return call("GET", "v1/stats", { query: { since: new Date(since).toISOString(), webhookId }, signal });
}

export function readiness(signal) {
  return call("GET", "readyz", { signal, accept: [503] });
}

export function invocations(filter, { limit = 50, cursor = null, signal } = {}) {
  return call("GET", "v1/invocations", { query: { ...filter, limit, cursor }, signal });
}

export function invocation(reference, signal) {
  return call("GET", `v1/invocations/${path(reference)}`, { signal });
}

/** Reads names, types and sizes of what the caller gave. */
export function outline(reference, signal) {
  return call("GET", `v1/invocations/${path(reference)}/request`, { signal });
}

export function replays(signal) {
  return call("GET", "v1/replays", { query: { limit: 50 }, signal });
}

export function replay(id, signal) {
  return call("GET", `v1/replays/${path(id)}`, { signal });
}

/** Reads what a replay would do. */
export function plan(request, signal) {
  return call("POST", "v1/replays", { body: { ...request, dryRun: true }, signal });
}

export function startReplay(request) {
  return call("POST", "v1/replays", { body: request });
}

/** Pauses, resumes or cancels a replay: `action` is `pause`, `resume` or `cancel`. */
export function steerReplay(id, action) {
  return call("POST", `v1/replays/${path(id)}/${action}`);
}

/** Reads each registered webhook's counts of a day, and how its calls stand now. */
export function traffic(signal) {
  return call("GET", "v1/traffic", { signal });
}

/** Takes an action, `pause`, `resume` or `close-breaker`; resolves to the webhook's row afterwards. */
export function steerWebhook(id, action) {
  return call("POST", `v1/webhooks/${path(id)}/${action}`);
}

/** Reads how many calls wait in each lane, and the most that waited in each minute since `since`. */
export function lanes(since, signal) {
  return call("GET", "v1/lanes", { query: { since: new Date(since).toISOString() }, signal });
}

/** Reads the calls that ended in error, grouped by webhook, outcome and status. */
export function failingGroups(since, webhookId, signal) {
  return call("GET", "v1/groups", { query: { since: new Date(since).toISOString(), webhookId }, signal });
}
