"""All fillers that encoders put between characters are removed, and the rest keeps track of its positions."""

from __future__ import annotations

from unittest import mock

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from relay.answer import fillers
from relay.answer.fillers import Squeezed

#: Texts that may begin or continue a line break in base64.
BREAKS = ["\n", "\r", "=\n", "=\r", "\\n", "\\r", "%0a", "%0d", "&#xa;", "&#x000d", "&#10;", "&#00013", "&#xd;"]
MORE = ["", "\n", "\r\n", " ", "\t", "\\n", "%0d", "&#x0a", "&#010", "  \n\t"]
#: Numeric escapes with leading zeros, and what remains of each.
NUMBERS = {"&#0065;": "&#65;", "&#x00041;": "&#x41;", "&#01": "&#1", "&#x0g": "&#xg"}
#: Texts that look like fillers but are not.
KEPT = ["=", "=g", " ", "\t", "&#1", "&#xab", "&#11;", "&#131", "&", "&amp;", "%0g", "%1a", "\\g", "\\", "#010"]
letters = st.text("gh", min_size=1, max_size=4)
breaks = st.tuples(st.sampled_from(BREAKS), st.sampled_from(MORE)).map("".join)


def stood_at(squeezed, size):
    return [squeezed.origins([(at, at + 1)]) for at in range(size)]


@given(st.lists(st.tuples(letters, breaks), min_size=1, max_size=6), letters, st.integers(1, 40), st.booleans())
@example([("g", "\n")], "h", 1, False)
def test_breaks_between_letters_are_taken_out(parts, last, size, zeros):
    written, text, origins = "", "", []
    for part, between in (*parts, (last, "")):
        origins += range(len(written), len(written) + len(part))
        text += part
        written += part + between
    with mock.patch.object(fillers, "PIECE_BYTES", size):
        squeezed = Squeezed(written.encode(), zeros=zeros)
    assert squeezed.text == text.encode()
    assert stood_at(squeezed, len(text)) == [[(at, at + 1)] for at in origins]
    assert squeezed.origins([(0, len(text))]) == [(0, len(written))]


@given(st.lists(st.sampled_from(list(NUMBERS)), min_size=1, max_size=4), st.integers(1, 20))
def test_zeros_before_a_number_are_taken_out(numbers, size):
    with mock.patch.object(fillers, "PIECE_BYTES", size):
        squeezed = Squeezed(f"g{'|'.join(numbers)}".encode(), zeros=False)
    assert squeezed.text == f"g{'|'.join(NUMBERS[number] for number in numbers)}".encode()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.integers(1, 20))
def test_zero_bytes_are_taken_out_where_they_are_fillers(counts, size):
    written = b"".join(b"g" + bytes(count) for count in counts)
    with mock.patch.object(fillers, "PIECE_BYTES", size):
        assert Squeezed(written, zeros=False).text is None
        squeezed = Squeezed(written, zeros=True)
    assert (squeezed.text or written) == b"g" * len(counts)
    assert squeezed.text is None or written.count(b"\0")
    if squeezed.text:
        starts = [at for at in range(len(written)) if written[at : at + 1] == b"g"]
        assert stood_at(squeezed, len(counts)) == [[(at, at + 1)] for at in starts]


@pytest.mark.parametrize("size", range(1, 12))
@pytest.mark.parametrize(("written", "text"), [(b"g\0\nh", b"g\nh"), (b"g\0\0 h", b"g h"), (b"g&#00 h", b"g&# h")])
def test_only_a_break_goes_on_with_what_follows(written, text, size):
    with mock.patch.object(fillers, "PIECE_BYTES", size):
        assert Squeezed(written, zeros=True).text == text


@pytest.mark.parametrize("text", KEPT)
@pytest.mark.parametrize("size", [1, 100])
def test_characters_that_are_not_fillers_are_left(text, size):
    with mock.patch.object(fillers, "PIECE_BYTES", size):
        for written in (text, f"g{text}|", f"|{text}"):
            assert Squeezed(written.encode(), zeros=True).text is None


def test_a_break_is_one_only_after_base64():
    for each in ("\n", "\r", "=\n", "\\n", "%0a"):
        assert Squeezed(f"|{each}g".encode(), zeros=False).text is None
        for before in "az09+/_-":
            assert Squeezed(f"{before}{each}g".encode(), zeros=False).text == f"{before}g".encode()


def test_a_long_text_is_parted_only_where_nothing_that_is_looked_for_reaches_over():
    with mock.patch.object(fillers, "PIECE_BYTES", 4):
        ends = list(fillers._ends_of_pieces(b"abcdefg|hijk&#0065;l%0aendsnow"))
    assert ends == [6, 10, 19, 26, 30]
