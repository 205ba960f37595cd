"""Secrets that endpoints echo without malice; each class of echoes is tested with generated members."""

from __future__ import annotations

import base64
import json
import re
import string
from contextlib import suppress

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from relay.answer.endpoint_answer import EndpointAnswer
from relay.answer.masking import REPLACEMENT
from relay.answer.results import hide, read_body
from relay.answer.search import TooMuchWork
from relay.domain.invocation import Outcome, Sent
from relay.registration.endpoint import Endpoint
from tests.linear import assert_linear
from tests.unit.test_masking import _lenient_b64decode, mask_for, mask_of, secrets

LETTERS_AND_DIGITS = string.ascii_letters + string.digits
uuids = st.uuids().map(str) | st.uuids().map(lambda uuid: str(uuid).upper())
tokens = st.text(LETTERS_AND_DIGITS + ".-_~", min_size=12, max_size=48).filter(
    lambda token: (
        re.search(r"[0-9]", token) and re.search(r"(?i)(?<![a-z0-9])(?!v[0-9]{1,3}(?![a-z0-9]))[a-z0-9]*[a-z]", token)
    )
)
words = st.text(string.ascii_lowercase, min_size=3, max_size=12)
ordinary = st.lists(words, min_size=1, max_size=4).map("-".join) | st.integers(1, 99).map(lambda n: f"v{n}")
around = st.text(st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters="%&\\"), max_size=12)


def at(*segments):
    return Endpoint("https", "a.io", 443, "/" + "/".join(segments))


# -- a path's segments -----------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)  # the machine may be busy
@given(token=uuids | tokens, before=ordinary, after=ordinary, text=around)
@example(token="b1e3-77d0-a9c2", before="hooks", after="in", text="")
@example(token="T0ABCDE.B0FGHIJ", before="services", after="v1", text="")
@example(token="12345678-1234-1234-1234-123456789012", before="hooks", after="in", text="")
def test_a_segment_that_looks_like_a_token_is_hidden_alone(token, before, after, text):
    assume(_has_digit_beside_versions(token))
    mask = mask_of(endpoint=at(before, token, after))
    for shown in (token, token.upper(), base64.b64encode(token.encode()).decode(), token.encode().hex()):
        masked, count = mask.text(f"{text} {shown} {text}")
        assert count >= 1
        assert shown not in masked


def _has_digit_beside_versions(token):
    rest = re.sub(r"(?i)(?<![a-z0-9])v[0-9]{1,3}(?![a-z0-9])", "", token)
    uuid = re.fullmatch(r"(?i)[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", token)
    return uuid or (re.search("[0-9]", rest) and re.search("[A-Za-z]", rest))


@settings(deadline=None, max_examples=30)  # the machine may be busy
@given(segments=st.lists(ordinary, min_size=2, max_size=4), data=st.data())
@example(segments=["api", "incoming-webhooks", "v2"], data=None)
@example(segments=["2024-01-01", "messages-v2.json", "12345678901234"], data=None)
@example(segments=["gr%C3%BC%C3%9Fe-an-alle", "in%20boxes%20of%20others"], data=None)
def test_ordinary_words_of_a_path_are_shown(segments, data):
    mask = mask_of(endpoint=at(*segments))
    shown = segments if data is None else [data.draw(st.sampled_from(segments))]
    for segment in shown:
        assert mask.text(f"see {segment}, please") == (f"see {segment}, please", 0)


# -- base64 in lines -------------------------------------------------------------------------------------------------


def _pem(raw):
    text = base64.b64encode(raw).decode()
    lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    return f"-----BEGIN X-----\n{lines}\n-----END X-----\n".encode()


line_ends = st.sampled_from(
    ["\n", "\r\n", "\r", "\n ", "\r\n\t", "\n      ", "=\r\n", "\\n", "\\r\\n", "%0A", "%0D%0A", "&#10;"]
)


@settings(deadline=None, max_examples=30)  # the machine may be busy
@given(
    secret=secrets,
    before=st.binary(max_size=90),
    after=st.binary(max_size=90),
    width=st.sampled_from([64, 76]) | st.integers(16, 100),
    end=line_ends,
    urlsafe=st.booleans(),
)
def test_base64_in_lines_shows_no_secret(secret, before, after, width, end, urlsafe):
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    plain = encode(before + secret.encode() + after).decode()
    shown = end.join(plain[start : start + width] for start in range(0, len(plain), width))
    masked, count = mask_for(secret).text(f"<{shown}>")
    assert count >= 1
    left = re.sub(r"=?(\\[rn]|%0[AD]|&#10;|\s)+", "", masked).replace("-", "+").replace("_", "/")
    for piece in left.replace("[redacted]", "<").split("<"):
        for skip in range(4):
            assert secret.encode() not in _lenient_b64decode(piece[skip:])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n ", "\r\n\t", "\n      ", "\n\t\t"])
@pytest.mark.parametrize("width", range(16, 80, 7))
def test_base64_in_lines_that_are_indented_shows_no_secret_that_is_split_between_them(end, width):
    secret = "split/between+lines"
    for before in range(3):
        plain = base64.b64encode(b"x" * (width // 4 * 3 - 9 + before) + secret.encode() + b"y" * 40).decode()
        shown = end.join(plain[start : start + width] for start in range(0, len(plain), width))
        assert mask_for(secret).text(f"<{shown}>")[1] == 1


@pytest.mark.parametrize("encode", [base64.encodebytes, _pem])
def test_what_mime_and_pem_write_is_hidden_in_json_text_and_bytes(encode):
    secret = "a-secret-that-is-long-enough-to-be-broken-wherever-the-line-may-end"
    shown = encode(b"x" * 31 + secret.encode() + b"y" * 50).decode()
    mask = mask_for(secret)
    assert mask.value({"body": shown, "other": "untouched"})[1] >= 1
    assert mask.text(f"Content-Transfer-Encoding: base64\r\n\r\n{shown}")[1] >= 1
    assert mask.text(json.dumps({"broken": shown})[:-1])[1] >= 1
    assert mask.hits(b"\xff\x00" + shown.encode())
    masked = mask.text("before\n" + shown + "\nafter\n")[0]
    assert masked.startswith("before\n")
    assert masked.endswith("after\n")


# -- UTF-16 without a charset ----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)  # the machine may be busy
@given(
    secret=secrets,
    text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0%&\\"), max_size=20),
    codec=st.sampled_from(["utf-16-le", "utf-16-be", "utf-16", "utf-32-le", "utf-32-be", "utf-32"]),
    content_type=st.sampled_from(
        ["text/plain", "text/html", "application/json", "application/xml", None, "image/x-own"]
    ),
)
@example(secret="12345678", text="", codec="utf-16-be", content_type="application/json")
def test_utf_16_without_a_charset_shows_no_secret(secret, text, codec, content_type):
    body = f"{text}{secret}{text}".encode(codec)
    answer = EndpointAnswer(Outcome.ANSWERED, Sent.ANSWERED, 200, content_type, body, 1, len(body), None, 0)
    hidden = hide(read_body(answer), mask_for(secret))
    if hidden is None:
        return  # binary data that shows a secret is refused
    data, count = hidden
    assert count >= 1
    assert secret.lower() not in json.dumps(data).replace("\\u0000", "").lower()
    assert secret.lower() not in str(data).replace("\0", "").lower()


def test_texts_of_a_value_are_not_joined_where_zero_bytes_are_left_out():
    mask = mask_for("abcdefgh")
    value = ["abcd", "efgh", "a\0b\0c\0d\0e\0f\0g\0h\0", "abcd\0"]
    assert mask.value(value) == (["abcd", "efgh", f"{REPLACEMENT}\0", "abcd\0"], 1)


# -- escapes of HTML -------------------------------------------------------------------------------------------------


@st.composite
def html_escapes(draw):
    """A secret, and a way to write it in HTML's numeric escapes; one without a semicolon ends before a non-digit."""
    secret = draw(secrets)
    escaped = draw(st.sampled_from(["all", "marks"]))
    zeros, is_hex, upper = draw(st.integers(0, 40)), draw(st.booleans()), draw(st.booleans())
    with_semicolon = draw(st.booleans())
    digits = string.hexdigits if is_hex else string.digits
    shown = ""
    for number, character in enumerate(secret):
        if escaped == "marks" and character in LETTERS_AND_DIGITS:
            shown += character
            continue
        code = f"x{'0' * zeros}{ord(character):x}" if is_hex else f"{'0' * zeros}{ord(character)}"
        following = secret[number + 1 : number + 2]
        is_followed = escaped == "marks" and following in LETTERS_AND_DIGITS and following in digits
        shown += f"&#{code.upper() if upper else code}" + (";" if with_semicolon or is_followed else "")
    return secret, shown


@settings(deadline=None, max_examples=30)  # the machine may be busy
@given(both=html_escapes(), before=around, after=st.sampled_from(["", " ", "<", "."]))
@example(both=("0/000000", "0&#x000000000000000000000000000000000000002F;000000"), before="", after="")
@example(both=("s3cr/t-1", "&#115&#51&#99&#114&#47&#116&#45&#49"), before="", after="")
def test_numbers_of_html_show_no_secret_whatever_their_zeros_and_semicolons(both, before, after):
    secret, shown = both
    masked, count = mask_for(secret).text(f"{before} {shown}{after}")
    assert count >= 1
    assert shown not in masked


NAMES = {
    "&": "amp",
    "<": "lt",
    ">": "gt",
    '"': "quot",
    "'": "apos",
    "/": "sol",
    "=": "equals",
    "+": "plus",
    ":": "colon",
}


@settings(deadline=None, max_examples=30)  # the machine may be busy
@given(secret=secrets, semicolon=st.booleans(), upper=st.booleans())
@example(secret="abcd&lt/efgh", semicolon=False, upper=False)
def test_names_of_html_show_no_secret_with_or_without_their_semicolons(secret, semicolon, upper):
    assume(re.search("[A-Za-z0-9]{4}", secret) or not re.search("[A-Za-z0-9]", secret))
    assume(semicolon or ";" not in secret)
    end = ";" if semicolon else ""
    shown = "".join(f"&{NAMES[c].upper() if upper else NAMES[c]}{end}" if c in NAMES else c for c in secret)
    assume("&" in shown)
    masked, count = mask_for(secret).text(f"<{shown}>")
    assert count >= 1
    assert shown not in masked


# -- the cost of searching -------------------------------------------------------------------------------------------

HOSTILE = [
    "\n",
    "a\n",
    "%0a",
    "\\n",
    "&#10;",
    "&#0",
    "&#x0",
    "&#00000065",
    "&#65;",
    "\0",
    "a\0",
    "&",
    "&amp",
    "&#",
    "=\r\n",
    "abc-1\n  ",
]


@pytest.mark.parametrize("unit", HOSTILE, ids=ascii)
def test_fillers_and_escapes_of_any_shape_are_searched_in_linear_time(unit):
    mask = mask_of({"X-Key": "s3cr3t-value/with=marks"})

    def search(text):
        with suppress(TooMuchWork):  # it was withheld, within a bounded time
            mask.text(text)

    assert_linear(search, lambda size: unit * (size // len(unit)), 16_000)
