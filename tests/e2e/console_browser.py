"""The console in a headless Chromium: one page of it, what it asked for, and what axe-core finds wrong with it."""

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

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
WIDTHS = {375: 812, 900: 900, 1600: 1000}  # and heights: a telephone, a tablet, a desk
SCHEMES = ("light", "dark")
#: What is tried: what fits does not depend on colours, and contrast only where a width shows what others do not.
LOOKS = list(product(WIDTHS, SCHEMES)) if DEEP else [(375, "dark"), (900, "light"), (1600, "dark")]
WAIT_MS = 60_000  # for a machine that others keep busy
_AXE = (Path(__file__).parents[1] / "vendor" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
# Text that is seen outside of the box around it: the nearest ancestor with a border or a ground of its own.
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


@dataclass
class Console:
    """The console of a relay, open in a page."""

    page: Page
    url: str
    asked: list[str] = field(default_factory=list)  # the address of every request
    said: list[str] = field(default_factory=list)  # everything in the browser's console, and every exception

    def sign_in(self, key: str) -> None:
        """With the keyboard alone: the field has the focus."""
        self.page.goto(f"{self.url}/console")
        self.page.get_by_label("API key with the scope operate").wait_for()
        self.page.keyboard.type(key)
        self.page.keyboard.press("Enter")

    def signed_in(self, key: str) -> Console:
        self.sign_in(key)
        self.page.get_by_role("heading", name="Overview").wait_for()
        return self

    def go(self, route: str, heading: str) -> None:
        """To a view, until its first heading is there and nothing is on its way any more."""
        self.page.evaluate("hash => { location.hash = hash }", f"#/{route}")
        self.page.get_by_role("heading", level=1, name=heading).wait_for()
        self.settled()

    def settled(self) -> None:
        self.page.locator(".loading").first.wait_for(state="detached")

    def faults(self) -> list[str]:
        """What axe-core finds on what is shown: rule and place."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(_AXE)
        found: dict[str, Any] = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [f"{fault['id']}: {node['target']}" for fault in found["violations"] for node in fault["nodes"]]

    def overflow_px(self) -> int:
        """By how much the page is wider than what its window leaves to it beside a scrollbar."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.body.clientWidth"))

    def spills(self) -> list[str]:
        """What sticks out of the box that it is drawn in: of each its text, and by how many pixels."""
        found: list[str] = self.page.evaluate(_SPILLS)
        return found


@contextlib.contextmanager
def chromium(path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser: Browser, url: str, *, width: int = 1600, scheme: str = "light") -> Iterator[Console]:
    """A page of its own, with a profile of its own."""
    size = {"width": width, "height": WIDTHS[width]}
    context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    context.set_default_timeout(WAIT_MS)
    console = Console(context.new_page(), url)
    console.page.on("request", lambda request: console.asked.append(request.url))
    console.page.on("console", lambda message: console.said.append(message.text))
    console.page.on("pageerror", lambda error: console.said.append(str(error)))
    yield console
    context.close()
