// Says in a few words what states and outcomes mean, and gives them their tones.

export const STATES = {
  queued: { label: "Queued", tone: "idle" },
  sending: { label: "Sending", tone: "busy" },
  retrying: { label: "Retrying", tone: "warn" },
  waiting: { label: "Waiting", tone: "busy" },
  delivered: { label: "Delivered", tone: "good" },
  unreachable: { label: "Unreachable", tone: "bad" },
  interrupted: { label: "Interrupted", tone: "bad" },
  rejected: { label: "Rejected", tone: "warn" },
  cancelled: { label: "Cancelled", tone: "idle" },
};

export const FINAL = new Set(["delivered", "unreachable", "interrupted", "rejected", "cancelled"]);

export const OUTCOMES = {
  answered: "the endpoint answered",
  response_rejected: "the answer does not fit the registration",
  dns_failed: "the name could not be looked up",
  connect_failed: "no connection",
  connect_timeout: "no connection in time",
  tls_failed: "no secure connection (TLS)",
  address_refused: "the address is not allowed",
  breaker_open: "not tried: the breaker is open",
  prepare_failed: "the request could not be made",
  answer_timeout: "no answer in time",
  connection_lost: "the connection was lost",
  answer_rejected: "the answer could not be accepted",
  lease_lost: "the worker was lost during the call",
  restored: "the relay was restored from a backup; it may have been sent since",
  step_rejected: "a step of the chain could not be made",
  chain_timeout: "the chain did not end in time",
  expired: "the call did not end before its maximum age",
  request_rejected: "the call does not fit the registration",
  webhook_not_registered: "the webhook is not registered",
};

/** The reasons for which a replay skips a call, in words. */
export const SKIPPED = {
  replayed: "already replayed successfully",
  being_replayed: "in another replay",
  uncertain: "may have arrived, and must not be sent twice",
  expired: "too old: no longer kept",
  refused: "refused by the relay",
  forgotten: "payload deleted",
  not_final: "not ended yet",
  chain_step: "steps of a chain",
  unreadable: "unreadable",
  cancelled: "cancelled",
  restored: "perhaps sent since the relay was restored from a backup",
};

/** Returns an outcome in words; one that this page does not know is only spelt with blanks. */
export function outcomeText(outcome) {
  return OUTCOMES[outcome] ?? String(outcome ?? "").replaceAll("_", " ");
}

/** Returns in words how a call ended: its status, if there was one, otherwise its outcome. */
export function endingText(outcome, status) {
  if (status && (outcome === "answered" || !outcome)) return `answered ${status}`;
  if (!outcome) return "no answer";
  if (status) return `${outcomeText(outcome)} (${status})`;
  return outcomeText(outcome);
}

/** Returns whether status or error of a result cannot be read, because the record was altered in the store. */
export function isDamaged(result) {
  return result?.status === null || result?.error === null;
}

/** Returns label and tone of a record's state; a delivered record whose result is an error is shown as failed, and one whose state or result the store has lost as damaged. */
export function stateOf(record) {
  if (record.state === null || (record.state === "delivered" && isDamaged(record.result))) return { label: "Damaged", tone: "bad" };
  const known = STATES[record.state] ?? { label: record.state, tone: "idle" };
  if (record.state === "delivered" && record.result?.error) return { label: "Failed", tone: "bad" };
  return known;
}
