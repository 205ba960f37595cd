// Shows the result that the plugin got: status, error and masked data.

import { h } from "../dom.js";
import { badge, copyButton, empty, panel } from "../parts.js";
import { FINAL, STATES, isDamaged } from "../words.js";

const LONGEST = 200_000; // characters that are shown; all of it can be copied

export function resultPanel(record) {
  const { result } = record;
  if (!result) {
    const text = FINAL.has(record.state) ? `${STATES[record.state].label} calls have no result.` : "The result appears when the call has ended.";
    return panel("Result", empty("No result", text));
  }
  const text = typeof result.data === "string" ? result.data : JSON.stringify(result.data, null, 2);
  const shown = text.length > LONGEST ? `${text.slice(0, LONGEST)}\n…` : text;
  const head = h(
    "div",
    { class: "row tight" },
    isDamaged(result) ? badge("Damaged", "bad") : badge(result.status ? `Status ${result.status}` : "No answer", result.error ? "bad" : "good"),
    copyButton("Copy the data", text),
  );
  const kept = h("pre", { class: "code", tabindex: 0, role: "region", "aria-label": "Data of the result" }, shown);
  return panel("Result", h("div", { class: "panel-body" }, kept), { aside: head });
}
