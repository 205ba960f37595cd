// Small elements of which every view is made.

import { h, icon, put, rest } from "./dom.js";
import { ago, exact, moment } from "./format.js";
import { pluginName } from "./session.js";
import { stateOf } from "./words.js";

/** Makes a badge: a word with the colour of its tone. */
export function badge(label, tone) {
  return h("span", { class: `badge ${tone}` }, h("span", { class: "dot", "aria-hidden": "true" }), label);
}

/** Makes the badge of a record's state. */
export function stateBadge(record) {
  const { label, tone } = stateOf(record);
  return badge(label, tone);
}

/** Shows a time of day; its tooltip has the exact time, and how long ago it was. */
export function when(text) {
  if (!text) return h("span", { class: "muted" }, "–");
  return h("time", { datetime: text, title: `${exact(text)}, ${ago(text)}`, class: "nowrap" }, moment(text));
}

/** Makes a button; `kind` is plain, primary, danger, quiet or square. */
export function button(label, onclick, { kind = "plain", icon: name = null, ...attributes } = {}) {
  const classes = kind === "plain" ? "button" : `button ${kind}`;
  return h("button", { type: "button", class: classes, onclick, ...attributes }, name && icon(name), label);
}

/** Makes a square button with an icon; `label`, which says what it does, is its accessible name. */
export function iconButton(name, label, onclick) {
  return button(null, onclick, { kind: "square", icon: name, "aria-label": label, title: label });
}

/** Makes a button that copies a text and says so. */
export function copyButton(label, text) {
  const made = iconButton("copy", label, async (event) => {
    event.preventDefault();
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      say("The browser does not let this page copy. Select the text instead.", "bad");
      return;
    }
    put(made, icon("check"));
    say("Copied.");
    setTimeout(() => put(made, icon("copy")), 1_500);
  });
  return made;
}

const TAIL = 12; // characters of an id's end that stay visible
const SHORT = 20;

/** Shows an id; a long one is cut in its middle where room is scarce, and hovering or copying gives the whole. */
export function idText(id) {
  if (id.length <= SHORT) return h("span", { class: "id", title: id }, id);
  return h("span", { class: "id cut", title: id }, h("span", { class: "id-head" }, id.slice(0, -TAIL)), h("span", { class: "id-tail" }, id.slice(-TAIL)));
}

/** Has a selection within one id copied as the id: the browser would put a line break between its parts. */
export function copyIdsWhole(event) {
  const { anchorNode, focusNode } = getSelection();
  const idOf = (node) => (node instanceof Element ? node : node?.parentElement)?.closest(".id");
  const id = idOf(anchorNode);
  if (!id || idOf(focusNode) !== id) return;
  event.clipboardData.setData("text/plain", id.title);
  event.preventDefault();
}

/** Shows a reference id by its ends; hovering or copying gives the whole. */
export function shortId(reference) {
  return h("span", { class: "id mono muted nowrap", title: reference }, `${reference.slice(0, 8)}…${reference.slice(-6)}`);
}

/** Makes a link from a reference id to its invocation. */
export function refLink(reference, { whole = false } = {}) {
  const text = whole ? reference : `${reference.slice(0, 8)}…${reference.slice(-6)}`;
  return h("a", { class: whole ? "mono break" : "id mono nowrap", href: `#/invocations/${reference}`, title: reference }, text);
}

/** Makes the message that is shown in place of an empty list or result. */
export function empty(title, text, ...actions) {
  return h("div", { class: "empty" }, h("h2", {}, title), text && h("p", { class: "muted" }, text), actions.length > 0 && h("div", { class: "row" }, actions));
}

/** Shows the command that `write` gives for the name of the key's plugin, with a button that copies it. */
export function pluginCommand(write) {
  const place = h("span", {}, h("code", {}, write("PLUGIN")));
  const show = (text) => put(place, h("span", { class: "command" }, h("code", {}, text), copyButton("Copy the command", text)));
  pluginName().then((name) => show(write(name)), () => {});
  return place;
}

/** Makes the message that is shown after a failure, with a button to try again; `more` is said besides. */
export function failure(problem, again = null, more = null) {
  return h(
    "div",
    { class: "notice bad", role: "alert" },
    icon("warning"),
    h(
      "div",
      { class: "grow" },
      h("p", {}, problem.message),
      more && h("p", {}, more),
      (problem.faults ?? []).length > 0 && h("ul", {}, problem.faults.map((fault) => h("li", {}, fault))),
    ),
    again && button("Try again", again),
  );
}

/** Makes the grey lines that are shown while content loads. */
export function loading(lines = 4) {
  const bars = Array.from({ length: lines }, (_, n) => h("span", { class: "bone", vars: { "--w": `${92 - ((n * 37) % 45)}%` } }));
  return h("div", { class: "loading", role: "status" }, h("span", { class: "hidden-text" }, "Loading"), bars);
}

/** Makes a panel with a heading. */
export function panel(title, body, { aside = null, class: more = "" } = {}) {
  const head = title && h("header", { class: "panel-head" }, h("h2", {}, title), aside);
  return h("section", { class: `panel ${more}` }, head, body);
}

/**
 * Makes the head of a table that can be sorted. `sort` is the name of a column, with `-` for the largest first; a column
 * is `{name, label, first}`, with `first: "-"` where the largest come first, and without a name if it cannot be sorted.
 */
export function sortHead(columns, sort, changed) {
  const [chosen, isDown] = [sort.replace(/^-/, ""), sort.startsWith("-")];
  return columns.map(({ name, label, first = "", hidden, ...column }) => {
    if (!name) return h("th", { scope: "col", class: columnClass(column) }, hidden ? h("span", { class: "hidden-text" }, label) : label);
    const isChosen = name === chosen;
    const next = isChosen ? `${isDown ? "" : "-"}${name}` : `${first}${name}`;
    const arrow = h("span", { class: "arrow", "aria-hidden": "true" }, isChosen ? (isDown ? "↓" : "↑") : "");
    return h("th", { scope: "col", class: columnClass(column), "aria-sort": isChosen ? (isDown ? "descending" : "ascending") : null }, h("button", { type: "button", class: "sort", "data-sort": name, onclick: () => changed(next) }, label, arrow));
  });
}

/** Returns the class of a column's cells. */
export function columnClass({ wide, spare, number, grow }) {
  return [wide && "wide", spare && "spare", number && "number", grow && "grow"].filter(Boolean).join(" ") || null;
}

/**
 * Makes a table. A column is `{label, cell, wide, number}`; columns with `wide` are hidden where there is little room,
 * those with `spare` also where there is not much.
 * `label` names the table for users of screen readers.
 */
export function table(label, columns, rows) {
  const head = columns.map((column) => h("th", { scope: "col", class: columnClass(column) }, column.hidden ? h("span", { class: "hidden-text" }, column.label) : column.label));
  const body = rows.map((row) => h("tr", {}, columns.map((column) => h("td", { class: columnClass(column) }, column.cell(row)))));
  return h(
    "div",
    { class: "table-box" },
    h("table", {}, h("caption", { class: "hidden-text" }, label), h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)),
  );
}

/** Makes a list of facts, `[name, value, class]`; a false one is left out. */
export function facts(rows) {
  const shown = rows.filter(Boolean);
  return h("dl", { class: "facts" }, shown.map(([name, value, kind]) => h("div", { class: kind || null }, h("dt", {}, name), h("dd", {}, value))));
}

/** Makes tiles, each with a figure and a note. */
export function tiles(rows) {
  return rows.map(({ label, value, unit = null, note, tone = null }) =>
    h(
      "div",
      { class: "tile" },
      h("p", { class: "tile-label" }, label),
      h("p", { class: "tile-value" }, h("span", { class: tone && `toned ${tone}` }, value), unit && h("small", { class: "muted" }, unit)),
      h("p", { class: "muted small" }, note),
    ),
  );
}

/** Makes radio buttons for the options `[[value, label]]`. */
export function choice(legend, options, chosen, onchange) {
  const name = `choice-${legend.toLowerCase().replaceAll(" ", "-")}`;
  const buttons = options.map(([value, label]) => {
    const input = h("input", { type: "radio", name, checked: value === chosen, onchange: () => onchange(value) });
    return h("label", {}, input, h("span", {}, label));
  });
  return h("fieldset", { class: "choice" }, h("legend", { class: "hidden-text" }, legend), buttons);
}

/** Makes a box to tick, with a label. */
export function tickBox(label, checked, changed) {
  const box = h("input", { type: "checkbox", checked, onchange: (event) => changed(event.target.checked) });
  return h("label", { class: "check" }, box, h("span", {}, label));
}

/** Makes a control with a label. */
export function field(label, control, hint = null) {
  return h("label", { class: "field" }, h("span", {}, label), control, hint && h("small", { class: "muted" }, hint));
}

/** Makes a field for a number, which may be left empty; says what is wrong with its text, if `fault` returns that. */
export function numberField(label, text, placeholder, fault, changed, hint = null) {
  const said = h("div", { role: "alert" });
  const take = () => {
    const wrong = fault(input.value);
    put(said, wrong && h("small", { class: "toned bad" }, wrong));
    if (wrong) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  };
  const input = h("input", { type: "text", inputmode: "decimal", autocomplete: "off", placeholder, value: text, onchange: () => (take(), changed(input.value)) });
  take();
  return h("div", {}, field(label, input, hint), said);
}

/** Asks the user to confirm an action; resolves to true if confirmed, and to false if the signal aborts before. */
export function confirmed(title, text, action, { signal, danger = false }) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { class: "dialog", "aria-labelledby": "dialog-title" });
    const leave = () => dialog.close("no");
    const back = button("Back", leave);
    const act = button(action, () => dialog.close("yes"), { kind: danger ? "danger" : "primary" });
    put(
      dialog,
      h("h2", { id: "dialog-title" }, title),
      h("p", { class: "muted" }, text),
      h("div", { class: "row end" }, back, act),
    );
    signal.addEventListener("abort", leave, { once: true });
    dialog.addEventListener("close", () => {
      signal.removeEventListener("abort", leave);
      dialog.remove();
      rest(document.getElementById("app"));
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
    rest(back.parentElement);
  });
}

/** Returns `act`, which then does nothing while it still runs for the same first argument. */
export function once(act) {
  const running = new Set();
  return async (about, ...others) => {
    if (running.has(about)) return;
    running.add(about);
    await act(about, ...others).finally(() => running.delete(about));
  };
}

/** Shows a sentence for a few seconds; screen readers speak it, too. */
export function say(text, tone = "good") {
  let place = document.getElementById("said");
  if (!place) document.body.append((place = h("div", { id: "said", role: "status" })));
  const note = h("p", { class: tone }, text);
  put(place, note);
  setTimeout(() => note.remove(), tone === "bad" ? 8_000 : 3_000);
}
