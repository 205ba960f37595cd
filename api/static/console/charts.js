// Charts over time, drawn by uPlot; each is also shown as a table, for users who prefer to read one.

import { h, put, redraw } from "./dom.js";
import { moment } from "./format.js";
import uPlot from "./vendor/uplot/uPlot.esm.js";

const TABLE_ROWS = 60;
const HEIGHT = 176;
const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';

/** Returns a colour of the style sheet, in the current scheme, in a form that the canvas takes. */
function colour(name) {
  const probe = h("span", { hidden: true, vars: { color: `var(--${name})` } });
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const times = (_, splits) => splits.map((s) => clock.format(new Date(s * 1_000)));

/**
 * Makes a chart of `series`, `[{label, colour, kind}]` with kind `bars`, `area` or `line`; `format` writes a value.
 * `update(xs, columns, values?)` gives it times in seconds and one column for each series. If columns are drawn on top
 * of one another, `values` are the values to show for them.
 */
export function chart({ title, series, format, top = null, height = HEIGHT, signal }) {
  const shown = series.map(({ label, colour: name }) => ({ label, name, value: h("b", {}, "–") }));
  const legend = h(
    "ul",
    { class: "legend" },
    shown.map(({ label, name, value }) => h("li", {}, h("i", { "aria-hidden": "true", vars: { background: `var(--${name})` } }), label, value)),
  );
  const at = h("span", { class: "muted small nowrap" });
  const canvas = h("div", { class: "plot", vars: { "--height": `${height}px` }, role: "img", "aria-label": title });
  const rows = h("details", { class: "as-table" }, h("summary", {}, "As a table"));
  const box = h("div", { class: "table-box", tabindex: 0, role: "region", "aria-label": `${title}, as a table` }); // kept, as its focus and its scrolling are
  const none = h("p", { class: "muted small" }, "No data for this period.");
  const element = h("figure", { class: "chart" }, h("figcaption", { class: "chart-head" }, legend, at), canvas, rows);
  let plot = null;
  let data = [[], []];
  let values = [];

  const tell = (index) => {
    const last = index ?? data[0].length - 1;
    shown.forEach(({ value }, n) => put(value, format(values[n]?.[last] ?? null)));
    put(at, index === null || data[0][last] === undefined ? "" : clock.format(new Date(data[0][last] * 1_000)));
  };
  const draw = () => {
    plot?.destroy();
    plot = new uPlot(options({ series, format, top, tell, height, width: canvas.clientWidth || 320 }), data, canvas);
  };
  const list = () => {
    if (!rows.open) return;
    const lines = data[0].map((s, n) => [s, n]).filter(([, n]) => values.some((column) => column[n])).slice(-TABLE_ROWS).reverse();
    const head = h("tr", {}, h("th", { scope: "col" }, "Time"), series.map(({ label }) => h("th", { scope: "col", class: "number" }, label)));
    const body = lines.map(([s, n]) => h("tr", {}, h("td", {}, moment(s * 1_000)), values.map((column) => h("td", { class: "number" }, format(column[n])))));
    put(box, h("table", {}, h("thead", {}, head), h("tbody", {}, body)));
    const told = lines.length ? box : none;
    if (!rows.contains(told)) redraw(rows, rows.firstChild, told);
  };
  rows.addEventListener("toggle", list);

  const sizes = new ResizeObserver(([entry]) => plot?.setSize({ width: Math.max(200, Math.floor(entry.contentRect.width)), height }));
  sizes.observe(canvas);
  window.addEventListener("themechange", draw, { signal });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw, { signal });
  signal.addEventListener("abort", () => (sizes.disconnect(), plot?.destroy()), { once: true });

  return {
    element,
    update(xs, columns, told = columns) {
      data = [xs, ...columns];
      values = told;
      if (plot) plot.setData(data);
      else draw();
      tell(null);
      list();
      canvas.setAttribute("aria-label", summary(title, series, values, format));
    },
  };
}

function summary(title, series, values, format) {
  const parts = series.map(({ label }, n) => {
    const known = (values[n] ?? []).filter((value) => value !== null && value !== undefined);
    return known.length ? `${label}: now ${format(known.at(-1))}, at most ${format(Math.max(...known))}` : `${label}: none`;
  });
  return `${title}. ${parts.join("; ")}.`;
}

function options({ series, format, top, tell, height, width }) {
  const line = colour("line");
  const text = colour("muted");
  const axis = { stroke: text, font: FONT, ticks: { show: false }, grid: { stroke: line, width: 1 } };
  return {
    width,
    height,
    padding: [8, 18, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: "time" }, y: false, points: { size: 6 }, drag: { x: false, y: false } },
    scales: { x: { time: true }, y: { range: (_, low, high) => [0, Math.max(top ?? 0, (high ?? 0) * 1.1) || 1] } },
    axes: [
      { ...axis, grid: { show: false }, values: times, space: 64, size: 26 },
      { ...axis, values: (_, splits) => splits.map((value) => format(value)), size: 58, space: 36, gap: 6 },
    ],
    series: [{}, ...series.map((each) => drawn(each))],
    hooks: { setCursor: [(plot) => tell(plot.cursor.idx ?? null)] },
  };
}

function drawn({ label, colour: name, kind }) {
  const ink = colour(name);
  if (kind === "bars") {
    return { label, stroke: ink, fill: ink, width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.6, 28], radius: 0.15 }) };
  }
  const fill = kind === "area" ? ink.replace(")", " / 0.14)").replace("rgb(", "rgb(").replaceAll(",", "") : undefined;
  return { label, stroke: ink, fill, width: 1.75, points: { size: 5, fill: ink } };
}
