// How a replay job looks wherever it stands.

import { meter } from "../parts.js";

const TONES = { planning: "busy", running: "busy", paused: "warn", cancelled: "idle", done: "good" };

export function jobTone(job) {
  return job.state === "done" && job.failed > 0 ? "warn" : (TONES[job.state] ?? "idle");
}

/** How far it is: what succeeded, what failed, what was skipped. */
export function jobMeter({ matched, delivered, failed, skipped }) {
  const parts = [
    { tone: "good", value: delivered },
    { tone: "bad", value: failed },
    { tone: "idle", value: skipped },
  ];
  return meter("Progress", parts, matched ?? 0);
}
