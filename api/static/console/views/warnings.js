// What is wrong with the relay itself, in words.

import { h, icon } from "../dom.js";

/** Notices of what `/readyz` says, and of lanes that nobody works on. */
export function warningsOf(ready, lanes) {
  const said = [];
  if (ready?.status !== "ready") said.push(["bad", ready?.detail ?? "The relay is not ready."]);
  for (const { lane, workers } of lanes) {
    if (!workers) said.push([lane === "interactive" ? "bad" : "warn", `No worker is alive for the lane ${lane}: its calls wait.`]);
  }
  for (const warning of ready?.warnings ?? []) {
    const text = typeof warning === "string" ? warning : (warning.message ?? warning.detail ?? warning.code);
    if (!/lane/i.test(text) || lanes.every(({ workers }) => workers)) said.push(["warn", text]);
  }
  return said.map(([tone, text]) => h("div", { class: `notice ${tone}` }, icon("warning"), h("p", {}, text)));
}
