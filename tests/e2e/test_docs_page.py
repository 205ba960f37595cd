"""The API's documentation page in a browser: opened, searched, copied from, and read on a telephone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import requests

from tests.e2e.console_browser import LOOKS, answer_as_proxy, opened
from tests.tools import require


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


@pytest.mark.parametrize("status", [200, 302, 502])
def test_a_page_of_a_proxy_is_not_taken_for_an_answer_of_the_relay(browser, running_relay, status):
    with opened(browser, running_relay.base_url) as console:
        page = console.page
        said = answer_as_proxy(page, "**/v1/webhooks", status)
        page.goto(f"{running_relay.base_url}/docs")
        page.get_by_label("Examples with a webhook of yours").fill("whk_a_b")
        page.keyboard.press("Enter")
        page.get_by_text(said).wait_for()


@pytest.mark.parametrize("width", [320, 860])
def test_a_webhook_s_id_of_any_length_fits(browser, running_relay, endpoint, width):
    running_relay.apply("long", [{"id": "x" * 64, "url": f"{endpoint.base_url}/echo", "method": "GET"}])
    with opened(browser, running_relay.base_url, width=width) as console:
        page = console.page
        page.goto(f"{running_relay.base_url}/docs")
        page.get_by_label("Examples with a webhook of yours").fill(running_relay.create_key("long"))
        page.keyboard.press("Enter")
        page.get_by_label("Webhook", exact=True).select_option("x" * 64)
        assert (console.overflow_px(), console.spills()) == (0, [])


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


SCHEMA = {
    "type": "object",
    "required": ["patient"],
    "properties": {
        "patient": {"type": "object", "properties": {"name": {"enum": ["O'Neil", "true"]}}, "required": ["name"]},
        "urgent": {"const": True},
        "visits": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/visit"}},
    },
    "$defs": {"visit": {"type": "integer", "minimum": 3}},
}


def test_examples_use_a_webhook_that_the_reader_has_and_run(browser, running_relay, endpoint):
    hook = {
        "id": "book-visit",
        "url": f"{endpoint.base_url}/echo",
        "method": "POST",
        "headers": {"X-Note": None},
        "dataSchema": SCHEMA,
    }
    running_relay.apply("docs", [hook, {"id": "a-first", "url": f"{endpoint.base_url}/echo", "method": "GET"}])
    key = running_relay.create_key("docs")
    with opened(browser, running_relay.base_url) as console:
        page = console.page
        page.goto(f"{running_relay.base_url}/docs")
        samples = page.locator("#triggerWebhook pre")
        assert "order" in samples.first.inner_text()
        page.get_by_label("Examples with a webhook of yours").fill("whk_0000000000000000_nobody")
        page.keyboard.press("Enter")
        page.locator("#own-said").get_by_text("API key").wait_for()
        page.get_by_label("Examples with a webhook of yours").fill(key)
        page.keyboard.press("Enter")
        page.get_by_label("Webhook", exact=True).select_option("book-visit")
        texts = [samples.nth(number).text_content() for number in range(3)]
        assert not [text for text in texts if "order" in text or "book-visit" not in text or "X-Note" not in text]
        assert "True" in texts[1]
        assert console.faults() == []
        assert (console.overflow_px(), console.spills(), console.said) == (
            0,
            [],
            ["Failed to load resource: the server responded with a status of 401 (Unauthorized)"],
        )
        assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
    environ = os.environ | {"RELAY_API_URL": running_relay.base_url, "KEY": key}
    for number, run in enumerate(([require("bash"), "-c"], [sys.executable, "-c"])):
        done = subprocess.run(
            [*run, texts[number]], env=environ, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "Neil" in done.stdout
