// @ts-self-types="./webhooks.d.ts"
/**
 * The webhook relay's client for browsers and Node (18 or newer): one ES module, no dependencies.
 *
 *     import { createApi } from "https://relay.example/webhooks.js";
 *
 *     const api = createApi({ baseUrl: "https://relay.example", key: "whk_..." });
 *     const { referenceId, status, data, error } =
 *       await api.webhooks.trigger("get-randomapi", null, {}, { pageNum: 1 });
 *
 * `trigger` rejects, with a `WebhookError`, only if the webhook is not registered, if data, headers or queryParams do
 * not fit its registration, or on an error of the relay or on the way to it. If an endpoint answers with failure, or
 * cannot be contacted, the promise resolves to a result whose `error` is true.
 *
 * @typedef {object} Result   What became of a trigger; exactly these four members.
 * @property {string} referenceId
 * @property {number} status   The endpoint's HTTP status, 0 if there was no acceptable answer.
 * @property {any} data        The endpoint's answer, or `{code, message}` if it could not be accepted; without one, a `NoAnswer`.
 * @property {boolean} error
 *
 * @typedef {{code: string, message: string, sent: "no" | "maybe"}} NoAnswer
 *   `sent` is "no" if certainly no request of the call was sent, so that the endpoint cannot have acted on it.
 *
 * @typedef {{referenceId: string, state: string}} Accepted
 * @typedef {{pointer: string, message: string}} Fault   A JSON pointer (RFC 6901) and what is wrong there.
 * @typedef {string | object | Blob | ArrayBuffer | ArrayBufferView | FormData | null} Data
 *   Binary data is sent as base64 text, and only to a webhook that is registered with `payload_encoding: "base64"`; a
 *   `FormData`, and an object whose members are `Blob`s, only to one that is registered with `payload: "multipart"`. What
 *   JSON would drop or change is refused; `toJSON` is used and undefined members are left out, as by `JSON.stringify`.
 * @typedef {Record<string, string> | globalThis.Headers | URLSearchParams | null} Headers
 * @typedef {Record<string, string | number | boolean> | URLSearchParams | globalThis.Headers | null} QueryParams
 *
 * @typedef {Record<string, string | number | boolean> | null} PathParams
 *
 * @typedef {object} Item   One of many triggers.
 * @property {string} webhookId
 * @property {Data} [data]
 * @property {Headers} [headers]
 * @property {QueryParams} [queryParams]
 * @property {PathParams} [pathParams]
 * @property {string} [subject]   Whom it concerns, such as a patient's id; never sent to the endpoint.
 * @property {string} [idempotencyKey]
 * @property {number} [delay]   Seconds before which the call is not sent.
 *
 * @typedef {object} CallOptions
 * @property {AbortSignal} [signal]   Stops waiting; the call goes on. The promise rejects with an `AbortError` (a
 *   `TimeoutError` for `AbortSignal.timeout`), which has `idempotencyKey`, `referenceId` if known, and the reason as `cause`.
 * @property {number} [timeout]       Milliseconds to wait in all; overrides that of `createApi`.
 * @property {string} [idempotencyKey]   For `trigger` and `triggerAsync`; made by the client unless given.
 * @property {PathParams} [pathParams]   The segments that the webhook's path leaves to callers; for both.
 * @property {string} [subject]   Whom the call concerns, such as a patient's id; never sent to the endpoint; for both.
 * @property {number} [delay]   Seconds before which the call is not sent, up to 2,592,000; for `triggerAsync`.
 *
 * @typedef {object} Webhooks
 * @property {(webhookId: string, data?: Data, headers?: Headers, queryParams?: QueryParams, options?: CallOptions) =>
 *   Promise<Result>} trigger   Triggers a webhook and waits for its result.
 * @property {(webhookId: string, data?: Data, headers?: Headers, queryParams?: QueryParams, options?: CallOptions) =>
 *   Promise<Accepted>} triggerAsync   Triggers a webhook without waiting.
 * @property {(items: Iterable<Item>, options?: CallOptions) => Promise<Array<Accepted | {problem: object}>>}
 *   triggerMany   Triggers many webhooks without waiting; the results are in the order of the items.
 * @property {(referenceId: string, options?: CallOptions) => Promise<object>} get   The record as it is now.
 * @property {(options?: CallOptions) => Promise<object[]>} list   The webhooks that this key's plugin may trigger.
 * @property {(webhookId: string, options?: CallOptions) => Promise<object>} describe   The description of one of them.
 * @property {(referenceId: string, options?: CallOptions) => Promise<Result>} wait
 *   Waits until an invocation is final; rejects if it ended `rejected` or `cancelled`.
 */

/** How long `trigger` and `wait` wait in all: the longest chain (900 s) and a minute to begin. */
const WAIT_LIMIT_MS = 960_000;
/** How long one request asks the relay to hold its answer back; many proxies cut a silent connection after a minute. */
const POLL_WAIT_S = 30;
/** How long, on top of that, the relay and the network may take. */
const READ_MARGIN_MS = 15_000;
/**
 * How many times one request is sent at most. A trigger carries an Idempotency-Key, so it is accepted once only. With the
 * pauses between, the tries take 4 to 8 s, by which time an API process that was restarted is back.
 */
const TRIES = 6;
const PAUSE_FIRST_MS = 250;
const PAUSE_MAXIMUM_MS = 5_000;
/** The longest Retry-After that the client waits for. */
const RETRY_AFTER_LIMIT_MS = 30_000;
/** A browser withholds an answer at once; if it takes longer, something else cut the answer off. */
const QUICK_MS = 5_000;
const NOT_NOW = new Set([429, 502, 503, 504]);
/** The most items that one `POST /v1/triggers` takes, and half of the relay's default RELAY_MAX_BODY_BYTES. */
const GROUP_ITEMS = 1_000;
const GROUP_BYTES = 4 * 1024 * 1024;
const BASE64_SLICE_BYTES = 3 * 8_192; // a multiple of 3, so that the pieces join without padding

/** How deep data may be nested; the relay takes less. */
const MAX_DEPTH = 100;
/** How many faults are named, and how long a pointer may be. */
const MAX_FAULTS = 20;
const POINTER_LENGTH = 256;

const MISFIT = "The request does not fit the webhook's registration.";
const UNWRITABLE = "The trigger holds a value that JSON would drop or change, so nothing was sent.";
const LONE_SURROGATE = /\p{Surrogate}/u;
const AS_ENTRIES = "give `Object.fromEntries(...)` of it, if no name repeats";
const AS_LIST = "give `[...value]`";
const AS_BASE64 =
  'give base64 text, or, as the whole of `data`, the bytes to a webhook that is registered with `payload_encoding: "base64"`';
const AS_FILE =
  'give it, as the whole of `data`, to a webhook that is registered with `payload_encoding: "base64"`, or, as a member of ' +
  '`data` itself, to one with `payload: "multipart"`';
const AS_FORM = 'give it, as the whole of `data`, to a webhook that is registered with `payload: "multipart"`';
const AS_JSON = "give what `await value.json()` or `await value.text()` returns";
/** What to give instead of a value of each kind. */
const REMEDIES = {
  __proto__: null,
  ...{ Map: AS_ENTRIES, FormData: AS_FORM, URLSearchParams: AS_ENTRIES, Headers: AS_ENTRIES },
  ...{ Set: AS_LIST, NodeList: AS_LIST, FileList: AS_LIST, Arguments: AS_LIST, Generator: AS_LIST },
  ...{ "Map Iterator": AS_LIST, "Set Iterator": AS_LIST, "Array Iterator": AS_LIST, "Iterator Helper": AS_LIST },
  ...{ Response: AS_JSON, Request: AS_JSON },
  Promise: "`await` it",
  Error: "give `String(error)`, or an object of the members that you want to send",
  DOMException: "give `String(error)`",
  RegExp: "give `String(value)`",
  Date: "it is no valid date",
  Function: "call it, or leave it out",
  AsyncFunction: "`await` a call of it, or leave it out",
  symbol: "give text",
  bigint: "give `String(value)`, or give `createApi` a `json` that writes it",
  undefined: "give null, or leave it out of the list",
  ...{ Number: "give `value.valueOf()`", String: "give `value.valueOf()`", Boolean: "give `value.valueOf()`" },
};
const AS_PLAIN = "give a plain object, such as `{ ...value }`, or give it a `toJSON` method";
/** Why a webhook does not take data that is sent as base64 text, by how it would have to be registered. */
const NOT_TAKEN = {
  base64: 'takes no binary data: the webhook is not registered with payload_encoding "base64"',
  multipart: 'takes neither files nor FormData: the webhook is not registered with payload "multipart"',
};
const VISIBLE = /^[!-~]+$/;
const FINAL = new Set(["delivered", "unreachable", "interrupted", "rejected", "cancelled"]);
const CODE_BY_STATUS = {
  401: "unauthenticated",
  403: "forbidden",
  413: "too_large",
  429: "rate_limited",
  502: "unavailable",
  503: "unavailable",
  504: "unavailable",
};

/** Why a call failed. `code` is stable; `message` is for people and may change. */
export class WebhookError extends Error {
  /**
   * @param {string} code   E.g. `webhook_not_registered`, `request_rejected`, `unavailable`, `internal`.
   * @param {string} message
   * @param {{status?: number, errors?: Fault[], referenceId?: string | null, idempotencyKey?: string | null,
   *   retryAfter?: number | null, cause?: unknown}} [details]
   */
  constructor(
    code,
    message,
    { status = 0, errors = [], referenceId = null, idempotencyKey = null, retryAfter = null, cause } = {},
  ) {
    super(message + firstOf(errors), cause === undefined ? undefined : { cause });
    this.name = "WebhookError";
    this.code = code;
    /** The relay's HTTP status; 0 if the relay did not answer. */
    this.status = status;
    /** Which fields are at fault. */
    this.errors = errors;
    /** The reference id of the trigger's record, if one is known. */
    this.referenceId = referenceId;
    /** The idempotency key that the trigger was sent with: sent again with it, it is not accepted twice. */
    this.idempotencyKey = idempotencyKey;
    /** Of a `triggerMany` that failed as a whole: the keys of all its items, in order. */
    this.idempotencyKeys = [];
    /** Seconds after which to send the request again, if the relay said so. */
    this.retryAfter = retryAfter;
  }
}

/** Names the first fault, and says how many more there are. */
function firstOf(errors) {
  if (errors.length === 0) return "";
  const { pointer, message } = errors[0];
  return ` ${pointer ? `${pointer}: ` : ""}${message}${errors.length > 1 ? ` (and ${errors.length - 1} more)` : ""}`;
}

/**
 * @param {object} options
 * @param {string} options.baseUrl   Where the relay is, e.g. `https://relay.example`; a path in front is kept.
 * @param {string} options.key       An API key. Users of the page can read it: it stands for the plugin, not a person.
 * @param {typeof globalThis.fetch} [options.fetch]
 * @param {number} [options.timeout]   Milliseconds that `trigger` and `wait` wait in all.
 * @param {{parse: (text: string) => any, stringify: (value: any) => string}} [options.json]
 *   Replaces `JSON`, which rounds integers beyond 2^53; the relay itself keeps integers of any size.
 * @returns {{webhooks: Webhooks}}
 */
export function createApi({ baseUrl, key, fetch = globalThis.fetch, timeout = WAIT_LIMIT_MS, json = JSON } = {}) {
  if (typeof baseUrl !== "string" || !/^https?:\/\/[^?#]+$/i.test(baseUrl)) {
    throw new TypeError("baseUrl must be an http or https URL, without query or fragment");
  }
  if (/\/v1\/*$/.test(baseUrl)) throw new TypeError("baseUrl must not end in /v1: the client adds it");
  if (key === undefined || key === null || key === "") {
    throw new TypeError("key is missing: create one with `relay keys create --plugin PLUGIN --scope trigger`");
  }
  if (typeof key !== "string" || !VISIBLE.test(key)) throw new TypeError("key must be visible ASCII characters");
  const call = connect(baseUrl.replace(/\/+$/, ""), key, fetch, json);
  const deadlineOf = (options) => {
    const ms = options.timeout ?? timeout;
    if (typeof ms !== "number" || Number.isNaN(ms)) {
      throw new WebhookError("bad_parameter", "timeout must be a number of milliseconds.");
    }
    return performance.now() + ms;
  };
  const taken = new Set(); // ids of webhooks, with what they are known to take

  /** Returns the relay's description of one webhook. */
  async function describe(webhookId, deadline, signal) {
    const segment = webhookSegment(webhookId);
    const { document } = await call("GET", `/v1/webhooks/${segment}`, {}, deadline, signal);
    members(document, ["id", "description", "dataSchema", "headers", "queryParams", "payloadEncoding"]);
    return document;
  }

  /** Returns binary data, and files in data, as base64 text, if the webhook takes it; any other data unchanged. */
  async function plain(webhookId, data, deadline, signal, at = "") {
    const place = `${at}/data`;
    const check = async (kind, pointer) => {
      const key = `${kind} ${webhookId}`;
      if (taken.has(key)) return;
      const { payloadEncoding, payload } = await describe(webhookId, deadline, signal);
      if (payloadEncoding !== kind && payload !== kind) {
        throw new WebhookError("request_rejected", MISFIT, { errors: [{ pointer, message: NOT_TAKEN[kind] }] });
      }
      taken.add(key);
    };
    if (isBinary(data)) {
      await check("base64", place);
      return base64(await bytesOf(data, place));
    }
    if (!(data instanceof Form)) return data;
    await check("multipart", data.file === undefined ? place : pointerTo(place, data.file));
    return data.written(place);
  }

  async function post(webhookId, data, headers, queryParams, prefer, deadline, options) {
    const copies = new Copies(json); // made before anything is awaited: the caller may change its objects meanwhile
    const { pathParams, subject, delay } = options;
    const trigger = copies.trigger({ data, headers, queryParams, pathParams, subject, delay }, "");
    const idempotencyKey = options.idempotencyKey ?? (await newKey());
    if (!VISIBLE.test(idempotencyKey)) {
      throw new WebhookError("bad_parameter", "An idempotency key must be visible ASCII characters.");
    }
    return carrying({ idempotencyKey }, async () => {
      const segment = webhookSegment(webhookId);
      copies.check();
      const body = encode({ ...trigger, data: await plain(webhookId, trigger.data, deadline, options.signal) }, json);
      const sent = { "Idempotency-Key": idempotencyKey, Prefer: prefer };
      const answer = await call("POST", `/v1/webhooks/${segment}/trigger`, sent, deadline, options.signal, body);
      return { ...answer, idempotencyKey };
    });
  }

  async function look(referenceId, wait, deadline, signal) {
    const segment = segmentOf(referenceId);
    if (!segment) {
      throw new WebhookError("not_found", isMissing(referenceId) ? "The reference id is missing." : "Nothing was found here.");
    }
    const sent = wait > 0 ? { Prefer: `wait=${wait}` } : {};
    const { document } = await call("GET", `/v1/invocations/${segment}`, sent, deadline, signal);
    members(document, ["referenceId", "state", "result"]);
    return document;
  }

  /** Long-polls until the record is final; pauses between polls if the relay, without room to wait, answers at once. */
  async function finalRecord(referenceId, deadline, signal) {
    for (let pause = PAUSE_FIRST_MS; ; ) {
      const began = performance.now();
      const wait = secondsToAsk(deadline);
      const record = await look(referenceId, wait, deadline, signal);
      if (FINAL.has(record.state)) return record;
      const now = performance.now();
      if (now >= deadline) throw new WebhookError("wait_ended", "The invocation is still unfinished.", { referenceId });
      if (now - began < wait * 500 || wait === 0) {
        await sleep(Math.min(jittered(pause), deadline - now), signal);
        pause = Math.min(2 * pause, PAUSE_MAXIMUM_MS);
      }
    }
  }

  return {
    webhooks: {
      async trigger(webhookId, data = null, headers = null, queryParams = null, options = {}) {
        const deadline = deadlineOf(options);
        const prefer = `wait=${secondsToAsk(deadline)}`;
        const answer = await post(webhookId, data, headers, queryParams, prefer, deadline, options);
        const { idempotencyKey } = answer;
        const names = answer.status === 202 ? ["referenceId"] : ["referenceId", "status", "data", "error"];
        const read = await carrying({ idempotencyKey }, async () => members(answer.document, names));
        if (answer.status !== 202) return read;
        const { referenceId } = read;
        return carrying({ referenceId, idempotencyKey }, async () =>
          resultOf(await finalRecord(referenceId, deadline, options.signal)),
        );
      },

      async triggerAsync(webhookId, data = null, headers = null, queryParams = null, options = {}) {
        const deadline = deadlineOf(options);
        const answer = await post(webhookId, data, headers, queryParams, "respond-async", deadline, options);
        const { idempotencyKey } = answer;
        return carrying({ idempotencyKey }, async () => members(answer.document, ["referenceId", "state"]));
      },

      async triggerMany(items, options = {}) {
        const copies = new Copies(json);
        const copied = copies.items(items);
        copies.check();
        const encoded = [];
        const keys = [];
        for (const [index, item] of copied.entries()) {
          const data = await plain(item.webhookId, item.data, deadlineOf(options), options.signal, `/${index}`);
          keys.push(item.idempotencyKey ?? (await newKey()));
          encoded.push(encode({ ...item, data, idempotencyKey: keys[index] }, json));
        }
        const send = async (group) => {
          const body = `[${group.join(",")}]`;
          const answer = await call("POST", "/v1/triggers", {}, deadlineOf(options), options.signal, body);
          const { results } = members(answer.document, ["results"]);
          if (!Array.isArray(results) || results.length !== group.length) throw unreadable();
          return results;
        };
        return sendGroups(groupsOf(encoded), keys, send);
      },

      async list(options = {}) {
        const { document } = await call("GET", "/v1/webhooks", {}, deadlineOf(options), options.signal);
        return members(document, ["webhooks"]).webhooks;
      },

      async describe(webhookId, options = {}) {
        return describe(webhookId, deadlineOf(options), options.signal);
      },

      async get(referenceId, options = {}) {
        return carrying({ referenceId }, () => look(referenceId, 0, deadlineOf(options), options.signal));
      },

      async wait(referenceId, options = {}) {
        return carrying({ referenceId }, async () =>
          resultOf(await finalRecord(referenceId, deadlineOf(options), options.signal)),
        );
      },
    },
  };
}

/** Runs a call; adds what is known of the trigger to the error that it throws. */
async function carrying(known, run) {
  try {
    return await run();
  } catch (error) {
    if (error instanceof WebhookError || isAbort(error)) {
      for (const [name, value] of Object.entries(known)) error[name] ??= value;
    }
    throw error;
  }
}

/** Returns a function that sends a request, and repeats it, within bounds, while the relay is away or busy. */
function connect(baseUrl, key, fetch, json) {
  async function send(method, path, headers, deadline, signal, body) {
    const left = Math.max(deadline - performance.now(), 0) + 1_000; // the last request gets at least a second
    try {
      return await within(Math.min(POLL_WAIT_S * 1_000 + READ_MARGIN_MS, left), signal, async (ended) => {
        const response = await fetch(baseUrl + path, {
          method,
          headers: { Authorization: `Bearer ${key}`, ...headers, ...(body && { "Content-Type": "application/json" }) },
          body,
          signal: ended,
          cache: "no-store",
          credentials: "omit",
          redirect: "manual", // a redirect would take key and trigger elsewhere
        });
        const retryAfter = /^\d{1,9}$/.exec(response.headers.get("Retry-After") ?? "");
        const document = parse(await response.text(), json);
        return { status: response.status, document, retryAfter: retryAfter && Number(retryAfter[0]) };
      });
    } catch (cause) {
      throwIfAborted(signal);
      return { status: 0, document: null, retryAfter: null, cause };
    }
  }

  let isAllowed = false; // whether the browser has ever handed an answer to this page

  return async function call(method, path, headers, deadline, signal, body) {
    let runs = false;
    for (let number = 0; ; number += 1) {
      throwIfAborted(signal);
      const began = performance.now();
      const answer = await send(method, path, headers, deadline, signal, body);
      isAllowed ||= !answer.cause;
      if (answer.status >= 200 && answer.status < 300) return answer;
      if (!answer.cause && !NOT_NOW.has(answer.status)) throw problemOf(answer);
      if (!isAllowed && runs && performance.now() - began < QUICK_MS) throw wrongOrigin(answer.cause);
      const asked = answer.retryAfter === null ? null : answer.retryAfter * 1_000;
      const pause = asked === null
        ? jittered(Math.min(PAUSE_FIRST_MS * 2 ** number, PAUSE_MAXIMUM_MS))
        : asked + jittered(PAUSE_FIRST_MS);
      if (number + 1 >= TRIES || asked > RETRY_AFTER_LIMIT_MS || performance.now() + pause > deadline) throw problemOf(answer);
      const found = isAllowed ? false : runsElsewhere(baseUrl, fetch, deadline, signal);
      [runs] = await Promise.all([found, sleep(pause, signal)]);
    }
  };
}

/**
 * Tells whether the relay runs, at another origin than this page's. A browser does not say why a request failed. But
 * any page may read this module: if that works while a request fails at once, the browser withheld the answer.
 */
async function runsElsewhere(baseUrl, fetch, deadline, signal) {
  const page = globalThis.location?.origin;
  if (page === undefined || page === new URL(baseUrl).origin) return false;
  const ask = (ended) =>
    fetch(`${baseUrl}/webhooks.js`, { method: "HEAD", credentials: "omit", cache: "no-store", signal: ended });
  try {
    return (await within(Math.min(QUICK_MS, deadline - performance.now()), signal, ask)).ok;
  } catch {
    return false;
  }
}

/** Runs a function with a signal that is aborted with the caller's, or after so many milliseconds. */
async function within(ms, signal, run) {
  // The oldest supported engines lack AbortSignal.any and AbortSignal.timeout.
  const controller = new AbortController();
  const abort = () => controller.abort();
  signal?.addEventListener("abort", abort, { once: true });
  const timer = setTimeout(abort, ms);
  try {
    return await run(controller.signal);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

function wrongOrigin(cause) {
  const message = `The relay does not let pages of ${globalThis.location.origin} use it: ` +
    `create a key with \`relay keys create --plugin PLUGIN --scope trigger --origin ${globalThis.location.origin}\`.`;
  return new WebhookError("forbidden", message, { cause });
}

function notRegistered() {
  return new WebhookError("webhook_not_registered", "No such webhook is registered for this plugin.");
}

function isAbort(error) {
  return error instanceof DOMException;
}

/** Throws an error of this call if the signal was aborted; calls may share the signal, and so its reason. */
function throwIfAborted(signal) {
  if (!signal?.aborted) return;
  const { reason } = signal;
  const [name, message] = reason instanceof DOMException ? [reason.name, reason.message] : ["AbortError", "The call was aborted."];
  throw Object.assign(new DOMException(message, name), { cause: reason, referenceId: null, idempotencyKey: null });
}

function problemOf({ status, document, retryAfter, cause }) {
  if (cause) return new WebhookError("unavailable", "The relay cannot be reached.", { cause });
  if (typeof document?.code !== "string") {
    const code = CODE_BY_STATUS[status] ?? "internal";
    return new WebhookError(code, "The answer did not come from a relay that this client understands.", { status, retryAfter });
  }
  const message = document.detail ?? document.title ?? document.code;
  const given = Array.isArray(document.errors) ? document.errors : [];
  const errors = given.filter((each) => typeof each?.message === "string");
  const referenceId = document.referenceId ?? null;
  return new WebhookError(document.code, message, { status, errors, referenceId, retryAfter });
}

/** Returns the four members of a final record, or throws the error that it ended with. */
function resultOf(record) {
  const { referenceId, state, result } = record;
  if (state === "cancelled") {
    throw new WebhookError("cancelled", "The invocation was cancelled before it was sent.");
  }
  if (state === "rejected") {
    const unknown = record.attempts?.at(-1)?.outcome === "webhook_not_registered" || record.revision === null;
    throw unknown
      ? notRegistered()
      : new WebhookError("request_rejected", MISFIT);
  }
  return { referenceId, ...members(result, ["status", "data", "error"]) };
}

function members(document, names) {
  const readable = typeof document === "object" && document !== null && names.every((name) => name in document);
  if (!readable) throw unreadable();
  return Object.fromEntries(names.map((name) => [name, document[name]]));
}

function unreadable() {
  return new WebhookError("internal", "The relay's answer cannot be read.");
}

/**
 * Sends one group after another; halves one that is too large. Any other fault of a whole group is thrown if nothing
 * has been accepted; otherwise it becomes the problem of each item without an answer, so that no reference id is lost.
 * The caller gets the idempotency keys of all items, or of these, some of which the relay may have accepted.
 */
async function sendGroups(groups, keys, send) {
  const results = [];
  const waiting = groups.reverse();
  while (waiting.length > 0) {
    const group = waiting.pop();
    try {
      results.push(...(await send(group)));
    } catch (error) {
      const problem = { code: isAbort(error) ? "aborted" : error.code, detail: error.message };
      if (error.code === "too_large" && group.length > 1) {
        const middle = group.length >> 1;
        waiting.push(group.slice(middle), group.slice(0, middle));
      } else if (error.code === "too_large") {
        results.push({ problem });
      } else if (error instanceof WebhookError || isAbort(error)) {
        if (!results.some((result) => "referenceId" in result)) throw Object.assign(error, { idempotencyKeys: keys });
        const unanswered = keys.slice(results.length);
        return results.concat(unanswered.map((idempotencyKey) => ({ problem: { ...problem, idempotencyKey } })));
      } else {
        throw error;
      }
    }
  }
  return results;
}

function groupsOf(encoded) {
  const groups = [];
  const encoder = new TextEncoder();
  let bytes = Infinity;
  for (const item of encoded) {
    const size = encoder.encode(item).length + 1;
    if (bytes + size > GROUP_BYTES || groups.at(-1).length === GROUP_ITEMS) {
      groups.push([]);
      bytes = 0;
    }
    groups.at(-1).push(item);
    bytes += size;
  }
  return groups;
}

function encode(value, json) {
  try {
    const text = json.stringify(value);
    if (typeof text === "string") return text;
  } catch (cause) {
    throw new WebhookError("request_rejected", UNWRITABLE, { cause });
  }
  throw new WebhookError("request_rejected", UNWRITABLE);
}

/**
 * Copies of triggers as JSON carries them, and a fault for each value that JSON would drop or change: what arrives
 * equals what was given, or nothing is sent. Another `json` than `JSON` writes BigInts and instances of classes itself.
 */
class Copies {
  constructor(json) {
    this.writesMore = json !== JSON;
    this.above = new Set(); // the objects around a value
    this.dataAt = null; // pointer to the data that is copied, whose members may be files
    this.faults = [];
  }

  check() {
    if (this.faults.length > 0) throw new WebhookError("request_rejected", UNWRITABLE, { errors: this.faults });
  }

  items(items) {
    if (typeof items?.[Symbol.iterator] !== "function") {
      const errors = [{ pointer: "", message: "must be a list of triggers, or another iterable of them" }];
      throw new WebhookError("request_rejected", MISFIT, { errors });
    }
    return Array.from(items, (item, index) => this.item(item, `/${index}`));
  }

  item(item, at) {
    try {
      if (isPlain(item)) return this.trigger({ ...item }, at);
    } catch {
      // a getter throws
    }
    return this.fault(at, "must be a plain object with a webhookId");
  }

  trigger({ data, headers, queryParams, pathParams, ...more }, at) {
    const copy = this.value(more, at) ?? {};
    if (data !== undefined) copy.data = this.data(data, `${at}/data`);
    if (headers !== undefined) copy.headers = this.pairs(headers, `${at}/headers`);
    if (queryParams !== undefined) copy.queryParams = this.pairs(queryParams, `${at}/queryParams`);
    if (pathParams !== undefined) copy.pathParams = this.value(pathParams, `${at}/pathParams`);
    return copy;
  }

  /** Returns binary data and files as they are: whether the webhook takes them is not known yet. */
  data(data, at) {
    try {
      if (isBinary(data)) return isBlob(data) ? data : bytesIn(data).slice(); // a Blob cannot change
      if (kindOf(data) === "FormData") return new Form(this.once(data, at));
      this.dataAt = at;
      const copy = this.copy(data, at);
      return isPlain(copy) && Object.values(copy).some(isBlob) ? new Form(copy) : copy;
    } catch (cause) {
      return this.unreadable(at, cause); // such as a buffer that was transferred
    }
  }

  /** Copies headers or query parameters; takes what `Headers` and `URLSearchParams` hold as well. */
  pairs(pairs, at) {
    const kind = kindOf(pairs);
    if (kind !== "Headers" && kind !== "URLSearchParams") return this.value(pairs, at);
    try {
      return this.value(this.once(pairs, at), at);
    } catch (cause) {
      return this.unreadable(at, cause);
    }
  }

  /** Returns an object of pairs, whose names may not repeat. */
  once(pairs, at) {
    const given = new Map();
    for (const [name, value] of pairs) {
      if (given.has(name)) this.fault(pointerTo(at, name), "is given more than once: a webhook takes each name once");
      given.set(name, value);
    }
    return Object.fromEntries(given);
  }

  value(value, at) {
    try {
      return this.copy(value, at);
    } catch (cause) {
      return this.unreadable(at, cause);
    }
  }

  copy(value, at) {
    if (value === null || typeof value === "boolean") return value;
    if (typeof value === "string") return this.text(value, at);
    if (typeof value === "number") {
      return Number.isFinite(value) ? value : this.fault(at, `is ${value}, which JSON cannot hold: give null or text`);
    }
    if (isBinary(value)) return this.fault(at, `is binary data (${kindOf(value)}): ${isBlob(value) ? AS_FILE : AS_BASE64}`);
    if (JSON.isRawJSON?.(value) || (this.writesMore && isForeign(value))) return value;
    if (typeof value === "symbol" || typeof value?.toJSON !== "function") return this.composite(value, at);
    const written = value.toJSON(nameIn(at));
    if (written === undefined || (written === null && kindOf(value) === "Date")) return this.misfit(value, at);
    return isScalar(written) ? this.copy(written, at) : this.composite(written, at);
  }

  text(text, at) {
    return LONE_SURROGATE.test(text) ? this.fault(at, "is text with half of a surrogate pair, which is no character") : text;
  }

  composite(value, at) {
    if (!Array.isArray(value) && !isPlain(value)) return this.misfit(value, at);
    if (this.above.has(value)) return this.fault(at, "contains itself");
    if (this.above.size >= MAX_DEPTH) return this.fault(at, "is nested too deeply");
    this.above.add(value);
    try {
      return Array.isArray(value) ? this.list(value, at) : this.members(value, at);
    } finally {
      this.above.delete(value);
    }
  }

  list(list, at) {
    const copy = [];
    for (let index = 0; index < list.length && this.faults.length < MAX_FAULTS; index += 1) {
      const place = `${at}/${index}`;
      copy.push(this.value(this.read(list, index, place), place));
    }
    const isIndex = (key) => typeof key === "string" && /^\d+$/.test(key);
    const more = Reflect.ownKeys(list).find((key) => !isIndex(key) && isEnumerable(list, key));
    return more === undefined ? copy : this.fault(at, `is a list with a member ${String(more)}: ${AS_LIST}`);
  }

  members(object, at) {
    const entries = [];
    for (const key of Reflect.ownKeys(object)) {
      if (this.faults.length >= MAX_FAULTS) break;
      if (!isEnumerable(object, key)) continue;
      if (typeof key === "symbol") {
        this.fault(at, `has a member named ${String(key)}: in JSON, names are text`);
        continue;
      }
      const place = pointerTo(at, key);
      const value = this.read(object, key, place);
      const isFile = at === this.dataAt && isBlob(value);
      if (value !== undefined) entries.push([this.text(key, place), isFile ? value : this.value(value, place)]);
    }
    return Object.fromEntries(entries);
  }

  /** Reads a property, once. */
  read(holder, key, at) {
    try {
      return holder[key];
    } catch (cause) {
      this.unreadable(at, cause);
      return null;
    }
  }

  unreadable(at, cause) {
    return this.fault(at, `cannot be read: doing so throws ${kindOf(cause)}`);
  }

  misfit(value, at) {
    const kind = kindOf(value);
    return this.fault(at, `is of type ${kind}, which JSON cannot hold: ${REMEDIES[kind] ?? AS_PLAIN}`);
  }

  fault(pointer, message) {
    if (this.faults.length < MAX_FAULTS) this.faults.push({ pointer: pointer.slice(0, POINTER_LENGTH), message });
  }
}

/** Data for a webhook that is registered with `payload: "multipart"`: an object, some of whose members are files. */
class Form {
  constructor(members) {
    this.entries = Object.entries(members);
    /** The name of the first file, if there is one. */
    this.file = this.entries.find(([, value]) => isBlob(value))?.[0];
  }

  /** Returns the object as JSON carries it. */
  async written(at) {
    const write = async ([name, value]) => [name, isBlob(value) ? await fileOf(value, pointerTo(at, name)) : value];
    return Object.fromEntries(await Promise.all(this.entries.map(write)));
  }
}

async function fileOf(blob, at) {
  const content = base64(await bytesOf(blob, at));
  return { filename: blob.name || "blob", contentType: blob.type || "application/octet-stream", content };
}

/** Returns the type of a value for people: `Map`, `bigint`, the name of its class. */
function kindOf(value) {
  if (value === null || (typeof value !== "object" && typeof value !== "function")) return String(value === null ? null : typeof value);
  try {
    const tag = Object.prototype.toString.call(value).slice(8, -1);
    return (tag === "Object" && value.constructor?.name) || tag;
  } catch {
    return "Object";
  }
}

function isScalar(value) {
  return value === null || ["string", "number", "boolean", "bigint"].includes(typeof value);
}

/** Tells whether a value is an object without a class, of this page or of another frame. */
function isPlain(value) {
  if (Object.prototype.toString.call(value) !== "[object Object]") return false;
  const prototype = Object.getPrototypeOf(value);
  if (prototype === null) return true;
  return Object.getPrototypeOf(prototype) === null && Object.prototype.hasOwnProperty.call(prototype, "isPrototypeOf");
}

/** Tells whether only the caller's `json` may know how to write a value: a BigInt, or an instance of a class. */
function isForeign(value) {
  if (typeof value === "bigint") return true;
  if (typeof value !== "object" || Array.isArray(value) || isPlain(value)) return false;
  const kind = kindOf(value);
  return !(kind in REMEDIES) && typeof globalThis[kind] !== "function";
}

function isEnumerable(object, key) {
  return Object.prototype.propertyIsEnumerable.call(object, key);
}

/** Returns the JSON pointer to a member. */
function pointerTo(at, name) {
  return `${at}/${name.replace(/~/g, "~0").replace(/\//g, "~1")}`;
}

function nameIn(pointer) {
  return pointer.slice(pointer.lastIndexOf("/") + 1).replace(/~1/g, "/").replace(/~0/g, "~");
}

function parse(text, json) {
  try {
    return json.parse(text);
  } catch {
    return null;
  }
}

function isBlob(data) {
  return typeof Blob !== "undefined" && data instanceof Blob;
}

function isBinary(data) {
  return data instanceof ArrayBuffer || ArrayBuffer.isView(data) || isBlob(data);
}

/** Returns the bytes in a buffer or a view; throws if the buffer was transferred. */
function bytesIn(data) {
  return data instanceof ArrayBuffer ? new Uint8Array(data) : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

async function bytesOf(data, at) {
  try {
    return isBlob(data) ? new Uint8Array(await data.arrayBuffer()) : data;
  } catch (cause) {
    const errors = [{ pointer: at, message: "cannot be read: its file is gone or has changed" }];
    throw new WebhookError("request_rejected", UNWRITABLE, { cause, errors });
  }
}

function base64(bytes) {
  let text = "";
  for (let start = 0; start < bytes.length; start += BASE64_SLICE_BYTES) {
    text += btoa(String.fromCharCode(...bytes.subarray(start, start + BASE64_SLICE_BYTES)));
  }
  return text;
}

function isMissing(id) {
  return id === undefined || id === null || id === "";
}

function webhookSegment(id) {
  const segment = segmentOf(id);
  if (segment) return segment;
  throw isMissing(id) ? new WebhookError("webhook_not_registered", "The id of the webhook is missing.") : notRegistered();
}

/** Returns an id as a path segment; "" for a value that cannot be one, and therefore is no valid id. */
function segmentOf(id) {
  try {
    return typeof id !== "string" || /^\.*$|\//.test(id) ? "" : encodeURIComponent(id);
  } catch {
    return "";
  }
}

/** Makes an idempotency key. `randomUUID` exists in secure contexts only, and Node 18 has no global `crypto`. */
async function newKey() {
  const crypto = globalThis.crypto ?? (await import("node:crypto")).webcrypto;
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function secondsToAsk(deadline) {
  return Math.max(0, Math.min(POLL_WAIT_S, Math.floor((deadline - performance.now()) / 1_000)));
}

/** Returns between half of a pause and all of it, so that clients do not come back together. */
function jittered(pause) {
  return pause * (0.5 + Math.random() / 2);
}

/** Sleeps until the time is over or the signal is aborted. */
function sleep(ms, signal) {
  return new Promise((resolve) => {
    const wake = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", wake);
      resolve();
    };
    const timer = setTimeout(wake, ms);
    signal?.addEventListener("abort", wake, { once: true });
    if (signal?.aborted) wake();
  });
}
