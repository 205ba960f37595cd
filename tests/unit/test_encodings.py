"""Secrets are found under every composition of up to three encodings, and under what real serializers make of them."""

from __future__ import annotations

import base64
import csv
import email.policy
import io
import itertools
import json
import pprint
import random
import re
import shlex
import sqlite3
import string
import subprocess
import urllib.parse
from email.header import Header
from email.message import EmailMessage
from email.mime.text import MIMEText

import pytest

from relay.answer import search
from relay.answer.decoded_text import DecodedText
from relay.answer.endpoint_answer import EndpointAnswer
from relay.answer.masking import REPLACEMENT, Mask
from relay.answer.results import hide, read_body
from relay.domain.invocation import Outcome, Sent
from tests.encoders import ENCODERS, can_be_undone
from tests.tools import require
from tests.unit.test_masking import mask_for

LETTERS = string.ascii_letters + string.digits
ALPHABETS = (LETTERS, LETTERS + "+/=&<'\"\\>-%~ ", "0123456789abcdef")
SECRETS = (
    "s3cr3t+/=&<'\"\\>-value",
    "5f0c1d2e3a4b6c7d8e9f",
    "sk_live_5f0c1D2e3a4B",
    'it\'s "quoted", and long: 50% <off>',
)
SAMPLES = 60


def secret_of(chance: random.Random) -> str:
    while True:
        text = "".join(chance.choices(chance.choice(ALPHABETS), k=chance.choice((8, 9, 12, 20, 48))))
        if text.strip() == text and "redacted" not in text:
            return text


def encoded(secret: str, names: tuple[str, ...]) -> str:
    for name in names:
        secret = ENCODERS[name](secret)
    return secret


def assert_hidden(mask: Mask, text: str, what: object) -> None:
    """Fail unless the text is masked, and the result shows nothing that could still be found."""
    masked, hits = mask.text(text)
    assert hits, (what, text)
    assert mask.text(masked)[1] == 0, (what, text, masked)


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("name", ENCODERS)
def test_a_secret_is_hidden_under_each_encoding(name, secret):
    assert_hidden(mask_for(secret), f"a <{encoded(secret, (name,))}> b", name)


@pytest.mark.parametrize("name", ENCODERS)
def test_each_visible_character_is_found_under_each_encoding(name):
    for first in range(0x21, 0x7F - 16, 13):
        secret = "".join(map(chr, range(first, first + 16)))
        assert_hidden(mask_for(secret), f"a <{encoded(secret, (name,))}> b", (name, secret))


@pytest.mark.parametrize("before", range(3))
@pytest.mark.parametrize("write", [bytes.hex, lambda text: base64.b64encode(text).decode()], ids=["hex", "base64"])
def test_each_character_is_found_at_each_place_of_a_packed_text(write, before):
    for code in (*b"\t\n\r", *range(0x21, 0x7F)):
        secret = f"/{chr(code)}" * 6
        escaped = json.dumps(secret)[1:-1].replace("/", "\\/").encode()
        assert mask_for(secret).text(write(b"." * before + escaped))[1], code


@pytest.mark.parametrize("name", ["xxd", "dump"])
def test_a_secret_between_two_lines_of_a_dump_is_hidden_among_bytes_that_are_no_text(name):
    secret = "z/y:x-w!"
    assert_hidden(mask_for(secret), encoded("\x01" * 12 + secret + "\x01" * 12, (name,)), name)


@pytest.mark.parametrize("name", ["xxd", "dump"])
def test_the_text_after_a_dump_of_a_secret_is_shown_whole(name):
    secret = "z/y:x-w!" * 5
    (shown, after), hits = mask_for(secret).value([encoded(secret, (name,)).rstrip("\n"), "after"])
    assert (shown.replace(REPLACEMENT, ""), after, hits) == ("", "after", 1)


#: Some of each kind: they are looked for side by side in the same text.
KINDS = [
    "base64",
    "base64 of PEM",
    "hex",
    "hex with 0x",
    "list of bytes",
    "UTF-16 LE",
    "xxd",
    "percent",
    "html",
    "json",
    "SQL",
]


@pytest.mark.parametrize("one", KINDS)
def test_two_encodings_beside_one_another_hide_neither_from_the_mask(one):
    first, second = "it's-the-first/one", "and/that's-another"
    for other in KINDS:
        mask = Mask.of_all([mask_for(first), mask_for(second)])
        shown = encoded(first, (one,)), encoded(second, (other,))
        masked, hits = mask.text(f"{shown[0]}\n\n{shown[1]}\n")
        assert hits >= 2, other
        assert not [each for each in shown if each in masked], other
        assert mask.text(masked)[1] == 0, other


@pytest.mark.parametrize("name", ENCODERS)
def test_two_halves_of_a_secret_that_stand_apart_are_left_as_they_are(name):
    halves = "first-half/of.it+", "second-half/of.it"
    for between in (" and then some other words: ", "\nand then some other words:\n"):
        text = between.join(encoded(half, (name,)) for half in halves)
        assert mask_for("".join(halves)).text(text) == (text, 0)
    assert_hidden(mask_for("".join(halves)), encoded("".join(halves), (name,)), name)


@pytest.mark.parametrize("first", ENCODERS)
def test_a_secret_is_hidden_under_every_two_encodings(first):
    chance = random.Random(first)
    for second in filter(lambda name: can_be_undone((first, name)), ENCODERS):
        secret = secret_of(chance)
        assert_hidden(mask_for(secret), f"a <{encoded(secret, (first, second))}> b", (first, second, secret))


@pytest.mark.parametrize("last", ENCODERS)
def test_a_secret_is_hidden_under_any_three_encodings(last):
    chance = random.Random(last)
    pairs = [each for each in itertools.product(ENCODERS, repeat=2) if can_be_undone((*each, last))]
    for pair in chance.sample(pairs, SAMPLES):
        secret = secret_of(chance)
        assert_hidden(mask_for(secret), f"a <{encoded(secret, (*pair, last))}> b", (*pair, last, secret))


@pytest.mark.parametrize("name", ["list of bytes", "percent", "html"])
def test_so_many_layers_are_undone_and_no_more(name):
    hits = [mask_for(SECRETS[0]).text(encoded(SECRETS[0], (name,) * layers))[1] for layers in range(1, 5)]
    assert [count > 0 for count in hits] == [layers <= search.MAX_LAYERS for layers in range(1, 5)]


@pytest.mark.parametrize("form", ["%{:02x}", "\\{:03o}", "&#{};", "\\u{:04x}", "\\x{:02x}", "={:02X}"])
@pytest.mark.parametrize("secret", ["first half", "first half of it", "and its next half"])
def test_a_secret_of_words_is_hidden_of_which_all_but_the_blanks_is_escaped(form, secret):
    shown = "".join(each if each == " " else form.format(ord(each)) for each in secret)
    assert mask_for(secret).text(f"a <{shown}> b") == (f"a <{REPLACEMENT}> b", 1)


@pytest.mark.parametrize("escape", ["%2f", "&#47;", "\\u002f", "\\/"])
def test_exactly_a_secret_is_hidden_behind_an_escape_at_any_distance_from_what_looks_like_it(escape):
    mask = mask_for("planted/secret")
    for distance in range(700):
        shown = f"planted {' ' * distance}{escape} {' ' * 900}a planted{escape}secret b"
        assert mask.text(shown) == (shown.replace(f"planted{escape}secret", REPLACEMENT), 1), distance


@pytest.mark.parametrize("secret", ["abcd" + "    ////////" * 10, "////////    " * 10 + "abcd"])
def test_a_secret_is_hidden_whose_escapes_are_long_and_far_from_its_letters(secret):
    assert mask_for(secret).text(f"x {secret.replace('/', '&amp;amp;#x2F;')} y") == (f"x {REPLACEMENT} y", 1)


@pytest.mark.parametrize("at", range(search.SLICE_BYTES - 400, search.SLICE_BYTES + 40, 30))
def test_a_secret_is_hidden_wherever_a_slice_of_a_long_answer_ends(at):
    secret, mask = SECRETS[0], mask_for(SECRETS[0])
    shown = encoded(secret, ("json", "base64 of MIME", "percent"))
    for begin in (at, at + mask._search._reach):
        masked, hits = mask.text("." * begin + f" {shown} " + "." * search.SLICE_BYTES)
        assert hits >= 1
        assert masked.replace(".", "").strip() in {REPLACEMENT, f"{REPLACEMENT}%3D"}


@pytest.mark.parametrize("before", range(1, 5))
@pytest.mark.parametrize("after", range(4))
@pytest.mark.parametrize("name", ["percent", "json", "hex", "html"])
def test_an_encoded_secret_is_hidden_among_bytes_in_base64(name, before, after):
    text = ENCODERS[name](SECRETS[0]).encode()
    written = base64.b64encode(b"\xff" * before + text + b"\xff" * after).decode()
    masked, hits = mask_for(SECRETS[0]).text(written)
    assert hits >= 1
    assert len(masked.replace(REPLACEMENT, "")) <= 4 * 4  # the groups that have other bytes, too


#: Encoders that write nothing around a text, so that exactly what they write is hidden.
SHARP = [name for name in ENCODERS if not re.search("json of|Buffer|list|base64|dump|xxd|UTF-16|0x", name)]


@pytest.mark.parametrize("names", [*itertools.product(SHARP, repeat=1), *itertools.product(SHARP[::3], SHARP[::2])])
def test_nothing_beside_an_encoded_secret_is_hidden(names):
    secret = "s3cr3t/+&<value>'s-%25\"0\\1"
    for before, after in (("", ""), ("é, ", ", é"), ("<p>50% & more: ", "</p>")):
        written = f"{before}{encoded(secret, names)}{after}"
        assert mask_for(secret).text(written) == (f"{before}{REPLACEMENT}{after}", 1)


#: What stands for a character in each kind of escapes, and texts that only look like an escape.
CHARACTERS = [
    *("%2f", "%2F", "%u002f", "&#47;", "&#047", "&#x2f;", "&#X0002F", "&sol;", "&SOL;", "=2F", "=2f"),
    *("\\/", "\\u002f", "\\u002F", "\\u{2f}", "\\u{0002F}", "\\x2f", "\\x{2f}", "\\57", "\\057", "\\U0000002f"),
]
NO_CHARACTERS = [
    "%",
    "%2",
    "%g2f",
    "&",
    "&#;",
    "&#x;",
    "&nosuch;",
    "&#1114159;",
    "&#x11002f",
    "\\u02f",
    "\\x",
    "=",
    "=2",
]


@pytest.mark.parametrize("escape", CHARACTERS)
def test_each_escape_of_a_character_is_undone(escape):
    assert mask_for("planted/secret").text(f"<planted{escape}secret>") == (f"<{REPLACEMENT}>", 1)


@pytest.mark.parametrize("escape", NO_CHARACTERS)
def test_what_only_looks_like_an_escape_is_left(escape):
    text = f"<planted{escape}secret>"
    assert mask_for("planted/secret").text(text) == (text, 0)
    assert mask_for(f"planted{escape}/secret").text(f"<planted{escape}&sol;secret>") == (f"<{REPLACEMENT}>", 1)


@pytest.mark.parametrize("secret", ["schlüssel-größe-ä", "密钥-secret-密钥", "😀-planted-😀"])
@pytest.mark.parametrize("name", ["quote", "json", "html", "u", "base64", "hex"])
def test_a_text_of_a_chain_that_is_not_ascii_is_hidden_too(name, secret):
    written = {
        "quote": urllib.parse.quote(secret),
        "json": json.dumps(secret),
        "html": secret.encode("ascii", "xmlcharrefreplace").decode(),
        "u": "".join(f"\\u{{{ord(character):x}}}" for character in secret),
        "base64": base64.b64encode(secret.encode()).decode(),
        "hex": secret.encode().hex(),
    }[name]
    assert_hidden(mask_for("another-secret").with_texts([secret]), f"<{written}>", name)


@pytest.mark.parametrize(
    "character", [*"\b\f\n\r\t", "\x00", "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U000dffff", "\U0010ffff"]
)
@pytest.mark.parametrize("layers", [1, 2])
def test_any_character_in_a_text_of_a_chain_is_found_under_escapes(character, layers):
    secret = f"Dear{character}patient{character}4711{character}"
    mask = mask_for("another-secret").with_texts([secret])
    for write in (
        json.dumps,
        lambda text: text.encode("ascii", "xmlcharrefreplace").decode(),
        lambda text: "".join(f"&#x{ord(each):x};" for each in text),
        lambda text: "".join(f"\\u{{{ord(each):x}}}" for each in text),
        urllib.parse.quote,
    ):
        written = secret
        for _ in range(layers):
            written = write(written)
        assert_hidden(mask, f"<{written}>", written)


@pytest.mark.parametrize(
    "codecs", [("utf-16-le",), ("utf-16-be",), ("utf-32-le",), ("utf-32-be",), ("utf-32-le", "utf-16-le")]
)
def test_wide_characters_are_one_layer_however_wide_they_are(codecs):
    text = SECRETS[0]
    for codec in codecs:
        text = text.encode(codec).decode("latin-1")
    assert_hidden(mask_for(SECRETS[0]), encoded(text, ("hex", "base64")), codecs)


def test_a_text_of_a_chain_with_half_a_surrogate_pair_is_hidden_and_others_are_left():
    secret = "Dear\ud800patient"
    mask = mask_for("another-secret").with_texts([secret])
    for written in (secret, json.dumps(secret)[1:-1]):
        assert mask.text(f"\udfff <{written}>") == (f"\udfff <{REPLACEMENT}>", 1)
        assert mask.value({written: ["\udfff", f"\udfff {written}"]}) == (
            {REPLACEMENT: ["\udfff", f"\udfff {REPLACEMENT}"]},
            2,
        )


@pytest.mark.parametrize("kind", [*"bBqQ"])
@pytest.mark.parametrize("secret", SECRETS[:3])
def test_a_secret_that_is_split_between_encoded_words_is_hidden(kind, secret):
    """Base64 is split where its groups end: words that were padded are not joined."""
    write = ENCODERS["base64" if kind in "bB" else "quoted-printable of all"]
    for cut in range(1, len(secret), 3 if kind in "bB" else 1):
        one, other = write(f"ab{secret[:cut]}"), write(f"{secret[cut:]}yz")
        assert_hidden(mask_for(secret), f"Subject: =?utf-8?{kind}?{one}?=\r\n =?UTF-8?{kind}?{other}?=", (kind, cut))


# -- real serializers ------------------------------------------------------------------------------------------------


def mail(secret, encoding):
    message = EmailMessage(policy=email.policy.SMTP)
    message.set_content(f"Your token is {secret}, keep it. é\n" * 3, cte=encoding)
    return message.as_string()


def rows(secret, **form):
    written = io.StringIO()
    csv.writer(written, **form).writerow(["a", secret, f"x{secret}\ny"])
    return written.getvalue()


def quoted_by_sqlite(secret):
    with sqlite3.connect(":memory:") as database:
        return database.execute("select quote(?), quote(cast(? as blob))", (secret, secret)).fetchone()


OF_PYTHON = {
    "csv": rows,
    "csv, all quoted": lambda s: rows(s, quoting=csv.QUOTE_ALL),
    "csv, escaped": lambda s: rows(s, doublequote=False, escapechar="\\"),
    "sql": lambda s: quoted_by_sqlite(s)[0],
    "sql, blob": lambda s: quoted_by_sqlite(s)[1],
    "mail, quoted-printable": lambda s: mail(s, "quoted-printable"),
    "mail, base64": lambda s: mail(s, "base64"),
    "mail, 8bit": lambda s: mail(s, "8bit"),
    "mime": lambda s: MIMEText(f"é {s}", "plain", "utf-8").as_string(),
    "header, q": lambda s: Header(f"{s} aaaaaaaaaa", "us-ascii").encode(),
    "urlencode": lambda s: urllib.parse.urlencode({"k": s, "l": [s]}),
    "urlencode, twice": lambda s: urllib.parse.urlencode({"u": "/?" + urllib.parse.urlencode({"k": s})}),
    "shlex": lambda s: shlex.join(["curl", "-H", f"X-Key: {s}"]),
    "repr of json": lambda s: repr(json.dumps({"k": s}).encode()),
    "pprint": lambda s: pprint.pformat({"k": [s, s.encode()]}),
    "json in json in json": lambda s: json.dumps(json.dumps(json.dumps({"k": s}))),
    "bytearray": lambda s: str(list(bytearray(s, "ascii"))),
    "hex, grouped": lambda s: s.encode().hex(":", 4),
    "memoryview": lambda s: json.dumps(memoryview(s.encode()).tolist(), indent=4),
}


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("name", OF_PYTHON)
def test_what_serializers_of_python_write_shows_no_secret(name, secret):
    assert_hidden(mask_for(secret), OF_PYTHON[name](secret), name)


OF_NODE = """
const {inspect} = require('util'), querystring = require('querystring');
const s = process.argv[1], b = Buffer.from(s), all = (f) => [...s].map((c) => f(c.charCodeAt(0))).join('');
console.log(JSON.stringify({
  'Buffer': JSON.stringify(b), 'Buffer in an object': JSON.stringify({a: {b}}, null, 2),
  'Buffer twice': JSON.stringify({a: JSON.stringify({b})}), 'inspected Buffer': inspect(b), 'inspected': inspect({s}),
  'Uint8Array as JSON': JSON.stringify(new Uint8Array(b)), 'and indented': JSON.stringify({a: new Uint8Array(b)}, null, 2),
  'and twice': JSON.stringify({a: JSON.stringify(new Uint8Array(b))}),
  'Uint8Array': inspect(new Uint8Array(b), {maxArrayLength: null}), 'char codes': String([...s].map((c) => c.charCodeAt(0))),
  'querystring': querystring.stringify({k: s}), 'escape': escape(s), 'encodeURIComponent': encodeURIComponent(s),
  'URLSearchParams': String(new URLSearchParams({k: s})), 'URL': new URL('http://a.io/?k=' + encodeURIComponent(s)).href,
  'utf16le': b.toString('utf16le') && Buffer.from(s, 'utf16le').toString('base64'), 'hex': b.toString('hex'),
  'base64url': b.toString('base64url'), 'base64 of JSON': Buffer.from(JSON.stringify({s})).toString('base64'),
  'base64 of base64': Buffer.from(b.toString('base64')).toString('base64'), 'braces': all((c) => `\\\\u{${c.toString(16)}}`),
  'base64 of querystring': Buffer.from(querystring.stringify({k: s})).toString('base64'),
  'btoa of escape': btoa(escape(s)), 'JSON of JSON of JSON': JSON.stringify(JSON.stringify(JSON.stringify({s}))),
}));
"""


@pytest.mark.parametrize("secret", SECRETS)
def test_what_serializers_of_node_write_shows_no_secret(secret):
    ran = subprocess.run([require("node"), "-e", OF_NODE, secret], capture_output=True, check=True, timeout=120)
    written = json.loads(ran.stdout)
    assert len(written) > 20
    for name, text in written.items():
        assert_hidden(mask_for(secret), text, name)


# -- answers ---------------------------------------------------------------------------------------------------------


def hidden(body: bytes, content_type: str, mask: Mask):
    answer = EndpointAnswer(Outcome.ANSWERED, Sent.ANSWERED, 200, content_type, body, 1, len(body), None, 0)
    return hide(read_body(answer), mask)


def test_a_buffer_in_json_is_hidden_and_leaves_json_whole():
    body = {"id": 115, "n": {"type": "Buffer", "data": list(b"<planted-secret>")}, "s": ["\\", 112]}
    numbers = [60, *[REPLACEMENT] * 14, 62]
    expected = {"id": 115, "n": {"type": "Buffer", "data": numbers}, "s": ["\\", 112]}
    mask = mask_for("planted-secret")
    assert hidden(json.dumps(body).encode(), "application/json", mask) == (expected, 14)
    del body["s"], expected["s"]  # without an escape in the text
    assert hidden(json.dumps(body).encode(), "application/json", mask) == (expected, 14)


def test_bytes_that_are_members_of_an_object_by_their_index_are_hidden():
    numbers = dict(enumerate([7, *b"<planted-secret>", 200]))
    for more in ({}, {"s": "\\"}):  # without and with an escape in the text
        data, hits = hidden(json.dumps({"b": numbers, **more}).encode(), "application/json", mask_for("planted-secret"))
        assert hits
        assert not set(b"planted-secret") & set(data["b"].values())
        assert data["b"]["0"] == 7
        assert data["b"]["17"] == 200


def test_a_secret_that_stands_in_many_strings_of_json_is_hidden_in_each():
    parts = b"planted-secret".hex(" ").split()
    assert hidden(json.dumps({"hex": parts}).encode(), "application/json", mask_for("planted-secret")) == (
        {"hex": [REPLACEMENT] * 14},
        14,
    )


def test_an_encoded_secret_in_bytes_rejects_the_answer():
    for names in itertools.product(("json", "base64 of PEM", "hex with colons", "UTF-16 LE"), repeat=2):
        body = b"\xff\xd8\0" + encoded(SECRETS[0], names).encode("latin-1") + b"\0\xff"
        assert hidden(body, "image/jpeg", mask_for(SECRETS[0])) is None, names


# -- the budget ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content_type", ["text/plain", "application/json", "image/jpeg"])
def test_an_answer_that_is_not_searched_to_the_end_is_withheld(content_type, monkeypatch):
    body = json.dumps({"a": "%252525" * 300}).encode()
    assert hidden(body, content_type, mask_for(SECRETS[0])) is not None
    monkeypatch.setattr(search, "MIN_WORK", 100)
    monkeypatch.setattr(search, "WORK_PER_BYTE", 1)
    assert hidden(body, content_type, mask_for(SECRETS[0])) is None


def test_the_budget_is_for_all_slices_of_an_answer(monkeypatch):
    monkeypatch.setattr(search, "MIN_WORK", 0)
    monkeypatch.setattr(search, "WORK_PER_BYTE", 1)
    monkeypatch.setattr(search, "SLICE_BYTES", 1_000)
    mask = mask_for(SECRETS[1])
    assert mask.text("plain text. " * 1_000)[1] == 0  # what needs no decoding costs nothing
    with pytest.raises(search.TooMuchWork):
        mask.text("%41%42%43%44%45%46%47%48%49" * 1_000)


def test_of_a_long_answer_only_what_is_near_an_escape_costs_anything(monkeypatch):
    monkeypatch.setattr(search, "MIN_WORK", 1_000)
    monkeypatch.setattr(search, "WORK_PER_BYTE", 0)
    text = "some words " * 2_000 + "and%2Fsome%2Fothers" + " some words" * 2_000
    assert mask_for(SECRETS[0]).text(text) == (text, 0)


def test_a_long_answer_is_searched_a_slice_at_a_time(monkeypatch):
    mask, sizes = mask_for(SECRETS[0]), []
    monkeypatch.setattr(search, "DecodedText", lambda raw: sizes.append(len(raw)) or DecodedText(raw))
    assert mask.text("some words " * 40_000)[1] == 0
    assert max(sizes) <= search.SLICE_BYTES + mask._search._reach < sum(sizes)


def test_what_is_no_text_among_bytes_costs_nothing(monkeypatch):
    monkeypatch.setattr(search, "MIN_WORK", 1_000)
    monkeypatch.setattr(search, "WORK_PER_BYTE", 0)
    assert mask_for(SECRETS[0]).hits(random.Random(1).randbytes(20_000), is_text=False) == 0


def test_an_escape_that_is_undone_costs_as_much_as_many_bytes(monkeypatch):
    monkeypatch.setattr(search, "MIN_WORK", 0)
    monkeypatch.setattr(search, "WORK_PER_BYTE", 1)
    with pytest.raises(search.TooMuchWork):
        mask_for(SECRETS[1]).text(r"\u003a" * 1_000)


ORDINARY = {
    "a page": '<p class="note">Ada &amp; Grace</p>\n<a href="https://a.io/p/7f3a?name=Ada%20L%C3%B6&id=ab12">it&#39;s</a>\n',
    "json of text": json.dumps(
        {"at": "2026-11-29T05:44:00Z", "text": 'said "yes"\nand\tno', "n": [1, 20, 255], "é": "ü"}
    ),
    "json in json": json.dumps(json.dumps({"id": "0192ab34-77d0-4a9c-8f3e-1234567890ab", "text": 'a "b"'})),
    "a form": urllib.parse.urlencode({"name": "Ådne Ødegård", "address": "Bäckstraße 7, 8001 Zürich", "x": "a+b=c&d"})
    + "&",
    "a table": 'id,name,note\r\n1,"Grace ""Amazing"" Hopper","50% & more"\r\n',
    "counts by number": json.dumps({str(number): number * 37 % 250 for number in range(200)}),
    "a file": json.dumps({"pdf": ENCODERS["base64 of MIME"](random.Random(1).randbytes(600).decode("latin-1"))}),
}


@pytest.mark.parametrize("size", [1, 300_000])
@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_answers_are_neither_withheld_nor_changed(name, size):
    mask = Mask.of_all([mask_for(secret) for secret in SECRETS])
    text = ORDINARY[name] * (size // len(ORDINARY[name]) + 1)
    assert mask.text(text) == (text, 0)


@pytest.mark.parametrize("write", [list, lambda numbers: " ".join(map(str, numbers))], ids=["list", "sampled data"])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize(("least", "most"), [(55, 99), (20, 79), (32, 126)])
def test_a_megabyte_of_small_numbers_is_neither_withheld_nor_changed(least, most, separators, write):
    chance = random.Random(1)
    series = {"heart rates": write([chance.randint(least, most) for _ in range(250_000)])}
    body = json.dumps(series, separators=separators).encode()
    assert hidden(body, "application/json", mask_for(SECRETS[1])) == (series, 0)
