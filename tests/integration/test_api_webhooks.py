"""What a plugin may learn about the webhooks that it may trigger: how to call them, never their target."""

import requests

from tests.integration.test_api_triggers import problem

DETAILED = """{id: "detailed", url: "https://secret-host.example.com/secret/path?fixed=secret-value", method: "PUT",
 headers: {"X-Api-Key": "secret-header-value", "X-Locale": null}, queryParams: ["lang", "page"],
 description: "Sends what it is given.", dataSchema: {"type": "object", "required": ["a"]}}
{id: "blob", url: "https://hook.example.com/b", payload_encoding: "base64"}"""


def test_a_plugin_s_webhooks_are_listed_with_what_a_caller_may_fill(api):
    api.register("acme", DETAILED)
    answer = api.call("GET", "/v1/webhooks")
    assert answer.status_code == 200
    assert list(answer.json()) == ["webhooks"]
    found = {webhook["id"]: webhook for webhook in answer.json()["webhooks"]}
    assert list(found) == sorted(found)
    assert {"order", "read", "detailed", "blob"} <= set(found)
    assert not {"inner", "theirs"} & set(found)
    assert found["detailed"] == {
        "id": "detailed",
        "description": "Sends what it is given.",
        "dataSchema": {"type": "object", "required": ["a"]},
        "headers": ["X-Locale"],
        "queryParams": ["lang", "page"],
        "payloadEncoding": None,
    }
    assert found["blob"]["payloadEncoding"] == "base64"
    assert "secret" not in answer.text
    assert answer.headers["Cache-Control"] == "no-store"


def test_their_types_are_the_module_s_types_and_their_own(api):
    api.register("acme", DETAILED)
    answer, module = api.call("GET", "/v1/webhooks.d.ts"), requests.get(f"{api.url}/webhooks.d.ts", timeout=5)
    for each in (answer, module):
        assert (each.status_code, each.headers["Content-Type"]) == (200, "application/typescript; charset=utf-8")
    assert answer.text.startswith(module.text)
    own = answer.text.removeprefix(module.text)
    assert all(text in own for text in ("    detailed: {", '"X-Locale"?: string;', "page?: string | number | boolean;"))
    assert not [text for text in ("inner", "theirs", "secret", "X-Api-Key") if text in own]
    assert answer.headers["Cache-Control"] == "no-store"
    assert module.headers["Access-Control-Allow-Origin"] == "*"


def test_the_module_says_where_its_types_are(api):
    answer = requests.get(f"{api.url}/webhooks.js", timeout=5)
    assert answer.headers["X-TypeScript-Types"] == "webhooks.d.ts"
    assert answer.text.startswith('// @ts-self-types="./webhooks.d.ts"\n')


def test_one_of_them_is_the_same(api):
    listed = {webhook["id"]: webhook for webhook in api.call("GET", "/v1/webhooks").json()["webhooks"]}
    for webhook_id, webhook in listed.items():
        answer = api.call("GET", f"/v1/webhooks/{webhook_id}")
        assert (answer.status_code, answer.json()) == (200, webhook)


def test_unknown_hidden_foreign_and_malformed_ids_answer_identically(api):
    answers = [
        api.call("GET", f"/v1/webhooks/{webhook_id}")
        for webhook_id in ("nothing", "inner", "theirs", "Not-An-Id", "a" * 200)
    ]
    for answer in answers:
        problem(answer, 404, "webhook_not_registered")
    assert len({answer.content for answer in answers}) == 1


def test_a_change_is_seen_at_once(api):
    api.register("acme", '{id: "moving", url: "https://hook.example.com/m", method: "POST", description: "before"}')
    assert api.call("GET", "/v1/webhooks/moving").json()["description"] == "before"
    api.register("acme", '{id: "moving", url: "https://hook.example.com/m", method: "POST", description: "after"}')
    assert api.call("GET", "/v1/webhooks/moving").json()["description"] == "after"


def test_the_scope_trigger_is_needed(api):
    for path in ("/v1/webhooks", "/v1/webhooks.d.ts", "/v1/webhooks/order"):
        problem(api.call("GET", path, key=api.operator_key), 403, "forbidden")


def test_the_python_client_shows_them(api):
    from relay.client import Relay
    from relay.errors import WebhookNotRegistered

    with Relay(api.url, api.key) as relay:
        assert {webhook["id"] for webhook in relay.webhooks.available()} >= {"order", "read"}
        assert relay.webhooks.describe("order")["headers"] == ["X-Locale"]
        try:
            relay.webhooks.describe("inner")
        except WebhookNotRegistered:
            return
        raise AssertionError("a hidden webhook was described")
