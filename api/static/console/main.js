// The frame around the views: signs the user in, reads the address, and shows its view.

import { h, icon, keepFocus, put } from "./dom.js";
import { NAMES } from "./filters.js";
import { eventually } from "./live.js";
import { button, copyIdsWhole, iconButton } from "./parts.js";
import { keyId, onEnd, pluginName, signIn, signOut, signedIn } from "./session.js";
import { show as invocation } from "./views/invocation.js";
import { show as invocations } from "./views/invocations.js";
import { show as overview } from "./views/overview.js";
import { show as replay } from "./views/replay.js";
import { CHOSEN, show as newReplay } from "./views/replay_new.js";
import { show as replays } from "./views/replays.js";
import { show as webhooks } from "./views/webhooks.js";

const TABS = [
  ["overview", "Overview"],
  ["invocations", "Invocations"],
  ["replays", "Replays"],
  ["webhooks", "Webhooks"],
];
/** The views: a pattern of the address, the view, its title, and the parameters that it knows. */
const VIEWS = [
  [/^\/overview$/, overview, "Overview", ["range", "webhook"]],
  [/^\/invocations$/, invocations, "Invocations", NAMES],
  [/^\/invocations\/([0-9a-f-]{36})$/, invocation, "Invocation", []],
  [/^\/replays$/, replays, "Replays", []],
  [/^\/replays\/new$/, newReplay, "New replay", ["ref", ...CHOSEN]],
  [/^\/replays\/([0-9a-f-]{36})$/, replay, "Replay", []],
  [/^\/webhooks$/, webhooks, "Webhooks", ["find", "sort", "window"]],
];
const app = document.getElementById("app");
let shown = new AbortController();
let shownPath = null;
let isFinding = false; // the next view is asked to find something

function brand(tag, attributes) {
  return h(tag, { class: "brand", ...attributes }, h("img", { src: "console/mark.svg", alt: "" }), "Webhook relay");
}

function themeButton() {
  return iconButton("theme", "Switch between light and dark", () => {
    const root = document.documentElement;
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = root.dataset.theme ?? (dark ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    window.dispatchEvent(new Event("themechange"));
  });
}

function gate(said = null) {
  shown.abort();
  document.title = "Sign in · Webhook relay";
  const problem = h("div", { role: "alert", id: "sign-in-problem" }, said && h("p", { class: "notice warn" }, said));
  const input = h("input", {
    type: "password",
    id: "key",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
    placeholder: "whk_…",
    "aria-describedby": "key-hint sign-in-problem",
  });
  const enter = h("button", { class: "button primary", type: "submit" }, "Sign in");
  const submit = async (event) => {
    event.preventDefault();
    enter.disabled = true;
    put(problem);
    try {
      await signIn(input.value);
      input.value = "";
      frame();
    } catch (error) {
      put(problem, h("p", { class: "notice bad" }, error.message));
      enter.disabled = false;
      input.focus();
      input.select();
    }
  };
  const form = h(
    "form",
    { onsubmit: submit, autocomplete: "off" },
    brand("h1"),
    problem,
    h(
      "div",
      { class: "field" },
      h("label", { for: "key" }, "API key with the scope operate"),
      input,
      h("small", { class: "muted", id: "key-hint" }, "It is kept until you close this tab or sign out, and sent to this relay only."),
    ),
    enter,
    h("footer", { class: "muted" }, h("a", { href: "docs" }, "API documentation"), themeButton()),
  );
  put(app, h("main", { class: "gate" }, form));
  input.focus();
}

function frame() {
  const links = TABS.map(([name, label]) => h("li", {}, h("a", { href: `#/${name}`, "data-tab": name }, icon(name), label)));
  const content = h("main", { class: "content", id: "content", tabindex: -1 });
  const out = iconButton("leave", "Sign out", () => (signOut(), gate("You are signed out. The page has forgotten the key.")));
  put(
    app,
    button("Skip to the content", () => content.focus(), { class: "button skip" }),
    h(
      "div",
      { class: "frame" },
      h(
        "header",
        { class: "side" },
        brand("a", { href: "#/overview" }),
        h("nav", { class: "tabs", "aria-label": "Console" }, h("ul", {}, links)),
        h("div", { class: "account" }, h("span", { class: "who" }, h("b", {}), keyId() && h("span", {}, "Key ", h("code", {}, keyId()))), themeButton(), out),
      ),
      content,
    ),
  );
  route();
}

function route() {
  if (!signedIn()) return;
  shown.abort();
  shown = new AbortController();
  const [path, query = ""] = location.hash.slice(1).split("?");
  const found = VIEWS.map(([pattern, view, title, known]) => ({ match: path.match(pattern), view, title, known })).find(({ match }) => match);
  if (!found) {
    location.replace("#/overview");
    return;
  }
  for (const tab of document.querySelectorAll("[data-tab]")) {
    if (path.startsWith(`/${tab.dataset.tab}`)) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  document.title = `${found.title} · Webhook relay`;
  const root = h("div", { class: "view" });
  const asked = new URLSearchParams(query);
  const content = document.getElementById("content");
  const fill = () => {
    put(content, unknown(asked, found.known), root);
    found.view({ root, id: found.match[1], query: asked, signal: shown.signal });
  };
  const isSame = path === shownPath;
  if (isSame) keepFocus(content, fill);
  else fill();
  const who = document.querySelector(".who b"); // of this session: the answer may come in the next one
  eventually(pluginName, shown.signal).then((name) => put(who, name));
  const focused = document.activeElement;
  if (!isSame || !root.contains(focused) || focused.closest(".look-up")) { // which changes no filter
    root.querySelector(isFinding ? ".look-up input" : "h1")?.focus();
    window.scrollTo(0, 0);
  }
  shownPath = path;
  isFinding = false;
}

/** Names the parameters of an address that its view does not know. */
function unknown(asked, known) {
  const names = [...new Set(asked.keys())].filter((name) => !known.includes(name));
  if (names.length === 0) return null;
  const said = `This page does not know ${names.map((name) => `“${name}”`).join(", ")}, and ignores it. It knows ${known.join(", ") || "no parameters"}.`;
  return h("div", { class: "notice warn unknown", role: "status" }, icon("warning"), h("p", { class: "break" }, said));
}

/** Focuses the field that looks something up in this view; without one, goes to the search for invocations. */
function find(event) {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || !signedIn()) return;
  if (document.activeElement?.matches("input:not([type='checkbox'], [type='radio']), select, textarea") || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  if (!document.querySelector(".look-up input")) {
    isFinding = true;
    location.hash = "#/invocations";
    return;
  }
  document.querySelector(".look-up input").focus();
}

/** Lets a held Enter press once. Browsers press again and again, and so whatever comes to have the focus meanwhile. */
function pressOnce(event) {
  if (event.key === "Enter" && event.repeat) event.preventDefault();
}

onEnd((said) => gate(said));
window.addEventListener("hashchange", route);
document.addEventListener("keydown", find);
document.addEventListener("keydown", pressOnce);
document.addEventListener("copy", copyIdsWhole);
if (signedIn()) frame();
else gate();
