"""The demo's callers: the webhooks that they call are registered, and they call until they are stopped."""

from __future__ import annotations

import errno
import itertools
import json
import random
import shlex
import time
import urllib.error
import urllib.request
from collections import Counter
from contextlib import closing
from http.client import HTTPConnection
from http.server import ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from relay import echo
from relay.cli import main
from relay.client import Relay
from relay.egress import AddressPolicy
from relay.registration.document import read_registrations
from relay.registration.endpoint import EndpointRules
from relay.up import demo, demo_traffic
from relay.up.datadir import DataDir
from tests.unit.fake_relay import KEY, FakeRelay, Reply, Webhook

RULES = EndpointRules(AddressPolicy(allow=["127.0.0.1:9900"]))


def registered():
    text = demo_traffic.DOCUMENT.replace("HOST", "127.0.0.1").replace("PORT", "9900")
    return read_registrations(text, RULES, plugin="demo")[1]


def test_its_webhooks_can_be_registered_and_are_what_it_calls():
    assert {each.shape.webhook_id for each in registered()} == set(demo_traffic.WEIGHTS)


def test_it_calls_every_one_of_them():
    made = list(itertools.islice(demo_traffic.calls(random.Random(1)), 1_000))
    assert {name for name, _, _ in made} == set(demo_traffic.WEIGHTS)
    assert {name for name, data, _ in made if data is not None} == {
        name for name in demo_traffic.WEIGHTS if name not in {"get-patient", "fetch-lab-report"}
    }
    assert {name for name, _, query in made if query is not None} == {"get-patient"}


def test_it_goes_on_calling_whatever_comes_back(monkeypatch):
    monkeypatch.setattr(demo_traffic, "RATE", 200.0)
    webhooks = {name: Webhook(data={}) for name in demo_traffic.WEIGHTS if name != "get-patient"}
    with FakeRelay(**webhooks) as fake, Relay(fake.base_url, KEY) as relay:
        monkeypatch.setattr(demo_traffic, "_PAUSE_S", 0.01)
        demo_traffic.run(relay, random.Random(1), lambda: len(fake.seen) >= 40)
        called = {seen.path.split("/")[3] for seen in fake.seen if seen.path.endswith("/trigger")}
    assert {"get-patient", "create-invoice", "send-reminder"} <= called


@pytest.mark.parametrize("ends", [False, True])
def test_it_waits_for_about_half_of_the_results_and_for_no_more_than_sixteen_at_once(monkeypatch, ends):
    pauses, waited = [], []

    class Waiting:
        """Stands in for a thread that waits for a result, which comes at once or never."""

        def __init__(self, target, args, daemon):
            assert daemon, "nothing may keep the process from ending"
            self._wait = lambda: target(*args)

        def start(self):
            waited.append(self)
            if ends:
                self._wait()

    monkeypatch.setattr(demo_traffic, "time", SimpleNamespace(sleep=pauses.append))
    monkeypatch.setattr(demo_traffic, "Thread", Waiting)
    webhooks = {name: Webhook(at_request=2) for name in demo_traffic.WEIGHTS if name != "create-invoice"}
    asked = iter(range(201))
    with FakeRelay(**webhooks) as fake, Relay(fake.base_url, KEY) as relay:
        demo_traffic.run(relay, random.Random(1), lambda: next(asked) == 200)
        triggers = [seen for seen in fake.seen if seen.path.endswith("/trigger")]
    preferred = [seen.headers["prefer"].partition("=")[0] for seen in triggers]
    assert Counter(preferred) == {"respond-async": 200 - len(waited), **({"wait": len(waited)} if ends else {})}
    assert (60 < len(waited) < 140) if ends else len(waited) == 16
    refused = sum("create-invoice" in seen.path and seen.headers["prefer"] == "respond-async" for seen in triggers)
    assert len(pauses) == 200 + refused, "it makes a pause when it is refused"
    assert (max(pauses), pauses.count(2.0) >= refused > 0) == (2.0, True)
    assert 0.15 < (sum(pauses) - 2 * refused) / 200 < 0.35, "it makes four calls a second"
    assert {tuple(seen.json.get("queryParams") or ()) for seen in triggers if "get-patient" in seen.path} == {("id",)}


@pytest.fixture(scope="module")
def endpoint():
    with ThreadingHTTPServer(("127.0.0.1", 0), echo._Echo) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_an_answer_waits_for_no_acknowledgement(endpoint):
    with closing(HTTPConnection(endpoint.removeprefix("http://"), timeout=30)) as connection:
        took_s = []
        for _ in range(60):  # the kernel acknowledges the first ones at once, and others after 40 ms
            began_s = time.monotonic()
            connection.request("POST", "/", body=b"{}")
            connection.getresponse().read()
            took_s.append(time.monotonic() - began_s)
    assert min(took_s[-20:]) < 0.03


def status(url):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=b'{"n": 1}', method="POST"), timeout=20) as answer:
            assert json.load(answer)["body"] == {"n": 1}
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_the_sample_endpoint_misbehaves_where_it_is_asked_to(endpoint):
    assert [status(f"{endpoint}/{path}") for path in ("echo", "status/418", "slow/1", "unsteady/0/503")] == [
        200,
        418,
        200,
        200,
    ]
    assert status(f"{endpoint}/unsteady/100/503") == 503
    assert status(f"{endpoint}/status/9999") == 200
    with pytest.raises(OSError, match="closed"):
        status(f"{endpoint}/hang-up")


@pytest.mark.parametrize("traffic", [False, True])
def test_the_demo_registers_its_webhooks_triggers_one_and_says_how_to_repeat_that(cli, tmp_path, traffic):
    directory = DataDir.make(tmp_path / "a folder")
    answer = {"referenceId": "r1", "status": 200, "data": {"body": {"hello": "world"}}, "error": False}
    record = {"referenceId": "r1", "state": "delivered", "result": None}
    with FakeRelay() as fake:
        fake.faults += [Reply(200, answer), Reply(200, record)]  # answers, whatever key it is given
        cli.keys.update(RELAY_API_URL=fake.base_url, RELAY_EGRESS_ALLOW="127.0.0.1:9900")
        found = demo.run_demo(cli.runtime().settings, directory, 9900, traffic=traffic)
    key = directory.read_secret("demo.key")
    path = f"{fake.base_url}/v1/webhooks/demo-echo/trigger"
    header = f"Authorization: Bearer $(cat '{directory.path}/demo.key')"
    triggered, looked_up = fake.seen
    assert (triggered.json, looked_up.path) == (
        {"data": {"hello": "world"}, "headers": {"X-Note": "sent by the demo"}, "queryParams": {"page": 1}},
        "/v1/invocations/r1",
    )
    assert {each.headers["authorization"] for each in fake.seen} == {f"Bearer {key}"}
    curl = shlex.split(found.pop("curl"))
    assert [json.loads(curl.pop())] == [triggered.json]
    assert curl == ["curl", path, "-H", header, "-H", "Content-Type: application/json", "-d"]
    assert found == {"answer": answer, "record": record, "key": key}
    known = cli.json("webhooks", "list", "--plugin", "demo")
    assert {row["id"] for row in known} == {"demo-echo", *(demo_traffic.WEIGHTS if traffic else ())}
    assert cli.json("webhooks", "show", "demo-echo", "--plugin", "demo")["url"] == "http://127.0.0.1:9900/echo"


def test_the_demo_s_key_is_kept_while_it_is_good_and_made_anew_once_it_is_not(cli, tmp_path):
    runtime, directory = cli.runtime(), DataDir.make(tmp_path / "d")
    text = demo._key(runtime, directory)
    assert (directory.path / "demo.key").read_text() == f"{text}\n"
    assert demo._key(runtime, directory) == text
    (key,) = runtime.api_keys.list()
    assert (key.plugin, set(key.scopes)) == ("demo", {"trigger", "operate"})
    runtime.api_keys.revoke(key.id)
    other = demo._key(cli.runtime(), directory)
    assert other != text
    assert directory.read_secret("demo.key") == other
    assert cli.runtime().api_keys.authenticate(other).plugin == "demo"


def test_a_key_of_the_demo_that_cannot_be_written_down_does_not_stay(cli, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    directory = DataDir.make(tmp_path / "d")
    monkeypatch.setattr(DataDir, "write", full)
    with pytest.raises(OSError, match="full"):
        demo._key(cli.runtime(), directory)
    assert [key.revoked for key in cli.runtime().api_keys.list()] == [True]


def test_traffic_without_the_demo_says_what_to_give(tmp_path):
    done = CliRunner().invoke(main, ["--data-dir", str(tmp_path / "d"), "up", "--traffic"])
    assert done.exit_code == 2
    assert "give --demo as well" in done.output
    assert not (tmp_path / "d").exists()
