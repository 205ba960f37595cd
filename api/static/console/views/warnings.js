// Shows in words what is wrong with the relay itself.

import { h, icon } from "../dom.js";

/** Makes notices of the warnings of `/readyz`, and of lanes without a worker. */
export function warningsOf(ready, lanes) {
  const said = [];
  if (ready?.status !== "ready") said.push(["bad", ready?.detail ?? "The relay is not ready."]);
  for (const { lane, workers } of lanes) {
    if (workers === 0) said.push([lane === "interactive" ? "bad" : "warn", `No worker serves the lane ${lane}: its calls wait.`]);
  }
  for (const warning of ready?.warnings ?? []) {
    if (!/lane/i.test(warning) || lanes.every(({ workers }) => workers !== 0)) said.push(["warn", warning]);
  }
  return said.map(([tone, text]) => h("div", { class: `notice ${tone}` }, icon("warning"), h("p", {}, text)));
}
