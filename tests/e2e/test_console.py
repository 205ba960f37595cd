"""The console in a browser, beside a running relay: an operator finds what failed, why, and replays only that."""

from __future__ import annotations

import itertools
import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import requests

from tests.e2e.console_browser import LOOKS, answer_as_proxy, opened
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
    with pytest.raises(AssertionError, match="webhook_not_registered"):  # rejected calls have a figure of their own
        made.trigger("order-taxi")
    return made


@pytest.fixture
def console(browser, clinic):
    with opened(browser, clinic.url) as console:
        yield console.signed_in(clinic.key)


def test_an_operator_finds_what_failed_and_why_and_replays_only_that(console, clinic):  # noqa: PLR0915 - a story
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
    page.get_by_text("the webhook's usual rate, because it failed recently").wait_for()
    assert page.get_by_label("Calls per second").input_value() == "1"
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

    page.get_by_text("the endpoint answered, status 503, since").wait_for()
    page.get_by_role("definition").filter(has_text=clinic.key.split("_")[1]).wait_for()
    page.get_by_role("navigation", name="Console").get_by_role("link", name="Replays").click()
    made = page.get_by_role("table", name="Replays").get_by_role("row").nth(1)
    made.get_by_text("send-reminder").wait_for()
    assert clinic.key.split("_")[1] in made.inner_text()

    (job,) = clinic.call("GET", "/v1/replays")["replays"]
    assert (job["matched"], job["delivered"], job["failed"], job["skipped"]) == (REMINDERS, REMINDERS, 0, 0)
    made = clinic.call("GET", "/v1/invocations", params={"replay": job["replayId"]})["invocations"]
    assert {row["replayOf"] for row in made} == set(clinic.reminders)

    page.get_by_role("navigation", name="Console").get_by_role("link", name="Invocations").click()
    page.get_by_label("State").select_option("Failed")
    assert "failed=true" in page.url
    reminder = page.locator("tbody tr").filter(has_text="send-reminder")
    reminder.first.wait_for(state="detached")
    page.get_by_label("Include those that a replay sent again successfully").check()
    reminder.first.wait_for()
    assert "unreplayed=false" in page.url
    assert console.said == []


def test_the_progress_of_a_job_counts_what_succeeded_failed_and_was_skipped(console):
    job = {"matched": 20, "delivered": 10, "failed": 4, "skipped": 2}
    found = console.page.evaluate(
        """async (job) => {
          const meter = (await import("/console/views/replay_parts.js")).jobMeter(job);
          const said = ["aria-valuemin", "aria-valuenow", "aria-valuemax"].map((name) => meter.getAttribute(name));
          return [said, [...meter.children].map((part) => [part.className, part.style.getPropertyValue("--w")])];
        }""",
        job,
    )
    assert found == [["0", "16", "20"], [["good", "50%"], ["bad", "20%"], ["idle", "10%"]]]


@pytest.mark.parametrize("view", ["webhooks", "invocations", "invocations?failed=true"])
def test_numbers_stand_at_the_right_below_the_name_of_their_column(console, view):
    console.page.evaluate("(hash) => (location.hash = hash)", f"/{view}")
    console.page.locator("main tbody tr td").first.wait_for()
    numbers, wrong = console.page.evaluate(
        """() => {
          const isRight = (cell) => getComputedStyle(cell).textAlign === "right";
          const names = [...document.querySelectorAll("main thead th")];
          const cells = [...document.querySelectorAll("main tbody td")];
          const numbers = cells.filter((cell) => /^[\\d,.]+( %| ms| s)?$/.test(cell.innerText.trim()));
          const wrong = cells.filter((cell) => isRight(cell) !== isRight(names[cell.cellIndex]));
          return [numbers.length, [...wrong, ...numbers.filter((cell) => !isRight(cell))].map((cell) => cell.innerText)];
        }"""
    )
    assert numbers > 0
    assert wrong == []


def test_a_replay_is_not_planned_with_a_bad_number_and_says_so_if_its_start_is_not_answered(console, clinic):
    page, jobs = console.page, clinic.call("GET", "/v1/replays")["replays"]
    console.go("replays/new?webhookId=fax-letter", "New replay")
    start = page.get_by_role("button", name="Start")
    start.wait_for()
    rate = page.get_by_label("Calls per second")
    for text in ("-1", "many", "10001"):
        rate.fill(text)
        rate.press("Tab")
        page.get_by_role("alert").get_by_text("Give a number from 0.001 to 10000, or leave it empty.").wait_for()
        page.get_by_text("Correct the number above first.").wait_for()
        assert start.count() == 0
    assert console.faults() == []
    rate.fill("0.001")
    rate.press("Tab")
    start.wait_for()
    page.route("**/v1/replays", lambda route: (route.fetch(), route.abort("connectionreset")))  # it is started
    start.click()
    page.get_by_role("alert").get_by_text("The replay may have been started nevertheless").wait_for()
    page.unroute("**/v1/replays")
    page.get_by_role("link", name="list of replays").click()
    page.get_by_role("table", name="Replays").get_by_text("fax-letter").first.wait_for()
    made = clinic.call("GET", "/v1/replays")["replays"]
    assert len(made) == len(jobs) + 1
    if made[0]["state"] != "done":
        clinic.call("POST", f"/v1/replays/{made[0]['replayId']}/cancel")


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
    card = console.page.locator("tr[data-webhook=fax-letter]")
    state = card.locator("td").nth(1)
    state.get_by_text("Breaker open").wait_for()
    assert console.page.locator("tbody tr").first.get_attribute("data-webhook") == "fax-letter", "the worst is first"
    assert state.get_by_text("Failing").is_visible()
    assert "Succeeding" in console.page.locator("tr[data-webhook=get-patient]").inner_text()
    card.get_by_role("button", name="Close breaker").click()
    state.get_by_text("Breaker open").wait_for(state="detached")
    card.get_by_role("button", name="Pause").click()
    console.page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    state.get_by_text("Paused").wait_for()
    stands = {each["webhookId"]: each for each in clinic.call("GET", "/v1/traffic")["webhooks"]}["fax-letter"]
    assert (stands["paused"], stands["breaker"]["state"]) == (True, "closed")
    card.get_by_role("button", name="Resume").click()
    state.get_by_text("Paused").wait_for(state="detached")


def acts_of(page):
    """Return the list that the path of every act is going to be in."""
    acts = []
    page.on("request", lambda request: request.method == "POST" and acts.append(request.url.split("/v1/")[1]))
    return acts


def press_twice(page, button):
    """Press a button as a double click does: wherever it was, whatever is there by then."""
    button.wait_for()
    page.locator("[inert]").wait_for(state="detached")
    box = button.bounding_box()
    page.mouse.dblclick(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, delay=40)


def focus_comes_to(page, name):
    page.get_by_role("button", name=name).and_(page.locator(":focus")).wait_for()


def test_a_double_press_acts_once_and_the_focus_comes_back(console, clinic):
    page, acts = console.page, acts_of(console.page)
    clinic.call("POST", "/v1/webhooks/get-patient/pause")
    console.go("webhooks", "Webhooks")
    row = page.locator("tr[data-webhook=get-patient]")
    press_twice(page, row.get_by_role("button", name="Resume"))
    focus_comes_to(page, "Pause get-patient")
    assert (acts, page.get_by_role("dialog").count()) == (["webhooks/get-patient/resume"], 0)

    row.get_by_role("button", name="Pause").click()
    press_twice(page, page.get_by_role("dialog").get_by_role("button", name="Back"))
    focus_comes_to(page, "Pause get-patient")
    assert len(acts) == 1

    slow = {"referenceIds": clinic.trigger("get-patient", 3), "ratePerSecond": 0.001}
    job = clinic.call("POST", "/v1/replays", json=slow)
    console.go(f"replays/{job['replayId']}", "Replay")
    for name, act, next_name in [("Pause", "pause", "Resume"), ("Resume", "resume", "Pause")]:
        acts.clear()
        press_twice(page, page.get_by_role("button", name=name))
        focus_comes_to(page, next_name)
        assert acts == [f"replays/{job['replayId']}/{act}"]
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the replay").dblclick()
    page.get_by_role("status").filter(has_text="Cancelled").wait_for()
    assert acts[1:] == [f"replays/{job['replayId']}/cancel"]


def test_a_held_enter_acts_once(console, clinic):
    page, acts = console.page, acts_of(console.page)
    clinic.call("POST", "/v1/webhooks/get-patient/pause")
    console.go("webhooks", "Webhooks")
    page.locator("tr[data-webhook=get-patient]").get_by_role("button", name="Resume").focus()
    page.keyboard.down("Enter")
    focus_comes_to(page, "Pause get-patient")
    for _ in range(10):
        page.keyboard.down("Enter")  # the key was not released, so it repeats
    assert (acts, page.get_by_role("dialog").count()) == (["webhooks/get-patient/resume"], 0)
    page.keyboard.up("Enter")
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()


@pytest.mark.parametrize("width", [375, 1600])
def test_a_double_press_that_asks_a_question_does_not_answer_it(browser, clinic, width):
    with opened(browser, clinic.url, width=width) as console:
        page, acts = console.signed_in(clinic.key).page, acts_of(console.page)
        console.go("webhooks", "Webhooks")
        page.locator("tr[data-webhook=get-patient]").get_by_role("button", name="Pause").click()
        answer = page.get_by_role("dialog").get_by_role("button", name="Pause")
        box = answer.bounding_box()
        page.get_by_role("dialog").get_by_role("button", name="Back").click()
        page.get_by_role("dialog").wait_for(state="detached")
        button = page.locator("tr[data-webhook=get-patient]").get_by_role("button", name="Pause")
        button.evaluate(
            "(e, at) => Object.assign(e.style, {position: 'fixed', left: `${at.x}px`, top: `${at.y}px`})", box
        )
        press_twice(page, button)
        focus_comes_to(page, "Back")
        assert (acts, page.get_by_role("dialog").count()) == ([], 1)


def test_it_says_that_the_relay_is_away_and_goes_on_when_it_is_back(console):
    page = console.page
    page.get_by_text("Live", exact=True).wait_for()
    page.route("**/v1/**", lambda route: route.abort("connectionrefused"))
    page.get_by_text("The relay does not answer. The page keeps trying.").first.wait_for()
    page.get_by_text("Not live").wait_for()
    page.unroute("**/v1/**")
    page.get_by_text("Live", exact=True).wait_for()


def test_what_a_view_has_shown_stays_while_the_relay_is_away_with_a_note_that_says_so(console, clinic):
    page, note = console.page, console.page.get_by_text("Not up to date since")
    job = clinic.call("POST", "/v1/replays", json={"filter": {"webhookId": "fax-letter"}, "ratePerSecond": 1})
    clinic.call("POST", f"/v1/replays/{job['replayId']}/pause")
    clinic.call("POST", "/v1/webhooks/get-patient/pause")
    (waiting,) = clinic.trigger("get-patient")
    views = {
        "overview": ("Overview", ".overview-foot table"),
        "invocations": ("Invocations", "tbody tr"),
        f"invocations/{waiting}": ("get-patient", "dd"),
        "replays": ("Replays", "tbody tr"),
        f"replays/{job['replayId']}": ("Replay", "dd"),
        "webhooks": ("Webhooks", "tbody tr"),
    }
    for route, (heading, content) in views.items():
        console.go(route, heading)
        page.locator(f"main {content}").first.wait_for()
        page.route("**/v1/**", lambda route: route.fulfill(status=503, body='{"detail": "The store is away."}'))
        note.filter(has_text="The store is away. The page keeps trying.").first.wait_for()
        assert page.locator(f"main {content}").first.is_visible(), route
        page.unroute("**/v1/**")
        note.first.wait_for(state="detached")
    clinic.call("POST", f"/v1/replays/{job['replayId']}/cancel")
    clinic.call("POST", "/v1/webhooks/get-patient/resume")


def test_a_search_that_fails_shows_no_calls_of_the_search_before(console):
    page = console.page
    console.go("invocations", "Invocations")
    page.locator("tbody tr").first.wait_for()
    page.route("**/v1/**", lambda route: route.fulfill(status=503, body='{"detail": "The store is away."}'))
    page.get_by_text("Not up to date since").wait_for()
    page.get_by_label("State").select_option("Delivered")
    page.get_by_role("alert").get_by_text("The store is away. The page keeps trying.").wait_for()
    assert page.locator("tbody tr").count() == page.get_by_text("Not up to date since").count() == 0


def test_a_page_of_a_proxy_is_not_taken_for_an_answer_of_the_relay(console, clinic):
    page = console.page
    routes = {302: "invocations", 502: "replays", 404: f"invocations/{clinic.chain}", 401: "webhooks"}
    for status, route in routes.items():
        said = answer_as_proxy(page, "**/v1/**", status)
        page.evaluate("hash => { location.hash = hash }", f"#/{route}")
        page.get_by_role("alert").filter(has_text=said).first.wait_for()
    page.unroute("**/v1/**")
    page.locator("tbody tr").first.wait_for()


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


def test_a_key_stays_in_its_tab_and_every_request_at_the_relay(browser, clinic):
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
        assert session == {"webhook-relay-key": clinic.key}
        assert (local, cookie, databases, caches, workers) == ({}, "", [], [], 0)
        assert kept.count(secret) == 1
        assert page.context.cookies() == []
        assert not [url for url in console.asked if secret in url]
        assert {url.split("/")[2] for url in console.asked} == {clinic.url.split("/")[2]}
        assert not [text for text in console.said if secret in text]
        logs = [path for path in clinic.relay.data_dir.rglob("*") if path.suffix in {".log", ".env", ".conf"}]
        assert logs
        assert not [path.name for path in logs if secret in path.read_text(errors="replace")]
        page.reload()
        page.get_by_role("heading", level=1, name="Webhooks").wait_for()
        other = page.context.new_page()
        other.goto(f"{clinic.url}/console")
        other.get_by_role("button", name="Sign in").wait_for()
        page.get_by_role("button", name="Sign out").click()
        assert page.evaluate("sessionStorage.length") == 0
        page.reload()
        page.get_by_role("button", name="Sign in").wait_for()


def test_a_kept_key_that_was_revoked_is_forgotten(browser, clinic):
    key = clinic.relay.create_key(PLUGIN, ("operate",))
    with opened(browser, clinic.url) as console:
        console.signed_in(key)
        clinic.relay.cli("keys", "revoke", key.split("_")[1])
        console.page.reload()
        console.page.get_by_text("the relay no longer accepts the key").wait_for()
        assert console.page.evaluate("sessionStorage.length") == 0


VIEWS = {
    "overview": "Overview",
    "overview?range=15m": "Overview",
    "overview?range=6h": "Overview",
    "overview?range=24h": "Overview",
    "invocations": "Invocations",
    "invocations/{clinic.chain}": "book",
    "invocations/{clinic.reminders[0]}": "send-reminder",
    "replays": "Replays",
    "replays/new": "New replay",
    "replays/new?ref={clinic.reminders[0]}": "New replay",
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


def focused(page):
    return page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.closest('label')?.textContent")


def test_the_keyboard_alone_goes_through_menus_and_types_times(console):
    page = console.page
    console.go("invocations?until=2026-11-01T10:20:00Z", "Invocations")
    page.get_by_label("State").focus()
    for state in ("failed=true", "state=queued%2Csending"):
        old = page.get_by_label("State").element_handle()
        page.keyboard.press("ArrowDown")
        old.wait_for_element_state("hidden")  # it is out of the document
        assert (state in page.url, focused(page).startswith("State")) == (True, True)
    page.get_by_label("Created until").focus()
    page.keyboard.type("1225")
    assert "until=2026-11-01" in page.url, "whoever types 12 means no 1 of 1"
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"until=2026-12-2[456]T"))
    for route, heading in {"replays/new": "New replay", "invocations": "Invocations"}.items():
        console.go(route, heading)
        page.get_by_text("More filters").click()
        page.get_by_label("Created until").focus()
        page.keyboard.type("122520260530P")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.wait_for_url(re.compile(r"until=2026-12-2[456]T"))


def test_the_focus_stays_where_it_is_when_a_view_is_drawn_anew(console):
    page = console.page
    console.go("overview", "Overview")
    for link in (page.get_by_role("link", name=re.compile("^Replay… ")).first, page.locator(".tiles a").first):
        link.focus()
        name, old = focused(page), link.element_handle()
        old.wait_for_element_state("hidden")
        assert (page.evaluate("document.activeElement.tagName"), focused(page)) == ("A", name)


def test_a_question_ends_with_its_view(console):
    page = console.page
    console.go("replays", "Replays")
    console.go("webhooks", "Webhooks")
    page.get_by_role("button", name="Pause").first.click()
    page.get_by_role("dialog").wait_for()
    page.go_back()
    page.get_by_role("heading", level=1, name="Replays").wait_for()
    assert page.get_by_role("dialog").count() == 0


def test_what_happens_is_seen_within_seconds(console, clinic):
    console.go("invocations", "Invocations")
    began_s = time.monotonic()
    (ref,) = clinic.trigger("get-patient")
    console.page.get_by_role("link", name=f"Invocation {ref}").wait_for()
    assert time.monotonic() - began_s < 40


@pytest.mark.parametrize("width", [375, 768, 1280])
def test_the_plugin_is_named_at_every_width(browser, clinic, width):
    with opened(browser, clinic.url, width=width) as console:
        console.signed_in(clinic.key)
        console.page.locator(".who").get_by_text(PLUGIN, exact=True).wait_for()


def test_a_call_shows_names_and_sizes_of_its_request_and_says_why_no_more(console, clinic):
    console.go(f"invocations/{clinic.reminders[3]}", "send-reminder")
    row = console.page.get_by_role("table", name="Names and sizes of the request").get_by_role("row")
    row.filter(has_text="/data/patient").get_by_text("1 B").wait_for()
    assert console.page.get_by_text("values may be health data").is_visible()


def test_a_slash_finds_in_every_view(console, clinic):
    page = console.page
    for route, heading in VIEWS.items():
        console.go("replays", "Replays")  # the field is in none of these, and the next address another one
        console.go(route.format(clinic=clinic), heading)
        page.keyboard.press("/")
        page.locator(".look-up input:focus").wait_for()
        assert page.evaluate("document.activeElement.value") == ""
        page.keyboard.type("a/b")
        assert page.evaluate("document.activeElement.value") == "a/b", "within a field it is a character"
    page.evaluate("location.hash = '#/webhooks'")
    page.get_by_role("heading", level=1, name="Webhooks").wait_for()
    console.settled()
    page.keyboard.press("/")
    page.keyboard.type("fax")
    page.locator("tbody tr").nth(1).wait_for(state="detached")
    assert page.locator("tbody tr").get_attribute("data-webhook") == "fax-letter"
    assert "find=fax" in page.url


def test_an_unknown_parameter_of_an_address_is_named(console, clinic):
    for route, heading in VIEWS.items():
        address = route.format(clinic=clinic)
        console.go(f"{address}{'&' if '?' in address else '?'}wehbook=fax-letter", heading)
        console.page.get_by_text("does not know “wehbook”").wait_for()
    console.go("overview?webhook=fax-letter&range=6h", "Overview")
    assert console.page.get_by_text("does not know").count() == 0


def test_webhooks_are_sorted_by_what_is_clicked_and_the_address_keeps_it(console):
    page = console.page
    console.go("webhooks", "Webhooks")
    ids = lambda: [row.get_attribute("data-webhook") for row in page.locator("tbody tr").all()]  # noqa: E731
    page.locator("tbody tr").first.wait_for()
    page.get_by_role("button", name="Webhook", exact=True).click()
    page.locator("th[aria-sort=ascending]").get_by_text("Webhook").wait_for()
    assert ids() == sorted(ids())
    page.keyboard.press("Enter")  # the button has kept the focus
    page.locator("th[aria-sort=descending]").get_by_text("Webhook").wait_for()
    assert ids() == sorted(ids(), reverse=True)
    assert "sort=-id" in page.url
    page.reload()
    page.locator("th[aria-sort=descending]").get_by_text("Webhook").wait_for()
    page.get_by_label("24 h").check(force=True)
    page.locator("tbody tr").first.wait_for()
    assert "window=24h" in page.url
    assert ids() == sorted(ids(), reverse=True)


def test_an_id_that_is_cut_is_copied_whole(browser, large):
    with opened(browser, large.url, width=768) as console:
        page = console.signed_in(large.key).page
        page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=large.url)
        console.go("webhooks", "Webhooks")
        cell = page.locator(f"tr[data-webhook={large.ids[0]}] .id")
        assert cell.get_attribute("title") == large.ids[0]
        assert cell.locator(".id-head").evaluate("e => e.scrollWidth > e.clientWidth"), "it is cut here"
        cell.evaluate("e => getSelection().selectAllChildren(e)")
        page.keyboard.press("Control+C")
        assert page.evaluate("navigator.clipboard.readText()") == large.ids[0]
        page.evaluate("getSelection().removeAllRanges()")
        page.get_by_role("button", name=f"Copy {large.ids[2]}").click()
        page.get_by_text("Copied.").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == large.ids[2]


@pytest.mark.parametrize("width", [375, 1280])
def test_the_list_of_replays_says_at_every_width_what_and_by_whom(browser, large, width):
    with opened(browser, large.url, width=width) as console:
        page = console.signed_in(large.key).page
        console.go("replays", "Replays")
        row = page.locator("tbody tr").filter(has_text="what failed")
        row.locator("code:visible").get_by_text(large.key.split("_")[1]).wait_for()
        row.get_by_role("link").click()
        assert page.url.endswith(f"#/replays/{large.job}")


WEBHOOKS = 300
CARD_WIDTHS = (320, 375, 768, 900, 1024, 1280, 1600)  # from 860 on, the navigation is beside the content


class Large:
    """A plugin with many webhooks whose ids are as long as can be, of which some fail."""

    def __init__(self, relay: RunningRelay, endpoint) -> None:
        self.url, plugin = relay.base_url, "clinics-of-the-whole-country-and-of-all-its-islands-in-the-north"
        self.ids = [
            f"send-appointment-reminder-{number:03d}-by-text-message-to-patient-".ljust(64, "x")
            for number in range(WEBHOOKS)
        ]
        hooks = [
            {
                "id": each,
                "url": f"{endpoint.base_url}/{'status/503' if number % 3 == 0 else 'echo'}",
                "method": "POST",
                "idempotent": True,
            }
            for number, each in enumerate(self.ids)
        ]
        relay.apply(plugin, hooks)
        self.key = relay.create_key(plugin, ("operate", "trigger"))
        self.headers = {"Authorization": f"Bearer {self.key}"}
        refs = [
            self.post(f"/v1/webhooks/{each}/trigger", {"data": {"x" * 64: {"y" * 64: [1]}}}) for each in self.ids[:6]
        ]
        self.ref = refs[0]["referenceId"]
        self.job = self.post("/v1/replays", {"filter": {"webhookId": self.ids[0]}})["replayId"]

    def post(self, path, body):
        answer = requests.post(self.url + path, headers=self.headers, json=body, timeout=60)
        assert answer.status_code < 300, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def large(running_relay, endpoint):
    return Large(running_relay, endpoint)


def large_views(large):
    return {
        f"overview?webhook={large.ids[0]}": "Overview",
        "overview": "Overview",
        f"invocations?webhookId={large.ids[0]}&outcome=answered&failed=true": "Invocations",
        f"invocations/{large.ref}": large.ids[0],
        "replays": "Replays",
        f"replays/{large.job}": "Replay",
        f"replays/new?webhookId={large.ids[0]}&until=2030-01-01T00:00:00Z": "New replay",
        "webhooks?nothing-of-this-name": "Webhooks",
        "webhooks?window=24h": "Webhooks",
    }


def as_wide_as_can_be(route):
    """Answer with a relay's webhooks, each in a state whose row takes most room."""
    answer = route.fetch()
    traffic = answer.json()
    for row, breaker in zip(traffic["webhooks"], itertools.cycle(["half-open", "open"])):
        row["breaker"] = {"state": breaker, "failuresInRow": 20, "openUntil": None}
        counts = {"accepted": 250_000, "final": {"unreachable": 250_000}, "errors": 249_000}
        row.update(counts, paused=True, hidden=True, parked=250_000, inFlight=4_000, lastErrorAt="2026-01-30T22:22:22Z")
        row["recent"] = dict.fromkeys(row["recent"], counts)
    route.fulfill(response=answer, json=traffic)


@pytest.mark.parametrize("width", CARD_WIDTHS)
@pytest.mark.parametrize("window", ["5m", "24h"])
def test_no_state_of_a_webhook_makes_its_row_leave_the_card(browser, large, window, width):
    with opened(browser, large.url, width=width) as console:
        console.page.route("**/v1/traffic", as_wide_as_can_be)
        console.signed_in(large.key)
        console.go(f"webhooks?window={window}", "Webhooks")
        console.page.locator("tbody tr").nth(WEBHOOKS - 1).wait_for()
        assert (console.leaves(), console.spills(), console.overflow_px()) == ([], [], 0)


def all_unreachable(route):
    """Answer with a relay's invocations, each in the state with the longest name."""
    answer = route.fetch()
    page = answer.json()
    for row in page["invocations"]:
        row["state"] = "unreachable"
    route.fulfill(response=answer, json=page)


@pytest.mark.parametrize("width", CARD_WIDTHS)
@pytest.mark.parametrize("days", [0, 3])
def test_nothing_leaves_its_card_with_the_longest_ids_and_many_webhooks(browser, large, width, days):
    with opened(browser, large.url, width=width) as console:
        if days:  # times of another day are longer
            console.page.clock.set_fixed_time(datetime.now(tz=UTC) + timedelta(days=days))
        console.page.route("**/v1/invocations?*", all_unreachable)
        console.signed_in(large.key)
        wrong = {}
        for route, heading in large_views(large).items():
            console.go(route, heading)
            console.page.wait_for_load_state("networkidle")
            wrong[route] = (console.leaves(), console.spills(), console.overflow_px())
        assert {route: found for route, found in wrong.items() if found != ([], [], 0)} == {}
        console.go("webhooks", "Webhooks")
        console.page.locator("tbody tr").nth(WEBHOOKS - 1).wait_for()
        assert console.faults() == []
        assert console.said == []


EMPTY = {
    "overview": "relay webhooks apply FILE --plugin empty",
    "invocations": "relay trigger WEBHOOK --plugin empty",
    "replays": "nothing is sent before you start it",
    "webhooks": "relay webhooks apply FILE --plugin empty",
}


@pytest.mark.parametrize("width", CARD_WIDTHS)
def test_an_empty_relay_says_what_to_do_first(browser, running_relay, width):
    key = running_relay.create_key("empty", ("operate",))
    with opened(browser, running_relay.base_url, width=width) as console:
        console.signed_in(key)
        for route, said in EMPTY.items():
            console.go(route, route.capitalize())
            console.page.get_by_text(said).first.wait_for()
            assert (console.leaves(), console.spills(), console.overflow_px()) == ([], [], 0), route
        assert console.faults() == []
        assert console.said == []
