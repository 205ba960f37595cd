// The little of a document that the console's modules use to make elements: no layout, no rendering.

class Element extends EventTarget {
  constructor(tag) {
    super();
    this.tag = tag;
    this.attributes = {};
    this.childNodes = [];
    this.style = { setProperty: () => {} };
  }

  setAttribute(name, value) {
    this.attributes[name] = value;
  }

  append(...children) {
    this.childNodes.push(...children);
  }

  replaceChildren(...children) {
    this.childNodes = children;
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

  remove() {}

  focus() {
    document.activeElement = this;
  }

  querySelectorAll(selectors) {
    const found = this.all((each) => selectors.split(", ").some((selector) => fits(each, selector)));
    return found.filter((each) => each !== this);
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

/** Tells whether an element fits `tag`, `tag.class` or `[name="value"]`. */
function fits({ tag, attributes }, selector) {
  const [, kind, className, name, value] = /^(\w*)(?:\.([\w-]+))?(?:\[([\w-]+)="(.*)"\])?$/.exec(selector);
  const classes = (attributes.class ?? "").split(" ");
  return (!kind || kind === tag) && (!className || classes.includes(className)) && (!name || attributes[name] === value);
}

/** Puts a document, which is visible until it is `hidden`, into this process. */
export function makeDocument() {
  const document = new EventTarget();
  document.hidden = false;
  document.createElement = (tag) => new Element(tag);
  document.createElementNS = (_, tag) => new Element(tag);
  globalThis.document = document;
  return document;
}

/** Sends an event whose target has this value, as if the user had changed the control. */
export function change(control, value) {
  control.value = value;
  control.dispatchEvent(new Event("change"));
}
