// The little of a document that the console's modules use to make elements: no layout, no rendering.

class Element extends EventTarget {
  constructor(tag) {
    super();
    this.tag = tag;
    this.attributes = {};
    this.childNodes = [];
    this.parentElement = null;
    this.variables = {};
    this.validity = { badInput: false };
    this.style = { setProperty: (name, value) => (this.variables[name] = value) };
    this.dataset = new Proxy(this.attributes, {
      get: (attributes, name) => attributes[`data-${name}`],
      set: (attributes, name, value) => ((attributes[`data-${name}`] = value), true),
    });
  }

  setAttribute(name, value) {
    this.attributes[name] = value;
  }

  removeAttribute(name) {
    delete this.attributes[name];
  }

  append(...children) {
    for (const child of children) if (child instanceof Element) child.parentElement = this;
    this.childNodes.push(...children);
  }

  before(other) {
    other.remove();
    this.parentElement.childNodes.splice(this.parentElement.childNodes.indexOf(this), 0, other);
    other.parentElement = this.parentElement;
  }

  replaceChildren(...children) {
    if (this.children.some((child) => child.contains(document.activeElement))) document.activeElement = document.body;
    for (const child of this.children) child.parentElement = null;
    this.childNodes = [];
    this.append(...children);
  }

  get inert() {
    return "inert" in this.attributes;
  }

  set inert(value) {
    if (!value) return void delete this.attributes.inert;
    this.attributes.inert = "";
    if (this.contains(document.activeElement)) document.activeElement = document.body;
  }

  get children() {
    return this.childNodes.filter((each) => each instanceof Element);
  }

  get firstChild() {
    return this.childNodes[0] ?? null;
  }

  getAttribute(name) {
    return this.attributes[name] ?? null;
  }

  contains(other) {
    return this.all((each) => each === other).length > 0;
  }

  remove() {
    this.parentElement?.childNodes.splice(this.parentElement.childNodes.indexOf(this), 1);
    this.parentElement = null;
  }

  focus() {
    document.activeElement = this;
  }

  select() {}

  showModal() {
    this.setAttribute("open", "");
  }

  close(value) {
    this.returnValue = value;
    this.removeAttribute("open");
    this.dispatchEvent(new Event("close"));
  }

  matches(selectors) {
    return selectors.split(/, (?![^(]*\))/).some((selector) => fits(this, selector));
  }

  closest(selectors) {
    return this.matches(selectors) ? this : (this.parentElement?.closest(selectors) ?? null);
  }

  querySelectorAll(selectors) {
    return this.all((each) => each.matches(selectors)).filter((each) => each !== this);
  }

  querySelector(selectors) {
    return this.querySelectorAll(selectors)[0] ?? null;
  }

  get textContent() {
    return this.childNodes.map((each) => (typeof each === "string" ? each : (each.textContent ?? String(each)))).join("");
  }

  /** Returns every element below, and this one, that a test takes. */
  all(takes) {
    const below = this.childNodes.filter((each) => each instanceof Element).flatMap((each) => each.all(takes));
    return takes(this) ? [this, ...below] : below;
  }
}

/** Tells whether an element fits `tag`, `.class`, `[name]`, `[name="value"]`, `:not(...)` of these, or `above below`. */
function fits(element, selector) {
  const [, above, kind, className, name, value, not] = /^(?:(\S+) )?(\w*)(?:\.([\w-]+))?(?:\[([\w-]+)(?:=["'](.*?)["'])?\])?(?::not\((.*)\))?$/.exec(selector);
  const { tag, attributes, parentElement } = element;
  const classes = (attributes.class ?? "").split(" ");
  const isNamed = !name || (value === undefined ? name in attributes : attributes[name] === value);
  const isBelow = !above || Boolean(parentElement?.closest(above));
  return (!kind || kind === tag) && (!className || classes.includes(className)) && isNamed && isBelow && !(not && element.matches(not));
}

/** Puts a document, which is visible until it is `hidden`, into this process. */
export function makeDocument() {
  const document = new EventTarget();
  document.hidden = false;
  document.createElement = (tag) => new Element(tag);
  document.createElementNS = (_, tag) => new Element(tag);
  document.body = document.createElement("body");
  document.documentElement = document.createElement("html");
  document.getElementById = (id) => document.body.all((each) => each.attributes.id === id)[0] ?? null;
  document.querySelectorAll = (selectors) => document.body.querySelectorAll(selectors);
  document.querySelector = (selectors) => document.body.querySelector(selectors);
  globalThis.document = document;
  globalThis.Element = Element;
  return document;
}

/** Sends an event whose target has this value, as if the user had changed the control. */
export function change(control, value) {
  control.value = value;
  control.dispatchEvent(new Event("change"));
}

const BLOCKS = new Set(["address", "article", "dialog", "div", "dl", "dt", "dd", "fieldset", "figure", "footer", "form", "h1", "h2", "h3", "header", "li", "nav", "ol", "p", "section", "summary", "table", "tbody", "thead", "tr", "ul"]);

/**
 * Returns what a user sees of an element, line by line: `[link](address)`, `<button>`, `{tone: badge}`, `*tone* figure`,
 * `~wide~` for what small screens leave out, `_control_`, `"tooltip"`, and bars by their place and width. A time is told as it was answered.
 */
export function pictured(root) {
  const lines = [[]];
  const add = (...parts) => lines.at(-1).push(...parts);
  const end = () => lines.at(-1).length && lines.push([]);
  const walk = (node) => {
    if (!(node instanceof Element)) return add(String(node));
    const { tag, attributes, variables } = node;
    const classes = (attributes.class ?? "").split(" ");
    if (tag === "svg") return attributes["aria-label"] && add(`(${attributes["aria-label"]})`);
    if (tag === "input") return add(`_${["checkbox", "radio"].includes(attributes.type) ? (node.checked ? "x" : "o") : node.value || attributes.placeholder || ""}_`);
    if (tag === "select") return add(`_${(node.children.find((each) => "selected" in each.attributes) ?? node.children[0])?.textContent}_`);
    if (tag === "time") return add(attributes.datetime);
    if (BLOCKS.has(tag)) end();
    if ((tag === "td" || tag === "th") && lines.at(-1).length) add(" | ");
    const tone = classes.includes("badge") ? `{${classes[1]}: ` : classes.includes("toned") ? `*${classes.at(-1)}* ` : classes.includes("notice") ? `!${classes[1]}! ` : "";
    if (attributes["aria-current"] || classes.includes("here")) add("> ");
    if (attributes["aria-sort"]) add(attributes["aria-sort"] === "ascending" ? "^" : "v");
    if (["piece", "attempt-number"].includes(classes[0])) add(`${classes.slice(1).join(" ")}: `);
    add(tag === "a" ? "[" : tag === "button" ? "<" : "", tone, classes.includes("wide") ? "~" : classes.includes("spare") ? "~~" : "");
    node.childNodes.forEach(walk);
    if (tag === "button" && !node.textContent) add(attributes["aria-label"] ?? "");
    if (tone.startsWith("{")) add("}");
    if (tag === "a") add(`](${attributes.href})`);
    if (tag === "button") add("disabled" in attributes ? " off>" : ">");
    if (tag === "details") add(attributes.open === undefined ? " (closed)" : " (open)");
    const bar = ["--x", "--w"].filter((name) => name in variables && !classes.includes("bone")).map((name) => variables[name].replace(/\d+\.\d+/, (number) => Number(number).toFixed(1)));
    if (bar.length) add(`(${classes[0]} ${bar.join(" ")})`);
    if (attributes.title && attributes.title !== node.textContent && tag !== "button") add(` "${attributes.title}"`);
    if (BLOCKS.has(tag)) end();
    return null;
  };
  walk(root);
  return lines.flatMap((parts) => parts.join("").split("\n")).map((line) => line.trim()).filter(Boolean);
}
