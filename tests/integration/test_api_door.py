import re
import socket
import time

import pytest
import requests

from relay.domain.reference_id import new_reference_id
from tests.integration.test_api_triggers import problem
from tests.timing import wait_until

JSON = {"Content-Type": "application/json"}


def head(api, *lines, method="POST", path="/v1/webhooks/order/trigger"):
    fixed = [f"{method} {path} HTTP/1.1", "Host: relay", f"Authorization: Bearer {api.key}"]
    return "\r\n".join([*fixed, *lines, "", ""]).encode()


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer whk_nothing",
        "Basic {key}",
        "Bearer {key}x",
        "Bearer {key} {key}",
        "Bearer {key}, Bearer {key}",
        "{key}",
    ],
)
def test_every_fault_of_a_key_is_the_same_401(api, authorization):
    headers = {} if authorization is None else {"Authorization": authorization.format(key=api.key)}
    answers = [
        requests.post(f"{api.url}/v1/webhooks/{name}/trigger", json={}, headers=headers, timeout=5)
        for name in ("order", "nothing")
    ]
    for answer in answers:
        problem(answer, 401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answers[0].content == answers[1].content


def test_a_key_in_the_address_is_no_key(api):
    answer = requests.post(f"{api.url}/v1/webhooks/order/trigger?key={api.key}", json={}, timeout=5)
    problem(answer, 401, "unauthenticated")


def test_the_scheme_of_the_key_is_case_insensitive(api):
    answer = api.trigger(prefer="respond-async", headers={"Authorization": f"bEARER {api.key}"})
    assert answer.status_code == 202


def test_a_key_without_the_scope_is_forbidden(api):
    document = problem(api.trigger(key=api.operator_key), 403, "forbidden")
    assert document["detail"] == (
        "This key lacks the scope trigger: create one that has it with `relay keys create --scope trigger --plugin acme`."
    )
    key, _ = api.runtime.api_keys.create("acme", ["metrics"])
    document = problem(api.call("GET", f"/v1/invocations/{new_reference_id('acme')}", key=key), 403, "forbidden")
    assert document["detail"] == (
        "This key lacks the scope operate or trigger: "
        "create one that has it with `relay keys create --scope trigger --plugin acme`."
    )


def test_a_revoked_key_is_no_key_within_a_second(api):
    key, row = api.runtime.api_keys.create("acme", ["trigger"])
    assert api.trigger(key=key, prefer="respond-async").status_code == 202
    api.runtime.api_keys.revoke(row.id)
    time.sleep(1.1)
    problem(api.trigger(key=key), 401, "unauthenticated")


@pytest.mark.parametrize(
    "content_type",
    [None, "text/plain", "application/x-ndjson", "application/json; charset=latin-1", "application/jsonx"],
)
def test_another_media_type_is_refused(api, content_type):
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = api.call("POST", "/v1/webhooks/order/trigger", data=b"{}", headers=headers)
    problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"'])
def test_json_may_say_that_it_is_utf8(api, content_type):
    headers = {"Content-Type": content_type, "Prefer": "respond-async"}
    assert api.call("POST", "/v1/webhooks/order/trigger", data=b"{}", headers=headers).status_code == 202


def test_an_encoded_body_is_refused(api):
    headers = {**JSON, "Content-Encoding": "gzip"}
    problem(api.call("POST", "/v1/webhooks/order/trigger", data=b"{}", headers=headers), 415, "unsupported_media_type")


@pytest.mark.parametrize("body", [b" ", b"{", b"\xef\xbb\xbf{}", b'{"data":1e999}', b'{"data":"\\ud800"}'])
def test_a_body_that_is_not_strict_json_is_malformed(api, body):
    problem(api.call("POST", "/v1/webhooks/order/trigger", data=body, headers=JSON), 400, "malformed_json")


def test_a_body_over_the_cap_is_refused_by_its_length_without_being_read(api):
    answer = api.raw(head(api, "Content-Type: application/json", "Content-Length: 1048577"))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"too_large"' in answer


def test_a_body_of_just_the_cap_is_taken(api):
    body = b'{"data":"' + b"x" * (1024 * 1024 - 11) + b'"}'
    answer = api.call("POST", "/v1/webhooks/order/trigger", data=body, headers={**JSON, "Prefer": "respond-async"})
    assert (len(body), answer.status_code) == (1024 * 1024, 202)


def test_a_chunked_body_is_read(api):
    pieces = iter([b'{"data":', b'{"a":1}', b"}"])
    answer = api.call("POST", "/v1/webhooks/order/trigger", data=pieces, headers={**JSON, "Prefer": "respond-async"})
    assert answer.status_code == 202
    record = api.store.get("acme", answer.json()["referenceId"])
    assert record.request_bytes == len('{"data":{"a":1},"headers":{},"queryParams":{}}')


def test_a_chunked_body_over_the_cap_is_refused(api):
    request = head(api, "Content-Type: application/json", "Transfer-Encoding: chunked")
    chunks = b"20000\r\n" + b"x" * 0x20000 + b"\r\n" + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 17
    answer = api.raw(request + chunks + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 2", "Content-Length: 3"),
        ("Content-Length: two",),
        ("Content-Length: -2",),
        ("Content-Length: 0x2",),
        ("Content-Length: 2", "X-A: b\x00c"),
        ("Transfer-Encoding: gzip",),
    ],
)
def test_framing_that_is_not_clear_is_refused(api, lines):
    answer = api.raw(head(api, "Content-Type: application/json", *lines) + b"{}")
    assert answer.split(b" ")[1] in {b"400", b"415"}
    assert not re.search(rb'"code":"(?!bad_parameter|unsupported_media_type)', answer)


@pytest.mark.parametrize(("body", "status"), [(b"", b"400"), (b"2\r\n{}\r\n", b"202")])
def test_a_body_that_is_framed_twice_is_read_one_way_and_is_the_connection_s_last(api, body, status):
    """Granian ignores a Content-Length beside chunks: it reads the chunks and closes the connection (RFC 9112, 6.1)."""
    lines = ["Content-Type: application/json", "Content-Length: 60", "Transfer-Encoding: chunked"]
    smuggled = b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n"
    with socket.create_connection(("127.0.0.1", api.port), timeout=5) as connection:
        connection.sendall(head(api, "Prefer: respond-async", *lines) + body + smuggled)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))  # to its end
    assert answer.split(b" ")[1] == status
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer.lower()


def test_a_transfer_coding_beside_chunked_is_refused(api):
    request = head(api, "Content-Type: application/json", "Transfer-Encoding: gzip, chunked") + b"2\r\n{}\r\n0\r\n\r\n"
    assert api.raw(request).startswith(b"HTTP/1.1 415 ")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("GET", "/v1/webhooks/order/trigger", 405, "method_not_allowed"),
        ("DELETE", "/v1/invocations/x", 405, "method_not_allowed"),
        ("PUT", "/healthz", 405, "method_not_allowed"),
        ("BREW", "/healthz", 405, "method_not_allowed"),
        ("GET", "/v1/webhooks/a%2Fb/trigger", 404, "not_found"),
        ("GET", "/%ff%00", 404, "not_found"),
    ],
)
def test_what_the_framework_would_answer_is_a_problem_too(api, method, path, status, code):
    answer = api.call(method, path)
    problem(answer, status, code)
    assert ("Allow" in answer.headers) == (status == 405)
    if status == 405:
        assert ("POST" if "trigger" in path else "GET") in answer.headers["Allow"]


def test_malformed_requests_of_a_plugin_are_counted(api):
    before = api.store.counts("acme")
    api.call("POST", "/v1/webhooks/order/trigger", data=b"{", headers=JSON)
    api.call("POST", "/v1/webhooks/order/trigger", data=b"{}", headers={"Content-Type": "text/plain"})
    api.call("POST", "/v1/triggers", data=b"x" * (1024 * 1024 + 1), headers=JSON)
    after = api.store.counts("acme")
    for code in ("malformed_json", "unsupported_media_type", "too_large"):
        assert after[code] == before.get(code, 0) + 1


def test_a_browser_is_told_that_it_may_read_answers_and_problems(api):
    origin = {"Origin": "https://app.example.com"}
    for answer in (
        api.trigger(prefer="respond-async", headers=origin),
        api.trigger("nothing", headers=origin),
        requests.post(f"{api.url}/v1/webhooks/order/trigger", json={}, headers=origin, timeout=5),
    ):
        assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
        assert "Origin" in answer.headers["Vary"]
        exposed = {name.strip().lower() for name in answer.headers["Access-Control-Expose-Headers"].split(",")}
        assert exposed == {"location", "retry-after", "preference-applied"}
        assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin", ["https://evil.example.com", "null", "https://app.example.com.evil.com", "https://other.example.com", "*"]
)
def test_a_key_may_not_be_used_from_an_origin_that_is_not_its_own(api, origin):
    answer = api.trigger(headers={"Origin": origin})
    shown = origin if origin.startswith("https:") else "ORIGIN"
    assert problem(answer, 403, "forbidden")["detail"].endswith(
        f"create one for it with `relay keys create --origin {shown} --scope trigger --plugin acme`."
    )
    allowed = answer.headers.get("Access-Control-Allow-Origin")
    assert allowed == (origin if origin == "https://other.example.com" else None)  # another key's


@pytest.mark.parametrize(
    ("path", "origin", "allowed"),
    [
        ("/v1/webhooks/order/trigger", "https://app.example.com", True),
        ("/v1/triggers", "https://other.example.com", True),
        ("/v1/invocations/x", "https://app.example.com", True),
        ("/v1/triggers", "https://evil.example.com", False),
    ],
)
def test_a_preflight_is_answered_for_any_origin_that_some_key_allows(api, path, origin, allowed):
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    answer = requests.options(api.url + path, headers=asked, timeout=5)
    assert answer.status_code in {200, 204}
    assert answer.headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)
    assert "Access-Control-Allow-Credentials" not in answer.headers
    names = answer.headers.get("Access-Control-Allow-Headers", "")
    assert set(names.split(", ")) >= (
        {"authorization", "content-type", "prefer", "idempotency-key", "traceparent"} if allowed else set()
    )
    assert ("POST" in answer.headers.get("Access-Control-Allow-Methods", "")) == allowed


def test_the_log_has_nothing_of_what_was_sent(api, api_log):
    secret = "SECRET-CANARY-77"
    api.trigger(body={"data": secret}, prefer="respond-async", headers={"Idempotency-Key": secret})
    api.call("GET", f"/v1/{secret}?q={secret}", headers={"X-Any": secret})
    wait_until(lambda: '"event":"calls_accepted"' in api_log.read_text(), 10)
    text = api_log.read_text()
    assert '"event":"request"' in text
    assert secret not in text
    assert api.key not in text


@pytest.mark.parametrize("headers", [{}, JSON, {"Content-Type": "text/plain"}])
@pytest.mark.parametrize("body", [None, b""])
def test_a_trigger_without_a_body_is_an_empty_trigger(api, headers, body):
    answer = api.call("POST", "/v1/webhooks/order/trigger", data=body, headers={**headers, "Prefer": "respond-async"})
    assert answer.status_code == 202
    record = api.store.get("acme", answer.json()["referenceId"])
    assert record.request_bytes == len('{"data":null,"headers":{},"queryParams":{}}')


def test_a_trigger_without_a_length_is_an_empty_trigger(api):
    answer = api.raw(head(api, "Prefer: respond-async", "Connection: close"))
    assert answer.startswith(b"HTTP/1.1 202 ")
