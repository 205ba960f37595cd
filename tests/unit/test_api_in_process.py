"""What the API answers when something unforeseen happens, and while the store is away: its application, in this process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import falcon
import pytest
from falcon.testing import TestClient, create_environ

from api.app import create_app
from api.awaiting import Waiters
from api.door import ApiRequest
from api.health import ReadyResource
from api.hosts import Hosts
from api.invocations import InvocationResource, OutlineResource
from api.request_audit import ActCounts
from api.request_log import RequestLog
from api.stopping import on_stop
from relay.audit.entry import Act
from relay.authentication.source_address import SourceAddresses
from relay.declarations.typescript import MODULE_TYPES
from relay.domain.invocation import Invocation, State, StepOf
from relay.errors import Conflict, MisdirectedRequest, NotFound, Unavailable, VaultError
from relay.queue import LANES
from relay.request.outline import MAX_OUTLINED_BYTES
from relay.settings import Settings
from relay.store.health.workers import LiveWorker
from relay.store.keys import keyspace
from relay.store.partitions.reachable import Silence
from relay.wiring.runtime import api_runtime
from tests.conftest import start_valkey
from tests.integration.api_harness import environ_for
from tests.timing import START_S
from tests.unit.cli import a_webhook

REF = "0197a000-0000-7000-8000-000000000001"
JSON = {"Content-Type": "application/json"}
OWN, OTHER = "https://app.example.com", "https://other.example.com"


class Api:
    """The application on a server, and a key."""

    def __init__(self, url, **more):
        settings = Settings.from_environ(environ_for(url, **more))
        self.runtime = api_runtime(settings)
        self.waiters = Waiters(SimpleNamespace(process="api"), self.runtime.store, 8)
        addresses = SourceAddresses(settings.trusted_proxies)
        self.counts = ActCounts(self.runtime.audit_writer)
        self.app = create_app(settings, self.runtime, self.waiters, self.counts, RequestLog(addresses))
        self._client = TestClient(self.app)
        keys = self.runtime.api_keys
        self.key, _ = keys.create("acme", ["trigger"], [OWN])
        keys.create("other", ["trigger"], [OTHER])

    def call(self, path, method="GET", *, key=None, body=None, extras=None, **headers):
        headers = {"Authorization": f"Bearer {key or self.key}", **{n.replace("_", "-"): v for n, v in headers.items()}}
        return self._client.simulate_request(method, path, headers=headers, body=body, extras=extras)

    def add(self, route, error):
        """Add a route that answers with an error about an invocation."""

        def on_get(_self, req, _resp):
            req.context.reference_id = REF
            raise error

        self.app.add_route(route, type("Broken", (), {"on_get": on_get})())


@pytest.fixture
def api(valkey):
    made = Api(valkey.tcp_url)
    yield made
    made.runtime.close()


@pytest.fixture
def faults(monkeypatch):
    """The errors that were logged as faults of the relay."""
    found = []
    monkeypatch.setattr("api.app.fault", lambda error, _where: found.append(error))
    return found


@pytest.mark.parametrize("error", [ValueError("planted"), KeyError("planted"), RecursionError("planted")], ids=repr)
def test_an_unforeseen_error_is_told_with_the_id_of_its_invocation_and_its_words_are_only_logged(api, faults, error):
    api.add("/v1/broken", error)
    answer = api.call("/v1/broken")
    assert (answer.status_code, answer.json["code"], answer.json["referenceId"]) == (500, "internal", REF)
    assert "planted" not in answer.text
    assert faults == [error]


@pytest.mark.parametrize("error", [VaultError("planted"), NotFound(), Conflict(), Unavailable()], ids=repr)
def test_only_what_is_the_relay_s_own_fault_is_logged_as_one_and_names_its_invocation(api, faults, error):
    api.add("/v1/broken", error)
    answer = api.call("/v1/broken")
    is_own = isinstance(error, VaultError)
    assert answer.json["code"] == ("internal" if is_own else error.code)
    assert answer.json.get("referenceId") == (REF if is_own else None)
    assert faults == ([error] if is_own else [])


@pytest.mark.parametrize(("origin", "allowed"), [(None, None), (OWN, OWN), (OTHER, None)])
@pytest.mark.parametrize(
    ("content_type", "status"), [("application/json", 400), ("text/plain", 415)], ids=["malformed", "another type"]
)
def test_what_is_refused_while_the_store_is_away_is_refused_as_ever(
    tmp_path, monkeypatch, faults, origin, allowed, content_type, status
):
    server = start_valkey(tmp_path)
    api = Api(f"redis://127.0.0.1:{server.port}/0")
    monkeypatch.setattr("relay.store.api_keys.keys.KEY_AGE_S", 600.0)  # the key is still known, the origins are not
    assert api.call("/v1/webhooks").status_code == 200
    server.terminate()
    given = {} if origin is None else {"Origin": origin}
    answer = api.call("/v1/triggers", "POST", body=b"{", **{"Content-Type": content_type}, **given)
    if origin == OTHER:
        status = 403
    assert (answer.status_code, answer.headers.get("Access-Control-Allow-Origin")) == (status, allowed)
    assert [type(each) for each in faults] == ([] if status == 403 else [Unavailable])
    api.runtime.close()


@pytest.mark.parametrize(("prefer", "applied"), [({"Prefer": "wait=1"}, "wait=1"), ({}, None)])
def test_a_caller_may_ask_for_a_longer_wait_than_others_get(cli, valkey, prefer, applied):
    cli.apply(a_webhook())
    api = Api(valkey.tcp_url, **cli.environ | {"RELAY_DEFAULT_WAIT": "0"})
    answer = api.call("/v1/webhooks/ping/trigger", "POST", body=b"{}", **JSON, **prefer)
    assert (answer.status_code, answer.headers.get("Preference-Applied")) == (202, applied)
    api.runtime.close()


def test_a_repeat_for_which_there_is_no_room_to_wait_gets_no_end_that_a_failover_may_undo(valkey, cli, monkeypatch):
    cli.apply(a_webhook())
    api = Api(valkey.tcp_url, **cli.environ)

    def trigger(prefer):
        headers = {**JSON, "Prefer": prefer, "Idempotency-Key": "order-7"}
        return api.call("/v1/webhooks/ping/trigger", "POST", body=b"{}", **headers)

    def not_confirmed(*_):
        raise Unavailable

    assert trigger("respond-async").status_code == 202
    api.waiters.release()
    assert trigger("wait=9").status_code == 202
    monkeypatch.setattr(api.runtime.store, "get_confirmed", not_confirmed)
    assert trigger("wait=9").status_code == 503
    assert trigger("respond-async").status_code == 202
    api.runtime.close()


@pytest.mark.parametrize(
    "path", ["invocations", "replays", "stats", "groups", "lanes", "traffic", "webhooks", "nothing"]
)
def test_a_head_is_answered_as_a_get(api, path):
    key, _ = api.runtime.api_keys.create("acme", ["operate", "trigger"])
    for query in ("", "?limit=1", "?since=1h", "?limit=0", "?nothing=1", "?since=noon&webhookId=!"):
        answers = [api.call(f"/v1/{path}{query}", method, key=key) for method in ("GET", "HEAD")]
        found = [(answer.status_code, answer.headers["Content-Type"]) for answer in answers]
        assert found[0] == found[1], query
        assert found[0][0] in {200, 400, 404}


def test_a_preflight_may_have_a_query_and_is_good_for_ten_minutes(api):
    for query in ("", "?trace=1"):
        answer = api.call(f"/v1/webhooks/order/trigger{query}", "OPTIONS", Origin=OWN)
        assert (answer.status_code, answer.headers["Access-Control-Max-Age"]) == (200, "600")
        assert answer.headers["Access-Control-Allow-Methods"] == "GET, POST"
        names = {"authorization", "content-type", "idempotency-key", "prefer", "traceparent"}
        assert set(answer.headers["Access-Control-Allow-Headers"].split(", ")) == names
        assert "Access-Control-Expose-Headers" not in answer.headers


@pytest.mark.parametrize("key", [None, "none"])
def test_a_page_may_read_answers_and_problems_and_the_headers_that_it_needs(api, key):
    for origin in (OWN, "https://unknown.example.com", None):
        answer = api.call("/v1/webhooks", key=key, **({} if origin is None else {"Origin": origin}))
        found = {name.lower(): value for name, value in answer.headers.items() if name.lower().startswith("access")}
        exposed = {"Location", "Retry-After", "Preference-Applied"}
        if origin == OWN:
            assert set(found.pop("access-control-expose-headers").split(", ")) == exposed
        assert found == ({"access-control-allow-origin": OWN} if origin == OWN else {})
        assert answer.headers["Vary"] == "Origin"
    assert "Vary" not in api.call("/healthz", Origin=OWN).headers


@pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD")
@pytest.mark.parametrize(
    ("method", "allowed"), [("BREW", "GET, HEAD, POST, OPTIONS"), ("DELETE", "GET, HEAD, OPTIONS")]
)
def test_a_method_that_a_route_does_not_have_is_told_with_those_that_there_are(api, method, allowed):
    answer = api.call("/healthz", method)
    assert (answer.status_code, answer.json["code"]) == (405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) == set(allowed.split(", "))


@pytest.mark.parametrize("forwarded", [False, True])
def test_too_many_wrong_keys_of_one_address_hold_up_no_other_also_behind_a_proxy(valkey, forwarded):
    api = Api(valkey.tcp_url, RELAY_AUTH_FAILURES="3", RELAY_TRUSTED_PROXIES="10.0.0.0/8" if forwarded else "")

    def statuses(address, count):
        extras = {"REMOTE_ADDR": "10.1.1.1" if forwarded else address}
        more = {"X-Forwarded-For": address} if forwarded else {}
        return [api.call("/v1/webhooks", key="none", extras=extras, **more).status_code for _ in range(count)]

    assert statuses("192.0.2.1", 5) == [401] * 3 + [429] * 2
    assert statuses("192.0.2.2", 3) == [401] * 3
    api.runtime.close()


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer none", "Basic bm9uZTpub25l", "whk_none"])
def test_every_fault_of_a_key_counts_towards_what_an_address_may_try(valkey, authorization):
    api = Api(valkey.tcp_url, RELAY_AUTH_FAILURES="2")
    headers = {} if authorization is None else {"Authorization": authorization}
    answers = [api._client.simulate_get("/v1/webhooks", headers=headers) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 60
    assert api.call("/v1/webhooks").status_code == 200  # a good key is no guess
    api.runtime.close()


OUTLINED = Invocation(REF, "acme", "order", 1, State.QUEUED, "bulk", 0)
STEP = StepOf("0197a000-0000-7000-8000-000000000002", 0, 0)


@pytest.mark.parametrize("is_chain", [False, True])
@pytest.mark.parametrize(
    ("more", "missing"),
    [
        ({}, "not_kept"),
        ({"request_bytes": MAX_OUTLINED_BYTES}, "not_kept"),
        ({"request_bytes": MAX_OUTLINED_BYTES + 1}, "too_large"),
        ({"step_of": STEP}, "chain_step"),
        ({"step_of": STEP, "request_bytes": MAX_OUTLINED_BYTES + 1}, "chain_step"),
    ],
    ids=str,
)
def test_why_a_call_has_no_outline_is_said_of_chains_and_their_steps_too(more, missing, is_chain):
    resource = OutlineResource(SimpleNamespace(payload_of=lambda _: b""), None, None)
    found = resource._outline(replace(OUTLINED, is_chain=is_chain, **more))
    assert found == {"parts": [], "complete": False, "missing": missing}


@pytest.mark.parametrize(
    ("revision", "sealed"),
    [(NotFound(), b"{}"), (VaultError(), b"{}"), (SimpleNamespace(stamp="s"), VaultError())],
    ids=str,
)
def test_a_trigger_that_does_not_open_has_no_outline(revision, sealed):
    def give(found):
        if isinstance(found, Exception):
            raise found
        return found

    resource = OutlineResource(
        SimpleNamespace(payload_of=lambda _: b"sealed"),
        SimpleNamespace(revision=lambda *_: give(revision)),
        SimpleNamespace(open=lambda *_: give(sealed)),
    )
    assert resource._outline(OUTLINED) == {"parts": [], "complete": False, "missing": "unreadable"}


@pytest.mark.parametrize("prefer", [None, "wait=0", "respond-async"])
def test_a_record_that_nobody_waits_for_is_read_once(prefer):
    request = ApiRequest(create_environ(headers={} if prefer is None else {"Prefer": prefer}))
    request.context.key, answer = SimpleNamespace(plugin="acme", scopes=frozenset({"trigger"})), falcon.Response()
    store = SimpleNamespace(look_up=lambda *_: OUTLINED)
    registry = SimpleNamespace(revision=lambda *_: SimpleNamespace(shape=SimpleNamespace(hidden=False)))
    InvocationResource(store, registry, None, None).on_get(request, answer, REF)
    assert json.loads(answer.data)["state"] == "queued"
    assert answer.get_header("Preference-Applied") == ("wait=0" if prefer == "wait=0" else None)


@pytest.mark.parametrize("host", ["a.example.com,b.example.com", "a.example.com, a.example.com", ""])
def test_a_request_has_one_host(api, host):
    answer = api.call("/healthz", extras={"HTTP_HOST": host, "SERVER_PROTOCOL": "HTTP/1.1"})
    assert (answer.status_code, answer.json["code"]) == (400, "bad_parameter")
    assert answer.json["detail"] == "The request must have exactly one Host header."
    assert api.call("/healthz", extras={"HTTP_HOST": "", "SERVER_PROTOCOL": "HTTP/1.0"}).status_code == 200


@pytest.mark.parametrize("host", [":8000", ".", "[::1", "[x]", "relay.example.com.evil.com"])
@pytest.mark.parametrize(("public", "is_refused"), [((), False), (("relay.example.com",), True)])
def test_what_is_no_name_of_the_relay_is_refused_if_its_names_are_known(host, public, is_refused):
    hosts, request = Hosts(public, "http://localhost:8000"), ApiRequest(create_environ("/v1/webhooks"))
    request.env["HTTP_HOST"] = host
    assert not hosts.is_own(request, f"http://{host}")
    with pytest.raises(MisdirectedRequest) if is_refused else nullcontext():
        hosts.check(request)


@pytest.mark.parametrize(
    "host", ["console.example.com", "Relay.example.com:8443", "localhost:1", "127.0.0.1", "[::1]:8000"]
)
def test_the_names_of_the_settings_and_addresses_are_the_relay_s_own(host):
    hosts = Hosts(("relay.example.com",), "http://console.example.com:8000")
    request = ApiRequest(create_environ("/v1/webhooks"))
    request.env["HTTP_HOST"] = host
    assert hosts.is_own(request, f"https://{host}")
    assert not hosts.is_own(request, f"https://{host}9")


@pytest.mark.parametrize(
    ("path", "body", "key", "status", "closes"),
    [
        ("/v1/triggers", b"[]", None, 202, False),
        ("/v1/triggers", b"[]", "none", 401, True),
        ("/v1/triggers", b"", "none", 401, False),
        ("/v1/nothing", b"[]", None, 404, True),
        ("/healthz", b"[]", None, 405, True),
    ],
)
def test_an_answer_to_a_request_whose_body_was_not_read_closes_the_connection(api, path, body, key, status, closes):
    answer = api.call(path, "POST", key=key, body=body, **JSON)
    assert (answer.status_code, answer.headers.get("Connection")) == (status, "close" if closes else None)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("host", ["LOCALHOST:8000", "Localhost:8000", "localhost:8000"])
def test_the_relay_s_own_origin_is_the_host_in_any_case(api, host):
    for origin, status in (
        ("http://localhost:8000", 200),
        ("http://localhost:8001", 403),
        ("ftp://localhost:8000", 403),
    ):
        answer = api.call("/v1/webhooks", extras={"HTTP_HOST": host}, Origin=origin)
        assert answer.status_code == status, origin


def test_the_scope_that_a_new_key_should_have_is_one_that_is_asked_for(api):
    metrics, _ = api.runtime.api_keys.create("acme", ["metrics"])
    for path, scopes in (
        ("/v1/webhooks", {"trigger"}),
        ("/v1/stats", {"operate"}),
        (f"/v1/invocations/{REF}", {"trigger"}),
    ):
        said = api.call(path, key=metrics).json["detail"]
        assert {word for word in ("trigger", "operate", "metrics") if f"--scope {word} " in said} == scopes
    said = api.call(f"/v1/invocations/{REF}", Origin="https://new.example.com").json["detail"]
    assert "--origin https://new.example.com --scope trigger --plugin acme" in said


def test_readiness_needs_a_store_that_is_not_being_restored(api):
    api.runtime.workers.beat("w1", LANES)
    assert api.call("/readyz").status_code == 200
    api.runtime.client.hset(keyspace.shared("epoch"), "phase", "fenced")
    answer = api.call("/readyz")
    assert (answer.status_code, answer.json["code"]) == (503, "unavailable")


SILENCES = [Silence(), Silence((3,)), Silence((3, 7)), Silence(shared=True), Silence((3,), shared=True)]


@pytest.mark.parametrize("silence", SILENCES, ids=str)
@pytest.mark.parametrize("served", [None, (), ("bulk",), ("interactive",), ("interactive", "bulk", "replay")], ids=str)
@pytest.mark.parametrize("warned", [(), ("A server is full.",)], ids=str)
def test_readiness_says_what_it_knows_while_parts_of_the_store_are_silent(silence, served, warned):
    """``served`` is None if the shared keys fall silent only when the workers are asked for."""

    def alive():
        if served is None:
            raise Unavailable
        return [LiveWorker(f"w{number}", frozenset(served), 0) for number in range(2)] if served else []

    checked, answer = [], falcon.Response()
    request = ApiRequest(create_environ())
    ReadyResource(
        SimpleNamespace(silence=lambda: silence),
        SimpleNamespace(check=lambda: checked.append("functions")),
        SimpleNamespace(check=lambda: checked.append("epoch")),
        SimpleNamespace(alive=alive),
        SimpleNamespace(now=lambda: warned),
    ).on_get(request, answer)
    told, is_known = json.loads(answer.data), served is not None and not silence.shared
    assert checked == ["functions", *([] if silence.shared else ["epoch"])]
    counts = {lane: 2 * (lane in served) if is_known else None for lane in LANES}
    assert (told["lanes"], told["workers"]) == (counts, (2 if served else 0) if is_known else None)
    unserved = [
        f"No worker serves the lane {lane}: its calls are kept and wait." for lane in LANES if counts[lane] == 0
    ]
    assert told["warnings"] == [*([silence.sentence] if silence else []), *unserved, *warned]
    is_ready = not is_known or "interactive" in served
    assert (answer.status_code, request.context.code) == ((200, None) if is_ready else (503, "unavailable"))
    if not is_ready:
        assert told["detail"] == ("No worker serves the lane interactive." if served else "No worker is alive.")


@pytest.mark.parametrize("silent", ["partitions", "warnings"])
def test_an_api_that_reaches_no_server_is_not_ready(silent):
    def now():
        raise Unavailable("planted")

    known = SimpleNamespace(silence=Silence, now=tuple)
    parts = {"partitions": known, "warnings": known} | {silent: SimpleNamespace(silence=now, now=now)}
    resource = ReadyResource(functions=None, epochs=None, workers=None, **parts)
    with pytest.raises(Unavailable, match=r"^Redis cannot be reached\.$"):
        resource.on_get(ApiRequest(create_environ()), falcon.Response())


def test_from_a_stop_on_nobody_waits(api):
    assert api.waiters.expect("r", ("acme", "order")) is not None
    api.waiters.release()
    assert api.waiters.expect("r", ("acme", "order")) is None


def test_whoever_was_held_up_for_wrong_keys_is_counted_too(api):
    written = []
    counts = ActCounts(SimpleNamespace(write_all=lambda entries: written.extend(entries) or []))
    for status, code in (
        (401, "unauthenticated"),
        (429, "rate_limited"),
        (404, "not_found"),
        (421, "misdirected_request"),
    ):
        request = SimpleNamespace(context=SimpleNamespace(key=None, code=code))
        counts.add_request(request, status, Act.REQUEST)
    counts.stop()
    assert sorted((entry.act, entry.outcome, entry.count) for entry in written) == [
        (Act.AUTHENTICATE, "rate_limited", 1),
        (Act.AUTHENTICATE, "unauthenticated", 1),
    ]


CACHED, ANYWHERE = "public, max-age=300", {"Access-Control-Allow-Origin": "*"}
#: Routes of pages and files: what they are, how long they are kept, and whether any page may use them.
PUBLISHED = {
    "/webhooks.js": ("text/javascript; charset=utf-8", CACHED, ANYWHERE | {"X-TypeScript-Types": "webhooks.d.ts"}),
    "/webhooks.d.ts": ("application/typescript; charset=utf-8", CACHED, ANYWHERE),
    "/openapi.json": ("application/json", CACHED, ANYWHERE),
    "/docs": ("text/html; charset=utf-8", CACHED, ANYWHERE),
    "/docs/page.css": ("text/css; charset=utf-8", CACHED, ANYWHERE),
    "/docs/page.js": ("text/javascript; charset=utf-8", CACHED, ANYWHERE),
    "/console": ("text/html; charset=utf-8", "no-cache", {"Cross-Origin-Resource-Policy": "same-origin"}),
    "/console/mark.svg": ("image/svg+xml", "no-cache", {"X-Frame-Options": "DENY"}),
    "/console/vendor/uplot/uPlot.esm.js": ("text/javascript; charset=utf-8", "no-cache", {"X-Frame-Options": "DENY"}),
}


@pytest.mark.parametrize("path", PUBLISHED)
def test_what_is_published_says_what_it_is_and_how_long_it_may_be_kept(api, path):
    media_type, kept, headers = PUBLISHED[path]
    answer = api.call(path)
    assert (answer.status_code, answer.headers["Content-Type"], answer.headers["Cache-Control"]) == (
        200,
        media_type,
        kept,
    )
    assert headers.items() <= {name: answer.headers.get(name) for name in headers}.items()
    assert answer.headers.get("Access-Control-Allow-Origin") == headers.get("Access-Control-Allow-Origin")
    is_page = path == "/docs" or path.startswith("/console")
    assert ("frame-ancestors 'none'" in answer.headers.get("Content-Security-Policy", "")) is is_page
    tag, other = answer.headers["ETag"], '"0"'
    for tags in (f"W/{tag}", "*", f"{other}, {tag}", f"{tag},{other}", tag):
        again = api.call(path, If_None_Match=tags)
        assert (again.status_code, again.content) == (304, b"")
    assert api.call(path, If_None_Match=f"{other}, W/{other}").content == answer.content
    about = ("ETag", "Cache-Control", "Vary", "Content-Security-Policy", "Access-Control-Allow-Origin")
    assert [again.headers.get(name) for name in about] == [answer.headers.get(name) for name in about]


@pytest.mark.parametrize(
    ("accepted", "is_packed"),
    [
        *(("gzip", True), ("GZIP", True), ("Gzip;q=1", True), (" gzip ; q=0.001", True), ("br, gzip", True)),
        *(("deflate;q=0,gzip;q=0.5", True), ("gzip;q=0", False), ("GZip; Q=0", False), ("gzip;q=0.000", False)),
        *(("br", False), ("", False), ("identity", False), ("x-gzip", False), ("gzipx", False)),
    ],
)
def test_a_file_is_packed_for_those_who_take_gzip(api, accepted, is_packed):
    large, small = (api.call(path, Accept_Encoding=accepted) for path in ("/docs", "/webhooks.d.ts"))
    for answer, packed in ((large, is_packed), (small, is_packed and len(MODULE_TYPES.encode()) >= 1_400)):
        assert (answer.headers.get("Content-Encoding") == "gzip") is packed
        assert (answer.content[:2] == b"\x1f\x8b") is packed


def test_the_front_leads_to_the_page_of_the_api_below_any_path_and_is_not_kept(api):
    answer = api.call("/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "docs")
    assert answer.headers["Cache-Control"] == "no-store"


HANGING = """
import os, signal, sys, time
from api import stopping
stopping._LONGEST_S = 0.5
signal.signal(signal.SIGTERM, lambda *_: None)
stopping.on_stop(lambda: print("begun", flush=True), lambda: time.sleep(600))
if sys.argv[1] == "asked":
    os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.parametrize("how", ["asked", "unasked"])
def test_what_is_done_at_a_stop_holds_up_the_end_for_a_bounded_time(how):
    """The store may be silent, and a process may end without a signal."""
    command = [sys.executable, "-c", HANGING, how]
    done = subprocess.run(command, capture_output=True, timeout=START_S, check=True)
    assert done.stdout == b"begun\n"


def test_only_the_main_thread_watches_for_a_stop():
    done, begun = [], []

    def watch():
        before = set(threading.enumerate())
        on_stop(lambda: done.append("act"))
        begun.extend(set(threading.enumerate()) - before)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(watch).result()
    assert (begun, done) == ([], [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_asked_to_stop_does_each_act_once_in_order(number):
    done, last, others = [], threading.Event(), set(threading.enumerate())
    before = [(each, signal.signal(each, lambda *_: None)) for each in (number, signal.SIGUSR1)]
    descriptor = signal.set_wakeup_fd(-1)
    try:
        on_stop(lambda: done.append("first"), lambda: done.append("second"), last.set)
        (watch,) = set(threading.enumerate()) - others
        os.kill(os.getpid(), signal.SIGUSR1)
        watch.join(0.5)  # it ends with the acts
        assert done == []
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        assert last.wait(60)
    finally:
        signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
        for each, handler in before:
            signal.signal(each, handler)
    assert done == ["first", "second"]
