"""Flower's pages in a browser, beside a running relay: what operators find there. docs/flower.md shows its pictures.

``PICTURES=docs/images`` writes these pictures anew.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import requests

from tests.e2e.conftest import open_shop

PICTURES = os.environ.get("PICTURES")
LANES = ("interactive", "bulk", "replay")
#: A plugin that only this file uses, because Flower shows the calls of all files.
PLUGIN = "florist"


def auth_of(relay):
    lines = (relay.data_dir / "relay.env").read_text("utf-8").splitlines()
    found = next(line for line in lines if line.startswith("RELAY_FLOWER_AUTH="))
    user, _, password = found.partition("=")[2].strip("\"'").partition(":")
    return user, password


@pytest.fixture(scope="module")
def shop(running_relay, endpoint):
    return open_shop(running_relay, endpoint, PLUGIN)


@pytest.fixture(scope="module")
def story(shop):
    """Makes twelve calls of five webhooks, half of which fail; their answers by webhook."""
    answers = {}
    for webhook, count in {"refused": 1, "broken": 3, "missing": 2, "get-page": 2, "echo": 4}.items():
        for _ in range(count):
            answer = requests.post(
                f"{shop.base_url}/v1/webhooks/{webhook}/trigger",
                json={"data": {"patient": "Ada"}} if webhook == "echo" else {},
                headers={"Authorization": f"Bearer {shop.key}"},
                timeout=30,
            )
            assert answer.status_code == 200, answer.text
            answers[webhook] = answer.json()
    deadline = time.monotonic() + 30
    wanted = {answer["referenceId"] for answer in answers.values()}
    while not wanted <= set(
        requests.get(f"{shop.relay.flower_url}/api/tasks", auth=auth_of(shop.relay), timeout=10).json()
    ):
        assert time.monotonic() < deadline, "Flower does not show every call"
        time.sleep(0.3)
    return answers


@pytest.fixture(scope="module")
def flower(browser, shop, story, tmp_path_factory):
    user, password = auth_of(shop.relay)
    context = browser.new_context(
        base_url=shop.relay.flower_url,
        http_credentials={"username": user, "password": password},
        viewport={"width": 1180, "height": 560},
    )
    page = context.new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda message: page.faults.append(message.text) if message.type == "error" else None)
    page.pictures = Path(PICTURES) if PICTURES else tmp_path_factory.mktemp("pictures")
    yield page
    context.close()


def shown(flower, path, wait_for, picture, **how):
    """Go to a page and save its picture; return its text."""
    flower.goto(path)
    flower.get_by_text(wait_for, exact=how.get("exact", False)).first.wait_for(timeout=20_000)
    flower.wait_for_timeout(500)
    flower.screenshot(path=flower.pictures / f"flower-{picture}.png")
    return flower.inner_text("body")


def search(flower, text):
    """Search for tasks, in a list that shows all tasks of the plugin."""
    flower.goto("/tasks")
    field = flower.locator("input[type=search]").first
    field.fill(f"{PLUGIN}/")
    flower.get_by_text(f"{PLUGIN}/echo").first.wait_for(timeout=20_000)
    field.fill(text)
    flower.get_by_text(f"{PLUGIN}/echo").first.wait_for(state="detached", timeout=20_000)


def test_the_first_page_shows_every_worker_and_what_it_has_seen_fail(flower):
    text = shown(flower, "/", "interactive1@", "workers")
    assert "bulk1@" in text
    assert flower.faults == []  # of its scripts, or of its content security policy


def test_a_worker_s_page_shows_how_it_is_set_up_and_no_secret(flower):
    flower.goto("/")
    flower.get_by_role("link", name="interactive1@").first.click()
    flower.get_by_role("link", name="Pool", exact=True).or_(flower.get_by_role("tab", name="Pool")).first.wait_for(
        timeout=20_000
    )
    flower.screenshot(path=flower.pictures / "flower-worker.png")
    assert "gevent" in flower.inner_text("body").lower()


def test_the_tasks_are_the_invocations_with_their_states(flower):
    flower.goto("/tasks")
    flower.locator("input[type=search]").first.fill(f"{PLUGIN}/")
    flower.get_by_text(f"{PLUGIN}/refused").first.wait_for(timeout=20_000)
    wanted = {"FAILURE": 6, "SUCCESS": 6}
    text, until_s = "", time.monotonic() + 20
    while {state: text.count(state) for state in wanted} != wanted and time.monotonic() < until_s:
        flower.wait_for_timeout(500)
        text = flower.inner_text("body")
    flower.screenshot(path=flower.pictures / "flower-tasks.png")
    for name in ("echo", "broken", "missing", "get-page", "refused"):
        assert f"{PLUGIN}/{name}" in text.replace("\n", "")
    assert {state: text.count(state) for state in wanted} == wanted
    assert "relay.run" not in text
    assert "Ada" not in text
    assert "127.0.0.1" not in text


def test_searching_a_webhook_shows_its_calls_alone(flower):
    search(flower, f"{PLUGIN}/broken")
    flower.wait_for_timeout(500)
    flower.screenshot(path=flower.pictures / "flower-search.png")
    assert flower.locator("tbody tr").count() == 3


def test_a_reference_id_is_found_and_its_page_says_how_it_ended(flower, story):
    ref = story["broken"]["referenceId"]
    search(flower, ref)
    assert ref in flower.inner_text("tbody")
    text = shown(flower, f"/task/{ref}", "500 answered", "task")
    for part in (f"{PLUGIN}/broken", "FAILURE", "500 answered", "interactive"):
        assert part in text
    assert "127.0.0.1" not in text


def test_the_broker_page_has_every_lane(flower):
    text = shown(flower, "/broker", "interactive", "broker")
    for lane in LANES:
        assert lane in text
