from __future__ import annotations

import base64
import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.answer import search
from relay.answer.endpoint_answer import EndpointAnswer
from relay.answer.masking import REPLACEMENT, Mask
from relay.answer.results import MAX_DEPTH, Result, answer_json, failure_result, json_data, read_body
from relay.domain.invocation import MEANINGS, WITH_RESULT, Outcome, Sent, State, is_error
from relay.executor.preparation import Prepared
from relay.executor.reading import AnswerReader
from relay.registration import Shape, Target
from relay.registration.endpoint import Endpoint
from relay.store.ledger.transitions import CallRecord
from relay.text import gradual_json
from tests.encoders import ENCODERS

SECRET = "s3cr3t/valu+e"
ENDPOINT = Endpoint("https", "hooks.partner.com", 443, "/in/box-1", "")
MASK = Mask.of(Shape("w", "POST"), Target(ENDPOINT, {"Authorization": f"Bearer {SECRET}"}))


@pytest.fixture(autouse=True)
def nothing_else_is_logged(logged):
    """A fault of reading, which makes the answer a rejected one, fails the test."""


def answer(
    body: bytes,
    content_type: str | None = "application/json",
    status: int = 200,
    outcome=Outcome.ANSWERED,
    sent=Sent.ANSWERED,
) -> EndpointAnswer:
    return EndpointAnswer(outcome, sent, status, content_type, body, 1, len(body), None, 0)


def read(body: bytes, content_type: str | None = "application/json", status: int = 200, mask: Mask = MASK):
    return reading_of(answer(body, content_type, status), mask)


def reading_of(came: EndpointAnswer, mask: Mask):
    record = CallRecord("r", State.QUEUED, "acme", "w", 1, 1, b"", None, 20_000, "bulk")
    return AnswerReader(None).read(Prepared(record, None, Shape("w", "POST"), mask), came)


def data(body: bytes, content_type: str | None = "application/json"):
    return read(body, content_type).result.data


def mask_for(secret: str) -> Mask:
    return Mask.of(Shape("w", "POST"), Target(Endpoint("https", "a.io", 443, "/"), {"X-Key": secret}))


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON; charset=UTF-8",
        "application/problem+json",
        "text/json",
        "application/hal+json;v=1",
        None,
        "",
        "nonsense",
    ],
)
def test_json_is_parsed_by_its_type_or_where_it_has_none(content_type):
    assert data(b' {"a": [1, 2.5, null, "\xc3\xa9"]} ', content_type) == {"a": [1, 2.5, None, "é"]}


@pytest.mark.parametrize("body", [b"5", b'"x"', b"true", b"[]"])
def test_json_need_not_be_an_object(body):
    assert data(body) == json.loads(body)


def test_json_null_and_an_empty_body_are_null():
    assert data(b"null") is None
    for content_type in ("application/json", "text/plain", "image/png", None):
        assert data(b"", content_type) is None
        body = read_body(answer(b"", content_type))
        assert (body.data, body.text, body.is_json) == (None, None, False)


def test_integers_of_any_size_survive():
    number = 10**1000 + 7
    result = read(json.dumps({"n": number, "m": -(2**64)}).encode()).result
    assert result.data == {"n": number, "m": -(2**64)}
    assert gradual_json.loads(json_data(result)) == result.data


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{'a':1}",
        b'{"a":NaN}',
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e400]",
        b"[-1e999]",
        b" ",
        b"1 2",
        b"9" * 5000,
        b"[" * 100_000,
        b"[",
    ],
)
def test_an_answer_that_claims_to_be_json_but_is_not_is_text(body):
    assert data(body) == body.decode()
    assert data(body, None) == body.decode()


def test_json_that_nests_too_deep_is_text():
    deepest = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert data(deepest) == json.loads(deepest)
    beside = b"[[]," + deepest[1:]
    assert data(beside) == json.loads(beside)
    filled = deepest.replace(b"[]", b'[1, "a", null]')
    assert data(filled) == json.loads(filled)
    half = MAX_DEPTH // 2
    mixed = b'{"a":[' * half + b"]}" * half
    assert data(mixed) == json.loads(mixed)
    for deeper in (
        b"[" + deepest + b"]",
        b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
        b"[" + mixed + b"]",
    ):
        assert data(deeper) == deeper.decode()


def test_many_brackets_that_do_not_nest_are_json():
    wide = json.dumps([{"a": "[[[{"}] * 500).encode()
    assert data(wide) == json.loads(wide)


def test_json_may_begin_with_a_byte_order_mark():
    assert data(b"\xef\xbb\xbf[1]") == [1]


def test_json_in_another_charset_is_read_by_that_charset():
    assert data('{"a":"é"}'.encode("latin-1"), "application/json; charset=iso-8859-1") == {"a": "é"}
    assert data('{"a":"é"}'.encode(), "application/json; charset=iso-8859-1") == {"a": "é"}


def test_half_a_surrogate_pair_can_still_be_written_as_json():
    result = read(rb'{"a":"\ud800", "b":"\ud83d\ude00"}').result
    assert json_data(result) == rb'{"a":"\ud800","b":"\ud83d\ude00"}'


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("text/plain", "é".encode(), "é"),
        ("text/html; charset=utf-8", b"<p>", "<p>"),
        ("text/plain; charset=ISO-8859-1", "é".encode("latin-1"), "é"),
        ('text/plain; charset="windows-1252"', "€".encode("cp1252"), "€"),
        ("text/plain; charset=utf-16", "é".encode("utf-16"), "é"),
        ("text/plain; charset=no-such", "é".encode(), "é"),
        ("text/plain; charset=unicode_escape", rb"\u0041", r"\u0041"),
        ("text/plain; charset=hex", b"41", "41"),
        ("application/xml", b"<a/>", "<a/>"),
        ("image/svg+xml", b"<svg/>", "<svg/>"),
        ("application/javascript", b"1;", "1;"),
        ("application/x-www-form-urlencoded", b"a=b", "a=b"),
        ("application/x-ndjson", b"{}\n{}", "{}\n{}"),
        ("text/plain", b"[1]", "[1]"),
        (None, "hé".encode(), "hé"),
    ],
)
def test_text_is_decoded_by_its_charset(content_type, body, text):
    assert data(body, content_type) == text


@pytest.mark.parametrize(
    ("content_type", "body", "shown_type"),
    [
        ("image/png", b"\x89PNG\r\n\x1a\n\x00", "image/png"),
        ("Image/JPEG; q=1", b"\xff\xd8\xff", "image/jpeg"),
        ("application/octet-stream", b"abc", "application/octet-stream"),
        ("text/plain", b"\xff\xfe\xfa", "text/plain"),
        ("application/json", b"\xff\xfe\xfa", "application/json"),
        (None, b"\xff\xfe\xfa", "application/octet-stream"),
        (None, b"a\x00b", "application/octet-stream"),
        ("<script>/x", b"\xff", "application/octet-stream"),
        ("application/x-" + "y" * 500, b"\xff", "application/octet-stream"),
    ],
)
def test_bytes_come_as_base64_with_their_type(content_type, body, shown_type):
    assert data(body, content_type) == {
        "encoding": "base64",
        "contentType": shown_type,
        "content": base64.b64encode(body).decode(),
    }


@settings(deadline=None)  # the machine may be busy
@given(
    body=st.binary(max_size=300),
    content_type=st.sampled_from([None, "application/json", "text/plain", "image/png", "text/plain; charset=utf-16"]),
)
def test_whatever_comes_there_is_a_result_that_can_be_written_and_read(body, content_type):
    result = read(body, content_type).result
    assert gradual_json.loads(json_data(result)) == result.data


@pytest.mark.parametrize(
    ("status", "error"), [(200, False), (204, False), (302, False), (399, False), (400, True), (503, True)]
)
def test_the_status_is_the_endpoints_and_an_error_from_400_on(status, error):
    reading = read(b'{"a":1}', status=status)
    assert reading.outcome is Outcome.ANSWERED
    assert reading.result == Result(status, {"a": 1}, error)


def test_an_echo_of_headers_and_url_shows_neither_secret_nor_address():
    echo = {
        "headers": {"host": "hooks.partner.com", "authorization": f"Bearer {SECRET}", f"x-{SECRET}": "1"},
        "url": "https://hooks.partner.com/in/box-1?page=2",
        "path": "/in/box-1",
        "encoded": "https%3A%2F%2Fhooks.partner.com%2Fin%2Fbox-1",
    }
    for body in (
        json.dumps(echo),
        json.dumps(echo).replace("/", "\\/"),
        json.dumps(echo).replace("s3c", "\\u0073\\u0033c"),
    ):
        reading = read(body.encode())
        assert reading.result.data == {
            "headers": {"host": REPLACEMENT, "authorization": REPLACEMENT, f"x-{REPLACEMENT}": "1"},
            "url": f"{REPLACEMENT}?page=2",
            "path": REPLACEMENT,
            "encoded": REPLACEMENT,
        }
        assert reading.masked == 6


def test_text_is_masked_too():
    assert read(f"got {SECRET}".encode(), "text/plain").result.data == f"got {REPLACEMENT}"
    assert read(f"got {SECRET}".encode(), "text/plain").masked == 1
    assert read(f"got {SECRET}".encode("utf-16"), "text/plain; charset=utf-16").result.data == f"got {REPLACEMENT}"


def test_a_broken_json_answer_is_masked_as_text():
    assert data(b'{"a": "' + SECRET.encode() + b'"') == f'{{"a": "{REPLACEMENT}"'


@pytest.mark.parametrize(
    "secret",
    [
        'se"cr\\et-value',
        "secret\\\\value",
        'a","b":"cdef',
        "{}[]{}[]{}",
        "\\u0041\\u0042",
        "%41%42%43",
        "&amp;&lt;",
        "12345678.5",
    ],
)
def test_a_secret_made_of_json_syntax_is_hidden_and_leaves_json_whole(secret):
    reading = read(json.dumps({"a": secret, "b": [f"<{secret}>", 1], secret: "ok"}).encode(), mask=mask_for(secret))
    assert reading.result.data == {"a": REPLACEMENT, "b": [f"<{REPLACEMENT}>", 1], REPLACEMENT: "ok"}
    assert reading.masked == 3


def test_a_secret_of_digits_is_hidden_in_a_json_number():
    reading = read(b'{"a":1234567890,"b":"1234567890","c":[1.25]}', mask=mask_for("1234567890"))
    assert reading.result.data == {"a": REPLACEMENT, "b": REPLACEMENT, "c": [1.25]}
    assert reading.masked == 2


@pytest.mark.parametrize("beside", ["", ',"b":"\\n"'])
@pytest.mark.parametrize(
    ("secret", "written"),
    [
        *(
            ("123456789", each)
            for each in ("123456789", "1.23456789e8", "1.23456789E+8", "123456789000e-3", "-0.123456789e9")
        ),
        *(("-1234567", each) for each in ("-12345670", "-1.2345670e7", "-12345678.5")),
        *(("2345e+99", each) for each in ("1.2345e99", "12.345E98", "0.12345e+100")),
    ],
)
def test_a_secret_of_digits_is_hidden_however_the_number_is_written(secret, written, beside):
    reading = read(f'{{"a":{written}{beside}}}'.encode(), mask=mask_for(secret))
    assert (reading.result.data["a"], reading.masked) == (REPLACEMENT, 1)


def test_a_secret_that_spans_strings_leaves_text_without_it():
    secret = 'abc","defg'
    reading = read(b'{"x":["abc","defg",1]}', mask=mask_for(secret))
    assert reading.result.data == f'{{"x":["{REPLACEMENT}",1]}}'
    assert reading.masked == 1


def test_what_spans_strings_is_counted_beside_what_does_not():
    secret = 'abc","defg'
    once, twice = '{"x":["abc","defg",1]', ',"y":["abc","defg"]'
    alone = f',"z":"{secret}"'.replace('c","d', 'c\\",\\"d')
    for body, hidden in ((once + alone, 2), (once + twice + alone, 3), (once + alone + alone.replace("z", "zz"), 3)):
        reading = read(f"{body}}}".encode(), mask=mask_for(secret))
        assert isinstance(reading.result.data, str)
        assert (reading.masked, reading.result.data.count(REPLACEMENT)) == (hidden, hidden)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        *((b"", None), (b"null", None), (b'{"a": [1, "text"]}', None), (b'{"a": "\\u0041"}', None)),
        *((b"text", "text/plain"), (b"\xff\xd8", "image/jpeg"), (b"\xff", "not a media type")),
    ],
)
def test_where_nothing_is_hidden_nothing_is_counted(body, content_type):
    assert read(body, content_type).masked == 0
    assert read(body, content_type, mask=mask_for("1234567890")).masked == 0


def test_keys_that_become_equal_both_stay():
    reading = read(f'{{"{SECRET}": 1, "{SECRET.upper()}": 2}}'.encode())
    assert reading.result.data == {REPLACEMENT: 1, f"{REPLACEMENT} 2": 2}


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xd8" + SECRET.encode(),
        b"\xff" + base64.b64encode(b"x" + SECRET.encode()),
        SECRET.encode("utf-16-le"),
        SECRET.encode("utf-16-be"),
    ],
)
def test_bytes_that_hold_a_secret_reject_the_answer(body):
    reading = read(body, "image/jpeg")
    assert reading.outcome is Outcome.ANSWER_REJECTED
    assert reading.result == failure_result(Outcome.ANSWER_REJECTED, Sent.ANSWERED)
    assert (reading.result.status, reading.result.error, reading.masked) == (0, True, 1)


@pytest.mark.parametrize(
    "shown", ["abcdefghij", "ABCDEFGHIJ", b"abcdefghij".hex(), b"abcdefghij".hex().encode().hex(), "&#97bcdefghij"]
)
def test_a_type_that_shows_a_secret_is_not_repeated(shown):
    mask = mask_for("abcdefghij")
    reading = read(b"\xff", f"image/x-{shown}", mask=mask)
    assert (reading.result.data["contentType"], reading.masked) == ("application/octet-stream", 0)
    assert read(b"", f"image/x-{shown}", mask=mask).result.data is None


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "image/png"])
def test_an_answer_that_was_not_searched_to_the_end_is_rejected(monkeypatch, content_type):
    body = json.dumps({"a": "%41%42%43%44 and more of it"}).encode()
    assert read(body, content_type).outcome is Outcome.ANSWERED
    monkeypatch.setattr(search, "MIN_WORK", 0)
    monkeypatch.setattr(search, "WORK_PER_BYTE", 0)
    reading = read(body, content_type)
    assert reading.outcome is Outcome.ANSWER_REJECTED
    assert reading.result == failure_result(Outcome.ANSWER_REJECTED, Sent.ANSWERED)


@pytest.mark.parametrize("innermost", ["octal of all", "JS of all", "backslashes"])
def test_the_escapes_of_json_are_no_layer_of_what_its_strings_hold(innermost):
    shown = SECRET
    for name in ("percent of all", "html hex of all", innermost):  # the last writes what JSON has to escape
        shown = ENCODERS[name](shown)
    reading = read(json.dumps({"a": shown}).encode())
    assert (reading.result.data, reading.masked) == ({"a": REPLACEMENT}, 1)


def test_gzip_that_nobody_announced_is_bytes():
    body = gzip.compress(b"x")
    assert data(body, "application/gzip")["encoding"] == "base64"


@pytest.mark.parametrize("sent", [Sent.NO, Sent.MAYBE, None])
@pytest.mark.parametrize("outcome", [o for o in Outcome if MEANINGS[o].sentence_if_sent])
def test_without_an_answer_the_result_says_what_happened_and_whether_a_request_may_have_arrived(outcome, sent):
    data = failure_result(outcome, sent).data
    assert failure_result(outcome, sent) == Result(0, data, error=True)
    assert list(data) == ["code", "message", "sent"]
    assert (data["code"], data["sent"]) == (MEANINGS[outcome].code, "no" if sent is Sent.NO else "maybe")
    assert ("nothing was sent" in data["message"]) == (sent is Sent.NO)
    if sent is not None:
        assert reading_of(answer(b"secret", outcome=outcome, sent=sent), MASK).result.data == data


@pytest.mark.parametrize("outcome", [Outcome.RESPONSE_REJECTED, Outcome.ANSWER_REJECTED])
def test_an_answer_that_is_not_accepted_says_nothing_of_what_was_sent(outcome):
    assert list(failure_result(outcome, None).data) == ["code", "message"]


def test_a_failure_may_keep_the_endpoints_status():
    assert failure_result(Outcome.RESPONSE_REJECTED, None, status=201).status == 201


@pytest.mark.parametrize("outcome", [o for o in Outcome if not MEANINGS[o].sentence])
def test_answers_and_refusals_have_no_failure_result(outcome):
    assert MEANINGS[outcome].state in {State.DELIVERED, State.REJECTED}
    with pytest.raises(ValueError):
        failure_result(outcome, None)


def test_the_four_members_are_written_around_the_data_as_it_is_kept():
    result = Result(201, {"n": 10**30, "t": 'é"'}, error=False)
    written = answer_json("ref-1", result.status, json_data(result), error=result.error)
    assert json.loads(written) == {"referenceId": "ref-1", "status": 201, "data": result.data, "error": False}
    assert list(json.loads(written)) == ["referenceId", "status", "data", "error"]
    assert json.loads(answer_json("ref-1", 0, b"null", error=True))["error"] is True


#: How each outcome ends a call, and the code that a plugin sees; the contract.
ENDS = {
    "answered": ("delivered", None), "response_rejected": ("delivered", "response_rejected"),
    "dns_failed": ("unreachable", "unreachable"), "connect_failed": ("unreachable", "unreachable"),
    "connect_timeout": ("unreachable", "timeout"), "tls_failed": ("unreachable", "unreachable"),
    "address_refused": ("unreachable", "unreachable"), "breaker_open": ("unreachable", "unreachable"),
    "prepare_failed": ("unreachable", "unreachable"), "answer_timeout": ("unreachable", "timeout"),
    "connection_lost": ("unreachable", "unreachable"), "answer_rejected": ("unreachable", "answer_rejected"),
    "lease_lost": ("interrupted", "interrupted"), "restored": ("interrupted", "interrupted"),
    "step_rejected": ("unreachable", "step_rejected"), "chain_timeout": ("unreachable", "timeout"),
    "expired": ("unreachable", "timeout"), "request_rejected": ("rejected", "request_rejected"),
    "webhook_not_registered": ("rejected", "webhook_not_registered"),
}  # fmt: skip


def test_each_outcome_leads_to_its_state_and_its_code():
    assert {outcome: (meaning.state, meaning.code) for outcome, meaning in MEANINGS.items()} == ENDS


@pytest.mark.parametrize("given", [None, True, False])
@pytest.mark.parametrize("state", State)
def test_a_result_is_an_error_as_its_record_says_and_otherwise_unless_it_was_delivered(state, given):
    assert is_error(state, given) is (state is not State.DELIVERED if given is None else given)
    assert state.final is (state in {"delivered", "unreachable", "interrupted", "rejected", "cancelled"})
    assert (state in WITH_RESULT) is (state in {"delivered", "unreachable", "interrupted"})
