"""A search in pieces of any size finds exactly what occurs, and at most as often as requested."""

from __future__ import annotations

from types import SimpleNamespace
from unittest import mock

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from relay.answer import forms
from relay.answer.forms import FormSearch

texts = st.text("ab", max_size=40).map(str.encode)
looked_for = st.sets(st.text("ab", min_size=1, max_size=6).map(str.encode), max_size=4)


def occurrences(patterns, text):
    return {
        (start, start + len(pattern))
        for pattern in patterns
        for start in range(len(text))
        if text.startswith(pattern, start)
    }


@given(looked_for, texts, st.integers(1, 9))
@example({b"ab"}, b"aab", 2)
@example({b"aab"}, b"baab", 2)
@example(set(), b"ab", 1)
def test_all_that_occurs_is_found_in_pieces_of_any_size(patterns, text, size):
    with mock.patch.object(forms, "PIECE_BYTES", size):
        search = FormSearch(patterns)
        found = search.spans(text, 1_000)
        assert set(found) == occurrences(patterns, text)
        assert search.occur(text) == bool(found)


@given(st.integers(0, 40), st.integers(1, 9))
def test_the_search_holds_python_s_lock_for_a_piece_at_a_time(length, size):
    seen = []
    automaton = SimpleNamespace(find_matches_as_indexes=lambda piece, **_: seen.append(len(piece)) or [])
    search = FormSearch([b"abc"])  # two bytes of it may be in the previous piece
    search._automaton = automaton
    step = max(size, 2)
    pieces = [min(step + 2, length - begin) for begin in range(0, length, step)]
    with mock.patch.object(forms, "PIECE_BYTES", size):
        search.spans(bytes(length), 10)
        assert seen == pieces
        seen.clear()
        search.occur(bytes(length))
        assert seen == ([length] if length <= size else pieces)


@pytest.mark.parametrize(("most", "found"), [(0, None), (9, None), (10, 10), (11, 10)])
def test_what_occurs_more_often_than_is_wanted_is_not_listed(most, found):
    spans = FormSearch([b"a"]).spans(b"a" * 10, most)
    assert (spans if spans is None else len(spans)) == found
