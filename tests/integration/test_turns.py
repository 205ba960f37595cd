"""Hostile texts of every shape delay other threads, which have calls to serve, only for a moment."""

from __future__ import annotations

import gc
import json
import time
from contextlib import suppress
from functools import partial

import pytest

from relay.answer.endpoint_answer import EndpointAnswer
from relay.answer.masking import Mask
from relay.answer.needles import Needle
from relay.answer.results import Result, hide, json_data, read_body
from relay.chains import StepResult, TooManySecrets, secrets_beside
from relay.domain.invocation import Outcome, Sent, State
from relay.executor.large_work import EVALUATING, LARGE_BYTES
from relay.process.garbage import set_for_serving
from relay.registration import Step
from relay.request.oauth import read_grant
from relay.request.trigger import Trigger
from relay.text import gradual_json
from relay.text.expressions import Expression
from relay.text.strict_json import read_json
from tests.turns import longest_hold_s

HOLD_S = 0.05
DOOR_S = 0.1
MEBIBYTE = 1 << 20
MASK = Mask([Needle("secret+token/abc=defghijkl"), Needle("plain-secret-of-letters")])

# Shapes of hostile JSON texts: a beginning, a part that is repeated, and an end.
JSON_SHAPES = {
    "empty arrays": ("[", "[],", "0]"),
    "empty objects": ("[", "{},", "0]"),
    "small objects": ('{"access_token":[', '{"t":1},', "0]}"),
    "one name again and again": ("{", '"a":1,', '"a":1}'),
    "escaped quotes": ('{"access_token":"', '\\"', '"}'),
    "escaped backslashes": ('{"a":"', "\\\\", '"}'),
    "escaped letters": ('{"a":"', "\\u0041", '"}'),
    "escaped zeros": ('{"a":"', "\\u0000", '"}'),
    "surrogate pairs": ('{"a":"', "\\ud83d\\ude00", '"}'),
    "half pairs": ('["\\ud800",', "[],", "0]"),
    "open arrays": ("", "[", ""),
    "arrays 199 deep": ("[", "[" * 199 + "]" * 199 + ",", "0]"),
    "short integers": ("[", "1,", "1]"),
    "integers of 4,300 digits": ("[", "9" * 4_300 + ",", "1]"),
    "integers beyond that": ("[", "9" * 5_000 + ",", "1]"),
    "one endless integer": ("", "9", ""),
    "decimals": ("[", "1.5e3,", "1]"),
    "long decimals": ("[", "0." + "1" * 4_000 + ",", "1]"),
    "one endless decimal": ("[0.", "1", "]"),
    "numbers out of range": ("[", "1e400,", "1]"),
    "no numbers": ("[", "NaN,", "1]"),
    "nulls": ("[", "null,", "null]"),
    "short texts": ("[", '"",', '""]'),
    "percent signs": ('{"a":"', "%41", '"}'),
    "numbers of HTML": ('{"a":"', "&#65;", '"}'),
    "broken base64": ('{"a":"', "a\\nb", '"}'),
    "the secret": ('{"a":"', "secret+token/abc=defghijkl ", '"}'),
    "prefixes of the secret": ('{"a":"', "secret+token/abc=", '"}'),
    "its anchor beside signs": ('{"a":"', "defghijkl%2", '"}'),
}
#: Parts of texts that are not JSON: encoded characters, some of them incomplete or encoded once too often.
UNITS = [
    *("&", "&#", "&#x", "&#0", "&#x0", "&#65;", "&#0065;", "&a", "&am", "&l", "&lt;", "&#10;a", "&#" + "0" * 20),
    *("\\", "\\\\", "\\u", "\\u00", "\\n", "\\na", "=\\r", "%", "%0", "%0d", "%0da", "%25", "%2525", "%252525"),
    *("=\n", "\r", "\n", "a\n", "a\r\n", " ", "\x00", "\x00a", "a\x00\x00", "secret", "defghijkl", "defghijkl%25", "é"),
    *(
        "secret+token/abc=defghijkl",
        "secret%2btoken",
        "token-00000001,",
        "grant=aaaaaaaaaaaaaaaa&",
        "<t>abcdefghij</t>",
    ),
]
NUMBERED = {
    "names": lambda size: "{" + ",".join(f'"k{number}":1' for number in range(size // 12)) + "}",
    "tokens": lambda size: json.dumps({"access_token": [f"token-{number:08}" for number in range(size // 18)]}),
    "tokens that begin alike": lambda size: json.dumps(["t" * (number % 900 + 8) for number in range(size // 460)]),
}


def made(shape, size):
    before, unit, after = shape
    return before + unit * ((size - len(before) - len(after)) // len(unit)) + after


def answer(body, content_type):
    return EndpointAnswer(Outcome.ANSWERED, Sent.ANSWERED, 200, content_type, body, 1, len(body), None, 0)


JSON_TEXTS = [
    *(pytest.param(lambda size, shape=shape: made(shape, size), id=name) for name, shape in JSON_SHAPES.items()),
    *(pytest.param(make, id=name) for name, make in NUMBERED.items()),
]


@pytest.fixture(autouse=True, scope="module")
def _collector_of_a_worker():
    before = gc.get_threshold()
    set_for_serving()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def through(came):
    """Process an answer as a worker does; large parts are processed outside this thread."""
    body = read_body(came)
    shown, hidden = hide(body, MASK) or (None, 1)
    for data in (body.data, shown) if hidden else (shown,):
        gradual_json.loads(json_data(Result(200, data, False)))


@pytest.mark.parametrize("text", JSON_TEXTS)
def test_a_json_answer_of_any_shape_keeps_nobody_waiting(text):
    came = answer(text(MEBIBYTE).encode(), "application/json")
    assert longest_hold_s(lambda: through(came), within_s=HOLD_S) <= HOLD_S


@pytest.mark.parametrize("unit", UNITS, ids=ascii)
@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream"])
def test_any_other_answer_keeps_nobody_waiting(unit, content_type):
    came = answer(made(("a", unit, "a"), MEBIBYTE).encode(), content_type)
    assert longest_hold_s(lambda: through(came), within_s=HOLD_S) <= HOLD_S


@pytest.mark.parametrize("text", JSON_TEXTS)
def test_a_login_s_answer_of_any_shape_keeps_nobody_waiting(text):
    came = answer(text(MEBIBYTE).encode(), "application/json")
    assert longest_hold_s(lambda: read_grant(came), within_s=HOLD_S) <= HOLD_S


@pytest.mark.parametrize("text", JSON_TEXTS)
def test_a_trigger_of_any_shape_keeps_nobody_waiting(text):
    body = f'{{"data":{text(8 * MEBIBYTE - 60)},"headers":{{}},"queryParams":{{}}}}'.encode()

    def reads():
        read_json(body)
        Trigger.from_json(body)

    assert longest_hold_s(reads, within_s=DOOR_S) <= DOOR_S


MASKS = [
    "steps[0].data.access_token",
    "steps[0].data[*].t",
    "steps[0].data.access_token[].t",
    "steps[0].data[?t==`1`].t",
]


def searches(text):
    """Yield each mask, with the function that finds what a chain hides by it in this answer."""
    result = StepResult(200, read_body(answer(text.encode(), "application/json")).data, False, None, State.DELIVERED)
    for mask in MASKS:
        step = Step("login", mask=(Expression(mask),))
        yield mask, partial(secrets_beside, step, 0, {"input": {}, "steps": []}, result, ())


@pytest.mark.parametrize("text", JSON_TEXTS)
def test_what_a_chain_hides_in_a_login_s_answer_is_found_apart_or_within_a_moment(text):
    for mask, find in searches(text(MEBIBYTE // 4)):
        assert longest_hold_s(find, within_s=HOLD_S) <= HOLD_S, mask
    for mask, find in searches(text(LARGE_BYTES // EVALUATING)):
        began_s = time.thread_time()
        with suppress(TooManySecrets):
            find()
        assert time.thread_time() - began_s <= HOLD_S, mask
