// Shows a chain as a tree: the parent, its steps in order, chains within chains.

import { h } from "../dom.js";
import { counted, duration } from "../format.js";
import { idText, refLink, stateBadge } from "../parts.js";
import { call } from "../session.js";
import { FINAL } from "../words.js";

const DEPTH = 3;
const CHILDREN = 200; // shown for one parent: a forEach may make very many

/** Returns the tree of a record's chain, `{element, steps, state, ended}`, with the record's own `steps`; or null. */
export async function chainTree(record, signal) {
  if (!record.chain) return null;
  const top = await topOf(record, signal);
  const tree = await grow(top, DEPTH, signal);
  const seen = [];
  const element = h("ul", { class: "tree" }, branch(tree, record.referenceId, seen));
  const steps = tree.record.referenceId === record.referenceId ? tree.children.map(({ record: step }) => step) : [];
  return { element, steps, state: seen.map(({ referenceId, state }) => [referenceId, state]), ended: seen.every(({ state }) => FINAL.has(state)) };
}

async function topOf(record, signal) {
  let top = record;
  for (let up = 0; up < DEPTH && top.chain?.parent; up += 1) {
    top = await call("GET", `v1/invocations/${encodeURIComponent(top.chain.parent)}`, { signal });
  }
  return top;
}

async function grow(record, depth, signal) {
  if (!record.chain?.steps || depth === 0) return { record, children: [], more: false };
  const page = await call("GET", "v1/invocations", { query: { chain: record.referenceId, limit: CHILDREN }, signal });
  const found = page.invocations.filter((each) => each.chain?.parent === record.referenceId);
  found.sort((one, other) => one.chain.step - other.chain.step || one.chain.item - other.chain.item);
  const children = [];
  for (const child of found) children.push(await grow(child, depth - 1, signal));
  return { record, children, more: page.cursor !== null };
}

function branch({ record, children, more }, current, seen) {
  seen.push(record);
  const here = record.referenceId === current;
  const took = record.finishedAt ? duration(Date.parse(record.finishedAt) - Date.parse(record.createdAt)) : null;
  const step = record.chain?.parent ? h("span", { class: "tag" }, `step ${record.chain.step + 1}`) : h("span", { class: "tag" }, "chain");
  return h(
    "li",
    {},
    h(
      "div",
      { class: `leaf${here ? " here" : ""}`, "aria-current": here ? "true" : null },
      step,
      h("b", {}, idText(record.webhookId)),
      stateBadge(record),
      took && h("span", { class: "muted small" }, took),
      here ? h("span", { class: "muted small" }, "this call") : refLink(record.referenceId),
    ),
    children.length > 0 && h("ul", {}, children.map((child) => branch(child, current, seen))),
    more && h("p", { class: "muted small" }, `Only the first ${counted(CHILDREN, "step")} are shown.`),
  );
}
