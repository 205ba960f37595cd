// Shows a day's traffic of each webhook, with buttons to pause it, resume it and close its breaker.

import { steerWebhook, traffic } from "../api.js";
import { h, icon, put } from "../dom.js";
import { count, duration, exact, share } from "../format.js";
import { keepLooking } from "../live.js";
import { badge, button, confirmed, empty, failure, loading, meter, panel, say } from "../parts.js";
import { ended } from "../series.js";

const EVERY = 3_000;

export function show({ root, signal }) {
  const list = h("div", { class: "hooks" }, panel(null, loading(6)));
  const search = h("input", { type: "search", placeholder: "Find a webhook", "aria-label": "Find a webhook", autocomplete: "off", spellcheck: "false" });
  const since = h("span", { class: "muted small" });
  put(root, h("header", { class: "view-head" }, h("h1", { tabindex: -1 }, "Webhooks"), since, h("div", { class: "row controls" }, h("div", { class: "look-up" }, icon("search"), search))), list);
  const cards = new Map();
  let found = [];
  const draw = () => {
    const wanted = search.value.trim().toLowerCase();
    const rows = found.filter(({ webhookId }) => webhookId.includes(wanted));
    if (rows.length === 0) {
      cards.clear();
      put(list, panel(null, found.length ? empty("No such webhook", `No id among ${count(found.length)} contains this text.`) : empty("No webhooks yet", "The service desk registers them: relay webhooks apply FILE --plugin NAME.")));
      return;
    }
    const wantedCards = rows.map((row) => card(row, cards, act));
    if (wantedCards.some((each, n) => list.children[n] !== each) || list.children.length !== wantedCards.length) put(list, wantedCards);
  };
  const act = async (row, action) => {
    if (action === "pause" && !(await confirmed(`Pause ${row.webhookId}?`, "Its calls are still accepted, but wait until it is resumed.", "Pause"))) return;
    try {
      const changed = await steerWebhook(row.webhookId, action);
      found = found.map((each) => (each.webhookId === changed.webhookId ? changed : each));
      draw();
      cards.get(row.webhookId)?.element.querySelector("button")?.focus();
      say({ pause: `${row.webhookId} is paused.`, resume: `${row.webhookId} is resumed.`, "close-breaker": `The breaker of ${row.webhookId} is closed.` }[action]);
    } catch (error) {
      say(error.message, "bad");
    }
  };
  search.addEventListener("input", draw);
  keepLooking(
    async () => {
      const come = await traffic(signal);
      found = come.webhooks;
      put(since, h("span", { title: `since ${exact(come.since)}` }, "the last 24 hours"));
      draw();
    },
    EVERY,
    signal,
    (error) => (cards.clear(), put(list, failure(error))),
  );
}

/** Returns a webhook's card; keeps an unchanged one as it is, and the focus in a changed one. */
function card(row, cards, act) {
  const state = JSON.stringify(row);
  const had = cards.get(row.webhookId);
  if (had?.state === state) return had.element;
  const element = had?.element ?? h("article", { class: "panel hook", "aria-label": row.webhookId });
  const focused = element.contains(document.activeElement) ? document.activeElement.textContent : null;
  put(element, inside(row, act));
  if (focused) [...element.querySelectorAll("button, a")].find((each) => each.textContent === focused)?.focus();
  cards.set(row.webhookId, { element, state });
  return element;
}

function inside(row, act) {
  const number = ended(row);
  const good = number - row.errors;
  return [
    h(
      "header",
      { class: "hook-head" },
      h("h2", { class: "break" }, h("a", { href: `#/overview?range=24h&webhook=${row.webhookId}` }, row.webhookId)),
      h("div", { class: "row tight" }, badges(row)),
    ),
    h(
      "div",
      { class: "hook-traffic" },
      h("p", { class: "row between small" }, h("span", {}, h("b", {}, count(number)), h("span", { class: "muted" }, " ended")), h("span", { class: row.errors ? "toned bad" : "muted" }, number ? `${share(row.errors / number)} failed` : "no traffic")),
      meter(`Calls of ${row.webhookId} that succeeded`, [{ tone: "good", value: good }, { tone: "bad", value: row.errors }], number),
    ),
    h(
      "dl",
      { class: "hook-facts" },
      fact("In flight", count(row.inFlight)),
      fact("Parked", count(row.parked), row.parked > 0 && "warn"),
      row.breaker.openUntil && row.breaker.state === "open" ? fact("Tries again in", duration(Math.max(0, Date.parse(row.breaker.openUntil) - Date.now())), "bad") : fact("Refused", count(row.final.rejected)),
      fact("Revision", count(row.revision)),
    ),
    h(
      "footer",
      { class: "row" },
      row.paused ? button("Resume", () => act(row, "resume"), { icon: "play", kind: "primary" }) : button("Pause…", () => act(row, "pause"), { icon: "pause" }),
      row.breaker.state !== "closed" && button("Close breaker", () => act(row, "close-breaker"), { icon: "breaker" }),
      row.errors > 0 && h("a", { class: "button quiet", href: `#/invocations?webhookId=${row.webhookId}&failed=true&unreplayed=false&since=24h` }, "Failed calls"),
    ),
  ];
}

function badges({ paused, breaker, hidden }) {
  const made = [];
  if (paused) made.push(badge("Paused", "warn"));
  if (breaker.state === "open") made.push(badge("Breaker open", "bad"));
  if (breaker.state === "half-open") made.push(badge("Breaker half open", "warn"));
  if (hidden) made.push(badge("Hidden", "idle"));
  return made.length ? made : [badge("Active", "good")];
}

function fact(name, value, tone = null) {
  return h("div", {}, h("dt", {}, name), h("dd", { class: tone ? `toned ${tone}` : null }, value));
}
