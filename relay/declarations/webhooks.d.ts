/** What became of a trigger; exactly these four members. */
export interface Result<T = any> {
  referenceId: string;
  /** The endpoint's HTTP status, 0 if there was no acceptable answer. */
  status: number;
  /** The endpoint's answer, or `{code, message}` if it could not be accepted; without one, a `NoAnswer`. */
  data: T;
  error: boolean;
}

/** The `data` of a call that the endpoint did not answer (`status` 0). */
export interface NoAnswer {
  code: string;
  message: string;
  /** "no" if certainly no request of the call was sent, so that the endpoint cannot have acted on it. */
  sent: "no" | "maybe";
}

export interface Accepted {
  referenceId: string;
  state: State;
}

export type State =
  | "queued"
  | "sending"
  | "retrying"
  | "waiting"
  | "delivered"
  | "unreachable"
  | "interrupted"
  | "rejected"
  | "cancelled";

/** A JSON pointer (RFC 6901) and what is wrong there. */
export interface Fault {
  pointer: string;
  message: string;
}

/**
 * A problem document (RFC 9457) as an item of `triggerMany` carries it. With an `idempotencyKey` the item may have been
 * accepted: trigger it again with that key.
 */
export interface Problem {
  code: string;
  detail?: string;
  errors?: Fault[];
  referenceId?: string;
  idempotencyKey?: string;
  [member: string]: unknown;
}

/**
 * Binary data is sent as base64 text, and only to a webhook that is registered with `payload_encoding: "base64"`; a
 * `FormData`, and an object whose members are `Blob`s, only to one that is registered with `payload: "multipart"`. What
 * JSON would drop or change is refused with `request_rejected`, before anything is sent; `toJSON` is used, and members
 * that are undefined are left out, as by `JSON.stringify`.
 */
export type Data = string | object | Blob | ArrayBuffer | ArrayBufferView | FormData | null;
export type Headers = Record<string, string> | globalThis.Headers | URLSearchParams | null;
export type QueryParams = Record<string, string | number | boolean> | URLSearchParams | globalThis.Headers | null;

/** All segments that a webhook's path leaves to callers. */
export type PathParams = Record<string, string | number | boolean> | null;

declare global {
  /**
   * What each webhook takes, by id. It is empty here, so that any id may be given; `relay webhooks types` and
   * `GET /v1/webhooks.d.ts` write a file that fills it in for the webhooks of a plugin.
   */
  interface RelayWebhooks {}
}

/** An id; one of the plugin's own, where its webhooks are declared. */
export type WebhookId = [keyof RelayWebhooks] extends [never] ? string : keyof RelayWebhooks;

/** What a webhook takes. */
export type Trigger<I extends WebhookId = WebhookId> = I extends keyof RelayWebhooks
  ? RelayWebhooks[I]
  : { data?: Data; headers?: Headers; queryParams?: QueryParams; pathParams?: PathParams };

/** The arguments after a webhook's id: only data may be required, and `options` if they have to fill the path. */
export type Given<I extends WebhookId> = Trigger<I> extends { data: infer D }
  ? [data: D, ...more: More<I>]
  : [data?: Member<I, "data"> | null, ...more: More<I>];
type More<I extends WebhookId> = Trigger<I> extends { pathParams: object }
  ? [headers: Member<I, "headers">, queryParams: Member<I, "queryParams">, options: TriggerOptions<I>]
  : [headers?: Member<I, "headers">, queryParams?: Member<I, "queryParams">, options?: TriggerOptions<I>];
type Member<I extends WebhookId, M extends string> = Trigger<I> extends { [name in M]?: infer V } ? V : never;

/** One of many triggers. */
export type Item = { [I in WebhookId]: { webhookId: I } & Trigger<I> & ItemOptions }[WebhookId];

export interface ItemOptions {
  /** Whom it concerns, such as a patient's id, 1 to 256 characters; never sent to the endpoint. */
  subject?: string | null;
  idempotencyKey?: string;
  /** Seconds before which the call is not sent, up to 2,592,000. */
  delay?: number;
}

export interface CallOptions {
  /** Stops waiting; the call goes on. The promise rejects with an `AbortedCall`. */
  signal?: AbortSignal;
  /** Milliseconds to wait in all; overrides that of `createApi`. */
  timeout?: number;
}

export type TriggerOptions<I extends WebhookId = WebhookId> = KeyedOptions & Pick<Trigger<I>, Extract<keyof Trigger<I>, "pathParams">>;

export interface KeyedOptions extends CallOptions {
  /** Whom it concerns, such as a patient's id, 1 to 256 characters; never sent to the endpoint. */
  subject?: string | null;
  /** Made by the client unless given. */
  idempotencyKey?: string;
  /** Seconds before which the call is not sent, up to 2,592,000. */
  delay?: number;
}

/** A webhook as its plugin may see it. */
export interface Description {
  id: string;
  description: string | null;
  dataSchema: object | boolean | null;
  /** Names that a caller may fill. */
  headers: string[];
  queryParams: string[];
  payloadEncoding: "base64" | null;
  /** `data` is sent as multipart/form-data. */
  payload?: "multipart";
  /** The segments of its path that a caller has to fill. */
  pathParams?: Record<string, { pattern: string }>;
}

export interface Attempt {
  number: number;
  startedAt: string;
  durationMs: number;
  status: number;
  /** The coarse code, which is all that a key with the scope `trigger` sees; null for an answer. */
  outcome: string | null;
  sent: "no" | "maybe" | "answered";
}

export interface Invocation {
  referenceId: string;
  webhookId: string;
  revision: number | null;
  state: State;
  createdAt: string;
  finishedAt: string | null;
  attempts: Attempt[];
  result: { status: number; data: any; error: boolean } | null;
  [member: string]: unknown;
}

export interface Webhooks {
  /** Triggers a webhook and waits for its result. */
  trigger<I extends WebhookId>(webhookId: I, ...given: Given<I>): Promise<Result>;
  /** The same, with a type for the endpoint's answer. */
  trigger<T>(...call: { [I in WebhookId]: [webhookId: I, ...given: Given<I>] }[WebhookId]): Promise<Result<T>>;
  /** Triggers a webhook without waiting. */
  triggerAsync<I extends WebhookId>(webhookId: I, ...given: Given<I>): Promise<Accepted>;
  /** Triggers many webhooks without waiting; the results are in the order of the items. */
  triggerMany(items: Iterable<Item>, options?: CallOptions): Promise<Array<Accepted | { problem: Problem }>>;
  /** The record as it is now. */
  get(referenceId: string, options?: CallOptions): Promise<Invocation>;
  /** Waits until an invocation is final; rejects if it ended `rejected` or `cancelled`. */
  wait<T = any>(referenceId: string, options?: CallOptions): Promise<Result<T>>;
  /** The webhooks that this key's plugin may trigger. */
  list(options?: CallOptions): Promise<Description[]>;
  /** The description of one of them. */
  describe(webhookId: WebhookId, options?: CallOptions): Promise<Description>;
}

export interface ApiOptions {
  /** Where the relay is, e.g. `https://relay.example`; a path in front is kept. */
  baseUrl: string;
  /** An API key. Whoever uses the page can read it: it names the plugin, not a person. */
  key: string;
  fetch?: typeof globalThis.fetch;
  /** Milliseconds that `trigger` and `wait` wait in all. */
  timeout?: number;
  /** Replaces `JSON`, which rounds integers beyond 2^53; the relay itself keeps integers of any size. */
  json?: { parse(text: string): any; stringify(value: any): string };
}

export function createApi(options: ApiOptions): { webhooks: Webhooks };

/** What a call rejects with when its signal is aborted: an `AbortError`, or the `TimeoutError` of `AbortSignal.timeout`. */
export interface AbortedCall extends DOMException {
  /** The reference id of the trigger's record, if it is known. */
  readonly referenceId: string | null;
  /** The idempotency key that the trigger was sent with: sent again with it, it is accepted at most once. */
  readonly idempotencyKey: string | null;
  /** Of a `triggerMany` that failed as a whole: the keys of all its items, in order. */
  readonly idempotencyKeys: string[];
  /** The signal's reason. */
  readonly cause: unknown;
}

/** Why a call failed. `code` is stable; `message` names the first of `errors`, is for people and may change. */
export class WebhookError extends Error {
  constructor(
    code: string,
    message: string,
    details?: {
      status?: number;
      errors?: Fault[];
      referenceId?: string | null;
      idempotencyKey?: string | null;
      retryAfter?: number | null;
      cause?: unknown;
    },
  );
  readonly name: "WebhookError";
  readonly code: string;
  /** The relay's HTTP status; 0 if the relay did not answer. */
  readonly status: number;
  /** Which fields are at fault. */
  readonly errors: Fault[];
  /** The reference id of the trigger's record, if it is known. */
  readonly referenceId: string | null;
  /** The idempotency key that the trigger was sent with: sent again with it, it is accepted at most once. */
  readonly idempotencyKey: string | null;
  /** Of a `triggerMany` that failed as a whole: the keys of all its items, in order. */
  readonly idempotencyKeys: string[];
  /** Seconds after which the same request may be taken, if the relay said so. */
  readonly retryAfter: number | null;
}
