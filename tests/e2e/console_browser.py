"""The console in a headless Chromium: an open page, its requests, and the faults that axe-core finds in it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import sync_playwright

from tests.depth import DEEP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

#: What Chromium goes without. The list replaces Playwright's, so it repeats what that has for Chromium on Linux.
_WITHOUT = (
    *("AimEnabled", "AvoidCorsURLLoaderRestartOnRedirect", "AvoidUnnecessaryBeforeUnloadCheckSync"),
    *("DestroyProfileOnBrowserClose", "HttpsFirstBalancedModeAutoEnable", "HttpsUpgrades", "LensOverlay"),
    *("MediaRouter", "NetworkTimeServiceQuerying", "OptimizationHints", "PaintHolding", "PreconnectToSearch"),
    "ThirdPartyStoragePartitioning",
    # The pop-ups of the address bar, which nobody sees: each window has two, in a process of their own.
    *("WebUIOmniboxAimPopup", "WebUIOmniboxPopup"),
)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    f"--disable-features={','.join(_WITHOUT)}",
    "--renderer-process-limit=1",  # pages of one site share a process, because each new one has to start up
)
WIDTHS = {375: 812, 900: 900, 1600: 1000}  # widths and heights of a telephone, a tablet and a desktop
SCHEMES = ("light", "dark")
#: The widths and colour schemes to try. Layout does not depend on colours, so without `DEEP` each width has one scheme.
LOOKS = list(product(WIDTHS, SCHEMES)) if DEEP else [(375, "dark"), (900, "light"), (1600, "dark")]
WAIT_MS = 60_000  # for a machine that others keep busy
_AXE = (Path(__file__).parents[1] / "vendor" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
# Finds text that is visible outside its box: the nearest ancestor with a border or its own background.
_SPILLS = """
(() => {
  const isBox = (style) => parseFloat(style.borderRightWidth) > 0 || !/, 0\\)|transparent/.test(style.backgroundColor);
  const found = [];
  for (const element of document.body.querySelectorAll("a, b, button, code, h1, h2, h3, input, p, select, span, td, th")) {
    const own = element.getBoundingClientRect();
    if (!own.width || !own.height || getComputedStyle(element).position === "fixed" || element.closest("svg")) continue;
    for (let box = element.parentElement; box && box !== document.body; box = box.parentElement) {
      const style = getComputedStyle(box);
      if (style.overflowX !== "visible" || style.position === "absolute") break;
      if (!isBox(style)) continue;
      const around = box.getBoundingClientRect();
      const over = Math.max(own.right - around.right, around.left - own.left);
      if (over > 1) found.push(`${element.textContent.slice(0, 40)}: ${over.toFixed(0)} px`);
      break;
    }
  }
  return found;
})()
"""
# Finds what leaves its card, even where a scroll bar would lead to it, and what is left of a cut id in the next column.
_LEAVES = """
(() => {
  const found = [];
  for (const tail of document.querySelectorAll("td .id-tail")) {
    const over = tail.getBoundingClientRect().right - tail.closest("td").getBoundingClientRect().right;
    if (over > 1) found.push(`${tail.textContent} covers the next column: ${over.toFixed(0)} px`);
  }
  for (const card of document.querySelectorAll(".panel, .tiles, .notice, .gate form, .dialog")) {
    const around = card.getBoundingClientRect();
    for (const element of card.querySelectorAll("*")) {
      if (element.closest(".hidden-text, .u-wrap, details:not([open]) > :not(summary)") || !element.checkVisibility()) continue;
      const own = element.getBoundingClientRect();
      if (!own.width || !own.height) continue;
      const over = Math.max(own.right - around.right, around.left - own.left, own.bottom - around.bottom, around.top - own.top);
      if (over > 1) found.push(`${element.tagName}.${element.className} ${element.textContent.slice(0, 40)}: ${over.toFixed(0)} px`);
    }
  }
  return found;
})()
"""


@dataclass
class Console:
    """The console of a relay, open in a browser page."""

    page: Page
    url: str
    asked: list[str] = field(default_factory=list)  # the URL of every request
    said: list[str] = field(default_factory=list)  # everything written to the browser's console, and every exception

    def sign_in(self, key: str) -> None:
        """Sign in with the keyboard alone: the field has the focus."""
        self.page.goto(f"{self.url}/console")
        self.page.get_by_label("API key with the scope operate").wait_for()
        self.page.keyboard.type(key)
        self.page.keyboard.press("Enter")

    def signed_in(self, key: str) -> Console:
        self.sign_in(key)
        self.page.get_by_role("heading", name="Overview").wait_for()
        return self

    def go(self, route: str, heading: str) -> None:
        """Go to a view; wait until its first heading is shown and no request is pending."""
        self.page.evaluate("hash => { location.hash = hash }", f"#/{route}")
        self.page.get_by_role("heading", level=1, name=heading).wait_for()
        self.settled()

    def settled(self) -> None:
        self.page.locator(".loading").first.wait_for(state="detached")

    def faults(self) -> list[str]:
        """Return the faults that axe-core finds in the page, as rule and place."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(_AXE)
        found: dict[str, Any] = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [f"{fault['id']}: {node['target']}" for fault in found["violations"] for node in fault["nodes"]]

    def overflow_px(self) -> int:
        """Return by how many pixels the page is wider than the window without its scrollbar."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.body.clientWidth"))

    def spills(self) -> list[str]:
        """Return each text that sticks out of its box, and by how many pixels."""
        found: list[str] = self.page.evaluate(_SPILLS)
        return found

    def leaves(self) -> list[str]:
        """Return each element that is not within its card, and by how many pixels."""
        found: list[str] = self.page.evaluate(_LEAVES)
        return found


@contextlib.contextmanager
def chromium(path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser: Browser, url: str, *, width: int = 1600, scheme: str = "light") -> Iterator[Console]:
    """Open the console in a new page with a new profile."""
    size = {"width": width, "height": WIDTHS.get(width, 900)}
    context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    context.set_default_timeout(WAIT_MS)
    console = Console(context.new_page(), url)
    console.page.on("request", lambda request: console.asked.append(request.url))
    console.page.on("console", lambda message: console.said.append(message.text))
    console.page.on("pageerror", lambda error: console.said.append(str(error)))
    yield console
    context.close()


def answer_as_proxy(page: Page, pattern: str, status: int) -> str:
    """Answer a page's requests as a proxy does that reaches no relay; return what the relay's pages say of that."""
    headers = {"Location": "https://login.example.com/"} if status == 302 else {}
    page.route(pattern, lambda route: route.fulfill(status=status, headers=headers, body="<html>Oh no</html>"))
    answered = "a redirect" if status == 302 else f"status {status}"
    return f"answered in the relay's place ({answered}). Check that the relay is running"
