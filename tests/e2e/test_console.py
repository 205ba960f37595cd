"""The console in a browser, beside a running relay: an operator finds what failed, why, and replays only that."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING

import pytest
import requests

from tests.e2e.console_browser import LOOKS, opened
from tests.receivers import closed_port

if TYPE_CHECKING:
    from tests.e2e.conftest import RunningRelay

PLUGIN = "clinic"
REMINDERS = 8  # how many reminders fail


class Clinic:
    """A plugin whose endpoints do as the test demands, and its keys."""

    def __init__(self, relay: RunningRelay, endpoint) -> None:
        self.relay, self.endpoint = relay, endpoint
        self.url = relay.base_url
        self.closed = f"http://127.0.0.1:{closed_port()}"
        self.register(reminders="/status/503")
        self.trigger_key = relay.create_key(PLUGIN)
        self.key = relay.create_key(PLUGIN, ("operate",))

    def register(self, *, reminders: str) -> None:
        at = self.endpoint.base_url
        self.relay.apply(
            PLUGIN,
            [
                {"id": "get-patient", "url": f"{at}/echo", "method": "GET"},
                {"id": "send-reminder", "url": f"{at}{reminders}", "method": "POST", "idempotent": True},
                {"id": "update-record", "url": f"{at}/status/422", "method": "POST"},
                {"id": "fax-letter", "url": f"{self.closed}/nobody", "method": "POST"},
                {"id": "book", "steps": [{"webhook": "get-patient"}, {"webhook": "update-record"}]},
            ],
        )

    def call(self, method: str, path: str, **how) -> dict:
        key = how.pop("key", self.key)
        answer = requests.request(
            method, self.url + path, headers={"Authorization": f"Bearer {key}"}, timeout=60, **how
        )
        assert answer.status_code < 300, answer.text
        return answer.json()

    def trigger(self, webhook: str, count: int = 1) -> list[str]:
        refs = []
        for number in range(count):
            body = {} if webhook == "get-patient" else {"data": {"patient": number}}
            answer = self.call("POST", f"/v1/webhooks/{webhook}/trigger", json=body, key=self.trigger_key)
            refs.append(answer["referenceId"])
        return refs


@pytest.fixture(scope="module")
def clinic(running_relay, endpoint):
    made = Clinic(running_relay, endpoint)
    made.trigger("get-patient", 4)
    made.trigger("update-record", 2)
    made.trigger("fax-letter")
    (made.chain,) = made.trigger("book")
    made.reminders = made.trigger("send-reminder", REMINDERS)
    return made


@pytest.fixture
def console(browser, clinic):
    with opened(browser, clinic.url) as console:
        yield console.signed_in(clinic.key)


def test_an_operator_finds_what_failed_and_why_and_replays_only_that(console, clinic):
    page = console.page
    failed = page.get_by_role("table", name="What failed in the last hour").get_by_role("row")
    reminders = failed.filter(has_text="send-reminder")
    reminders.get_by_text("answered 503").and_(page.locator("td")).wait_for()
    assert reminders.get_by_text(str(REMINDERS), exact=True).is_visible()

    reminders.get_by_role("link", name="Calls of send-reminder").click()
    rows = page.get_by_role("table", name="Invocations").get_by_role("row")
    rows.nth(REMINDERS).wait_for()
    assert rows.count() == REMINDERS + 1
    assert rows.filter(has_text="send-reminder").count() == REMINDERS
    rows.nth(1).get_by_role("link").click()
    page.get_by_role("heading", name="What happened").wait_for()
    page.get_by_text("Attempt 1: answered 503").wait_for()
    page.get_by_text("Status 503").wait_for()
    page.go_back()

    clinic.register(reminders="/echo")  # the endpoint works again
    page.get_by_role("navigation", name="Console").get_by_role("link", name="Overview").click()
    reminders.get_by_role("link", name="Replay").click()
    page.get_by_label("Calls a second").fill("1")
    page.keyboard.press("Tab")
    start = page.get_by_role("button", name=f"Start: send {REMINDERS} calls")
    page.get_by_text("in about").wait_for()
    assert clinic.call("GET", "/v1/replays")["replays"] == [], "a plan starts nothing"
    start.click()
    page.get_by_role("progressbar", name="Progress").wait_for()
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("status").filter(has_text="Paused").wait_for()
    (job,) = clinic.call("GET", "/v1/replays")["replays"]
    assert (job["state"], job["ratePerSecond"]) == ("paused", 1)
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("status").filter(has_text="Done").wait_for()
    page.get_by_text(f"{REMINDERS} of {REMINDERS} calls ended").wait_for()

    (job,) = clinic.call("GET", "/v1/replays")["replays"]
    assert (job["matched"], job["delivered"], job["failed"], job["skipped"]) == (REMINDERS, REMINDERS, 0, 0)
    made = clinic.call("GET", "/v1/invocations", params={"replay": job["replayId"]})["invocations"]
    assert {row["replayOf"] for row in made} == set(clinic.reminders)

    page.get_by_role("navigation", name="Console").get_by_role("link", name="Invocations").click()
    page.get_by_label("Only calls that failed").check()
    reminder = page.locator("tbody tr").filter(has_text="send-reminder")
    reminder.first.wait_for(state="detached")
    page.get_by_label("Also those that a replay sent again successfully").check()
    reminder.first.wait_for()
    assert "unreplayed=false" in page.url
    assert console.said == []


def test_a_chain_is_shown_with_its_steps(console, clinic):
    console.go(f"invocations/{clinic.chain}", "book")
    chain = console.page.locator(".tree")
    assert chain.get_by_text("get-patient").is_visible()
    assert chain.get_by_text("update-record").is_visible()
    chain.get_by_role("link").first.click()
    console.page.get_by_text("Step of").wait_for()


def test_a_webhook_is_paused_and_let_go_again_and_its_breaker_closed(console, clinic):
    clinic.trigger("fax-letter", 24)
    console.go("webhooks", "Webhooks")
    card = console.page.get_by_role("article", name="fax-letter")
    card.get_by_text("Breaker open").wait_for()
    card.get_by_role("button", name="Close breaker").click()
    card.get_by_text("Breaker open").wait_for(state="detached")
    card.get_by_role("button", name="Pause").click()
    console.page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    card.get_by_text("Paused").wait_for()
    state = {each["webhookId"]: each for each in clinic.call("GET", "/v1/traffic")["webhooks"]}["fax-letter"]
    assert (state["paused"], state["breaker"]["state"]) == (True, "closed")
    card.get_by_role("button", name="Resume").click()
    card.get_by_text("Paused").wait_for(state="detached")


def test_it_says_that_the_relay_is_away_and_goes_on_when_it_is_back(console):
    page = console.page
    page.get_by_text("Live", exact=True).wait_for()
    page.route("**/v1/**", lambda route: route.abort("connectionrefused"))
    page.get_by_text("The relay does not answer. The page keeps trying.").first.wait_for()
    page.get_by_text("Not live").wait_for()
    page.unroute("**/v1/**")
    page.get_by_text("Live", exact=True).wait_for()


@pytest.mark.parametrize(("key", "said"), [
    ("whk_0000000000000000_nobody", "The relay does not accept this key"),
    ("not ascii: \u00fc", "This is not an API key."),
])  # fmt: skip
def test_signing_in_with_an_invalid_key_says_why(browser, clinic, key, said):
    with opened(browser, clinic.url) as console:
        console.sign_in(key)
        console.page.get_by_role("alert").get_by_text(said).wait_for()


def test_a_key_that_may_not_operate_is_told_which_one_may(browser, clinic):
    with opened(browser, clinic.url) as console:
        console.sign_in(clinic.trigger_key)
        console.page.get_by_role("alert").get_by_text("--scope operate").wait_for()


def test_a_key_stays_in_memory_and_every_request_at_the_relay(browser, clinic):
    with opened(browser, clinic.url) as console:
        console.signed_in(clinic.key)
        for route, heading in VIEWS.items():
            console.go(route.format(clinic=clinic), heading)
        page = console.page
        secret = clinic.key.rsplit("_", 1)[1]
        kept = page.evaluate(
            "async () => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, history.state,"
            " location.href, window.name, document.documentElement.outerHTML, await indexedDB.databases(),"
            " await caches.keys(), (await navigator.serviceWorker.getRegistrations()).length])"
        )
        local, session, cookie, *_, databases, caches, workers = json.loads(kept)
        assert (local, session, cookie, databases, caches, workers) == ({}, {}, "", [], [], 0)
        assert secret not in kept
        assert page.context.cookies() == []
        assert not [url for url in console.asked if secret in url]
        assert {url.split("/")[2] for url in console.asked} == {clinic.url.split("/")[2]}
        assert not [text for text in console.said if secret in text]
        logs = [path for path in clinic.relay.data_dir.rglob("*") if path.suffix in {".log", ".env", ".conf"}]
        assert logs
        assert not [path.name for path in logs if secret in path.read_text(errors="replace")]
        page.reload()
        page.get_by_role("button", name="Sign in").wait_for()


VIEWS = {
    "overview": "Overview",
    "overview?range=24h": "Overview",
    "invocations": "Invocations",
    "invocations/{clinic.chain}": "book",
    "invocations/{clinic.reminders[0]}": "send-reminder",
    "replays": "Replays",
    "replays/new": "New replay",
    "webhooks": "Webhooks",
}


def test_an_answer_that_breaks_off_breaks_no_view(console, clinic):
    console.page.route("**/v1/**", lambda route: route.fulfill(status=200, body='{"webhooks": ['))
    for route in VIEWS:
        with console.page.expect_response("**/v1/**"):
            console.page.evaluate("hash => { location.hash = hash }", f"#/{route.format(clinic=clinic)}")
        console.page.get_by_role("heading", level=1).wait_for()
    console.page.wait_for_load_state("networkidle")
    assert console.said == []


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_every_view_is_accessible_and_fits(browser, clinic, width, scheme):
    with opened(browser, clinic.url, width=width, scheme=scheme) as console:
        console.page.goto(f"{clinic.url}/console")
        console.page.get_by_role("button", name="Sign in").wait_for()
        faults = {"sign-in": console.faults()}
        console.signed_in(clinic.key)
        wide, spilt = {}, {}
        for route, heading in VIEWS.items():
            console.go(route.format(clinic=clinic), heading)
            faults[route], wide[route], spilt[route] = console.faults(), console.overflow_px(), console.spills()
        assert {route: found for route, found in faults.items() if found} == {}
        assert wide == dict.fromkeys(wide, 0)
        assert not any(spilt.values()), spilt
        assert console.said == []


def test_the_keyboard_alone_leads_past_the_navigation_and_to_every_tab(console):
    page = console.page
    first = page.locator("a, button, input, select, [tabindex='0']").first
    assert first.inner_text() == "Skip to the content"
    first.focus()
    assert first.bounding_box()["y"] >= 0, "it is seen when it has the focus"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.get_by_role("link", name="Webhooks", exact=True).focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", level=1, name="Webhooks").wait_for()
    assert page.evaluate("document.activeElement.tagName") == "H1"
    assert re.search(r"#/webhooks$", page.url)


def test_what_happens_is_seen_within_seconds(console, clinic):
    console.go("invocations", "Invocations")
    began_s = time.monotonic()
    (ref,) = clinic.trigger("get-patient")
    console.page.get_by_role("link", name=f"Invocation {ref}").wait_for()
    assert time.monotonic() - began_s < 40
