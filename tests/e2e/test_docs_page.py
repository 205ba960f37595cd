"""The API's documentation page in a browser: opened, searched, copied from, and read on a telephone."""

from __future__ import annotations

import pytest
import requests

from tests.e2e.console_browser import LOOKS, opened


def test_the_root_leads_to_it(running_relay):
    answer = requests.get(f"{running_relay.base_url}/", timeout=30)
    assert answer.url == f"{running_relay.base_url}/docs"
    assert answer.status_code == 200


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_it_is_accessible_and_fits(browser, running_relay, width, scheme):
    with opened(browser, running_relay.base_url, width=width, scheme=scheme) as console:
        console.page.goto(f"{running_relay.base_url}/docs")
        console.page.get_by_role("heading", level=1).wait_for()
        assert console.faults() == []
        assert console.overflow_px() == 0
        assert console.spills() == []
        assert console.said == []
        assert {url.split("/")[2] for url in console.asked} == {running_relay.base_url.split("/")[2]}


def test_a_search_leaves_what_fits_and_the_contents_stay_in_view(browser, running_relay):
    with opened(browser, running_relay.base_url) as console:
        page = console.page
        page.goto(f"{running_relay.base_url}/docs")
        page.keyboard.press("/")
        page.keyboard.type("breaker close")
        page.locator("#closeBreakerOfWebhook").wait_for()
        page.locator("#getConsole").wait_for(state="hidden")
        page.get_by_role("status").filter(has_text="found").wait_for()
        page.get_by_role("navigation").get_by_role("link", name="Close a webhook's breaker").click()
        assert page.url.endswith("#closeBreakerOfWebhook")
        page.get_by_label("Search").press("Escape")
        page.locator("#getConsole").wait_for(state="attached")
        page.mouse.wheel(0, 30_000)
        page.wait_for_function("window.scrollY > 1000")
        assert page.get_by_label("Search").is_visible()
        assert page.evaluate("document.querySelector('.side').getBoundingClientRect().top") == 0


def test_an_example_is_copied_as_it_is_printed(browser, running_relay):
    with opened(browser, running_relay.base_url) as console:
        page = console.page
        page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=running_relay.base_url)
        page.goto(f"{running_relay.base_url}/docs")
        first = page.locator("article").first
        first.get_by_role("button", name="Copy").first.click()
        first.get_by_role("button", name="Copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == first.locator("pre").first.inner_text()
