// Repeats requests for as long as the page is visible.

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
 * as long as a slow run.
 */
export async function keepLooking(look, everyMs, signal, failed) {
  let failures = 0;
  while (!signal.aborted) {
    const began = performance.now();
    try {
      if ((await look()) === false) return;
      failures = 0;
    } catch (error) {
      if (signal.aborted || error.name === "AbortError") return;
      failures += 1;
      if (!/^4/.test(error.status)) error.message += " The page keeps trying.";
      failed(error);
    }
    const took = performance.now() - began;
    await pause(Math.max(everyMs, Math.min(Math.max(9 * took, everyMs * 2 ** failures), 30_000)), signal);
    await seen(signal);
  }
}

/** Resolves to what `ask` returns; after errors, which go to `failed`, asks again until the signal aborts. */
export function eventually(ask, signal, failed = () => {}) {
  return new Promise((resolve) => keepLooking(async () => (resolve(await ask()), false), 2_000, signal, failed));
}
