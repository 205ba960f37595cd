// What is looked at again and again, while somebody can see it.

/** Waits, or ends with the signal. */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
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
 * Runs `look` now and then every `everyMs` after it ended, until the signal or until it returns false. What it throws
 * goes to `failed`; looks after a failure come slower, up to half a minute apart. A look that takes long comes more seldom:
 * it takes a tenth of the time at most.
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
