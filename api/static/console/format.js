// Formats numbers, times and sizes for people.

const COUNT = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "2-digit", month: "short" });
const EXACT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "long" });

/** Formats a number with separated thousands. */
export function count(number) {
  return number === null || number === undefined ? "–" : COUNT.format(number);
}

/** Formats a number for a narrow place, large ones as `12K`. */
export function short(number) {
  return number === null || number === undefined ? "–" : number < 10_000 ? count(number) : SHORT.format(number);
}

/** Formats a number of things: "1 call", "2 calls". */
export function counted(number, one) {
  return `${count(number)} ${one}${number === 1 ? "" : "s"}`;
}

/** Formats a share of 1 as a percentage; small ones keep a digit, and only 0 is shown as 0 %. */
export function share(part) {
  if (part === null || Number.isNaN(part)) return "–";
  const thousandths = part * 1_000; // whole ones are exact, as hundred times a part is not
  if (part === 0 || part === 1) return `${part * 100} %`;
  if (thousandths < 1) return "< 0.1 %";
  return thousandths < 100 || thousandths > 990 ? `${(Math.floor(thousandths) / 10).toFixed(1)} %` : `${Math.round(thousandths / 10)} %`;
}

/** Formats a duration given in milliseconds; one that would be rounded up to the next unit is given in that. */
export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1) return ms === 0 ? "0 ms" : "< 1 ms";
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${(ms / 1_000).toFixed(2)} s`;
  if (ms < 59_950) return `${(ms / 1_000).toFixed(1)} s`;
  const s = Math.round(ms / 1_000);
  if (s < 3_600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86_400) return `${Math.floor(s / 3_600)} h ${Math.floor((s % 3_600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3_600)} h`;
}

/** Formats a size given in bytes, in the next unit if it would be rounded up to that. */
export function bytes(size) {
  if (size === null || size === undefined) return "–";
  if (size < 1_024) return `${size} B`;
  return size < 1_023.95 * 1_024 ? `${(size / 1_024).toFixed(1)} KiB` : `${(size / 1_048_576).toFixed(1)} MiB`;
}

/** Formats a time of day, with the date if it is not today. */
export function moment(text) {
  const date = new Date(text);
  const today = new Date().toDateString() === date.toDateString();
  return today ? CLOCK.format(date) : `${DAY.format(date)} ${CLOCK.format(date)}`;
}

/** Formats a time in full. */
export function exact(text) {
  return EXACT.format(new Date(text));
}

/** Formats how long ago a time was. */
export function ago(text, now = Date.now()) {
  const s = Math.max(0, Math.round((now - Date.parse(text)) / 1_000));
  if (s < 5) return "just now";
  if (s < 60) return `${s} s ago`;
  if (s < 3_600) return `${Math.floor(s / 60)} min ago`;
  return s < 86_400 ? `${Math.floor(s / 3_600)} h ago` : `${Math.floor(s / 86_400)} d ago`;
}
