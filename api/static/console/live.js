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
 * `failed`; after errors, the pauses grow up to half a minute. Slow runs are repeated less often, to take at most
 * a tenth of the time.
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
      failed(error);
    }
    const took = performance.now() - began;
    await pause(Math.max(9 * took, Math.min(everyMs * 2 ** failures, Math.max(everyMs, 30_000))), signal);
    await seen(signal);
  }
}
