// Draws small bars of what ended when, with the failed part of each in another colour.

import { svg } from "./dom.js";

const HEIGHT = 24;
const BAR = 5;
const GAP = 1;

/** Draws a trend, `{ended, errors}`, oldest first; `label` says what it shows. */
export function sparkline({ ended, errors }, label) {
  const most = Math.max(1, ...ended);
  const width = ended.length * (BAR + GAP);
  const high = (value) => (value ? Math.max(1.5, (HEIGHT * value) / most) : 0);
  const bars = ended.flatMap((number, n) => {
    const [whole, bad] = [high(number), Math.min(high(number), high(errors[n]))];
    const x = n * (BAR + GAP);
    return [
      whole > bad && svg("rect", { class: "spark-good", x, y: HEIGHT - whole, width: BAR, height: whole - bad }),
      bad > 0 && svg("rect", { class: "spark-bad", x, y: HEIGHT - bad, width: BAR, height: bad }),
    ];
  });
  const line = svg("rect", { class: "spark-line", x: 0, y: HEIGHT - 0.5, width, height: 0.5 });
  return svg("svg", { class: "spark", viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": label }, line, bars);
}
