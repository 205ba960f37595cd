"""Traces: door, queue and attempt as one, exported to a receiver that decodes OTLP."""

from __future__ import annotations

import gzip
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from relay.settings import Settings
from relay.telemetry.otlp import OtlpSpans
from relay.telemetry.spans import make_spans
from tests.integration.api_harness import running_api
from tests.integration.worker_harness import hook, worker_harness
from tests.receivers import answer, in_turn, json_answer, receiver
from tests.timing import wait_until

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SECRET = "content-that-nobody-may-see"


class Collector:
    """Stands in for a collector: keeps spans in the order of their arrival."""

    def __init__(self):
        self.spans, self.services, self.bodies = [], set(), []

    def take(self, body):
        self.bodies.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {each.key: each.value.string_value for each in resource.resource.attributes}
            self.services.add((names["service.name"], names["service.instance.id"]))
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]

    def of(self, reference_id):
        """Return an invocation's spans; those in the queue have no reference id, but are parents of the others."""
        mine = [span for span in self.spans if attributes(span).get("relay.reference_id") == reference_id]
        parents = {span.parent_span_id for span in mine}
        return [*mine, *(span for span in self.spans if span.name == "relay.queue" and span.span_id in parents)]


def attributes(span):
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


@contextmanager
def collector():
    got = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.requestline == "POST /v1/traces HTTP/1.1"
            got.take(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    got.url = f"http://127.0.0.1:{server.server_port}"
    yield got
    server.shutdown()


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    with collector() as got, worker_harness(tmp_path_factory, RELAY_OTLP_ENDPOINT=got.url) as harness:
        harness.start_worker("interactive")
        harness.start_worker("bulk")
        with running_api(harness.environ) as api:
            harness.collector, harness.api = got, api
            yield harness


def triggered(harness, endpoint, traceparent=None, prefer="wait=20", **fields):
    harness.register(hook(endpoint.url, **fields))
    headers = {} if traceparent is None else {"traceparent": traceparent}
    return harness.api.trigger("hook", body={"data": SECRET}, prefer=prefer, headers=headers).json()["referenceId"]


def spans_of(harness, ref, count):
    wait_until(lambda: len(harness.collector.of(ref)) >= count, 20, every_s=0.1)
    found = {}
    for span in harness.collector.of(ref):
        found.setdefault(span.name, []).append(span)
    return found


def test_door_queue_and_attempt_are_one_trace_below_the_caller_s_span(harness):
    with receiver(json_answer({"said": SECRET})) as endpoint:
        ref = triggered(harness, endpoint, f"00-{TRACE}-{CALLER}-01")
        spans = spans_of(harness, ref, 3)
        (request,) = endpoint.requests
    (door,), (queue,), (attempt,) = spans["relay.door"], spans["relay.queue"], spans["relay.attempt"]
    assert {span.trace_id.hex() for span in (door, queue, attempt)} == {TRACE}
    assert door.parent_span_id.hex() == CALLER
    assert queue.parent_span_id == door.span_id
    assert attempt.parent_span_id == queue.span_id
    assert request.header("traceparent") == f"00-{TRACE}-{attempt.span_id.hex()}-01"
    assert (door.kind, attempt.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
    assert queue.start_time_unix_nano <= queue.end_time_unix_nano
    assert attempt.start_time_unix_nano <= attempt.end_time_unix_nano
    said = attributes(attempt)
    assert (said["relay.plugin"], said["relay.webhook"], said["relay.outcome"]) == ("acme", "hook", "answered")
    assert said["http.response.status_code"] == 200
    served = {(name, process.partition("@")[0]) for name, process in harness.collector.services}
    assert served >= {("webhook-relay", "api"), ("webhook-relay", "interactive1")}
    assert {name for name, _ in served} == {"webhook-relay"}


def test_without_a_caller_s_span_the_door_begins_a_trace(harness):
    with receiver(json_answer({})) as endpoint:
        spans = spans_of(harness, triggered(harness, endpoint), 3)
    assert spans["relay.door"][0].parent_span_id == b""
    assert spans["relay.attempt"][0].trace_id == spans["relay.door"][0].trace_id


def test_every_attempt_has_a_span_and_only_the_first_was_in_the_queue(harness):
    with receiver(in_turn(answer(503), json_answer({}))) as endpoint:
        ref = triggered(harness, endpoint, retry={"attempts": 2, "initial": 0.05})
        spans = spans_of(harness, ref, 4)
    attempts = sorted(spans["relay.attempt"], key=lambda span: span.start_time_unix_nano)
    assert [attributes(span)["http.response.status_code"] for span in attempts] == [503, 200]
    assert [span.status.code for span in attempts] == [Status.STATUS_CODE_ERROR, Status.STATUS_CODE_UNSET]
    assert len(spans["relay.queue"]) == 1
    assert attempts[1].parent_span_id == spans["relay.door"][0].span_id


def test_what_a_caller_does_not_sample_is_carried_and_not_exported(harness):
    with receiver(json_answer({})) as endpoint:
        ref = triggered(harness, endpoint, f"00-{'1' * 32}-{CALLER}-00")
        later = triggered(harness, endpoint)
        spans_of(harness, later, 3)
        first = next(each for each in endpoint.requests if each.header("webhook-id") == ref)
    assert first.header("traceparent").startswith(f"00-{'1' * 32}-")
    assert first.header("traceparent").endswith("-00")
    assert harness.collector.of(ref) == []


def test_a_span_never_holds_contents_or_an_address(harness):
    with receiver(answer(500, SECRET.encode())) as endpoint:
        ref = triggered(harness, endpoint)
        spans_of(harness, ref, 3)
    for body in harness.collector.bodies:
        assert SECRET.encode() not in body
        assert endpoint.url.encode() not in body


def test_a_collector_that_is_gone_costs_no_call(tmp_path_factory):
    with (
        worker_harness(tmp_path_factory, RELAY_OTLP_ENDPOINT="http://127.0.0.1:9") as harness,
        receiver(json_answer({})) as endpoint,
    ):
        harness.register(hook(endpoint.url))
        harness.start_worker()
        assert not harness.final(harness.trigger()).error


@pytest.mark.parametrize("end", ["", "/"])
def test_a_span_in_the_queue_begins_when_the_call_began_to_wait_and_ends_when_it_was_claimed(end):
    with collector() as got:
        spans = OtlpSpans(got.url + end, process="w1", percent=100)
        span = spans.attempt(f"00-{TRACE}-{CALLER}-01", claimed_at_ms=1_700_000_010_000, waited_ms=4_000)
        span.end({"relay.reference_id": "r1", "error": True})
        spans.attempt(f"00-{TRACE}-{CALLER}-01", claimed_at_ms=1, waited_ms=None).end({"error": False})
        spans.flush()
    queued, first, later = got.spans
    assert got.services == {("webhook-relay", "w1")}
    assert (queued.name, queued.kind) == ("relay.queue", Span.SPAN_KIND_CONSUMER)
    assert queued.start_time_unix_nano == 1_700_000_006_000_000_000
    assert queued.end_time_unix_nano == 1_700_000_010_000_000_000
    assert first.parent_span_id == queued.span_id
    assert (attributes(first), first.status.code) == ({"relay.reference_id": "r1"}, Status.STATUS_CODE_ERROR)
    assert (attributes(later), later.status.code) == ({}, Status.STATUS_CODE_UNSET)
    assert {queued.parent_span_id.hex(), later.parent_span_id.hex()} == {CALLER}


@pytest.mark.parametrize(
    ("percent", "flags", "exported"),
    [(0, None, False), (0, "01", True), (0, "00", False), (100, None, True), (100, "01", True), (100, "00", False)],
)
def test_a_caller_decides_what_is_exported_and_the_setting_where_none_did(percent, flags, exported):
    with collector() as got:
        variables = {"REDIS_URL": "redis://127.0.0.1:1/0", "OTLP_ENDPOINT": f"{got.url}/", "OTLP_PERCENT": str(percent)}
        settings = Settings.from_environ({f"RELAY_{name}": text for name, text in variables.items()})
        spans = make_spans(settings, "api")
        span = spans.door(None if flags is None else f"00-{TRACE}-{CALLER}-{flags}")
        span.end({"http.response.status_code": 200})
        spans.flush()
        if flags is not None:
            assert span.traceparent.startswith(f"00-{TRACE}-")
            assert span.traceparent.endswith(f"-{flags}")
    assert [each.name for each in got.spans] == ["relay.door"] * exported
