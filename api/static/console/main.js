// The frame around the views: signs the user in, reads the address, and shows its view.

import { h, icon, mark, put } from "./dom.js";
import { button, iconButton } from "./parts.js";
import { keyId, onEnd, signIn, signOut, signedIn } from "./session.js";
import { show as invocation } from "./views/invocation.js";
import { show as invocations } from "./views/invocations.js";
import { show as overview } from "./views/overview.js";
import { show as replay } from "./views/replay.js";
import { show as newReplay } from "./views/replay_new.js";
import { show as replays } from "./views/replays.js";
import { show as webhooks } from "./views/webhooks.js";

const TABS = [
  ["overview", "Overview"],
  ["invocations", "Invocations"],
  ["replays", "Replays"],
  ["webhooks", "Webhooks"],
];
const VIEWS = [
  [/^\/overview$/, overview, "Overview"],
  [/^\/invocations$/, invocations, "Invocations"],
  [/^\/invocations\/([0-9a-f-]{36})$/, invocation, "Invocation"],
  [/^\/replays$/, replays, "Replays"],
  [/^\/replays\/new$/, newReplay, "New replay"],
  [/^\/replays\/([0-9a-f-]{36})$/, replay, "Replay"],
  [/^\/webhooks$/, webhooks, "Webhooks"],
];
const app = document.getElementById("app");
let shown = new AbortController();

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
    h("h1", { class: "brand" }, mark(), "Webhook relay"),
    problem,
    h(
      "div",
      { class: "field" },
      h("label", { for: "key" }, "API key with the scope operate"),
      input,
      h("small", { class: "muted", id: "key-hint" }, "It stays in this page's memory: closing or reloading the page forgets it."),
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
        h("a", { class: "brand", href: "#/overview" }, mark(), "Webhook relay"),
        h("nav", { class: "tabs", "aria-label": "Console" }, h("ul", {}, links)),
        h("div", { class: "account" }, keyId() && h("span", { class: "who" }, "Key ", h("code", {}, keyId())), themeButton(), out),
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
  const found = VIEWS.map(([pattern, view, title]) => ({ match: path.match(pattern), view, title })).find(({ match }) => match);
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
  put(document.getElementById("content"), root);
  found.view({ root, id: found.match[1], query: new URLSearchParams(query), signal: shown.signal });
  root.querySelector("h1")?.focus();
  window.scrollTo(0, 0);
}

onEnd((said) => gate(said));
window.addEventListener("hashchange", route);
gate();
