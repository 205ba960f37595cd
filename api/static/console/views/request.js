// Shows the outline of a call's request: names, types and sizes of what the caller gave, never a value.

import { h, put } from "../dom.js";
import { bytes, count } from "../format.js";
import { empty, failure, loading, panel, table } from "../parts.js";

const MISSING = {
  chain_step: "The request of a chain's step holds endpoints' answers, which only workers can open.",
  too_large: "The request is too large to be outlined here.",
  not_kept: "Its contents are not kept: the call was refused, they were destroyed, or are older than their retention.",
  unreadable: "None of the keys of this relay opens it.",
};

/** Makes a panel that shows an outline when it has come. */
export function requestPanel(outline) {
  const body = h("div", {}, loading(3));
  outline.then(
    (found) => put(body, picture(found)),
    (error) => error.name !== "AbortError" && put(body, h("div", { class: "panel-body" }, failure(error))),
  );
  const why = h("span", { class: "muted small" }, "names and sizes only: values may be health data, so nobody sees them here");
  return panel("Request", body, { aside: why });
}

function picture({ parts, complete, missing }) {
  if (missing) return empty("No outline", MISSING[missing] ?? missing);
  if (parts.length === 0) return empty("Nothing was given", "The caller gave no data, no headers and no queryParams.");
  return [table("Names and sizes of the request", COLUMNS, parts), complete ? null : h("p", { class: "muted small table-note" }, "There are more parts than are shown.")].filter(Boolean);
}

const COLUMNS = [
  { label: "Place", grow: true, cell: ({ pointer }) => h("code", { class: "break" }, pointer) },
  { label: "Type", cell: ({ types }) => types.join(" or ") },
  { label: "Values", number: true, wide: true, cell: (part) => count(part.count) },
  { label: "Size", number: true, cell: (part) => bytes(part.bytes) },
];
