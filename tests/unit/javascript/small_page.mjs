// What the console's views use of a page beyond elements: what selectors find, the focus, the address, and a relay.
import { makeDocument } from "./small_document.mjs";

const real = globalThis.setImmediate;

/** Puts a page into this process; `relay` answers its requests, and `asked` lists them. */
export class SmallPage {
  constructor() {
    makeDocument();
    globalThis.window = new EventTarget();
    globalThis.location = { hash: "" };
    globalThis.history = { replaceState: (_state, _title, address) => (location.hash = address) };
    globalThis.ResizeObserver = class {
      observe() {}

      disconnect() {}
    };
    globalThis.matchMedia = () => new EventTarget();
    globalThis.getComputedStyle = () => ({ color: "rgb(1, 2, 3)" });
    const kept = new Map([["webhook-relay-key", "whk_a_b"]]);
    globalThis.sessionStorage = { getItem: (name) => kept.get(name) ?? null, setItem: (name, value) => kept.set(name, value), removeItem: (name) => kept.delete(name) };
    this.asked = [];
    this.relay = () => ({});
    globalThis.fetch = async (url, { method, headers, body, signal }) => {
      const { pathname, searchParams } = new URL(url);
      const request = { method, path: /\/(?:v1\/.*|readyz)$/.exec(pathname)[0], query: Object.fromEntries(searchParams), body: body && JSON.parse(body), key: headers.Authorization };
      this.asked.push(request);
      if (signal?.aborted) throw signal.reason;
      const left = new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
      const answer = await Promise.race([this.relay(request), left]);
      return answer instanceof Response ? answer : new Response(JSON.stringify(answer));
    };
  }

  /** Shows a view with a query; resolves to its element when what it asked for has come. */
  async show(view, query = {}, id = undefined) {
    this.stop?.abort();
    this.stop = new AbortController();
    const root = document.createElement("div");
    view.show({ root, id, query: new URLSearchParams(query), signal: this.stop.signal });
    await this.settled();
    return root;
  }

  /** Lets everything go on that waits for no timer. */
  async settled() {
    for (let turn = 0; turn < 60; turn += 1) await new Promise((resolve) => real(resolve));
  }

  /** Lets so much time pass on a stepped clock, and all happen that falls into it. */
  async pass(clock, ms) {
    await clock.until(new Promise((resolve) => setTimeout(resolve, ms)));
    await this.settled();
  }

  async click(root, text, takes = () => true) {
    const [found] = root.all((each) => each.tag === "button" && each.textContent.startsWith(text) && takes(each));
    if (!found.closest("[inert]")) found.dispatchEvent(new Event("click"));
    await this.settled();
  }
}

/** Returns the texts of a table's cells, row by row. */
export function rowsOf(root) {
  const [body] = root.all((each) => each.tag === "tbody");
  return body ? body.childNodes.map((row) => row.childNodes.map((cell) => cell.textContent)) : [];
}
