import sys
from types import SimpleNamespace

import falcon
import pytest
from falcon.testing import create_environ

from api.door import ApiRequest, Door, end_span
from relay.domain.invocation import Attempt, Outcome, Sent, State
from relay.errors import SettingsError
from relay.settings import Settings
from relay.store.ledger.transitions import Settlement
from relay.telemetry.spans import Spans, end_of, make_spans

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def settings(**variables):
    return Settings.from_environ({"RELAY_REDIS_URL": "redis://127.0.0.1:1/0", **variables})


def test_without_a_collector_no_spans_are_made():
    spans = make_spans(settings(), "api")
    assert spans.door("00-a-b-01") is None
    assert spans.attempt("00-a-b-01", claimed_at_ms=1, waited_ms=1) is None
    assert type(spans) is Spans


def test_without_the_extra_a_collector_is_a_fault_of_the_settings(monkeypatch):
    monkeypatch.delitem(sys.modules, "relay.telemetry.otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SettingsError, match=r"webhook-relay\[otel\]"):
        make_spans(settings(RELAY_OTLP_ENDPOINT="http://127.0.0.1:4318"), "api")


@pytest.mark.parametrize(("error", "is_fault"), [(False, False), (True, True), (None, True)])
def test_the_span_of_an_attempt_ends_with_ids_and_codes_and_is_at_fault_without_a_good_result(error, is_fault):
    attempt = Attempt(2, 1, 5, 503, Outcome.ANSWERED, Sent.ANSWERED)
    settlement = Settlement("r1", "t", State.RETRYING, Outcome.ANSWERED, 503, error, attempt)
    assert end_of(settlement, ("acme", "order"), "bulk") == {
        "relay.plugin": "acme",
        "relay.webhook": "order",
        "relay.reference_id": "r1",
        "relay.lane": "bulk",
        "relay.state": "retrying",
        "relay.outcome": "answered",
        "relay.attempt": 2,
        "http.response.status_code": 503,
        "error": is_fault,
    }
    ended = end_of(settlement._replace(attempt=None, status=None), ("acme", "order"), "bulk")
    assert (ended["relay.attempt"], ended["http.response.status_code"]) == (0, 0)


@pytest.mark.parametrize(("status", "code"), [
    *((200, None), (202, None), (404, "webhook_not_registered"), (422, "request_rejected"), (429, "rate_limited")),
    *((499, "other"), (500, "internal"), (501, "other"), (503, "unavailable")),
])  # fmt: skip
def test_a_span_is_at_fault_when_the_relay_is_and_names_no_webhook_that_is_unknown(status, code):
    ended, request = [], ApiRequest(create_environ())
    request.context.span, request.context.key = SimpleNamespace(end=ended.append), SimpleNamespace(plugin="acme")
    request.context.code, request.context.webhook_id = code, "order"
    end_span(request, status)
    (attributes,) = ended
    assert attributes["error"] == (status >= 500)
    assert attributes["http.response.status_code"] == status
    assert ("relay.webhook" in attributes) == (code != "webhook_not_registered")


@pytest.mark.parametrize("is_traced", [True, False])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_trigger_has_a_span_from_its_resource_to_its_answer(is_traced, method):
    """The resource and the rest of the door are not looked at here."""
    ended, given, nothing = [], [], SimpleNamespace(add=lambda *_: None, add_request=lambda *_: None)
    span = SimpleNamespace(traceparent=TRACE.replace("b7", "c8"), end=ended.append)
    spans = SimpleNamespace(door=lambda traceparent: given.append(traceparent) or span)
    door = Door(None, None, spans, nothing, nothing)
    headers = {"traceparent": TRACE}
    request, answer = ApiRequest(create_environ("/hooks", method=method, headers=headers)), falcon.Response()
    request.context.key = SimpleNamespace(plugin="acme")
    door.process_resource(request, answer, SimpleNamespace(is_traced=is_traced), {"webhook_id": "order"})
    is_begun = is_traced and method == "POST"
    assert given == ([TRACE] if is_begun else [])
    assert request.context.traceparent == (span.traceparent if is_begun else None)
    door.process_response(request, answer, None, req_succeeded=True)
    assert [each["relay.webhook"] for each in ended] == (["order"] if is_begun else [])


@pytest.mark.parametrize("reference_id", [None, "r-1"])
@pytest.mark.parametrize("template", [None, "/v1/webhooks/{webhook_id}/trigger"])
def test_a_span_has_ids_and_the_route_s_template_and_nothing_that_the_caller_wrote(template, reference_id):
    ended, request = [], ApiRequest(create_environ(path="/v1/webhooks/order/trigger", query_string="planted=1"))
    request.uri_template, context = template, request.context
    context.span, context.key = SimpleNamespace(end=ended.append), SimpleNamespace(plugin="acme")
    context.webhook_id, context.reference_id = "order", reference_id
    end_span(request, 202)
    expected = {"relay.plugin": "acme", "relay.webhook": "order", "http.response.status_code": 202, "error": False}
    expected |= {} if reference_id is None else {"relay.reference_id": reference_id}
    expected |= {} if template is None else {"http.route": template}
    assert ended == [expected]
