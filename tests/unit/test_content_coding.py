"""A coded body is decoded whole or not at all, in steps that each take in and give a bounded number of bytes."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.outbound import content_coding
from relay.outbound.content_coding import (
    STEP_CODED_BYTES,
    STEP_CONTENT_BYTES,
    Decoder,
    Undecodable,
    coding_of,
    max_coded_bytes,
)
from tests.hostile_answers import MIB, coded_bodies, deflated

FORMS = {"gzip": ("gzip", 31), "x-gzip": ("x-gzip", 31), "zlib": ("deflate", 15), "raw": ("deflate", -15)}
each_form = pytest.mark.parametrize(("coding", "form"), FORMS.values(), ids=FORMS)
CODED = [(coding, body) for _, coding, body in coded_bodies(MIB // 4) if coding in {"gzip", "x-gzip", "deflate"}]


def decoded(coded, coding, max_bytes=MIB):
    decoder = Decoder(coded, coding, max_bytes)
    while not decoder.ended:
        decoder.step()
    return decoder.content


@each_form
@given(content=st.binary(max_size=2000), level=st.integers(0, 9))
def test_any_content_is_decoded(coding, form, content, level):
    assert decoded(deflated(content, form, level), coding) == content


@each_form
@pytest.mark.parametrize("size", [0, 1, STEP_CONTENT_BYTES - 1, STEP_CONTENT_BYTES, STEP_CONTENT_BYTES + 1, 300_000])
@pytest.mark.parametrize("level", [0, 9])
def test_content_of_any_length_is_decoded(coding, form, size, level):
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    assert decoded(deflated(content, form, level), coding) == content


@each_form
def test_a_body_that_is_cut_anywhere_is_refused(coding, form):
    coded = deflated(b"a cut answer never passes as a whole one" * 3, form)
    for end in range(1, len(coded)):
        with pytest.raises(Undecodable):
            decoded(coded[:end], coding)


@each_form
@pytest.mark.parametrize("after", [b"\n", b"\0\0", b"garbage", b"\x1f", b"\x1f\x8b\x08"])
def test_a_body_with_anything_after_it_is_refused(coding, form, after):
    with pytest.raises(Undecodable):
        decoded(deflated(b"content", form) + after, coding)


@pytest.mark.parametrize("members", [1, 2])
def test_a_gzip_body_whose_file_name_is_longer_than_a_step_reads_is_decoded(members):
    plain = gzip.compress(b"content")
    named = plain[:3] + b"\x08" + plain[4:10] + b"n" * (3 * STEP_CODED_BYTES) + b"\0" + plain[10:]
    assert decoded(named * members, "gzip") == b"content" * members


@pytest.mark.parametrize("at", [-1, -5])
def test_a_false_length_or_checksum_is_refused(at):
    coded = bytearray(gzip.compress(b"content"))
    coded[at] ^= 1
    with pytest.raises(Undecodable):
        decoded(bytes(coded), "gzip")


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=20))
def test_the_members_of_a_gzip_body_are_one_content(contents):
    assert decoded(b"".join(map(gzip.compress, contents)), "gzip") == b"".join(contents)


def test_a_raw_body_that_begins_almost_as_zlib_s_format_does_is_decoded():
    stored, end = b"\x08\x05\x00\xfa\xffhello", b"\x03\x00"  # the padding of the first byte may have any bits
    assert decoded(stored + end, "deflate") == b"hello"


def test_two_bodies_of_other_codings_are_not_one():
    with pytest.raises(Undecodable):
        decoded(zlib.compress(b"a") * 2, "deflate")


@pytest.mark.parametrize(("coding", "form"), [("gzip", 15), ("gzip", -15), ("deflate", 31)])
def test_another_format_than_the_coding_says_is_refused(coding, form):
    with pytest.raises(Undecodable):
        decoded(deflated(b"content" * 10, form), coding)


@given(st.sampled_from(["gzip", "deflate"]), st.binary(min_size=1, max_size=300))
def test_any_bytes_are_decoded_or_refused(coding, coded):
    with contextlib.suppress(Undecodable):
        decoded(coded, coding)


@each_form
def test_content_at_the_limit_is_taken_and_a_byte_more_is_refused(coding, form):
    assert len(decoded(deflated(bytes(5000), form), coding, 5000)) == 5000
    with pytest.raises(Undecodable):
        decoded(deflated(bytes(5001), form), coding, 5000)


@each_form
@pytest.mark.parametrize("size", [1, 1000, MIB])
def test_random_bytes_at_the_limit_are_no_longer_than_a_coded_body_may_be(coding, form, size):
    content = (zlib.compress(bytes(range(256)), 0) * (size // 256 + 1))[:size]
    assert len(deflated(content, form, 0)) <= max_coded_bytes(size)


@pytest.mark.parametrize(("coding", "coded"), CODED, ids=range(len(CODED)))
def test_a_step_takes_in_and_gives_no_more_than_it_may(coding, coded):
    """Count what passes zlib. Every call of it takes something in or gives something, so that their number is bounded."""
    real, calls = zlib.decompressobj, []

    class Watched:
        def __init__(self, form):
            self._stream = real(form)

        def __getattr__(self, name):
            return getattr(self._stream, name)

        def decompress(self, piece, room):
            assert room > 0
            part = self._stream.decompress(piece, room)
            taken = len(piece) - len(self._stream.unconsumed_tail) - len(self._stream.unused_data)
            calls.append((taken, len(part)))
            return part

    with mock.patch.object(content_coding.zlib, "decompressobj", Watched):
        decoder, steps = Decoder(coded, coding, 8 * MIB), 0
        try:
            while not decoder.ended:
                calls.clear()
                decoder.step()
                steps += 1
                assert sum(taken + given for taken, given in calls) > 0
                assert sum(taken for taken, _ in calls) <= STEP_CODED_BYTES
                assert sum(given for _, given in calls) <= STEP_CONTENT_BYTES
                assert all(taken or given for taken, given in calls)
        except Undecodable:
            pass
    assert steps <= len(coded) // STEP_CODED_BYTES + 8 * MIB // STEP_CONTENT_BYTES + 1


@pytest.mark.parametrize(
    ("fields", "coding"),
    [
        ([], None),
        ([""], None),
        (["identity"], None),
        (["none"], None),
        (["identity, identity", ""], None),
        (["gzip"], "gzip"),
        ([" GZip "], "gzip"),
        (["identity, x-gzip,"], "x-gzip"),
        (["identity", "deflate"], "deflate"),
    ],
)
def test_at_most_one_coding_is_taken(fields, coding):
    assert coding_of(fields) == coding


@pytest.mark.parametrize(
    "fields",
    [["gzip, gzip"], ["gzip", "gzip"], ["deflate, gzip"], ["br"], ["zstd"], ["compress"], ["utf-8"], ["gzip;q=1"]],
)
def test_several_and_unknown_codings_are_refused(fields):
    with pytest.raises(Undecodable):
        coding_of(fields)
