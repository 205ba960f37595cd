// A clock that moves only from one timer to the next, so that nothing waits: it replaces the timers of Node.

const real = { setTimeout, clearTimeout, setImmediate, performance, Date };
const realTimeout = AbortSignal.timeout;

function put(name, value) {
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
}

/** Replaces the clock from `startMs` on; `end` puts the real one back. */
export class SteppedClock {
  constructor(startMs = Date.UTC(2026, 0, 31, 12)) {
    this.startMs = startMs;
    this.now = 0; // milliseconds since the start
    this.timers = new Map();
    this.last = 0;
    const clock = this;
    globalThis.setTimeout = (act, ms = 0) => {
      this.last += 1;
      this.timers.set(this.last, { at: this.now + Math.max(0, ms), act });
      return this.last;
    };
    globalThis.clearTimeout = (number) => this.timers.delete(number);
    put("performance", { now: () => this.now });
    AbortSignal.timeout = (ms) => {
      const controller = new AbortController();
      setTimeout(() => controller.abort(new DOMException("The operation timed out.", "TimeoutError")), ms);
      return controller.signal;
    };
    globalThis.Date = class extends real.Date {
      constructor(...given) {
        super(...(given.length ? given : [clock.startMs + clock.now]));
      }

      static now() {
        return clock.startMs + clock.now;
      }
    };
  }

  end() {
    for (const [name, value] of Object.entries(real)) put(name, value);
    AbortSignal.timeout = realTimeout;
  }

  /** Resolves to what a promise settles to, as `{value}` or `{error}`, after as many timers as that takes. */
  async until(promise, mostMs = 10_000_000) {
    let settled = null;
    promise.then((value) => (settled = { value }), (error) => (settled = { error }));
    for (;;) {
      for (let turn = 0; turn < 20 && !settled; turn += 1) await new Promise((resolve) => real.setImmediate(resolve));
      if (settled) return settled;
      const [next] = [...this.timers].sort(([, one], [, other]) => one.at - other.at);
      if (!next || next[1].at > mostMs) return { pending: true };
      this.timers.delete(next[0]);
      this.now = Math.max(this.now, next[1].at);
      next[1].act();
    }
  }
}
