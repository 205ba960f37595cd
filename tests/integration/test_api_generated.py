"""Generated requests to a running API, from its own document and from random data, for cases nobody has thought of.

Runs are short and reproducible. No request gets a 5xx or hangs, and every refusal is a problem document with a code.
"""

from __future__ import annotations

import json
import select
import socket
import threading
from contextlib import closing, contextmanager
from http.client import HTTPResponse
from urllib.parse import quote

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.reference.document import make_document
from tests.depth import examples
from tests.integration.api_harness import own_api

#: For each operation and mode of generation.
EXAMPLES = 8
ANSWERED_WITHIN_S = 30
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
BRIEFLY = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
OPERATIONS = [
    (method.upper(), path, mode)
    for path, item in make_document()["paths"].items()
    for method, operation in item.items()
    if method in {"get", "post", "head", "put", "delete", "patch"}
    for mode in GenerationMode
    # an operation without parameters and body has no negative cases
    if mode is GenerationMode.POSITIVE or any(operation.get(part) for part in ("parameters", "requestBody", "security"))
]


@pytest.fixture(scope="module")
def api():
    with own_api(RELAY_AUTH_FAILURES="1000000", RELAY_DEFAULT_WAIT="0") as harness:
        harness.both, _ = harness.runtime.api_keys.create("acme", ["trigger", "operate", "metrics"])
        with a_live_worker(harness):
            yield harness


@contextmanager
def a_live_worker(harness):
    """A worker with a heartbeat that does nothing, so that `/readyz` is ready."""
    over = threading.Event()

    def beat():
        while not over.wait(1):
            harness.beat("w1", "interactive", "bulk", "replay")

    harness.beat("w1", "interactive", "bulk", "replay")
    beating = threading.Thread(target=beat)
    beating.start()
    yield
    over.set()
    beating.join()


@pytest.fixture(scope="module")
def schema(api):
    """The document as this process serves it."""
    return schemathesis.openapi.from_url(f"{api.url}/openapi.json", timeout=10)


@pytest.mark.parametrize(("method", "path", "mode"), OPERATIONS)
def test_the_api_answers_as_its_document_says(api, schema, method, path, mode):
    """Positive cases fit the document, negative ones do not; every answer has to fit it."""
    operation = schema[path][method]

    @settings(BRIEFLY, max_examples=examples(EXAMPLES))
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case):
        case.headers.pop("Authorization", None)
        _never_waits(case)
        answer = case.call(base_url=api.url, headers={"Authorization": f"Bearer {api.both}"}, timeout=ANSWERED_WITHIN_S)
        case.validate_response(answer, checks=CHECKS)
        assert_a_refusal_has_a_code(answer)

    ask()


def _never_waits(case):
    """Make the request not wait: without a working worker it would wait as long as it asks for."""
    case.headers["Prefer"] = "respond-async" if case.method == "POST" else "wait=0"


def assert_a_refusal_has_a_code(answer):
    """Check an answer of `requests` or schemathesis, which has several values for a header."""
    assert answer.status_code < 500, answer.text
    kind = answer.headers.get("content-type", "")
    kind = kind if isinstance(kind, str) else kind[0]
    if answer.status_code == 400 and not kind:
        assert answer.content == b""  # Granian's own answer: invalid HTTP does not reach the application
    elif answer.status_code >= 400 and answer.request.method != "HEAD":
        assert kind.startswith("application/problem+json")
        assert answer.json()["code"]


# -- without the document -----------------------------------------------------------------------------------------------

NAMES = st.text(
    st.characters(codec="ascii", exclude_categories=["C"], exclude_characters=' ":()<>@,;\\/[]?={}'),
    min_size=1,
    max_size=30,
)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200).map(str.strip)
#: Headers that frame a request's body or manage the connection; the harness sets these itself.
FRAMING = {"host", "content-length", "transfer-encoding", "connection", "expect", "upgrade"}
HEADERS = st.dictionaries(NAMES.filter(lambda name: name.lower() not in FRAMING), VALUES, max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=12), inner, max_size=5),
    max_leaves=25,
)
TRIGGERS = st.fixed_dictionaries(
    {}, optional={"data": JSON, "headers": JSON, "queryParams": JSON, "delay": JSON, "x": JSON}
)
BODIES = st.one_of(
    st.binary(max_size=400),
    JSON.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
    TRIGGERS.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
    st.lists(TRIGGERS, max_size=4).map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
)
TYPES = st.sampled_from(
    ["application/json", "application/x-ndjson", "text/plain", "application/json; charset=utf-16", ""]
)
QUERIES = st.dictionaries(st.text(max_size=12), st.text(max_size=30), max_size=4)
ROUTES = st.sampled_from(sorted({path.replace("{", "").replace("}", "") for _, path, _ in OPERATIONS}))
SEGMENTS = st.text(max_size=30).map(lambda text: quote(text, safe=""))


@settings(BRIEFLY, max_examples=examples(75))
@given(body=BODIES, content_type=TYPES, headers=HEADERS, bulk=st.booleans())
def test_any_body_and_any_header_of_a_trigger_is_accepted_or_refused_with_a_code(
    api, body, content_type, headers, bulk
):
    path = "/v1/triggers" if bulk else "/v1/webhooks/order/trigger"
    ours = {"Content-Type": content_type, "Prefer": "respond-async", "Authorization": f"Bearer {api.both}"}
    answer = requests.post(api.url + path, data=body, headers={**headers, **ours}, timeout=ANSWERED_WITHIN_S)
    assert_a_refusal_has_a_code(answer)


@settings(BRIEFLY, max_examples=examples(75))
@given(method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"]),
       route=ROUTES, extra=SEGMENTS, query=QUERIES, headers=HEADERS)  # fmt: skip
def test_any_path_query_and_header_is_answered_or_refused_with_a_code(api, method, route, extra, query, headers):
    path = route.replace("webhookId", extra or "order").replace("referenceId", extra or "x").replace("replayId", extra)
    ours = {"Authorization": f"Bearer {api.both}", "Prefer": "wait=0"}
    url = api.url + path
    answer = requests.request(method, url, params=query, headers={**headers, **ours}, timeout=ANSWERED_WITHIN_S)
    assert_a_refusal_has_a_code(answer)


@settings(BRIEFLY, max_examples=examples(50))
@given(key=VALUES | st.text(max_size=60).map(lambda text: f"Bearer {text}"), route=ROUTES)
def test_any_credentials_but_a_key_are_refused_with_the_same_words(api, key, route):
    value = key.encode("utf-8", "replace").replace(b"\r", b"").replace(b"\n", b"")
    answer = requests.get(
        api.url + "/v1/webhooks", headers={"Authorization": value.strip() or b"x"}, timeout=ANSWERED_WITHIN_S
    )
    assert answer.status_code in {400, 401}  # 400: bytes that are invalid in a header
    if answer.status_code == 401:
        assert answer.json()["code"] == "unauthenticated"


@pytest.mark.parametrize("scope", ["none", "operate", "both"])
def test_an_answer_says_that_its_connection_ends_wherever_the_body_was_not_waited_for(api, scope):
    """For each operation: otherwise a client that keeps connections loses its next request when its body is late."""
    key = {"none": "no-key", "operate": api.operator_key, "both": api.both}[scope]
    for method, path in sorted({(method, path) for method, path, _ in OPERATIONS}):
        head = (
            f"{method} {path.format(webhookId='order', referenceId='x', replayId='x')} HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {key}\r\nPrefer: respond-async\r\nContent-Type: application/json\r\n"
            "Content-Length: 2\r\n\r\n"
        ).encode()
        assert says_it_ends(api, method, [head, b"{}"]) == says_it_ends(api, method, [head + b"{}"]), (method, path)


def says_it_ends(api, method, pieces):
    """Return whether the answer announces the connection's end; if not, check that it answers another request."""
    with closing(socket.create_connection(("127.0.0.1", api.port), ANSWERED_WITHIN_S)) as connection:
        for piece in pieces:
            if not select.select([connection], [], [], 0)[0]:
                connection.sendall(piece)
                select.select([connection], [], [], 0.3)
        ends = answered(connection, method)
        if not ends:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            answered(connection, "GET")
        return ends


def answered(connection, method):
    """Read an answer; return whether it announces the connection's end."""
    answer = HTTPResponse(connection, method=method)
    answer.begin()
    answer.read()
    return answer.will_close


@settings(BRIEFLY, max_examples=examples(50))
@given(raw=st.binary(max_size=300), framed=st.booleans())
def test_any_bytes_at_all_leave_the_door_open_for_others(api, raw, framed):
    """Invalid HTTP deserves no more; with ``framed`` the bytes are the body of a valid request."""
    head = f"POST /v1/triggers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.both}\r\nContent-Type: application/json\r\n"
    sent = f"{head}Content-Length: {len(raw)}\r\nConnection: close\r\n\r\n".encode() + raw if framed else raw
    with closing(socket.create_connection(("127.0.0.1", api.port))) as connection:
        connection.settimeout(ANSWERED_WITHIN_S)
        connection.sendall(sent)
        if not framed:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while piece := connection.recv(65_536):
                answer += piece
        except ConnectionError:
            pass
    if framed:
        assert answer.startswith(b"HTTP/1.1 "), answer
    assert not answer.startswith(b"HTTP/1.1 5"), answer
    assert requests.get(f"{api.url}/healthz", timeout=ANSWERED_WITHIN_S).ok
