// Shows failures grouped by kind, with links to the calls and to a replay of them.

import { h } from "../dom.js";
import { address } from "../filters.js";
import { count } from "../format.js";
import { empty, idText, table, when } from "../parts.js";
import { endingText } from "../words.js";

export function groupsTable({ groups, complete }, since, rangeName) {
  if (groups.length === 0) return empty("Nothing is left to repair", `Every call that ended in ${rangeName} succeeded, itself or in a replay.`);
  const chosen = ({ webhookId, outcome, status }) => ({ webhookId, outcome, status: String(status ?? ""), since });
  const columns = [
    {
      label: "Webhook",
      grow: true,
      cell: (group) => [
        h("a", { class: "row-link strong", href: address("/invocations", { ...chosen(group), failed: "true" }), "aria-label": `Calls of ${group.webhookId}: ${endingText(group.outcome, group.status)}` }, idText(group.webhookId)),
        h("span", { class: "narrow muted" }, endingText(group.outcome, group.status)),
      ],
    },
    { label: "What happened", wide: true, cell: (group) => endingText(group.outcome, group.status) },
    { label: "Calls", number: true, cell: (group) => h("b", { class: "toned bad" }, count(group.count)) },
    { label: "First", wide: true, cell: (group) => when(group.firstAt) },
    { label: "Last", wide: true, cell: (group) => when(group.lastAt) },
    {
      label: "Replay",
      hidden: true,
      number: true,
      cell: (group) => h("a", { class: "button", href: address("/replays/new", chosen(group)), "aria-label": `Replay… ${group.webhookId}: ${endingText(group.outcome, group.status)}` }, "Replay…"),
    },
  ];
  return [
    table(`What failed in ${rangeName}`, columns, groups),
    complete === false && h("p", { class: "muted small table-note" }, "There are too many failures to count: only the newest are included."),
  ];
}
