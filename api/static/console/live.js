// Repeats requests for as long as the page is visible.

import { h, icon, put } from "./dom.js";
import { failure, when } from "./parts.js";

const ENDED = [404, 410]; // the answers that what was shown is gone
const WRONG = 400; // the answer that the request is not valid, which the next one would not be, either
const LONGEST_MS = 3_600_000; // what a relay can have a page wait

/** Waits for `ms`, or until the signal aborts. */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const wake = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", wake);
      resolve();
    };
    const timer = setTimeout(wake, ms);
    signal.addEventListener("abort", wake, { once: true });
  });
}

function seen(signal) {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", resolve, { once: true, signal });
    signal.addEventListener("abort", resolve, { once: true });
  });
}

/**
 * Runs `look` now, and again `everyMs` after each run, until the signal aborts or it returns false. Its errors go to
 * `failed`. After errors and slow runs the pauses are longer, up to half a minute: ever longer after errors, nine times
 * as long as a slow run; and as long as the relay says. It also ends at the answer that the request is not valid.
 */
export async function keepLooking(look, everyMs, signal, failed) {
  let failures = 0;
  while (!signal.aborted) {
    const began = performance.now();
    let leastMs = everyMs;
    try {
      if ((await look()) === false) return;
      failures = 0;
    } catch (error) {
      if (signal.aborted || error.name === "AbortError") return;
      if (error.status !== WRONG) error.message += " The page keeps trying.";
      failed(error);
      if (error.status === WRONG) return;
      failures += 1;
      leastMs = Math.max(everyMs, Math.min(1_000 * (error.waitS ?? 0), LONGEST_MS));
    }
    const took = performance.now() - began;
    await pause(Math.max(leastMs, Math.min(Math.max(9 * took, everyMs * 2 ** failures), 30_000)), signal);
    await seen(signal);
  }
}

/**
 * Keeps looking with `look`, which fills `place`. After a failed look the content stays, below a note that it is not up
 * to date. If there is none yet, or what it shows is gone, `problem` makes what is shown of the error.
 */
export function keepShowing(place, look, everyMs, signal, problem = failure) {
  const note = h("div", { class: "notice warn stale", role: "status" });
  let shownAt = null;
  let noted = "";
  const shown = async () => {
    const goesOn = await look();
    note.remove();
    shownAt = new Date().toISOString();
    return goesOn;
  };
  signal.addEventListener("abort", () => note.remove(), { once: true });
  return keepLooking(shown, everyMs, signal, (error) => {
    if (shownAt === null || ENDED.includes(error.status)) {
      shownAt = null;
      note.remove();
      put(place, problem(error));
      return;
    }
    if (note.parentElement && noted === error.message) return; // put again, it would be read aloud again
    noted = error.message;
    put(note, icon("warning"), h("p", {}, "Not up to date since ", when(shownAt), ". ", error.message));
    place.before(note);
  });
}

/** Resolves to what `ask` returns; after errors, which go to `failed`, asks again until the signal aborts. */
export function eventually(ask, signal, failed = () => {}) {
  return new Promise((resolve) => keepLooking(async () => (resolve(await ask()), false), 2_000, signal, failed));
}
