import sys

import pytest

from relay.errors import SettingsError
from relay.telemetry.spans import Spans, make_spans


def test_without_a_collector_no_spans_are_made():
    spans = make_spans(None, process="api", percent=100)
    assert spans.door("00-a-b-01") is None
    assert spans.attempt("00-a-b-01", claimed_at_ms=1, waited_ms=1) is None
    assert type(spans) is Spans


def test_without_the_extra_a_collector_is_a_fault_of_the_settings(monkeypatch):
    monkeypatch.delitem(sys.modules, "relay.telemetry.otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SettingsError, match=r"webhook-relay\[otel\]"):
        make_spans("http://127.0.0.1:4318", process="api", percent=100)
