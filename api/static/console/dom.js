// Makes elements from code. Text is always inserted as text: nothing here parses HTML, so no answer becomes markup.

const SVG = "http://www.w3.org/2000/svg";

/** Makes an element with attributes and `on...` listeners; children may be nodes, text, null or lists of these. */
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Makes an SVG element, in the same way as `h`. */
export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "vars") for (const [key, each] of Object.entries(value)) element.style.setProperty(key, each);
    else if (name === "value" || name === "checked" || name === "indeterminate") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((each) => each !== null && each !== undefined && each !== false));
  return element;
}

/** Replaces the children of an element. */
export function put(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((each) => each !== null && each !== undefined && each !== false));
  return element;
}

const CONTROLS = "a, button, input, select, summary, [tabindex='0']";

/** Returns what a control is called: its label or its text. */
function nameOf(control) {
  return control.getAttribute("aria-label") ?? (control.closest("label")?.querySelector("span") ?? control).textContent;
}

/**
 * Has `fill` fill an element anew, and keeps the focus if it is within: on the control that leads to the same address, or
 * else on that of the same name, the same one if there are several. The details around it stay open.
 */
export function keepFocus(place, fill) {
  const focused = document.activeElement;
  if (!place.contains(focused)) {
    fill();
    return;
  }
  const [href, name] = [focused.getAttribute("href"), nameOf(focused)];
  const isOpen = (focused.closest("details")?.getAttribute("open") ?? null) !== null;
  const controls = () => [...place.querySelectorAll(CONTROLS)];
  const named = () => controls().filter((each) => nameOf(each) === name);
  const number = named().indexOf(focused);
  fill();
  const found = controls().find((each) => each === focused || (href && each.getAttribute("href") === href)) ?? named()[number];
  if (isOpen) found?.closest("details")?.setAttribute("open", "");
  found?.focus({ preventScroll: true });
}

/** Replaces the children of an element as `put` does, and keeps the focus. */
export function redraw(element, ...children) {
  keepFocus(element, () => put(element, ...children));
}

const REST_MS = 500; // the longest double press, by the defaults of most systems
const resting = new WeakMap(); // the timers of the elements that rest

/**
 * Lets nothing in an element be pressed for half a second, because the second press of a double press is meant for what
 * was there before. Then focuses what `next` returns, or else what was focused, unless something else is by then.
 */
export function rest(place, next = null) {
  const focused = place.contains(document.activeElement) ? document.activeElement : null;
  clearTimeout(resting.get(place));
  place.inert = true;
  const wake = () => {
    place.inert = false;
    const active = document.activeElement ?? document.body; // a press on what rests focuses what is around it
    if (active === document.body || active.contains(place)) (next ? next() : focused)?.focus({ preventScroll: true });
  };
  resting.set(place, setTimeout(wake, REST_MS));
}

const SHAPES = {
  overview: ["M3 12.5h3l2-7 3.5 11 2.5-6h3"],
  invocations: ["M4 5.5h12", "M4 10h12", "M4 14.5h7"],
  replays: ["M15.5 7A6.2 6.2 0 1 0 16 11.5", "M16 3.5V7.2h-3.7"],
  webhooks: ["M10 3.5v4", "M7 7.5h6v3a3 3 0 0 1-6 0z", "M10 13.5v3"],
  copy: ["M7.5 7.5h8v8h-8z", "M12.5 7.5v-3h-8v8h3"],
  check: ["M4.5 10.5l3.5 3.5 7.5-8"],
  theme: ["M10 3.5a6.5 6.5 0 1 0 6.5 7.6A5 5 0 0 1 10 3.5z"],
  leave: ["M8 4H4.5v12H8", "M8.5 10h8", "M13.5 7l3 3-3 3"],
  pause: ["M7 5v10", "M13 5v10"],
  play: ["M7 4.5l8 5.5-8 5.5z"],
  close: ["M5.5 5.5l9 9", "M14.5 5.5l-9 9"],
  back: ["M12 4.5L6.5 10l5.5 5.5"],
  next: ["M8 4.5l5.5 5.5L8 15.5"],
  search: ["M9 14a5 5 0 1 1 0-10 5 5 0 0 1 0 10z", "M12.7 12.7l3.8 3.8"],
  warning: ["M10 3.5l7 12.5H3z", "M10 8v3.5", "M10 13.8v.2"],
  breaker: ["M3 10h3.5", "M13.5 10H17", "M6.5 10l6-3.5"],
};

/** Makes an icon, hidden from screen readers because a text with its meaning is always beside it. */
export function icon(name) {
  const paths = SHAPES[name].map((d) => svg("path", { d }));
  const stroke = { fill: "none", stroke: "currentColor", "stroke-width": 1.6 };
  const ends = { "stroke-linecap": "round", "stroke-linejoin": "round" };
  return svg("svg", { viewBox: "0 0 20 20", width: 18, height: 18, "aria-hidden": "true", ...stroke, ...ends }, paths);
}
