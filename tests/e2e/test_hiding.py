"""Planted secrets never leak: not to the caller of an echoing endpoint, nor into files, logs, Flower or metrics."""

from __future__ import annotations

import base64
import contextlib
import html
import json
import re
import time
import uuid
from urllib.parse import quote

import pytest
import redis
import requests
from dotenv import dotenv_values

from tests.e2e.encodings import encodings, shows
from tests.e2e.harness import NAMED_HOST
from tests.receivers import echo, hangs_up, json_answer, raw_answer
from tests.timing import ANSWER_S, wait_until

PLUGIN = "hiding"
PATH = "/vault-of-the-vendor/orders"
SECRETS = {
    "bearer": "Bearer sk-live-5f0c1d2e3a4b/+=~",
    "token": "sk-live-5f0c1d2e3a4b/+=~",
    "password": "hunter2-but-longer",
    "fixed query": "tenant-acme-0001",
}
BASIC = "Basic " + base64.b64encode(b"relay-user:hunter2-but-longer").decode()
PAYLOADS = {
    "data": "PATIENT-CANARY Grace/Hopper & 1906",
    "key": "DIAGNOSIS-CANARY-NAME",
    "header": "HEADER-CANARY-0451",
    "query": "QUERY-CANARY/0451 &x",
    "idempotency key": "IDEMPOTENCY-CANARY-77",
    "subject": "SUBJECT-CANARY-Hopper/1906 & Grace",
    "refused data": "REFUSED-CANARY-DATA-13",
    "path": "PATH-CANARY-OF-A-CALLER",
    "answer": "ANSWER-CANARY-OF-THE-ENDPOINT",
}
SECRET_HEADERS = {"Authorization": SECRETS["bearer"], "X-Basic": BASIC}


def every_way(text: str) -> dict[str, str]:
    """Return a text in all encodings in which an endpoint may reveal it by accident."""
    raw = text.encode()
    return {
        "raw": text,
        "upper": text.upper(),
        "within": f"<{text}>",
        "hex": raw.hex(),
        "HEX": raw.hex().upper(),
        "percent": quote(text, safe=""),
        "percent lower": quote(text, safe="").lower(),
        "html": html.escape(text),
        "decimal html": "".join(f"&#{ord(char)};" for char in text),
        "json in text": json.dumps({"was": text}).replace("/", "\\/"),
        **{
            f"base64 {shift} {name}": encode(b"x" * shift + raw).decode()
            for shift in range(3)
            for name, encode in (("std", base64.b64encode), ("url", base64.urlsafe_b64encode))
        },
    }


def tell_all(connection, request):
    """Answer with every header, the endpoint's URL and address, in every encoding, as values and as names."""
    host = request.header("host")
    scheme = "https" if hasattr(connection.sock, "version") else "http"
    url = f"{scheme}://{host}{request.target}"
    told = {"url": url, "host": host, "name": host.partition(":")[0], "path": PATH}
    told |= {f"header {name.lower()}": value for name, value in request.headers if name.lower() != "webhook-id"}
    told |= {f"token {name.lower()}": value.partition(" ")[2] for name, value in request.headers if " " in value}
    told["decoded"] = base64.b64decode(request.header("x-basic").partition(" ")[2]).decode()
    document = {name: every_way(text) for name, text in told.items()} | dict.fromkeys(told.values(), 1)
    if "as=text" in request.target:
        answered = ("text/html", "\n".join(text for ways in document.values() if ways != 1 for text in ways.values()))
    else:
        answered = ("application/json", json.dumps(document | {"said": PAYLOADS["answer"]}))
    headers = (("Content-Type", answered[0]), ("Location", url), ("X-Echo", host), ("Set-Cookie", f"id={host}"))
    connection.send(raw_answer(200, answered[1].encode(), *headers))


def in_bytes(connection, request):
    said = b"\xff\xd8\xff\0" + request.header("authorization").encode() + b"\0\xff"
    connection.send(raw_answer(200, said, ("Content-Type", "image/jpeg")))


@pytest.fixture(scope="module")
def plugin(harness):
    both = (("named", harness.named), ("plain", harness.site))
    webhooks = [
        {
            "id": f"{kind}-{name}",
            "url": f"{site.page(PATH if kind == 'tell' else PATH + '/echo', script)}?tenant={SECRETS['fixed query']}",
            "method": "POST",
            "headers": {**SECRET_HEADERS, "X-Note": None},
            "queryParams": ["q", "as"],
        }
        for name, site in both
        for kind, script in (("tell", tell_all), ("echo", echo))
    ]
    more = {
        "bytes": {"url": harness.site.page(PATH + "/bytes", in_bytes)},
        "lost": {"url": harness.named.page(PATH + "/lost", hangs_up())},
        "closed": {"url": harness.closed},
        "strict": {
            "url": harness.site.page(PATH + "/strict", json_answer(1)),
            "dataSchema": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}},
        },
        "shown": {"url": harness.site.page("/a-path-that-is-shown", echo), "revealUrl": True},
    }
    webhooks += [{"id": name, "method": "POST", "headers": SECRET_HEADERS, **each} for name, each in more.items()]
    return harness.plugin(PLUGIN, webhooks)


def addresses(harness) -> dict[str, str]:
    return {
        "named authority": f"{NAMED_HOST}:{harness.named.served.port}",
        "named host": NAMED_HOST,
        "plain authority": f"127.0.0.1:{harness.site.served.port}",
        "closed authority": harness.closed.removeprefix("http://").partition("/")[0],
        "path": PATH,
    }


def planted(harness) -> dict[str, str]:
    return {**SECRETS, "basic": BASIC.partition(" ")[2], **PAYLOADS, **addresses(harness)}


TRIGGER = {
    "data": {PAYLOADS["key"]: PAYLOADS["data"]},
    "headers": {"X-Note": PAYLOADS["header"]},
    "queryParams": {"q": PAYLOADS["query"]},
    "subject": PAYLOADS["subject"],
}


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("webhook_id", ["tell-named", "tell-plain", "echo-named", "echo-plain"])
def test_an_endpoint_that_echoes_everything_tells_the_caller_neither_secret_nor_address(
    harness, plugin, webhook_id, form
):
    given = {**TRIGGER, "queryParams": {"q": "1", "as": form}}
    answered = plugin.trigger(webhook_id, given)
    assert answered.status_code == 200, answered.text
    body = answered.json()
    site = harness.named if webhook_id.endswith("named") else harness.site
    (received,) = site.received(body["referenceId"])
    assert received.header("Authorization") == SECRETS["bearer"]  # the endpoint got all secrets, and revealed them all
    assert shows(received.head + received.body, {"subject": PAYLOADS["subject"]}) == []
    hidden = {**SECRETS, "basic": BASIC.partition(" ")[2], **addresses(harness), "127.0.0.1": "127.0.0.1"}

    assert (body["status"], body["error"]) == (200, False)
    assert "[redacted]" in answered.text
    shown = json.dumps(body["data"]).encode() + json.dumps(body["data"], ensure_ascii=False).encode()
    assert shows(shown, hidden) == []
    assert str(site.served.port).encode() not in shown
    assert shows(str(answered.headers).encode(), hidden) == []
    record = plugin.record(body["referenceId"])
    assert record["result"]["data"] == body["data"]
    if webhook_id.startswith("echo"):
        assert PAYLOADS["header"] in answered.text  # the caller's own data stays


def test_the_search_of_these_tests_finds_what_an_endpoint_told(harness, plugin):
    """Otherwise finding nothing would prove nothing."""
    told = []

    class Wire:
        sock = None

        def send(self, raw):
            told.append(raw)

    reference_id = plugin.trigger("tell-plain", TRIGGER).json()["referenceId"]
    tell_all(Wire(), harness.site.received(reference_id)[0])
    found = set(shows(told[0], {**SECRETS, "path": PATH}))
    expected = {"raw", "percent", "hex", "base64 at 0", "base64 at 1", "base64 at 2", "base64url at 1"}
    for name in ("bearer", "token", "path"):
        assert {f"{name} ({way})" for way in expected} <= found
    for way, form in encodings(SECRETS["bearer"]).items():
        assert shows(b"x" + form + b"y", {"bearer": SECRETS["bearer"]}), way


def test_a_secret_in_a_bytes_answer_rejects_the_answer(plugin):
    body = plugin.trigger("bytes", {}).json()
    assert (body["status"], body["error"], body["data"]["code"]) == (0, True, "answer_rejected")


def test_a_webhook_that_reveals_its_url_still_hides_its_secrets(harness, plugin):
    body = plugin.trigger("shown", {}).json()
    assert f"{harness.site.origin}/a-path-that-is-shown" in body["data"]["url"]
    assert shows(json.dumps(body).encode(), SECRETS) == []


def flower_auth(harness) -> tuple[str, ...]:
    written = dotenv_values(harness.relay.data_dir / "relay.env")["RELAY_FLOWER_AUTH"]
    return tuple(written.split(":", 1))


def tasks_seen_by_flower(harness) -> dict:
    url = f"{harness.relay.flower_url}/api/tasks?limit=1000"
    return requests.get(url, auth=flower_auth(harness), timeout=20).json()


def names_seen_by_flower(harness) -> set[str]:
    return {each["name"] for each in tasks_seen_by_flower(harness).values()}


@pytest.fixture(scope="module")
def used(harness, plugin):
    """The harness after all planted texts have passed through it in every way, while Flower watched."""
    wait_until(
        lambda: plugin.trigger("shown", {}) and "hiding/shown" in names_seen_by_flower(harness),
        otherwise="Flower saw no call",
        every_s=0.2,
    )
    headers = {"Idempotency-Key": PAYLOADS["idempotency key"], "X-Unknown": PAYLOADS["header"]}
    for webhook_id in ("tell-named", "tell-plain", "echo-named", "bytes", "lost", "closed"):
        given = TRIGGER if webhook_id[:4] in {"tell", "echo"} else {"data": TRIGGER["data"]}
        plugin.trigger(webhook_id, given, headers=headers)
        plugin.trigger(webhook_id, given, prefer="respond-async")
    plugin.by_cli("echo-plain", TRIGGER["data"], TRIGGER["headers"], TRIGGER["queryParams"])
    items = [
        {"webhookId": "echo-plain", "idempotencyKey": f"{PAYLOADS['idempotency key']}-{n}", **TRIGGER}
        for n in range(300)
    ]
    accepted = plugin.call("POST", "/v1/triggers", json=items).json()
    refused = PAYLOADS["refused data"]
    assert plugin.trigger("strict", {"data": {"n": refused}}).status_code == 422
    assert plugin.trigger("strict", {"data": {"n": 1}, "headers": {refused: refused}}).status_code == 422
    assert plugin.trigger("no-such", {"data": refused}).status_code == 404
    assert plugin.trigger(PAYLOADS["path"], {"data": refused}).status_code == 404
    json_type = {"Content-Type": "application/json"}
    for path in (f"/v1/{PAYLOADS['path']}?{PAYLOADS['path']}=1", f"/v1/webhooks/strict/trigger?q={PAYLOADS['path']}"):
        broken = f'{{"data":"{refused}'.encode()
        assert plugin.call("POST", path, data=broken, headers=json_type).status_code in {400, 404}
    plugin.call("POST", "/v1/triggers", data=f'[{{"{refused}":1}},{refused}]', headers=json_type)
    assert plugin.call("GET", "/healthz", key=PAYLOADS["path"]).status_code == 200
    assert plugin.trigger("strict", key=f"whk_{refused}").status_code == 401
    of_subject = {"subject": PAYLOADS["subject"]}
    assert plugin.call("GET", "/v1/invocations", key=plugin.operator_key, params=of_subject).json()["invocations"]
    replay = {"filter": of_subject, "max": 1}
    assert plugin.call("POST", "/v1/replays", key=plugin.operator_key, json=replay).status_code == 202
    assert plugin.trigger("strict", {"data": {"n": 1}, "subject": of_subject}).status_code == 422
    for entry in accepted["results"]:
        assert plugin.record(entry["referenceId"], wait_s=20)["state"] == "delivered"
    time.sleep(1.2)  # until delayed writes are done
    return harness, plugin, accepted["results"][0]["referenceId"]


def test_nothing_planted_is_in_the_append_only_file(used):
    harness, plugin, reference_id = used
    files = [path for path in (harness.relay.data_dir / "valkey").rglob("*") if path.is_file()]
    content = b"\n".join(path.read_bytes() for path in files)
    assert reference_id.encode() in content  # shows that this is the right place to look
    keys = {"api key": plugin.key, "operator key": plugin.operator_key}
    assert shows(content, {**planted(harness), **keys}) == []


def test_nothing_planted_is_in_the_server_s_memory(used):
    harness, plugin, reference_id = used
    with redis.Redis.from_url(
        (harness.relay.data_dir / "admin.url").read_text().strip(), socket_timeout=ANSWER_S
    ) as client:
        read = {b"string": client.get, b"hash": client.hgetall, b"set": client.smembers, b"stream": client.xrange}
        read[b"list"] = lambda key: client.lrange(key, 0, -1)
        read[b"zset"] = lambda key: client.zrange(key, 0, -1)
        values = {}
        for key in client.scan_iter(count=1000):
            with contextlib.suppress(redis.ResponseError):  # the key was replaced or deleted meanwhile
                values[key] = read[client.type(key)](key) if client.exists(key) else None
    content = b"\n".join(_flat(values))
    assert reference_id.encode() in content
    assert shows(content, {**planted(harness), "api key": plugin.key}) == []


def _flat(value):
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        for pair in value.items():
            yield from _flat(pair)
    elif isinstance(value, list | tuple | set):
        for each in value:
            yield from _flat(each)


def test_nothing_planted_is_in_the_logs(used):
    harness, plugin, reference_id = used
    files = [*(harness.relay.data_dir / "logs").iterdir(), harness.relay.data_dir.parent / "d.out"]
    content = b"\n".join(path.read_bytes() for path in files)
    assert reference_id.encode() in content
    assert len(files) > 4
    keys = {"api key": plugin.key, "operator key": plugin.operator_key}
    assert shows(content, {**planted(harness), **keys}) == []


def test_nothing_planted_is_shown_by_flower_or_its_metrics(used):
    harness, plugin, _ = used
    with requests.Session() as flower:
        flower.auth = flower_auth(harness)

        def page(path: str) -> bytes:
            answered = flower.get(harness.relay.flower_url + path, timeout=20)
            assert answered.status_code == 200, path
            return answered.content

        tasks = tasks_seen_by_flower(harness)
        workers = json.loads(page("/api/workers?refresh=true"))
        names = {each["name"] for each in tasks.values()}  # of all plugins
        assert {uuid.UUID(ref).version for ref in tasks} == {7}  # those of reference ids
        assert all(re.fullmatch(r"[a-z0-9_-]+/[a-z0-9_-]+", name) for name in names)
        assert "hiding" in {name.partition("/")[0] for name in names}
        assert len(tasks) > 10
        assert len(workers) == 2
        paths = ["/", "/workers", "/tasks", "/broker", "/api/queues/length", "/metrics"]
        paths += [f"/worker/{name}" for name in workers] + [f"/task/{task}" for task in list(tasks)[:50]]
        paths += [f"/api/task/info/{task}" for task in list(tasks)[:50]]
        content = json.dumps([tasks, workers]).encode() + b"".join(page(path) for path in paths)
    assert b"relay.run" in content  # a worker's page names its task
    keys = {"api key": plugin.key, "operator key": plugin.operator_key}
    assert shows(content, {**planted(harness), **keys}) == []
