// The figures at the top of the overview.

import { h } from "../dom.js";

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
