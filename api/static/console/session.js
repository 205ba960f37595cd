// The user's session. The key is in this variable and in the tab's sessionStorage, so that it survives a reload: it is
// sent in the Authorization header of calls to the relay that served this page, never put into an address or a log, and
// is gone when the tab is closed or the user signs out.

const KEPT = "webhook-relay-key";
const READ_LIMIT_MS = 30_000; // acts have none: whether one that is given up was done would be unknown

let key = sessionStorage.getItem(KEPT);
let plugin = null;
let ended = () => {};

const BASE = new URL("../", import.meta.url);

/** The relay's answer that a call has failed; `code` is stable, `message` is for people. It may say how long to wait. */
export class Problem extends Error {
  constructor(status, code, message, faults = [], waitS = 0) {
    super(message);
    this.name = "Problem";
    Object.assign(this, { status, code, faults, waitS });
  }
}

/** Returns whether a user is signed in. */
export function signedIn() {
  return key !== null;
}

/** Returns the name of the key's plugin; null before it is known. */
export async function pluginName() {
  plugin ??= (await call("GET", "v1/traffic")).plugin;
  return plugin;
}

/** Returns the id in the key, `whk_<id>_<secret>`; the id is not secret. */
export function keyId() {
  return key === null ? null : (key.match(/^whk_([A-Za-z0-9-]+)_/) ?? [])[1] ?? null;
}

/** Registers `heard`, which is called with a sentence when the relay no longer accepts the key. */
export function onEnd(heard) {
  ended = heard;
}

/** Keeps a key if it may operate the relay; otherwise throws a `Problem` that says why not. */
export async function signIn(text) {
  const given = text.trim();
  if (!/^[\x21-\x7e]+$/.test(given)) throw new Problem(401, "unauthenticated", "This is not an API key.");
  try {
    await send(given, "GET", "v1/invocations", { query: { limit: 1 } });
  } catch (error) {
    if (error.status === 401) error.message = "The relay does not accept this key: it may be revoked, expired or mistyped.";
    if (error.status === 403) error.message = "This key lacks the scope operate. Create one that has it: relay keys create --scope operate --plugin PLUGIN.";
    throw error;
  }
  key = given;
  plugin = null;
  sessionStorage.setItem(KEPT, given);
}

/** Forgets the key. */
export function signOut() {
  key = plugin = null;
  sessionStorage.removeItem(KEPT);
}

/**
 * Calls the relay's API and returns the JSON of its answer, or throws a `Problem`: of a GET after 30 s at the latest. A
 * refused key ends the session.
 */
export async function call(method, path, options = {}) {
  const used = key;
  try {
    return await send(used, method, path, options);
  } catch (error) {
    if (error.status === 401 && used !== null && used === key) {
      signOut();
      ended("Your session has ended: the relay no longer accepts the key. Sign in again to continue.");
    }
    throw error;
  }
}

async function send(text, method, path, { query = {}, body, signal, accept = [] } = {}) {
  const url = new URL(path, BASE);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, value);
  }
  const headers = { Accept: "application/json" };
  if (text !== null) headers.Authorization = `Bearer ${text}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const how = { credentials: "omit", cache: "no-store", redirect: "manual", referrerPolicy: "no-referrer" };
  const limit = method === "GET" ? AbortSignal.timeout(READ_LIMIT_MS) : null;
  const stop = limit && signal ? AbortSignal.any([limit, signal]) : (limit ?? signal);
  const response = await fetch(url, { method, headers, signal: stop, body: body && JSON.stringify(body), ...how }).catch(unanswered);
  const value = await response.json().catch((error) => (error instanceof SyntaxError ? null : unanswered(error)));
  if (value !== null && (response.ok || accept.includes(response.status))) return value;
  throw problemOf(response, value);
}

/** Throws the error of a request, or of reading its answer: one that breaks off, or takes too long, counts as none. */
function unanswered(error) {
  if (error.name === "AbortError") throw error;
  throw new Problem(0, "no_answer", "The relay does not answer.");
}

function problemOf(response, value) {
  if (!value?.detail && !value?.title) { // whose status says nothing about what was asked of the relay
    const how = response.type === "opaqueredirect" ? "a redirect" : `status ${response.status}`;
    const said = `A proxy or something else answered in the relay's place (${how}). Check that the relay is running (relay doctor), and that the proxy can reach it.`;
    return new Problem(0, "not_the_relay", said);
  }
  const faults = (value.errors ?? []).map(({ pointer, message }) => `${(pointer ?? "").replace(/^\//, "")} ${message}`);
  const said = value.detail ?? value.title;
  const waitS = Number(response.headers.get("Retry-After")) || 0; // the relay never gives a date
  const later = waitS > 0 ? ` It says to try again in ${waitS} s.` : "";
  return new Problem(response.status, value.code ?? "unknown", said + later, faults, waitS);
}
