// The filters of listings and replays, as controls and as addresses; their names are those of the API's parameters.

import { h } from "./dom.js";
import { button, field, tickBox } from "./parts.js";
import { FINAL, OUTCOMES, STATES } from "./words.js";

export const NAMES = ["webhookId", "state", "status", "failed", "unreplayed", "outcome", "caller", "chain", "replay", "since", "until"];
const FAILED = "failed";
const MORE = ["outcome", "caller", "chain", "replay", "until"];
const AGO = [["", "Any time"], ["15m", "Last 15 minutes"], ["1h", "Last hour"], ["6h", "Last 6 hours"], ["24h", "Last 24 hours"], ["7d", "Last 7 days"]];
const AGE = /^(\d{1,9})([smhd])$/;
const UNITS = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Returns the filter in an address's query, by name; ignores unknown names. */
export function filterOf(query) {
  return Object.fromEntries(NAMES.filter((name) => query.get(name)).map((name) => [name, query.get(name)]));
}

/** Returns the address of a view with a filter. */
export function address(path, filter) {
  const query = new URLSearchParams(Object.entries(filter).filter(([, value]) => value));
  return `#${path}${query.size ? `?${query}` : ""}`;
}

/** Makes the controls of the filters in `names`; calls `changed(filter)` after every change. */
export function filterBar(filter, changed, { names = NAMES, webhooks = Promise.resolve([]) } = {}) {
  const set = (name, value) => {
    const next = { ...filter };
    if (value) next[name] = value;
    else delete next[name];
    changed(next);
  };
  const controls = {
    webhookId: () => field("Webhook", webhookInput(filter.webhookId, (value) => set("webhookId", value), webhooks)),
    state: () => field("State", stateSelect(filter, names, changed)),
    status: () => field("Status", textInput(filter.status, "503, 5xx", (value) => set("status", value))),
    since: () => field("Created", sinceSelect(filter.since, (value) => set("since", value))),
    outcome: () => field("Outcome", select([["", "Any outcome"], ...Object.entries(OUTCOMES)], filter.outcome, (value) => set("outcome", value))),
    caller: () => field("Caller", textInput(filter.caller, "id of an API key, or cli", (value) => set("caller", value))),
    chain: () => field("Steps of chain", textInput(filter.chain, "reference id", (value) => set("chain", value))),
    replay: () => field("Made by replay", textInput(filter.replay, "id of a replay", (value) => set("replay", value))),
    until: () => field("Created until", untilInput(filter.until, (value) => set("until", value))),
  };
  const made = (list) => list.filter((name) => names.includes(name) && controls[name]).map((name) => controls[name]());
  const more = made(MORE);
  const open = MORE.some((name) => filter[name]);
  const replayed = () => tickBox("Include those that a replay sent again successfully", filter.unreplayed === "false", (isWanted) => set("unreplayed", isWanted ? "false" : ""));
  const checks = names.includes("unreplayed") && filter.failed && h("div", { class: "checks" }, replayed());
  return h(
    "div",
    { class: "filters", role: "search", "aria-label": "Filters" },
    h("div", { class: "filter-grid" }, made(["webhookId", "state", "status", "since"])),
    checks,
    h(
      "div",
      { class: "filter-foot" },
      more.length > 0 && h("details", { class: "more", open }, h("summary", {}, "More filters"), h("div", { class: "filter-grid" }, more)),
      Object.keys(filter).length > 0 && button("Clear filters", () => changed({}), { kind: "quiet" }),
    ),
  );
}

function textInput(value, placeholder, changed) {
  return h("input", { type: "text", value: value ?? "", placeholder, spellcheck: "false", autocomplete: "off", onchange: (event) => changed(event.target.value.replaceAll(" ", "")) });
}

function select(options, value, changed) {
  const known = options.some(([each]) => each === (value ?? ""));
  const all = known ? options : [...options, [value, value]];
  return h("select", { onchange: (event) => changed(event.target.value) }, all.map(([each, label]) => h("option", { value: each, selected: each === (value ?? "") }, label)));
}

function webhookInput(value, changed, webhooks) {
  const made = select([["", "All webhooks"], ...(value ? [[value, value]] : [])], value, changed);
  webhooks.then((ids) => made.append(...ids.filter((id) => id !== value).map((id) => h("option", { value: id }, id))));
  return made;
}

/** Makes the menu of states; "failed" is one of them here, but a parameter of its own in the API. */
function stateSelect(filter, names, changed) {
  const { state: value, failed, unreplayed, ...others } = filter; // `unreplayed` only applies to calls that failed
  const unfinished = "queued,sending,retrying,waiting";
  const states = Object.entries(STATES).map(([state, { label }]) => [state, label]);
  const choose = (state) => changed({ ...others, ...(state === FAILED ? { failed: "true" } : state && { state }) });
  if (!names.includes("failed")) return select([["", "Failed"], ...states.filter(([state]) => FINAL.has(state))], value, choose);
  const both = value && failed ? [[`${value}+${FAILED}`, `${STATES[value]?.label ?? value}, failed`]] : [];
  const chosen = both.length ? both[0][0] : (value ?? (failed === "true" ? FAILED : ""));
  return select([["", "Any state"], [FAILED, "Failed"], [unfinished, "Not ended yet"], ...states, ...both], chosen, choose);
}

function sinceSelect(value, changed) {
  const text = AGE.test(value ?? "") ? `Last ${value}` : `Since ${new Date(value).toLocaleString("en-GB")}`;
  const since = value && !AGO.some(([age]) => age === value) ? [[value, text]] : [];
  return select([...AGO, ...since], value, changed);
}

/** Makes the control of a time; it is empty if the time cannot be read. */
function untilInput(value, changed) {
  const [, number, unit] = AGE.exec(value ?? "") ?? [];
  const date = new Date(unit ? Date.now() - number * UNITS[unit] : Date.parse(value));
  let known = Number.isNaN(date.getTime()) ? "" : new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
  const commit = ({ target }) => {
    if (target.value === known || target.validity.badInput) return; // one without all its parts is no time yet
    known = target.value;
    changed(known && new Date(known).toISOString());
  };
  // A browser tells of a change after each digit, so that a time is only taken when the user has done with it; and it
  // takes six digits for a year unless the last year has four.
  return h("input", { type: "datetime-local", value: known, max: "9999-12-31T23:59", onblur: commit, onkeydown: (event) => event.key === "Enter" && commit(event) });
}

/** Returns a filter in words. */
export function filterText(filter) {
  const said = [];
  if (filter.webhookId) said.push(filter.webhookId);
  if (filter.outcome) said.push(OUTCOMES[filter.outcome] ?? filter.outcome);
  if (filter.state) said.push(filter.state.replaceAll(",", " or "));
  if (filter.status) said.push(`status ${filter.status.replaceAll(",", " or ")}`);
  if (filter.caller) said.push(`triggered by ${filter.caller}`);
  if (filter.chain) said.push(`steps of ${filter.chain}`);
  if (filter.replay) said.push(`made by the replay ${filter.replay}`);
  if (filter.subject) said.push("of one subject");
  return said.join(", ");
}
